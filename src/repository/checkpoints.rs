//! Checkpoints: what a backup that is not committed yet has stored, pack by pack.
//!
//! Each is created once, after its pack was confirmed, by whoever holds the backup's lease. What a crash leaves: a pack
//! without its checkpoint, of which nobody knows what it holds. Then nobody goes on with the backup.

use super::Repository;
use crate::codec::SigningKey;
use crate::codec::signing::CHECKPOINT_PURPOSE;
use crate::error::{Error, Result};
use crate::format::checkpoint::Checkpoint;
use crate::format::{BackupId, layout};
use crate::storage::Entry;

impl Repository {
    /// Signs and creates a checkpoint.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::error::Kind::Refused) when another run has noted that pack; whatever the storage says.
    pub async fn store_checkpoint(&self, checkpoint: &Checkpoint, key: &SigningKey) -> Result<()> {
        let place = layout::checkpoint(&checkpoint.id, checkpoint.number);
        self.create_signed(&place, CHECKPOINT_PURPOSE, checkpoint, key).await.map(drop)
    }

    /// Reads the first checkpoint of a backup, which says what it is of.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when there is none; as those of [`checkpoints`](Self::checkpoints).
    pub async fn first_checkpoint(&self, id: &BackupId) -> Result<Checkpoint> {
        self.checkpoint(id, 1).await
    }

    async fn checkpoint(&self, id: &BackupId, number: u32) -> Result<Checkpoint> {
        let what = format!("checkpoint {number} of {id}");
        let stored = self.storage.read(&layout::checkpoint(id, number), None).await?;
        let payload = self.keys.verify(&what, CHECKPOINT_PURPOSE, &stored)?;
        Checkpoint::parse(payload, &self.descriptor.id, id, number)
    }

    /// Reads the checkpoints of a backup, from the first on without a hole, and what lies there besides.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when one was altered, or a pack is not there as it was noted; whatever
    /// the storage says.
    pub async fn checkpoints(&self, id: &BackupId) -> Result<(Vec<Checkpoint>, Vec<Entry>)> {
        let mut found = self.storage.list(&layout::backup(id)).await?;
        let mut checkpoints = Vec::new();
        for number in 1.. {
            let place = layout::checkpoint(id, number);
            let Some(at) = found.iter().position(|entry| entry.key == place) else { break };
            found.remove(at);
            let checkpoint = self.checkpoint(id, number).await?;
            let pack = &checkpoint.pack.object;
            let is_there = |entry: &Entry| (&entry.key, entry.size) == (&pack.key, pack.size);
            let Some(at) = found.iter().position(is_there) else {
                return Err(Error::damaged(format!("{} is not there as it was stored", pack.key)));
            };
            found.remove(at);
            checkpoints.push(checkpoint);
        }
        Ok((checkpoints, found))
    }
}
