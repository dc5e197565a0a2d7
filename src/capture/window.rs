//! Watching how far the server's oplog reaches back: what it loses before it is stored is lost.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;

use super::store::Stored;
use super::{CaptureContext, CaptureEvent};
use crate::error::Result;
use crate::mongo::oplog;

/// How often the oplog's reach is looked at, at least, and what lies between two warnings.
const INTERVAL: Duration = Duration::from_secs(30);

/// By how much the oplog must reach further back than the repository is behind.
const FACTOR: u32 = 3;

/// Warns while there is time: when the repository is a third of the oplog's reach behind. Never ends by itself; beside the
/// reading half and not within, because that waits while the spool is full.
pub(super) async fn watch(context: &CaptureContext, stored: &Stored) -> Infallible {
    let mut warned_at: Option<Instant> = None;
    loop {
        tokio::time::sleep(context.settings.slice_interval.min(INTERVAL)).await;
        // A source that is away is the reading half's to report.
        let Ok(Some(closing)) = closing(context, stored).await else { continue };
        if warned_at.is_none_or(|at| at.elapsed() >= INTERVAL) {
            (context.report)(&closing);
            warned_at = Some(Instant::now());
        }
    }
}

async fn closing(context: &CaptureContext, stored: &Stored) -> Result<Option<CaptureEvent>> {
    let node = context.deployment.node_to_tail(&context.settings.preference).await?;
    let window = oplog::window(&node).await?;
    // The node's own oplog may end earlier than what the replica set has committed.
    let committed = context.deployment.committed_time().await?.map_or(0, |committed| committed.time);
    let seconds = |from: u32| Duration::from_secs(u64::from(window.last.time.max(committed).saturating_sub(from)));
    let (behind, window) = (seconds(stored.end().t), seconds(window.first.time));
    (context.report)(&CaptureEvent::Window { reaches_back: window });
    let closes = behind * FACTOR > window && behind > context.settings.slice_interval * 2;
    Ok(closes.then_some(CaptureEvent::WindowCloses { behind, window }))
}
