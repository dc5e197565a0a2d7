//! Writing evidence down, in order, however long the repository is away.
//!
//! What waits here is lost when the process ends before it is written; then the next one finds the run's time not
//! settled and does it again, or counts it as missed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::settings::Settings;
use crate::clock::Clock;
use crate::error::Kind;
use crate::format::evidence::Event;
use crate::random::Random;
use crate::repository::{EvidenceLog, Recorder, Repository};

/// How many events wait at most; whoever brings one more waits.
pub(super) const MOST: usize = 1000;

/// The wait before an event is written again.
const DELAY: Duration = Duration::from_secs(5);

/// What writing needs.
pub(super) struct Scribe {
    pub(super) settings: Arc<Settings>,
    pub(super) repository: Repository,
    pub(super) log: EvidenceLog,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) who: String,
}

impl Scribe {
    /// Writes what comes until there will be no more, or the lease is lost.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            while let Err(error) = self.write(event.clone()).await {
                if error.kind() == Kind::LeaseHeld {
                    return;
                }
                tracing::warn!(%error, kind = event.kind(), "evidence could not be recorded; trying again");
                tokio::time::sleep(DELAY).await;
            }
        }
    }

    /// Writes one event.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub(super) async fn write(&mut self, event: Event) -> crate::error::Result<()> {
        let recorder = Recorder { who: &self.who, signing_key: &self.settings.signing_key, random: &self.random };
        self.repository.record(&mut self.log, event, self.clock.now(), &recorder).await
    }
}
