//! From the server to the packs: readers fill segments, sealers compress and encrypt them, one writer
//! appends them.
//!
//! Memory is bounded by the constants below: each reader holds a server batch (16 MiB at most) and a
//! segment being filled, each sealer a segment raw, compressed and encrypted, and the channel its
//! capacity. See `docs/PERFORMANCE.md` for the measured sum.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::BackupContext;
use super::plan::{BackupPlan, PlannedNamespace};
use crate::codec::{ContentDigest, Sealer};
use crate::error::{Error, Result};
use crate::format::catalog::{CollectionKind, CollectionRecord, SegmentRef};
use crate::format::segment::Documents;
use crate::format::{BackupId, Subject};
use crate::mongo::parts::{Part, split};
use crate::mongo::read::{CollectionReader, Reading};
use crate::mongo::{Namespace, NamespaceKind, Node};
use crate::progress::Progress;
use crate::repository::BackupWriter;
use crate::units::MIB;

/// How many parts are read at once. Two streams saturate two cores of a server; more only hold memory.
const READERS: usize = 2;

/// Filled segments that wait for a sealer.
const QUEUE: usize = 2;

/// The most sealers; otherwise one more than there are cores, because segments are stored in their order and
/// who is ahead waits. Each needs about 24 MiB.
const MAX_SEALERS: usize = 4;

/// About how large the parts are in which a collection is read that would leave a reader without work. Others
/// are read whole: finding where parts begin costs the server a look into a cold page for each.
const PART_BYTES: u64 = 256 * MIB as u64;

/// The most parts of one collection.
const MAX_PARTS: u64 = 1024;

/// A part of a collection that waits to be read.
struct Job {
    collection: usize,
    part: usize,
    reading: Reading,
}

/// A filled segment on its way to a sealer.
struct Filled {
    collection: usize,
    /// The part and the number within it: the reading order.
    position: (usize, usize),
    documents: Documents,
}

/// A sealed segment on its way to the pack.
struct Ready {
    collection: usize,
    position: (usize, usize),
    segment: SegmentRef,
    sealed: Bytes,
    digest: ContentDigest,
}

/// What has been stored of a collection so far.
#[derive(Default)]
struct Tally {
    digest: ContentDigest,
    segments: Vec<((usize, usize), SegmentRef)>,
}

/// Reads everything in the plan into packs and returns the catalog's collection entries.
pub(super) async fn dump(
    plan: &BackupPlan,
    sealer: &Sealer,
    writer: &mut BackupWriter,
    context: &BackupContext,
) -> Result<Vec<CollectionRecord>> {
    let progress = &context.progress;
    progress.expect(plan.bytes());
    let jobs = Arc::new(Mutex::new(jobs(plan).await?));
    let (filled, queue) = mpsc::channel(QUEUE);
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        readers.spawn(read_jobs(plan_handle(plan, context.targets.segment_bytes), Arc::clone(&jobs), filled.clone()));
    }
    drop(filled);
    // Whichever fails first ends the other: a reader's error must not wait for hours of reading.
    let store = store(plan, queue, sealer, writer, progress);
    let (tallies, ()) = tokio::try_join!(store, join(&mut readers))?;
    Ok(plan.namespaces.iter().zip(tallies).map(|(planned, tally)| record(plan, &planned.namespace, tally)).collect())
}

async fn join(readers: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(reader) = readers.join_next().await {
        reader.map_err(|error| Error::failed("a reader stopped").caused_by(error))??;
    }
    Ok(())
}

/// What readers need of the plan, so that they own it.
struct Handle {
    node: Node,
    names: Vec<(String, String)>,
    segment_bytes: usize,
}

fn plan_handle(plan: &BackupPlan, segment_bytes: usize) -> Handle {
    let names = plan.namespaces.iter().map(|planned| (planned.namespace.db.clone(), planned.namespace.name.clone()));
    Handle { node: plan.node.clone(), names: names.collect(), segment_bytes }
}

/// Returns all parts, those of the largest collections first, so that no large one is read last and alone.
async fn jobs(plan: &BackupPlan) -> Result<VecDeque<Job>> {
    let mut order: Vec<usize> =
        (0..plan.namespaces.len()).filter(|&at| plan.namespaces[at].namespace.has_documents()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(plan.namespaces[at].bytes));
    let parts = parts_of(order.iter().map(|&at| plan.namespaces[at].bytes).collect());
    let split = stream::iter(order.into_iter().zip(parts));
    let split = split.map(|(collection, parts)| split_into_jobs(plan, collection, parts)).buffered(READERS);
    let jobs: Vec<Vec<Job>> = split.try_collect().await?;
    Ok(jobs.into_iter().flatten().collect())
}

/// Returns in how many parts to read collections of these sizes, the largest first.
///
/// Whichever reader is free takes the next one. One that would keep its reader busy when the others have ended,
/// by more than a part, is cut.
fn parts_of(sizes: Vec<u64>) -> Vec<u64> {
    let share = sizes.iter().sum::<u64>() / READERS as u64;
    let mut loads = [0; READERS];
    let parts = sizes.into_iter().map(|bytes| {
        let [first, ..] = &mut loads;
        if *first + bytes <= share + PART_BYTES {
            *first += bytes;
            loads.sort_unstable();
            return 1;
        }
        loads = loads.map(|load| load + bytes / READERS as u64);
        (bytes / PART_BYTES).clamp(1, MAX_PARTS)
    });
    parts.collect()
}

async fn split_into_jobs(plan: &BackupPlan, collection: usize, parts: u64) -> Result<Vec<Job>> {
    let planned = &plan.namespaces[collection];
    let document_bytes = planned.bytes.checked_div(planned.documents).unwrap_or(0);
    let stretches = stretches(plan, planned, parts).await?.into_iter().enumerate();
    let jobs = stretches.map(|(part, stretch)| {
        let as_of = plan.as_of(&planned.namespace);
        let reading = Reading { as_of, or_later: None, uuid: planned.namespace.uuid, part: stretch, document_bytes };
        Job { collection, part, reading }
    });
    Ok(jobs.collect())
}

async fn stretches(plan: &BackupPlan, planned: &PlannedNamespace, parts: u64) -> Result<Vec<Part>> {
    let namespace = &planned.namespace;
    match plan.at {
        Some(at) if parts > 1 && !namespace.is_ordered() => {
            split(&plan.node, &namespace.db, &namespace.name, at, planned.documents, parts).await
        }
        _ => Ok(vec![Part::default()]),
    }
}

async fn read_jobs(handle: Handle, jobs: Arc<Mutex<VecDeque<Job>>>, filled: mpsc::Sender<Filled>) -> Result<()> {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(job) = job else { return Ok(()) };
        if !read_job(&handle, job, &filled).await? {
            return Ok(());
        }
    }
}

/// Reads one part; returns whether anybody still wants segments.
async fn read_job(handle: &Handle, job: Job, filled: &mpsc::Sender<Filled>) -> Result<bool> {
    let (db, name) = &handle.names[job.collection];
    let mut reader = CollectionReader::new(&handle.node, db, name, job.reading);
    let mut documents = Documents::default();
    let mut full = Vec::new();
    let mut segment = 0;
    let mut more = true;
    while more {
        more = reader
            .next(|document| {
                if documents.is_full_for(document, handle.segment_bytes) {
                    full.push(std::mem::replace(&mut documents, Documents::with_capacity(handle.segment_bytes)));
                }
                documents.push(document);
            })
            .await?;
        if !more && !documents.is_empty() {
            full.push(std::mem::take(&mut documents));
        }
        for documents in full.drain(..) {
            let position = (job.part, segment);
            segment += 1;
            if filled.send(Filled { collection: job.collection, position, documents }).await.is_err() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Seals what arrives, several segments at once, and appends it in the order of the numbers.
async fn store(
    plan: &BackupPlan,
    queue: mpsc::Receiver<Filled>,
    sealer: &Sealer,
    writer: &mut BackupWriter,
    progress: &Progress,
) -> Result<Vec<Tally>> {
    let sealers = std::thread::available_parallelism().map_or(1, usize::from).saturating_add(1).min(MAX_SEALERS);
    let filled = stream::unfold(queue, |mut queue| async move { queue.recv().await.map(|next| (next, queue)) });
    let mut ready = std::pin::pin!(
        filled
            .zip(stream::iter(1_u64..))
            .map(|(filled, number)| {
                let (sealer, backup) = (sealer.clone(), plan.id.clone());
                tokio::task::spawn_blocking(move || seal(&sealer, &backup, number, &filled))
            })
            .buffered(sealers)
    );
    let mut tallies: Vec<Tally> = std::iter::repeat_with(Tally::default).take(plan.namespaces.len()).collect();
    while let Some(next) = ready.next().await {
        let next = next.map_err(|error| Error::failed("cannot seal a segment").caused_by(error))??;
        progress.add(next.segment.documents, next.segment.bytes, next.sealed.len() as u64);
        let tally = &mut tallies[next.collection];
        tally.digest.merge(&next.digest);
        tally.segments.push((next.position, next.segment));
        writer.append(next.segment.n, next.sealed).await?;
    }
    Ok(tallies)
}

fn seal(sealer: &Sealer, backup: &BackupId, number: u64, filled: &Filled) -> Result<Ready> {
    let digest = ContentDigest::of(filled.documents.as_bytes())?;
    let sealed = sealer.seal(Subject::Segment { backup: backup.clone(), number }, &filled.documents)?;
    let segment = SegmentRef { n: number, documents: digest.documents, bytes: digest.bytes };
    Ok(Ready { collection: filled.collection, position: filled.position, segment, sealed, digest })
}

fn record(plan: &BackupPlan, namespace: &Namespace, mut tally: Tally) -> CollectionRecord {
    tally.segments.sort_by_key(|(position, _)| *position);
    CollectionRecord {
        db: namespace.db.clone(),
        name: namespace.name.clone(),
        kind: match namespace.kind {
            NamespaceKind::Collection => CollectionKind::Collection,
            NamespaceKind::View => CollectionKind::View,
            NamespaceKind::Timeseries => CollectionKind::Timeseries,
            NamespaceKind::Buckets => CollectionKind::Buckets,
        },
        uuid: namespace.uuid,
        options: namespace.options.clone(),
        indexes: namespace.indexes.clone(),
        documents: tally.digest.documents,
        bytes: tally.digest.bytes,
        digest: tally.digest.to_bytes(),
        ordered: namespace.is_ordered(),
        in_snapshot: plan.is_in_snapshot(namespace),
        segments: tally.segments.into_iter().map(|(_, segment)| segment).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_leave_a_reader_without_work_is_cut() {
        let parts = |parts_of_sizes: &[u64]| parts_of(parts_of_sizes.iter().map(|size| size * PART_BYTES).collect());
        assert!(parts(&[]).is_empty());
        assert_eq!(parts(&[0]), [1]);
        assert_eq!(parts(&[1]), [1], "too small");
        assert_eq!(parts(&[8]), [8], "it is all there is");
        assert_eq!(parts(&[4, 3, 1]), [1, 1, 1], "they come out even");
        assert_eq!(parts(&[5, 5, 5]), [1, 1, 5], "the last one would be read alone");
        assert_eq!(parts(&[20, 3, 2]), [20, 1, 1], "the first one is most of it");
        assert_eq!(parts(&[10_000]), [MAX_PARTS]);
    }
}
