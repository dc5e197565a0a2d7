//! Increments: backups that hold what has changed since another one, and name that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backup_id::BackupId;
use super::catalog::SegmentRef;

/// The most increments behind one full backup: those of a week. Each is one more object that a restore needs.
pub const MOST_INCREMENTS: u32 = 7;

/// Returns what a backup builds on, the nearest first, where `parents` says what each increment was built on.
pub fn ancestors<'a>(
    parents: &'a BTreeMap<BackupId, BackupId>,
    id: &'a BackupId,
) -> impl Iterator<Item = &'a BackupId> {
    std::iter::successors(parents.get(id), |id| parents.get(id)).take(MOST_INCREMENTS as usize)
}

/// What the manifest of an increment says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncrementRecord {
    /// The backup whose state it changes into its own.
    pub parent: BackupId,
    /// The full backup that everything begins with.
    pub base: BackupId,
    /// How many increments lead to this one from there, from 1.
    pub number: u32,
    /// How many documents it holds itself.
    pub documents: u64,
    /// Their bytes as BSON.
    pub bytes: u64,
    /// How many `_id`s it names as touched.
    pub touched: u64,
    /// The same, with those of the increments that it builds on.
    pub chain_touched: u64,
    /// The stored bytes of it and of everything that it builds on.
    pub chain_bytes_stored: u64,
}

/// What an increment holds of a collection that its parent holds too: the touched documents as they are at its moment,
/// and the `_id`s of all that were touched, whether they are still there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangesRecord {
    /// About how many documents the collection has in all, as the source counts them.
    pub documents: u64,
    /// About how many bytes they have.
    pub bytes: u64,
    /// The segments of the touched `_id`s: documents with no other field.
    pub touched: Vec<SegmentRef>,
}
