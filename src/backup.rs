//! Taking a backup.
//!
//! [`BackupPlan::make`] looks at the deployment and settles what is read, from where and as of when;
//! [`execute`] reads, seals, stores, and commits. Nothing exists in the repository until the commit, and
//! an orderly failure removes what it had stored.

mod changes;
mod checkpoint;
mod commit_record;
mod dump;
mod follow;
mod increment;
mod pace;
mod parent;
mod plan;
mod resume;
mod run;
mod store;
mod take;
mod touched;

use std::future::Future;
use std::time::Duration;

pub(crate) use checkpoint::Checkpoints;
pub(crate) use commit_record::Origin;
use commit_record::{manifest, origin};
use dump::Dumped;
pub use increment::{DEFAULT_SHARE, IncrementPlan, IncrementSettings, Take, WhyFull, plan};
pub use pace::ReadLimits;
pub use parent::Destination;
pub use plan::{BackupPlan, BackupRequest, PlannedNamespace};
pub use resume::{MayResume, Resumption, WhyAnew, resume};
pub(crate) use store::{Filled, QUEUE, store};
pub use take::{Taken, execute, execute_or_full};

use crate::clock::Clock;
use crate::codec::{Level, Recipients, Sealer, SigningKey};
use crate::error::{Error, Kind, Result};
use crate::format::catalog::Catalog;
use crate::format::manifest::{Encryption, Manifest, PackRecord};
use crate::format::{BackupId, Subject, layout, pack, segment};
use crate::mongo::accounts::{self, Accounts};
use crate::mongo::read::SnapshotLoss;
use crate::mongo::retrying;
use crate::progress::Progress;
use crate::random::Random;
use crate::repository::{BackupWriter, Repository};
use crate::units::MIB;

/// An unfinished upload of this age belongs to no backup that still runs.
const ABANDONED_AFTER: Duration = Duration::from_hours(24);

/// What becomes of what a failed backup has noted.
const KEPT: &str = "what it has stored is kept for now: 'regrow backup --resume' with the same arguments, and the service by itself, go \
                    on with it as long as the server shows its moment";

/// What a backup needs besides its plan.
#[derive(Clone)]
pub struct BackupContext {
    /// Where it goes.
    pub repository: Repository,
    /// Whom it is encrypted to; none only where encryption is switched off.
    pub recipients: Option<Recipients>,
    /// What signs it.
    pub signing_key: SigningKey,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Who takes it, for people: a host and a process.
    pub who: String,
    /// What shows how far it has come.
    pub progress: Progress,
    /// How large things grow.
    pub targets: Targets,
    /// What it may cost.
    pub settings: BackupSettings,
}

/// What a backup may cost those who use the same machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupSettings {
    /// How much work is put into compressing.
    pub level: Level,
    /// What it takes of the deployment.
    pub limits: ReadLimits,
}

/// How large things grow before the next one begins. Tests choose less, so that little data makes many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    /// Bytes of documents in a segment.
    pub segment_bytes: usize,
    /// Stored bytes in a pack.
    pub pack_bytes: u64,
    /// Bytes of documents in a part of a collection that would leave a reader without work. Other collections are read whole:
    /// finding where parts begin costs the server a look into a cold page for each.
    pub part_bytes: u64,
}

impl Targets {
    /// What is used in earnest.
    pub const DEFAULT: Self =
        Self { segment_bytes: segment::TARGET_BYTES, pack_bytes: pack::TARGET_BYTES, part_bytes: 256 * MIB as u64 };
}

impl Default for Targets {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Says that a backup was asked to end before it was one.
pub(crate) fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "the backup was interrupted; no backup was made")
}

impl BackupContext {
    /// Begins to write a backup, or goes on with it behind packs that another run has stored.
    pub(crate) fn writer(&self, id: &BackupId, stored: Vec<PackRecord>) -> BackupWriter {
        let encryption = if self.recipients.is_some() { Encryption::Age } else { Encryption::None };
        BackupWriter::behind(stored, self.repository.clone(), id.clone(), encryption, self.targets.pack_bytes)
    }
}

/// Makes a backup of what was stored, or removes it when something has failed and it was not noted.
///
/// # Errors
/// As those of [`execute`].
pub(crate) async fn commit(
    outcome: Result<Manifest>,
    mut writer: BackupWriter,
    checkpoints: Checkpoints,
    context: &BackupContext,
    stop: impl Future<Output = ()>,
) -> Result<Manifest> {
    let manifest = match outcome {
        Ok(manifest) => manifest,
        Err(error) => return Err(abandon(writer, checkpoints, error).await),
    };
    // Nothing is removed from here on: the manifest may be there although its answer never came.
    let committing = async {
        writer.commit(&manifest, &context.signing_key).await?;
        // Whoever has taken the lease meanwhile may not have seen the manifest, and have removed what it names. Whoever takes it
        // from now on sees it.
        Ok(checkpoints.were_ours().await)
    };
    let outcome = tokio::select! {
        outcome = committing => outcome,
        () = stop => Err(Error::new(Kind::Interrupted, "the backup was interrupted")),
    };
    match outcome {
        Ok(Ok(())) => {
            checkpoints.are_done().await;
            Ok(manifest)
        }
        Ok(Err(error)) if error.kind() == Kind::LeaseHeld => Err(withdraw(&mut writer, &manifest.id, error).await),
        Ok(Err(error)) | Err(error) => Err(error
            .context(format!("the commit of {} was cut short", manifest.id))
            .with_hint("'regrow list' shows whether the backup exists, 'regrow verify' whether it is whole")),
    }
}

/// Takes the manifest back of a backup that another run has taken over while it was committed. Returns the error, with what
/// becomes of the backup.
async fn withdraw(writer: &mut BackupWriter, id: &BackupId, error: Error) -> Error {
    match writer.withdraw().await {
        Ok(()) => error.context(format!("no backup {id} was made")),
        Err(why) => {
            tracing::error!(%id, %why, "the manifest of a backup that may lack objects could not be removed");
            error
                .context(format!("{id} may not be whole"))
                .with_hint(format!("'regrow verify {id}' shows whether it is"))
        }
    }
}

/// Removes what a backup had stored that failed before its commit, but for what it has noted. Returns the error, with what
/// becomes of that.
async fn abandon(writer: BackupWriter, checkpoints: Checkpoints, error: Error) -> Error {
    let have_begun = checkpoints.have_begun();
    let are_ours = checkpoints.are_still_ours().await;
    if !matches!(are_ours, Ok(true)) {
        // What lies under the keys that it wrote may be somebody else's by now.
        tracing::info!(?are_ours, "nothing of the failed backup is removed");
        return error;
    }
    let remaining = writer.abandon().await;
    if !remaining.is_empty() {
        tracing::warn!(objects = remaining.len(), "leftovers of the failed backup could not be removed");
    }
    checkpoints.are_left().await;
    if have_begun && error.hint().is_none() { error.with_hint(KEPT) } else { error }
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
async fn write_data(
    plan: &BackupPlan,
    context: &BackupContext,
    stored: Vec<PackRecord>,
    writer: &mut BackupWriter,
    checkpoints: &mut Checkpoints,
) -> Result<Manifest> {
    let sealer = Sealer::new(context.recipients.clone()).with_level(context.settings.level);
    // Where the oplog cannot be read, nothing can be read later than planned. Nor is an increment: what is read of others
    // shows their moment and no later one.
    let loss = plan.replay_from.filter(|_| plan.increment.is_none()).map(|_| SnapshotLoss::default());
    // Accounts first: they are small, and a missing privilege shows before hours of reading.
    let accounts = if plan.is_partial() { Accounts::default() } else { read_accounts(plan, loss.as_ref()).await? };
    let dump = dump::dump(plan, &sealer, writer, context, (loss, checkpoints));
    // Before anything is stored behind the packs: whoever goes on once more finds nothing that was not noted.
    let (Dumped { collections, oplog }, ()) = tokio::try_join!(dump, take::confirm_again(&context.repository, stored))?;
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
