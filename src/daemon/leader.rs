//! The one that leads: captures, runs what is due, records what happened, and looks at how things stand.
//!
//! Everything that it writes goes through a fence: the lease is renewed before it may have run out, and once somebody
//! else holds it nothing is written any more. What a crash leaves is what each operation leaves; the next leader makes
//! its agenda of what was recorded.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::capture::Capturing;
use super::desk::{Desk, Ended, Lane, Order, Orders, Request};
use super::monitor::Monitor;
use super::recorder::{self, Scribe};
use super::settings::Settings;
use crate::backup::Targets;
use crate::clock::Clock;
use crate::error::Result;
use crate::format::evidence::Event;
use crate::policy::{Retention, Schedule};
use crate::random::Random;
use crate::repository::{EvidenceLog, HeldLease, Repository};
use crate::status::{Facts, Observer};

/// How many orders, reports and requests wait at most: there are fewer jobs than that, and each runs once at a time.
const WAITING: usize = 64;

/// The wait before the repository is read again at the begin.
const DELAY: Duration = Duration::from_secs(2);

/// What is configured is recorded again after this, so that whoever reads the evidence of some months finds it.
const CONFIGURATION: SignedDuration = SignedDuration::from_hours(24 * 20);

/// What a leader does within this after it was told to stop, it does; the rest the next one does.
const STOPPING: Duration = Duration::from_secs(22);

/// What a leader is made of.
#[derive(Clone)]
pub(super) struct Leader {
    pub(super) settings: Arc<Settings>,
    /// Writes only while the lease is held.
    pub(super) repository: Repository,
    pub(super) lease: Arc<HeldLease>,
    pub(super) board: Board,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) who: String,
    pub(super) targets: Targets,
}

impl Leader {
    /// Leads until `stop`, or until the lease is lost. Takes over configurations that come by `reloads`; returns the one
    /// that was in force at the end.
    pub(super) async fn lead(
        self,
        reloads: &mut mpsc::Receiver<Arc<Settings>>,
        stop: &CancellationToken,
    ) -> Arc<Settings> {
        let over = stop.child_token();
        let renewal = tokio::spawn(renew(Arc::clone(&self.lease), over.clone()));
        let (requests, requested) = mpsc::channel(WAITING);
        let capture = Capturing::start(self.clone(), requests.clone());
        let (settings, watched) = watch::channel(Arc::clone(&self.settings));
        // From the begin on: that the repository cannot be read is worth saying, too.
        let monitor = Monitor { leader: self.clone(), settings: watched, requests };
        let monitor = tokio::spawn(monitor.run(over.clone()));
        let settings = tokio::select! {
            (log, facts) = self.begin() => {
                let work = Work { leader: &self, capture: &capture, settings, monitor };
                work.run(log, &facts, requested, reloads, &over).await
            }
            () = over.cancelled() => Arc::clone(&self.settings),
        };
        if tokio::time::timeout(STOPPING, capture.stop()).await.is_err() {
            tracing::warn!("capture could not be ended in time; the next one reads again what is not stored");
        }
        renewal.abort();
        self.board.step_down();
        if let Some(reason) = self.lease.lost() {
            tracing::error!(reason, "this service no longer leads");
        } else if let Err(error) = self.lease.release().await {
            tracing::info!(%error, "the lease was not given back; it runs out by itself");
        }
        settings
    }

    /// Reads the repository and records what is configured, however long that takes.
    async fn begin(&self) -> (EvidenceLog, Facts) {
        loop {
            match self.board.while_waiting(self.try_begin()).await {
                Ok(begun) => return begun,
                Err(error) => tracing::warn!(%error, "the repository cannot be used yet; trying again"),
            }
            tokio::time::sleep(DELAY).await;
        }
    }

    async fn try_begin(&self) -> Result<(EvidenceLog, Facts)> {
        let mut observer = Observer::new(self.repository.clone());
        let mut facts = observer.observe(self.clock.now()).await?;
        if !self.is_recorded(&facts) {
            let event = self.settings.event();
            self.scribe(observer.log().clone()).write(event).await?;
            facts = observer.observe(self.clock.now()).await?;
        }
        Ok((observer.log().clone(), facts))
    }

    fn is_recorded(&self, facts: &Facts) -> bool {
        let is_recent = |at: Timestamp| self.clock.now().duration_since(at) < CONFIGURATION;
        let newest = facts.newest_configuration();
        newest.is_some_and(|(at, event)| is_recent(at) && *event == self.settings.event())
    }

    fn scribe(&self, log: EvidenceLog) -> Scribe {
        Scribe { leader: self.clone(), log }
    }

    /// Starts a lane: what is ordered in it is run one after the other.
    fn start_lane(
        &self,
        reports: mpsc::Sender<Ended>,
        over: &CancellationToken,
    ) -> (mpsc::Sender<Order>, JoinHandle<()>) {
        let (orders, mut ordered) = mpsc::channel::<Order>(WAITING);
        let (board, clock, over) = (self.board.clone(), self.clock.clone(), over.clone());
        let worker = async move {
            while let Some(order) = tokio::select! { order = ordered.recv() => order, () = over.cancelled() => None } {
                let job = order.job;
                board.notes().running.insert(job, clock.now());
                let ended = order.run(over.clone()).await;
                board.notes().running.remove(&job);
                if reports.send(ended).await.is_err() {
                    return;
                }
            }
        };
        (orders, tokio::spawn(worker))
    }
}

/// A leader at work: its parts that were there before.
struct Work<'a> {
    leader: &'a Leader,
    capture: &'a Capturing,
    settings: watch::Sender<Arc<Settings>>,
    monitor: JoinHandle<()>,
}

impl Work<'_> {
    /// Does what is due and what comes, until it is over; returns the settings that were in force then.
    async fn run(
        mut self,
        log: EvidenceLog,
        facts: &Facts,
        mut requested: mpsc::Receiver<Request>,
        reloads: &mut mpsc::Receiver<Arc<Settings>>,
        over: &CancellationToken,
    ) -> Arc<Settings> {
        let (events, to_record) = mpsc::channel(recorder::MOST);
        let mut scribe = tokio::spawn(self.leader.scribe(log).run(to_record));
        let (reports, mut reported) = mpsc::channel(WAITING);
        let [backups, upkeep] = [(); 2].map(|()| self.leader.start_lane(reports.clone(), over));
        drop(reports);
        let orders = Orders::from([(Lane::Backups, backups.0), (Lane::Upkeep, upkeep.0)]);
        let mut desk = Desk::new(self.leader.clone(), facts, orders, events);
        self.leader.board.notes().leads = true;
        while !over.is_cancelled() {
            self.leader.board.notes().beat = Instant::now();
            desk.dispatch();
            tokio::select! {
                () = over.cancelled() => {}
                Some(ended) = reported.recv() => desk.settle(ended),
                Some(request) = requested.recv() => desk.take(request),
                Some(newer) = reloads.recv() => {
                    desk.take_over(&newer);
                    self.capture.restart(Arc::clone(&newer));
                    let _ = self.settings.send(newer);
                    tracing::info!("the configuration was read again");
                }
                ended = &mut self.monitor => lead_anew("the monitor", &ended, over),
                ended = &mut scribe => lead_anew("the recorder", &ended, over),
                () = tokio::time::sleep(desk.until_next()) => {}
            }
        }
        let end = async {
            // What ended while the rest was stopping still counts; what is left out is not settled for the next one.
            while let Some(ended) = reported.recv().await {
                desk.settle(ended);
            }
            // The oplog's last slice is stored and its gaps are recorded before the record is closed.
            self.capture.stop().await;
            while let Ok(request) = requested.try_recv() {
                desk.take(request);
            }
            let in_force = desk.close();
            for task in [scribe, self.monitor, backups.1, upkeep.1] {
                if !task.is_finished() {
                    let _ = task.await;
                }
            }
            in_force
        };
        let known = self.settings.borrow().clone();
        tokio::time::timeout(STOPPING, end).await.unwrap_or_else(|_| {
            tracing::warn!("not everything could be ended in time; the next service does it");
            known
        })
    }
}

/// A part that ended by itself has met a fault: leading begins anew, with everything.
fn lead_anew(part: &str, ended: &Result<(), JoinError>, over: &CancellationToken) {
    if !over.is_cancelled() {
        tracing::error!(part, ?ended, "a part of the service ended; leading anew");
        over.cancel();
    }
}

impl Settings {
    /// Returns what is recorded of it.
    pub(super) fn event(&self) -> Event {
        Event::Configuration {
            schedules: self.schedules.iter().map(Schedule::record).collect(),
            workloads: self.objectives.workloads.clone(),
            retention: self.retention.map(Retention::record),
        }
    }
}

/// Renews the lease for as long as it is ours; then it is over.
async fn renew(lease: Arc<HeldLease>, over: CancellationToken) {
    let mut ticks = tokio::time::interval(super::RENEWAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while lease.lost().is_none() {
        ticks.tick().await;
        if let Err(error) = lease.renew().await
            && lease.lost().is_none()
        {
            // Nobody else can have it as long as it is not replaced; before each write it is asked for again.
            tracing::warn!(%error, "the lease could not be renewed");
        }
    }
    over.cancel();
}
