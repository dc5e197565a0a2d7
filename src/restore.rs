//! Restoring a backup.
//!
//! [`Recovery::survey`] looks ahead at the oplog, where a moment behind a backup is asked for or the backup brings one
//! along; [`RestorePlan::make`] settles what goes where and refuses when anything is in the way; [`execute`] creates,
//! loads, proves, replays and indexes. Nothing that existed before is touched. After a failure or an
//! interruption the namespaces that this run created are dropped again, so nothing partial stays behind;
//! a run that was killed leaves its namespaces, and the next one refuses and names them.

mod entries;
mod load;
mod plan;
mod replay;
mod survey;
mod way;

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

pub use entries::Entries;
pub use load::read_back;
pub use plan::{RestoreItem, RestorePlan, RestoreRequest, estimate};
pub use replay::Replayed;
pub use survey::Recovery;
pub use way::Way;

use crate::error::{Error, Kind, Result};
use crate::format::evidence;
use crate::mongo::{Deployment, accounts, load as mongo_load};
use crate::progress::Progress;
use crate::repository::SegmentReader;

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
    /// Users and roles added.
    pub accounts: usize,
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
}

/// Restores as planned. `stop` ends it early, and what it created is dropped again.
///
/// # Errors
/// [`Kind::Damaged`] when stored data is not what was written, or the restored documents are not the ones
/// that were read; [`Kind::Interrupted`] when `stop` came first; whatever the server or the storage says.
pub async fn execute(
    plan: &RestorePlan,
    context: &RestoreContext,
    stop: impl Future<Output = ()>,
) -> Result<RestoreSummary> {
    let restore = Restore::new(plan, context);
    let steps = async {
        restore.load().await?;
        restore.finish().await
    };
    let outcome = tokio::select! {
        outcome = steps => outcome,
        () = stop => Err(Error::new(Kind::Interrupted, "the restore was interrupted")),
    };
    match outcome {
        Ok(summary) => Ok(summary),
        Err(error) => Err(restore.undo(error).await),
    }
}

/// One restore under way, in two steps: between them everything is there, and the server deletes nothing yet.
pub struct Restore<'a> {
    plan: &'a RestorePlan,
    context: &'a RestoreContext,
    created: Arc<Created>,
    writes: Writes,
    begun: Instant,
    phases: Phases,
    replayed: OnceLock<Replayed>,
}

impl<'a> Restore<'a> {
    /// Prepares one; nothing is touched yet.
    #[must_use]
    pub fn new(plan: &'a RestorePlan, context: &'a RestoreContext) -> Self {
        Self {
            plan,
            context,
            created: Arc::default(),
            writes: Writes::default(),
            begun: Instant::now(),
            phases: Phases::default(),
            replayed: OnceLock::new(),
        }
    }

    /// Loads, proves, replays and indexes everything but what lets the server delete documents. Whoever drops the future
    /// calls [`undo`](Self::undo).
    ///
    /// # Errors
    /// As those of [`execute`].
    pub async fn load(&self) -> Result<()> {
        self.context.progress.expect(self.plan.bytes() + self.plan.recovery.as_ref().map_or(0, Recovery::bytes));
        load::collections(self).await?;
        if let Some(recovery) = &self.plan.recovery {
            let replayed = self.phases.time("replay", replay::replay(self, recovery)).await?;
            self.replayed.get_or_init(|| replayed);
            load::all_indexes(self).await?;
        }
        // Views refer to collections, so they come when those are there.
        for item in self.plan.items.iter().filter(|item| item.is_view()) {
            self.create(item).await?;
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
        self.phases.time("indexes", self.limits()).await?;
        Ok(RestoreSummary {
            namespaces: self.plan.items.len() as u64,
            documents: self.plan.documents(),
            bytes: self.plan.bytes(),
            replayed: self.replayed.get().copied(),
            accounts: added,
            elapsed: self.begun.elapsed(),
            phases: self.phases(),
        })
    }

    /// Returns how long each phase took so far.
    #[must_use]
    pub fn phases(&self) -> Vec<(&'static str, Duration)> {
        self.phases.list()
    }

    async fn limits(&self) -> Result<()> {
        for item in &self.plan.items {
            let database = self.context.deployment.client().database(&item.db);
            let expiring = item.record.indexes.iter().filter(|index| mongo_load::expires(index));
            self.create_indexes(item, expiring.cloned().collect()).await?;
            mongo_load::set_limits(&database, &item.name, &item.record.options).await?;
        }
        Ok(())
    }

    /// Creates an item's collection, time series or view, and remembers that this run did.
    async fn create(&self, item: &RestoreItem) -> Result<()> {
        let database = self.context.deployment.client().database(&item.db);
        let (name, created) = (item.name.clone(), Arc::clone(&self.created));
        let (options, indexes) = (item.record.options.clone(), item.record.indexes.clone());
        let create = async move {
            mongo_load::create(&database, &name, &options, &indexes).await?;
            created.remember(database.name(), &name);
            Ok(())
        };
        self.writes.run(create).await
    }

    async fn create_indexes(&self, item: &RestoreItem, indexes: Vec<RawDocumentBuf>) -> Result<()> {
        let (database, name) = (self.context.deployment.client().database(&item.db), item.name.clone());
        let options = item.record.options.clone();
        let create = async move {
            let indexes: Vec<_> = indexes.iter().collect();
            mongo_load::create_indexes(&database, &name, &options, &indexes).await
        };
        self.writes.run(create).await
    }

    /// Drops what this restore created, and returns the error that made it necessary with what became of the target.
    pub async fn undo(&self, error: Error) -> Error {
        // Once to end what still runs on the server, such as an index build, and again when nothing of ours
        // runs any more: an insert that came after the first drop has brought its collection back.
        self.drop_created().await;
        self.writes.settle().await;
        let remaining = self.drop_created().await;
        if remaining.is_empty() {
            error.context("nothing was restored, the target is as it was")
        } else {
            error.context(format!("the restore failed and left {}", remaining.join(", ")))
        }
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

/// For how long each kind of step was under way.
#[derive(Default)]
struct Phases(Mutex<Vec<Phase>>);

/// A kind of step.
#[derive(Clone)]
struct Phase {
    name: &'static str,
    /// How many of its steps are under way, and since when any is.
    under_way: u32,
    since: Instant,
    /// For how long any was before.
    before: Duration,
}

impl Phases {
    /// Runs a step and counts its time to the phase `name`.
    async fn time<T>(&self, name: &'static str, step: impl Future<Output = T>) -> T {
        self.begin(name);
        let outcome = step.await;
        self.end(name);
        outcome
    }

    fn begin(&self, name: &'static str) {
        let mut phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match phases.iter_mut().find(|phase| phase.name == name) {
            Some(phase) => {
                phase.since = if phase.under_way == 0 { now } else { phase.since };
                phase.under_way += 1;
            }
            None => phases.push(Phase { name, under_way: 1, since: now, before: Duration::ZERO }),
        }
    }

    fn end(&self, name: &'static str) {
        let mut phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(phase) = phases.iter_mut().find(|phase| phase.name == name) {
            phase.under_way -= 1;
            phase.before += if phase.under_way == 0 { phase.since.elapsed() } else { Duration::ZERO };
        }
    }

    fn list(&self) -> Vec<(&'static str, Duration)> {
        let phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        phases.iter().map(|phase| (phase.name, phase.before)).collect()
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

/// The writes that are under way.
///
/// A write whose future is dropped still happens on the server. So each runs as a task of its own, which
/// ends only with the server's answer, and [`settle`](Writes::settle) waits for all of them.
#[derive(Default)]
struct Writes(Arc<RwLock<()>>);

impl Writes {
    async fn run<T: Send + 'static>(&self, write: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        ended(self.begin(write).await).await
    }

    /// Begins a write and leaves it to the caller to wait for its end.
    async fn begin<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T>> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let under_way = Arc::clone(&self.0).read_owned().await;
        tokio::spawn(async move {
            let outcome = write.await;
            drop(under_way);
            outcome
        })
    }

    async fn settle(&self) {
        drop(self.0.write().await);
    }
}

/// Waits for a write that was begun.
async fn ended<T>(write: JoinHandle<Result<T>>) -> Result<T> {
    write.await.map_err(|error| Error::failed("a write stopped").caused_by(error))?
}
