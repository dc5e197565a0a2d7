//! From filled segments to the packs: sealers compress and encrypt them, one writer appends them in order.
//!
//! Memory is bounded by the constants below: each sealer holds a segment raw, compressed and encrypted, and the channel
//! its capacity.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::checkpoint::Checkpoints;
use crate::codec::{ContentDigest, Precedent, Sealer};
use crate::error::{Error, Result};
use crate::format::catalog::{CollectionRecord, OplogSegment, SegmentRef};
use crate::format::checkpoint::Position;
use crate::format::oplog::Range;
use crate::format::segment::Documents;
use crate::format::{BackupId, Subject};
use crate::progress::PartProgress;
use crate::repository::BackupWriter;

/// Filled segments that wait for a sealer.
pub(crate) const QUEUE: usize = 2;

/// The most sealers; otherwise one more than there are cores, because segments are stored in their order and
/// who is ahead waits. Each needs about 24 MiB.
const MAX_SEALERS: usize = 4;

/// A filled segment on its way to a sealer.
pub(crate) struct Filled {
    /// The collection's number, or that of what is stored beside documents: the oplog, and `_id`s that were touched.
    pub collection: usize,
    /// The part and the number within it: the reading order.
    pub position: (usize, usize),
    pub documents: Documents,
    /// Where reading goes on behind it.
    pub end: Position,
    /// What shows how far the collection has come.
    pub progress: PartProgress,
}

/// A sealed segment on its way to the pack.
struct Ready {
    collection: usize,
    position: (usize, usize),
    segment: SegmentRef,
    sealed: Bytes,
    digest: ContentDigest,
    end: Position,
    progress: PartProgress,
}

/// What has been stored of a collection so far.
#[derive(Default)]
pub(crate) struct Tally {
    digest: ContentDigest,
    segments: Vec<((usize, usize), SegmentRef)>,
}

impl Tally {
    /// Counts a segment that is stored, or several with their digest together.
    pub(super) fn add(
        &mut self,
        digest: &ContentDigest,
        segments: impl IntoIterator<Item = ((usize, usize), SegmentRef)>,
    ) {
        self.digest.merge(digest);
        self.segments.extend(segments);
    }

    /// Returns a collection's record with what has been stored of it.
    pub(crate) fn into_record(self, record: CollectionRecord) -> CollectionRecord {
        let ContentDigest { documents, bytes, .. } = self.digest;
        let digest = self.digest.to_bytes();
        CollectionRecord { documents, bytes, digest, segments: self.into_segments(), ..record }
    }

    /// Returns the segments alone, in reading order.
    pub(crate) fn into_segments(mut self) -> Vec<SegmentRef> {
        self.segments.sort_by_key(|(position, _)| *position);
        self.segments.into_iter().map(|(_, segment)| segment).collect()
    }

    /// Returns the segments of the oplog, of which each holds one of the ranges.
    pub(crate) fn into_oplog(mut self, ranges: &[Range]) -> Vec<OplogSegment> {
        self.segments.sort_by_key(|(position, _)| *position);
        let segments = self.segments.into_iter().zip(ranges).map(|((_, segment), range)| OplogSegment {
            n: segment.n,
            begin: range.begin,
            end: range.end,
            entries: segment.documents,
            bytes: segment.bytes,
        });
        segments.collect()
    }
}

/// Seals what arrives, several segments at once, and appends it in the order of the numbers.
///
/// `oplog` is the number that entries of the oplog count under, behind those of all collections. Up to it there is a tally
/// for each number, and for those behind it as far as anything came.
///
/// # Errors
/// Whatever the storage says.
pub(crate) async fn store(
    backup: &BackupId,
    oplog: usize,
    queue: mpsc::Receiver<Filled>,
    sealer: &Sealer,
    writer: &mut BackupWriter,
    checkpoints: &mut Checkpoints,
) -> Result<Vec<Tally>> {
    let sealers = std::thread::available_parallelism().map_or(1, usize::from).saturating_add(1).min(MAX_SEALERS);
    let (first, mut tallies) = checkpoints.stored(oplog + 1);
    let mut precedents: HashMap<usize, Precedent> = HashMap::new();
    let filled = stream::unfold(queue, |mut queue| async move { queue.recv().await.map(|next| (next, queue)) });
    let mut ready = std::pin::pin!(
        filled
            .zip(stream::iter(first..))
            .map(|(filled, number)| {
                let (sealer, backup) = (sealer.clone(), backup.clone());
                let precedent = precedents.entry(filled.collection).or_default().clone();
                tokio::task::spawn_blocking(move || seal(&sealer, &backup, number, filled, &precedent))
            })
            .buffered(sealers)
    );
    while let Some(next) = ready.next().await {
        let next = next.map_err(|error| Error::failed("cannot seal a segment").caused_by(error))??;
        // What is expected are documents of collections.
        let is_beside = next.collection >= oplog;
        let (documents, bytes) = if is_beside { (0, 0) } else { (next.segment.documents, next.segment.bytes) };
        next.progress.add(documents, bytes, next.sealed.len() as u64);
        if next.collection >= tallies.len() {
            tallies.resize_with(next.collection + 1, Tally::default);
        }
        tallies[next.collection].add(&next.digest, [(next.position, next.segment)]);
        checkpoints.note(next.collection, next.position, next.segment, &next.digest, next.end);
        if let Some(closed) = writer.append(next.segment.n, next.sealed).await? {
            checkpoints.write(closed, writer).await?;
        }
    }
    // Whoever has noted nothing yet is done soon, and need not begin.
    if checkpoints.have_begun()
        && let Some(closed) = writer.close_pack().await?
    {
        checkpoints.write(closed, writer).await?;
    }
    Ok(tallies)
}

fn seal(sealer: &Sealer, backup: &BackupId, number: u64, filled: Filled, precedent: &Precedent) -> Result<Ready> {
    let digest = ContentDigest::of(filled.documents.as_bytes())?;
    let subject = Subject::Segment { backup: backup.clone(), number };
    let sealed = sealer.seal_like(subject, &filled.documents, precedent)?;
    let segment = SegmentRef { n: number, documents: digest.documents, bytes: digest.bytes, layer: 0 };
    let Filled { collection, position, end, progress, .. } = filled;
    Ok(Ready { collection, position, segment, sealed, digest, end, progress })
}
