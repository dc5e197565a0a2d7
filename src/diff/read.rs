//! Reading both sides: the backup's segments as a restore does, the live collections as a backup does.
//!
//! A server keeps a moment readable for some minutes, and not across a change of the collection. A collection that could
//! not be read to its end at the plan's moment is read again, whole, at a newer one: what is compared is always one state.

use bson::Timestamp;
use futures_util::{StreamExt, stream};

use super::records::Records;
use super::{DiffContext, DiffPlan, Pair, in_background};
use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::segment::Documents;
use crate::mongo::parts::Part;
use crate::mongo::read::{AsOf, CollectionReader, Reading, SnapshotLoss};
use crate::mongo::{Namespace, Node, namespaces};
use crate::progress::PartProgress;
use crate::restore::RestoreItem;

/// How many segments are fetched and opened ahead.
const READ_AHEAD: usize = 2;

/// How often a collection is read at a newer moment before it is given up.
const READS: u32 = 3;

impl Records {
    /// Whether these are all documents of a collection that was backed up, byte for byte.
    pub(super) fn is_content_of(&self, item: &RestoreItem) -> bool {
        let digest = self.digest();
        (digest.documents, digest.to_bytes()) == (item.documents, item.digest)
    }
}

/// Reads what a pair has in the backup; nothing where it is not there.
pub(super) async fn backup(
    pair: &Pair,
    context: &DiffContext,
    progress: &PartProgress,
    mut records: Records,
) -> Result<Records> {
    let Some(item) = &pair.backup else { return Ok(records) };
    let superseded = &context.segments.touched(item.touched()).await?;
    let read = stream::iter(item.segments.clone()).map(|segment| async move {
        let remaining = context.segments.documents(&segment, superseded).await?;
        Ok::<_, Error>((segment, remaining.documents))
    });
    let mut read = std::pin::pin!(read.buffered(READ_AHEAD));
    while let Some(opened) = read.next().await {
        let (segment, bytes) = opened?;
        records = in_background(move || records.add(&bytes).map(|()| records)).await?;
        progress.add(segment.documents, segment.bytes, 0);
    }
    Ok(records)
}

/// Reads what is live of a pair, and returns as of when; nothing where there is nothing.
pub(super) async fn live(
    plan: &DiffPlan,
    pair: &Pair,
    context: &DiffContext,
    progress: &PartProgress,
    empty: impl Fn() -> Records,
) -> Result<(Records, Option<ClusterTime>)> {
    let mut data = pair.live.as_ref().and_then(|live| live.data.clone());
    let mut at: Option<Timestamp> = plan.as_of.map(Into::into);
    for _ in 0..READS {
        let Some(collection) = &data else { return Ok((empty(), None)) };
        let reading = Live { node: &plan.node, collection, document_bytes: document_bytes(pair), at };
        if let Some(records) = reading.read(progress, empty()).await? {
            return Ok((records, at.filter(|_| !collection.is_ordered()).map(Into::into)));
        }
        tracing::warn!(namespace = collection.full_name(), "it was changed, or took too long; reading it again");
        at = context.deployment.committed_time().await?;
        if let Some(time) = at {
            plan.node.wait_for(time).await?;
        }
        data = find(&plan.node, collection).await?;
    }
    Err(Error::failed(format!("cannot read {} as it was at one moment", pair.namespace())).with_hint(
        "raise the server parameter minSnapshotHistoryWindowInSeconds above the time that it takes, or run it again when \
         no collections are being changed",
    ))
}

fn document_bytes(pair: &Pair) -> u64 {
    pair.backup.as_ref().and_then(|item| item.bytes.checked_div(item.documents)).unwrap_or(0)
}

/// Returns what bears a collection's name by now.
async fn find(node: &Node, collection: &Namespace) -> Result<Option<Namespace>> {
    let listed = namespaces::collections(&node.database(&collection.db)).await?;
    Ok(listed.into_iter().find(|namespace| namespace.name == collection.name && namespace.has_documents()))
}

/// One reading of a live collection.
struct Live<'a> {
    node: &'a Node,
    collection: &'a Namespace,
    document_bytes: u64,
    at: Option<Timestamp>,
}

impl Live<'_> {
    /// Adds all documents; returns none when the server could not show them as of the moment.
    async fn read(&self, progress: &PartProgress, mut records: Records) -> Result<Option<Records>> {
        let loss = SnapshotLoss::default();
        let as_of = match self.at {
            None => AsOf::Latest,
            Some(at) if self.collection.is_ordered() => AsOf::Since(at),
            Some(at) => AsOf::ClusterTime(at),
        };
        let is_exact = matches!(as_of, AsOf::ClusterTime(_));
        let reading = Reading {
            as_of,
            // Later states would come with some documents twice; so whoever cannot go on begins anew.
            or_later: is_exact.then(|| loss.clone()),
            uuid: self.collection.uuid,
            part: Part::default(),
            document_bytes: self.document_bytes,
        };
        let mut reader = CollectionReader::new(self.node, &self.collection.db, &self.collection.name, reading);
        loop {
            let mut run = Documents::default();
            let may_go_on = reader.next(|document| run.push(document)).await?;
            if loss.is_noted() {
                return Ok(None);
            }
            let (documents, bytes) = (run.count(), run.as_bytes().len() as u64);
            records = in_background(move || records.add(run.as_bytes()).map(|()| records)).await?;
            progress.add(documents, bytes, 0);
            if !may_go_on {
                return Ok(Some(records));
            }
        }
    }
}
