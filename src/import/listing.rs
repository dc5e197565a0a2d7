//! What a dump says that it holds: namespaces with options and indexes, and where the documents of each are to go.

use std::collections::HashMap;

use bson::RawDocumentBuf;

use crate::error::Result;
use crate::format::catalog::{CollectionKind, CollectionRecord};
use crate::format::mongodump::allowance::Allowance;
use crate::format::mongodump::archive::Place;
use crate::format::mongodump::metadata::Metadata;
use crate::format::mongodump::{OPLOG_COLLECTION, damaged};
use crate::namespace::{self, buckets_of};
use crate::operations::is_restored;
use crate::random::Random;

/// Where documents go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Into the collection of this number.
    Collection(usize),
    Oplog,
    Users,
    Roles,
    /// What servers keep about their version.
    Version,
    /// Nowhere: a server's own affair.
    Nowhere,
}

/// The versions that a dump names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Versions {
    pub server: Option<String>,
    pub tool: Option<String>,
}

/// What a dump holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub versions: Versions,
    /// What else it may say before its documents.
    pub allowance: Allowance,
    /// The collections, without documents so far.
    pub records: Vec<CollectionRecord>,
    /// Where the documents of a namespace go, by the name under which they lie.
    pub targets: HashMap<Place, Target>,
    /// What is not taken: namespaces of the server's own, files of nobody's.
    pub passed_over: Vec<String>,
    /// Collections of which the dump does not say options and indexes.
    pub bare: Vec<String>,
    /// Collections that have no UUID but an invented one.
    pub nameless: Vec<(String, String)>,
}

impl Listing {
    /// Adds a namespace as people know it.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is there twice.
    pub fn add(&mut self, db: &str, name: &str, metadata: Option<Metadata>) -> Result<()> {
        // The dump's oplog has a place of its own, and no database.
        if !db.is_empty()
            && let Some(reason) = namespace::fault(db, name)
        {
            return Err(damaged("the dump", format!("names {:?}: {reason}", format!("{db}.{name}"))));
        }
        if let Some(target) = of_server(db, name) {
            if target == Target::Nowhere {
                self.passed_over.push(format!("{db}.{name}"));
            }
            return self.goes(db, name, target);
        }
        let Some(metadata) = metadata else {
            self.bare.push(format!("{db}.{name}"));
            return self.collection(db, name, CollectionKind::Collection, None);
        };
        match kind(&metadata) {
            CollectionKind::View => {
                self.records.push(record(db, name, CollectionKind::View, Some(metadata)));
                // An archive says that views end, too.
                self.goes(db, name, Target::Nowhere)
            }
            CollectionKind::Timeseries => {
                self.records.push(record(db, name, CollectionKind::Timeseries, Some(metadata)));
                self.collection(db, &buckets_of(name), CollectionKind::Buckets, None)
            }
            kind => self.collection(db, name, kind, Some(metadata)),
        }
    }

    fn collection(&mut self, db: &str, name: &str, kind: CollectionKind, metadata: Option<Metadata>) -> Result<()> {
        self.goes(db, name, Target::Collection(self.records.len()))?;
        self.records.push(record(db, name, kind, metadata));
        Ok(())
    }

    fn goes(&mut self, db: &str, name: &str, target: Target) -> Result<()> {
        match self.targets.insert((db.to_owned(), name.to_owned()), target) {
            Some(_) => Err(damaged("the dump", format!("names {db}.{name} twice"))),
            None => Ok(()),
        }
    }

    /// Whether it brings along what was written meanwhile.
    pub fn has_oplog(&self) -> bool {
        self.targets.values().any(|target| *target == Target::Oplog)
    }

    /// Gives a UUID to every collection that has none: by it a replay would find it. The oplog knows it by another, so
    /// whoever follows that must make sure that none of its entries is about such a collection.
    pub fn name_all(&mut self, random: &Random) {
        let has_documents = |record: &&mut CollectionRecord| {
            matches!(record.kind, CollectionKind::Collection | CollectionKind::Buckets)
        };
        for record in self.records.iter_mut().filter(has_documents).filter(|record| record.uuid.is_none()) {
            let uuid = (u128::from(random.next_u64()) << 64) | u128::from(random.next_u64());
            record.uuid = Some(uuid.to_be_bytes());
            self.nameless.push((record.db.clone(), record.name.clone()));
        }
    }
}

/// Returns where the documents of the server's own namespaces go; nothing for a person's.
fn of_server(db: &str, name: &str) -> Option<Target> {
    match (db, name) {
        ("", OPLOG_COLLECTION) => Some(Target::Oplog),
        // With a `$`: those of one database, from a dump of that alone.
        ("admin", "system.users") | (_, "$admin.system.users") => Some(Target::Users),
        ("admin", "system.roles") | (_, "$admin.system.roles") => Some(Target::Roles),
        ("admin", "system.version") | (_, "$admin.system.version") => Some(Target::Version),
        _ if !is_restored(db, name) => Some(Target::Nowhere),
        _ => None,
    }
}

fn kind(metadata: &Metadata) -> CollectionKind {
    let has = |option: &str| matches!(metadata.options.get(option), Ok(Some(_)));
    match metadata.kind.as_deref() {
        Some("view") => CollectionKind::View,
        Some("timeseries") => CollectionKind::Timeseries,
        // Dumps of old tools do not say it.
        _ if has("viewOn") => CollectionKind::View,
        _ if has("timeseries") => CollectionKind::Timeseries,
        _ => CollectionKind::Collection,
    }
}

fn record(db: &str, name: &str, kind: CollectionKind, metadata: Option<Metadata>) -> CollectionRecord {
    let ordered = metadata.as_ref().is_some_and(Metadata::is_capped);
    let metadata = metadata.unwrap_or_else(|| Metadata {
        options: RawDocumentBuf::new(),
        indexes: Vec::new(),
        uuid: None,
        collection: None,
        kind: None,
    });
    let Metadata { options, indexes, uuid, .. } = metadata;
    CollectionRecord {
        db: db.into(),
        name: name.into(),
        kind,
        uuid,
        options,
        indexes,
        documents: 0,
        bytes: 0,
        digest: [0; 32],
        ordered,
        in_snapshot: false,
        segments: Vec::new(),
        changes: None,
    }
}
