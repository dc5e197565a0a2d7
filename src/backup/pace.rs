//! How fast a backup may read: no faster than somebody said, and not at all while the deployment has it hard.
//!
//! Every reader asks for its turn before each batch. A pause ends by itself after [`LONGEST_PAUSE`], and the next one begins
//! [`SHORTEST_STRETCH`] later at the earliest: what makes it hard may be none of the backup's doing, a backup that waits for
//! ever is none, and the server keeps the backup's moment readable only for a while. At worst it takes four times as long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::plan::BackupPlan;
use crate::error::Kind;
use crate::mongo::pressure::{self, Pressure};
use crate::mongo::{Node, read};
use crate::progress::{PartProgress, Step};
use crate::rate::Rate;

/// How often the deployment is asked how it fares. One answer costs it less than a batch of documents by far.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long its answer is waited for.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// How long readers pause at most before they go on all the same.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// For how long they then read at least.
const SHORTEST_STRETCH: Duration = Duration::from_secs(10);

/// How many readers there are unless somebody says otherwise. Two streams saturate two cores of a server; more only
/// hold memory.
const READERS: usize = 2;

/// The most operations that may wait on the member that is read from. A busy server lets a few wait now and then; the
/// readers themselves are never more than this.
const MOST_QUEUED: u64 = 16;

/// The most that replication may be behind: where the server itself begins to hold its writers back
/// (`flowControlTargetLagSeconds`).
const MOST_LAG: Duration = Duration::from_secs(10);

/// What a backup may take of the deployment that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of documents in a second; none: as many as can be.
    pub bytes_per_second: Option<u64>,
    /// How many parts are read at once.
    pub readers: usize,
    /// Above this, reading pauses.
    pub most_pressure: Pressure,
}

impl Default for ReadLimits {
    fn default() -> Self {
        let most_pressure = Pressure { queued: MOST_QUEUED, lag: MOST_LAG };
        Self { bytes_per_second: None, readers: READERS, most_pressure }
    }
}

impl ReadLimits {
    /// Returns how many bytes a reader shall ask for in one batch: so few where a rate is set that it is held within a
    /// fraction of a second, too. Each keeps one of the server's cores busy, and others wait so long.
    pub(super) fn batch_bytes(&self) -> u64 {
        const BATCHES_PER_SECOND: u64 = 64;
        let rate = self.bytes_per_second.unwrap_or(u64::MAX);
        (rate / BATCHES_PER_SECOND).clamp(1, read::BATCH_BYTES)
    }
}

/// Gives readers their turns; clones share it.
#[derive(Clone)]
pub(super) struct Pace {
    rate: Option<Arc<Rate>>,
    /// Whether readers pause.
    pause: watch::Receiver<bool>,
}

impl Pace {
    /// Returns the pace that `limits` allow, and what looks at the deployment meanwhile.
    pub fn of(plan: &BackupPlan, limits: &ReadLimits) -> (Self, Watcher) {
        let (sender, pause) = watch::channel(false);
        let rate = limits.bytes_per_second.map(|rate| Arc::new(Rate::new(rate)));
        let (primary, node) = (plan.primary.clone(), plan.node.clone());
        (Self { rate, pause }, Watcher { primary, node, most: limits.most_pressure, sender, asks_for_queue: true })
    }

    /// Waits until a reader may ask for its next batch.
    pub async fn turn(&self, progress: &PartProgress) {
        if *self.pause.borrow() {
            progress.step(Step::Yielding);
            // Nobody looks any more where the sender is gone: the dump is about to end.
            let _ = self.pause.clone().wait_for(|paused| !paused).await;
            progress.step(Step::Reading);
        }
        if let Some(rate) = &self.rate {
            rate.wait().await;
        }
    }

    /// Says that so many bytes were read.
    pub fn has_read(&self, bytes: u64) {
        if let Some(rate) = &self.rate {
            rate.spend(bytes);
        }
    }
}

/// Looks how the deployment fares.
pub(super) struct Watcher {
    primary: Node,
    node: Node,
    most: Pressure,
    sender: watch::Sender<bool>,
    /// Until the server says that the user may not.
    asks_for_queue: bool,
}

impl Watcher {
    /// Looks again and again, and makes readers pause and go on; never ends by itself.
    pub async fn watch<T>(mut self) -> T {
        let mut turns = Turns::default();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // Readers must not wait for a primary that is frozen.
            let pressure = tokio::time::timeout(LOOK_PATIENCE, self.look()).await.unwrap_or_default();
            match turns.next(pressure.exceeds(&self.most), Instant::now()) {
                Some(true) => tracing::warn!(%pressure, "the server has it hard; reading pauses"),
                Some(false) => tracing::info!(%pressure, "reading goes on"),
                None => continue,
            }
            self.sender.send_replace(turns.paused_at.is_some());
        }
    }

    /// A question that is not answered counts for nothing: whether the server is gone, the readers find out.
    async fn look(&mut self) -> Pressure {
        let lag = pressure::lag(&self.primary, &self.node).await.ok().flatten().unwrap_or_default();
        let queued = match self.asks_for_queue.then_some(&self.node) {
            Some(node) => pressure::queued(node).await,
            None => Ok(0),
        };
        let queued = queued.unwrap_or_else(|error| {
            if error.kind() == Kind::Configuration {
                self.asks_for_queue = false;
                tracing::info!(%error, "a queue of operations makes no reader pause");
            }
            0
        });
        Pressure { queued, lag }
    }
}

/// When readers pause and when they read.
#[derive(Default)]
struct Turns {
    paused_at: Option<Instant>,
    /// Until then nobody pauses again.
    reads_until: Option<Instant>,
}

impl Turns {
    /// Returns whether readers pause from now on, where that has changed.
    fn next(&mut self, is_hard: bool, now: Instant) -> Option<bool> {
        match self.paused_at {
            Some(since) => {
                let has_lasted = now.duration_since(since) >= LONGEST_PAUSE;
                if is_hard && !has_lasted {
                    return None;
                }
                self.reads_until = is_hard.then(|| now + SHORTEST_STRETCH);
                self.paused_at = None;
                Some(false)
            }
            None if is_hard && self.reads_until.is_none_or(|until| now >= until) => {
                self.paused_at = Some(now);
                Some(true)
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_small_where_the_rate_is_low() {
        let batch = |bytes_per_second| ReadLimits { bytes_per_second, ..ReadLimits::default() }.batch_bytes();
        assert_eq!(batch(None), read::BATCH_BYTES);
        assert_eq!(batch(Some(u64::MAX)), read::BATCH_BYTES);
        assert_eq!(batch(Some(6_400_000)), 100_000);
        assert_eq!(batch(Some(1)), 1);
    }

    #[test]
    fn a_pause_ends_with_its_reason_or_by_itself_and_then_something_is_read() {
        let (mut turns, begin) = (Turns::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(turns.next(false, at(0)), None);
        assert_eq!(turns.next(true, at(1)), Some(true));
        assert_eq!(turns.next(true, at(2)), None, "it lasts");
        assert_eq!(turns.next(false, at(3)), Some(false));
        assert_eq!(turns.next(true, at(4)), Some(true), "as soon as it is hard again");
        assert_eq!(turns.next(true, at(33)), None);
        assert_eq!(turns.next(true, at(34)), Some(false), "it has lasted long enough");
        assert_eq!(turns.next(true, at(43)), None, "something is read");
        assert_eq!(turns.next(true, at(44)), Some(true));
    }
}
