//! What a repository is made of: typed ids, the descriptor, segments, packs, manifests, catalogs, the oplog,
//! evidence.
//!
//! `docs/FORMAT.md` is the specification. Invariants: every on-disk type lives here and only here, and
//! nothing here does I/O, encrypts or compresses. Bytes that come from a store are hostile until a
//! parser here has accepted them: parsers return errors, they never panic.

pub mod accepted_key;
pub mod alerts;
pub mod backup_id;
pub mod bounds;
pub mod catalog;
pub mod checkpoint;
pub mod descriptor;
pub mod evidence;
pub mod extended_json;
pub mod header;
pub mod increment;
pub mod job;
pub mod layout;
pub mod lease;
pub mod manifest;
pub mod mark;
pub mod mongodump;
pub mod oplog;
pub mod pack;
pub mod segment;
pub mod signed;
pub mod time;
pub mod witness;

pub use backup_id::{BackupId, BackupKind};
pub use descriptor::{Descriptor, RepositoryId, SigningKeyEntry};
pub use header::{Header, Subject};
pub use job::Job;
pub use oplog::TimelineId;
pub use time::ClusterTime;

use crate::error::Error;

/// The version of the format that this program writes, and the newest it reads.
pub const VERSION: u32 = 1;

/// Makes the error for something that is not as the format describes it.
pub(crate) fn malformed(what: &str, reason: impl std::fmt::Display) -> Error {
    Error::damaged(format!("{what} is malformed: {reason}"))
        .with_hint("it was altered; bring it back from a copy of the repository")
}

/// Checks the `format` and `version` that every structure of the repository begins with.
pub(crate) fn check_version(what: &str, expected: &str, format: &str, version: u32) -> Result<(), Error> {
    check_version_up_to(VERSION, what, expected, format, version)
}

/// As [`check_version`], of a structure of which there are newer versions.
pub(crate) fn check_version_up_to(
    newest: u32,
    what: &str,
    expected: &str,
    format: &str,
    version: u32,
) -> Result<(), Error> {
    if format != expected {
        return Err(malformed(what, format!("its format is '{format}', not '{expected}'")));
    }
    if version > newest {
        return Err(newer_version(what, version));
    }
    Ok(())
}

/// Makes the error for something that a newer Regrow wrote.
pub(crate) fn newer_version(what: &str, version: u32) -> Error {
    Error::of_newer(format!("{what} has format version {version}; this Regrow reads versions up to {VERSION}"))
}

/// SHA-256 as 64 hex digits in JSON.
pub mod hex_digest {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Writes the digest as hex.
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(digest: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(digest))
    }

    /// Reads exactly 64 hex digits.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut digest = [0; 32];
        hex::decode_to_slice(&text, &mut digest).map_err(D::Error::custom)?;
        Ok(digest)
    }
}
