//! Evidence: signed records of what happened, each naming the ones before it.
//!
//! Records are created once and never changed. Because each names its predecessors with their hashes, one that was
//! removed or altered later is missed by those that follow. Two writers may follow the same record; the next one names
//! both.

mod configuration;
mod drill;
mod removal;
mod verification;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backup_id::BackupId;
use super::descriptor::RepositoryId;
use super::job::Job;
use super::manifest::ObjectRecord;
use super::oplog::{Range, TimelineId};
use super::{check_version, hex_digest, layout, malformed};
use crate::error::Result;

pub use configuration::{RetentionRecord, ScheduleRecord, WorkloadRecord};
pub use drill::{Check, CheckOutcome, DrillResult, Phase, RestoreResult};
pub use removal::{BackupSummary, RemovedOplog};
pub use verification::{Finding, MAX_NAMED, Subset, VerificationResult};

/// The payload of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Always `regrow-evidence`.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// 16 random hex digits.
    pub id: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Who recorded it, for people: a host and a process.
    pub recorded_by: String,
    /// The records before it that no other one names: one as a rule, several where several writers met, none for the
    /// first.
    pub previous: Vec<Predecessor>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// A record that another follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// Its key.
    pub key: String,
    /// The SHA-256 of the object as stored.
    #[serde(with = "hex_digest")]
    pub sha256: [u8; 32],
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "details", rename_all = "lowercase")]
pub enum Event {
    /// The repository was created.
    Creation {
        /// The SHA-256 of its descriptor as stored.
        #[serde(with = "hex_digest")]
        descriptor: [u8; 32],
    },
    /// A backup was taken.
    Backup {
        /// How it ran.
        run: Run,
        /// The backup.
        backup: BackupId,
        /// Whether it was made of a dump, and no server was read.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        imported: bool,
    },
    /// A backup was restored into scratch databases, checked and timed.
    Drill {
        /// How it ran.
        run: Run,
        /// What it showed.
        result: DrillResult,
    },
    /// A backup was restored because somebody needed it.
    Restore {
        /// What was done.
        result: RestoreResult,
    },
    /// A report was written.
    Report {
        /// How it ran.
        run: Run,
        /// The begin of the period that it is about.
        begin: Timestamp,
        /// The period's end, not part of it.
        end: Timestamp,
        /// The objects that it was stored as.
        files: Vec<ObjectRecord>,
    },
    /// What is stored was read again.
    Verification {
        /// How it ran.
        run: Run,
        /// What was found.
        result: VerificationResult,
    },
    /// Retention was applied.
    Expiry {
        /// How it ran.
        run: Run,
        /// Backups that expired.
        expired: Vec<BackupId>,
        /// Backups whose bytes were removed.
        removed: Vec<BackupId>,
        /// How many objects of the oplog were removed.
        oplog_objects: u64,
        /// Why not everything was removed, where the credentials may not delete.
        denied: Option<String>,
        /// Whether it ended before it had done everything; another run does the rest.
        #[serde(default)]
        ended_early: bool,
        /// What the removed backups were.
        #[serde(default)]
        removed_backups: Vec<BackupSummary>,
        /// What of the oplog was removed.
        #[serde(default)]
        removed_oplog: Vec<RemovedOplog>,
    },
    /// A run failed as often as it was tried.
    Failure {
        /// How it ran.
        run: Run,
        /// What went wrong.
        problem: String,
    },
    /// Times passed at which a job was due and did not run.
    Missed {
        /// The job.
        job: Job,
        /// The first of the times.
        first_due: Timestamp,
        /// The last of them.
        last_due: Timestamp,
        /// How many there were.
        times: u64,
        /// Why, as far as known.
        cause: String,
    },
    /// Oplog was lost before it was captured.
    Gap {
        /// Of which timeline.
        timeline: TimelineId,
        /// What is lost.
        range: Range,
        /// Why.
        cause: String,
    },
    /// What the service is to do and to reach, from here on.
    Configuration {
        /// Its schedules.
        schedules: Vec<ScheduleRecord>,
        /// Its objectives.
        workloads: Vec<WorkloadRecord>,
        /// How much it keeps; none where it keeps everything, and in records of versions that did not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retention: Option<RetentionRecord>,
    },
}

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The job.
    pub job: Job,
    /// The time of the schedule that it was for; none when a person started it, or something that happened.
    pub due: Option<Timestamp>,
    /// When its last attempt began.
    pub started_at: Timestamp,
    /// When that ended.
    pub finished_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
}

impl Run {
    /// Returns how long the last attempt took.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.finished_at.duration_since(self.started_at).unsigned_abs()
    }
}

impl Event {
    /// The names of all kinds.
    pub const KINDS: [&str; 11] = [
        "creation",
        "backup",
        "drill",
        "restore",
        "report",
        "verification",
        "expiry",
        "failure",
        "missed",
        "gap",
        "configuration",
    ];

    /// Returns its name, as in keys.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Creation { .. } => "creation",
            Self::Backup { .. } => "backup",
            Self::Drill { .. } => "drill",
            Self::Restore { .. } => "restore",
            Self::Report { .. } => "report",
            Self::Verification { .. } => "verification",
            Self::Expiry { .. } => "expiry",
            Self::Failure { .. } => "failure",
            Self::Missed { .. } => "missed",
            Self::Gap { .. } => "gap",
            Self::Configuration { .. } => "configuration",
        }
    }

    /// Returns how a job ran, if one did, up to its end.
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Backup { run, .. }
            | Self::Drill { run, .. }
            | Self::Report { run, .. }
            | Self::Verification { run, .. }
            | Self::Expiry { run, ended_early: false, .. }
            | Self::Failure { run, .. } => Some(run),
            Self::Creation { .. }
            | Self::Restore { .. }
            | Self::Expiry { .. }
            | Self::Missed { .. }
            | Self::Gap { .. }
            | Self::Configuration { .. } => None,
        }
    }
}

impl Evidence {
    /// The name that its `format` field bears.
    pub const FORMAT: &'static str = "regrow-evidence";

    /// Returns the key that it is stored under.
    #[must_use]
    pub fn key(&self) -> String {
        layout::evidence(self.recorded_at, self.event.kind(), &self.id)
    }

    /// Reads a payload whose signature has been checked, and holds it against its place.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none, or another's.
    pub fn parse(payload: &[u8], repository: &RepositoryId, key: &str) -> Result<Self> {
        let evidence: Self = serde_json::from_slice(payload).map_err(|error| malformed(key, error))?;
        check_version(key, Self::FORMAT, &evidence.format, evidence.version)?;
        if evidence.repository != *repository || evidence.key() != key {
            return Err(malformed(key, "it belongs elsewhere"));
        }
        Ok(evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_happened_and_where_it_belongs() {
        let repository = RepositoryId("9f0c".into());
        let at: Timestamp = "2026-11-23T02:00:00Z".parse().unwrap();
        let run = Run {
            job: Job::Backup(super::super::BackupKind::Daily),
            due: Some(at),
            started_at: at,
            finished_at: at,
            attempts: 1,
        };
        let evidence = Evidence {
            format: Evidence::FORMAT.into(),
            version: 1,
            repository: repository.clone(),
            id: "00000000000000aa".into(),
            recorded_at: at,
            recorded_by: "alpha".into(),
            previous: vec![Predecessor { key: "evidence/x".into(), sha256: [7; 32] }],
            event: Event::Backup { run, backup: "20261123T020000Z-daily-7f3a".parse().unwrap(), imported: false },
        };
        let json = serde_json::to_string(&evidence).unwrap();
        assert!(json.contains(r#""kind":"backup","details":{"run":{"job":"backup-daily","due":"2026-11-23"#), "{json}");
        let key = "evidence/2026/11/20261123T020000Z-backup-00000000000000aa.json";
        assert_eq!(Evidence::parse(json.as_bytes(), &repository, key).unwrap(), evidence);
        assert!(Evidence::parse(json.as_bytes(), &repository, "evidence/2026/11/other.json").is_err());
        assert!(Evidence::parse(json.as_bytes(), &RepositoryId("aa".into()), key).is_err());
    }
}
