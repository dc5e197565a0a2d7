//! The jobs that the service does by itself, as schedules, evidence and metrics name them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::backup_id::BackupKind;
use crate::error::{Error, Kind};

/// Something that the service does at certain times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

impl Job {
    /// All that can be scheduled.
    pub const ALL: [Self; 8] = [
        Self::Backup(BackupKind::Daily),
        Self::Backup(BackupKind::Weekly),
        Self::Backup(BackupKind::Monthly),
        Self::Backup(BackupKind::Manual),
        Self::Verify,
        Self::Drill,
        Self::Report,
        Self::Expire,
    ];

    /// Returns the name that programs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup(BackupKind::Daily) => "backup-daily",
            Self::Backup(BackupKind::Weekly) => "backup-weekly",
            Self::Backup(BackupKind::Monthly) => "backup-monthly",
            Self::Backup(BackupKind::Manual) => "backup-manual",
            Self::Verify => "verify",
            Self::Drill => "drill",
            Self::Report => "report",
            Self::Expire => "expire",
        }
    }
}

/// Prints it for people.
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

impl FromStr for Job {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|job| job.as_str() == text);
        found.ok_or_else(|| Error::new(Kind::Usage, format!("'{text}' is no job")))
    }
}

impl TryFrom<String> for Job {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Job> for String {
    fn from(job: Job) -> Self {
        job.as_str().to_owned()
    }
}
