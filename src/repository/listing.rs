//! Which backups there are, and what interrupted runs have left.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::{EvidenceLog, Repository, chain};
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::{BackupId, layout};
use crate::policy::history::Soundness;

/// A backup as a listing finds it.
#[derive(Debug)]
pub struct ListedBackup {
    /// Its id.
    pub id: BackupId,
    /// Its manifest, or why that is not to be believed.
    pub manifest: Result<Manifest>,
}

/// Objects of a backup that was never committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The id the backup would have had.
    pub id: BackupId,
    /// How many objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether it was noted what they hold, so that the next backup may go on with them.
    pub is_noted: bool,
}

/// Everything below `backups/`.
#[derive(Debug, Default)]
pub struct Listing {
    /// The committed backups, newest first.
    pub backups: Vec<ListedBackup>,
    /// What is not committed: a running backup's, or an interrupted one's.
    pub leftovers: Vec<Leftover>,
}

impl Listing {
    /// Returns the manifests that can be believed, the newest first.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.backups.iter().filter_map(|backup| backup.manifest.as_ref().ok())
    }

    /// Makes sure that the store has answered about every manifest: whoever counts what is damaged must not count what it
    /// only did not show.
    ///
    /// # Errors
    /// What it said instead, where that may pass by itself.
    pub fn check_answered(&self) -> Result<()> {
        let mut unread = self.backups.iter().filter_map(|backup| backup.manifest.as_ref().err());
        unread.find(|error| error.is_transient()).map_or(Ok(()), |error| Err(error.again()))
    }

    /// Returns what verifications have found, and what is damaged with it because it builds on that.
    #[must_use]
    pub fn soundness(&self, log: &EvidenceLog) -> Soundness {
        Soundness::of(log.records()).spread(&self.parents())
    }

    /// Returns what each increment was built on.
    #[must_use]
    pub fn parents(&self) -> BTreeMap<BackupId, BackupId> {
        self.manifests().filter_map(|manifest| Some((manifest.id.clone(), manifest.parent()?.clone()))).collect()
    }
}

impl Repository {
    /// Lists the backups, newest first, and the leftovers.
    ///
    /// # Errors
    /// Whatever the storage says; a manifest that is damaged or cannot be read is part of the listing, not an error: what
    /// else there is can be restored.
    pub async fn list(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        self.list_again(&mut listing).await?;
        Ok(listing)
    }

    /// Brings an earlier listing up to date. Manifests never change, so only those are read that it does not hold.
    ///
    /// # Errors
    /// As those of [`list`](Self::list); then the listing is what it was.
    pub async fn list_again(&self, listing: &mut Listing) -> Result<()> {
        let mut found: BTreeMap<BackupId, (bool, Leftover)> = BTreeMap::new();
        for entry in self.storage.list(layout::BACKUPS).await? {
            let Some(id) = layout::backup_of(&entry.key) else { continue };
            let is_manifest = entry.key == layout::manifest(&id);
            let new = || (false, Leftover { id: id.clone(), objects: 0, bytes: 0, is_noted: false });
            let (committed, leftover) = found.entry(id.clone()).or_insert_with(new);
            *committed |= is_manifest;
            leftover.is_noted |= layout::is_checkpoint(&entry.key);
            leftover.objects += 1;
            leftover.bytes += entry.size;
        }
        let is_known = |id: &BackupId| listing.backups.iter().any(|backup| backup.id == *id && backup.manifest.is_ok());
        let mut read = BTreeMap::new();
        for id in found.iter().filter(|(id, (committed, _))| *committed && !is_known(id)).map(|(id, _)| id) {
            read.insert(id.clone(), self.manifest(id).await);
        }
        let committed = |id: &BackupId| found.get(id).is_some_and(|(committed, _)| *committed);
        listing.backups.retain(|backup| committed(&backup.id) && !read.contains_key(&backup.id));
        listing.backups.extend(read.into_iter().map(|(id, manifest)| ListedBackup { id, manifest }));
        give_up_broken_chains(&mut listing.backups);
        let leftovers = found.into_values().rev().filter(|(committed, _)| !committed);
        listing.leftovers = leftovers.map(|(_, leftover)| leftover).collect();
        // Ids tell the second; within it, the manifests know; then any order will do, as long as it stays.
        listing.backups.sort_by(|a, b| (age_of(b), &b.id).cmp(&(age_of(a), &a.id)));
        Ok(())
    }

    /// Returns the unfinished backups of which something was noted, the newest first, and the newest backup that is there.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn unfinished(&self) -> Result<(Vec<BackupId>, Option<BackupId>)> {
        let (mut noted, mut committed) = (BTreeSet::new(), BTreeSet::new());
        for entry in self.storage.list(layout::BACKUPS).await? {
            let Some(id) = layout::backup_of(&entry.key) else { continue };
            if entry.key == layout::manifest(&id) {
                committed.insert(id);
            } else if layout::is_checkpoint(&entry.key) {
                noted.insert(id);
            }
        }
        noted.retain(|id| !committed.contains(id));
        Ok((noted.into_iter().rev().collect(), committed.pop_last()))
    }

    /// Returns the id that `name` means: an id, a unique beginning of one, or `latest`.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when it means none or several.
    pub async fn resolve(&self, name: &str) -> Result<BackupId> {
        let entries = self.storage.list(layout::BACKUPS).await?;
        let committed = entries
            .iter()
            .filter_map(|entry| layout::backup_of(&entry.key).filter(|id| entry.key == layout::manifest(id)));
        let mut ids: Vec<BackupId> = committed.collect();
        ids.sort();
        if name == "latest" {
            return self.newest(ids).await;
        }
        ids.retain(|id| id.as_str().starts_with(name));
        match &ids[..] {
            [id] => Ok(id.clone()),
            [] => {
                Err(Error::not_found(format!("there is no backup '{name}'"))
                    .with_hint("'regrow list' shows what there is"))
            }
            [first, second, ..] => {
                Err(Error::not_found(format!("'{name}' means several backups, {first} and {second} among them"))
                    .with_hint("write more of the id"))
            }
        }
    }

    /// Returns the backup that was begun last.
    async fn newest(&self, mut ids: Vec<BackupId>) -> Result<BackupId> {
        let Some(last) = ids.last().map(|id| id.second().to_owned()) else {
            return Err(
                Error::not_found("the repository holds no backup yet").with_hint("take one with 'regrow backup'")
            );
        };
        ids.retain(|id| id.second() == last);
        if let [only] = &ids[..] {
            return Ok(only.clone());
        }
        let mut newest = None;
        for id in ids {
            // One that cannot be read may be the newest: another in its place would be restored without a word.
            let begun = self.manifest(&id).await?.started_at;
            newest = newest.max(Some((begun, id)));
        }
        Ok(newest.expect("there are several").1)
    }
}

/// Gives up what builds on something that is not there, is damaged or cannot be read, for the same reason.
fn give_up_broken_chains(backups: &mut [ListedBackup]) {
    loop {
        let known: HashMap<&BackupId, &Result<Manifest>> =
            backups.iter().map(|backup| (&backup.id, &backup.manifest)).collect();
        let broken = backups.iter().enumerate().find_map(|(number, backup)| {
            let manifest = backup.manifest.as_ref().ok()?;
            let parent = manifest.parent()?;
            let error = match known.get(parent) {
                Some(Ok(found)) => chain::check_link(manifest, found).err()?,
                Some(Err(error)) => chain::without(manifest, parent, error),
                None => chain::broken(manifest, parent, "that one is missing"),
            };
            Some((number, error))
        });
        let Some((number, error)) = broken else { return };
        backups[number].manifest = Err(error);
    }
}

/// What sorts backups by time; one whose manifest cannot be read comes first within its second.
fn age_of(backup: &ListedBackup) -> (&str, Option<Timestamp>) {
    (backup.id.second(), backup.manifest.as_ref().ok().map(|manifest| manifest.started_at))
}
