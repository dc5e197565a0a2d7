//! From what was stored to the manifest that says so.

use jiff::Timestamp;

use super::increment::IncrementPlan;
use super::parent;
use super::{BackupContext, BackupPlan};
use crate::codec::Sealer;
use crate::format::catalog::{Catalog, CollectionKind};
use crate::format::increment::IncrementRecord;
use crate::format::manifest::{self, Consistency, ImportRecord, Manifest, ObjectRecord, PackRecord};
use crate::format::{BackupId, ClusterTime, RepositoryId};

/// Where a backup comes from, and what moment it shows.
pub(crate) struct Origin {
    pub id: BackupId,
    pub started_at: Timestamp,
    pub replica_set_id: Option<String>,
    pub consistency: Consistency,
    pub cluster_time: Option<ClusterTime>,
    pub replay_from: Option<ClusterTime>,
    pub partial: bool,
    pub imported: Option<ImportRecord>,
    pub incremental: Option<IncrementRecord>,
    /// Marks of the collections that an increment may build on.
    pub collections: Vec<String>,
}

/// Returns what the manifest of an increment says of it; of stored bytes those of what it builds on.
fn incremental(plan: &BackupPlan, catalog: &Catalog) -> Option<IncrementRecord> {
    let IncrementPlan { parent, touched, .. } = plan.increment.as_ref()?;
    let before = parent.incremental.as_ref();
    Some(IncrementRecord {
        parent: parent.id.clone(),
        base: before.map_or(&parent.id, |increment| &increment.base).clone(),
        number: parent.increments() + 1,
        documents: catalog.collections.iter().map(|record| record.documents).sum(),
        bytes: catalog.collections.iter().map(|record| record.bytes).sum(),
        touched: *touched,
        chain_touched: before.map_or(0, |increment| increment.chain_touched) + touched,
        chain_bytes_stored: parent.chain_bytes_stored(),
    })
}

/// Returns the marks of the collections of a backup that increments can build on; none where they cannot.
fn marks(plan: &BackupPlan, consistency: Consistency, repository: &RepositoryId) -> Vec<String> {
    if consistency != Consistency::Snapshot || plan.is_partial() || !plan.can_be_led_on() {
        return Vec::new();
    }
    let held = plan.namespaces.iter().filter(|planned| planned.namespace.has_documents());
    let mut marks: Vec<String> =
        held.filter_map(|planned| Some(parent::mark(repository, planned.namespace.uuid.as_ref()?))).collect();
    marks.sort_unstable();
    marks
}

pub(super) fn origin(plan: &BackupPlan, catalog: &Catalog, context: &BackupContext) -> Origin {
    let (consistency, cluster_time, replay_from) = match (&catalog.oplog, plan.at) {
        // Whatever was open at the end began within the backup's own oplog.
        (Some(oplog), _) => (Consistency::Oplog, Some(oplog.end()), Some(oplog.end())),
        (None, Some(at)) => (Consistency::Snapshot, Some(at.into()), plan.replay_from.map(Into::into)),
        (None, None) => (Consistency::None, None, None),
    };
    Origin {
        id: plan.id.clone(),
        started_at: plan.started_at,
        replica_set_id: plan.replica_set_id.clone(),
        consistency,
        cluster_time,
        replay_from,
        partial: plan.is_partial(),
        imported: None,
        incremental: incremental(plan, catalog),
        collections: marks(plan, consistency, context.repository.id()),
    }
}

pub(super) fn manifest(
    origin: Origin,
    context: &BackupContext,
    sealer: &Sealer,
    catalog: &Catalog,
    packs: Vec<PackRecord>,
    record: ObjectRecord,
) -> Manifest {
    let visible = catalog.collections.iter().filter(|collection| collection.kind != CollectionKind::Buckets);
    Manifest {
        format: manifest::FORMAT.into(),
        version: Manifest::version_of(origin.incremental.as_ref()),
        repository: context.repository.id().clone(),
        kind: origin.id.kind(),
        id: origin.id,
        source: catalog.source.name.clone(),
        replica_set: catalog.source.replica_set.clone(),
        replica_set_id: origin.replica_set_id,
        started_at: origin.started_at,
        finished_at: context.clock.now(),
        cluster_time: origin.cluster_time,
        replay_from: origin.replay_from,
        consistency: origin.consistency,
        encryption: sealer.encryption(),
        recipients: sealer.recipients(),
        partial: origin.partial,
        imported: origin.imported,
        incremental: origin.incremental,
        collections: origin.collections,
        namespaces: visible.count() as u64,
        documents: catalog.collections.iter().map(|collection| collection.size().0).sum(),
        bytes_raw: catalog.collections.iter().map(|collection| collection.size().1).sum(),
        outside_snapshot: catalog.collections.iter().filter(|collection| !collection.in_snapshot).count() as u64,
        bytes_stored: packs.iter().map(|pack| pack.object.size).sum::<u64>() + record.size,
        catalog: record,
        packs,
        regrow_version: env!("CARGO_PKG_VERSION").into(),
    }
}
