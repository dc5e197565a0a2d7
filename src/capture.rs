//! Capturing the oplog, continuously: every write ends up in the repository a moment after it was committed.
//!
//! One task reads (`read`): it follows the oplog, closes slices and seals them. Another stores (`store`), in the
//! same order. Between them lies a spool of bounded size, which holds what the store cannot take at the moment; when
//! it is full, reading waits, and the server's own oplog is the buffer. Nothing is ever ahead of what is stored:
//! capture goes on where the repository's last slice ended, so killing it loses nothing and stores nothing twice.

mod read;
mod spool;
mod start;
mod store;
mod window;

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

use self::start::Start;
use crate::clock::Clock;
use crate::codec::{Recipients, SigningKey};
use crate::error::{Error, Kind, Result};
use crate::format::oplog::{MAX_SLICE_BYTES, Range, SliceRecord, Timeline};
use crate::format::{ClusterTime, TimelineId};
use crate::mongo::{Deployment, NodePreference};
use crate::random::Random;
use crate::repository::Repository;
use crate::units::MIB;

/// How many times in a row a capture is overtaken by others before it gives way to them.
const MOST_OVERTAKEN: u32 = 5;

/// What a capture needs.
pub struct CaptureContext {
    /// Whose oplog is captured.
    pub deployment: Deployment,
    /// Where it goes.
    pub repository: Repository,
    /// Whom it is encrypted to; none only where encryption is switched off.
    pub recipients: Option<Recipients>,
    /// What signs it.
    pub signing_key: SigningKey,
    /// The configured name of the source.
    pub source: String,
    /// How it is done.
    pub settings: CaptureSettings,
    /// The time.
    pub clock: Clock,
    /// For ids.
    pub random: Random,
    /// Told what happens.
    pub report: Box<dyn Fn(&CaptureEvent) + Send + Sync>,
}

/// How a capture is done.
#[derive(Debug, Clone)]
pub struct CaptureSettings {
    /// How long a slice is gathered at most.
    pub slice_interval: Duration,
    /// The bytes of entries at which a slice is closed sooner.
    pub slice_bytes: usize,
    /// How many sealed bytes wait for the store at most, in memory and on the disk.
    pub spool_bytes: u64,
    /// Which node is read.
    pub preference: NodePreference,
    /// Whether to end when everything committed at the beginning has been captured.
    pub once: bool,
    /// How long one that is to end waits for a source or a store that is away; one that runs on waits as long as it takes.
    pub patience: Duration,
}

impl Default for CaptureSettings {
    fn default() -> Self {
        Self {
            slice_interval: Duration::from_mins(1),
            slice_bytes: MAX_SLICE_BYTES,
            spool_bytes: 1024 * MIB as u64,
            preference: NodePreference::default(),
            once: false,
            patience: Duration::from_mins(3),
        }
    }
}

/// What happens while a capture runs.
#[derive(Debug)]
pub enum CaptureEvent {
    /// It goes on from here.
    Resumed(ClusterTime),
    /// Another capture has stored what this one had in hand; it goes on behind that.
    Overtaken(String),
    /// A new timeline begins; what was captured before does not lead into it.
    NewTimeline {
        /// The timeline.
        timeline: Timeline,
        /// Whether it begins where a backup leads on.
        behind_backup: bool,
    },
    /// A slice can be restored.
    Stored {
        /// Its record.
        record: SliceRecord,
        /// How long ago its last entry was written.
        behind: Duration,
    },
    /// Entries are lost.
    Gap {
        /// Of which timeline.
        timeline: TimelineId,
        /// Which.
        range: Range,
        /// Why.
        cause: String,
        /// Whether a backup leads on behind it.
        behind_backup: bool,
    },
    /// The server does not answer; it is tried again.
    SourceAway(String),
    /// The repository takes nothing; it is tried again.
    RepositoryAway {
        /// Why.
        reason: String,
        /// How many bytes wait.
        waiting: u64,
    },
    /// How far the server's oplog reaches back, as looked at now and then.
    Window {
        /// How far the newest entry lies behind the oldest.
        reaches_back: Duration,
    },
    /// The oplog may roll over before it is captured.
    WindowCloses {
        /// How far the repository is behind the newest entry.
        behind: Duration,
        /// How far back the oplog reaches.
        window: Duration,
    },
}

impl CaptureEvent {
    /// Whether only a new backup makes the coming moments restorable.
    #[must_use]
    pub fn asks_for_backup(&self) -> bool {
        matches!(self, Self::NewTimeline { behind_backup: false, .. } | Self::Gap { behind_backup: false, .. })
    }
}

/// Captures until `stop`; then stores what has been read, and ends.
///
/// # Errors
/// [`Kind::Configuration`](crate::error::Kind::Configuration) when the source is no replica set or a privilege is
/// missing; [`Kind::LeaseHeld`](crate::error::Kind::LeaseHeld) when another capture stores everything before this one
/// does; [`Kind::Interrupted`] when `stop` came before everything was captured that was to be. Servers and stores that are
/// away are waited for.
pub async fn run(context: &CaptureContext, stop: impl Future<Output = ()>) -> Result<()> {
    let (begin_stop, stopping) = watch::channel(false);
    let work = keep_on(context, stopping);
    tokio::pin!(work, stop);
    tokio::select! {
        outcome = &mut work => outcome,
        () = stop => {
            let _ = begin_stop.send(true);
            work.await?;
            if !context.settings.once {
                return Ok(());
            }
            Err(Error::new(Kind::Interrupted, "the capture was interrupted before it had come up to now")
                .with_hint("what it had read is stored, and the next one goes on behind it"))
        }
    }
}

/// Captures, and goes on behind what another capture has stored meanwhile: one that runs once is no reason to end, nor to
/// fail for that one itself. Of two that run on and on, the one that is overtaken [`MOST_OVERTAKEN`] times with nothing
/// stored between gives way: they would read everything twice.
async fn keep_on(context: &CaptureContext, mut stopping: watch::Receiver<bool>) -> Result<()> {
    let mut overtaken = 0;
    loop {
        let start = tokio::select! {
            start = start::find(context) => start?,
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
        };
        let (begin, stored) = (start.end(), store::Stored::new(start.end()));
        match Box::pin(capture(context, start, &stored, &stopping)).await {
            Err(error) if error.kind() == Kind::LeaseHeld => {
                overtaken = if stored.end() > begin { 1 } else { overtaken + 1 };
                if overtaken == MOST_OVERTAKEN && !context.settings.once {
                    return Err(error);
                }
                (context.report)(&CaptureEvent::Overtaken(error.to_string()));
            }
            outcome => return outcome,
        }
    }
}

async fn capture(
    context: &CaptureContext,
    start: Start,
    stored: &store::Stored,
    stopping: &watch::Receiver<bool>,
) -> Result<()> {
    let (spool, waiting) = spool::new(context.settings.spool_bytes);
    let read = read::read(context, start, spool, stopping.clone());
    let store = store::store(context, waiting, stored, stopping.clone());
    tokio::select! {
        outcome = async { tokio::try_join!(read, store) } => outcome.map(|_| ()),
        never = window::watch(context, stored) => match never {},
    }
}
