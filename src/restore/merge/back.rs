//! Taking a merge back, and telling first what that does to what others have written since.

use bson::{RawDocument, RawDocumentBuf};

use super::{Merge, Merging, by_id, id_in_words, is_same, key};
use crate::error::Result;
use crate::mongo::{Deployment, documents, load};
use crate::restore::only::Only;
use crate::restore::writes::Writes;

/// How many documents are named before the others are only counted.
const MAX_NAMED: usize = 20;

/// Documents that a restore has written and somebody else has changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedSince {
    /// Those that the restore had replaced: taking it back puts there again what was before it, so the changes are lost.
    pub overwritten: u64,
    /// Those that the restore had added: they stay.
    pub kept: u64,
    /// The first that are overwritten: each collection and `_id`.
    pub examples: Vec<String>,
}

impl ChangedSince {
    /// Whether nobody has changed anything.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.overwritten == 0 && self.kept == 0
    }

    fn overwrites(&mut self, namespace: &str, document: &RawDocument) {
        self.overwritten += 1;
        if self.examples.len() < MAX_NAMED {
            self.examples.push(format!("{namespace} {}", id_in_words(document)));
        }
    }
}

/// What taking a batch back does.
#[derive(Default)]
struct Back {
    put: Vec<RawDocumentBuf>,
    remove: Vec<RawDocumentBuf>,
}

impl Merging<'_> {
    /// Tells what is put back and what is removed of a batch that was written.
    async fn sort(&self, batch: Vec<RawDocumentBuf>, changed: &mut ChangedSince) -> Result<Back> {
        let database = self.target.client().database(&self.merge.db);
        let live = self.live_of(&batch).await?;
        let old = documents::with_ids_of(&database, &self.merge.old, &batch).await?;
        let (live, old) = (by_id(&live), by_id(&old));
        let mut back = Back::default();
        for document in batch {
            match (old.get(&key(&document)), live.get(&key(&document))) {
                // Never written, or taken back by an earlier run.
                (Some(old), Some(live)) if is_same(live, old) => {}
                (Some(old), live) => {
                    if live.is_none_or(|live| !is_same(live, &document)) {
                        changed.overwrites(&self.merge.namespace(), old);
                    }
                    back.put.push((*old).clone());
                }
                (None, Some(live)) if is_same(live, &document) => back.remove.push(document),
                (None, Some(_)) => changed.kept += 1,
                (None, None) => {}
            }
        }
        Ok(back)
    }

    async fn take_back(&self, changed: &mut ChangedSince) -> Result<()> {
        let (database, mut staged) = (self.target.client().database(&self.merge.db), self.staged());
        while let Some(batch) = staged.next().await? {
            let Back { put, remove } = self.sort(batch, changed).await?;
            documents::put(&database, &self.merge.name, &put).await?;
            if !remove.is_empty() {
                documents::remove(&database, &self.merge.name, &remove).await?;
            }
        }
        Ok(())
    }

    async fn look_ahead(&self, changed: &mut ChangedSince) -> Result<()> {
        let mut staged = self.staged();
        while let Some(batch) = staged.next().await? {
            self.sort(batch, changed).await?;
        }
        Ok(())
    }
}

/// Tells what taking everything back would do to what others have written since. Changes nothing.
///
/// # Errors
/// When the server refuses or stays away.
pub(in crate::restore) async fn look_ahead(target: &Deployment, only: &Only, merges: &[Merge]) -> Result<ChangedSince> {
    let (mut changed, writes) = (ChangedSince::default(), Writes::default());
    for merge in merges.iter().filter(|merge| !merge.made) {
        Merging { target, writes: &writes, only, merge }.look_ahead(&mut changed).await?;
    }
    Ok(changed)
}

/// Takes everything back that was merged.
///
/// # Errors
/// When the server refuses or stays away.
pub(in crate::restore) async fn backward(target: &Deployment, only: &Only, merges: &[Merge]) -> Result<ChangedSince> {
    let (mut changed, writes) = (ChangedSince::default(), Writes::default());
    for merge in merges {
        if merge.made {
            load::drop_collection(&target.client().database(&merge.db), &merge.name).await?;
        } else {
            Merging { target, writes: &writes, only, merge }.take_back(&mut changed).await?;
        }
    }
    Ok(changed)
}
