//! Restoring a backup.
//!
//! [`Recovery::survey`] looks ahead at the oplog, where a moment behind a backup is asked for or the backup brings one
//! along; [`RestorePlan::make`] settles what goes where; [`TargetState::check`] refuses when anything speaks against it;
//! [`execute`] creates, loads, proves, replays and indexes. Nothing that existed before is touched, unless it shall be
//! replaced: then everything is loaded beside it and exchanged at the end, all at once ([`exchange`]). After a failure or an
//! interruption what this run created is dropped again, so nothing partial stays behind. What a run leaves that was killed
//! or lost its target is in the target's [`journal`]: [`resume`] goes on with it, [`undo`] takes it back.

mod entries;
mod exchange;
mod execute;
mod journal;
mod limits;
mod load;
mod merge;
mod only;
mod order;
mod phases;
mod plan;
mod replay;
mod streams;
mod survey;
mod target;
mod undo;
mod way;
mod writes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;

pub use entries::Entries;
pub use execute::execute;
pub use journal::{ItemRecord, Journal, Known, Past, Record, RestoreId, Stage, list as known_restores};
pub use load::read_back;
pub use merge::{ChangedSince, Merged};
pub use only::{Mode, Only};
pub use plan::{First, RestoreItem, RestorePlan, RestoreRequest, estimate, is_staged};
pub use replay::Replayed;
pub use survey::Recovery;
pub use target::TargetState;
pub use undo::{Undone, changed_since, forget, undo};
pub use way::{LeadsOn, Remarks, Way, Ways};

use crate::codec::ContentDigest;
use crate::error::{Error, Kind, Result};
use crate::format::evidence;
use crate::mongo::{Deployment, accounts, load as mongo_load};
use crate::progress::{PartProgress, Progress};
use crate::repository::SegmentReader;
use exchange::Exchange;
use journal::{Event, ItemPast};
use merge::Merge;
use phases::Phases;
use writes::{Writes, ended};

/// How often something may arrive late that a run had sent before it was killed.
const MOST_LATE: u32 = 5;

/// What a restore has done.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreSummary {
    /// Namespaces restored, views included.
    pub namespaces: u64,
    /// Documents loaded and read back.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was replayed behind the backup, if anything.
    pub replayed: Option<Replayed>,
    /// What became of single documents, where only some are restored.
    pub merged: Option<Merged>,
    /// Users and roles added.
    pub accounts: usize,
    /// The namespaces that were replaced and are still there, under other names.
    pub kept: Vec<String>,
    /// Whether it can be undone.
    pub can_be_undone: bool,
    /// The wall time.
    pub elapsed: Duration,
    /// The phases, in the order in which they began: for how long at least one step of a kind was under way. They overlap,
    /// because one collection is indexed while another is loaded.
    pub phases: Vec<(&'static str, Duration)>,
}

/// Returns phases as evidence holds them.
#[must_use]
pub fn as_recorded(phases: &[(&'static str, Duration)]) -> Vec<evidence::Phase> {
    let milliseconds = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let phase = |(name, time): &(&'static str, Duration)| evidence::Phase {
        name: (*name).to_owned(),
        milliseconds: milliseconds(time),
    };
    phases.iter().map(phase).collect()
}

/// What a restore writes into and reads from.
pub struct RestoreContext {
    /// The target.
    pub deployment: Deployment,
    /// The backup's segments.
    pub segments: SegmentReader,
    /// What shows how far it has come.
    pub progress: Progress,
    /// Where it is written down how far it has come; none for what is thrown away anyhow. What is replaced needs one.
    pub journal: Option<Journal>,
    /// What an earlier run of the same restore has done.
    pub past: Past,
}

impl RestoreContext {
    /// Begins to show how far an item has come: under its new name, unless that is only a scratch one, which says nothing to
    /// anybody.
    fn part(&self, item: &RestoreItem, expected_bytes: u64) -> PartProgress {
        let name = if self.journal.is_some() { item.target() } else { item.record.namespace() };
        self.progress.part(name, expected_bytes)
    }
}

/// One restore under way, in steps: between [`load`](Self::load) and [`finish`](Self::finish) everything is there, and the
/// server deletes nothing yet.
pub struct Restore<'a> {
    plan: &'a RestorePlan,
    context: &'a RestoreContext,
    created: Arc<Created>,
    writes: Writes,
    begun: Instant,
    phases: Phases,
    replayed: OnceLock<Replayed>,
    exchanges: Arc<OnceLock<Vec<Exchange>>>,
    merges: OnceLock<Vec<Merge>>,
    merged: OnceLock<Merged>,
    /// What of each item was read in older backups and is superseded.
    superseded: Mutex<HashMap<usize, ContentDigest>>,
}

impl<'a> Restore<'a> {
    /// Prepares one; nothing is touched yet.
    #[must_use]
    pub fn new(plan: &'a RestorePlan, context: &'a RestoreContext) -> Self {
        let created = Created::default();
        for (_, item) in plan.items.iter().enumerate().filter(|(number, _)| context.past.has_created(*number)) {
            created.remember(&item.db, item.loading_name());
        }
        let (exchanges, merges) = (OnceLock::new(), OnceLock::new());
        if !context.past.merges.is_empty() {
            merges.get_or_init(|| context.past.merges.clone());
        }
        if !context.past.exchanges.is_empty() {
            exchanges.get_or_init(|| context.past.exchanges.clone());
        }
        Self {
            plan,
            context,
            created: Arc::new(created),
            writes: Writes::default(),
            begun: Instant::now(),
            phases: Phases::default(),
            replayed: OnceLock::new(),
            exchanges: Arc::new(exchanges),
            merges,
            merged: OnceLock::new(),
            superseded: Mutex::default(),
        }
    }

    /// Loads, proves, replays and indexes everything but what lets the server delete documents. Whoever drops the future
    /// calls [`undo`](Self::undo).
    ///
    /// # Errors
    /// As those of [`execute`].
    pub async fn load(&self) -> Result<()> {
        // Documents are loaded and read back.
        let to_replay = self.plan.recovery.as_ref().map_or(0, Recovery::bytes);
        self.context.progress.expect(2 * self.plan.bytes_read() + to_replay);
        load::collections(self).await?;
        if let Some(recovery) = &self.plan.recovery {
            let replayed = self.phases.time("replay", replay::replay(self, recovery)).await?;
            self.replayed.get_or_init(|| replayed);
            load::all_indexes(self).await?;
        }
        // Views refer to collections, so they come when those are there.
        for (number, item) in self.items().filter(|(_, item)| item.is_view() && !self.plan.request.replace) {
            self.create_anew(number, item).await?;
        }
        Ok(())
    }

    /// Adds users and roles, and what lets the server delete what has expired or is too much: everything has been read
    /// back by now.
    ///
    /// # Errors
    /// As those of [`execute`].
    pub async fn finish(&self) -> Result<RestoreSummary> {
        let client = self.context.deployment.client();
        let added = match &self.plan.accounts {
            Some(accounts) => accounts::add(&client.database("admin"), accounts).await?,
            None => 0,
        };
        self.phases.time("indexes", limits::set(self)).await?;
        Ok(self.summary(added))
    }

    /// Notes what of an item was read and left out, so that the summary does not count it.
    fn superseded(&self, number: usize, left_out: ContentDigest) {
        self.superseded.lock().unwrap_or_else(PoisonError::into_inner).insert(number, left_out);
    }

    /// Returns how many documents there are of an item, and their bytes; about, where an earlier run has loaded them.
    fn size_of(&self, number: usize, item: &RestoreItem) -> (u64, u64) {
        let superseded = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        superseded
            .get(&number)
            .map_or_else(|| item.size(), |left_out| (item.documents - left_out.documents, item.bytes - left_out.bytes))
    }

    fn summary(&self, accounts: usize) -> RestoreSummary {
        let sizes: Vec<(u64, u64)> = self.items().map(|(number, item)| self.size_of(number, item)).collect();
        RestoreSummary {
            namespaces: self.plan.items.len() as u64,
            documents: sizes.iter().map(|(documents, _)| documents).sum(),
            bytes: sizes.iter().map(|(_, bytes)| bytes).sum(),
            replayed: self.replayed.get().copied(),
            merged: self.merged.get().copied(),
            accounts,
            kept: Vec::new(),
            can_be_undone: false,
            elapsed: self.begun.elapsed(),
            phases: self.phases(),
        }
    }

    /// Returns how long each phase took so far.
    #[must_use]
    pub fn phases(&self) -> Vec<(&'static str, Duration)> {
        self.phases.list()
    }

    /// Returns the items, each with its number in the plan.
    fn items(&self) -> impl Iterator<Item = (usize, &RestoreItem)> {
        self.plan.items.iter().enumerate()
    }

    /// Returns what an earlier run has done of an item.
    fn past_of(&self, number: usize) -> ItemPast {
        self.context.past.items.get(&number).cloned().unwrap_or_default()
    }

    /// Writes down progress, if anybody wants to go on from it.
    async fn note(&self, event: Event) -> Result<()> {
        match &self.context.journal {
            Some(journal) => {
                let journal = journal.clone();
                self.writes.run(async move { journal.note_progress(event).await }).await
            }
            None => Ok(()),
        }
    }

    /// Creates an item's collection, time series or view, and remembers that this run did.
    async fn create(&self, number: usize, item: &RestoreItem) -> Result<()> {
        let database = self.context.deployment.client().database(&item.db);
        let (name, created) = (item.loading_name().to_owned(), Arc::clone(&self.created));
        let (options, indexes) = (item.record.options.clone(), item.record.indexes.clone());
        let journal = self.context.journal.clone();
        let create = async move {
            if let Some(journal) = &journal {
                journal.note(Event::Creating { item: number }).await?;
            }
            let outcome = mongo_load::create(&database, &name, &options, &indexes).await;
            // Where only the answer was lost, it may be there, and whoever takes the restore back must look for it.
            if outcome.as_ref().err().is_none_or(Error::is_transient) {
                created.remember(database.name(), &name);
            }
            outcome?;
            match journal {
                Some(journal) => journal.note_progress(Event::Created { item: number }).await,
                None => Ok(()),
            }
        };
        self.writes.run(create).await
    }

    /// Creates an item, in the place of what an earlier run has created of it. What a run that was killed had sent may arrive only
    /// now.
    async fn create_anew(&self, number: usize, item: &RestoreItem) -> Result<()> {
        let mut late = if self.context.past.may_have_created(number) { MOST_LATE } else { 0 };
        loop {
            self.drop_of_earlier(number, item).await?;
            match self.create(number, item).await {
                Err(error) if error.kind() == Kind::Refused && late > 0 => {
                    tracing::warn!(%error, "beginning anew");
                    late -= 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Drops what an earlier run may have created of an item. What bears the name without the journal saying so was created in its
    /// last moment, or is somebody else's.
    async fn drop_of_earlier(&self, number: usize, item: &RestoreItem) -> Result<()> {
        let (target, past) = (&self.context.deployment, &self.context.past);
        if !past.may_have_created(number) {
            return Ok(());
        }
        if !undo::is_ours(target, past, self.plan.request.replace, (number, &item.to_record())).await? {
            return Err(Error::refused(format!("{} was not created by this restore, and is not empty", item.target()))
                .with_hint(
                    "take the restore back with --undo, then restore again with --replace or under another name",
                ));
        }
        let (name, database) = (item.loading_name().to_owned(), target.client().database(&item.db));
        self.writes.run(async move { mongo_load::drop_collection(&database, &name).await }).await
    }

    async fn create_indexes(&self, item: &RestoreItem, indexes: Vec<RawDocumentBuf>) -> Result<()> {
        let database = self.context.deployment.client().database(&item.db);
        let (name, options) = (item.loading_name().to_owned(), item.record.options.clone());
        let create = async move {
            let indexes: Vec<_> = indexes.iter().collect();
            mongo_load::create_indexes(&database, &name, &options, &indexes).await
        };
        self.writes.run(create).await
    }

    /// Takes back what this restore has done, and returns the error that made it necessary with what became of the target.
    pub async fn undo(&self, error: Error) -> Error {
        // Once to end what still runs on the server, such as an index build, and again when nothing of ours
        // runs any more: an insert that came after the first drop has brought its collection back.
        if self.exchanges.get().is_none() && self.merges.get().is_none() {
            self.drop_created().await;
        }
        self.writes.settle().await;
        if let Some(exchanges) = self.exchanges.get()
            && let Err(cause) = exchange::backward(&self.context.deployment, exchanges).await
        {
            let state = "what it replaces is wholly as it was, or wholly restored, because going back failed too";
            return self.left_over(error.context(format!("{state} ({cause})")));
        }
        if let (Some(merges), Some(only)) = (self.merges.get(), &self.plan.request.only) {
            match merge::backward(&self.context.deployment, only, merges).await {
                Ok(changed) if changed.is_nothing() => {}
                Ok(changed) => tracing::warn!(
                    overwritten = changed.overwritten,
                    kept = changed.kept,
                    documents = changed.examples.join(", "),
                    "others have changed documents since the failed restore wrote them: going back overwrote those that it had \
                     replaced, and kept those that it had added"
                ),
                Err(cause) => {
                    let state = "some of the documents are restored, because going back failed too";
                    return self.left_over(error.context(format!("{state} ({cause})")));
                }
            }
        }
        let mut remaining = self.drop_created().await;
        remaining.extend(self.drop_of_earlier_runs().await);
        remaining.extend(self.drop_replaced().await);
        if !remaining.is_empty() {
            return self.left_over(error.context(format!("the restore failed and left {}", remaining.join(", "))));
        }
        if let Some(journal) = &self.context.journal
            && let Err(cause) = journal.end().await
        {
            tracing::warn!(%cause, "cannot remove the journal of the failed restore");
        }
        error.context("nothing was restored, the target is as it was")
    }

    /// Says what can be done about what a restore has left.
    fn left_over(&self, error: Error) -> Error {
        match &self.context.journal {
            Some(journal) => error.with_hint(journal.ways_on()),
            None => error,
        }
    }

    /// Drops what earlier runs may have created in their last moments; returns what it could not, or nobody knows whose it is. What
    /// they have created for sure is [remembered](Created).
    async fn drop_of_earlier_runs(&self) -> Vec<String> {
        let (target, past) = (&self.context.deployment, &self.context.past);
        let mut remaining = Vec::new();
        let is_unsure = |number| past.may_have_created(number) && !past.has_created(number);
        for (number, item) in self.items().filter(|(number, _)| is_unsure(*number)) {
            let record = (number, &item.to_record());
            if let Err(cause) = undo::drop_if_ours(target, past, self.plan.request.replace, record).await {
                let namespace = format!("{}.{}", item.db, item.loading_name());
                tracing::warn!(namespace, %cause, "cannot drop what an earlier run may have created");
                remaining.push(namespace);
            }
        }
        remaining
    }

    /// Drops every namespace that this run has created; returns those that it could not.
    async fn drop_created(&self) -> Vec<String> {
        let mut remaining = Vec::new();
        for (db, name) in self.created.list().into_iter().rev() {
            let database = self.context.deployment.client().database(&db);
            if let Err(cause) = mongo_load::drop_collection(&database, &name).await {
                tracing::warn!(namespace = format!("{db}.{name}"), %cause, "cannot drop what the failed restore created");
                remaining.push(format!("{db}.{name}"));
            }
        }
        remaining
    }
}

/// The namespaces that this run has created, and so may drop.
#[derive(Default)]
struct Created(Mutex<Vec<(String, String)>>);

impl Created {
    fn remember(&self, db: &str, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((db.to_owned(), name.to_owned()));
    }

    fn list(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
