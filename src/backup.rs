//! Taking a backup.
//!
//! [`BackupPlan::make`] looks at the deployment and settles what is read, from where and as of when;
//! [`execute`] reads, seals, stores, and commits. Nothing exists in the repository until the commit, and
//! an orderly failure removes what it had stored.

mod changes;
mod commit_record;
mod dump;
mod follow;
mod increment;
mod parent;
mod plan;
mod run;
mod store;
mod touched;

use std::future::Future;
use std::time::Duration;

pub(crate) use commit_record::Origin;
use commit_record::{manifest, origin};
use dump::Dumped;
pub use increment::{DEFAULT_SHARE, IncrementPlan, IncrementSettings, Take, WhyFull, plan};
pub use parent::Destination;
pub use plan::{BackupPlan, BackupRequest, PlannedNamespace};
pub(crate) use store::{Filled, QUEUE, store};

use crate::clock::Clock;
use crate::codec::{Recipients, Sealer, SigningKey};
use crate::error::{Error, Kind, Result};
use crate::format::catalog::Catalog;
use crate::format::manifest::{Encryption, Manifest};
use crate::format::{BackupId, Subject, layout, pack, segment};
use crate::mongo::accounts::{self, Accounts};
use crate::mongo::read::SnapshotLoss;
use crate::mongo::retrying;
use crate::progress::Progress;
use crate::repository::{BackupWriter, Repository};

/// An unfinished upload of this age belongs to no backup that still runs.
const ABANDONED_AFTER: Duration = Duration::from_hours(24);

/// What a backup needs besides its plan.
pub struct BackupContext {
    /// Where it goes.
    pub repository: Repository,
    /// Whom it is encrypted to; none only where encryption is switched off.
    pub recipients: Option<Recipients>,
    /// What signs it.
    pub signing_key: SigningKey,
    /// The time.
    pub clock: Clock,
    /// What shows how far it has come.
    pub progress: Progress,
    /// How large things grow.
    pub targets: Targets,
}

/// How large things grow before the next one begins. Tests choose less, so that little data makes many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    /// Bytes of documents in a segment.
    pub segment_bytes: usize,
    /// Stored bytes in a pack.
    pub pack_bytes: u64,
}

impl Default for Targets {
    fn default() -> Self {
        Self { segment_bytes: segment::TARGET_BYTES, pack_bytes: pack::TARGET_BYTES }
    }
}

/// Takes the planned backup and returns its manifest. `stop` ends it early, cleanly.
///
/// # Errors
/// [`Kind::Interrupted`] when `stop` came first; whatever the server or the storage says otherwise. After
/// an error no backup exists and what had been stored is removed or named in the log, unless the manifest
/// was being written: then the error says that the backup may exist, and it is whole if it does.
pub async fn execute(plan: BackupPlan, context: &BackupContext, stop: impl Future<Output = ()>) -> Result<Manifest> {
    let mut writer = context.writer(&plan.id);
    tokio::pin!(stop);
    let outcome = write(&plan, context, &mut writer, &mut stop).await;
    commit(outcome, writer, context, stop).await
}

/// Takes the planned backup; where it is an increment that fails, a full one as `anew` plans it. Returns the manifest, and
/// why it is no increment after all.
///
/// # Errors
/// As those of [`execute`].
pub async fn execute_or_full<F: Future<Output = Result<BackupPlan>>>(
    plan: BackupPlan,
    anew: impl FnOnce() -> F,
    context: &BackupContext,
    stop: impl Future<Output = ()>,
) -> Result<(Manifest, Option<WhyFull>)> {
    let mut writer = context.writer(&plan.id);
    tokio::pin!(stop);
    match write(&plan, context, &mut writer, &mut stop).await {
        // The moment is gone, a collection was dropped, the parent has expired: a full backup asks for none of that.
        Err(error) if plan.increment.is_some() && matches!(error.kind(), Kind::Failed | Kind::NotFound) => {
            abandon(writer).await;
            let plan = tokio::select! {
                plan = anew() => plan?,
                () = &mut stop => return Err(interrupted()),
            };
            Ok((execute(plan, context, stop).await?, Some(error.into())))
        }
        outcome => Ok((commit(outcome, writer, context, stop).await?, None)),
    }
}

async fn write(
    plan: &BackupPlan,
    context: &BackupContext,
    writer: &mut BackupWriter,
    stop: impl Future<Output = ()>,
) -> Result<Manifest> {
    sweep(&context.repository).await;
    tokio::select! {
        outcome = write_data(plan, context, writer) => outcome,
        () = stop => Err(interrupted()),
    }
}

/// Says that a backup was asked to end before it was one.
pub(crate) fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "the backup was interrupted; no backup was made")
}

impl BackupContext {
    /// Begins to write a backup.
    pub(crate) fn writer(&self, id: &BackupId) -> BackupWriter {
        let encryption = if self.recipients.is_some() { Encryption::Age } else { Encryption::None };
        BackupWriter::new(self.repository.clone(), id.clone(), encryption, self.targets.pack_bytes)
    }
}

/// Makes a backup of what was stored, or removes it when something has failed.
///
/// # Errors
/// As those of [`execute`].
pub(crate) async fn commit(
    outcome: Result<Manifest>,
    mut writer: BackupWriter,
    context: &BackupContext,
    stop: impl Future<Output = ()>,
) -> Result<Manifest> {
    let manifest = match outcome {
        Ok(manifest) => manifest,
        Err(error) => {
            abandon(writer).await;
            return Err(error);
        }
    };
    // Nothing is removed from here on: the manifest may be there although its answer never came.
    let outcome = tokio::select! {
        outcome = writer.commit(&manifest, &context.signing_key) => outcome,
        () = stop => Err(Error::new(Kind::Interrupted, "the backup was interrupted")),
    };
    match outcome {
        Ok(()) => Ok(manifest),
        Err(error) => Err(error
            .context(format!("the commit of {} was cut short", manifest.id))
            .with_hint("'regrow list' shows whether the backup exists; it is whole if it does")),
    }
}

/// Removes what a backup had stored that failed before its commit.
async fn abandon(writer: BackupWriter) {
    let remaining = writer.abandon().await;
    if !remaining.is_empty() {
        tracing::warn!(objects = remaining.len(), "leftovers of the failed backup could not be removed");
    }
}

/// Removes what uploads of killed runs left. A backup that can be taken must not fail for want of tidiness.
pub(crate) async fn sweep(repository: &Repository) {
    match repository.storage().sweep(layout::BACKUPS, ABANDONED_AFTER).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "removed unfinished uploads of earlier runs"),
        Err(error) => tracing::warn!(%error, "cannot remove unfinished uploads of earlier runs"),
    }
}

/// Stores everything but the manifest, and returns that.
async fn write_data(plan: &BackupPlan, context: &BackupContext, writer: &mut BackupWriter) -> Result<Manifest> {
    let sealer = Sealer::new(context.recipients.clone());
    // Where the oplog cannot be read, nothing can be read later than planned. Nor is an increment: what is read of others
    // shows their moment and no later one.
    let loss = plan.replay_from.filter(|_| plan.increment.is_none()).map(|_| SnapshotLoss::default());
    // Accounts first: they are small, and a missing privilege shows before hours of reading.
    let accounts = if plan.is_partial() { Accounts::default() } else { read_accounts(plan, loss.as_ref()).await? };
    let Dumped { collections, oplog } = dump::dump(plan, &sealer, writer, context, loss).await?;
    let (users, roles) = (accounts.users, accounts.roles);
    let parent = plan.increment.as_ref().map(|increment| increment.parent.id.clone());
    let catalog = Catalog { source: plan.source.clone(), collections, users, roles, oplog, parent };
    let mut manifest = finish(origin(plan, &catalog, context), &catalog, context, &sealer, writer).await?;
    if let Some(increment) = &mut manifest.incremental {
        increment.chain_bytes_stored += manifest.bytes_stored;
        // It may have expired meanwhile, and what builds on it would be lost.
        context.repository.manifest(&increment.parent).await?;
    }
    Ok(manifest)
}

/// Stores the catalog and returns the manifest: everything else is stored and confirmed by then.
pub(crate) async fn finish(
    origin: Origin,
    catalog: &Catalog,
    context: &BackupContext,
    sealer: &Sealer,
    writer: &mut BackupWriter,
) -> Result<Manifest> {
    let sealed = sealer.seal(Subject::Catalog { backup: origin.id.clone() }, &catalog.encode()?)?;
    let (packs, record) = writer.finish_data(sealed).await?;
    Ok(manifest(origin, context, sealer, catalog, packs, record))
}

/// Reads the accounts as of the backup's moment, or as they are now where that is gone.
async fn read_accounts(plan: &BackupPlan, loss: Option<&SnapshotLoss>) -> Result<Accounts> {
    match (retrying(|| accounts::read(&plan.node, plan.at)).await, loss) {
        (Err(error), Some(loss)) if error.kind() == Kind::Failed && !error.is_transient() => {
            tracing::info!(%error, "reading users and roles as they are now");
            loss.note();
            accounts::read(&plan.node, None).await
        }
        (read, _) => read,
    }
}
