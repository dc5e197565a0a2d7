//! Replaying: the changes of documents, in parallel over documents and in order for each.
//!
//! Collections exist already, under their final names and without indexes (a unique index would meet duplicates that
//! never were), so nothing is created, renamed or dropped on the way, and each operation finds its collection by UUID.
//! Memory is bounded by [`LANES`] batches being filled and as many under way, and what `operations::Changes` and the
//! slices' reader state.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use tokio::task::JoinHandle;

use super::journal::Event;
use super::survey::Recovery;
use super::{Restore, RestoreItem, ended};
use crate::error::Result;
use crate::mongo::apply::{Batch, OnMissing};
use crate::mongo::load;
use crate::operations::{Changes, CollectionUuid, Fate, Operation, OperationKind, document_key};
use crate::progress::{OPLOG, Step};

/// How many batches are under way at once.
const LANES: u64 = 4;

/// How often it is written down how far the replay has come, which waits for all that is under way.
const CHECKPOINT: Duration = Duration::from_secs(5);

/// What a replay has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Operations that are applied, those that a later one has made needless among them.
    pub operations: u64,
    /// Transactions of which only a part was chosen.
    pub split_transactions: u64,
}

/// Replays the oplog up to the moment that the plan says.
pub(super) async fn replay(restore: &Restore<'_>, recovery: &Recovery) -> Result<Replayed> {
    let places = Places::of(&restore.plan.items, recovery);
    let mut lanes = Lanes::new(restore);
    // What an earlier run has replayed behind its last checkpoint is replayed again: operations say what shall be.
    let (replayed_to, mut checkpoint) = (restore.context.past.replayed_to, Instant::now());
    let is_resumed = !restore.context.past.items.is_empty();
    let (mut changes, mut replayed) = (Changes::new(recovery.shown), Replayed::default());
    let progress = restore.context.progress.part(OPLOG.into(), recovery.bytes());
    progress.step(Step::Replaying);
    let mut read = std::pin::pin!(recovery.entries.read());
    while let Some(entries) = read.try_next().await? {
        for entry in entries.walk() {
            let (entry, time) = entry?;
            if time > recovery.to {
                break;
            }
            let places = &places;
            let mut counted = changes.take(entry, time, move |operation| places.fate(operation))?;
            replayed.split_transactions += u64::from(counted.is_split);
            while let Some(operation) = counted.next_operation()? {
                let Some(place) = places.find(&operation) else { continue };
                if replayed_to.is_some_and(|replayed_to| time <= replayed_to) {
                    continue;
                }
                lanes
                    .take(place, &operation, place.on_missing(entries.is_own || is_resumed))
                    .await
                    .map_err(|error| error.context(format!("at {time}")))?;
                replayed.operations += 1;
            }
        }
        progress.add(0, entries.bytes(), 0);
        if restore.context.journal.is_some() && checkpoint.elapsed() > CHECKPOINT {
            lanes.drain().await?;
            restore.note(Event::Replayed { to: entries.range.end.min(recovery.to) }).await?;
            checkpoint = Instant::now();
        }
    }
    lanes.drain().await?;
    restore.note(Event::Replayed { to: recovery.to }).await?;
    Ok(replayed)
}

/// Where the documents of one collection go.
struct Place {
    db: String,
    name: String,
    namespace: String,
    /// Tells it from other collections.
    key: u64,
    /// Where the order between documents matters, or a collation says which are the same: all go one way.
    one_lane: bool,
    /// Whether what was loaded may be newer than what the backup shows.
    may_be_newer: bool,
}

/// Where everything goes.
struct Places {
    chosen: HashMap<CollectionUuid, Place>,
    /// Those that exist at the end and were not chosen.
    not_chosen: HashSet<CollectionUuid>,
}

impl Places {
    fn of(items: &[RestoreItem], recovery: &Recovery) -> Self {
        let chosen: HashMap<_, _> = items.iter().filter_map(|item| Some((item.uuid?, Place::of(item)))).collect();
        let not_chosen =
            recovery.outlook.collections.uuids().filter(|uuid| !chosen.contains_key(*uuid)).copied().collect();
        Self { chosen, not_chosen }
    }

    fn find(&self, operation: &Operation<'_>) -> Option<&Place> {
        self.chosen.get(&operation.collection?)
    }

    fn fate(&self, operation: &Operation<'_>) -> Result<Fate> {
        let Some(uuid) = operation.collection else { return Ok(Fate::Gone) };
        let wanted = operation.kind != OperationKind::Command || repeated(operation)?;
        Ok(match (self.chosen.contains_key(&uuid), self.not_chosen.contains(&uuid)) {
            (true, _) if wanted => Fate::Wanted,
            (_, true) => Fate::NotChosen,
            _ => Fate::Gone,
        })
    }
}

impl Place {
    fn of(item: &RestoreItem) -> Self {
        let collated = matches!(item.record.options.get("collation"), Ok(Some(_)));
        let mut hasher = DefaultHasher::new();
        item.uuid.hash(&mut hasher);
        let (key, one_lane) = (hasher.finish(), item.record.ordered || collated);
        let (db, name) = (item.db.clone(), item.data_name());
        let may_be_newer = !item.record.in_snapshot;
        Self { namespace: format!("{db}.{name}"), db, name, key, one_lane, may_be_newer }
    }

    /// Returns what becomes of an update of a document that is missing. It may be among documents that are newer than
    /// the update: it was deleted in between, and will be again.
    fn on_missing(&self, is_newer: bool) -> OnMissing {
        if is_newer || self.may_be_newer { OnMissing::Insert } else { OnMissing::Fail }
    }
}

/// Whether a command is repeated at its place among the changes. Nothing else deletes documents without saying which:
/// those that a capped collection has no room for are deleted by entries of their own.
fn repeated(operation: &Operation<'_>) -> Result<bool> {
    Ok(operation.command()? == "emptycapped")
}

/// Batches on their way to the server: changes of one document are always in one lane.
struct Lanes<'a> {
    restore: &'a Restore<'a>,
    lanes: Vec<Lane>,
}

#[derive(Default)]
struct Lane {
    batch: Batch,
    under_way: Option<JoinHandle<Result<()>>>,
}

impl Lane {
    /// Waits until nothing of this lane is under way.
    async fn settle(&mut self) -> Result<()> {
        match self.under_way.take() {
            Some(write) => ended(write).await,
            None => Ok(()),
        }
    }
}

impl<'a> Lanes<'a> {
    fn new(restore: &'a Restore<'a>) -> Self {
        Self { restore, lanes: (0..LANES).map(|_| Lane::default()).collect() }
    }

    async fn take(&mut self, place: &Place, operation: &Operation<'_>, on_missing: OnMissing) -> Result<()> {
        if operation.kind == OperationKind::Command {
            self.drain().await?;
            let (database, name) = (self.restore.context.deployment.client().database(&place.db), place.name.clone());
            return self.restore.writes.run(async move { load::empty(&database, &name).await }).await;
        }
        // Those whose _id this program cannot read, such as text that is not UTF-8, share a lane.
        let id = operation.document_id().filter(|_| !place.one_lane).map(document_key);
        let way = if place.one_lane { place.key } else { id.unwrap_or_default() };
        let number = usize::try_from(way % LANES).unwrap_or_default();
        if operation.kind != OperationKind::Delete && load::has_empty_timestamp(operation.o) {
            return self.write_alone(number, place, operation).await;
        }
        let size = operation.o.as_bytes().len() + operation.o2.map_or(0, |o2| o2.as_bytes().len());
        if self.lanes[number].batch.is_full_for(size) {
            self.send(number).await?;
        }
        let batch = &mut self.lanes[number].batch;
        let content = (operation.o, operation.o2);
        batch.push(operation.kind.as_str(), &place.namespace, content, on_missing, id.map(|id| id ^ place.key));
        Ok(())
    }

    /// Writes a whole document past `applyOps`, which would replace its empty timestamps by the time.
    async fn write_alone(&mut self, number: usize, place: &Place, operation: &Operation<'_>) -> Result<()> {
        self.send(number).await?;
        self.lanes[number].settle().await?;
        let database = self.restore.context.deployment.client().database(&place.db);
        self.restore.writes.run(load::put(&database, &place.name, &[operation.o], load::UPDATE_ROLES)).await
    }

    /// Sends what a lane has gathered, when what it sent before has arrived.
    async fn send(&mut self, number: usize) -> Result<()> {
        let lane = &mut self.lanes[number];
        lane.settle().await?;
        if lane.batch.is_empty() {
            return Ok(());
        }
        let write = std::mem::take(&mut lane.batch).apply(&self.restore.context.deployment);
        lane.under_way = Some(self.restore.writes.begin(write).await);
        Ok(())
    }

    /// Sends everything and waits until it has arrived.
    async fn drain(&mut self) -> Result<()> {
        for number in 0..self.lanes.len() {
            self.send(number).await?;
        }
        for lane in &mut self.lanes {
            lane.settle().await?;
        }
        Ok(())
    }
}
