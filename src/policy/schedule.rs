//! What the service does by itself, and when.

use std::fmt;
use std::time::Duration;

use super::Timetable;
use crate::format::BackupKind;

/// Something that the service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Job {
    /// Takes a backup.
    Backup(BackupKind),
    /// Reads everything that is stored and holds it against what was recorded.
    Verify,
    /// Restores into scratch databases.
    Drill,
    /// Writes the compliance report.
    Report,
    /// Applies retention.
    Expire,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backup(kind) => write!(f, "the {kind} backup"),
            Self::Verify => f.write_str("the verification"),
            Self::Drill => f.write_str("the drill"),
            Self::Report => f.write_str("the report"),
            Self::Expire => f.write_str("the expiry"),
        }
    }
}

/// A job and its times.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The name of its file, without the ending.
    pub name: String,
    /// What is done.
    pub job: Job,
    /// When.
    pub timetable: Timetable,
    /// Whether a run that was missed happens as soon as it can.
    pub catch_up: bool,
    /// By how much a run may begin later, so that several services do not begin at once.
    pub jitter: Duration,
    /// How long a run may take.
    pub timeout: Option<Duration>,
    /// How often a run that failed is tried again.
    pub retries: u32,
}
