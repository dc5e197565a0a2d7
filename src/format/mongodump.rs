//! What `mongodump` writes and `mongorestore` reads: a folder of files, or an archive of blocks.
//!
//! A folder holds `<db>/<collection>.bson` with the documents, one after the other, and `<db>/<collection>.metadata.json`
//! with options and indexes; views have only the latter, and a time series' documents lie in `system.buckets.<series>.bson`.
//! `prelude.json` names versions, `oplog.bson` holds what was written meanwhile. An [`archive`] holds the same in one stream.

pub mod allowance;
pub mod archive;
pub mod metadata;
pub mod names;

use crate::error::Error;

/// What ends the name of a file with documents.
pub const DATA: &str = ".bson";
/// What ends the name of a file with options and indexes.
pub const METADATA: &str = ".metadata.json";
/// What ends the name of a compressed file, behind the other ending.
pub const GZIP: &str = ".gz";
/// The file that names versions.
pub const PRELUDE: &str = "prelude.json";
/// The file with what was written while the dump was taken.
pub const OPLOG: &str = "oplog.bson";
/// What an archive calls that.
pub const OPLOG_COLLECTION: &str = "oplog";

/// Makes the error for a dump that is not as it was written.
pub(crate) fn damaged(what: impl std::fmt::Display, reason: impl std::fmt::Display) -> Error {
    Error::damaged(format!("{what} {reason}"))
        .with_hint("it was altered, or not written to its end; take the dump again")
}
