//! The lease of one backup: of all that would go on with it, or remove what it has left, one does.
//!
//! A backup takes it when it notes for the first time what it has stored. What a crash leaves is a lease that stands
//! still, and on the same machine is over at once.

use std::collections::BTreeMap;

use super::Repository;
use super::lease::{Applicant, HeldLease, held_by};
use crate::clock::Clock;
use crate::codec::SigningKey;
use crate::error::{Error, Kind, Result};
use crate::format::lease::Lease;
use crate::format::{BackupId, layout};
use crate::owner::Owner;
use crate::random::Random;

impl Repository {
    /// Reads the lease of a backup that is or was being taken; none where it has noted nothing yet.
    ///
    /// # Errors
    /// As those of [`lease`](Self::lease).
    pub async fn backup_lease(&self, id: &BackupId) -> Result<Option<Lease>> {
        Ok(self.stored_lease(&layout::backup_lease(id)).await?.map(|(lease, _)| lease))
    }

    /// Reads the leases of all such backups. One that was altered is as good as none.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn backup_leases(&self) -> Result<BTreeMap<BackupId, Lease>> {
        let mut leases = BTreeMap::new();
        for entry in self.storage.list(layout::BACKUP_LEASES).await? {
            let Some(id) = layout::leased_backup(&entry.key) else { continue };
            match self.backup_lease(&id).await {
                Ok(lease) => leases.extend(lease.map(|lease| (id, lease))),
                Err(error) if error.kind() == Kind::Damaged => tracing::warn!(%error, key = entry.key, "passed over"),
                Err(error) => return Err(error),
            }
        }
        Ok(leases)
    }

    /// Takes the lease of one backup, if it is as it was `seen`, or was not: whoever has it may go on with what is unfinished, or
    /// remove it. That a holder is gone the caller knows, by whatever means; clocks tell nothing here.
    ///
    /// # Errors
    /// [`Kind::LeaseHeld`] when it is another by now; [`Kind::Configuration`] where the store cannot keep two from holding it;
    /// whatever the storage says.
    pub async fn acquire_backup(
        &self,
        id: &BackupId,
        seen: Option<&Lease>,
        applicant: &Applicant,
        signing_key: &SigningKey,
        (clock, random): (&Clock, &Random),
    ) -> Result<HeldLease> {
        let abilities = self.storage.probe().await?;
        if !(abilities.create_if_absent && abilities.replace_if_unchanged) {
            return Err(Error::configuration("the store cannot keep two from writing the same object"));
        }
        let place = layout::backup_lease(id);
        let found = self.stored_lease(&place).await?;
        match &found {
            Some((lease, _)) if Some(lease) != seen => Err(held_by(lease)),
            None if seen.is_some() => Err(Error::new(Kind::LeaseHeld, "the lease was removed while it was taken")),
            _ => {
                let process = Owner::this_process().map(|owner| owner.as_word());
                self.replace_lease((place, found), process, applicant, signing_key, (clock, random)).await
            }
        }
    }

    /// Takes the lease of what an unfinished backup has left, to remove that; none where somebody has made a backup of it since.
    ///
    /// # Errors
    /// As those of [`acquire_backup`](Self::acquire_backup).
    pub async fn acquire_remains(
        &self,
        id: &BackupId,
        seen: &Lease,
        applicant: &Applicant,
        signing_key: &SigningKey,
        with: (&Clock, &Random),
    ) -> Result<Option<HeldLease>> {
        let lease = self.acquire_backup(id, Some(seen), applicant, signing_key, with).await?;
        if self.has_backup(id).await? {
            lease.end().await;
            return Ok(None);
        }
        Ok(Some(lease))
    }
}

impl HeldLease {
    /// Removes the lease of a backup that is made, of which nobody needs one any more. Where that may not be, it is given back.
    pub async fn remove(&self) {
        if let Err(error) = self.repository.storage.delete(&self.place).await {
            tracing::debug!(%error, "the backup's lease was not removed");
            self.end().await;
        }
    }

    /// Gives the lease back; where that fails, it runs out.
    pub async fn end(&self) {
        if let Err(error) = self.release().await {
            tracing::debug!(%error, "the backup's lease was not given back; it runs out by itself");
        }
    }
}
