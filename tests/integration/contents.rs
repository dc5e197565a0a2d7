//! What a deployment holds, byte for byte, and the first place where two differ.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use mongodb::bson::{RawBson, RawDocument, RawDocumentBuf, Timestamp, cstr, rawdoc};
use mongodb::{Client, Database};

/// How much of a document a failure shows.
const SHOWN: usize = 600;

/// Namespaces by database and name.
#[derive(Clone, PartialEq)]
pub struct Contents(BTreeMap<(String, String), Namespace>);

#[derive(Clone, PartialEq)]
struct Namespace {
    /// The entry of `listCollections`, less what is each collection's own.
    listing: RawDocumentBuf,
    indexes: BTreeMap<String, RawDocumentBuf>,
    /// In natural order where that counts, else sorted by their bytes.
    documents: Vec<RawDocumentBuf>,
}

impl Contents {
    /// Reads everything but the server's own databases and its own collections in `admin`.
    pub async fn of(client: &Client) -> Self {
        let names = client.list_database_names().await.expect("the server lists its databases");
        let mut contents = BTreeMap::new();
        for db in names.iter().filter(|db| !["local", "config"].contains(&db.as_str())) {
            contents.extend(Self::of_database(client, db).await.0);
        }
        Self(contents)
    }

    pub async fn of_database(client: &Client, db: &str) -> Self {
        Self::read(client, db, None).await
    }

    /// Reads a database as it was at a cluster time; capped collections, which no server reads so, without documents.
    pub async fn of_database_at(client: &Client, db: &str, at: Timestamp) -> Self {
        Self::read(client, db, Some(at)).await
    }

    /// Forgets the documents of capped collections, to compare with what [`of_database_at`](Self::of_database_at) read.
    pub fn without_capped_documents(mut self) -> Self {
        self.0
            .values_mut()
            .filter(|namespace| is_capped(&namespace.listing))
            .for_each(|namespace| namespace.documents.clear());
        self
    }

    /// Forgets time series whose buckets alone `source` has. A server that an election stops between the two steps of a drop, or
    /// of a creation, leaves buckets that nobody can name; a restore makes them a time series again.
    pub fn without_mended_time_series(mut self, source: &Self) -> Self {
        let has = |db: &str, name: &str| source.0.contains_key(&(db.to_owned(), name.to_owned()));
        self.0.retain(|(db, name), _| has(db, name) || !has(db, &format!("system.buckets.{name}")));
        self
    }

    /// Keeps only the namespaces of these names, as [`names`](Self::names) has them.
    pub fn keep(&mut self, names: &[String]) {
        self.0.retain(|(db, name), _| names.contains(&format!("{db}.{name}")));
    }

    /// Puts the namespaces of several databases together.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    async fn read(client: &Client, db: &str, at: Option<Timestamp>) -> Self {
        let database = client.database(db);
        let mut contents = BTreeMap::new();
        for entry in all(&database, rawdoc! { "listCollections": 1, "cursor": {} }).await {
            let name = entry.get_str("name").expect("each collection has a name").to_owned();
            // Views are compared by their options and what they show; nobody but root reads where the server keeps them.
            if !is_the_servers_own(db, &name) && name != "system.views" {
                let namespace = Namespace::read(&database, &name, &entry, at).await;
                contents.insert((db.to_owned(), name), namespace);
            }
        }
        Self(contents)
    }

    pub fn names(&self) -> Vec<String> {
        self.0.keys().map(|(db, name)| format!("{db}.{name}")).collect()
    }

    /// Returns how many documents a namespace holds; none when there is no such namespace.
    pub fn count(&self, db: &str, name: &str) -> Option<usize> {
        self.0.get(&(db.to_owned(), name.to_owned())).map(|namespace| namespace.documents.len())
    }

    /// Returns only the namespaces that `chosen` takes, under the names that it gives them.
    pub fn renamed(&self, chosen: impl Fn(&str, &str) -> Option<(String, String)>) -> Self {
        let kept = self.0.iter().filter_map(|((db, name), namespace)| {
            let key = chosen(db, name)?;
            // The name is part of the listing, and nothing else in it is.
            let mut listing = rawdoc! { "name": key.1.as_str() };
            copy(&namespace.listing, &mut listing, |field| field != "name");
            Some((key, Namespace { listing, ..namespace.clone() }))
        });
        Self(kept.collect())
    }

    /// Panics with the first namespace and the first document, option or index that differs.
    pub fn assert_equals(&self, source: &Self) {
        let missing: Vec<_> = source.names().into_iter().filter(|name| !self.names().contains(name)).collect();
        let added: Vec<_> = self.names().into_iter().filter(|name| !source.names().contains(name)).collect();
        assert!(missing.is_empty() && added.is_empty(), "missing: {missing:?}\nadded: {added:?}");
        for ((db, name), namespace) in &self.0 {
            let expected = &source.0[&(db.clone(), name.clone())];
            namespace.assert_equals(expected, &format!("{db}.{name}"));
        }
    }
}

impl Namespace {
    async fn read(database: &Database, name: &str, entry: &RawDocument, at: Option<Timestamp>) -> Self {
        let mut listing = RawDocumentBuf::new();
        copy(entry, &mut listing, |field| field != "info"); // The UUID, which is each collection's own.
        let is_capped = is_capped(entry);
        let mut find = rawdoc! { "find": name };
        if is_capped {
            find.append(cstr!("hint"), rawdoc! { "$natural": 1 });
        }
        if let Some(at) = at {
            find.append(cstr!("readConcern"), rawdoc! { "level": "snapshot", "atClusterTime": at });
        }
        // Views and time series are read through, too: what they show is what people see.
        let mut documents = if is_capped && at.is_some() { Vec::new() } else { all(database, find).await };
        if !is_capped {
            documents.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        }
        // The indexes of buckets are the server's translation of those of their time series, which are compared.
        let has_indexes =
            entry.get_str("type").is_ok_and(|kind| kind != "view") && !name.starts_with("system.buckets.");
        let indexes =
            if has_indexes { all(database, rawdoc! { "listIndexes": name, "cursor": {} }).await } else { Vec::new() };
        let name = |index: &RawDocumentBuf| index.get_str("name").expect("each index has a name").to_owned();
        let indexes = indexes.into_iter().map(|index| (name(&index), index)).collect();
        Self { listing, indexes, documents }
    }

    fn assert_equals(&self, expected: &Self, namespace: &str) {
        assert_same(&self.listing, &expected.listing, &format!("{namespace:?}: the listing"));
        let names = |namespace: &Self| namespace.indexes.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(expected), "{namespace:?}: the indexes");
        for (name, index) in &self.indexes {
            assert_same(index, &expected.indexes[name], &format!("{namespace:?}: the index {name:?}"));
        }
        for (number, (document, expected)) in self.documents.iter().zip(&expected.documents).enumerate() {
            assert_same(document, expected, &format!("{namespace:?}: document {number}"));
        }
        assert_eq!(self.documents.len(), expected.documents.len(), "{namespace:?}: how many documents");
    }
}

fn is_capped(listing: &RawDocument) -> bool {
    listing.get_document("options").expect("each has options").get_bool("capped").unwrap_or(false)
}

fn assert_same(found: &RawDocument, expected: &RawDocument, what: &str) {
    let (found, expected) = (found.as_bytes(), expected.as_bytes());
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
    panic!("{what} differs from byte {at}\nfound    {}\nexpected {}", readable(found), readable(expected));
}

fn readable(bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).escape_debug().to_string();
    let parsed = RawDocument::from_bytes(bytes).map(|document| format!("{document:?}")).unwrap_or_default();
    format!("{} bytes: {parsed:.600}\n    \"{shown}\"", bytes.len())
}

/// The collections that the server keeps for itself: accounts and its version; a profile is a node's own.
fn is_the_servers_own(db: &str, name: &str) -> bool {
    (db == "admin" && name.starts_with("system.")) || name == "system.profile"
}

fn copy(from: &RawDocument, to: &mut RawDocumentBuf, wanted: impl Fn(&str) -> bool) {
    for element in from.iter_elements() {
        let element = element.expect("what the server lists is BSON");
        if wanted(element.key().as_str()) {
            to.append(element.key(), RawBson::from(element.value().expect("what the server lists is BSON")));
        }
    }
}

/// Returns every document that a command's cursor gives, as bytes.
pub async fn all(database: &Database, command: RawDocumentBuf) -> Vec<RawDocumentBuf> {
    let text = format!("{}: {command:?}", database.name());
    let cursor =
        database.run_raw_cursor_command(command).batch().await.unwrap_or_else(|error| panic!("{text}: {error}"));
    let batches: Vec<_> = cursor.try_collect().await.unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut documents = Vec::new();
    for batch in &batches {
        for document in batch.doc_slices().expect("a reply has a batch") {
            let document = document.expect("a batch is an array");
            documents.push(document.as_document().expect("of documents").to_owned());
        }
    }
    documents
}
