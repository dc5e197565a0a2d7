//! What the oplog's entries mean: which operations they hold, when those count, what becomes of collections.
//!
//! No server, no repository, no clock; only long transactions wait in files. What is written is here; how it is written
//! is `mongo`'s. An entry of a kind that is not known is an error everywhere: replaying past it would restore something
//! that never was.

mod bucket_index;
mod changes;
mod collections;
mod course;
mod definitions;
mod document_key;
mod entry;
pub mod identity;
mod mention;

pub use changes::{Changes, Counted, Fate, Shown};
pub use collections::Collections;
pub use course::{Course, Outlook};
pub use document_key::document_key;
pub use entry::{Group, Meaning, Operation, OperationKind, TransactionId, Written, time as entry_time};
pub use mention::mentions;

use crate::namespace;

/// What stays the same about a collection for as long as it exists, whatever its name.
pub type CollectionUuid = [u8; 16];

/// Whether a backup holds a namespace of this name, and so a replay changes it.
///
/// Not those of the server itself, nor those of a search engine beside it.
#[must_use]
pub fn is_restored(db: &str, collection: &str) -> bool {
    !namespace::is_never_backed_up(db) && !db.starts_with("__mdb_internal") && namespace::holds_data(collection)
}

/// The collection of a database that holds its views.
pub const VIEWS: &str = "system.views";

#[cfg(test)]
mod tests {
    use super::is_restored;

    #[test]
    fn what_the_server_keeps_for_itself_is_not_replayed() {
        for (db, collection) in [
            ("local", "oplog.rs"),
            ("config", "transactions"),
            ("config", "image_collection"),
            ("config", "changelog"),
            ("config", "system.indexBuilds"),
            ("shop", "system.profile"),
            ("shop", "system.views"),
            ("admin", "system.keys"),
            ("admin", "system.version"),
            ("__mdb_internal_search", "indexes"),
        ] {
            assert!(!is_restored(db, collection), "{db}.{collection}");
        }
        for (db, collection) in
            [("shop", "orders"), ("shop", "system.js"), ("shop", "system.buckets.weather"), ("admin", "settings")]
        {
            assert!(is_restored(db, collection), "{db}.{collection}");
        }
    }
}
