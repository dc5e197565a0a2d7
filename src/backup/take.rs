//! Taking what was planned: whole, behind what another run has stored, or as a full backup after all.

use std::future::Future;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::resume::discard_before;
use super::{
    BackupContext, BackupPlan, Checkpoints, Resumption, WhyAnew, WhyFull, commit, interrupted, sweep, write_data,
};
use crate::error::{Error, Kind, Result};
use crate::format::manifest::{Manifest, PackRecord};
use crate::repository::Repository;

/// How many packs that another run has stored are read again at once, beside everything else.
const CONFIRMED_AT_ONCE: usize = 2;

/// What came of taking a backup.
pub struct Taken {
    /// What was made.
    pub manifest: Manifest,
    /// Why it is no increment after all.
    pub why_full: Option<WhyFull>,
    /// Why it does not go on with an unfinished one after all.
    pub why_anew: Option<WhyAnew>,
    /// The bytes of the documents that another run had stored.
    pub resumed_bytes: u64,
}

/// Takes the planned backup and returns its manifest. `stop` ends it early, cleanly.
///
/// # Errors
/// [`Kind::Interrupted`] when `stop` came first; whatever the server or the storage says otherwise. After
/// an error no backup exists. What had been stored is removed or named in the log, or kept where it was noted and another run
/// can go on with it; unless the manifest was being written: then the error says that the backup may exist, and it is whole if
/// it does.
pub async fn execute(plan: BackupPlan, context: &BackupContext, stop: impl Future<Output = ()>) -> Result<Manifest> {
    Box::pin(take(&plan, context, None, stop)).await.map_err(|(error, _)| error)
}

/// Takes the planned backup, or goes on with it; where it is an increment or one that was resumed, and fails, a full one as
/// `anew` plans it.
///
/// # Errors
/// As those of [`execute`].
pub async fn execute_or_full<F: Future<Output = Result<BackupPlan>>>(
    (plan, resumption): (BackupPlan, Option<Resumption>),
    anew: impl FnOnce() -> F,
    context: &BackupContext,
    stop: impl Future<Output = ()>,
) -> Result<Taken> {
    tokio::pin!(stop);
    let resumed_bytes = resumption.as_ref().map(|resumption| resumption.bytes);
    let is_resumed = resumed_bytes.is_some();
    let (error, is_uncommitted) = match Box::pin(take(&plan, context, resumption, &mut stop)).await {
        Ok(manifest) => {
            let resumed_bytes = resumed_bytes.unwrap_or_default();
            return Ok(Taken { manifest, why_full: None, why_anew: None, resumed_bytes });
        }
        Err(failed) => failed,
    };
    // The moment is gone, a collection was dropped, the parent has expired, a pack is damaged, somebody else goes on with it:
    // a full backup that begins anew asks for none of that. What passes by itself is no reason to throw away what is stored.
    let may_go_on = match error.kind() {
        Kind::Failed | Kind::NotFound => (is_resumed && !error.is_transient()) || plan.increment.is_some(),
        Kind::Damaged | Kind::LeaseHeld | Kind::Refused => is_resumed,
        _ => false,
    };
    if !(may_go_on && is_uncommitted) {
        return Err(error);
    }
    let (why_full, why_anew) =
        if is_resumed { (None, Some(WhyAnew::in_vain(&plan.id, &error))) } else { (Some(error.into()), None) };
    let plan = tokio::select! {
        plan = anew() => plan?,
        () = &mut stop => return Err(interrupted()),
    };
    Ok(Taken { manifest: execute(plan, context, stop).await?, why_full, why_anew, resumed_bytes: 0 })
}

/// Takes a backup, behind what another run has stored. Of an error it tells whether nothing was committed, for sure.
async fn take(
    plan: &BackupPlan,
    context: &BackupContext,
    resumption: Option<Resumption>,
    stop: impl Future<Output = ()>,
) -> Result<Manifest, (Error, bool)> {
    tokio::pin!(stop);
    let stored = resumption.as_ref().map(|resumption| resumption.packs.clone()).unwrap_or_default();
    let mut writer = context.writer(&plan.id, stored.clone());
    let mut checkpoints = Checkpoints::of(plan, context, resumption);
    sweep(&context.repository).await;
    let writing = async {
        let manifest = write_data(plan, context, stored, &mut writer, &mut checkpoints).await?;
        // Directly before the commit: whoever else has gone on with the backup makes it.
        checkpoints.are_surely_ours().await?;
        Ok(manifest)
    };
    let outcome = tokio::select! {
        outcome = writing => outcome,
        () = &mut stop => Err(interrupted()),
    };
    let is_uncommitted = outcome.is_err();
    let manifest = commit(outcome, writer, checkpoints, context, stop).await;
    if manifest.is_ok() {
        discard_before(&plan.id, context).await;
    }
    manifest.map_err(|error| (error, is_uncommitted))
}

/// Reads what another run has stored from front to back: a backup is none before all of it is confirmed.
pub(super) async fn confirm_again(repository: &Repository, packs: Vec<PackRecord>) -> Result<()> {
    let confirmed = stream::iter(packs).map(|pack| async move { repository.confirm_again(&pack.object).await });
    confirmed.buffer_unordered(CONFIRMED_AT_ONCE).try_collect().await
}
