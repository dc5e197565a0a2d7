//! What a drill, and a restore that somebody needed, showed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::backup_id::BackupId;
use super::super::time::ClusterTime;

/// What a drill showed. No namespaces: evidence is not encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillResult {
    /// The backup that was restored.
    pub backup: BackupId,
    /// The moment whose state was restored; none where the backup shows no single one.
    pub recovered_to: Option<ClusterTime>,
    /// Whether captured oplog was replayed to get there.
    pub replayed: bool,
    /// Whether it was restored into a server that the drill itself started, and not into scratch databases of another.
    pub throwaway: bool,
    /// Whether every check that could be made was passed.
    pub passed: bool,
    /// Namespaces restored.
    pub namespaces: u64,
    /// Documents loaded.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries of the oplog that were read to be replayed.
    pub entries: u64,
    /// How long it took from looking for the backup until everything was restored and checked.
    pub milliseconds: u64,
    /// The same by phase, in the order in which they began; phases may overlap.
    pub phases: Vec<Phase>,
    /// What was checked.
    pub checks: Vec<Check>,
}

/// How long one phase took: the time in which at least one of its steps was under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// `find`, `fetch`, `load`, `replay`, `indexes` or `check`.
    pub name: String,
    /// The time.
    pub milliseconds: u64,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What: `namespaces`, `options`, `indexes`, `documents`, `source`, `validate`, or the name of a check query.
    pub name: String,
    /// How it ended.
    pub outcome: CheckOutcome,
    /// What was found, or why it could not be made; names no namespaces.
    pub detail: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// What was restored is as it should be.
    Passed,
    /// It is not.
    Failed,
    /// Nothing can be said.
    Unknown,
}

/// What a restore that somebody needed has done. No namespaces: evidence is not encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreResult {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The backup.
    pub backup: BackupId,
    /// The moment whose state was restored; none where the backup shows no single one.
    pub recovered_to: Option<ClusterTime>,
    /// Whether everything in the backup was restored, and not chosen namespaces.
    pub everything: bool,
    /// What went wrong; none when it succeeded.
    pub problem: Option<String>,
    /// Namespaces restored.
    pub namespaces: u64,
    /// Documents loaded.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries of the oplog that were read to be replayed.
    pub entries: u64,
    /// How long each phase took; phases may overlap.
    pub phases: Vec<Phase>,
}
