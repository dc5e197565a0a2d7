//! The leader's decisions: what is begun now, and what follows from how something ended. No waiting happens here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::jobs::{self, Bench};
use super::leader::Leader;
use super::settings::Settings;
use crate::error::{Error, Kind, Result};
use crate::format::evidence::{Event, Run};
use crate::format::{BackupKind, Job};
use crate::notify::{Alert, Severity};
use crate::policy::{Agenda, Attempt, Consequence, Outcome, Schedule, Todo};
use crate::status::Facts;

/// How often the agenda is looked at, at least: the clock may be set, and the watchdog wants to see a sign.
const ROUND: Duration = Duration::from_secs(5);

/// The wait before a backup that something else than a schedule asks for is tried again.
const BACKUP_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// What is said of times at which nobody was there.
const NOBODY: &str = "no service was at work, or an earlier run took too long";

/// What the parts of the leader ask for.
#[derive(Debug)]
pub(super) enum Request {
    /// A backup, because only that makes coming moments restorable.
    Backup,
    /// That an event is recorded.
    Record(Event),
}

/// Jobs of one lane run one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// What reads the source.
    Backups,
    /// What reads the repository.
    Upkeep,
}

/// The ways to the lanes.
pub(super) type Orders = BTreeMap<Lane, mpsc::Sender<Order>>;

/// A run to be begun.
pub(super) struct Order {
    /// The job.
    pub(super) job: Job,
    /// What of the agenda it is; none where no schedule asked for it.
    attempt: Option<Attempt>,
    bench: Bench,
}

/// A run that ended.
pub(super) struct Ended {
    attempt: Option<Attempt>,
    run: Run,
    outcome: Result<Event>,
}

/// A backup outside of the schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extra {
    Unwanted,
    Wanted(Timestamp),
    Running,
}

/// Where decisions are made.
pub(super) struct Desk {
    leader: Leader,
    agenda: Agenda,
    orders: Orders,
    events: mpsc::Sender<Event>,
    extra: Extra,
}

impl Lane {
    fn of(job: Job) -> Self {
        if matches!(job, Job::Backup(_)) { Self::Backups } else { Self::Upkeep }
    }
}

impl Order {
    /// Runs it to its end, its time-out or `stop`.
    pub(super) async fn run(self, stop: CancellationToken) -> Ended {
        let Self { job, attempt, bench } = self;
        let (due, number) = (attempt.map(|attempt| attempt.due), attempt.map_or(1, |attempt| attempt.number));
        let (run, outcome) = bench.run(job, due, number, stop).await;
        Ended { attempt, run, outcome }
    }
}

impl Desk {
    /// Begins with what is recorded.
    pub(super) fn new(leader: Leader, facts: &Facts, orders: Orders, events: mpsc::Sender<Event>) -> Self {
        let now = leader.clock.now();
        let settled = |schedule: &Schedule| facts.settled(&schedule.record()).unwrap_or(now);
        let schedules = leader.settings.schedules.iter().map(|schedule| (schedule.clone(), settled(schedule)));
        let agenda = Agenda::new(schedules);
        let has_backup = facts.backups().any(|manifest| !manifest.partial);
        let extra = if has_backup { Extra::Unwanted } else { Extra::Wanted(now) };
        Self { leader, agenda, orders, events, extra }
    }

    /// Returns how long nothing needs to be decided, unless something happens.
    pub(super) fn until_next(&self) -> Duration {
        let now = self.leader.clock.now();
        let next = self.agenda.wakes_at(now).and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        next.unwrap_or(ROUND).min(ROUND)
    }

    /// Begins what is due.
    pub(super) fn dispatch(&mut self) {
        let now = self.leader.clock.now();
        for todo in self.agenda.due(now, &self.leader.random) {
            match todo {
                Todo::Missed { job, times } => self.miss(job, &times, NOBODY),
                Todo::Run(attempt) if !jobs::is_supported(attempt.job) => {
                    self.miss(attempt.job, &[attempt.due], "this version of Regrow does not do this yet");
                    self.agenda.ended(attempt, Outcome::Succeeded, now);
                }
                Todo::Run(attempt) => {
                    let (job, number) = (attempt.job.as_str(), attempt.number);
                    tracing::info!(job, due = %attempt.due, attempt = number, "a job begins");
                    self.order(attempt.job, Some(attempt));
                }
            }
        }
        if let Extra::Wanted(at) = self.extra
            && at <= now
        {
            tracing::info!("taking a backup outside of the schedules: without it coming moments cannot be restored");
            self.extra = Extra::Running;
            self.order(Job::Backup(BackupKind::Daily), None);
        }
    }

    /// Does what another part asks for.
    pub(super) fn take(&mut self, request: Request) {
        match request {
            Request::Backup if self.extra == Extra::Unwanted => self.extra = Extra::Wanted(self.leader.clock.now()),
            Request::Backup => {}
            Request::Record(event) => self.record(event),
        }
    }

    /// Draws the consequences of how a run ended.
    pub(super) fn settle(&mut self, ended: Ended) {
        let Ended { attempt, run, outcome } = ended;
        match outcome {
            Ok(event) => self.succeeded(attempt, &run, event),
            // The agenda of whoever leads next holds it.
            Err(error) if error.kind() == Kind::Interrupted => {}
            Err(error) => match attempt {
                Some(attempt) => self.failed(attempt, run, &error),
                None => self.extra_failed(&run, &error),
            },
        }
    }

    fn succeeded(&mut self, attempt: Option<Attempt>, run: &Run, event: Event) {
        self.leader.board.clear(&key(run.job));
        self.record(event);
        // Any backup is the one that was wanted, unless it was begun too early for that.
        let wanted_since = if let Extra::Wanted(at) = self.extra { Some(at) } else { None };
        let serves = Lane::of(run.job) == Lane::Backups && wanted_since.is_some_and(|at| run.started_at >= at);
        if attempt.is_none() || serves {
            self.extra = Extra::Unwanted;
        }
        if let Some(attempt) = attempt {
            self.agenda.ended(attempt, Outcome::Succeeded, self.leader.clock.now());
        }
    }

    fn failed(&mut self, attempt: Attempt, run: Run, error: &Error) {
        let (job, hint) = (run.job.as_str(), error.hint());
        let outcome = if error.is_transient() { Outcome::Away } else { Outcome::Failed };
        match self.agenda.ended(attempt, outcome, self.leader.clock.now()) {
            Consequence::Again(at) => {
                tracing::warn!(job, %error, hint, again_at = %at, "a job failed; trying again");
                self.leader.board.trouble(failing(&run, error, at));
            }
            Consequence::GivenUp | Consequence::Settled => {
                tracing::error!(job, %error, hint, "a job failed as often as it is tried");
                self.leader.board.clear(&key(run.job));
                self.record(Event::Failure { run, problem: error.to_string() });
            }
        }
    }

    fn extra_failed(&mut self, run: &Run, error: &Error) {
        let again_at = self.leader.clock.now() + BACKUP_AGAIN;
        tracing::error!(%error, hint = error.hint(), %again_at, "the backup outside of the schedules failed; trying again");
        self.leader.board.trouble(failing(run, error, again_at));
        self.extra = Extra::Wanted(again_at);
    }

    /// Goes on with another configuration: what runs goes on with the one it began with.
    pub(super) fn take_over(&mut self, newer: &Arc<Settings>) {
        let now = self.leader.clock.now();
        let known: Vec<_> = self.agenda.schedules().map(|(schedule, settled)| (schedule.record(), settled)).collect();
        let settled = |schedule: &Schedule| {
            let own = schedule.record();
            known.iter().find(|(other, _)| other.is_alike(&own)).map_or(now, |(_, settled)| *settled)
        };
        let mut agenda = Agenda::new(newer.schedules.iter().map(|schedule| (schedule.clone(), settled(schedule))));
        agenda.take_over(&self.agenda);
        self.agenda = agenda;
        if self.leader.settings.event() != newer.event() {
            self.record(newer.event());
        }
        self.leader.settings = Arc::clone(newer);
    }

    /// Ends: nothing is ordered or recorded any more. Returns the settings that are in force.
    pub(super) fn close(self) -> Arc<Settings> {
        self.leader.settings
    }

    fn order(&self, job: Job, attempt: Option<Attempt>) {
        let order = Order { job, attempt, bench: Bench::of(&self.leader) };
        if let Some(lane) = self.orders.get(&Lane::of(job))
            && lane.try_send(order).is_err()
        {
            // Each job is ordered once at a time, and the lanes hold more than there are jobs: it is over.
            tracing::debug!(job = job.as_str(), "a lane takes no more orders");
        }
    }

    fn miss(&self, job: Job, times: &[Timestamp], cause: &str) {
        let (Some(first_due), Some(last_due)) = (times.first().copied(), times.last().copied()) else { return };
        tracing::error!(job = job.as_str(), %first_due, times = times.len(), cause, "a job was missed");
        self.record(Event::Missed { job, first_due, last_due, times: times.len() as u64, cause: cause.into() });
    }

    /// Hands an event over to be recorded. What does not fit is not recorded; whoever leads next then finds the time of
    /// a run not settled.
    fn record(&self, event: Event) {
        if let Err(error) = self.events.try_send(event) {
            tracing::error!(%error, "an event is not recorded");
        }
    }
}

fn key(job: Job) -> String {
    format!("job/{}", job.as_str())
}

fn failing(run: &Run, error: &Error, again_at: Timestamp) -> Alert {
    Alert {
        key: key(run.job),
        severity: Severity::Warning,
        what: format!("{} failed and is tried again at {again_at}: {error}", run.job),
        since: run.due.unwrap_or(run.started_at),
        meaning: "nothing that was stored before is affected".into(),
        remedy: error.hint().unwrap_or("mend the cause; the service tries again by itself").into(),
    }
}
