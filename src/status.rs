//! How things stand now: what could be restored, how the jobs fare, and what is wrong.
//!
//! [`Observer::observe`] reads the repository, [`assess`] judges what was read: a pure function, so that the service, the
//! command line and a test with an invented history say the same. Nothing here asks a running service: it answers on
//! any machine that can read the repository.

mod exposure;
mod facts;
mod problems;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

pub use facts::{Facts, Observer};

use crate::format::evidence::{DrillResult, Phase, Run, WorkloadRecord};
use crate::format::manifest::Manifest;
use crate::format::oplog::Range;
use crate::format::{BackupId, BackupKind, ClusterTime, Job};
use crate::notify::Alert;
use crate::policy::history::Trouble;

/// What is to be reached.
#[derive(Debug, Clone, Default)]
pub struct Objectives {
    /// Each workload's objectives.
    pub workloads: Vec<WorkloadRecord>,
    /// How many bytes the repository may hold, if that is limited.
    pub budget: Option<u64>,
}

/// How things stand.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// When this was found out.
    pub taken_at: Timestamp,
    /// The running service that does the work, if there is one.
    pub service: Option<Service>,
    /// How each workload stands against its objectives.
    pub workloads: Vec<WorkloadStatus>,
    /// How much of the newest past would be lost in a disaster now; none when nothing can be restored at all.
    pub exposure_seconds: Option<u64>,
    /// How long it would take to restore everything; none when nothing can be restored at all.
    pub predicted_rto_seconds: Option<u64>,
    /// The moments that can be restored.
    pub recovery_window: Vec<Range>,
    /// How far the newest captured entry lies back; none where no oplog is captured.
    pub capture_lag_seconds: Option<u64>,
    /// The newest backup of everything.
    pub newest_backup: Option<BackupStatus>,
    /// The newest backup of each kind.
    pub backups: BTreeMap<BackupKind, KindStatus>,
    /// Every backup and its state, the newest first.
    pub backups_kept: Vec<BackupState>,
    /// The drills of the last months, the newest first.
    pub drills: Vec<DrillStatus>,
    /// When every byte was verified last.
    pub verified_at: Option<Timestamp>,
    /// How the scheduled jobs fare.
    pub jobs: Vec<JobStatus>,
    /// The bytes that the repository holds.
    pub stored_bytes: u64,
    /// What is wrong, the worst first.
    pub problems: Vec<Alert>,
    /// Whether nothing is.
    pub ok: bool,
}

/// The service that holds the lease.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    /// A host and a process.
    pub description: String,
    /// Since when it leads.
    pub since: Timestamp,
    /// Its number.
    pub generation: u64,
}

/// A workload against its objectives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkloadStatus {
    /// Its name.
    pub name: String,
    /// Its tier.
    pub tier: String,
    /// How much of it would be lost in a disaster now; none when it cannot be restored at all.
    pub exposure_seconds: Option<u64>,
    /// How much may be.
    pub rpo_seconds: u64,
    /// How long restoring it would take; none when it cannot be restored at all.
    pub predicted_rto_seconds: Option<u64>,
    /// How long it may take.
    pub rto_seconds: u64,
    /// Whether both are met.
    pub ok: bool,
}

/// The newest backup.
#[derive(Debug, Clone, Serialize)]
pub struct BackupStatus {
    /// Its id.
    pub id: BackupId,
    /// When it was complete.
    pub finished_at: Timestamp,
    /// The moment that it shows.
    pub cluster_time: Option<ClusterTime>,
    /// Since when every byte of it is known to be as it was written.
    pub verified_at: Option<Timestamp>,
    /// Since when something of it is known to be damaged.
    pub damaged_since: Option<Timestamp>,
}

/// A backup and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupState {
    /// Its id.
    pub id: BackupId,
    /// When it was complete.
    pub finished_at: Timestamp,
    /// Its bytes as BSON.
    pub bytes_raw: u64,
    /// Its bytes as stored.
    pub bytes_stored: u64,
    /// Since when every byte of it is known to be as it was written.
    pub verified_at: Option<Timestamp>,
    /// When it was last restored in a drill that passed.
    pub drilled_at: Option<Timestamp>,
    /// Whether something of it is known to be damaged.
    pub damaged: bool,
}

/// A drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrillStatus {
    /// When it ended.
    pub finished_at: Timestamp,
    /// The backup that was restored.
    pub backup: BackupId,
    /// Whether every check that could be made was passed.
    pub passed: bool,
    /// The bytes of documents that were restored.
    pub bytes: u64,
    /// How long it took.
    pub seconds: u64,
    /// The same by phase; phases overlap.
    pub phases: Vec<Phase>,
}

/// The backups of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct KindStatus {
    /// How many there are.
    pub count: u64,
    /// The newest one's bytes as BSON.
    pub bytes_raw: u64,
    /// The newest one's bytes as stored.
    pub bytes_stored: u64,
    /// How long it took to take the newest one.
    pub duration_seconds: u64,
}

/// A scheduled job.
#[derive(Debug, Clone, Serialize)]
pub struct JobStatus {
    /// The job.
    pub job: Job,
    /// When it is due.
    pub cron: String,
    /// By which time zone's clock.
    pub timezone: String,
    /// Its newest run that achieved what it was for.
    pub last_success: Option<Run>,
    /// When it is due next; a time that has passed where it is overdue.
    pub next_due: Option<Timestamp>,
    /// What became of its newest time, where that is no success.
    #[serde(skip)]
    pub trouble: Option<Trouble>,
    /// The same for people.
    pub problem: Option<String>,
}

impl Status {
    /// Returns what programs read, the same from the command line and from the service.
    #[must_use]
    pub fn to_json(&self, source: &str, repository: &str) -> Value {
        let mut answer = json!(self);
        answer["source"] = source.into();
        answer["repository"] = repository.into();
        answer
    }
}

/// Judges what was read of a repository at `facts.now`.
#[must_use]
pub fn assess(facts: &Facts, objectives: &Objectives) -> Status {
    let reach = exposure::reach(facts);
    let exposure = reach.end.map(|end| exposure::since(end, facts.now));
    let predicted = reach.base.as_ref().map(|_| facts.restore_time);
    let judge = |workload: &WorkloadRecord| judge(workload, exposure, predicted);
    let mut status = Status {
        taken_at: facts.now,
        service: facts.lease.as_ref().filter(|lease| lease.service && !lease.is_free(facts.now)).map(|lease| Service {
            description: lease.description.clone(),
            since: lease.acquired_at,
            generation: lease.generation,
        }),
        workloads: objectives.workloads.iter().map(judge).collect(),
        exposure_seconds: exposure.map(|exposure| exposure.as_secs()),
        predicted_rto_seconds: predicted.map(|time| time.as_secs()),
        recovery_window: reach.window,
        capture_lag_seconds: facts.captured.last().map(|last| exposure::since(last.end().wall(), facts.now).as_secs()),
        newest_backup: newest(facts),
        backups: kinds(facts),
        backups_kept: kept(facts),
        drills: drills(facts),
        verified_at: facts.soundness.everything_at,
        jobs: facts.jobs(),
        stored_bytes: facts.stored_bytes,
        problems: Vec::new(),
        ok: true,
    };
    status.problems = problems::find(facts, objectives, &status, reach.end);
    status.ok = status.problems.is_empty();
    status
}

fn judge(workload: &WorkloadRecord, exposure: Option<Duration>, predicted: Option<Duration>) -> WorkloadStatus {
    let within = |actual: Option<Duration>, objective: u64| actual.is_some_and(|actual| actual.as_secs() <= objective);
    WorkloadStatus {
        name: workload.name.clone(),
        tier: workload.tier.clone(),
        exposure_seconds: exposure.map(|exposure| exposure.as_secs()),
        rpo_seconds: workload.rpo_seconds,
        predicted_rto_seconds: predicted.map(|time| time.as_secs()),
        rto_seconds: workload.rto_seconds,
        ok: within(exposure, workload.rpo_seconds) && within(predicted, workload.rto_seconds),
    }
}

fn newest(facts: &Facts) -> Option<BackupStatus> {
    let newest = facts.backups().find(|manifest| !manifest.partial)?;
    Some(BackupStatus {
        id: newest.id.clone(),
        finished_at: newest.finished_at,
        cluster_time: newest.cluster_time,
        verified_at: facts.soundness.verified.get(&newest.id).copied(),
        damaged_since: facts.soundness.damaged.get(&newest.id).copied(),
    })
}

fn kept(facts: &Facts) -> Vec<BackupState> {
    let drilled = |id: &BackupId| {
        let mut passed = facts.drills().filter(|(_, result)| result.passed && result.backup == *id);
        passed.next().map(|(run, _)| run.finished_at)
    };
    let state = |manifest: &Manifest| BackupState {
        id: manifest.id.clone(),
        finished_at: manifest.finished_at,
        bytes_raw: manifest.bytes_raw,
        bytes_stored: manifest.bytes_stored,
        verified_at: facts.soundness.verified.get(&manifest.id).copied(),
        drilled_at: drilled(&manifest.id),
        damaged: facts.soundness.damaged.contains_key(&manifest.id),
    };
    facts.backups().map(state).collect()
}

fn drills(facts: &Facts) -> Vec<DrillStatus> {
    let drill = |(run, result): (&Run, &DrillResult)| DrillStatus {
        finished_at: run.finished_at,
        backup: result.backup.clone(),
        passed: result.passed,
        bytes: result.bytes,
        seconds: result.milliseconds.div_ceil(1000),
        phases: result.phases.clone(),
    };
    facts.drills().map(drill).collect()
}

fn kinds(facts: &Facts) -> BTreeMap<BackupKind, KindStatus> {
    let mut kinds: BTreeMap<BackupKind, KindStatus> = BTreeMap::new();
    let new = |manifest: &Manifest| KindStatus {
        count: 0,
        bytes_raw: manifest.bytes_raw,
        bytes_stored: manifest.bytes_stored,
        duration_seconds: manifest.finished_at.duration_since(manifest.started_at).unsigned_abs().as_secs(),
    };
    // The newest comes first.
    for manifest in facts.backups() {
        kinds.entry(manifest.kind).or_insert_with(|| new(manifest)).count += 1;
    }
    kinds
}
