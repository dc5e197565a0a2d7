//! What the source itself had at the moment that is restored, as long as it can still show that.
//!
//! Reads only, and as a backup does: of the member that was chosen, or else of one that is no primary where there is one.

use std::collections::BTreeMap;

use crate::codec::ContentDigest;
use crate::error;
use crate::format::ClusterTime;
use crate::mongo::Deployment;
use crate::mongo::parts::Part;
use crate::mongo::read::{AsOf, CollectionReader, Reading, SnapshotLoss};
use crate::restore::{RestoreItem, RestorePlan};

type Result<T, E = error::Error> = std::result::Result<T, E>;

/// The content digests of the source's collections at one moment, by namespace.
pub(super) type SourceDigests = BTreeMap<String, ContentDigest>;

/// Why nothing is known of the source.
pub(super) enum Unknown {
    /// The source does not answer, or none is configured.
    Away,
    /// The backup is not of that deployment.
    Other,
    /// It shows no single moment.
    NoMoment,
    /// The source cannot show that moment any more.
    Past,
    /// It could not be read: a privilege is missing, or a collection was renamed since.
    Unreadable,
}

impl Unknown {
    /// Returns the same for people.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Away => "the source does not answer, or none is configured",
            Self::Other => "the configured source is another deployment than the one that was backed up",
            Self::NoMoment => "the backup shows no single moment",
            Self::Unreadable => "the source could not be read; the log says why",
            Self::Past => {
                "the source cannot show that moment any more: it keeps about five minutes, and nothing of a collection from before its \
                 options or indexes were changed"
            }
        }
    }
}

/// Reads what the source had at the moment that a plan restores. Whatever prevents it is no failure of the drill.
pub(super) async fn digests(plan: &RestorePlan, source: Option<&Deployment>) -> Result<SourceDigests, Unknown> {
    let at = plan.recovered_to().ok_or(Unknown::NoMoment)?;
    let source = source.ok_or(Unknown::Away)?;
    if source.hello.replica_set.is_none() || source.hello.replica_set != plan.manifest.replica_set {
        return Err(Unknown::Other);
    }
    let read = read(plan, source, at).await;
    read.map_err(|error| {
        tracing::warn!(%error, "the source could not be read");
        Unknown::Unreadable
    })?
}

async fn read(plan: &RestorePlan, source: &Deployment, at: ClusterTime) -> Result<Result<SourceDigests, Unknown>> {
    let node = source.node_to_read().await?;
    node.wait_for(at.into()).await?;
    let mut digests = BTreeMap::new();
    for item in plan.items.iter().filter(|item| counts(item)) {
        let source_name = item.source_data_name();
        let Some(digest) = digest(&node, item, &source_name, at).await? else { return Ok(Err(Unknown::Past)) };
        digests.insert(item.record.namespace(), digest);
    }
    Ok(Ok(digests))
}

/// Whether a server can show a collection as of a moment: none shows capped ones.
pub(super) fn counts(item: &RestoreItem) -> bool {
    !item.is_view() && !item.record.ordered
}

/// Returns a collection's digest at a moment; none where the server cannot show it.
async fn digest(
    node: &crate::mongo::Node,
    item: &RestoreItem,
    name: &str,
    at: ClusterTime,
) -> Result<Option<ContentDigest>> {
    let loss = SnapshotLoss::default();
    let document_bytes = item.bytes.checked_div(item.documents).unwrap_or(0);
    let reading = Reading {
        as_of: AsOf::ClusterTime(at.into()),
        or_later: Some(loss.clone()),
        uuid: item.uuid,
        part: Part::default(),
        document_bytes,
    };
    let mut digest = ContentDigest::default();
    let mut reader = CollectionReader::new(node, &item.record.db, name, reading);
    while !loss.is_noted() && reader.next(|document| digest.add([document.as_bytes()])).await? {}
    Ok((!loss.is_noted()).then_some(digest))
}
