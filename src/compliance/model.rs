//! What is said about a period. Serialises as the report's JSON; `docs/REPORT.md` describes it.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::format::evidence::{BackupSummary, Check, Phase, RetentionRecord};
use crate::format::{BackupId, BackupKind, ClusterTime, Job};

/// A stretch of time, its end not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Period {
    /// Where it begins.
    pub begin: Timestamp,
    /// Where it ends.
    pub end: Timestamp,
}

impl Period {
    /// Returns the month (UTC) before the one that a moment lies in.
    #[must_use]
    pub fn month_before(at: Timestamp) -> Self {
        let first = TimeZone::UTC.to_datetime(at).date().first_of_month();
        let before = first.yesterday().unwrap_or(first).first_of_month();
        let midnight = |day: Date| TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).unwrap_or(at);
        Self { begin: midnight(before), end: midnight(first) }
    }
}

/// Whether something was as it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was, and the records show it.
    Met,
    /// The records do not tell.
    Unknown,
    /// It was not.
    Missed,
}

/// What the records of a repository tell about a period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compliance {
    /// The configured name of the source, as the newest backup tells.
    pub source: String,
    /// The repository's id.
    pub repository: String,
    /// The period that was asked for.
    pub period: Period,
    /// Up to when it could be judged: the period's end, or earlier where that lies in the future.
    pub until: Timestamp,
    /// The worst verdict of all workloads and of everything else.
    pub verdict: Verdict,
    /// Each workload against the objectives of its tier.
    pub workloads: Vec<Workload>,
    /// How much would have been lost in a disaster, over the period.
    pub exposure: Exposure,
    /// How long restoring takes.
    pub recovery: Recovery,
    /// Each schedule that was in force, and its runs.
    pub schedules: Vec<Schedule>,
    /// What of the repository has been read again.
    pub verification: Verification,
    /// The drills of the period, the oldest first.
    pub drills: Vec<Drill>,
    /// The restores of the period that somebody needed, the oldest first.
    pub restores: Vec<Restore>,
    /// What is kept, against what is to be kept.
    pub retention: Retention,
    /// Whether everything is encrypted.
    pub encryption: Encryption,
    /// The backups that existed at the end, the newest first.
    pub backups: Vec<Backup>,
    /// What was not as it should be, the oldest first.
    pub exceptions: Vec<Exception>,
    /// The records that this was computed from: those of the period, the oldest first.
    pub evidence: Vec<EvidenceReference>,
}

/// A workload against the objectives of its tier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// Its tier.
    pub tier: String,
    /// The worse of both.
    pub verdict: Verdict,
    /// How much would have been lost.
    pub rpo: Rpo,
    /// How long restoring it takes.
    pub rto: Rto,
}

/// How much of a workload would have been lost, against how much may be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rpo {
    /// How much may be.
    pub objective_seconds: u64,
    /// Missed by any breach.
    pub verdict: Verdict,
    /// The time that is judged: in which an objective was in force and the records tell what could be restored.
    pub judged_seconds: u64,
    /// The time in which an objective was in force and the records do not tell what could be restored.
    pub unknown_seconds: u64,
    /// The largest exposure; none where nothing was judged, or nothing could be restored at some moment.
    pub maximum_seconds: Option<u64>,
    /// The exposure that 95 % of the judged time did not exceed; none as above, where that is more than 5 % of it.
    pub p95_seconds: Option<u64>,
    /// The share of the judged time within the objective, in `[0, 1]`; none where nothing was judged.
    pub within_share: Option<f64>,
    /// The stretches in which it was exceeded, in order.
    pub breaches: Vec<Breach>,
}

/// A stretch in which more would have been lost than may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// When it began.
    pub begin: Timestamp,
    /// When it ended; none where it had not when the period did.
    pub end: Option<Timestamp>,
    /// The largest exposure in it; none where nothing could be restored.
    pub worst_seconds: Option<u64>,
    /// Why, as far as the records tell.
    pub cause: String,
    /// The ids of the records that tell it.
    pub evidence: Vec<String>,
}

/// How long restoring a workload takes, against how long it may.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rto {
    /// How long it may take.
    pub objective_seconds: u64,
    /// Unknown without a drill that passed up to the end of the period.
    pub verdict: Verdict,
    /// How long the newest drill took that passed; of everything, as drills restore everything.
    pub measured_seconds: Option<u64>,
    /// How long it would have taken at the period's end, at the rates that drills measured.
    pub predicted_seconds: Option<u64>,
}

/// How much would have been lost in a disaster, over the period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exposure {
    /// The exposure as straight lines, in order: between two points that follow each other it rises by a second each
    /// second, and falls at the end of a line. At most 600 lines; where there are more, each is the worst of several.
    pub lines: Vec<ExposureLine>,
}

/// A stretch of time in which nothing more became restorable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ExposureLine {
    /// When it begins.
    pub begin: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// What would be lost at its begin; none where nothing can be restored.
    pub begin_seconds: Option<u64>,
    /// What would be lost at its end.
    pub end_seconds: Option<u64>,
    /// Whether the records tell it at all.
    pub known: bool,
}

/// How long restoring takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recovery {
    /// The newest drill that passed, up to the end of the period.
    pub newest: Option<Drill>,
    /// How long it would have taken at the period's end, by phase.
    pub predicted: Option<Prediction>,
    /// By how many seconds a drill takes longer from one month (30 days) to the next; none with fewer than two drills.
    pub trend_seconds_per_month: Option<f64>,
    /// Drills that passed in the year before the period's end, the oldest first: when, and how long each took.
    pub history: Vec<(Timestamp, u64)>,
}

/// How long restoring everything would have taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prediction {
    /// All of it.
    pub seconds: u64,
    /// The bytes of documents that it was predicted for.
    pub bytes: u64,
    /// The slices of oplog that would have had to be replayed.
    pub slices: u64,
    /// The drill whose rates were taken.
    pub drill: String,
}

/// A schedule and its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// The job.
    pub job: Job,
    /// When it is due: a cron expression.
    pub cron: String,
    /// By which time zone's clock.
    pub timezone: String,
    /// Missed by any run that failed or did not happen.
    pub verdict: Verdict,
    /// The times of the period at which it was due, in order.
    pub runs: Vec<ScheduledRun>,
}

/// A time at which a job was due, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScheduledRun {
    /// The time.
    pub due: Timestamp,
    /// What became of it.
    pub outcome: RunOutcome,
    /// When the run that counts for it began and ended.
    pub ran: Option<Period>,
    /// What went wrong, or why it was late.
    pub note: Option<String>,
    /// The ids of the records that tell it.
    pub evidence: Vec<String>,
}

/// What became of a run that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// It began on time, or as soon as the jobs before it let it, and achieved what it was for.
    Done,
    /// It achieved what it was for, after a run that failed or more than an hour late.
    Late,
    /// It was tried and failed, or found that something is wrong.
    Failed,
    /// It was not tried.
    Missed,
    /// It may still be under way.
    Pending,
    /// The records do not tell.
    Unknown,
}

/// What of the repository has been read again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Missed while damage is open; unknown where nothing was ever verified as a whole, or something that is older than
    /// eight days was not within the last 35.
    pub verdict: Verdict,
    /// When everything was read last, byte for byte, up to the end of the period.
    pub everything_at: Option<Timestamp>,
    /// The share of the backups' stored bytes that was found sound within 35 days before the end, in `[0, 1]`; none where
    /// there are no backups.
    pub covered_share: Option<f64>,
    /// Backups that were not.
    pub uncovered: Vec<BackupId>,
    /// The verifications of the period, the oldest first.
    pub runs: Vec<VerificationRun>,
}

/// A verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerificationRun {
    /// The record's id.
    pub evidence: String,
    /// When it ended.
    pub finished_at: Timestamp,
    /// `structure`, `checksum` or `content`.
    pub level: String,
    /// Whether everything was checked, or what part of it, for people.
    pub scope: String,
    /// How many objects were checked.
    pub objects: u64,
    /// How many bytes were read.
    pub bytes: u64,
    /// How many objects were not as recorded.
    pub findings: u64,
}

/// A drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drill {
    /// The record's id.
    pub evidence: String,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The backup that was restored.
    pub backup: BackupId,
    /// The moment whose state was restored.
    pub recovered_to: Option<ClusterTime>,
    /// Whether captured oplog was replayed.
    pub replayed: bool,
    /// Whether every check that could be made was passed.
    pub passed: bool,
    /// Documents restored.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it took.
    pub seconds: u64,
    /// The same by phase.
    pub phases: Vec<Phase>,
    /// What was checked.
    pub checks: Vec<Check>,
}

/// A restore that somebody needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restore {
    /// The record's id.
    pub evidence: String,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub seconds: u64,
    /// The backup.
    pub backup: BackupId,
    /// The moment whose state was restored.
    pub recovered_to: Option<ClusterTime>,
    /// Whether everything was restored.
    pub everything: bool,
    /// Documents restored.
    pub documents: u64,
    /// What went wrong; none when it succeeded.
    pub problem: Option<String>,
}

/// What is kept, against what is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// What is to be kept; none where the records do not tell.
    pub policy: Option<RetentionRecord>,
    /// Missed where something that is to be kept is gone.
    pub verdict: Verdict,
    /// By kind: how many there were at the end, and when the oldest was taken.
    pub kept: Vec<(BackupKind, u64, Option<Timestamp>)>,
    /// How many backups were removed in the period.
    pub removed: u64,
    /// From when to when the moments that could be restored at the end lie, gaps apart.
    pub recovery_window: Vec<Period>,
}

/// Whether everything is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Encryption {
    /// Missed where a backup is not.
    pub verdict: Verdict,
    /// How many backups are.
    pub encrypted: u64,
    /// Those that are not.
    pub plain: Vec<BackupId>,
}

/// A backup that existed at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// What it is.
    #[serde(flatten)]
    pub summary: BackupSummary,
    /// When every byte of it was found sound last.
    pub verified_at: Option<Timestamp>,
    /// When it was last restored in a drill that passed.
    pub drilled_at: Option<Timestamp>,
    /// Whether something of it is known to be damaged.
    pub damaged: bool,
}

/// Something that was not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exception {
    /// When it began.
    pub begin: Timestamp,
    /// When it ended; none where it had not when the period did.
    pub end: Option<Timestamp>,
    /// What it was.
    pub what: String,
    /// Why, as far as the records tell.
    pub cause: String,
    /// What was done about it, as far as the records tell; none while nothing was.
    pub done: Option<String>,
    /// The ids of the records that tell it.
    pub evidence: Vec<String>,
}

/// A record of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvidenceReference {
    /// Its id.
    pub id: String,
    /// What kind of thing happened.
    pub kind: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Where it is stored.
    pub key: String,
    /// The SHA-256 of the object as stored, in hex.
    pub sha256: String,
}
