//! Carrying a restore out.

use std::future::Future;

use super::exchange::Exchange;
use super::journal::{Event, Journal, Stage};
use super::merge::{self, Merge};
use super::{Restore, RestoreContext, RestorePlan, RestoreSummary};
use crate::error::{Error, Kind, Result};
use crate::mongo::{Deployment, load};

/// Restores as planned, or goes on with what an earlier run has begun. `stop` ends it early, and what it did is taken back.
///
/// A restore that replaces, and that lost its target or the store for longer than it waits, leaves what it has loaded: what it
/// would replace is as it was, and it can go on.
///
/// # Errors
/// [`Kind::Damaged`] when stored data is not what was written, or the restored documents are not the ones
/// that were read; [`Kind::Interrupted`] when `stop` came first; whatever the server or the storage says.
pub async fn execute(
    plan: &RestorePlan,
    context: &RestoreContext,
    stop: impl Future<Output = ()>,
) -> Result<RestoreSummary> {
    let restore = Restore::new(plan, context);
    let steps = async {
        // Once exchanged, what was loaded bears other names.
        let is_finished = context.past.stage >= Stage::Exchanging;
        if !is_finished && !context.past.is_limiting {
            restore.load().await?;
        }
        let summary = if is_finished { restore.summary(0) } else { restore.finish().await? };
        if context.past.stage < Stage::Exchanged {
            Box::pin(restore.exchange()).await?;
            Box::pin(restore.phases.time("merge", restore.merge())).await?;
        }
        Ok(summary)
    };
    let outcome = tokio::select! {
        outcome = steps => outcome,
        () = stop => Err(Error::new(Kind::Interrupted, "the restore was interrupted")),
    };
    match outcome {
        Ok(summary) => restore.close(summary).await,
        Err(error) if error.is_transient() && plan.is_staged() => {
            restore.writes.settle().await;
            let target = match (restore.exchanges.get(), restore.merges.get()) {
                (None, None) => "what it would replace is as it was",
                (Some(_), _) => "what it replaces is wholly as it was, or wholly restored",
                (_, Some(_)) => "some of the documents may be restored",
            };
            Err(restore.left_over(error.context(format!("the restore has not ended, and {target}"))))
        }
        Err(error) => Err(Box::pin(restore.undo(error)).await),
    }
}

impl Restore<'_> {
    /// Removes what is not needed any more: everything is in its place.
    async fn close(&self, mut summary: RestoreSummary) -> Result<RestoreSummary> {
        let exchanges = self.exchanges.get().map(Vec::as_slice).unwrap_or_default();
        let merges = self.merges.get().map(Vec::as_slice).unwrap_or_default();
        summary.merged = self.merged.get().copied();
        let Some(journal) = &self.context.journal else { return Ok(summary) };
        if self.plan.request.keep_old && (exchanges.iter().any(Exchange::can_be_undone) || !merges.is_empty()) {
            journal.note(Event::Done).await?;
            summary.can_be_undone = true;
            summary.kept = exchanges.iter().filter_map(Exchange::kept_namespace).collect();
            summary.kept.extend(merge::set_aside(&self.context.deployment, merges).await?);
        } else {
            remove(&self.context.deployment, journal, exchanges, merges).await.map_err(|error| {
                error
                    .context("everything is restored, but not all that it replaced is removed")
                    .with_hint(journal.ways_on())
            })?;
        }
        summary.elapsed = self.begun.elapsed();
        summary.phases = self.phases();
        Ok(summary)
    }
}

/// Removes what was replaced, and the journal.
pub(super) async fn remove(
    target: &Deployment,
    journal: &Journal,
    exchanges: &[Exchange],
    merges: &[Merge],
) -> Result<()> {
    if !exchanges.is_empty() || !merges.is_empty() {
        journal.note(Event::Removing).await?;
    }
    for merge in merges {
        merge.remove(target).await?;
    }
    for (db, name) in exchanges.iter().filter_map(Exchange::to_remove) {
        load::drop_collection(&target.client().database(db), name).await?;
    }
    journal.end().await
}
