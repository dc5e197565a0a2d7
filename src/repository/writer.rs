//! Writing a backup: packs, then the catalog, then the manifest, which alone makes it exist.
//!
//! What a crash leaves: finished packs, perhaps the catalog, and an unfinished upload; nothing reads
//! them without a manifest. [`BackupWriter::abandon`] removes them after an orderly failure, but never
//! once the manifest may have been written.
//!
//! Whoever gives up waiting for an operation (a dump that fails beside it, a signal) does not stop it in its middle: an
//! object that was sent could appear after everything was removed. It runs to its end, and `abandon` waits for that.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{READ_BYTES, Repository};
use crate::codec::signing::MANIFEST_PURPOSE;
use crate::codec::{PackHasher, SigningKey, sha256};
use crate::error::{Error, Result};
use crate::format::manifest::{Encryption, Manifest, ObjectRecord, PackRecord, SegmentRecord};
use crate::format::{BackupId, layout, pack};
use crate::storage::{StorageError, Stored, Upload};

/// A backup being written.
pub struct BackupWriter {
    /// Locked by the one operation at work.
    writing: Arc<Mutex<Writing>>,
}

/// A pack that is whole, stored and confirmed.
pub struct ClosedPack {
    /// Its number, from 1.
    pub number: usize,
    /// What is recorded of it.
    pub record: PackRecord,
}

struct Writing {
    repository: Repository,
    id: BackupId,
    encryption: Encryption,
    pack_bytes: u64,
    open: Option<OpenPack>,
    packs: Vec<PackRecord>,
    /// Keys of objects that are or may be there, and of which nobody has noted that they are kept, for cleaning up.
    written: Vec<String>,
    manifest_tried: bool,
}

struct OpenPack {
    key: String,
    upload: Box<dyn Upload>,
    size: u64,
    hasher: PackHasher,
    segments: Vec<SegmentRecord>,
}

impl BackupWriter {
    /// Begins a backup whose packs are closed at `pack_bytes`.
    #[must_use]
    pub fn new(repository: Repository, id: BackupId, encryption: Encryption, pack_bytes: u64) -> Self {
        Self::behind(Vec::new(), repository, id, encryption, pack_bytes)
    }

    /// Goes on with a backup behind the packs that another run has stored. They are not removed when this one fails.
    #[must_use]
    pub fn behind(
        packs: Vec<PackRecord>,
        repository: Repository,
        id: BackupId,
        encryption: Encryption,
        pack_bytes: u64,
    ) -> Self {
        let (open, written) = (None, Vec::new());
        let writing = Writing { repository, id, encryption, pack_bytes, open, packs, written, manifest_tried: false };
        Self { writing: Arc::new(Mutex::new(writing)) }
    }

    /// Appends a sealed segment to the open pack; opens and closes packs as needed. Returns the pack that was closed.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn append(&mut self, number: u64, sealed: Bytes) -> Result<Option<ClosedPack>> {
        self.to_its_end(move |writing| Box::pin(writing.append(number, sealed))).await
    }

    /// Closes the open pack and confirms it as stored; none where none is open.
    ///
    /// # Errors
    /// As those of [`finish_data`](Self::finish_data).
    pub async fn close_pack(&mut self) -> Result<Option<ClosedPack>> {
        self.to_its_end(|writing| Box::pin(writing.close_pack())).await
    }

    /// Finishes the data, writes the catalog, confirms everything as stored, and returns the records
    /// that the manifest needs.
    ///
    /// # Errors
    /// Whatever the storage says; [`Kind::Damaged`](crate::error::Kind::Damaged) when an object is not
    /// stored as it was sent.
    pub async fn finish_data(&mut self, catalog: Bytes) -> Result<(Vec<PackRecord>, ObjectRecord)> {
        self.to_its_end(move |writing| Box::pin(writing.finish_data(catalog))).await
    }

    /// Signs and writes the manifest: the moment the backup begins to exist.
    ///
    /// # Errors
    /// Whatever the storage says. After an error the backup may exist, if the store's answer was lost;
    /// it is whole then.
    pub async fn commit(&mut self, manifest: &Manifest, key: &SigningKey) -> Result<()> {
        let mut writing = self.writing.lock().await;
        writing.manifest_tried = true;
        let place = layout::manifest(&writing.id);
        writing.repository.create_signed(&place, MANIFEST_PURPOSE, manifest, key).await.map(drop)
    }

    /// Takes back the manifest that [`commit`](Self::commit) has written.
    ///
    /// # Errors
    /// Whatever the storage says: it may still be there.
    pub async fn withdraw(&mut self) -> Result<()> {
        let writing = self.writing.lock().await;
        Ok(writing.repository.storage.delete(&layout::manifest(&writing.id)).await?)
    }

    /// Keeps what is stored, whatever happens: another run may go on with it.
    pub async fn keep(&mut self) {
        self.writing.lock().await.written.clear();
    }

    /// Removes what was written, after a failure before the commit. Returns the keys that remain.
    ///
    /// Losing a delete only wastes space: without a manifest nothing reads these objects.
    pub async fn abandon(self) -> Vec<String> {
        self.writing.lock().await.abandon().await
    }

    /// Does work that goes on although the caller gives up waiting for it.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writing) -> BoxFuture<'_, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let mut writing = self.writing.clone().lock_owned().await;
        let working = tokio::spawn(async move { work(&mut writing).await });
        working.await.map_err(|error| Error::failed("cannot go on with a backup").caused_by(error))?
    }
}

impl Writing {
    async fn append(&mut self, number: u64, sealed: Bytes) -> Result<Option<ClosedPack>> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_pack().await?,
        };
        let size = sealed.len() as u64;
        let name = pack::member_name(number, self.encryption);
        let header = Bytes::copy_from_slice(&pack::member_header(&name, size));
        let offset = open.size + header.len() as u64;
        let padding = Bytes::from_static(pack::padding(size));
        open.size = offset + size + padding.len() as u64;
        open.hasher.add(&header);
        let sha256 = open.hasher.add_segment(&sealed, &padding);
        open.segments.push(SegmentRecord { n: number, offset, size, sha256 });
        let full = open.size >= self.pack_bytes || open.segments.len() >= pack::MOST_SEGMENTS;
        let open = self.open.insert(open);
        for piece in [header, sealed, padding] {
            open.upload.write(piece).await?;
        }
        if full { self.close_pack().await } else { Ok(None) }
    }

    async fn finish_data(&mut self, catalog: Bytes) -> Result<(Vec<PackRecord>, ObjectRecord)> {
        self.close_pack().await?;
        let key = layout::catalog(&self.id, self.encryption);
        let mut upload = self.repository.storage.upload(&key).await?;
        let sha256 = sha256(&catalog);
        upload.write(catalog).await?;
        let stored = self.finish_upload(upload, &key, &sha256).await?;
        let record = self.repository.confirm(key, &stored, sha256).await?;
        Ok((std::mem::take(&mut self.packs), record))
    }

    async fn abandon(&mut self) -> Vec<String> {
        if self.manifest_tried {
            return Vec::new();
        }
        if let Some(OpenPack { key, upload, .. }) = self.open.take()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(key, %error, "cannot abort the upload");
        }
        let mut remaining = Vec::new();
        for key in std::mem::take(&mut self.written) {
            if let Err(error) = self.repository.storage.delete(&key).await {
                tracing::debug!(key, %error, "cannot delete");
                remaining.push(key);
            }
        }
        remaining
    }

    async fn open_pack(&mut self) -> Result<OpenPack> {
        let number = u32::try_from(self.packs.len() + 1).map_err(|_| Error::failed("there are too many packs"))?;
        let key = layout::pack(&self.id, number);
        let upload = self.repository.storage.upload(&key).await?;
        Ok(OpenPack { key, upload, size: 0, hasher: PackHasher::default(), segments: Vec::new() })
    }

    async fn close_pack(&mut self) -> Result<Option<ClosedPack>> {
        let Some(mut open) = self.open.take() else { return Ok(None) };
        open.hasher.add(&pack::END);
        open.upload.write(Bytes::from_static(&pack::END)).await?;
        let sha256 = open.hasher.finish();
        let stored = self.finish_upload(open.upload, &open.key, &sha256).await?;
        let object = self.repository.confirm(open.key, &stored, sha256).await?;
        let record = PackRecord { object, segments: open.segments };
        self.packs.push(record.clone());
        Ok(Some(ClosedPack { number: self.packs.len(), record }))
    }

    /// Finishes an upload. What may be there then, and is nobody else's, is what [`abandon`](Self::abandon) removes.
    async fn finish_upload(&mut self, upload: Box<dyn Upload>, key: &str, sha256: &[u8; 32]) -> Result<Stored> {
        // Before it is finished: an upload whose answer is lost may be there all the same.
        self.written.push(key.to_owned());
        let finished = upload.finish(sha256).await;
        if matches!(finished, Err(StorageError::AlreadyExists { .. })) {
            self.written.pop();
        }
        Ok(finished?)
    }
}

impl Repository {
    /// Makes sure that the object is stored as it was sent: by the store's own word, or by reading it.
    pub(super) async fn confirm(&self, key: String, stored: &Stored, sha256: [u8; 32]) -> Result<ObjectRecord> {
        let record = ObjectRecord { key, size: stored.size, sha256 };
        if !stored.confirmed {
            let (size, sha256) = self.hash(&record.key, |_| ()).await?;
            if (size, sha256) != (record.size, record.sha256) {
                return Err(Error::damaged(format!("{} is not stored as it was sent", record.key))
                    .with_hint("the store or the network alters data; check its disks, then try again"));
            }
        }
        Ok(record)
    }

    /// Makes sure that an object is still stored as it was confirmed to be.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is not; whatever the storage says.
    pub async fn confirm_again(&self, record: &ObjectRecord) -> Result<()> {
        let stored = Stored { size: record.size, confirmed: false };
        self.confirm(record.key.clone(), &stored, record.sha256).await.map(drop)
    }

    /// Signs and creates a record: the moment that what it describes begins to exist. Returns the document as stored.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::error::Kind::Refused) when there is one already, another than this; whatever the
    /// storage says. After an error it may exist, if the store's answer was lost.
    pub(super) async fn create_signed(
        &self,
        place: &str,
        purpose: &str,
        payload: &impl serde::Serialize,
        key: &SigningKey,
    ) -> Result<Bytes> {
        let document = signed(place, purpose, payload, key)?;
        match self.storage.create(place, document.clone()).await {
            Err(StorageError::AlreadyExists { key }) => return Err(Error::refused(format!("{key} exists already"))),
            created => created?,
        };
        let stored = self.storage.read(place, None).await?;
        if stored != document {
            return Err(Error::damaged(format!("{place} is not stored as it was sent"))
                .with_hint("the store alters data, or two writers have met; try again"));
        }
        Ok(document)
    }

    /// Reads an object from front to back and returns its size and SHA-256.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn hash(&self, key: &str, mut has_read: impl FnMut(u64)) -> Result<(u64, [u8; 32])> {
        let size = self.storage.size(key).await?;
        let mut hasher = Sha256::new();
        let mut at = 0;
        while at < size {
            let chunk = self.storage.read(key, Some(at..size.min(at + READ_BYTES))).await?;
            if chunk.is_empty() {
                break;
            }
            at += chunk.len() as u64;
            has_read(chunk.len() as u64);
            hasher.update(&chunk);
        }
        Ok((at, hasher.finalize().into()))
    }
}

/// Returns the signed document to store at `place`.
pub(super) fn signed(place: &str, purpose: &str, payload: &impl serde::Serialize, key: &SigningKey) -> Result<Bytes> {
    let payload = serde_json::to_string(payload);
    let payload = payload.map_err(|error| Error::failed(format!("cannot write {place}")).caused_by(error))?;
    Ok(key.sign(purpose, &payload).into())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::format::BackupKind;
    use crate::random::Random;
    use crate::storage::Local;

    /// Lets an operation go on for `patience` at most, as a caller does who hears of a failure elsewhere.
    async fn for_a_while<T>(patience: Duration, operation: impl Future<Output = Result<T>>) {
        if let Ok(ended) = tokio::time::timeout(patience, operation).await {
            ended.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_given_up_at_any_moment_leaves_nothing_behind_after_it_was_abandoned() {
        let folder = tempfile::tempdir().unwrap();
        let (clock, random) = (Clock::system(), Random::system());
        let storage = Arc::new(Local::open(folder.path(), clock.clone(), random.clone()));
        let key = SigningKey::generate(&random);
        let (repository, _) = Repository::init(storage.clone(), &key, &clock, &random).await.unwrap();
        for patience in (0..100).map(|step| Duration::from_micros(step * 40)) {
            let id = BackupId::generate(clock.now(), BackupKind::Manual, &random);
            let mut writer = BackupWriter::new(repository.clone(), id, Encryption::None, 1);
            for_a_while(patience, writer.append(1, Bytes::from_static(b"a pack of its own"))).await;
            for_a_while(patience / 2, writer.finish_data(Bytes::from_static(b"the catalog"))).await;
            assert_eq!(writer.abandon().await, [""; 0]);
            let backups = folder.path().join("backups");
            let left: Vec<_> =
                backups.read_dir().map(|found| found.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default();
            assert_eq!(left, Vec::<PathBuf>::new(), "after {patience:?}");
        }
    }
}
