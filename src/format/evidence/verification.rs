//! What a verification found.

use serde::{Deserialize, Serialize};

use super::super::backup_id::BackupId;

/// How many damaged objects one record names.
pub const MAX_NAMED: usize = 100;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationResult {
    /// `structure`, `checksum` or `content`.
    pub level: String,
    /// Whether everything in the repository was checked, the captured oplog too; of a subset: everything in it.
    pub everything: bool,
    /// Which of several parts of everything this was; missing for a verification of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// The backups of which everything is as recorded.
    pub sound: Vec<BackupId>,
    /// The backups of which something is not.
    pub damaged: Vec<BackupId>,
    /// How many objects were checked.
    pub checked_objects: u64,
    /// How many bytes were read.
    pub checked_bytes: u64,
    /// How many objects are not as recorded.
    pub findings: u64,
    /// How many of those belong to the captured oplog.
    pub oplog_findings: u64,
    /// The first [`MAX_NAMED`] of them, each with what is wrong.
    pub named: Vec<Finding>,
}

/// One of several parts that are everything together. An object belongs to the part that its key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subset {
    /// Its number, from 1.
    pub part: u32,
    /// How many there are.
    pub of: u32,
}

/// An object that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its key.
    pub object: String,
    /// What is wrong.
    pub problem: String,
}
