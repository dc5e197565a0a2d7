//! Why more would have been lost than may be, and what ended it: as far as the records tell.

use jiff::{SignedDuration, Timestamp};

use super::facts::{Facts, Recorded};
use super::model::Breach;
use super::reach::ceiling;
use crate::format::Job;
use crate::format::evidence::Event;
use crate::units::Moment;

/// How long after a breach something may be recorded that explains it.
const RECORDED_LATE: SignedDuration = SignedDuration::from_mins(30);

/// Says why a breach came about, and by which records.
pub(super) fn explain(breach: &mut Breach, facts: &Facts, objective_seconds: u64, until: Timestamp) {
    let objective = SignedDuration::from_secs(i64::try_from(objective_seconds).unwrap_or_default());
    let end = breach.end.unwrap_or(until);
    let begin = breach.begin.checked_sub(objective).unwrap_or(breach.begin);
    let told: Vec<(&Recorded, String)> = facts
        .between(begin, end.checked_add(RECORDED_LATE).unwrap_or(end))
        .filter_map(|record| Some((record, told(record.event())?)))
        .collect();
    let mut causes: Vec<String> = told.iter().map(|(_, cause)| cause.clone()).collect();
    causes.dedup();
    causes.insert(0, seen(breach, facts, begin, end));
    breach.cause = causes.join("; ");
    breach.evidence = told.iter().map(|(record, _)| record.id()).collect();
}

/// Returns what a record tells about why something could not be restored.
fn told(event: &Event) -> Option<String> {
    Some(match event {
        Event::Gap { cause, .. } => format!("oplog was lost: {cause}"),
        Event::Verification { result, .. } if result.findings > 0 => "a verification found damage".into(),
        Event::Failure { run, problem } if is_about_backups(run.job) => format!("{} failed: {problem}", run.job),
        Event::Missed { job, cause, .. } if is_about_backups(*job) => format!("{job} was missed: {cause}"),
        _ => return None,
    })
}

fn is_about_backups(job: Job) -> bool {
    matches!(job, Job::Backup(_))
}

/// Returns what the times of backups and slices show.
fn seen(breach: &Breach, facts: &Facts, begin: Timestamp, end: Timestamp) -> String {
    if !facts.backups.iter().any(|backup| !backup.summary.partial && backup.summary.finished_at <= breach.begin) {
        return "there was no complete backup yet".into();
    }
    let stored = || facts.timelines.iter().flat_map(|timeline| timeline.slices.values()).map(|slice| slice.stored_at);
    let before = stored().filter(|at| *at <= breach.begin).max();
    let next = stored().filter(|at| *at > breach.begin).min();
    match (before, next) {
        (None, None) => "the oplog was not captured".into(),
        (Some(before), Some(next)) if next.duration_since(before) > breach.begin.duration_since(begin) => {
            format!("no oplog was stored from {} to {}", Moment(before), Moment(next))
        }
        (Some(before), None) => format!("no oplog was stored behind {}", Moment(before)),
        (None, Some(next)) if next >= end => format!("no oplog was stored before {}", Moment(next)),
        _ => "no backup led on to the oplog that was stored".into(),
    }
}

/// Returns what ended a breach; none while it lasts.
pub(super) fn ended(breach: &Breach, facts: &Facts) -> Option<String> {
    let end = breach.end?.as_second();
    let backup = facts.backups.iter().find(|backup| ceiling(backup.summary.finished_at) == end);
    if let Some(backup) = backup {
        return Some(format!("the backup {} was taken", backup.summary.id));
    }
    let mut slices = facts.timelines.iter().flat_map(|timeline| timeline.slices.values());
    let is_stored = slices.any(|slice| ceiling(slice.stored_at) == end);
    Some(if is_stored { "the oplog was captured up to there again" } else { "other data led there again" }.into())
}
