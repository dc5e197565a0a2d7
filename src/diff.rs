//! Comparing a backup with a live database: which documents were added, removed or changed since, by their `_id`.
//!
//! [`DiffPlan::make`] pairs what the backup holds with what is live and takes the moment to read; [`execute`] reads and
//! compares one pair after the other. Both sides become [records](records) of one size, sorted in unnamed files, so a
//! collection may be of any size: memory is bounded, files take 40 bytes for each document of either side. Nothing is
//! written to the database or to the repository, and a crash leaves nothing.
//!
//! Documents are equal when their bytes are; their order is not compared. `_id`s are told apart [as the server
//! does](identity). A time series is compared by its buckets.

mod compare;
mod plan;
mod read;
mod records;
mod structure;

use bson::RawDocument;
use serde::Serialize;

pub use plan::{DiffPlan, DiffRequest, Pair};
pub use structure::IndexDifference;

use compare::Comparison;

use records::Records;

use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::catalog::CollectionKind;
use crate::mongo::Deployment;
use crate::operations::identity::IdentityKey;
use crate::progress::{Progress, Step};
use crate::random::Random;
use crate::repository::SegmentReader;

/// What became of something since the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is live and not in the backup.
    Added,
    /// It is in the backup and not live.
    Removed,
    /// It is in both, and not the same.
    Changed,
}

/// On which sides a namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// On both.
    Both,
    /// Only in the backup.
    Backup,
    /// Only in the live database.
    Live,
}

/// How many documents there are of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// The same on both sides, byte for byte.
    pub same: u64,
    /// Live only.
    pub added: u64,
    /// In the backup only.
    pub removed: u64,
    /// On both sides, and different.
    pub changed: u64,
}

impl Counts {
    fn is_same(&self) -> bool {
        (self.added, self.removed, self.changed) == (0, 0, 0)
    }
}

/// How a namespace differs.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionDiff {
    /// Its live name.
    pub namespace: String,
    /// Its name in the backup; that of the namespace where the backup lacks it.
    pub from: String,
    /// What it is, in the backup where it is there.
    pub kind: CollectionKind,
    /// Where it is.
    pub presence: Presence,
    /// The moment at which it was read live; none where there is no single one, or nothing was read.
    pub as_of: Option<ClusterTime>,
    /// Its documents; buckets, of a time series.
    pub counts: Counts,
    /// The options that differ.
    pub options: Vec<String>,
    /// The indexes that differ.
    pub indexes: Vec<IndexDifference>,
}

impl CollectionDiff {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.presence == Presence::Both && self.counts.is_same() && self.options.is_empty() && self.indexes.is_empty()
    }
}

/// Who is told what is found, as soon as it is.
pub trait Listener {
    /// Takes the `_id` of a document that differs, as the only field of `id`; an empty one where it has none. All of a
    /// namespace come before it is told as a whole.
    ///
    /// # Errors
    /// Whatever ends the comparison.
    fn document(&mut self, namespace: &str, change: Change, id: &RawDocument) -> Result<()>;

    /// Takes a namespace that has been compared.
    ///
    /// # Errors
    /// Whatever ends the comparison.
    fn collection(&mut self, found: &CollectionDiff) -> Result<()>;
}

/// What is read, and who is shown how far it has come.
pub struct DiffContext {
    /// The live database.
    pub deployment: Deployment,
    /// The backup's segments.
    pub segments: SegmentReader,
    /// What shows how far it has come.
    pub progress: Progress,
    /// Where the key comes from under which `_id`s are hashed.
    pub random: Random,
}

/// Compares as planned and tells `listener`.
///
/// # Errors
/// [`Kind::Damaged`](crate::error::Kind::Damaged) when a segment is not what was written; whatever the server, the
/// storage, the disk or the listener says.
pub async fn execute(plan: &DiffPlan, context: &DiffContext, listener: &mut impl Listener) -> Result<()> {
    context.progress.expect(2 * plan.bytes());
    let key = IdentityKey::random(&context.random);
    for pair in &plan.pairs {
        let found = pair_of(plan, pair, context, &key, listener).await?;
        listener.collection(&found)?;
    }
    Ok(())
}

async fn pair_of(
    plan: &DiffPlan,
    pair: &Pair,
    context: &DiffContext,
    key: &IdentityKey,
    listener: &mut impl Listener,
) -> Result<CollectionDiff> {
    let empty = || Records::new(key, plan.listed > 0);
    let progress = context.progress.part(pair.namespace(), 2 * pair.backup.as_ref().map_or(0, |item| item.bytes));
    progress.step(Step::Reading);
    let (live, as_of) = read::live(plan, pair, context, &progress, empty).await?;
    let counts = match &pair.backup {
        // What was read live is what was read for the backup: it need not be read again to know that.
        Some(item) if live.is_content_of(item) => {
            progress.add(0, item.bytes, 0);
            Counts { same: item.documents, ..Counts::default() }
        }
        // Everything of it is missing, and nobody asks for names.
        Some(item) if pair.live.is_none() && plan.listed == 0 && item.changes.is_none() => {
            Counts { removed: item.documents, ..Counts::default() }
        }
        _ => {
            let backup = read::backup(pair, context, &progress, empty()).await?;
            compare(pair, backup, live, plan.listed, listener).await?
        }
    };
    Ok(CollectionDiff {
        namespace: pair.namespace(),
        from: pair.from(),
        kind: pair.kind(),
        presence: pair.presence(),
        as_of,
        counts,
        options: structure::options(pair),
        indexes: structure::indexes(pair),
    })
}

/// Compares the records of both sides; tells up to `listed` documents that differ.
async fn compare(
    pair: &Pair,
    backup: Records,
    live: Records,
    listed: u64,
    listener: &mut impl Listener,
) -> Result<Counts> {
    let mut comparison = in_background(move || Comparison::new(backup, live, listed)).await?;
    let namespace = pair.namespace();
    loop {
        let (advanced, found) = in_background(move || {
            let found = comparison.advance()?;
            Ok((comparison, found))
        })
        .await?;
        comparison = advanced;
        for (change, id) in &found {
            listener.document(&namespace, *change, id)?;
        }
        if found.is_empty() {
            return Ok(comparison.counts());
        }
    }
}

/// Runs what hashes, sorts or uses files where it holds up nobody.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.map_err(|error| Error::failed("a comparison stopped").caused_by(error))?
}
