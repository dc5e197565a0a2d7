//! Whether what was due was done: every time of every schedule that was in force, and what became of it.

use jiff::{SignedDuration, Timestamp};

use super::facts::{Facts, Recorded};
use super::model::{Period, RunOutcome, Schedule, ScheduledRun, Verdict};
use super::objectives::InForce;
use crate::format::Job;
use crate::format::evidence::{Event, Run, ScheduleRecord};
use crate::policy::Timetable;
use crate::units::counted;

/// What begins later than this is late.
const PUNCTUAL: SignedDuration = SignedDuration::from_hours(1);

/// For how long the end of a run is waited for before the records are said not to tell it.
const PENDING_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Returns the times at which a job was due by a schedule, and what became of them. One whose expression or time zone is
/// not understood has no times, and is unknown.
pub(super) fn adherence(facts: &Facts, schedule: &InForce<ScheduleRecord>, until: Timestamp) -> Schedule {
    let ScheduleRecord { job, cron, timezone, .. } = &schedule.what;
    let timetable = cron.parse().and_then(|parsed| Timetable::new(parsed, timezone));
    let (runs, is_understood) = match timetable {
        Ok(timetable) => (runs(facts, *job, &timetable, &schedule.stretches, until), true),
        Err(_) => (Vec::new(), false),
    };
    let verdict = if is_understood { verdict(&runs) } else { Verdict::Unknown };
    Schedule { job: *job, cron: cron.clone(), timezone: timezone.clone(), verdict, runs }
}

fn verdict(runs: &[ScheduledRun]) -> Verdict {
    let of = |run: &ScheduledRun| match run.outcome {
        RunOutcome::Done | RunOutcome::Late | RunOutcome::Pending => Verdict::Met,
        RunOutcome::Failed | RunOutcome::Missed => Verdict::Missed,
        RunOutcome::Unknown => Verdict::Unknown,
    };
    runs.iter().map(of).max().unwrap_or(Verdict::Met)
}

fn runs(
    facts: &Facts,
    job: Job,
    timetable: &Timetable,
    stretches: &[(Period, ScheduleRecord)],
    until: Timestamp,
) -> Vec<ScheduledRun> {
    // A period holds its begin and not its end; a timetable tells what is behind one moment and up to another.
    let nanosecond = SignedDuration::from_nanos(1);
    let in_stretch = |(period, _): &(Period, ScheduleRecord)| {
        timetable.due(period.begin - nanosecond, period.end.min(until) - nanosecond).collect::<Vec<_>>()
    };
    let due: Vec<Timestamp> = stretches.iter().flat_map(in_stretch).collect();
    let of_job: Vec<&Recorded> = facts.records.iter().filter(|record| about(record.event()) == Some(job)).collect();
    let facts = JobFacts { facts, job, records: of_job };
    due.into_iter().map(|due| facts.run(due, timetable.next_after(due), until)).collect()
}

/// Returns the job that an event is about, if it is about one.
fn about(event: &Event) -> Option<Job> {
    match event {
        Event::Missed { job, .. } => Some(*job),
        event => event.run().map(|run| run.job),
    }
}

/// What the records tell of a job.
struct JobFacts<'a> {
    facts: &'a Facts,
    job: Job,
    records: Vec<&'a Recorded>,
}

impl JobFacts<'_> {
    fn run(&self, due: Timestamp, next: Option<Timestamp>, until: Timestamp) -> ScheduledRun {
        let own = self.records.iter().rev().find(|record| record.event().run().is_some_and(|run| run.due == Some(due)));
        let own = own.and_then(|record| ran(record, due));
        if let Some(run) = own.as_ref().filter(|run| run.outcome <= RunOutcome::Late) {
            return run.clone();
        }
        if let Some(run) = self.otherwise(due, next, until) {
            return run;
        }
        own.or_else(|| self.missed(due)).unwrap_or_else(|| {
            let outcome =
                if until.duration_since(due) < PENDING_FOR { RunOutcome::Pending } else { RunOutcome::Unknown };
            ScheduledRun { due, outcome, ran: None, note: None, evidence: Vec::new() }
        })
    }

    /// Returns what a person did, or what happened, that achieved the same before it was due again.
    fn otherwise(&self, due: Timestamp, next: Option<Timestamp>, until: Timestamp) -> Option<ScheduledRun> {
        let in_time = |begun: Timestamp| begun >= due && begun <= until && next.is_none_or(|next| begun < next);
        let by_hand = self.records.iter().find(|record| {
            let run = record.event().run();
            run.is_some_and(|run| run.due.is_none() && in_time(run.started_at)) && achieves(record.event())
        });
        if let Some(run) = by_hand.and_then(|record| ran(record, due)).filter(|run| run.outcome <= RunOutcome::Late) {
            return Some(ScheduledRun { note: Some("begun outside of the schedule".into()), ..run });
        }
        // Nobody may have recorded a backup that was taken; it is there.
        let mut backups = self.facts.backups.iter().map(|backup| &backup.summary);
        let backup = backups
            .find(|backup| Job::Backup(backup.kind) == self.job && !backup.partial && in_time(backup.started_at))?;
        Some(ScheduledRun {
            due,
            outcome: punctual(due, backup.started_at),
            ran: Some(Period { begin: backup.started_at, end: backup.finished_at }),
            note: Some(format!("the backup {}", backup.id)),
            evidence: Vec::new(),
        })
    }

    fn missed(&self, due: Timestamp) -> Option<ScheduledRun> {
        self.records.iter().find_map(|record| match record.event() {
            Event::Missed { first_due, last_due, cause, .. } if *first_due <= due && due <= *last_due => {
                Some(ScheduledRun {
                    due,
                    outcome: RunOutcome::Missed,
                    ran: None,
                    note: Some(cause.clone()),
                    evidence: vec![record.id()],
                })
            }
            _ => None,
        })
    }
}

/// Whether an event is all that its job is for.
fn achieves(event: &Event) -> bool {
    match event {
        Event::Verification { result, .. } => result.everything && result.level != "structure",
        _ => true,
    }
}

/// Returns what a record tells of a run for `due`.
fn ran(record: &Recorded, due: Timestamp) -> Option<ScheduledRun> {
    let run = record.event().run()?;
    let (outcome, note) = match record.event() {
        Event::Failure { problem, .. } => (RunOutcome::Failed, Some(problem.clone())),
        Event::Verification { result, .. } if result.findings > 0 => {
            (RunOutcome::Failed, Some(format!("found {} not to be as recorded", counted(result.findings, "object"))))
        }
        Event::Drill { result, .. } if !result.passed => {
            let failed =
                result.checks.iter().filter(|check| check.outcome == crate::format::evidence::CheckOutcome::Failed);
            let failed: Vec<&str> = failed.map(|check| check.name.as_str()).collect();
            (RunOutcome::Failed, Some(format!("the drill did not pass: {}", failed.join(", "))))
        }
        _ => achieved(run, due),
    };
    let ran = Some(Period { begin: run.started_at, end: run.finished_at });
    Some(ScheduledRun { due, outcome, ran, note, evidence: vec![record.id()] })
}

fn achieved(run: &Run, due: Timestamp) -> (RunOutcome, Option<String>) {
    if run.attempts > 1 {
        return (RunOutcome::Late, Some(format!("at the {}. attempt", run.attempts)));
    }
    (punctual(due, run.started_at), None)
}

fn punctual(due: Timestamp, begun: Timestamp) -> RunOutcome {
    if begun.duration_since(due) > PUNCTUAL { RunOutcome::Late } else { RunOutcome::Done }
}
