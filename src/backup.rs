//! Taking a backup.
//!
//! [`BackupPlan::make`] looks at the deployment and settles what is read, from where and as of when;
//! [`execute`] reads, seals, stores, and commits. Nothing exists in the repository until the commit, and
//! an orderly failure removes what it had stored.

mod dump;
mod plan;

use std::future::Future;

pub use plan::{BackupPlan, BackupRequest};

use crate::clock::Clock;
use crate::codec::{Recipients, Sealer, SigningKey};
use crate::error::{Error, Kind, Result};
use crate::format::VERSION;
use crate::format::catalog::{Catalog, CollectionKind};
use crate::format::manifest::{self, Consistency, Encryption, Manifest, ObjectRecord, PackRecord};
use crate::mongo::accounts;
use crate::progress::Progress;
use crate::repository::{BackupWriter, Repository};

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
}

/// Takes the planned backup and returns its manifest. `stop` ends it early, cleanly.
///
/// # Errors
/// [`Kind::Interrupted`] when `stop` came first; whatever the server or the storage says otherwise. After
/// any error no backup exists, and what had been stored is removed or named in the log.
pub async fn execute(plan: BackupPlan, context: BackupContext, stop: impl Future<Output = ()>) -> Result<Manifest> {
    let encryption = if context.recipients.is_some() { Encryption::Age } else { Encryption::None };
    let mut writer = BackupWriter::new(context.repository.clone(), plan.id.clone(), encryption);
    let outcome = tokio::select! {
        outcome = write(&plan, &context, &mut writer) => outcome,
        () = stop => Err(Error::new(Kind::Interrupted, "the backup was interrupted; no backup was made")),
    };
    if outcome.is_err() {
        let remaining = writer.abandon().await;
        if !remaining.is_empty() {
            tracing::warn!(backup = %plan.id, objects = remaining.len(), "leftovers of the failed backup could not be removed");
        }
    }
    outcome
}

async fn write(plan: &BackupPlan, context: &BackupContext, writer: &mut BackupWriter) -> Result<Manifest> {
    let sealer = Sealer::new(plan.id.clone(), context.recipients.clone());
    // Accounts first: they are small, and a missing privilege shows before hours of reading.
    let accounts =
        if plan.accounts { accounts::read(&plan.node, plan.at).await? } else { accounts::Accounts::default() };
    let collections = dump::dump(plan, &sealer, writer, &context.progress).await?;
    let catalog = Catalog { source: plan.source.clone(), collections, users: accounts.users, roles: accounts.roles };
    let sealed = sealer.seal_catalog(&catalog.encode()?)?;
    // Everything but the manifest is stored and confirmed behind this line.
    let (packs, record) = writer.finish_data(sealed).await?;
    let manifest = manifest(plan, context, &sealer, &catalog, packs, record);
    writer.commit(&manifest, &context.signing_key).await?;
    Ok(manifest)
}

fn manifest(
    plan: &BackupPlan,
    context: &BackupContext,
    sealer: &Sealer,
    catalog: &Catalog,
    packs: Vec<PackRecord>,
    record: ObjectRecord,
) -> Manifest {
    let visible = catalog.collections.iter().filter(|collection| collection.kind != CollectionKind::Buckets);
    Manifest {
        format: manifest::FORMAT.into(),
        version: VERSION,
        repository: context.repository.id().clone(),
        id: plan.id.clone(),
        kind: plan.id.kind(),
        source: plan.source.name.clone(),
        replica_set: plan.source.replica_set.clone(),
        started_at: plan.started_at,
        finished_at: context.clock.now(),
        cluster_time: plan.at.map(Into::into),
        consistency: if plan.at.is_some() { Consistency::Snapshot } else { Consistency::None },
        encryption: sealer.encryption(),
        recipients: sealer.recipients(),
        namespaces: visible.count() as u64,
        documents: catalog.collections.iter().map(|collection| collection.documents).sum(),
        bytes_raw: catalog.collections.iter().map(|collection| collection.bytes).sum(),
        outside_snapshot: catalog.collections.iter().filter(|collection| !collection.in_snapshot).count() as u64,
        bytes_stored: packs.iter().map(|pack| pack.object.size).sum::<u64>() + record.size,
        catalog: record,
        packs,
        regrow_version: env!("CARGO_PKG_VERSION").into(),
    }
}
