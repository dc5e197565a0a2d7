//! Merging: documents that were loaded beside a live collection go into it, one by one.
//!
//! First everything is settled without touching the live collection ([`settle`]): what it has already is told apart, and what
//! will be replaced is copied aside. Only then is anything written ([`write`]). Both can be done again after a crash, and
//! [`backward`] takes back what was written, and [`look_ahead`] tells first
//! whose changes that undoes. Others go on using the collection meanwhile: a document that is not to be
//! replaced never is, and what somebody has written since is not removed.

mod back;

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Bson, RawDocument, RawDocumentBuf};
use serde::{Deserialize, Serialize};

use super::exchange::Listing;
use super::journal::{Event, Journal};
use super::only::{Mode, Only};
use super::writes::Writes;
use super::{Restore, RestoreItem};
use crate::error::{Error, Result};
use crate::mongo::parts::Part;
use crate::mongo::read::{AsOf, CollectionReader, Reading};
use crate::mongo::{Deployment, documents, load};
use crate::operations::identity::{Element, canonical};

pub use back::ChangedSince;
pub(super) use back::{backward, look_ahead};

/// How many documents are looked up at once.
const BATCH: usize = 1000;

/// What goes into one live collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Merge {
    pub(super) db: String,
    pub(super) name: String,
    /// Where the documents were loaded.
    pub(super) staged: String,
    /// Where those are that were replaced.
    pub(super) old: String,
    /// Whether the live collection was made for them.
    pub(super) made: bool,
}

/// What a merge has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Documents written.
    pub written: u64,
    /// Documents left as they were: those that are there already, as they are or because they were not to be replaced.
    pub left: u64,
}

impl Merge {
    /// Returns what goes where for an item that has been loaded.
    pub(super) fn of(item: &RestoreItem, made: bool) -> Self {
        let staged = item.loading_name().to_owned();
        Self { db: item.db.clone(), name: item.name.clone(), old: format!("{staged}.old"), staged, made }
    }

    /// Returns `db.name` of the live collection.
    pub(super) fn namespace(&self) -> String {
        format!("{}.{}", self.db, self.name)
    }

    /// Returns `db.name` of what was replaced.
    pub(super) fn old_namespace(&self) -> String {
        format!("{}.{}", self.db, self.old)
    }

    /// Drops what is not needed once there is nothing left to do or to undo.
    pub(super) async fn remove(&self, target: &Deployment) -> Result<()> {
        let database = target.client().database(&self.db);
        load::drop_collection(&database, &self.staged).await?;
        load::drop_collection(&database, &self.old).await
    }
}

/// What merging needs.
pub(super) struct Merging<'a> {
    pub(super) target: &'a Deployment,
    pub(super) writes: &'a Writes,
    pub(super) only: &'a Only,
    pub(super) merge: &'a Merge,
}

impl Merging<'_> {
    /// Tells what the live collection has already from what will be written, which alone stays staged; returns how many
    /// documents match, and how many of them are left out. What will be replaced is copied aside.
    pub(super) async fn settle(&self) -> Result<(u64, u64)> {
        let (mut matching, mut left, mut staged) = (0, 0, self.staged());
        while let Some(batch) = staged.next().await? {
            matching += batch.len() as u64;
            let live = self.live_of(&batch).await?;
            if self.only.mode() == Mode::Insert && !live.is_empty() {
                return Err(self.exist(&live));
            }
            let found = by_id(&live);
            let (mut done, mut replaced) = (Vec::new(), Vec::new());
            for document in batch {
                match found.get(&key(&document)) {
                    None => {}
                    Some(there) if self.only.mode() == Mode::Missing || is_same(there, &document) => {
                        done.push(document);
                    }
                    Some(there) => replaced.push((*there).clone()),
                }
            }
            left += done.len() as u64;
            self.set_aside(replaced).await?;
            self.unstage(done).await?;
        }
        Ok((matching, left))
    }

    /// Writes what is staged; returns how many documents.
    pub(super) async fn write(&self) -> Result<u64> {
        let (mut written, mut staged) = (0, self.staged());
        while let Some(batch) = staged.next().await? {
            written += batch.len() as u64;
            let (database, name) = (self.target.client().database(&self.merge.db), self.merge.name.clone());
            let replaces = self.only.mode() == Mode::Upsert;
            let write = async move {
                if replaces {
                    return documents::put(&database, &name, &batch).await;
                }
                for chunk in batch.chunks(load::INSERT_DOCUMENTS) {
                    let chunk: Vec<&RawDocument> = chunk.iter().map(AsRef::as_ref).collect();
                    load::insert(&database, &name, &chunk).await?;
                }
                Ok(())
            };
            self.writes.run(write).await?;
        }
        Ok(written)
    }

    fn staged(&self) -> Staged<'_> {
        let reading =
            Reading { as_of: AsOf::Latest, or_later: None, uuid: None, part: Part::default(), document_bytes: 0 };
        let reader = CollectionReader::new(&self.target.primary(), &self.merge.db, &self.merge.staged, reading);
        Staged { reader, only: self.only, waiting: Vec::new(), is_over: false }
    }

    async fn live_of(&self, batch: &[RawDocumentBuf]) -> Result<Vec<RawDocumentBuf>> {
        let database = self.target.client().database(&self.merge.db);
        documents::with_ids_of(&database, &self.merge.name, batch).await
    }

    async fn set_aside(&self, replaced: Vec<RawDocumentBuf>) -> Result<()> {
        if replaced.is_empty() {
            return Ok(());
        }
        let (database, name) = (self.target.client().database(&self.merge.db), self.merge.old.clone());
        let copy = async move {
            let replaced: Vec<&RawDocument> = replaced.iter().map(AsRef::as_ref).collect();
            load::insert(&database, &name, &replaced).await.map(drop)
        };
        self.writes.run(copy).await
    }

    async fn unstage(&self, done: Vec<RawDocumentBuf>) -> Result<()> {
        if done.is_empty() {
            return Ok(());
        }
        let (database, name) = (self.target.client().database(&self.merge.db), self.merge.staged.clone());
        self.writes.run(async move { documents::remove(&database, &name, &done).await.map(drop) }).await
    }

    fn exist(&self, live: &[RawDocumentBuf]) -> Error {
        let first = live.first().map(|document| format!(", such as the one with _id {}", id_in_words(document)));
        let first = first.unwrap_or_default();
        Error::refused(format!("{} has some of the documents already{first}", self.merge.namespace())).with_hint(
            "--mode missing adds only those that it lacks, --mode upsert puts the backup's in the place of those that it has",
        )
    }
}

impl Restore<'_> {
    /// Puts the documents that were loaded beside into live collections.
    pub(super) async fn merge(&self) -> Result<()> {
        let (Some(only), Some(journal)) = (&self.plan.request.only, &self.context.journal) else { return Ok(()) };
        let left = match self.merges.get() {
            Some(_) => self.context.past.left,
            None => self.settle_merges(only, journal).await?,
        };
        let mut merged = Merged { written: 0, left };
        for merge in self.merges.get().into_iter().flatten() {
            merged.written += self.merging(only, merge).write().await?;
        }
        self.merged.get_or_init(|| merged);
        self.note(Event::Exchanged).await
    }

    /// Finds out what is to be written into live collections, makes those that are missing, and writes that down.
    async fn settle_merges(&self, only: &Only, journal: &Journal) -> Result<u64> {
        let listing =
            Listing::of(&self.context.deployment, self.plan.items.iter().map(|item| item.db.as_str())).await?;
        let (mut merges, mut matching, mut left) = (Vec::new(), 0, 0);
        for (number, item) in self.items() {
            let made = listing.get(&item.db, &item.name).is_none() || self.unmake(number, item).await?;
            if made {
                self.make(number, item, journal).await?;
            }
            let merge = Merge::of(item, made);
            let settled = self.merging(only, &merge).settle().await?;
            (matching, left) = (matching + settled.0, left + settled.1);
            merges.push(merge);
        }
        if matching == 0 {
            return Err(Error::not_found(format!("no document of the backup matches {}", only.text())).with_hint(
                "look at some with 'regrow export'; field names and types must be the documents' own: {\"n\": 5} is not {\"n\": \"5\"}",
            ));
        }
        let noted = merges.clone();
        self.merges.get_or_init(|| merges);
        let journal = journal.clone();
        self.writes.run(async move { journal.note(Event::Merging { merges: noted, left }).await }).await?;
        Ok(left)
    }

    fn merging<'b>(&'b self, only: &'b Only, merge: &'b Merge) -> Merging<'b> {
        Merging { target: &self.context.deployment, writes: &self.writes, only, merge }
    }

    /// Drops the live collection that an earlier run has made, and has perhaps not finished; returns whether there is none now.
    async fn unmake(&self, number: usize, item: &RestoreItem) -> Result<bool> {
        if !self.context.past.made.contains(&number) {
            return Ok(false);
        }
        let (target, db, name) = (self.context.deployment.clone(), item.db.clone(), item.name.clone());
        self.writes.run(async move { drop_unused(&target, &db, &name).await }).await
    }

    /// Makes the live collection for documents that are restored where there is none.
    async fn make(&self, number: usize, item: &RestoreItem, journal: &Journal) -> Result<()> {
        let database = self.context.deployment.client().database(&item.db);
        let (name, record, created) = (item.name.clone(), item.record.clone(), Arc::clone(&self.created));
        let journal = journal.clone();
        let make = async move {
            journal.note(Event::Making { item: number }).await?;
            load::create(&database, &name, &record.options, &record.indexes).await?;
            created.remember(database.name(), &name);
            let indexes: Vec<_> = record.indexes.iter().filter(|index| !load::is_id_index(index)).collect();
            load::create_indexes(&database, &name, &record.options, &indexes).await?;
            load::set_limits(&database, &name, &record.options).await
        };
        self.writes.run(make).await
    }

    /// Drops the copies of documents that were to be replaced, and what an earlier run has made for those that were not written;
    /// returns what it could not.
    pub(super) async fn drop_replaced(&self) -> Vec<String> {
        let mut remaining = Vec::new();
        for (number, item) in self.items().filter(|_| self.plan.request.only.is_some()) {
            if self.merges.get().is_none()
                && let Err(cause) = self.unmake(number, item).await
            {
                tracing::warn!(namespace = item.target(), %cause, "cannot drop what the failed restore created");
                remaining.push(item.target());
            }
            let merge = Merge::of(item, false);
            if let Err(cause) = merge.remove(&self.context.deployment).await {
                tracing::warn!(namespace = merge.old_namespace(), %cause, "cannot drop what the failed restore created");
                remaining.push(merge.old_namespace());
            }
        }
        remaining
    }
}

/// The staged documents that match, in batches of at most [`BATCH`].
struct Staged<'a> {
    reader: CollectionReader,
    only: &'a Only,
    waiting: Vec<RawDocumentBuf>,
    is_over: bool,
}

impl Staged<'_> {
    async fn next(&mut self) -> Result<Option<Vec<RawDocumentBuf>>> {
        while self.waiting.is_empty() && !self.is_over {
            let (only, waiting) = (self.only, &mut self.waiting);
            let more = self.reader.next(|document| {
                if only.matches(document) {
                    waiting.push(document.to_owned());
                }
            });
            self.is_over = !more.await?;
        }
        let behind = self.waiting.split_off(self.waiting.len().min(BATCH));
        let batch = std::mem::replace(&mut self.waiting, behind);
        Ok((!batch.is_empty()).then_some(batch))
    }
}

fn by_id(documents: &[RawDocumentBuf]) -> HashMap<Vec<u8>, &RawDocumentBuf> {
    documents.iter().map(|document| (key(document), document)).collect()
}

/// Returns a document's `_id` as `--where` takes it.
fn id_in_words(document: &RawDocument) -> String {
    let id = document.get("_id").ok().flatten().and_then(|id| Bson::try_from(id).ok());
    id.map_or_else(String::new, |id| id.into_relaxed_extjson().to_string())
}

fn key(document: &RawDocument) -> Vec<u8> {
    canonical(Element::id_of(document))
}

fn is_same(one: &RawDocument, other: &RawDocument) -> bool {
    one.as_bytes() == other.as_bytes()
}

/// Drops a live collection that was made for documents of which none has been written yet; returns whether it did. One that
/// holds documents is somebody else's by now.
///
/// # Errors
/// When the server refuses or stays away.
pub(super) async fn drop_unused(target: &Deployment, db: &str, name: &str) -> Result<bool> {
    let database = target.client().database(db);
    if load::has_documents(&database, name).await? {
        return Ok(false);
    }
    load::drop_collection(&database, name).await.map(|()| true)
}

/// Returns the namespaces in which documents are that were replaced.
///
/// # Errors
/// When the server does not answer or a privilege is missing.
pub(super) async fn set_aside(target: &Deployment, merges: &[Merge]) -> Result<Vec<String>> {
    let listing = Listing::of(target, merges.iter().map(|merge| merge.db.as_str())).await?;
    let made = merges.iter().filter(|merge| listing.get(&merge.db, &merge.old).is_some());
    Ok(made.map(Merge::old_namespace).collect())
}
