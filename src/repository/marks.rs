//! Marking backups as held or expired, and removing what has expired.
//!
//! A backup is removed manifest first: with that it ceases to exist, whatever happens to the rest. Its mark goes last,
//! so that a removal that was interrupted is known as one.
//!
//! Whoever removes an expired backup, and whoever brings it back, write so into the mark of its expiry before anything else,
//! by replacing the mark that they have read. Of the two one succeeds, and the other finds out: nobody is told that a backup
//! stays which is then removed.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;

use super::{Repository, writer};
use crate::codec::SigningKey;
use crate::codec::signing::MARK_PURPOSE;
use crate::error::{Error, Kind, Result};
use crate::format::mark::{Fate, Mark, MarkKind};
use crate::format::{BackupId, VERSION, layout};
use crate::storage::{StorageError, StorageResult};

/// How often a mark that somebody else has replaced is read again: it is replaced no more than twice while one is at it.
const DECISIONS: u32 = 4;

impl Repository {
    /// Returns all marks of a kind.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when one was altered; whatever the storage says.
    pub async fn marks(&self, kind: MarkKind) -> Result<BTreeMap<BackupId, Mark>> {
        let mut marks = BTreeMap::new();
        for entry in self.storage.list(layout::marks(kind)).await? {
            let Some(id) = layout::marked(kind, &entry.key) else { continue };
            // One that vanished meanwhile was taken back.
            if let Some(mark) = self.mark(kind, &id).await? {
                marks.insert(id, mark);
            }
        }
        Ok(marks)
    }

    /// Returns a backup's mark of a kind, if it has one that is not being taken back.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when it was altered; whatever the storage says.
    pub async fn mark(&self, kind: MarkKind, id: &BackupId) -> Result<Option<Mark>> {
        let stored = self.stored_mark(kind, id).await?.map(|(mark, _)| mark);
        Ok(stored.filter(|mark| mark.fate != Some(Fate::Return)))
    }

    /// Returns a mark, and the object as it is stored.
    async fn stored_mark(&self, kind: MarkKind, id: &BackupId) -> Result<Option<(Mark, Bytes)>> {
        let key = layout::mark(kind, id);
        let Some(document) = self.find(&key).await? else { return Ok(None) };
        let payload = self.keys.verify(&key, MARK_PURPOSE, &document);
        let mark = payload.and_then(|payload| Mark::parse(payload, &self.descriptor.id, kind, id));
        mark.map(|mark| Some((mark, document.clone()))).map_err(|error| {
            error.with_hint(format!(
                "nothing expires until it is clear who wrote it; then remove {key}, and mark {id} anew"
            ))
        })
    }

    /// Marks a backup; one that is marked so already stays as it is.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn place_mark(
        &self,
        kind: MarkKind,
        id: &BackupId,
        reason: &str,
        now: Timestamp,
        key: &SigningKey,
    ) -> Result<()> {
        let mark = Mark {
            format: Mark::FORMAT.into(),
            version: VERSION,
            repository: self.descriptor.id.clone(),
            backup: id.clone(),
            kind,
            reason: reason.into(),
            placed_at: now,
            fate: None,
        };
        let place = layout::mark(kind, id);
        match self.create_signed(&place, MARK_PURPOSE, &mark, key).await {
            Err(error) if error.kind() == Kind::Refused => {}
            placed => return placed.map(drop),
        }
        if self.mark(kind, id).await?.is_none() {
            // Whoever took it back was interrupted.
            self.lift_mark(kind, id).await?;
            self.create_signed(&place, MARK_PURPOSE, &mark, key).await?;
        }
        Ok(())
    }

    /// Begins the removal of an expired backup, unless it has been brought back; returns whether it may go on.
    ///
    /// # Errors
    /// Whatever the storage says; then the removal may have begun, and the next run goes on with it.
    pub async fn begin_removal(&self, id: &BackupId, key: &SigningKey) -> Result<bool> {
        Ok(self.decide(id, Fate::Removal, key).await? == Some(Fate::Removal))
    }

    /// Takes back that a backup is being removed, of which nothing was removed: it can be brought back as before.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn give_up_removal(&self, id: &BackupId, key: &SigningKey) -> Result<()> {
        match self.stored_mark(MarkKind::Expired, id).await? {
            Some((mark, stored)) if mark.fate == Some(Fate::Removal) => {
                self.replace_mark(stored, &Mark { fate: None, ..mark }, key).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Writes into the mark of an expiry what becomes of the backup, unless that is decided already. Returns what is decided;
    /// none where there is no such mark.
    async fn decide(&self, id: &BackupId, fate: Fate, key: &SigningKey) -> Result<Option<Fate>> {
        for _ in 0..DECISIONS {
            let Some((mark, stored)) = self.stored_mark(MarkKind::Expired, id).await? else { return Ok(None) };
            if mark.fate.is_some() {
                return Ok(mark.fate);
            }
            if self.replace_mark(stored, &Mark { fate: Some(fate), ..mark }, key).await? {
                return Ok(Some(fate));
            }
        }
        Err(Error::failed(format!("the mark of {id} changes again and again")).with_hint("try again"))
    }

    /// Replaces the mark that was read; returns false where that is not there any more.
    async fn replace_mark(&self, stored: Bytes, mark: &Mark, key: &SigningKey) -> Result<bool> {
        let place = layout::mark(mark.kind, &mark.backup);
        let document = writer::signed(&place, MARK_PURPOSE, mark, key)?;
        match self.storage.replace(&place, stored, document).await {
            Ok(()) => Ok(true),
            Err(StorageError::Changed { .. } | StorageError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a mark back; one that is not there is not an error.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn lift_mark(&self, kind: MarkKind, id: &BackupId) -> StorageResult<()> {
        self.storage.delete(&layout::mark(kind, id)).await
    }

    /// Takes a backup's expiry back, and that of everything that it builds on; returns whether it had expired.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when its removal was faster, or that of something it builds on, [`Kind::Damaged`] when something it
    /// builds on is gone; whatever the storage says.
    pub async fn bring_back(&self, id: &BackupId, key: &SigningKey) -> Result<bool> {
        let had_expired = self.lift_expiry(id, key).await?;
        let manifest = self.manifest(id).await?;
        for parent in self.chain(&manifest).await?.iter().skip(1) {
            self.lift_expiry(&parent.id, key).await?;
        }
        self.chain(&manifest).await?;
        Ok(had_expired)
    }

    /// Takes the expiry of one backup back, where it has one; returns whether it had.
    async fn lift_expiry(&self, id: &BackupId, key: &SigningKey) -> Result<bool> {
        match self.decide(id, Fate::Return, key).await? {
            None => Ok(false),
            Some(Fate::Return) => Ok(self.lift_mark(MarkKind::Expired, id).await.map(|()| true)?),
            Some(Fate::Removal) => {
                Err(Error::not_found(format!("{id} is being removed: the grace period of its expiry is over"))
                    .with_hint("'regrow list' shows what stays; a backup whose removal was interrupted is kept by a hold from the next expiry on"))
            }
        }
    }

    /// Whether a backup exists: its manifest does.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn has_backup(&self, id: &BackupId) -> StorageResult<bool> {
        match self.storage.size(&layout::manifest(id)).await {
            Ok(_) => Ok(true),
            Err(StorageError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes everything of a backup, and at the end the mark of its expiry. May be repeated after an error.
    ///
    /// # Errors
    /// Whatever the storage says; then the backup is whole, or does not exist and has left objects that nothing reads.
    pub async fn remove_backup(&self, id: &BackupId) -> StorageResult<()> {
        self.storage.delete(&layout::manifest(id)).await?;
        for entry in self.storage.list(&layout::backup(id)).await? {
            self.storage.delete(&entry.key).await?;
        }
        self.storage.delete(&layout::backup_lease(id)).await?;
        self.lift_mark(MarkKind::Expired, id).await
    }
}
