//! The backup that an increment builds on: found by what stands in manifests, without opening any.

use jiff::Timestamp;

use super::increment::WhyFull;
use super::plan::BackupRequest;
use crate::codec::{Recipients, Sealer, sha256};
use crate::format::increment::MOST_INCREMENTS;
use crate::format::manifest::{Consistency, Manifest};
use crate::format::mark::MarkKind;
use crate::format::{ClusterTime, RepositoryId};
use crate::repository::Repository;

/// What planning needs to know of where the backup goes.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// Whom the backup is encrypted to.
    pub recipients: Option<&'a Recipients>,
}

/// The mark by which a manifest tells that a backup shows a collection: what it is called, nobody learns from it.
pub(super) fn mark(repository: &RepositoryId, uuid: &[u8; 16]) -> String {
    let hash = sha256(&[repository.0.as_bytes(), uuid].concat());
    hex::encode(&hash[..8])
}

/// Returns the newest backup that can be built on, and from where on the oplog must be read.
pub(super) async fn find(
    request: &BackupRequest,
    Destination { repository, recipients }: Destination<'_>,
    replica_set_id: &str,
    now: Timestamp,
) -> Result<(Manifest, ClusterTime), WhyFull> {
    let (listing, expired) = (repository.list().await?, repository.marks(MarkKind::Expired).await?);
    let sealer = Sealer::new(recipients.cloned());
    let of_source = listing.manifests().filter(|manifest| {
        manifest.source == request.source
            && manifest.replica_set_id.as_deref() == Some(replica_set_id)
            && manifest.consistency == Consistency::Snapshot
            && !expired.contains_key(&manifest.id)
    });
    let newest = of_source.filter_map(|manifest| {
        let (shows, from) = manifest.leads_on()?;
        Some((shows, manifest, from))
    });
    let Some((_, parent, from)) = newest.max_by_key(|(shows, manifest, _)| (*shows, manifest.started_at)) else {
        return Err("there is no full backup of this source that one could build on".to_owned().into());
    };
    let (parent, id) = (parent.clone(), &parent.id);
    let damaged = listing.soundness(&repository.newest_evidence(now).await?).damaged;
    let why = if damaged.contains_key(id) {
        format!("a verification found {id} damaged")
    } else if parent.increments() == MOST_INCREMENTS {
        format!("{id} is the last of {MOST_INCREMENTS} increments in a row")
    } else if parent.encryption != sealer.encryption() || parent.recipients != sealer.recipients() {
        format!("{id} is encrypted to others")
    } else if parent.collections.is_empty() && parent.documents > 0 {
        format!("{id} does not say which collections it holds: an older Regrow took it")
    } else {
        return Ok((parent, from));
    };
    Err(why.into())
}
