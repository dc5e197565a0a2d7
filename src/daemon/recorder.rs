//! Writing evidence down, in order, however long the repository is away.
//!
//! What waits here is lost when the process ends before it is written; then the next one finds the run's time not
//! settled and does it again, or counts it as missed.

use std::time::Duration;

use tokio::sync::mpsc;

use super::leader::Leader;
use crate::error::{Error, Kind, Result};
use crate::format::evidence::Event;
use crate::notify::{Alert, Severity};
use crate::repository::{EvidenceLog, Recorder};

/// How many events wait at most.
pub(super) const MOST: usize = 1000;

/// The wait before an event is written again.
const DELAY: Duration = Duration::from_secs(5);

/// The key of the trouble with it.
const KEY: &str = "evidence/recording";

/// Writes events down.
pub(super) struct Scribe {
    pub(super) leader: Leader,
    pub(super) log: EvidenceLog,
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
                self.leader.board.trouble(self.not_recorded(&error));
                tokio::time::sleep(DELAY).await;
            }
            self.leader.board.clear(KEY);
        }
    }

    fn not_recorded(&self, error: &Error) -> Alert {
        Alert {
            key: KEY.into(),
            severity: Severity::Warning,
            what: format!("evidence cannot be recorded: {error}"),
            since: self.leader.clock.now(),
            meaning: "nothing that was stored is affected; what happened is recorded when this has passed".into(),
            remedy: error
                .hint()
                .unwrap_or("bring the store back, and let the service create objects below evidence/")
                .into(),
        }
    }

    /// Writes one event.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub(super) async fn write(&mut self, event: Event) -> Result<()> {
        let Leader { settings, repository, clock, random, who, .. } = &self.leader;
        let recorder = Recorder { who, signing_key: &settings.signing_key, random };
        repository.record(&mut self.log, event, clock.now(), &recorder).await.map(drop)
    }
}
