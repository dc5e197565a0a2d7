//! Increments: backups that hold what has changed since another one.
//!
//! The host that takes backups cannot open them. What it needs to know of the parent stands in that one's manifest: its
//! moment, and a mark for each collection that it shows. What has changed since stands in the source's own oplog. It is
//! read before the cluster time is taken, because reading a day of it may take longer than a server keeps a moment
//! readable; what was written meanwhile is read behind it. Whatever is in doubt is taken whole, and where too much is, all
//! of it ([0028](../../docs/decisions/0028-increments.md)).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bson::Timestamp;
use tokio::time::Instant;

use super::parent::{self, Destination, mark};
use super::plan::{BackupPlan, BackupRequest, PlannedNamespace};
use super::touched::{OfCollection, Touched, TouchedIds};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::{ClusterTime, RepositoryId};
use crate::mongo::by_id::ID_INDEX;
use crate::mongo::oplog::{self, Tail, Tailed};
use crate::mongo::{Deployment, NamespaceKind, Node};
use crate::random::Random;
use crate::units::{MIB, Moment};

/// The share of what there is that an increment may cost, in percent, unless the configuration says otherwise.
pub const DEFAULT_SHARE: u8 = 30;

/// The most `_id`s that increments which build on each other name: whoever restores holds those of a collection in memory,
/// about 40 bytes each.
const MOST_TOUCHED_OF_CHAIN: u64 = 4_000_000;

/// The least of the oplog that is read before it counts as too much; beyond, no more than the parent has of documents.
const OPLOG_BYTES: u64 = 256 * MIB as u64;

/// How long the oplog is waited for where nothing comes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Of a collection of which so many parts of all documents were touched, or more, it is faster to read all.
const WHOLE_FROM: u64 = 2;

/// When a backup may be an increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncrementSettings {
    /// The share of what there is that it may cost at most, in percent.
    pub share: u8,
}

impl Default for IncrementSettings {
    fn default() -> Self {
        Self { share: DEFAULT_SHARE }
    }
}

/// What an increment takes.
#[derive(Debug, Clone)]
pub struct IncrementPlan {
    /// What it builds on.
    pub parent: Manifest,
    /// What is taken of each namespace of the plan.
    pub takes: Vec<Take>,
    /// How many `_id`s were touched.
    pub touched: u64,
}

/// What is taken of a namespace.
#[derive(Debug, Clone)]
pub enum Take {
    /// All of it.
    Whole,
    /// The documents with these `_id`s; the rest is in the parent.
    Changes(Arc<TouchedIds>),
}

/// Why a backup is a full one, although an increment was asked for.
#[derive(Debug)]
pub struct WhyFull(String);

impl fmt::Display for WhyFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for WhyFull {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for WhyFull {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

/// Plans a backup: an increment where `settings` are given and it is possible, else a full one; then it tells why.
///
/// # Errors
/// As those of [`BackupPlan::make`].
pub async fn plan(
    deployment: &Deployment,
    request: BackupRequest,
    settings: Option<IncrementSettings>,
    destination: Destination<'_>,
    (clock, random): (&Clock, &Random),
) -> Result<(BackupPlan, Option<WhyFull>)> {
    // What was limited to chosen namespaces nothing is known of that an increment could build on.
    let Some(settings) = settings.filter(|_| request.patterns.is_empty()) else {
        return Ok((BackupPlan::make(deployment, request, clock, random).await?, None));
    };
    let begun = Gathering::begin(deployment, &request, destination, random).await;
    let mut plan = BackupPlan::make(deployment, request, clock, random).await?;
    let outcome = match begun {
        Ok(gathering) => gathering.finish(&plan, settings, destination.repository.id()).await,
        Err(why) => Err(why),
    };
    Ok(match outcome {
        Ok(increment) => {
            plan.increment = Some(increment);
            (plan, None)
        }
        Err(why) => (plan, Some(why)),
    })
}

/// The oplog being read since a parent's moment.
struct Gathering {
    parent: Manifest,
    touched: Touched,
    reached: ClusterTime,
    /// How many bytes of it were read.
    read: u64,
    /// Whether the entry of the parent's moment was in it: without, it is another history, such as that of a source which was
    /// put back to an earlier state.
    has_moment: bool,
}

impl Gathering {
    /// Finds the parent and reads what was written since, up to now.
    async fn begin(
        deployment: &Deployment,
        request: &BackupRequest,
        destination: Destination<'_>,
        random: &Random,
    ) -> Result<Self, WhyFull> {
        let Some(now) = deployment.committed_time().await? else {
            return Err("a standalone server has no oplog that tells what has changed".to_owned().into());
        };
        let node = deployment.node_to_read().await?;
        let replica_set_id = oplog::replica_set_id(&node).await?;
        let wall = ClusterTime::from(now).wall();
        let (parent, reached) = parent::find(request, destination, &replica_set_id, wall).await?;
        node.wait_for(now).await?;
        let has_moment = parent.cluster_time == Some(reached);
        let mut gathering = Self { parent, touched: Touched::new(random), reached, read: 0, has_moment };
        gathering.read(&node, now).await?;
        if !gathering.has_moment {
            let id = &gathering.parent.id;
            return Err(format!("the source's oplog does not hold the moment that {id} shows: it was put back").into());
        }
        Ok(gathering)
    }

    /// Reads on up to a moment, or a little further.
    async fn read(&mut self, node: &Node, until: Timestamp) -> Result<()> {
        if self.reached >= until.into() {
            return Ok(());
        }
        let mut tail = Tail::open(node, self.reached.into()).await?;
        let mut progress_at = Instant::now();
        while self.reached < until.into() {
            let Tailed::Batch(batch) = tail.next().await? else {
                return Err(Error::failed(format!(
                    "the oplog does not reach back to {} any more",
                    Moment(self.reached.wall())
                )));
            };
            let (before, mut outcome) = (self.reached, Ok(()));
            batch.for_each(|entry, time| {
                if outcome.is_ok() {
                    outcome = self.touched.follow(entry);
                    self.reached = time.into();
                    self.has_moment |= self.parent.cluster_time == Some(self.reached);
                }
            })?;
            outcome?;
            self.read += batch.bytes() as u64;
            if self.read > self.parent.bytes_raw.max(OPLOG_BYTES) {
                return Err(Error::failed("the oplog since then is larger than the data"));
            }
            if self.reached > before {
                progress_at = Instant::now();
            } else if progress_at.elapsed() > PATIENCE {
                return Err(Error::failed("the node does not show the oplog up to the backup's moment"));
            }
        }
        Ok(())
    }

    /// Reads the rest and decides what is taken of each namespace.
    async fn finish(
        mut self,
        plan: &BackupPlan,
        settings: IncrementSettings,
        repository: &RepositoryId,
    ) -> Result<IncrementPlan, WhyFull> {
        let at = plan.at.ok_or_else(|| "the backup shows no single moment".to_owned())?;
        if plan.replica_set_id != self.parent.replica_set_id {
            return Err("the source became another replica set".to_owned().into());
        }
        self.read(&plan.node, at).await?;
        let takes: Vec<Take> = plan.namespaces.iter().map(|planned| self.take(planned, repository)).collect();
        let (cost, all) = (cost(&takes, &plan.namespaces), plan.bytes());
        if u128::from(cost) * 100 > u128::from(all) * u128::from(settings.share) {
            let percent = u128::from(cost) * 100 / u128::from(all.max(1));
            return Err(format!("{percent} % has changed, more than the {} % of an increment", settings.share).into());
        }
        let touched = takes.iter().map(Take::touched).sum();
        let before = self.parent.incremental.as_ref().map_or(0, |increment| increment.chain_touched);
        if before + touched > MOST_TOUCHED_OF_CHAIN {
            return Err("the increments since the last full backup name as many documents as they may"
                .to_owned()
                .into());
        }
        Ok(IncrementPlan { parent: self.parent, takes, touched })
    }

    fn take(&mut self, planned: &PlannedNamespace, repository: &RepositoryId) -> Take {
        let namespace = &planned.namespace;
        let Some(uuid) = namespace.uuid.filter(|_| namespace.has_documents()) else { return Take::Whole };
        if self.parent.collections.binary_search(&mark(repository, &uuid)).is_err() {
            return Take::Whole;
        }
        // Where single documents are not read by their _id, or say little, or their order counts.
        let is_plain = namespace.kind == NamespaceKind::Collection
            && !namespace.is_ordered()
            && namespace.indexes.iter().any(|index| index.get_str("name").is_ok_and(|name| name == ID_INDEX))
            && !matches!(namespace.options.get("clusteredIndex"), Ok(Some(_)));
        match self.touched.take(&uuid) {
            None => Take::Changes(Arc::new(self.touched.none())),
            Some(OfCollection::Ids(ids)) if is_plain && ids.count() * WHOLE_FROM < planned.documents => {
                Take::Changes(Arc::new(ids.in_order()))
            }
            Some(OfCollection::Ids(_) | OfCollection::Whole) => Take::Whole,
        }
    }
}

impl Take {
    /// Returns how many `_id`s were touched.
    pub(super) fn touched(&self) -> u64 {
        match self {
            Self::Whole => 0,
            Self::Changes(ids) => ids.count(),
        }
    }
}

/// Returns about how many bytes of documents are read.
pub(super) fn cost(takes: &[Take], namespaces: &[PlannedNamespace]) -> u64 {
    let costs = takes.iter().zip(namespaces).map(|(take, planned)| match take {
        Take::Whole => planned.bytes,
        Take::Changes(ids) => ids.count() * planned.document_bytes(),
    });
    costs.sum()
}
