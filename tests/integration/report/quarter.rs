//! A fabricated quarter: three workloads, two breaches, a failed drill, a missed weekly backup; the rest as it should be.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use regrow::compliance::model::Period;
use regrow::compliance::{BackupFact, Facts, Recorded, SliceFact, TimelineFact};
use regrow::format::evidence::{
    BackupSummary, Check, CheckOutcome, DrillResult, Event, Evidence, Phase, RetentionRecord, Run, ScheduleRecord,
    VerificationResult, WorkloadRecord,
};
use regrow::format::manifest::{Consistency, Encryption};
use regrow::format::oplog::Range;
use regrow::format::{BackupId, BackupKind, ClusterTime, Job, RepositoryId, TimelineId};
use regrow::policy::Timetable;

/// The third quarter of 2026.
#[allow(non_snake_case)] // A constant, if times could be ones.
pub fn PERIOD() -> Period {
    Period { begin: at("2026-07-01T00:00:00Z"), end: at("2026-10-01T00:00:00Z") }
}

/// How often a slice is stored.
const SLICE: i64 = 300;

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn cluster(time: Timestamp) -> ClusterTime {
    ClusterTime { t: u32::try_from(time.as_second()).unwrap(), i: 1 }
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

const SCHEDULES: [(Job, &str); 5] = [
    (Job::Backup(BackupKind::Daily), "0 2 * * *"),
    (Job::Backup(BackupKind::Weekly), "0 3 * * 0"),
    (Job::Backup(BackupKind::Monthly), "0 4 1 * *"),
    (Job::Verify, "0 6 * * 0"),
    (Job::Drill, "0 8 1 * *"),
];

/// Returns everything that the records of the quarter tell.
pub fn facts() -> Facts {
    let mut history = History { records: Vec::new(), backups: Vec::new() };
    let begin = at("2026-06-25T00:00:00Z");
    history.record(begin, configuration());
    for (job, cron) in SCHEDULES {
        let timetable = Timetable::new(cron.parse().unwrap(), "UTC").unwrap();
        for due in timetable.due(begin, PERIOD().end) {
            history.run(job, due);
        }
    }
    // The oplog was lost at noon, and a backup at two o'clock leads on.
    let lost = Range { begin: cluster(at("2026-09-10T12:00:00Z")), end: cluster(at("2026-09-10T12:20:00Z")) };
    let timeline: TimelineId = "20260625T000000Z-7f3a".parse().unwrap();
    let cause = "the disk was full".to_owned();
    history.record(at("2026-09-10T12:21:00Z"), Event::Gap { timeline: timeline.clone(), range: lost, cause });
    history.backup(BackupKind::Daily, at("2026-09-10T14:00:00Z"), None);
    history.records.sort_by_key(|record| record.evidence.recorded_at);
    Facts {
        repository: "9f0c".into(),
        created_at: begin,
        source: "smartduka".into(),
        backups: history.backups,
        timelines: vec![TimelineFact {
            id: timeline,
            replica_set_id: "a".into(),
            begin: cluster(begin),
            slices: slices(begin, lost),
            gaps: vec![lost],
        }],
        records: history.records,
        problems: BTreeMap::new(),
        taken_at: at("2026-10-02T06:00:00Z"),
    }
}

/// Slices follow each other. On the third of August the store was away for 47 minutes.
fn slices(begin: Timestamp, lost: Range) -> BTreeMap<Range, SliceFact> {
    let (away, back) = (at("2026-08-03T10:00:00Z"), at("2026-08-03T10:47:00Z"));
    let mut slices = BTreeMap::new();
    let mut time = begin;
    while time < PERIOD().end {
        let end = time + SignedDuration::from_secs(SLICE);
        let range = Range { begin: cluster(time), end: cluster(end) };
        let stored_at = if end > away && end < back { back } else { end + SignedDuration::from_secs(2) };
        if range.end <= lost.begin || range.begin >= lost.end {
            slices.insert(range, SliceFact { stored_at, entries: 4000, removed_at: None });
        }
        time = end;
    }
    slices
}

fn configuration() -> Event {
    let workload = |name: &str, tier: &str, rpo_seconds: u64, rto_seconds: u64| WorkloadRecord {
        name: name.into(),
        tier: tier.into(),
        rpo_seconds,
        rto_seconds,
    };
    let schedule =
        |(job, cron): (Job, &str)| ScheduleRecord { job, cron: cron.into(), timezone: "UTC".into(), catch_up: true };
    Event::Configuration {
        schedules: SCHEDULES.map(schedule).to_vec(),
        workloads: vec![
            workload("orders", "critical", 900, 3600),
            workload("stock", "high", 3600, 4 * 3600),
            workload("archive", "medium", 24 * 3600, 24 * 3600),
        ],
        retention: Some(RetentionRecord { daily: Some(100), weekly: Some(20), monthly: Some(12), oplog_seconds: None }),
    }
}

struct History {
    records: Vec<Recorded>,
    backups: Vec<BackupFact>,
}

impl History {
    fn record(&mut self, recorded_at: Timestamp, event: Event) {
        let id = format!("{:016x}", self.records.len());
        let evidence = Evidence {
            format: Evidence::FORMAT.into(),
            version: 1,
            repository: RepositoryId("9f0c".into()),
            id,
            recorded_at,
            recorded_by: "alpha (process 1)".into(),
            previous: Vec::new(),
            event,
        };
        let sha256 = regrow::codec::sha256(evidence.id.as_bytes());
        self.records.push(Recorded { key: evidence.key(), sha256, evidence });
    }

    fn run(&mut self, job: Job, due: Timestamp) {
        match job {
            Job::Backup(BackupKind::Weekly) if due == at("2026-08-16T03:00:00Z") => {
                let cause = "no service was at work, or an earlier run took too long".into();
                self.record(
                    due + minutes(60 * 24),
                    Event::Missed { job, first_due: due, last_due: due, times: 1, cause },
                );
            }
            Job::Backup(kind) => self.backup(kind, due, Some(due)),
            Job::Verify => {
                let run = Run { job, due: Some(due), started_at: due, finished_at: due + minutes(40), attempts: 1 };
                let sound: Vec<BackupId> = self.backups.iter().map(|backup| backup.summary.id.clone()).collect();
                let sound =
                    sound.into_iter().filter(|id| id.second() < due.strftime("%Y%m%dT%H%M%SZ").to_string().as_str());
                let result = VerificationResult {
                    level: "checksum".into(),
                    everything: true,
                    subset: None,
                    sound: sound.collect(),
                    damaged: Vec::new(),
                    checked_objects: 900,
                    checked_bytes: 80_000_000_000,
                    findings: 0,
                    oplog_findings: 0,
                    named: Vec::new(),
                };
                self.record(due + minutes(41), Event::Verification { run, result });
            }
            _ => self.drill(due),
        }
    }

    fn backup(&mut self, kind: BackupKind, started_at: Timestamp, due: Option<Timestamp>) {
        let number = self.backups.len();
        let id: BackupId = format!("{}-{kind}-{number:04x}", started_at.strftime("%Y%m%dT%H%M%SZ")).parse().unwrap();
        let finished_at = started_at + minutes(12);
        let job = Job::Backup(kind);
        self.record(
            finished_at,
            Event::Backup {
                run: Run { job, due, started_at, finished_at, attempts: 1 },
                backup: id.clone(),
                imported: false,
            },
        );
        let grown = number as u64 * 20_000_000;
        let summary = BackupSummary {
            id,
            kind,
            started_at,
            finished_at,
            replica_set_id: Some("a".into()),
            cluster_time: Some(cluster(started_at)),
            replay_from: Some(cluster(started_at)),
            consistency: Consistency::Snapshot,
            partial: false,
            encryption: Encryption::Age,
            namespaces: 40,
            documents: 9_000_000 + number as u64 * 10_000,
            bytes_raw: 12_000_000_000 + grown,
            bytes_stored: 2_400_000_000 + grown / 5,
        };
        self.backups.push(BackupFact { summary, removed_at: None });
    }

    /// The drill of August does not pass.
    fn drill(&mut self, due: Timestamp) {
        let passed = due != at("2026-08-01T08:00:00Z");
        let newest = self
            .backups
            .iter()
            .filter(|backup| backup.summary.finished_at < due)
            .max_by_key(|backup| backup.summary.finished_at);
        let summary = newest.unwrap().summary.clone();
        let phase = |name: &str, seconds: u64| Phase { name: name.into(), milliseconds: seconds * 1000 };
        let check = |name: &str, outcome: CheckOutcome, detail: &str| Check {
            name: name.into(),
            outcome,
            detail: detail.into(),
        };
        let documents = if passed {
            check("documents", CheckOutcome::Passed, "each is the one that was backed up, byte for byte, 38 checked")
        } else {
            check("documents", CheckOutcome::Failed, "1 not as they should be, of 38 checked")
        };
        let result = DrillResult {
            backup: summary.id,
            recovered_to: Some(cluster(due - minutes(300))),
            replayed: true,
            throwaway: true,
            passed,
            namespaces: 40,
            documents: summary.documents,
            bytes: summary.bytes_raw,
            entries: 900_000,
            milliseconds: 1_560_000,
            phases: vec![
                phase("find", 20),
                phase("load", 700),
                phase("fetch", 510),
                phase("replay", 300),
                phase("indexes", 420),
                phase("check", 640),
            ],
            checks: vec![
                check("namespaces", CheckOutcome::Passed, "exactly those that were backed up, 40 checked"),
                documents,
                check(
                    "source",
                    CheckOutcome::Unknown,
                    "the source cannot show that moment any more: it keeps about five minutes",
                ),
                check("paid orders are there", CheckOutcome::Passed, "as expected, 1 checked"),
            ],
        };
        let run = Run { job: Job::Drill, due: Some(due), started_at: due, finished_at: due + minutes(27), attempts: 1 };
        self.record(due + minutes(27), Event::Drill { run, result });
    }
}
