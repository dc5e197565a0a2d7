//! From the server to the packs: readers fill segments, which [`store`] seals and appends.
//!
//! Memory is bounded by the constants below and those of [`store`]: each reader holds a server batch (16 MiB at most) and a
//! segment being filled. See `docs/PERFORMANCE.md` for the measured sum.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bson::Timestamp;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::BackupContext;
use super::changes::{Numbers, TouchedPart};
use super::follow::{Followed, Follower};
use super::plan::{BackupPlan, PlannedNamespace};
use super::store::{Filled, QUEUE, Tally, store};
use crate::codec::Sealer;
use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::catalog::{CollectionKind, CollectionRecord, OplogRecord};
use crate::format::increment::ChangesRecord;
use crate::format::oplog::Range;
use crate::format::segment::Documents;
use crate::mongo::by_id::Lookup;
use crate::mongo::parts::{Part, split};
use crate::mongo::read::{CollectionReader, Reading, SnapshotLoss};
use crate::mongo::{Namespace, NamespaceKind, Node, retrying};
use crate::operations::{Collections, Course, Shown};
use crate::progress::{PartProgress, Progress, Step};
use crate::repository::BackupWriter;
use crate::units::MIB;

/// How many parts are read at once. Two streams saturate two cores of a server; more only hold memory.
const READERS: usize = 2;

/// About how large the parts are in which a collection is read that would leave a reader without work. Others
/// are read whole: finding where parts begin costs the server a look into a cold page for each.
const PART_BYTES: u64 = 256 * MIB as u64;

/// The most parts of one collection.
const MAX_PARTS: u64 = 1024;

/// A part of a collection that waits to be read.
struct Job {
    collection: usize,
    part: usize,
    what: What,
    progress: PartProgress,
}

/// What of a collection is read.
enum What {
    /// A stretch of it.
    Stretch(Reading),
    /// The documents with some of its touched `_id`s.
    Touched(TouchedPart),
}

/// What was read and stored.
pub(super) struct Dumped {
    pub collections: Vec<CollectionRecord>,
    /// The oplog that belongs to them, where they were not all read as of one moment.
    pub oplog: Option<OplogRecord>,
}

/// Reads everything in the plan into packs and returns what the catalog says of it. With `loss`, what cannot be read as
/// of the plan's moment is read later, and the oplog with it.
pub(super) async fn dump(
    plan: &BackupPlan,
    sealer: &Sealer,
    writer: &mut BackupWriter,
    context: &BackupContext,
    loss: Option<SnapshotLoss>,
) -> Result<Dumped> {
    let progress = &context.progress;
    progress.expect(plan.bytes_to_read());
    let jobs = Arc::new(Mutex::new(jobs(plan, loss.as_ref(), progress).await?));
    let (filled, queue) = mpsc::channel(QUEUE);
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let source = Source::of(plan, context.targets.segment_bytes);
        readers.spawn(read_jobs(source, Arc::clone(&jobs), filled.clone()));
    }
    let (ended, target) = watch::channel(None);
    let read = async {
        let dropped = join(&mut readers).await?;
        if loss.as_ref().is_some_and(SnapshotLoss::is_noted) {
            // Not only what is committed: what was seen to be dropped may not be yet.
            let applied = retrying(|| plan.node.applied_time()).await?;
            ended.send_replace(Some(applied.into()));
        }
        drop(ended);
        Ok(dropped)
    };
    let follow = follow(plan, loss.as_ref(), target, filled, context);
    // Whichever fails first ends the others: a reader's error must not wait for hours of reading.
    let store = store(&plan.id, plan.oplog_number(), queue, sealer, writer);
    let (mut tallies, dropped, followed) = tokio::try_join!(store, read, follow)?;
    let touched = tallies.split_off(plan.oplog_number() + 1);
    let of_oplog = tallies.pop().unwrap_or_default();
    let touched = touched.into_iter().chain(std::iter::repeat_with(Tally::default));
    let collections = plan.namespaces.iter().enumerate().zip(tallies).zip(touched);
    let collections: Vec<_> = collections
        .map(|(((number, planned), tally), touched)| {
            let changes = changes(plan, number, planned, touched);
            CollectionRecord { changes, ..record(plan, &planned.namespace, tally) }
        })
        .collect();
    let (Some(followed), Some(at)) = (followed, plan.at) else { return Ok(Dumped { collections, oplog: None }) };
    let outlook = followed.course.finish()?;
    for namespace in dropped.into_iter().map(|number| &plan.namespaces[number].namespace) {
        if namespace.uuid.is_none_or(|uuid| outlook.collections.has(&uuid)) {
            return Err(Error::failed(format!(
                "{} vanished while it was read, and the oplog does not say why",
                namespace.full_name()
            ))
            .with_hint("an election may have undone a drop; run the backup again"));
        }
    }
    // What is replayed on top makes every collection what it was at the end.
    let collections = collections.into_iter().map(|record| CollectionRecord { in_snapshot: true, ..record }).collect();
    Ok(Dumped { collections, oplog: Some(oplog_record(plan, at, of_oplog, &followed.ranges)) })
}

/// Waits for all readers; returns the collections that were dropped while they were read.
async fn join(readers: &mut JoinSet<Result<Vec<usize>>>) -> Result<Vec<usize>> {
    let mut dropped = Vec::new();
    while let Some(reader) = readers.join_next().await {
        dropped.extend(reader.map_err(|error| Error::failed("a reader stopped").caused_by(error))??);
    }
    Ok(dropped)
}

/// Follows the oplog from the moment on at which something could be read only later than planned; none if that never
/// happens.
async fn follow(
    plan: &BackupPlan,
    loss: Option<&SnapshotLoss>,
    mut target: watch::Receiver<Option<ClusterTime>>,
    filled: mpsc::Sender<Filled>,
    context: &BackupContext,
) -> Result<Option<Followed>> {
    let (Some(loss), Some(from), Some(at)) = (loss, plan.replay_from, plan.at) else { return Ok(None) };
    let is_lost = tokio::select! {
        () = loss.noted() => true,
        // Nobody will say where to end: everything was read without a loss.
        ended = target.wait_for(Option::is_some) => ended.is_ok(),
    };
    if !is_lost {
        return Ok(None);
    }
    tracing::info!("the backup's moment can no longer be read; reading on, with the oplog that makes up for it");
    let empty = plan.namespaces.iter().map(|planned| record(plan, &planned.namespace, Tally::default()));
    let collections = Collections::of_backup(empty.collect())?.only(plan.patterns.clone());
    let course = Course::new(collections, Shown::Since(at.into()));
    Follower::new(plan, from, course, target, filled, context).follow().await.map(Some)
}

/// What readers need of the plan, so that they own it.
struct Source {
    node: Node,
    names: Vec<(String, String)>,
    oplog_number: usize,
    segment_bytes: usize,
}

impl Source {
    fn of(plan: &BackupPlan, segment_bytes: usize) -> Self {
        let names =
            plan.namespaces.iter().map(|planned| (planned.namespace.db.clone(), planned.namespace.name.clone()));
        let (node, oplog_number) = (plan.node.clone(), plan.oplog_number());
        Self { node, names: names.collect(), oplog_number, segment_bytes }
    }
}

/// Returns all parts: those of capped collections first, soon after the backup's moment, which they do not show; then
/// those of the largest collections, so that no large one is read last and alone.
async fn jobs(plan: &BackupPlan, loss: Option<&SnapshotLoss>, progress: &Progress) -> Result<VecDeque<Job>> {
    let order: Vec<usize> =
        (0..plan.namespaces.len()).filter(|&at| plan.namespaces[at].namespace.has_documents()).collect();
    let (touched, mut order): (Vec<_>, Vec<_>) = order.into_iter().partition(|&at| plan.changes(at).is_some());
    order.sort_by_key(|&at| std::cmp::Reverse(plan.namespaces[at].bytes));
    let (capped, order): (Vec<_>, Vec<_>) =
        order.into_iter().partition(|&at| plan.namespaces[at].namespace.is_ordered());
    let parts = parts_of(order.iter().map(|&at| plan.namespaces[at].bytes).collect());
    let split = stream::iter(capped.into_iter().map(|at| (at, 1)).chain(order.into_iter().zip(parts)));
    let split =
        split.map(|(collection, parts)| split_into_jobs(plan, collection, parts, loss, progress)).buffered(READERS);
    let jobs: Vec<Vec<Job>> = split.try_collect().await?;
    let touched = touched.into_iter().flat_map(|at| touched_jobs(plan, at, progress));
    Ok(jobs.into_iter().flatten().chain(touched).collect())
}

/// Returns the parts in which the touched documents of a collection are read; none where none was.
fn touched_jobs(plan: &BackupPlan, collection: usize, progress: &Progress) -> Vec<Job> {
    let (PlannedNamespace { namespace, documents, bytes }, Some(at), Some(ids)) =
        (&plan.namespaces[collection], plan.at, plan.changes(collection))
    else {
        return Vec::new();
    };
    let (node, db, name) = (plan.node.clone(), namespace.db.clone(), namespace.name.clone());
    let lookup = Lookup { node, db, collection: name, uuid: namespace.uuid.unwrap_or_default(), at };
    let document_bytes = bytes.checked_div(*documents).unwrap_or(0);
    let parts = TouchedPart::split(&lookup, ids, document_bytes).into_iter().enumerate();
    let progress = progress.part(namespace.full_name(), ids.count() * document_bytes);
    let job = |(part, touched)| Job { collection, part, what: What::Touched(touched), progress: progress.clone() };
    parts.map(job).collect()
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

async fn split_into_jobs(
    plan: &BackupPlan,
    collection: usize,
    parts: u64,
    loss: Option<&SnapshotLoss>,
    progress: &Progress,
) -> Result<Vec<Job>> {
    let planned = &plan.namespaces[collection];
    let document_bytes = planned.bytes.checked_div(planned.documents).unwrap_or(0);
    let stretches = stretches(plan, planned, parts, loss).await?.into_iter().enumerate();
    let progress = progress.part(planned.namespace.full_name(), planned.bytes);
    let jobs = stretches.map(|(part, stretch)| {
        let (as_of, or_later, uuid) = (plan.as_of(&planned.namespace), loss.cloned(), planned.namespace.uuid);
        let reading = Reading { as_of, or_later, uuid, part: stretch, document_bytes };
        Job { collection, part, what: What::Stretch(reading), progress: progress.clone() }
    });
    Ok(jobs.collect())
}

async fn stretches(
    plan: &BackupPlan,
    planned: &PlannedNamespace,
    parts: u64,
    loss: Option<&SnapshotLoss>,
) -> Result<Vec<Part>> {
    let namespace = &planned.namespace;
    match plan.at {
        Some(at) if parts > 1 && !namespace.is_ordered() => {
            match split(&plan.node, &namespace.db, &namespace.name, at, planned.documents, parts).await {
                // That moment may be gone already. Whatever else it is, reading will meet it again.
                Err(error) if loss.is_some() => {
                    tracing::info!(namespace = namespace.full_name(), %error, "reading in one part");
                    Ok(vec![Part::default()])
                }
                split => split,
            }
        }
        _ => Ok(vec![Part::default()]),
    }
}

/// Reads parts until none is left; returns the collections that were dropped meanwhile.
async fn read_jobs(
    source: Source,
    jobs: Arc<Mutex<VecDeque<Job>>>,
    filled: mpsc::Sender<Filled>,
) -> Result<Vec<usize>> {
    let mut dropped = Vec::new();
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(job) = job else { return Ok(dropped) };
        let collection = job.collection;
        let (part, segment_bytes, progress) = (job.part, source.segment_bytes, &job.progress);
        progress.step(Step::Reading);
        let end = match job.what {
            What::Stretch(reading) => read_stretch(&source, (collection, part), reading, progress, &filled).await?,
            What::Touched(touched) => {
                let numbers = Numbers { collection, touched: source.oplog_number + 1 + collection, part };
                touched.read(numbers, segment_bytes, progress, &filled).await?
            }
        };
        match end {
            PartEnd::Reached => {}
            PartEnd::CollectionDropped => dropped.push(collection),
            PartEnd::NobodyListens => return Ok(dropped),
        }
    }
}

/// How reading a part came to an end.
pub(super) enum PartEnd {
    Reached,
    CollectionDropped,
    /// Storing has failed.
    NobodyListens,
}

/// Reads one stretch.
async fn read_stretch(
    source: &Source,
    (collection, part): (usize, usize),
    reading: Reading,
    progress: &PartProgress,
    filled: &mpsc::Sender<Filled>,
) -> Result<PartEnd> {
    let (db, name) = &source.names[collection];
    let mut reader = CollectionReader::new(&source.node, db, name, reading);
    let mut documents = Documents::default();
    let mut full = Vec::new();
    let mut segment = 0;
    let mut more = true;
    while more {
        more = reader
            .next(|document| {
                if documents.is_full_for(document, source.segment_bytes) {
                    full.push(std::mem::replace(&mut documents, Documents::with_capacity(source.segment_bytes)));
                }
                documents.push(document);
            })
            .await?;
        if !more && !documents.is_empty() {
            full.push(std::mem::take(&mut documents));
        }
        for documents in full.drain(..) {
            let position = (part, segment);
            segment += 1;
            let progress = progress.clone();
            if filled.send(Filled { collection, position, documents, progress }).await.is_err() {
                return Ok(PartEnd::NobodyListens);
            }
        }
    }
    Ok(if reader.was_dropped() { PartEnd::CollectionDropped } else { PartEnd::Reached })
}

fn oplog_record(plan: &BackupPlan, at: Timestamp, tally: Tally, ranges: &[Range]) -> OplogRecord {
    OplogRecord {
        since: at.into(),
        patterns: plan.patterns.iter().map(ToString::to_string).collect(),
        segments: tally.into_oplog(ranges),
    }
}

/// Returns what an increment holds of a collection beside documents; none where it holds the collection as a whole.
fn changes(plan: &BackupPlan, number: usize, planned: &PlannedNamespace, touched: Tally) -> Option<ChangesRecord> {
    let (documents, bytes) = (planned.documents, planned.bytes);
    plan.changes(number).map(|_| ChangesRecord { documents, bytes, touched: touched.into_segments() })
}

fn record(plan: &BackupPlan, namespace: &Namespace, tally: Tally) -> CollectionRecord {
    tally.into_record(CollectionRecord {
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
        documents: 0,
        bytes: 0,
        digest: [0; 32],
        ordered: namespace.is_ordered(),
        in_snapshot: plan.is_in_snapshot(namespace),
        segments: Vec::new(),
        changes: None,
    })
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
