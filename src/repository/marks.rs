//! Marking backups as held or expired, and removing what has expired.
//!
//! A backup is removed manifest first: with that it ceases to exist, whatever happens to the rest. Its mark goes last,
//! so that a removal that was interrupted is known as one.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Repository;
use crate::codec::SigningKey;
use crate::codec::signing::MARK_PURPOSE;
use crate::error::{Kind, Result};
use crate::format::mark::{Mark, MarkKind};
use crate::format::{BackupId, VERSION, layout};
use crate::storage::{StorageError, StorageResult};

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

    /// Returns a backup's mark of a kind, if it has one.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when it was altered; whatever the storage says.
    pub async fn mark(&self, kind: MarkKind, id: &BackupId) -> Result<Option<Mark>> {
        let key = layout::mark(kind, id);
        let Some(document) = self.find(&key).await? else { return Ok(None) };
        let payload = self.keys.verify(&key, MARK_PURPOSE, &document);
        let mark = payload.and_then(|payload| Mark::parse(payload, &self.descriptor.id, kind, id));
        mark.map(Some).map_err(|error| {
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
        };
        match self.create_signed(&layout::mark(kind, id), MARK_PURPOSE, &mark, key).await {
            Err(error) if error.kind() == Kind::Refused => self.mark(kind, id).await.map(drop),
            placed => placed.map(drop),
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
    /// [`Kind::NotFound`] when its removal was faster, [`Kind::Damaged`] when that of something it builds on was; whatever the
    /// storage says.
    pub async fn bring_back(&self, id: &BackupId) -> Result<bool> {
        let had_expired = self.mark(MarkKind::Expired, id).await?.is_some();
        if had_expired {
            self.lift_mark(MarkKind::Expired, id).await?;
        }
        let manifest = self.manifest(id).await?;
        for parent in self.chain(&manifest).await?.iter().skip(1) {
            // Credentials that may not delete are asked to only where there is something.
            if !matches!(self.mark(MarkKind::Expired, &parent.id).await, Ok(None)) {
                self.lift_mark(MarkKind::Expired, &parent.id).await?;
            }
        }
        self.chain(&manifest).await?;
        Ok(had_expired)
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
