//! Loading: each collection is created, filled by parallel inserts, read back and proved, and indexed.
//!
//! Collections overlap, so that one is read back and indexed (a single thread each) while others load: the first ones have the
//! right of way, so that as much as possible is left to load meanwhile. Where a replay follows, indexes are built behind it.
//! Memory is bounded by [`STREAMS`] segments in flight.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bson::{RawDocument, RawDocumentBuf};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use super::journal::{Event, ItemPast};
use super::only::Only;
use super::order;
use super::streams::{Ranked, Streams};
use super::{Restore, RestoreItem};
use crate::codec::ContentDigest;
use crate::error::{Error, Result};
use crate::format::catalog::{CollectionKind, SegmentRef};
use crate::format::segment::Walk;
use crate::mongo::load::{self, ALONE, INSERT_BYTES, INSERT_DOCUMENTS};
use crate::mongo::parts::Part;
use crate::mongo::read::{AsOf, CollectionReader, Reading};
use crate::mongo::{Deployment, retrying};
use crate::progress::{PartProgress, Step};
use crate::repository::Superseded;
use crate::units::MIB;

/// How many segments are being fetched, opened and inserted at once, over all collections.
const STREAMS: usize = 4;

/// How many collections are under way at once: loading, being read back, or being indexed.
const COLLECTIONS: u32 = 4;

/// How many small ones are, in the place of each of these: their time goes into waiting until the server's files are on its disk.
const SMALL_FOR_ONE: u32 = 4;

/// Up to how many bytes of documents a collection is small.
const SMALL: u64 = MIB as u64;

/// Restores every item that is not a view.
pub(super) async fn collections(restore: &Restore<'_>) -> Result<()> {
    let streams = Streams::new(STREAMS);
    let order = order::in_order(restore);
    let one = |rank: usize| collection(restore, order[rank].0, order[rank].1, streams.ranked(rank)).boxed();
    each(order.len(), |rank| order[rank].1, one).await
}

async fn collection(restore: &Restore<'_>, number: usize, item: &RestoreItem, streams: Ranked<'_>) -> Result<()> {
    let past = begin(restore, number, item).await?;
    let progress = restore.context.part(item, 2 * item.bytes);
    if past.loaded {
        progress.add(item.documents, 2 * item.bytes, 0);
    } else {
        let filter = restore.plan.request.only.as_ref().filter(|_| restore.plan.recovery.is_none());
        let loading = Loading {
            restore,
            number,
            item,
            progress: &progress,
            filter,
            is_resumed: past.created,
            superseded: restore.context.segments.touched(item.touched()).await?,
            repeated: Mutex::default(),
            left_out: Mutex::default(),
            chosen: Mutex::default(),
        };
        let indexed_first = is_indexed_first(item);
        if indexed_first {
            loaded_indexes(restore, item, &progress).await?;
        }
        restore.phases.time("load", loading.documents(streams, &past.segments)).await?;
        let prove = async {
            restore.phases.time("check", loading.prove()).await?;
            restore.note(Event::Loaded { item: number }).await
        };
        if indexed_first {
            return prove.await;
        }
        let (proved, indexed) = tokio::join!(prove, loaded_indexes(restore, item, &progress));
        return proved.and(indexed);
    }
    loaded_indexes(restore, item, &progress).await
}

/// Whether an item's indexes are made before its documents are there: of an empty collection the server makes them at once, and the build
/// of one takes it longer than a few documents do. Not where documents could be refused for another reason than their `_id`.
fn is_indexed_first(item: &RestoreItem) -> bool {
    let refuses = |index: &RawDocumentBuf| {
        ["unique", "prepareUnique"].iter().any(|field| matches!(index.get(field), Ok(Some(_))))
    };
    is_small(item) && item.record.kind == CollectionKind::Collection && !item.indexes().any(|index| refuses(&index))
}

fn is_small(item: &RestoreItem) -> bool {
    item.bytes <= SMALL
}

/// Builds an item's indexes, unless they are built behind a replay, or not at all where documents only pass through.
async fn loaded_indexes(restore: &Restore<'_>, item: &RestoreItem, progress: &PartProgress) -> Result<()> {
    if restore.plan.recovery.is_some() || restore.plan.request.only.is_some() {
        return Ok(());
    }
    indexes(restore, item, progress.clone()).await
}

/// Builds the indexes of every item that is not a view.
pub(super) async fn all_indexes(restore: &Restore<'_>) -> Result<()> {
    if restore.plan.request.only.is_some() {
        return Ok(());
    }
    let order = order::in_order(restore);
    let one = |rank: usize| indexes(restore, order[rank].1, restore.context.part(order[rank].1, 0)).boxed();
    each(order.len(), |rank| order[rank].1, one).await
}

/// Does this for each number below `count`, [`COLLECTIONS`] of them at once, or more where they are about small ones. What is done takes
/// kilobytes from its beginning, so it begins when its turn has come.
pub(super) async fn each<'a>(
    count: usize,
    about: impl Fn(usize) -> &'a RestoreItem,
    what: impl Fn(usize) -> BoxFuture<'a, Result<()>>,
) -> Result<()> {
    let most = (COLLECTIONS * SMALL_FOR_ONE) as usize;
    let places = Semaphore::new(most);
    let in_its_place = |number: usize| {
        let needed = if is_small(about(number)) { 1 } else { SMALL_FOR_ONE };
        let (places, what) = (&places, &what);
        async move {
            let _place = places.acquire_many(needed).await.expect("nobody closes them");
            what(number).await
        }
    };
    stream::iter(0..count).map(in_its_place).buffer_unordered(most).try_collect().await
}

async fn indexes(restore: &Restore<'_>, item: &RestoreItem, progress: PartProgress) -> Result<()> {
    let indexes: Vec<_> = item.indexes().collect();
    if !indexes.is_empty() {
        progress.step(Step::Indexing);
    }
    restore.phases.time("indexes", restore.create_indexes(item, indexes)).await
}

/// Creates a collection, or goes on with what an earlier run has loaded of it; returns what it has.
async fn begin(restore: &Restore<'_>, number: usize, item: &RestoreItem) -> Result<ItemPast> {
    let past = restore.past_of(number);
    // Which of its documents the backup has twice, which newer ones supersede, or which were chosen, is known to nobody
    // any more.
    let not_known =
        restore.plan.may_repeat_documents() || restore.plan.request.only.is_some() || !item.touched().is_empty();
    let counts_anew = not_known && !past.loaded;
    if past.created && !counts_anew {
        return Ok(past);
    }
    restore.create_anew(number, item).await?;
    Ok(ItemPast::default())
}

/// A collection that is being loaded.
struct Loading<'a> {
    restore: &'a Restore<'a>,
    number: usize,
    item: &'a RestoreItem,
    progress: &'a PartProgress,
    /// Whether an earlier run has loaded a part of it, and perhaps a part of a segment.
    is_resumed: bool,
    /// Which documents alone are loaded.
    filter: Option<&'a Only>,
    /// What of older backups the newer ones of an increment's chain replace.
    superseded: Superseded,
    /// The documents that the backup read twice, where that can be.
    repeated: Mutex<ContentDigest>,
    /// The documents that are superseded.
    left_out: Mutex<ContentDigest>,
    /// The documents that were chosen, where not all are loaded.
    chosen: Mutex<ContentDigest>,
}

impl Loading<'_> {
    /// Inserts all documents but those of the segments that are `done`; in order, one segment after the other, where the order
    /// matters.
    async fn documents(&self, streams: Ranked<'_>, done: &HashSet<u64>) -> Result<()> {
        self.progress.step(Step::Loading);
        let parallel = if self.item.record.ordered { 1 } else { STREAMS };
        let segments = stream::iter(self.item.segments.clone()).map(|segment| async move {
            if done.contains(&segment.n) {
                self.progress.add(segment.documents, segment.bytes, 0);
                return Ok(());
            }
            let _turn = streams.turn().await;
            self.segment(&segment).await
        });
        segments.buffer_unordered(parallel).try_collect().await
    }

    async fn segment(&self, segment: &SegmentRef) -> Result<()> {
        let restore = self.restore;
        let reading = restore.context.segments.documents(segment, &self.superseded);
        let remaining = restore.phases.time("fetch", reading).await?;
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).merge(&remaining.superseded);
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        for document in Walk::new(&remaining.documents) {
            let document = document?;
            if self.filter.is_some_and(|only| !only.matches(document)) {
                continue;
            }
            let size = document.as_bytes().len();
            if !batch.is_empty() && (batch_bytes + size > INSERT_BYTES || batch.len() == INSERT_DOCUMENTS) {
                self.insert(&batch).await?;
                batch.clear();
                batch_bytes = 0;
            }
            batch.push(document);
            batch_bytes += size;
        }
        if !batch.is_empty() {
            self.insert(&batch).await?;
        }
        // Where there is no other one, that all is loaded is noted next.
        if self.item.segments.len() > 1 {
            restore.note(Event::Segment { item: self.number, segment: segment.n }).await?;
        }
        self.progress.add(segment.documents, segment.bytes, 0);
        Ok(())
    }

    async fn insert(&self, batch: &[&RawDocument]) -> Result<()> {
        let database = self.restore.context.deployment.client().database(&self.item.db);
        if self.filter.is_some() {
            let bytes = batch.iter().map(|document| document.as_bytes());
            self.chosen.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
        }
        let existing = self.restore.writes.run(load::insert(&database, &self.item.data_name(), batch)).await?;
        // What an earlier run has inserted of a segment is proved with the rest.
        if existing.is_empty() || self.is_resumed {
            return Ok(());
        }
        if !self.restore.plan.may_repeat_documents() {
            let (count, target) = (existing.len(), self.item.target());
            return Err(Error::failed(format!("{count} documents of {target} have an _id that is there already"))
                .with_hint(ALONE));
        }
        // Whichever version of a document came first stays: the replay makes either what it was in the end.
        let existing = existing.into_iter().filter_map(|number| batch.get(number)).map(|document| document.as_bytes());
        self.repeated.lock().unwrap_or_else(PoisonError::into_inner).add(existing);
        Ok(())
    }

    /// Reads the restored documents back and compares them with what was read from the source: all of them but those that the
    /// backup has twice and those that are superseded, or those that were chosen.
    async fn prove(&self) -> Result<()> {
        let item = self.item;
        let mut digest = read_back(&self.restore.context.deployment, item, self.progress).await?;
        let found = digest.documents;
        self.progress.add(0, item.bytes.saturating_sub(digest.bytes), 0);
        let repeated = self.repeated.lock().unwrap_or_else(PoisonError::into_inner);
        digest.merge(&repeated);
        let left_out = *self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        if self.filter.is_none() {
            digest.merge(&left_out);
            self.restore.superseded(self.number, left_out);
        }
        let (documents, expected_digest) = match self.filter {
            Some(_) => {
                let chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
                (chosen.documents, chosen.to_bytes())
            }
            None => (item.documents, item.digest),
        };
        if (digest.documents, digest.to_bytes()) == (documents, expected_digest) {
            return Ok(());
        }
        let expected = documents.saturating_sub(repeated.documents + left_out.documents);
        Err(Error::damaged(format!(
            "the restored documents of {} are not the ones that were backed up ({found} documents, expected {expected})",
            item.target()
        ))
        .with_hint(if self.restore.plan.may_repeat_documents() {
            "restore again: a connection that was lost meanwhile can be the cause; make sure that nothing else writes to the target"
        } else {
            ALONE
        }))
    }
}

/// Reads what the target holds of an item, which `progress` counts, and returns its content digest. A read that loses its
/// connection begins anew: nothing holds the state still in which it could be gone on with.
///
/// # Errors
/// When the server stays away or a privilege is missing.
pub async fn read_back(target: &Deployment, item: &RestoreItem, progress: &PartProgress) -> Result<ContentDigest> {
    progress.step(Step::Checking);
    let counted = AtomicU64::new(0);
    let count = |bytes| {
        let before = counted.fetch_max(bytes, Ordering::Relaxed);
        progress.add(0, bytes.saturating_sub(before), 0);
    };
    retrying(|| read_once(target, item, &count)).await
}

async fn read_once(target: &Deployment, item: &RestoreItem, count: impl Fn(u64)) -> Result<ContentDigest> {
    let document_bytes = item.bytes.checked_div(item.documents).unwrap_or(0);
    let reading = Reading { as_of: AsOf::Latest, or_later: None, uuid: None, part: Part::default(), document_bytes };
    let mut digest = ContentDigest::default();
    let mut reader = CollectionReader::new(&target.primary(), &item.db, &item.data_name(), reading);
    while reader.next(|document| digest.add([document.as_bytes()])).await? {
        count(digest.bytes);
    }
    count(digest.bytes);
    Ok(digest)
}
