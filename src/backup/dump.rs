//! From the server to the packs: readers fill segments, which [`store`] seals and appends.
//!
//! Memory is bounded by the constants below and those of [`store`]: each reader holds a server batch (16 MiB at most) and a
//! segment being filled. See `docs/PERFORMANCE.md` for the measured sum.

mod jobs;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bson::Timestamp;
use jobs::{Job, What, jobs};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::BackupContext;
use super::changes::Numbers;
use super::checkpoint::Checkpoints;
use super::follow::{Followed, Follower};
use super::pace::{Pace, ReadLimits};
use super::plan::{BackupPlan, PlannedNamespace};
use super::run::Run;
use super::store::{Filled, QUEUE, Tally, store};
use crate::codec::Sealer;
use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::catalog::{CollectionKind, CollectionRecord, OplogRecord};
use crate::format::increment::ChangesRecord;
use crate::format::oplog::Range;
use crate::mongo::read::{CollectionReader, Reading, SnapshotLoss};
use crate::mongo::{Namespace, NamespaceKind, Node, retrying};
use crate::operations::{Collections, Course, Shown};
use crate::progress::{PartProgress, Step};
use crate::repository::BackupWriter;

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
    (loss, checkpoints): (Option<SnapshotLoss>, &mut Checkpoints),
) -> Result<Dumped> {
    let progress = &context.progress;
    progress.expect(plan.bytes_to_read());
    let limits = &context.settings.limits;
    let jobs = jobs(plan, (limits.readers, context.targets.part_bytes), loss.as_ref(), progress, checkpoints).await?;
    let jobs = Arc::new(Mutex::new(jobs));
    let (pace, watcher) = Pace::of(plan, limits);
    let (filled, queue) = mpsc::channel(QUEUE);
    let mut readers = JoinSet::new();
    for _ in 0..limits.readers {
        let source = Source::of(plan, context.targets.segment_bytes, limits, &pace);
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
    let store = store(&plan.id, plan.oplog_number(), queue, sealer, writer, checkpoints);
    let reading = async { tokio::try_join!(store, read, follow) };
    let (tallies, dropped, followed) = tokio::select! {
        outcome = reading => outcome?,
        never = watcher.watch() => never,
    };
    let (collections, of_oplog) = records(plan, tallies);
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

/// Returns what the catalog says of each namespace, and what was stored of the oplog.
fn records(plan: &BackupPlan, mut tallies: Vec<Tally>) -> (Vec<CollectionRecord>, Tally) {
    let touched = tallies.split_off(plan.oplog_number() + 1);
    let of_oplog = tallies.pop().unwrap_or_default();
    let touched = touched.into_iter().chain(std::iter::repeat_with(Tally::default));
    let collections = plan.namespaces.iter().enumerate().zip(tallies).zip(touched);
    let collections = collections.map(|(((number, planned), tally), touched)| {
        let changes = changes(plan, number, planned, touched);
        CollectionRecord { changes, ..record(plan, &planned.namespace, tally) }
    });
    (collections.collect(), of_oplog)
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
    batch_bytes: u64,
    pace: Pace,
}

impl Source {
    fn of(plan: &BackupPlan, segment_bytes: usize, limits: &ReadLimits, pace: &Pace) -> Self {
        let names =
            plan.namespaces.iter().map(|planned| (planned.namespace.db.clone(), planned.namespace.name.clone()));
        let (node, oplog_number) = (plan.node.clone(), plan.oplog_number());
        let (batch_bytes, pace) = (limits.batch_bytes(), pace.clone());
        Self { node, names: names.collect(), oplog_number, segment_bytes, batch_bytes, pace }
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
            What::Stretch(reading) => {
                let run = Run::new((collection, part), segment_bytes, progress).behind(job.begin);
                read_stretch(&source, collection, reading, run, (progress, &filled)).await?
            }
            What::Touched(touched) => {
                let numbers = Numbers { collection, touched: source.oplog_number + 1 + collection, part };
                touched.read(numbers, segment_bytes, (&source.pace, progress), &filled).await?
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
    collection: usize,
    reading: Reading,
    mut run: Run,
    (progress, filled): (&PartProgress, &mpsc::Sender<Filled>),
) -> Result<PartEnd> {
    let (db, name) = &source.names[collection];
    let mut reader = CollectionReader::new(&source.node, db, name, reading).in_batches_of(source.batch_bytes);
    loop {
        source.pace.turn(progress).await;
        let before = run.taken();
        run.reads_behind(reader.position());
        let may_go_on = reader.next(|document| run.push(document)).await?;
        run.check(reader.is_exact(), !may_go_on)?;
        source.pace.has_read(run.taken() - before);
        if !may_go_on {
            break;
        }
        if !run.send(filled).await {
            return Ok(PartEnd::NobodyListens);
        }
    }
    Ok(match run.finish(filled).await {
        false => PartEnd::NobodyListens,
        true if reader.was_dropped() => PartEnd::CollectionDropped,
        true => PartEnd::Reached,
    })
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
