//! The one that leads: captures, runs what is due, records what happened, and looks at how things stand.
//!
//! Everything that it writes goes through a fence: the lease is renewed before it may have run out, and once somebody
//! else holds it nothing is written any more. What a crash leaves is what each operation leaves; the next leader makes
//! its agenda of what was recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::capture::Supervisor;
use super::jobs::{self, Bench, Order, Report};
use super::monitor::Monitor;
use super::recorder::{self, Scribe};
use super::settings::Settings;
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::format::evidence::{Event, Run};
use crate::format::{BackupKind, Job};
use crate::notify::{Alert, Severity};
use crate::policy::{Agenda, Attempt, Consequence, Outcome, Schedule, Todo};
use crate::random::Random;
use crate::repository::{EvidenceLog, HeldLease, Repository};
use crate::status::{Facts, Observer};

/// How often the agenda is looked at, at least: the clock may be set, and the watchdog wants to see a sign.
const ROUND: Duration = Duration::from_secs(5);

/// How many orders and requests wait at most.
const WAITING: usize = 64;

/// The wait before the repository is read again at the begin.
const DELAY: Duration = Duration::from_secs(2);

/// The wait before a backup that something else than the schedule asks for is tried again.
const BACKUP_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// What is configured is recorded again after this, so that whoever reads the evidence of some months finds it.
const CONFIGURATION: SignedDuration = SignedDuration::from_hours(24 * 20);

/// What a leader does within this after it was told to stop, it does; the rest the next one does.
const STOPPING: Duration = Duration::from_secs(22);

/// What parts of the leader ask of its main loop.
#[derive(Debug)]
pub(super) enum Request {
    /// To take a backup, because only that makes coming moments restorable.
    Backup,
    /// To record an event.
    Record(Event),
}

/// What a leader is made of.
pub(super) struct Leader {
    pub(super) settings: Arc<Settings>,
    /// Writes only while the lease is held.
    pub(super) repository: Repository,
    pub(super) lease: Arc<HeldLease>,
    pub(super) board: Board,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) who: String,
}

/// Ends everything that a leader has begun.
#[derive(Clone)]
struct Stops {
    capture: CancellationToken,
    jobs: CancellationToken,
    monitor: CancellationToken,
}

/// The tasks and the ways to them.
struct Parts {
    agenda: Agenda,
    orders: BTreeMap<Lane, mpsc::Sender<(Bench, Order, Option<Attempt>)>>,
    events: mpsc::Sender<Event>,
    settings: watch::Sender<Arc<Settings>>,
    capture: JoinHandle<()>,
    extra: Extra,
}

/// Jobs of one lane run one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// What reads the source.
    Backups,
    /// What reads the repository.
    Upkeep,
}

/// A backup outside of the schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extra {
    Unwanted,
    Wanted(Timestamp),
    Running,
}

impl Lane {
    fn of(job: Job) -> Self {
        if matches!(job, Job::Backup(_)) { Self::Backups } else { Self::Upkeep }
    }
}

impl Leader {
    /// Leads until `stop`, or until the lease is lost. Takes over configurations that come by `reloads`; returns the one
    /// that was in force at the end.
    pub(super) async fn lead(
        mut self,
        reloads: &mut mpsc::Receiver<Arc<Settings>>,
        stop: &CancellationToken,
    ) -> Arc<Settings> {
        let lost = CancellationToken::new();
        let renewal = tokio::spawn(renew(Arc::clone(&self.lease), lost.clone()));
        let over = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = lost.cancelled() => {}
            }
        };
        tokio::pin!(over);
        let mut stops = Stops {
            capture: CancellationToken::new(),
            jobs: CancellationToken::new(),
            monitor: CancellationToken::new(),
        };
        let (requests, mut requested) = mpsc::channel(WAITING);
        let capture = self.start_capture(&stops, &requests);
        tokio::select! {
            (observer, facts) = self.begin() => {
                self.work(observer, &facts, capture, requests, &mut requested, reloads, &mut stops, &mut over).await;
            }
            () = &mut over => {
                stops.capture.cancel();
            }
        }
        renewal.abort();
        self.board.step_down();
        if lost.is_cancelled() {
            tracing::error!(reason = self.lease.lost(), "this service no longer leads");
        } else if let Err(error) = self.lease.release().await {
            tracing::info!(%error, "the lease was not given back; it runs out by itself");
        }
        self.settings
    }

    /// Reads the repository and records what is configured, however long that takes.
    async fn begin(&self) -> (Observer, Facts) {
        loop {
            match self.try_begin().await {
                Ok(begun) => return begun,
                Err(error) => tracing::warn!(%error, "the repository cannot be used yet; trying again"),
            }
            tokio::time::sleep(DELAY).await;
            self.board.notes().beat = Instant::now();
        }
    }

    async fn try_begin(&self) -> Result<(Observer, Facts)> {
        let mut observer = Observer::new(self.repository.clone());
        let facts = observer.observe(self.clock.now()).await?;
        if self.is_recorded(&facts) {
            return Ok((observer, facts));
        }
        let mut scribe = self.scribe(observer.log().clone());
        scribe.write(self.settings.event()).await?;
        let facts = observer.observe(self.clock.now()).await?;
        Ok((observer, facts))
    }

    fn is_recorded(&self, facts: &Facts) -> bool {
        let is_recent = |at: Timestamp| self.clock.now().duration_since(at) < CONFIGURATION;
        let newest = facts.newest_configuration();
        newest.is_some_and(|(at, event)| is_recent(at) && *event == self.settings.event())
    }

    fn scribe(&self, log: EvidenceLog) -> Scribe {
        Scribe {
            settings: Arc::clone(&self.settings),
            repository: self.repository.clone(),
            log,
            clock: self.clock.clone(),
            random: self.random.clone(),
            who: self.who.clone(),
        }
    }

    fn start_capture(&self, stops: &Stops, requests: &mpsc::Sender<Request>) -> JoinHandle<()> {
        let supervisor = Supervisor {
            settings: Arc::clone(&self.settings),
            repository: self.repository.clone(),
            board: self.board.clone(),
            requests: requests.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        tokio::spawn(supervisor.run(stops.capture.clone()))
    }

    /// The main loop, and the orderly end of everything.
    #[allow(clippy::too_many_arguments)]
    async fn work(
        &mut self,
        mut observer: Observer,
        facts: &Facts,
        capture: JoinHandle<()>,
        requests: mpsc::Sender<Request>,
        requested: &mut mpsc::Receiver<Request>,
        reloads: &mut mpsc::Receiver<Arc<Settings>>,
        stops: &mut Stops,
        over: &mut (impl Future<Output = ()> + Unpin),
    ) {
        let (events, to_record) = mpsc::channel(recorder::MOST);
        let scribe = tokio::spawn(self.scribe(observer.log().clone()).run(to_record));
        let (reports, mut reported) = mpsc::channel(WAITING);
        let lanes: Vec<_> = [Lane::Backups, Lane::Upkeep]
            .into_iter()
            .map(|lane| {
                let (orders, ordered) = mpsc::channel(WAITING);
                let worker = work_off(ordered, reports.clone(), self.board.clone(), stops.jobs.clone());
                (lane, orders, tokio::spawn(worker))
            })
            .collect();
        let (settings, watched) = watch::channel(Arc::clone(&self.settings));
        let monitor = Monitor {
            settings: watched,
            repository: self.repository.clone(),
            observer,
            board: self.board.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        let monitor = tokio::spawn(monitor.run(stops.monitor.clone()));
        let orders = lanes.iter().map(|(lane, orders, _)| (*lane, orders.clone())).collect();
        let extra = if facts.backups().any(|manifest| !manifest.partial) {
            Extra::Unwanted
        } else {
            Extra::Wanted(self.clock.now())
        };
        let mut parts = Parts { agenda: self.agenda(facts), orders, events, settings, capture, extra };
        self.board.notes().leads = true;
        loop {
            self.board.notes().beat = Instant::now();
            self.dispatch(&mut parts).await;
            tokio::select! {
                () = &mut *over => break,
                Some(report) = reported.recv() => self.settle(&mut parts, report).await,
                Some(request) = requested.recv() => match request {
                    Request::Backup if parts.extra == Extra::Unwanted => parts.extra = Extra::Wanted(self.clock.now()),
                    Request::Backup => {}
                    Request::Record(event) => self.record(&parts, event).await,
                },
                Some(settings) = reloads.recv() => self.take_over(&mut parts, settings, stops, &requests).await,
                () = tokio::time::sleep(self.until_next(&parts.agenda)) => {}
            }
        }
        stops.capture.cancel();
        stops.jobs.cancel();
        stops.monitor.cancel();
        let Parts { orders, events, capture, .. } = parts;
        drop(orders);
        let end = async {
            let _ = capture.await;
            for (_, orders, worker) in lanes {
                drop(orders);
                let _ = worker.await;
            }
            // A job that ended meanwhile still counts.
            drop(reports);
            while let Some((attempt, report)) = reported.recv().await {
                if let Ok(event) = report.outcome {
                    tracing::debug!(?attempt, "a job ended while the service was stopping");
                    let _ = events.send(event).await;
                }
            }
            drop(events);
            let _ = scribe.await;
            let _ = monitor.await;
        };
        if tokio::time::timeout(STOPPING, end).await.is_err() {
            tracing::warn!("not everything could be ended in time; the next service does it");
        }
    }

    /// Makes the agenda of what is recorded.
    fn agenda(&self, facts: &Facts) -> Agenda {
        let now = self.clock.now();
        let settled = |schedule: &Schedule| facts.settled(&schedule.record()).unwrap_or(now);
        Agenda::new(self.settings.schedules.iter().map(|schedule| (schedule.clone(), settled(schedule))))
    }

    fn until_next(&self, agenda: &Agenda) -> Duration {
        let now = self.clock.now();
        let next = agenda.wakes_at(now).and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        next.unwrap_or(ROUND).min(ROUND)
    }

    /// Begins what is due.
    async fn dispatch(&self, parts: &mut Parts) {
        let now = self.clock.now();
        for todo in parts.agenda.due(now, &self.random) {
            match todo {
                Todo::Missed { job, times } => {
                    self.miss(parts, job, &times, "no service was at work, or an earlier run took too long").await
                }
                Todo::Run(attempt) if !jobs::is_supported(attempt.job) => {
                    self.miss(parts, attempt.job, &[attempt.due], "this version of Regrow does not do this yet").await;
                    parts.agenda.ended(attempt, Outcome::Succeeded, now);
                }
                Todo::Run(attempt) => {
                    let order = Order { job: attempt.job, due: Some(attempt.due), attempt: attempt.number };
                    tracing::info!(job = attempt.job.as_str(), due = %attempt.due, attempt = attempt.number, "a job begins");
                    self.order(parts, order, Some(attempt)).await;
                }
            }
        }
        if let Extra::Wanted(at) = parts.extra
            && at <= now
        {
            tracing::info!("taking a backup outside of the schedules: without it coming moments cannot be restored");
            parts.extra = Extra::Running;
            self.order(parts, Order { job: Job::Backup(BackupKind::Daily), due: None, attempt: 1 }, None).await;
        }
    }

    async fn order(&self, parts: &Parts, order: Order, attempt: Option<Attempt>) {
        let bench = Bench {
            settings: Arc::clone(&self.settings),
            repository: self.repository.clone(),
            lease: Arc::clone(&self.lease),
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        if let Some(lane) = parts.orders.get(&Lane::of(order.job)) {
            // There are fewer jobs than places, and each runs at most once at a time.
            let _ = lane.send((bench, order, attempt)).await;
        }
    }

    async fn miss(&self, parts: &Parts, job: Job, times: &[Timestamp], cause: &str) {
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return };
        tracing::error!(job = job.as_str(), first_due = %first, times = times.len(), cause, "a job was missed");
        let event =
            Event::Missed { job, first_due: *first, last_due: *last, times: times.len() as u64, cause: cause.into() };
        self.record(parts, event).await;
    }

    async fn record(&self, parts: &Parts, event: Event) {
        // Nobody listens only once the lease is lost; then nothing may be recorded.
        let _ = parts.events.send(event).await;
    }

    /// Draws the consequences of how a job ended.
    async fn settle(&self, parts: &mut Parts, (attempt, report): (Option<Attempt>, Report)) {
        let Report { run, outcome } = report;
        let now = self.clock.now();
        match (attempt, outcome) {
            (_, Err(error)) if error.kind() == Kind::Interrupted => {}
            (attempt, Ok(event)) => {
                self.board.clear(&key(run.job));
                self.record(parts, event).await;
                // Any backup will do.
                if Lane::of(run.job) == Lane::Backups && (attempt.is_none() || matches!(parts.extra, Extra::Wanted(_)))
                {
                    parts.extra = Extra::Unwanted;
                }
                if let Some(attempt) = attempt {
                    parts.agenda.ended(attempt, Outcome::Succeeded, now);
                }
            }
            (None, Err(error)) => {
                tracing::error!(%error, hint = error.hint(), "the backup outside of the schedules failed; trying again");
                self.board.trouble(failing(&run, &error, now + BACKUP_AGAIN));
                parts.extra = Extra::Wanted(now + BACKUP_AGAIN);
            }
            (Some(attempt), Err(error)) => {
                let outcome = if error.is_transient() { Outcome::Away } else { Outcome::Failed };
                match parts.agenda.ended(attempt, outcome, now) {
                    Consequence::Again(at) => {
                        tracing::warn!(job = run.job.as_str(), %error, hint = error.hint(), again_at = %at, "a job failed; trying again");
                        self.board.trouble(failing(&run, &error, at));
                    }
                    Consequence::GivenUp | Consequence::Settled => {
                        tracing::error!(job = run.job.as_str(), %error, hint = error.hint(), "a job failed as often as it is tried");
                        self.board.clear(&key(run.job));
                        self.record(parts, Event::Failure { run, problem: error.to_string() }).await;
                    }
                }
            }
        }
    }

    /// Goes on with another configuration: what runs goes on with the one it began with.
    async fn take_over(
        &mut self,
        parts: &mut Parts,
        settings: Arc<Settings>,
        stops: &mut Stops,
        requests: &mpsc::Sender<Request>,
    ) {
        let now = self.clock.now();
        let known = |schedule: &Schedule| {
            let alike = |other: &&(&Schedule, Timestamp)| other.0.record().is_alike(&schedule.record());
            let before: Vec<_> = parts.agenda.schedules().collect();
            before.iter().find(alike).map(|(_, settled)| *settled)
        };
        let items: Vec<_> =
            settings.schedules.iter().map(|schedule| (schedule.clone(), known(schedule).unwrap_or(now))).collect();
        let mut agenda = Agenda::new(items);
        agenda.take_over(&parts.agenda);
        parts.agenda = agenda;
        if self.settings.event() != settings.event() {
            self.record(parts, settings.event()).await;
        }
        self.settings = Arc::clone(&settings);
        let _ = parts.settings.send(settings);
        self.restart_capture(parts, stops, requests).await;
        tracing::info!("the configuration was read again");
    }

    /// Ends the capture, which stores what it has read, and begins one that works with the settings of now.
    async fn restart_capture(&self, parts: &mut Parts, stops: &mut Stops, requests: &mpsc::Sender<Request>) {
        stops.capture.cancel();
        let _ = (&mut parts.capture).await;
        stops.capture = CancellationToken::new();
        parts.capture = self.start_capture(stops, requests);
    }
}

impl Settings {
    /// Returns what is recorded of it.
    fn event(&self) -> Event {
        Event::Configuration {
            schedules: self.schedules.iter().map(Schedule::record).collect(),
            workloads: self.objectives.workloads.clone(),
        }
    }
}

/// Renews the lease for as long as it is ours.
async fn renew(lease: Arc<HeldLease>, lost: CancellationToken) {
    let mut ticks = tokio::time::interval(super::RENEWAL);
    loop {
        ticks.tick().await;
        if let Err(error) = lease.renew().await
            && lease.lost().is_none()
        {
            // Nobody else can take it as long as it is not replaced; before each write it is asked for again.
            tracing::warn!(%error, "the lease could not be renewed");
        }
        if lease.lost().is_some() {
            lost.cancel();
            return;
        }
    }
}

/// Works orders off, one after the other.
async fn work_off(
    mut orders: mpsc::Receiver<(Bench, Order, Option<Attempt>)>,
    reports: mpsc::Sender<(Option<Attempt>, Report)>,
    board: Board,
    stop: CancellationToken,
) {
    while let Some((bench, order, attempt)) = orders.recv().await {
        if stop.is_cancelled() {
            return;
        }
        board.notes().running.insert(order.job, bench.clock.now());
        let report = bench.run(order, stop.clone()).await;
        board.notes().running.remove(&order.job);
        if reports.send((attempt, report)).await.is_err() {
            return;
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
