//! The storing half: carries out one order after the other, and waits for a repository that is away.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::spool::{Order, Orders};
use super::{CaptureContext, CaptureEvent};
use crate::error::{Error, Kind, Result};
use crate::format::ClusterTime;
use crate::format::oplog::SliceRecord;

/// The wait before a repository that is away is tried again; doubled each time.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// How long what is being stored may take once it is to stop.
const LAST_ATTEMPT: Duration = Duration::from_secs(10);

/// Up to where everything is stored.
pub(super) struct Stored(Mutex<ClusterTime>);

impl Stored {
    pub(super) fn new(end: ClusterTime) -> Self {
        Self(Mutex::new(end))
    }

    pub(super) fn end(&self) -> ClusterTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, end: ClusterTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }
}

/// Stores what arrives until there will be no more.
pub(super) async fn store(
    context: &CaptureContext,
    mut orders: Orders,
    stored: &Stored,
    mut stopping: watch::Receiver<bool>,
) -> Result<()> {
    while let Some(due) = orders.next().await? {
        let (mut delay, since) = (FIRST_DELAY, Instant::now());
        while let Err(error) = in_time(carry_out(context, &due.order, stored), stopping.clone()).await {
            // Another capture's slices lead elsewhere: nothing that waits here would follow them.
            if error.kind() == Kind::LeaseHeld {
                return Err(error);
            }
            // Whoever captures once comes again by itself, and must not find this one still waiting.
            let waits = error.is_transient() && since.elapsed() < context.settings.patience;
            if *stopping.borrow() || context.settings.once && !waits {
                return Err(not_stored(error, stored.end()));
            }
            let waiting = orders.waiting();
            (context.report)(&CaptureEvent::RepositoryAway { reason: error.to_string(), waiting });
            let stopped = tokio::time::timeout(delay, stopping.wait_for(|stop| *stop)).await;
            delay = if stopped.is_ok() { FIRST_DELAY } else { (delay * 2).min(LONGEST_DELAY) };
        }
    }
    Ok(())
}

/// Does not wait much longer once it is to stop: a store that is away may not answer for minutes.
async fn in_time(work: impl Future<Output = Result<()>>, mut stopping: watch::Receiver<bool>) -> Result<()> {
    let late = async {
        let _ = stopping.wait_for(|stop| *stop).await;
        tokio::time::sleep(LAST_ATTEMPT).await;
    };
    tokio::select! {
        outcome = work => outcome,
        () = late => Err(Error::failed("the repository does not answer").transient()),
    }
}

fn not_stored(error: Error, end: ClusterTime) -> Error {
    error.context(format!("the oplog behind {end} could not be stored")).with_hint(
        "nothing is lost: the next capture reads it again, as long as the server's oplog reaches back so far",
    )
}

async fn carry_out(context: &CaptureContext, order: &Order, stored: &Stored) -> Result<()> {
    let CaptureContext { repository, signing_key, clock, .. } = context;
    match order {
        Order::Timeline(timeline) => repository.begin_timeline(timeline, signing_key).await,
        Order::Gap { timeline, range, cause } => {
            repository.store_gap(timeline, *range, cause, clock.now(), signing_key).await?;
            stored.reach(range.end);
            Ok(())
        }
        Order::Slice { timeline, slice, sealed } => {
            let stored_slice = repository.store_slice(timeline, slice, sealed.clone(), clock, signing_key).await?;
            stored.reach(stored_slice.end);
            report(context, stored_slice);
            Ok(())
        }
    }
}

fn report(context: &CaptureContext, record: SliceRecord) {
    let behind = context.clock.now().duration_since(record.end.wall());
    let behind = Duration::try_from(behind).unwrap_or_default();
    (context.report)(&CaptureEvent::Stored { record, behind });
}
