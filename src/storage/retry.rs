//! A store that is asked again when it fails in a way that may pass.
//!
//! Invariant: what is reported as created is in the store with exactly the bytes that were given. When
//! the answer to a create was lost, the object that is found there afterwards is read and compared. Two
//! creators, or replacers, that must exclude each other therefore write different bytes (an owner's id): equal bytes
//! count as one's own.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256 as Hasher};
use tracing::{debug, warn};

use super::backoff::{Backoff, Patience};
use super::{Abilities, Entry, Key, Sha256, Storage, StorageError, StorageResult, Stored, Upload};
use crate::random::Random;

/// How much of an object is held at once while it is compared with what was written.
const COMPARED_AT_ONCE: u64 = 8 * 1024 * 1024;

/// Makes the requests of a store again while they fail in a way that may pass.
///
/// [`Upload::write`] is not repeated: a store that can, repeats the parts it is sending, and for the
/// others a write whose answer was lost would append twice.
#[derive(Debug, Clone)]
pub struct Retrying<S> {
    inner: S,
    patience: Patience,
}

impl<S: Storage + Clone + 'static> Retrying<S> {
    /// Wraps a store, with the default bounds.
    pub fn new(inner: S, random: Random) -> Self {
        Self::with_backoff(inner, Backoff::default(), random)
    }

    /// Wraps a store, with bounds of the caller's choice.
    pub fn with_backoff(inner: S, backoff: Backoff, random: Random) -> Self {
        Self { inner, patience: Patience::new(backoff, random) }
    }

    /// Returns success where the object that is in the way is the one that was to be created.
    async fn settle_create(&self, key: &Key, content: &Bytes) -> StorageResult<Stored> {
        let size = content.len() as u64;
        let found = if self.inner.size(key).await? == size { Some(self.inner.read(key, None).await?) } else { None };
        if found.as_ref() != Some(content) {
            return Err(StorageError::AlreadyExists { key: key.to_owned() });
        }
        debug!(key, "the create whose answer was lost had succeeded");
        Ok(Stored { size, confirmed: true })
    }

    /// Returns success where what has replaced the object is what was to replace it.
    async fn settle_replace(&self, key: &Key, new: &Bytes) -> StorageResult<()> {
        match self.inner.read(key, None).await {
            Ok(found) if found == *new => Ok(()),
            Ok(_) | Err(StorageError::NotFound { .. }) => Err(StorageError::Changed { key: key.to_owned() }),
            Err(error) => Err(error),
        }
    }

    /// Whether the store holds exactly the object of this size and hash.
    async fn holds(&self, key: &Key, size: u64, sha256: &Sha256) -> StorageResult<bool> {
        if self.size(key).await? != size {
            return Ok(false);
        }
        let mut hasher = Hasher::new();
        let mut begin = 0;
        while begin < size {
            let end = size.min(begin.saturating_add(COMPARED_AT_ONCE));
            hasher.update(self.read(key, Some(begin..end)).await?);
            begin = end;
        }
        Ok(<Sha256>::from(hasher.finalize()) == *sha256)
    }
}

#[async_trait]
impl<S: Storage + Clone + 'static> Storage for Retrying<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn create(&self, key: &Key, content: Bytes) -> StorageResult<Stored> {
        let content = &content;
        self.patience
            .keep_trying(|failed| async move {
                match self.inner.create(key, content.clone()).await {
                    // An earlier attempt may have created it without our hearing of it.
                    Err(StorageError::AlreadyExists { .. }) if failed > 0 => self.settle_create(key, content).await,
                    answer => answer,
                }
            })
            .await
    }

    async fn replace(&self, key: &Key, old: Bytes, new: Bytes) -> StorageResult<()> {
        let (old, new) = (&old, &new);
        self.patience
            .keep_trying(|failed| async move {
                match self.inner.replace(key, old.clone(), new.clone()).await {
                    // An earlier attempt may have replaced it without our hearing of it.
                    Err(StorageError::Changed { .. }) if failed > 0 => self.settle_replace(key, new).await,
                    answer => answer,
                }
            })
            .await
    }

    async fn upload(&self, key: &Key) -> StorageResult<Box<dyn Upload>> {
        // An upload whose begin was lost is never finished, so nobody sees it, and a sweep removes it.
        let inner = self.patience.keep_trying(|_| self.inner.upload(key)).await?;
        let store = self.clone();
        Ok(Box::new(RetryingUpload { inner, store, key: key.to_owned(), size: 0 }))
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        self.patience.keep_trying(|_| self.inner.read(key, range.clone())).await
    }

    async fn size(&self, key: &Key) -> StorageResult<u64> {
        self.patience.keep_trying(|_| self.inner.size(key)).await
    }

    async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        self.patience.keep_trying(|_| self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &Key) -> StorageResult<()> {
        self.patience.keep_trying(|_| self.inner.delete(key)).await
    }

    async fn sweep(&self, prefix: &str, age: Duration) -> StorageResult<usize> {
        self.patience.keep_trying(|_| self.inner.sweep(prefix, age)).await
    }

    async fn probe(&self) -> StorageResult<Abilities> {
        self.patience.keep_trying(|_| self.inner.probe()).await
    }
}

/// An upload whose finish is checked by reading when its answer was lost.
struct RetryingUpload<S> {
    inner: Box<dyn Upload>,
    store: Retrying<S>,
    key: String,
    size: u64,
}

#[async_trait]
impl<S: Storage + Clone + 'static> Upload for RetryingUpload<S> {
    async fn write(&mut self, content: Bytes) -> StorageResult<()> {
        self.size += content.len() as u64;
        self.inner.write(content).await
    }

    async fn finish(self: Box<Self>, sha256: &Sha256) -> StorageResult<Stored> {
        let Self { inner, store, key, size } = *self;
        let error = match inner.finish(sha256).await {
            Err(error) if error.is_transient() => error,
            answer => return answer,
        };
        warn!(%error, key, "the answer to the end of an upload was lost, reading what the store has");
        match store.holds(&key, size, sha256).await {
            Ok(true) => Ok(Stored { size, confirmed: true }),
            // Absent, different or unreadable: what happened first is what the caller needs to know.
            Ok(false) | Err(_) => Err(error),
        }
    }

    async fn abort(self: Box<Self>) -> StorageResult<()> {
        self.inner.abort().await
    }
}
