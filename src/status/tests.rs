//! How things are judged, over invented histories.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Facts, Objectives, Status, assess};
use crate::format::evidence::{Event, Evidence, Run, ScheduleRecord, WorkloadRecord};
use crate::format::lease::Lease;
use crate::format::oplog::{Gap, Range};
use crate::format::{BackupKind, ClusterTime, Job, RepositoryId};
use crate::notify::Severity;
use crate::policy::history::{OplogDamage, Soundness};
use crate::repository::window_tests::{backup, captured};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
}

fn time(minute: i64) -> ClusterTime {
    ClusterTime { t: u32::try_from(at(minute).as_second()).unwrap(), i: 1 }
}

fn lease(expires_at: Timestamp) -> Lease {
    Lease {
        format: Lease::FORMAT.into(),
        version: 1,
        repository: RepositoryId("9f0c".into()),
        generation: 3,
        renewals: 0,
        holder: "a".into(),
        description: "regrow daemon on alpha".into(),
        service: true,
        acquired_at: at(0),
        expires_at,
        released: false,
        process: None,
    }
}

fn recorded(minute: i64, event: Event) -> Evidence {
    Evidence {
        format: Evidence::FORMAT.into(),
        version: 1,
        repository: RepositoryId("9f0c".into()),
        id: minute.to_string(),
        recorded_at: at(minute),
        recorded_by: String::new(),
        previous: Vec::new(),
        event,
    }
}

fn run(job: Job, minute: i64) -> Run {
    Run { job, due: Some(at(minute)), started_at: at(minute), finished_at: at(minute), attempts: 1 }
}

const DAILY: Job = Job::Backup(BackupKind::Daily);

/// A backup at minute 0 with oplog up to minute 20, looked at in minute `now`, with a service at work.
fn facts(now: i64) -> Facts {
    let oplog = captured(&[(time(0).t, time(20).t)], &[]);
    let schedules =
        vec![ScheduleRecord { job: DAILY, cron: "0 2 * * *".into(), timezone: "UTC".into(), catch_up: true }];
    Facts {
        now: at(now),
        manifests: vec![backup(time(0).t, time(0).t, "a")],
        damaged_manifests: BTreeMap::new(),
        vanished: Vec::new(),
        captured: vec![oplog],
        open_gaps: Vec::new(),
        evidence: vec![recorded(0, Event::Configuration { schedules, workloads: Vec::new(), retention: None })],
        evidence_problems: BTreeMap::new(),
        damaged_oplog: BTreeMap::new(),
        running: BTreeMap::new(),
        soundness: Soundness::default(),
        lease: Some(lease(at(now) + SignedDuration::from_secs(20))),
        stored_bytes: 1000,
        restore_time: Duration::from_mins(10),
    }
}

fn objectives() -> Objectives {
    let (name, tier) = ("orders".into(), "critical".into());
    let workloads = vec![WorkloadRecord { name, tier, rpo_seconds: 900, rto_seconds: 3600 }];
    Objectives { workloads, budget: None }
}

/// Returns each problem's key and severity, and checks that it says everything that a person wants to know.
fn wrong(status: &Status) -> Vec<(String, Severity)> {
    for alert in &status.problems {
        assert!(!alert.what.is_empty() && !alert.meaning.is_empty() && !alert.remedy.is_empty(), "{alert:?}");
        assert!(alert.since <= status.taken_at, "{alert:?}");
    }
    assert_eq!(status.ok, status.problems.is_empty());
    status.problems.iter().map(|alert| (alert.key.clone(), alert.severity)).collect()
}

fn found(facts: &Facts) -> Vec<(String, Severity)> {
    wrong(&assess(facts, &objectives()))
}

#[test]
fn exposure_is_warned_of_at_half_and_critical_above_the_objective() {
    let exposure = |severity| vec![("exposure/orders".to_owned(), severity)];
    assert_eq!(found(&facts(27)), []);
    assert_eq!(found(&facts(28)), exposure(Severity::Warning));
    assert_eq!(found(&facts(35)), exposure(Severity::Warning));
    assert_eq!(found(&facts(36)), exposure(Severity::Critical));
    let status = assess(&facts(36), &objectives());
    let alert = &status.problems[0];
    assert_eq!(alert.what, "orders is 16 min behind; its RPO is 15 min");
    assert_eq!(alert.since, at(35), "since it was missed");
    assert_eq!((status.exposure_seconds, status.workloads[0].ok), (Some(960), false));
    assert_eq!(status.workloads[0].predicted_rto_seconds, Some(600));
}

#[test]
fn what_cannot_be_restored_is_no_small_exposure() {
    let mut nothing = facts(21);
    nothing.manifests.clear();
    let status = assess(&nothing, &objectives());
    assert_eq!((status.exposure_seconds, status.predicted_rto_seconds, status.workloads[0].ok), (None, None, false));
    assert_eq!(wrong(&status), [("exposure/orders".to_owned(), Severity::Critical)]);
    let mut damaged = facts(21);
    let id = damaged.manifests[0].id.clone();
    damaged.soundness.damaged.insert(id.clone(), at(20));
    let status = assess(&damaged, &objectives());
    assert_eq!(status.exposure_seconds, None, "a damaged backup counts for nothing");
    assert!(wrong(&status).contains(&(format!("damage/{id}"), Severity::Critical)));
    let mut oplog = facts(21);
    let objects = ["oplog/x".to_owned()].into();
    oplog.soundness.oplog_damage = Some(OplogDamage { since: at(20), objects, more: true });
    let status = assess(&oplog, &objectives());
    assert_eq!(status.exposure_seconds, Some(21 * 60), "only the backup itself is sure");
}

#[test]
fn a_restore_that_takes_longer_than_its_objective_is_warned_of() {
    let mut slow = facts(21);
    slow.restore_time = Duration::from_secs(3601);
    assert_eq!(found(&slow), [("rto/orders".to_owned(), Severity::Warning)]);
}

#[test]
fn jobs_that_failed_were_missed_or_are_overdue_are_told_until_they_succeed() {
    let failure = Event::Failure { run: run(DAILY, 20), problem: "the store is full".into() };
    let mut failed = facts(21);
    failed.evidence.push(recorded(20, failure));
    let status = assess(&failed, &objectives());
    assert_eq!(wrong(&status), [("job/backup-daily".to_owned(), Severity::Critical)]);
    assert!(status.problems[0].what.contains("failed: the store is full"), "{}", status.problems[0].what);
    let event = Event::Backup { run: run(DAILY, 21), backup: failed.manifests[0].id.clone(), imported: false };
    failed.evidence.push(recorded(21, event));
    assert_eq!(found(&failed), []);

    let (first_due, last_due, cause) = (at(19), at(20), "it was down".to_owned());
    let mut missed = facts(21);
    missed.evidence.push(recorded(20, Event::Missed { job: DAILY, first_due, last_due, times: 2, cause }));
    assert_eq!(found(&missed), [("job/backup-daily".to_owned(), Severity::Warning)]);

    let mut overdue = facts(20 + 48 * 60);
    overdue.captured.clear();
    let keys: Vec<String> = found(&overdue).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["exposure/orders", "job/backup-daily"]);
}

#[test]
fn gaps_altered_evidence_growth_and_a_missing_service_are_told() {
    let mut many = facts(21);
    let gap = Gap {
        format: Gap::FORMAT.into(),
        version: 1,
        repository: RepositoryId("9f0c".into()),
        timeline: "20261123T020000Z-7f3a".parse().unwrap(),
        begin: time(1),
        end: time(2),
        cause: "it rolled over".into(),
        found_at: at(3),
    };
    many.open_gaps.push(gap);
    many.evidence_problems.insert("evidence/x.json".into(), "it is gone".into());
    many.lease = Some(lease(at(10)));
    let budget = Objectives { budget: Some(999), ..objectives() };
    let status = assess(&many, &budget);
    let keys: Vec<String> = wrong(&status).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["evidence", &format!("gap/{}-{}", time(1).t, time(2).t), "service", "storage"]);
    assert!(status.service.is_none());
    let lost = status.problems.iter().find(|alert| alert.key == "service").unwrap();
    assert_eq!(lost.since, at(10), "since its lease ended");
    assert!(Range { begin: time(0), end: time(20) } == status.recovery_window[0]);
}

#[test]
fn a_lease_that_names_a_time_far_ahead_tells_of_a_wrong_clock() {
    let told = |ahead: i64| {
        let mut facts = facts(60);
        facts.lease = Some(lease(at(60 + ahead)));
        found(&facts).iter().any(|(key, severity)| key == "clock" && *severity == Severity::Critical)
    };
    assert!(!told(1) && !told(5), "clocks differ a little");
    assert!(told(24 * 60), "nobody holds a lease for a day");
}
