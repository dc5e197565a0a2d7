//! The collections and views of a backup, and what the oplog makes of them.
//!
//! A collection is known by its UUID, which it keeps through renames. So whoever has followed the oplog to a moment
//! knows under which name each collection ends, with which options and indexes, and which do not exist any more; a
//! replay creates those that do, as they are then, and needs to repeat none of the steps between.

use std::collections::{BTreeMap, HashMap, HashSet};

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, cstr};

use super::definitions::{change_index, change_series, has_key, is_named, with, without};
use super::entry::{Operation, OperationKind, unknown, unreadable};
use super::{CollectionUuid, VIEWS, bucket_index, is_restored};
use crate::error::{Error, Result};
use crate::format::catalog::{CollectionKind, CollectionRecord};
use crate::namespace::{BUCKETS_PREFIX, buckets_of, visible_name};
use crate::pattern::NamespacePattern;

/// The collections and views as they are at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collections {
    /// Those with documents. That of a time series has the buckets' name, and the options and indexes of the series.
    by_uuid: HashMap<CollectionUuid, CollectionRecord>,
    /// Views, by database and name: their options.
    views: BTreeMap<(String, String), RawDocumentBuf>,
    /// Collections that were dropped.
    dropped: HashSet<CollectionUuid>,
    /// What the backup was limited to; empty where it was to hold everything.
    chosen: Vec<NamespacePattern>,
}

impl Collections {
    /// Begins with those of a backup.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when the catalog is not whole.
    pub fn of_backup(records: Vec<CollectionRecord>) -> Result<Self> {
        let mut collections = Self::default();
        let mut series = HashMap::new();
        let mut with_documents = Vec::new();
        for record in records {
            match record.kind {
                CollectionKind::View => {
                    collections.views.insert((record.db, record.name), record.options);
                }
                CollectionKind::Timeseries => {
                    series.insert((record.db, buckets_of(&record.name)), (record.options, record.indexes));
                }
                CollectionKind::Collection | CollectionKind::Buckets => with_documents.push(record),
            }
        }
        for mut record in with_documents {
            let lacks = |what: &str| Error::damaged(format!("the catalog lacks {what} of {}", record.namespace()));
            let uuid = record.uuid.ok_or_else(|| lacks("the UUID"))?;
            if record.kind == CollectionKind::Buckets {
                let found = series.remove(&(record.db.clone(), record.name.clone()));
                (record.options, record.indexes) = found.ok_or_else(|| lacks("the time series"))?;
            }
            collections.by_uuid.insert(uuid, record);
        }
        Ok(collections)
    }

    /// Limits them to what a backup was limited to: the rest is only looked at as far as it becomes part of that.
    #[must_use]
    pub fn only(self, chosen: Vec<NamespacePattern>) -> Self {
        Self { chosen, ..self }
    }

    /// Whether documents of a collection that once had this name belong here, and nobody knows the collection.
    pub(super) fn lacks(&self, uuid: &CollectionUuid, name: &str) -> bool {
        let (db, name) = name.split_once('.').unwrap_or((name, ""));
        !self.has(uuid) && !self.was_dropped(uuid) && self.is_chosen(db, name)
    }

    /// Removes what does not bear one of the chosen names in the end.
    pub(super) fn forget_what_was_not_chosen(&mut self) {
        let chosen = std::mem::take(&mut self.chosen);
        let is_chosen = |db: &str, name: &str| NamespacePattern::any(&chosen, db, visible_name(name));
        self.by_uuid.retain(|_, record| is_chosen(&record.db, &record.name));
        self.views.retain(|(db, name), _| is_chosen(db, name));
        self.chosen = chosen;
    }

    fn is_chosen(&self, db: &str, name: &str) -> bool {
        is_restored(db, name) && NamespacePattern::any(&self.chosen, db, visible_name(name))
    }

    /// Returns them as a catalog lists them.
    #[must_use]
    pub fn into_records(self) -> Vec<CollectionRecord> {
        let mut records = Vec::new();
        for (_, record) in self.by_uuid {
            if let Some(series) = record.name.strip_prefix(BUCKETS_PREFIX) {
                let (db, name, options) = (record.db.clone(), series.to_owned(), record.options.clone());
                let indexes = record.indexes.clone();
                records.push(CollectionRecord { indexes, ..empty(CollectionKind::Timeseries, db, name, options) });
            }
            records.push(record);
        }
        records
            .extend(self.views.into_iter().map(|((db, name), options)| empty(CollectionKind::View, db, name, options)));
        records.sort_by(|a, b| (&a.db, &a.name).cmp(&(&b.db, &b.name)));
        records
    }

    /// Returns the collections that are there.
    pub fn uuids(&self) -> impl Iterator<Item = &CollectionUuid> {
        self.by_uuid.keys()
    }

    /// Whether a collection is there.
    #[must_use]
    pub fn has(&self, uuid: &CollectionUuid) -> bool {
        self.by_uuid.contains_key(uuid)
    }

    /// Whether a collection was there once and was dropped.
    #[must_use]
    pub fn was_dropped(&self, uuid: &CollectionUuid) -> bool {
        self.dropped.contains(uuid)
    }

    /// Takes an operation into account; those on documents change nothing here, unless the documents are views.
    ///
    /// # Errors
    /// When it is a command that is not known, or something in it is not.
    pub fn follow(&mut self, operation: &Operation<'_>) -> Result<()> {
        let (db, name) = operation.names();
        if operation.kind != OperationKind::Command {
            return if name == VIEWS { self.follow_view(operation) } else { Ok(()) };
        }
        let command = operation.command()?;
        let target = operation.o.get_str(command).unwrap_or_default();
        match command {
            "create" => self.create(db, target, operation),
            "drop" => {
                self.drop_collection(db, target, operation.collection);
                Ok(())
            }
            "dropDatabase" => {
                self.drop_where(|record| record.db == db);
                self.views.retain(|(of, _), _| of != db);
                Ok(())
            }
            "renameCollection" => self.rename(operation),
            "collMod" => self.change(operation),
            "createIndexes" => self.add_index(operation, &without(operation.o, &["createIndexes"])?),
            "commitIndexBuild" => {
                for index in operation.o.get_array("indexes").map_err(unreadable)? {
                    let index = index.map_err(unreadable)?.as_document().ok_or_else(|| unreadable("no index"))?;
                    self.add_index(operation, index)?;
                }
                Ok(())
            }
            "dropIndexes" | "deleteIndexes" => self.drop_indexes(operation),
            // A build counts when it commits; keys may become arrays; storage forgets files; checks read. What empties
            // a collection does so at its place among the inserts: the replay repeats it.
            "startIndexBuild" | "abortIndexBuild" | "setMultikeyMetadata" | "dropIdent" | "dbCheck" | "emptycapped" => {
                Ok(())
            }
            other => Err(unknown(&format!("command '{other}'"))),
        }
    }

    fn create(&mut self, db: &str, name: &str, operation: &Operation<'_>) -> Result<()> {
        if !is_restored(db, name) {
            return Ok(());
        }
        let uuid = operation.collection.ok_or_else(|| unreadable("a collection is created without a UUID"))?;
        let mut options = without(operation.o, &["create", "idIndex"])?;
        let kind = if name.starts_with(BUCKETS_PREFIX) {
            // Those of the buckets follow from those of the series.
            options = without(&options, &["validator", "clusteredIndex"])?;
            CollectionKind::Buckets
        } else {
            CollectionKind::Collection
        };
        let indexes = match operation.o.get_document("idIndex") {
            Ok(index) => vec![index.to_owned()],
            Err(_) => Vec::new(),
        };
        let ordered = operation.o.get_bool("capped").unwrap_or(false);
        let record = empty(kind, db.into(), name.into(), options);
        let record = CollectionRecord { uuid: Some(uuid), indexes, ordered, ..record };
        self.by_uuid.insert(uuid, record);
        Ok(())
    }

    fn drop_collection(&mut self, db: &str, name: &str, uuid: Option<CollectionUuid>) {
        if name == VIEWS {
            self.views.retain(|(of, _), _| of != db);
        } else if let Some(uuid) = uuid {
            self.by_uuid.remove(&uuid);
            self.dropped.insert(uuid);
        }
    }

    fn drop_where(&mut self, condition: impl Fn(&CollectionRecord) -> bool) {
        let dropped = &mut self.dropped;
        self.by_uuid.retain(|uuid, record| {
            let goes = condition(record);
            if goes {
                dropped.insert(*uuid);
            }
            !goes
        });
    }

    fn rename(&mut self, operation: &Operation<'_>) -> Result<()> {
        let (from, to) = (operation.o.get_str("renameCollection"), operation.o.get_str("to"));
        let (from, to) = (from.map_err(unreadable)?, to.map_err(unreadable)?);
        let (db, name) = to.split_once('.').ok_or_else(|| unreadable("a collection is renamed to no name"))?;
        let uuid = operation.collection.ok_or_else(|| unreadable("a collection without a UUID is renamed"))?;
        // What had the name before is dropped, whether the entry gives its UUID or not.
        self.drop_where(|record| record.db == db && record.name == name && record.uuid != Some(uuid));
        let stays_temporary = operation.o.get_bool("stayTemp").unwrap_or(false);
        let is_chosen = self.is_chosen(db, name);
        match self.by_uuid.get_mut(&uuid) {
            Some(record) => {
                (record.db, record.name) = (db.to_owned(), name.to_owned());
                if !stays_temporary {
                    record.options = without(&record.options, &["temp"])?;
                }
                Ok(())
            }
            None if is_chosen => {
                Err(Error::failed(format!("{from}, which the backup does not hold, is renamed to {to}")))
            }
            None => Ok(()),
        }
    }

    /// Follows `collMod`.
    fn change(&mut self, operation: &Operation<'_>) -> Result<()> {
        let Some(record) = operation.collection.and_then(|uuid| self.by_uuid.get_mut(&uuid)) else { return Ok(()) };
        for element in operation.o {
            let (field, value) = element.map_err(unreadable)?;
            match (field.as_str(), value) {
                ("collMod", _) => {}
                ("cappedSize", size) => record.options = with(&record.options, cstr!("size"), size)?,
                ("cappedMax", max) => record.options = with(&record.options, cstr!("max"), max)?,
                ("index", RawBsonRef::Document(change)) => change_index(&mut record.indexes, change)?,
                ("expireAfterSeconds", RawBsonRef::String("off")) => {
                    record.options = without(&record.options, &["expireAfterSeconds"])?;
                }
                ("timeseries", RawBsonRef::Document(change)) => change_series(&mut record.options, change)?,
                (
                    "validator"
                    | "validationLevel"
                    | "validationAction"
                    | "expireAfterSeconds"
                    | "changeStreamPreAndPostImages"
                    | "recordPreImages",
                    value,
                ) => {
                    record.options = with(&record.options, field, value)?;
                }
                (other, _) => return Err(unknown(&format!("option '{other}' of collMod"))),
            }
        }
        Ok(())
    }

    fn add_index(&mut self, operation: &Operation<'_>, index: &RawDocument) -> Result<()> {
        let Some(record) = operation.collection.and_then(|uuid| self.by_uuid.get_mut(&uuid)) else { return Ok(()) };
        let index = match record.kind {
            CollectionKind::Buckets => bucket_index::of_series(index, &record.options)?,
            _ => index.to_owned(),
        };
        let name = index.get_str("name").map_err(unreadable)?;
        record.indexes.retain(|known| !is_named(known, name));
        record.indexes.push(index);
        Ok(())
    }

    fn drop_indexes(&mut self, operation: &Operation<'_>) -> Result<()> {
        let Some(record) = operation.collection.and_then(|uuid| self.by_uuid.get_mut(&uuid)) else { return Ok(()) };
        let is_own = |index: &RawDocumentBuf| is_named(index, "_id_");
        match operation.o.get("index").map_err(unreadable)? {
            Some(RawBsonRef::String("*")) => record.indexes.retain(is_own),
            Some(RawBsonRef::String(name)) => record.indexes.retain(|index| !is_named(index, name)),
            Some(RawBsonRef::Document(key)) => record.indexes.retain(|index| !has_key(index, key)),
            _ => return Err(unknown("way of dropIndexes to name indexes")),
        }
        Ok(())
    }

    fn follow_view(&mut self, operation: &Operation<'_>) -> Result<()> {
        let (db, _) = operation.names();
        let Some(RawBsonRef::String(id)) = operation.document_id() else {
            return Err(unreadable("a view has no name"));
        };
        let name = id.split_once('.').map_or(id, |(_, name)| name);
        let place = (db.to_owned(), name.to_owned());
        match operation.kind {
            OperationKind::Delete => {
                self.views.remove(&place);
            }
            _ if operation.o.get("$v").map_err(unreadable)?.is_some() => {
                return Err(unknown("change of a part of a view"));
            }
            // A time series looks like a view of its buckets.
            _ if operation.o.get_str("viewOn").is_ok_and(|on| on.starts_with(BUCKETS_PREFIX)) => {}
            _ => {
                self.views.insert(place, without(operation.o, &["_id"])?);
            }
        }
        Ok(())
    }
}

/// Returns a record of something that has no documents in the backup.
fn empty(kind: CollectionKind, db: String, name: String, options: RawDocumentBuf) -> CollectionRecord {
    CollectionRecord {
        db,
        name,
        kind,
        uuid: None,
        options,
        indexes: Vec::new(),
        documents: 0,
        bytes: 0,
        digest: [0; 32],
        ordered: false,
        in_snapshot: true,
        segments: Vec::new(),
        changes: None,
    }
}

#[cfg(test)]
mod tests {
    use bson::raw::CStr;
    use bson::spec::BinarySubtype;
    use bson::{Binary, rawdoc};

    use super::*;

    const UUID: CollectionUuid = [1; 16];

    /// Follows commands on one collection, each an entry of the oplog, and returns what they lead to.
    fn follow(commands: &[(&str, RawDocumentBuf)]) -> Result<Vec<CollectionRecord>> {
        let mut collections = Collections::default();
        for (db, command) in commands {
            follow_as(&mut collections, db, command, UUID)?;
        }
        Ok(collections.into_records())
    }

    fn follow_as(collections: &mut Collections, db: &str, o: &RawDocument, uuid: CollectionUuid) -> Result<()> {
        let ui = Binary { subtype: BinarySubtype::Uuid, bytes: uuid.to_vec() };
        let entry = rawdoc! { "op": "c", "ns": format!("{db}.$cmd"), "ui": ui, "o": o.to_owned() };
        collections.follow(&Operation::parse(&entry)?.expect("it is a command"))
    }

    fn created() -> (&'static str, RawDocumentBuf) {
        ("shop", rawdoc! { "create": "orders", "idIndex": { "v": 2, "key": { "_id": 1 }, "name": "_id_" } })
    }

    fn index(name: &str, field: &str) -> (&'static str, RawDocumentBuf) {
        let mut key = RawDocumentBuf::new();
        key.append(<&CStr>::try_from(field).unwrap(), 1);
        ("shop", rawdoc! { "createIndexes": "orders", "v": 2, "key": key, "name": name })
    }

    fn index_names(record: &CollectionRecord) -> Vec<&str> {
        record.indexes.iter().map(|index| index.get_str("name").unwrap()).collect()
    }

    #[test]
    fn an_unknown_command_stops_with_its_name() {
        for (command, named) in [
            (rawdoc! { "importCollection": "orders" }, "importCollection"),
            (rawdoc! { "convertToCapped": "orders", "size": 5 }, "convertToCapped"),
            (rawdoc! { "collMod": "orders", "sparkles": true }, "sparkles"),
            (rawdoc! { "collMod": "orders", "index": { "name": "_id_", "shiny": 1 } }, "shiny"),
        ] {
            let error = follow(&[created(), ("shop", command)]).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn what_is_about_no_content_is_passed_over() {
        let passed_over = ["startIndexBuild", "abortIndexBuild", "setMultikeyMetadata", "dropIdent", "dbCheck"];
        let commands = passed_over.map(|command| {
            let mut o = RawDocumentBuf::new();
            o.append(<&CStr>::try_from(command).unwrap(), "orders");
            ("shop", o)
        });
        assert_eq!(follow(&[&[created()][..], &commands].concat()).unwrap(), follow(&[created()]).unwrap());
    }

    #[test]
    fn indexes_are_dropped_by_name_by_key_and_all_at_once() {
        let built = [created(), index("a_1", "a"), index("b_1", "b")];
        let after = |o: RawDocumentBuf| {
            let records = follow(&[&built[..], &[("shop", o)]].concat()).unwrap();
            index_names(&records[0]).join(" ")
        };
        assert_eq!(after(rawdoc! { "dropIndexes": "orders", "index": "a_1" }), "_id_ b_1");
        assert_eq!(after(rawdoc! { "deleteIndexes": "orders", "index": { "b": 1 } }), "_id_ a_1");
        assert_eq!(after(rawdoc! { "dropIndexes": "orders", "index": "*" }), "_id_");
    }

    #[test]
    fn one_build_may_commit_several_indexes() {
        let indexes = [rawdoc! { "key": { "a": 1 }, "name": "a" }, rawdoc! { "key": { "b": 1 }, "name": "b" }];
        let commit =
            rawdoc! { "commitIndexBuild": "orders", "indexes": indexes.into_iter().collect::<bson::RawArrayBuf>() };
        assert_eq!(index_names(&follow(&[created(), ("shop", commit)]).unwrap()[0]), ["_id_", "a", "b"]);
    }

    #[test]
    fn an_index_changes_as_it_was_told_by_name_or_by_key() {
        let change = |change: RawDocumentBuf| ("shop", rawdoc! { "collMod": "orders", "index": change });
        let records = follow(&[
            created(),
            index("a_1", "a"),
            change(rawdoc! { "name": "a_1", "hidden": true, "prepareUnique": true }),
            change(rawdoc! { "keyPattern": { "a": 1 }, "expireAfterSeconds": 60 }),
            change(rawdoc! { "name": "a_1", "unique": true }),
            change(rawdoc! { "name": "a_1", "hidden": false }),
        ])
        .unwrap();
        let expected = rawdoc! { "v": 2, "key": { "a": 1 }, "name": "a_1", "expireAfterSeconds": 60, "unique": true };
        assert_eq!(records[0].indexes[1], expected);
    }

    #[test]
    fn a_collection_keeps_itself_through_names_and_databases() {
        let rename = rawdoc! { "renameCollection": "shop.orders", "to": "archive.orders.2026", "dropTarget": true };
        let mut collections = Collections::default();
        follow_as(&mut collections, "archive", &rawdoc! { "create": "orders.2026" }, [2; 16]).unwrap();
        for (db, command) in [created(), index("a_1", "a"), ("shop", rename)] {
            follow_as(&mut collections, db, &command, UUID).unwrap();
        }
        assert!(collections.was_dropped(&[2; 16]) && collections.has(&UUID));
        let records = collections.into_records();
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].db.as_str(), records[0].name.as_str()), ("archive", "orders.2026"));
        assert_eq!(index_names(&records[0]), ["_id_", "a_1"]);
    }

    #[test]
    fn what_the_backup_does_not_hold_cannot_be_renamed_into_it() {
        let rename = rawdoc! { "renameCollection": "config.odd", "to": "shop.orders" };
        let error = follow(&[("config", rename)]).unwrap_err();
        assert!(error.to_string().contains("config.odd"), "{error}");
    }

    #[test]
    fn of_a_part_what_bears_a_chosen_name_in_the_end_is_kept() {
        let only = || Collections::default().only(vec!["shop.orders*".parse().unwrap()]);
        let rename =
            |from: &str, to: &str| rawdoc! { "renameCollection": format!("shop.{from}"), "to": format!("shop.{to}") };
        let mut collections = only();
        follow_as(&mut collections, "shop", &rawdoc! { "create": "new" }, [1; 16]).unwrap();
        follow_as(&mut collections, "shop", &rename("new", "orders"), [1; 16]).unwrap();
        follow_as(&mut collections, "shop", &rawdoc! { "create": "orders_old" }, [2; 16]).unwrap();
        follow_as(&mut collections, "shop", &rename("orders_old", "past"), [2; 16]).unwrap();
        follow_as(&mut collections, "shop", &rename("unknown", "elsewhere"), [3; 16]).unwrap();
        assert!(!collections.lacks(&[3; 16], "shop.elsewhere") && collections.lacks(&[3; 16], "shop.orders"));
        let error = follow_as(&mut collections, "shop", &rename("unknown", "orders_new"), [3; 16]).unwrap_err();
        assert!(error.to_string().contains("shop.unknown"), "{error}");
        collections.forget_what_was_not_chosen();
        let records = collections.into_records();
        assert_eq!(records.iter().map(CollectionRecord::namespace).collect::<Vec<_>>(), ["shop.orders"]);
    }

    #[test]
    fn a_dropped_database_takes_its_collections_along() {
        let dropped = rawdoc! { "dropDatabase": 1 };
        assert_eq!(follow(&[created(), ("shop", dropped.clone())]).unwrap(), []);
        assert_eq!(follow(&[created(), ("other", dropped)]).unwrap().len(), 1);
    }
}
