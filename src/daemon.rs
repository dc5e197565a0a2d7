//! The service: one of several leads, captures the oplog, runs what is due, and shouts before an objective is missed.
//!
//! Several may run for one repository; they agree by a lease in it. Whoever does not lead waits and takes over when the
//! lease has run out. Nothing that counts is kept in memory or on the machine: all of it is in the repository, so a
//! service that was killed is made good by the next one.

mod board;
mod capture;
mod desk;
mod http;
mod jobs;
mod keys;
mod leader;
mod monitor;
mod recorder;
mod settings;
mod systemd;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use settings::{ServerSettings, Settings};

use crate::backup::Targets;
use crate::clock::Clock;
use crate::config::Stores;
use crate::error::{Error, Kind, Result};
use crate::format::lease::Lease;
use crate::random::Random;
use crate::repository::{Applicant, HeldLease, Repository};
use crate::storage::{Fenced, Retrying, Storage};

use board::Board;
use http::Endpoint;
use leader::Leader;

/// How long the lease lasts: what a leader that was killed keeps the others waiting, with what clocks may differ by.
const LEASE: Duration = Duration::from_secs(30);

/// How often it is renewed: two renewals may fail before it runs out.
const RENEWAL: Duration = Duration::from_secs(10);

/// How often whoever waits looks whether it is free.
const STANDBY: Duration = Duration::from_secs(2);

/// The wait before a repository that cannot be reached is tried again.
const DELAY: Duration = Duration::from_secs(5);

/// The service of one process.
pub struct Daemon {
    /// What it works with.
    pub settings: Settings,
    /// Where its configuration lies, to read it again.
    pub path: Option<PathBuf>,
    /// The time.
    pub clock: Clock,
    /// For ids.
    pub random: Random,
    /// The way to the repository.
    pub stores: Stores,
    /// A host and a process, for people.
    pub who: String,
    /// How large the parts of backups grow.
    pub targets: Targets,
}

/// The repository as the service uses it.
struct Place {
    /// The store as it is.
    store: Arc<dyn Storage>,
    /// The repository, to hold the lease in.
    repository: Repository,
}

/// A lease of somebody else, and since when it has stood still.
struct Seen {
    lease: Lease,
    since: Instant,
}

impl Daemon {
    /// Serves until `stop`. What comes by `reload` makes it read its configuration again.
    ///
    /// # Errors
    /// [`Kind::Configuration`] and [`Kind::NotFound`] when it cannot begin at all: the repository is none, or its keys
    /// do not fit. A repository or a source that is away is waited for.
    pub async fn run(self, stop: CancellationToken, mut reload: mpsc::Receiver<()>) -> Result<()> {
        let board = Board::new();
        board.captures(self.settings.capture.is_some());
        if let Some(server) = &self.settings.server {
            let endpoint = Endpoint::open(server, board.clone()).await?;
            tracing::info!(listen = %server.listen, "answering");
            tokio::spawn(endpoint.serve());
        }
        let watched = board.clone();
        tokio::spawn(async move { systemd::feed_watchdog(&watched).await });
        let (path, mut current) = (self.path.clone(), self.settings.clone());
        let (clock, random) = (self.clock.clone(), self.random.clone());
        let (reloaded, mut reloads) = mpsc::channel(1);
        tokio::spawn(async move {
            while reload.recv().await.is_some() {
                systemd::reloading();
                if let Some(settings) = read_again(&current, path.as_deref(), &clock, &random) {
                    current = settings.clone();
                    let _ = reloaded.send(Arc::new(settings)).await;
                }
                systemd::tell(&[NotifyState::Ready]);
            }
        });
        systemd::tell(&[NotifyState::Ready, NotifyState::Status("starting")]);
        let outcome = tokio::select! {
            outcome = self.elect(&board, &mut reloads, &stop) => outcome,
            () = stop_for_good(&stop) => Ok(()),
        };
        systemd::tell(&[NotifyState::Stopping]);
        outcome
    }

    /// Leads whenever the lease is free.
    async fn elect(
        &self,
        board: &Board,
        reloads: &mut mpsc::Receiver<Arc<Settings>>,
        stop: &CancellationToken,
    ) -> Result<()> {
        let mut settings = Arc::new(self.settings.clone());
        let place = tokio::select! {
            place = self.open(board) => place?,
            () = stop.cancelled() => return Ok(()),
        };
        let (mut waited_for, mut seen) = (String::new(), None);
        while !stop.is_cancelled() {
            while let Ok(newer) = reloads.try_recv() {
                board.captures(newer.capture.is_some());
                settings = newer;
            }
            let delay = match board.while_waiting(self.acquire(&place, &settings, &mut seen)).await {
                Ok(lease) => {
                    waited_for.clear();
                    board.notes().stands_by = false;
                    settings = self.lead(&place, settings, lease, board, reloads, stop).await;
                    continue;
                }
                Err(error) if error.kind() == Kind::LeaseHeld => {
                    board.notes().stands_by = true;
                    let holder = place.repository.lease().await.ok().flatten().map(|lease| lease.description);
                    let holder = holder.unwrap_or_default();
                    if holder != waited_for {
                        tracing::info!(reason = %error, "standing by");
                        systemd::tell(&[NotifyState::Status("standing by")]);
                        waited_for = holder;
                    }
                    STANDBY
                }
                Err(error) => {
                    board.notes().stands_by = false;
                    tracing::warn!(%error, hint = error.hint(), "the repository cannot be used; trying again");
                    DELAY
                }
            };
            let _ = tokio::time::timeout(delay, stop.cancelled()).await;
        }
        Ok(())
    }

    /// Opens the repository; one that is away is waited for.
    async fn open(&self, board: &Board) -> Result<Place> {
        loop {
            match Box::pin(board.while_waiting(self.try_open())).await {
                Ok(place) => {
                    let mut notes = board.notes();
                    (notes.source, notes.repository) = (self.settings.source.clone(), place.repository.location());
                    drop(notes);
                    return Ok(place);
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "the repository cannot be reached; trying again");
                    tokio::time::sleep(DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_open(&self) -> Result<Place> {
        let place = &self.settings.config.file.repository;
        let store = self.stores.open_unpatient(place, false).await?;
        let patient = Retrying::new(Arc::clone(&store), self.random.clone());
        let repository = Repository::open_as(Arc::new(patient), self.settings.config.trust()?).await?;
        repository.accept_signer(&self.settings.signing_key)?;
        Ok(Place { store, repository })
    }

    /// Takes the lease, if it was given back, or has stood still for as long as it lasts: that its time is over must not be a
    /// matter of clocks that may be wrong. Only of one that no service holds the time counts as well.
    async fn acquire(&self, place: &Place, settings: &Settings, seen: &mut Option<Seen>) -> Result<HeldLease> {
        let applicant =
            Applicant { description: format!("regrow daemon on {}", self.who), duration: LEASE, service: true };
        let Place { repository, .. } = place;
        if let Some(lease) = repository.lease().await?.filter(|lease| !lease.released) {
            let is_same = seen.as_ref().is_some_and(|seen| seen.lease == lease);
            let since = seen.as_ref().filter(|_| is_same).map_or_else(Instant::now, |seen| seen.since);
            *seen = Some(Seen { lease: lease.clone(), since });
            if since.elapsed() < LEASE {
                return Err(Error::new(Kind::LeaseHeld, format!("{} holds the lease", lease.description)));
            }
            if lease.service {
                let with = (&self.clock, &self.random);
                return repository.take_over(&lease, &applicant, &settings.signing_key, with).await;
            }
        }
        repository.acquire(&applicant, &settings.signing_key, &self.clock, &self.random).await
    }

    /// Leads, and returns the settings that were in force at the end.
    async fn lead(
        &self,
        place: &Place,
        settings: Arc<Settings>,
        lease: HeldLease,
        board: &Board,
        reloads: &mut mpsc::Receiver<Arc<Settings>>,
        stop: &CancellationToken,
    ) -> Arc<Settings> {
        let lease = Arc::new(lease);
        tracing::info!(generation = lease.generation().await, "this service leads");
        systemd::tell(&[NotifyState::Status("leading")]);
        let fenced = Fenced::new(Arc::clone(&place.store), Arc::clone(&lease) as Arc<dyn crate::storage::Gate>);
        let patient = Retrying::new(fenced, self.random.clone());
        let leader = Leader {
            settings,
            repository: place.repository.stored_in(Arc::new(patient)),
            lease,
            board: board.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
            who: self.who.clone(),
            targets: self.targets,
        };
        leader.lead(reloads, stop).await
    }
}

/// Reads the configuration again; one that is wrong, or that cannot be taken over, changes nothing.
fn read_again(current: &Settings, path: Option<&Path>, clock: &Clock, random: &Random) -> Option<Settings> {
    let settings = match Settings::load(path, clock, random) {
        Ok(settings) => settings,
        Err(error) => {
            tracing::error!(%error, hint = error.hint(), "the configuration is wrong; the one before stays in force");
            return None;
        }
    };
    if let Some(part) = current.needs_restart(&settings) {
        tracing::error!(
            part,
            "what was changed takes effect only after a restart; the configuration before stays in force"
        );
        return None;
    }
    Some(settings)
}

/// Ends some time after `stop`, whatever still hangs then.
async fn stop_for_good(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_secs(28)).await;
    tracing::warn!("ending although not everything has ended");
}
