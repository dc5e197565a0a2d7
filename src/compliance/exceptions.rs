//! What was not as it should be in a period, why, and what was done about it.

use std::time::Duration;

use jiff::Timestamp;

use super::causes;
use super::facts::{Facts, Recorded};
use super::model::{Breach, Exception, Period, RunOutcome, Schedule, ScheduledRun, Workload};
use crate::format::evidence::{CheckOutcome, DrillResult, Event, VerificationResult};
use crate::units::are;
use crate::units::{Elapsed, Moment};

/// Returns the exceptions of a period, the oldest first.
pub(super) fn exceptions(
    facts: &Facts,
    period: Period,
    workloads: &[Workload],
    schedules: &[Schedule],
) -> Vec<Exception> {
    let mut found: Vec<Exception> = breaches(facts, workloads, period.end);
    found.extend(schedules.iter().flat_map(|schedule| runs(facts, schedule, period)));
    for record in facts.between(period.begin, period.end) {
        found.extend(told(facts, record, period));
    }
    found.extend(facts.vanished(period.end).map(|(id, record)| Exception {
        begin: record.at().max(period.begin),
        end: None,
        what: format!("the backup {id} is gone"),
        cause: "it is recorded as taken, nobody recorded that it was removed, and its manifest is not there".into(),
        done: None,
        evidence: vec![record.id()],
    }));
    found.extend(facts.problems.iter().map(|(key, problem)| Exception {
        begin: period.begin,
        end: None,
        what: format!("{key} is not as it was recorded"),
        cause: problem.clone(),
        done: None,
        evidence: Vec::new(),
    }));
    found.sort_by(|a, b| (a.begin, &a.what).cmp(&(b.begin, &b.what)));
    found
}

/// Returns the breaches; those of several workloads at one time are one.
fn breaches(facts: &Facts, workloads: &[Workload], until: Timestamp) -> Vec<Exception> {
    let mut all: Vec<(&Workload, &Breach)> = workloads
        .iter()
        .flat_map(|workload| workload.rpo.breaches.iter().map(move |breach| (workload, breach)))
        .collect();
    all.sort_by_key(|(_, breach)| breach.begin);
    let mut end = Timestamp::MIN;
    let mut groups: Vec<Vec<(&Workload, &Breach)>> = Vec::new();
    for found in all {
        match groups.last_mut().filter(|_| found.1.begin < end) {
            Some(group) => group.push(found),
            None => groups.push(vec![found]),
        }
        end = end.max(found.1.end.unwrap_or(until));
    }
    groups.iter().filter_map(|group| together(facts, group)).collect()
}

fn together(facts: &Facts, group: &[(&Workload, &Breach)]) -> Option<Exception> {
    let (_, first) = group.first()?;
    let last = group.iter().map(|(_, breach)| *breach).max_by_key(|breach| (breach.end.is_none(), breach.end))?;
    let span = |seconds| Elapsed(Duration::from_secs(seconds)).to_string();
    let mut names: Vec<String> = Vec::new();
    for (workload, _) in group {
        let name = format!("{} ({} allowed)", workload.name, span(workload.rpo.objective_seconds));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let worst: Option<Vec<u64>> = group.iter().map(|(_, breach)| breach.worst_seconds).collect();
    let what = match worst.and_then(|all| all.into_iter().max()) {
        Some(worst) => format!("up to {} would have been lost in a disaster: {}", span(worst), names.join(", ")),
        None => format!("nothing could have been restored: {}", names.join(", ")),
    };
    let mut evidence: Vec<String> = group.iter().flat_map(|(_, breach)| breach.evidence.iter().cloned()).collect();
    evidence.sort();
    evidence.dedup();
    let (begin, end, cause) = (first.begin, last.end, first.cause.clone());
    Some(Exception { begin, end, what, cause, done: causes::ended(last, facts), evidence })
}

/// Returns the runs that failed or were missed; those that follow each other are told together.
fn runs(facts: &Facts, schedule: &Schedule, period: Period) -> Vec<Exception> {
    let is_bad =
        |run: &&ScheduledRun| matches!(run.outcome, RunOutcome::Failed | RunOutcome::Missed | RunOutcome::Unknown);
    let alike = |a: &ScheduledRun, b: &ScheduledRun| (a.outcome, &a.note) == (b.outcome, &b.note);
    let mut told = Vec::new();
    for group in schedule.runs.chunk_by(alike) {
        let (Some(first), Some(last)) = (group.first().filter(is_bad), group.last()) else { continue };
        // What a verification or a drill found is told by its record.
        if first.outcome == RunOutcome::Failed && is_finding(facts, first) {
            continue;
        }
        let word = match first.outcome {
            RunOutcome::Failed => "failed",
            RunOutcome::Missed => "was missed",
            _ => "is not recorded",
        };
        let job = schedule.job;
        let times = match group.len() {
            1 => format!("{job} of {} {word}", Moment(first.due)),
            times => format!("{job} {word} {times} times, from {} to {}", Moment(first.due), Moment(last.due)),
        };
        let next = schedule.runs.iter().find(|run| run.due > last.due && run.outcome <= RunOutcome::Late);
        let next = next.and_then(|run| run.ran).map(|ran| ran.end).filter(|end| *end <= period.end);
        told.push(Exception {
            begin: first.due,
            end: next,
            what: times,
            cause: first.note.clone().unwrap_or_else(|| "the records do not tell what became of it".into()),
            done: next.map(|end| format!("the next run succeeded at {}", Moment(end))),
            evidence: group.iter().flat_map(|run| run.evidence.iter().cloned()).collect(),
        });
    }
    told
}

fn is_finding(facts: &Facts, run: &ScheduledRun) -> bool {
    let mut of_run = facts.records.iter().filter(|record| run.evidence.contains(&record.evidence.id));
    of_run.any(|record| matches!(record.event(), Event::Verification { .. } | Event::Drill { .. }))
}

/// Returns what one record tells that is not as it should be.
fn told(facts: &Facts, record: &Recorded, period: Period) -> Option<Exception> {
    match record.event() {
        Event::Gap { range, cause, .. } => {
            let end = backup_behind(facts, record.at(), period.end);
            Some(Exception {
                begin: range.begin.wall().max(period.begin),
                end: end.as_ref().map(|(at, _)| *at),
                what: format!("oplog was lost from {} to {}", Moment(range.begin.wall()), Moment(range.end.wall())),
                cause: cause.clone(),
                done: end.map(|(_, id)| format!("the backup {id} was taken")),
                evidence: vec![record.id()],
            })
        }
        Event::Verification { run, result } if result.findings > 0 => {
            Some(damage(facts, record, run.finished_at, result, period))
        }
        Event::Drill { run, result } if !result.passed => Some(drill(facts, record, run.finished_at, result, period)),
        Event::Restore { result } => result.problem.as_ref().map(|problem| Exception {
            begin: result.started_at,
            end: Some(result.finished_at),
            what: format!("a restore from {} failed", result.backup),
            cause: problem.clone(),
            done: None,
            evidence: vec![record.id()],
        }),
        Event::Backup { backup, .. } => plain(facts, record, backup),
        Event::Expiry { denied: Some(denied), .. } => Some(Exception {
            begin: record.at(),
            end: None,
            what: "what had expired could not be removed".into(),
            cause: denied.clone(),
            done: None,
            evidence: vec![record.id()],
        }),
        _ => None,
    }
}

fn plain(facts: &Facts, record: &Recorded, id: &crate::format::BackupId) -> Option<Exception> {
    let backup = facts.backups.iter().find(|backup| backup.summary.id == *id)?;
    (backup.summary.encryption == crate::format::manifest::Encryption::None).then(|| Exception {
        begin: record.at(),
        end: backup.removed_at,
        what: format!("the backup {id} is not encrypted"),
        cause: "encryption was switched off in the configuration".into(),
        done: None,
        evidence: vec![record.id()],
    })
}

fn damage(facts: &Facts, record: &Recorded, at: Timestamp, result: &VerificationResult, period: Period) -> Exception {
    // The same damage is gone when everything was read again and nothing was found.
    let sound = facts.between(at, period.end).find_map(|later| match later.event() {
        Event::Verification { run, result }
            if run.finished_at > at && result.findings == 0 && result.everything && result.level != "structure" =>
        {
            Some(run.finished_at)
        }
        _ => None,
    });
    let backup = backup_behind(facts, at, period.end).map(|(_, id)| format!("the backup {id} was taken"));
    let clean = sound.map(|at| format!("everything was found as recorded at {}", Moment(at)));
    let done: Vec<String> = backup.into_iter().chain(clean).collect();
    let named: Vec<String> =
        result.named.iter().take(3).map(|finding| format!("{}: {}", finding.object, finding.problem)).collect();
    Exception {
        begin: at,
        end: sound,
        what: format!("{} not as recorded when it was read", are(result.findings, "stored object")),
        cause: named.join("; "),
        done: (!done.is_empty()).then(|| done.join("; ")),
        evidence: vec![record.id()],
    }
}

fn drill(facts: &Facts, record: &Recorded, at: Timestamp, result: &DrillResult, period: Period) -> Exception {
    let next = facts.between(at, period.end).find_map(|later| match later.event() {
        Event::Drill { run, result } if run.finished_at > at && result.passed => Some(run.finished_at),
        _ => None,
    });
    let failed = result.checks.iter().filter(|check| check.outcome == CheckOutcome::Failed);
    let failed: Vec<String> = failed.map(|check| format!("{}: {}", check.name, check.detail)).collect();
    Exception {
        begin: at,
        end: next,
        what: format!("the drill on {} did not pass", result.backup),
        cause: failed.join("; "),
        done: next.map(|at| format!("the next drill passed at {}", Moment(at))),
        evidence: vec![record.id()],
    }
}

/// Returns the first whole backup that was begun behind a moment and was complete before another.
fn backup_behind(facts: &Facts, at: Timestamp, until: Timestamp) -> Option<(Timestamp, &crate::format::BackupId)> {
    let behind = facts
        .backups
        .iter()
        .map(|backup| &backup.summary)
        .filter(|backup| !backup.partial && backup.started_at >= at && backup.finished_at <= until);
    behind.map(|backup| (backup.finished_at, &backup.id)).min()
}
