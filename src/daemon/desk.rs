//! The leader's decisions: what is begun now, and what follows from how something ended. No waiting happens here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::jobs::{Bench, Done};
use super::leader::Leader;
use super::settings::Settings;
use crate::error::{Error, Kind};
use crate::format::evidence::{Event, Run};
use crate::format::{BackupKind, Job};
use crate::notify::{Alert, Severity};
use crate::policy::history::Settled;
use crate::policy::{Agenda, Attempt, Consequence, Outcome, Schedule, Todo};
use crate::status::Facts;
use crate::units::Moment;

/// How often the agenda is looked at, at least: the clock may be set, and the watchdog wants to see a sign.
const ROUND: Duration = Duration::from_secs(5);

/// The wait before a backup that no schedule asked for is tried again, in minutes; doubled each time.
const BACKUP_AGAIN: i64 = 1;
const LONGEST_BACKUP_AGAIN: i64 = 60;

/// The pause behind one that succeeded, in minutes; four times as long each time that another one is wanted soon.
const NEXT_BACKUP: i64 = 10;
const LONGEST_NEXT_BACKUP: i64 = 24 * 60;
const SOON: SignedDuration = SignedDuration::from_hours(48);

/// The key of what is wrong with such a backup.
const EXTRA_KEY: &str = "job/backup";

/// What is said of times at which nobody was there.
const NOBODY: &str = "no service was at work, or an earlier run took too long";

/// What the parts of the leader ask for.
#[derive(Debug)]
pub(super) enum Request {
    /// A backup, because only that makes coming moments restorable, as far as was known at a moment.
    Backup(Timestamp),
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
    done: Done,
}

/// A backup outside of the schedules.
#[derive(Debug, Clone, Copy, Default)]
struct Extra {
    /// Whether one is wanted. What was begun before the reason for it does not serve; then it is asked for again.
    is_wanted: bool,
    /// When it is tried again.
    not_before: Option<Timestamp>,
    runs: bool,
    /// How often it has failed since it is wanted.
    failures: u32,
    /// When a backup ended last.
    ended_at: Option<Timestamp>,
    /// How many were taken, one soon after the other.
    taken: u32,
}

/// Where decisions are made.
pub(super) struct Desk {
    leader: Leader,
    agenda: Agenda,
    orders: Orders,
    events: mpsc::Sender<Event>,
    extra: Extra,
}

impl Extra {
    /// Returns what follows from a backup that was taken. Where one does not help, as without the privileges to read the
    /// oplog, the next ones come ever later.
    fn served(self, run: &Run, was_extra: bool) -> Self {
        let (runs, ended_at) = (self.runs && !was_extra, Some(run.finished_at));
        if !was_extra {
            return Self { not_before: self.not_before, runs, ended_at, taken: self.taken, ..Self::default() };
        }
        let is_soon = |at: Timestamp| run.started_at.duration_since(at) < SOON;
        let taken = if self.ended_at.is_some_and(is_soon) { self.taken + 1 } else { 1 };
        let pause = 4_i64.saturating_pow(taken - 1).saturating_mul(NEXT_BACKUP).min(LONGEST_NEXT_BACKUP);
        let not_before = Some(run.finished_at + SignedDuration::from_mins(pause));
        Self { not_before, runs, ended_at, taken, ..Self::default() }
    }
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
        let (run, done) = bench.run(job, due, number, stop).await;
        Ended { attempt, run, done }
    }
}

impl Desk {
    /// Begins with what is recorded.
    pub(super) fn new(leader: Leader, facts: &Facts, orders: Orders, events: mpsc::Sender<Event>) -> Self {
        let now = leader.clock.now();
        let fresh = || Settled { until: now, achieved: Vec::new() };
        let settled = |schedule: &Schedule| facts.settled(&schedule.record()).unwrap_or_else(fresh);
        let schedules = leader.settings.schedules.iter().map(|schedule| (schedule.clone(), settled(schedule)));
        let agenda = Agenda::new(schedules);
        let extra = Extra { is_wanted: facts.needs_backup(), ..Extra::default() };
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
                Todo::Run(attempt) => {
                    let (job, number) = (attempt.job.as_str(), attempt.number);
                    tracing::info!(job, due = %attempt.due, attempt = number, "a job begins");
                    self.order(attempt.job, Some(attempt));
                }
            }
        }
        let is_time = self.extra.not_before.is_none_or(|at| at <= now);
        if self.extra.is_wanted && is_time && !self.extra.runs {
            tracing::info!("taking a backup outside of the schedules: without it coming moments cannot be restored");
            self.extra.runs = true;
            self.order(Job::Backup(BackupKind::Daily), None);
        }
    }

    /// Does what another part asks for.
    pub(super) fn take(&mut self, request: Request) {
        match request {
            // Where one runs or has just ended, whether another is wanted shows only afterwards.
            Request::Backup(seen_at) => {
                let is_settled = self.extra.runs || self.extra.ended_at.is_some_and(|ended_at| ended_at >= seen_at);
                self.extra.is_wanted |= !is_settled;
            }
            Request::Record(event) => self.record(event),
        }
    }

    /// Draws the consequences of how a run ended.
    pub(super) fn settle(&mut self, ended: Ended) {
        let Ended { attempt, run, done: Done { outcome, besides } } = ended;
        if let Some(event) = besides {
            self.record(event);
        }
        match outcome {
            Ok(event) => self.succeeded(attempt, &run, event),
            // The agenda of whoever leads next holds it.
            Err(error) if error.kind() == Kind::Interrupted => {
                self.extra.runs &= attempt.is_some();
            }
            Err(error) => match attempt {
                Some(attempt) => self.failed(attempt, run, &error),
                None => self.extra_failed(run, &error),
            },
        }
    }

    fn succeeded(&mut self, attempt: Option<Attempt>, run: &Run, event: Event) {
        self.leader.board.clear(&key(run.job));
        self.record(event);
        if Lane::of(run.job) == Lane::Backups {
            self.extra = self.extra.served(run, attempt.is_none());
            self.leader.board.clear(EXTRA_KEY);
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
                self.record(Event::Failure { run, problem: error.in_public().into() });
            }
        }
    }

    fn extra_failed(&mut self, run: Run, error: &Error) {
        let minutes = BACKUP_AGAIN.saturating_mul(2_i64.saturating_pow(self.extra.failures)).min(LONGEST_BACKUP_AGAIN);
        let again_at = self.leader.clock.now() + SignedDuration::from_mins(minutes);
        let hint = error.hint();
        tracing::error!(%error, hint, %again_at, "the backup outside of the schedules failed; trying again");
        self.leader.board.trouble(Alert { key: EXTRA_KEY.into(), ..failing(&run, error, again_at) });
        (self.extra.runs, self.extra.not_before) = (false, Some(again_at));
        self.extra.failures += 1;
        if self.extra.failures == 1 {
            self.record(Event::Failure { run, problem: error.in_public().into() });
        }
    }

    /// Goes on with another configuration: what runs goes on with the one it began with.
    pub(super) fn take_over(&mut self, newer: &Arc<Settings>) {
        let now = self.leader.clock.now();
        for dropped in self.agenda.change(newer.schedules.iter().cloned(), now) {
            self.miss(dropped.job, &[dropped.due], "it failed, and is not scheduled any more");
        }
        let is_scheduled = |job: Job| newer.schedules.iter().any(|schedule| schedule.job == job);
        for job in Job::ALL.into_iter().filter(|job| !is_scheduled(*job)) {
            self.leader.board.clear(&key(job));
        }
        if self.leader.settings.event() != newer.event() {
            self.record(newer.event());
        }
        self.leader.board.notes().source.clone_from(&newer.source);
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
        what: format!("{} failed and is tried again at {}: {error}", run.job, Moment(again_at)),
        since: run.due.unwrap_or(run.started_at),
        meaning: "nothing that was stored before is affected".into(),
        remedy: error.hint().unwrap_or("mend the cause; the service tries again by itself").into(),
    }
}
