//! The repository: what lies in storage, opened and checked.
//!
//! A [`Repository`] exists only when its descriptor has been read and understood, so nothing can be
//! restored from a place that is none. Invariants: everything outside `control/` is created once; a
//! backup exists exactly when its manifest does; whatever is read is checked against a signature or a
//! recorded hash before it is believed.

mod alerts;
mod backup_lease;
mod bounds;
mod chain;
mod checkpoints;
mod evidence;
mod keys;
mod lease;
mod listing;
mod marks;
mod oplog;
mod superseded;
mod window;
mod witness;
mod writer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

pub use chain::ParentAsWritten;
pub use evidence::{EvidenceLog, Recorder};
pub use lease::{Applicant, HeldLease};
pub use listing::{Leftover, ListedBackup, Listing};
pub use oplog::{CapturedTimeline, SealedSlice, SliceReader};
pub use superseded::{Remaining, Superseded};
#[cfg(test)]
pub(crate) use window::tests as window_tests;
pub use window::{Route, Stretch, Unreachable, merged, reach, recovery_window, routes, sound_oplog};
pub use writer::{BackupWriter, ClosedPack};

use crate::clock::Clock;
use crate::codec::signing::MANIFEST_PURPOSE;
use crate::codec::{Identities, Opener, SigningKey, TrustedKeys, sha256};
use crate::error::{Context, Error, Result};
use crate::format::catalog::Catalog;
use crate::format::manifest::{Manifest, ObjectRecord, SegmentRecord};
use crate::format::{BackupId, Descriptor, RepositoryId, Subject, layout};
use crate::operations::identity::IdentityKey;
use crate::random::Random;
use crate::storage::{Abilities, Storage, StorageError, Throttled};
use crate::units::MIB;

use self::witness::Witness;

/// Bytes read at once where an object is read from front to back.
const READ_BYTES: u64 = 8 * MIB as u64;

/// What is known of a repository before it is opened: what its own word is held against.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Whose signatures count; none: those of whom the repository lists.
    pub keys: Option<TrustedKeys>,
    /// The file in which this machine remembers the repository, if it does.
    pub witness: Option<PathBuf>,
}

/// An opened repository; clones share the storage.
#[derive(Debug, Clone)]
pub struct Repository {
    storage: Arc<dyn Storage>,
    descriptor: Descriptor,
    descriptor_sha256: [u8; 32],
    keys: TrustedKeys,
    witness: Witness,
}

impl Repository {
    /// Makes a repository in an empty place and tries out what the place can do.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::error::Kind::Refused) when there is one already; whatever the storage says.
    pub async fn init(
        storage: Arc<dyn Storage>,
        signing_key: &SigningKey,
        clock: &Clock,
        random: &Random,
    ) -> Result<(Self, Abilities)> {
        let abilities = storage.probe().await?;
        let descriptor = Descriptor::new(RepositoryId::generate(random), clock.now(), signing_key.entry());
        let json = Bytes::from(descriptor.to_json());
        match storage.create(layout::DESCRIPTOR, json.clone()).await {
            Ok(_) => {}
            // Something on the way may have made the request twice. Whoever took that for another's repository would throw its
            // only key away.
            Err(StorageError::AlreadyExists { .. }) if storage.read(layout::DESCRIPTOR, None).await? == json => {}
            Err(StorageError::AlreadyExists { .. }) => {
                return Err(Error::refused(format!("there is a repository at {} already", storage.location()))
                    .with_hint("nothing was changed; use it as it is, or choose another repository.url"));
            }
            Err(error) => return Err(error.into()),
        }
        Ok((Self::open(storage).await?, abilities))
    }

    /// Opens the repository that lies in `storage`, believing its own word about whose signatures count.
    ///
    /// # Errors
    /// As those of [`open_as`](Self::open_as).
    pub async fn open(storage: Arc<dyn Storage>) -> Result<Self> {
        Self::open_as(storage, Trust::default()).await
    }

    /// Opens the repository that lies in `storage`, and holds it against what is known of it.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when there is none, [`Kind::Configuration`] when a newer Regrow
    /// made it, [`Kind::Damaged`] when it is not the one that is known.
    pub async fn open_as(storage: Arc<dyn Storage>, trust: Trust) -> Result<Self> {
        let none = || {
            Error::not_found(format!("there is no repository at {}", storage.location()))
                .with_hint("check repository.url, or make a repository there with 'regrow init'")
        };
        let json = match storage.read(layout::DESCRIPTOR, None).await {
            Ok(json) => json,
            Err(StorageError::NotFound { .. }) if holds_backups(&*storage).await? => {
                return Err(lost_descriptor(&*storage));
            }
            Err(StorageError::NotFound { .. }) => return Err(none()),
            Err(error) => return Err(Error::from(error).context("cannot open the repository")),
        };
        let descriptor = Descriptor::parse(&json)?;
        let (keys, descriptor_sha256) = (keys::roots(&descriptor, trust.keys.as_ref())?, sha256(&json));
        let witness = Witness::open(trust.witness, &descriptor.id, descriptor_sha256)?;
        let mut repository = Self { storage, descriptor, descriptor_sha256, keys, witness };
        repository.read_accepted_keys().await?;
        Ok(repository)
    }

    /// Returns the same repository, used through another way to its store.
    #[must_use]
    pub fn stored_in(&self, storage: Arc<dyn Storage>) -> Self {
        Self { storage, ..self.clone() }
    }

    /// Returns the same repository, of which no more than so many bytes are read in a second; none: as many as can be.
    #[must_use]
    pub fn throttled(&self, bytes_per_second: Option<u64>) -> Self {
        match bytes_per_second {
            Some(rate) => self.stored_in(Arc::new(Throttled::new(Arc::clone(&self.storage), rate))),
            None => self.clone(),
        }
    }

    /// Returns the repository's id.
    #[must_use]
    pub fn id(&self) -> &RepositoryId {
        &self.descriptor.id
    }

    /// Returns when it was created.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.descriptor.created_at
    }

    /// Returns where it lies.
    #[must_use]
    pub fn location(&self) -> String {
        self.storage.location()
    }

    /// Returns the storage, for operations that look at objects as objects.
    #[must_use]
    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// Reads a backup's manifest and checks its signature.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when there is no such backup, [`Kind::Damaged`] when it was altered.
    pub async fn manifest(&self, id: &BackupId) -> Result<Manifest> {
        let stored = self.find(&layout::manifest(id)).await?.ok_or_else(|| {
            Error::not_found(format!("there is no backup {id}")).with_hint("'regrow list' shows what there is")
        })?;
        let what = format!("the manifest of {id}");
        let payload = self.keys.verify(&what, MANIFEST_PURPOSE, &stored)?;
        Manifest::parse(payload, &self.descriptor.id, id)
    }

    /// Reads and opens a backup's catalog as it is stored: of an increment, what it holds itself.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is not what the manifest recorded or describes another backup,
    /// [`Kind::Configuration`] when no identity fits.
    pub async fn own_catalog(&self, manifest: &Manifest, identities: Option<&Identities>) -> Result<Catalog> {
        let record = &manifest.catalog;
        let opener = opener(manifest, identities.cloned())?;
        let subject = Subject::Catalog { backup: manifest.id.clone() };
        let sealed = self.read_whole(record).await?;
        let opened = opener.open(&subject, &sealed, &record.sha256).context(format!("cannot open {}", record.key));
        let (entries, _) = opened.map_err(with_remedy)?;
        let catalog = Catalog::decode(&entries).context(format!("cannot read {}", record.key))?;
        chain::check_agreement(manifest, &catalog)?;
        Ok(catalog)
    }

    /// Reads a small object, if it is there.
    async fn find(&self, key: &str) -> Result<Option<Bytes>> {
        match self.storage.read(key, None).await {
            Ok(content) => Ok(Some(content)),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn read_whole(&self, record: &ObjectRecord) -> Result<Bytes> {
        let read = self.storage.read(&record.key, Some(0..record.size.max(1))).await;
        read.map_err(|error| missing_is_damage(error, &record.key))
    }

    /// Makes a reader for the segments that a backup holds itself.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when the backup is encrypted and there is no identity.
    pub fn own_segments(&self, manifest: &Manifest, identities: Option<&Identities>) -> Result<SegmentReader> {
        self.reader(std::slice::from_ref(manifest), identities)
    }

    /// Makes a reader for the segments of backups that build on each other, the newest first.
    fn reader(&self, chain: &[Manifest], identities: Option<&Identities>) -> Result<SegmentReader> {
        let layers = chain.iter().map(|manifest| Layer::of(manifest, identities)).collect::<Result<Vec<_>>>()?;
        Ok(SegmentReader { storage: Arc::clone(&self.storage), layers: layers.into() })
    }
}

/// Fetches and opens segments of a backup, and of those that it builds on; clones share everything.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    storage: Arc<dyn Storage>,
    /// The backup itself, then each one further back.
    layers: Arc<[Layer]>,
}

/// What it takes to read the segments of one backup.
#[derive(Debug)]
struct Layer {
    opener: Opener,
    backup: BackupId,
    places: HashMap<u64, (String, SegmentRecord)>,
    /// Nobody could know it who chose the `_id`s of documents.
    key: IdentityKey,
}

impl Layer {
    fn of(manifest: &Manifest, identities: Option<&Identities>) -> Result<Self> {
        let places = manifest.packs.iter().flat_map(|pack| {
            pack.segments.iter().map(|segment| (segment.n, (pack.object.key.clone(), segment.clone())))
        });
        Ok(Self {
            opener: opener(manifest, identities.cloned())?,
            backup: manifest.id.clone(),
            places: places.collect(),
            key: IdentityKey::of(manifest.catalog.sha256),
        })
    }
}

impl SegmentReader {
    /// Returns the documents of segment `number` of the backup itself and how many they are. Needs memory for one segment.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged), naming the pack and the segment, when it is missing or not what was written.
    pub async fn read(&self, number: u64) -> Result<(Vec<u8>, u64)> {
        self.read_of(0, number).await
    }

    /// The same of the backup that lies so many back.
    async fn read_of(&self, layer: u8, number: u64) -> Result<(Vec<u8>, u64)> {
        let layer = self.layers.get(usize::from(layer)).ok_or_else(|| Error::damaged("a segment is of no backup"))?;
        let place = layer.places.get(&number);
        let (key, record) = place.ok_or_else(|| Error::damaged(format!("the manifest has no segment {number}")))?;
        let range = record.offset..record.offset + record.size;
        let sealed = self.storage.read(key, Some(range)).await.map_err(|error| missing_is_damage(error, key))?;
        let (opener, sha256) = (layer.opener.clone(), record.sha256);
        let subject = Subject::Segment { backup: layer.backup.clone(), number };
        let opened = tokio::task::spawn_blocking(move || opener.open(&subject, &sealed, &sha256)).await;
        let opened = opened.map_err(|error| Error::failed("cannot open a segment").caused_by(error))?;
        opened.context(format!("segment {number} of {key} is damaged")).map_err(with_remedy)
    }
}

/// Whether there is something that only a repository holds.
async fn holds_backups(storage: &dyn Storage) -> Result<bool> {
    for folder in [layout::BACKUPS, layout::EVIDENCE] {
        match storage.list(folder).await {
            Ok(found) if !found.is_empty() => return Ok(true),
            Ok(_) | Err(StorageError::NotFound { .. }) => {}
            Err(error) => return Err(Error::from(error).context("cannot open the repository")),
        }
    }
    Ok(false)
}

fn lost_descriptor(storage: &dyn Storage) -> Error {
    Error::damaged(format!("{} is missing, and {} holds backups", layout::DESCRIPTOR, storage.location()))
        .with_hint("bring it back from a copy of the repository: it never changes")
}

fn opener(manifest: &Manifest, identities: Option<Identities>) -> Result<Opener> {
    Opener::new(manifest.encryption, identities, &manifest.recipients)
        .context(format!("cannot open backup {}", manifest.id))
}

/// Adds what helps against damage, unless the error knows better.
fn with_remedy(error: Error) -> Error {
    match error.hint() {
        None => error.with_hint("'regrow verify' names all that is damaged, 'regrow list' what can be restored"),
        Some(_) => error,
    }
}

/// An object that a manifest names and the store does not have is damage, not a wrong name.
fn missing_is_damage(error: StorageError, key: &str) -> Error {
    match error {
        StorageError::NotFound { .. } => Error::damaged(format!("{key} is missing"))
            .with_hint("'regrow verify' names all that is missing, 'regrow list' what can be restored"),
        error => error.into(),
    }
}
