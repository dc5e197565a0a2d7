//! A store that changes nothing unless a gate lets it: for whoever may write only as long as it holds a lease.
//!
//! The gate is asked directly before each request that makes something visible or removes it. Parts of an upload are
//! visible to nobody, so only its begin and its end are asked about. Wrapped by [`Retrying`](super::Retrying) and not
//! around it, so that each attempt is asked about: a process that slept between two of them may have lost its lease.
//!
//! What is left: a process that is stopped between the gate's answer and the request, for longer than the lease lasts, makes
//! that one request late. Decision 0016 says why that is harmless.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Abilities, Entry, Key, Sha256, Storage, StorageResult, Stored, Upload};

/// Whether writing is still allowed.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Returns when a write may begin now.
    ///
    /// # Errors
    /// [`StorageError::LeaseLost`](super::StorageError::LeaseLost) when it must not, now or ever;
    /// [`StorageError::Unavailable`](super::StorageError::Unavailable) when that cannot be told at the moment.
    async fn pass(&self) -> StorageResult<()>;
}

/// Asks a gate before each write.
#[derive(Clone)]
pub struct Fenced<S> {
    inner: S,
    gate: Arc<dyn Gate>,
}

impl<S: Storage> Fenced<S> {
    /// Wraps a store.
    pub fn new(inner: S, gate: Arc<dyn Gate>) -> Self {
        Self { inner, gate }
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Fenced<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Fenced").field(&self.inner).finish()
    }
}

#[async_trait]
impl<S: Storage> Storage for Fenced<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn create(&self, key: &Key, content: Bytes) -> StorageResult<Stored> {
        self.gate.pass().await?;
        self.inner.create(key, content).await
    }

    async fn replace(&self, key: &Key, old: Bytes, new: Bytes) -> StorageResult<()> {
        self.gate.pass().await?;
        self.inner.replace(key, old, new).await
    }

    async fn upload(&self, key: &Key) -> StorageResult<Box<dyn Upload>> {
        self.gate.pass().await?;
        let inner = self.inner.upload(key).await?;
        Ok(Box::new(FencedUpload { inner, gate: Arc::clone(&self.gate) }))
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        self.inner.read(key, range).await
    }

    async fn size(&self, key: &Key) -> StorageResult<u64> {
        self.inner.size(key).await
    }

    async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &Key) -> StorageResult<()> {
        self.gate.pass().await?;
        self.inner.delete(key).await
    }

    async fn sweep(&self, prefix: &str, age: Duration) -> StorageResult<usize> {
        self.gate.pass().await?;
        self.inner.sweep(prefix, age).await
    }

    async fn probe(&self) -> StorageResult<Abilities> {
        self.gate.pass().await?;
        self.inner.probe().await
    }
}

struct FencedUpload {
    inner: Box<dyn Upload>,
    gate: Arc<dyn Gate>,
}

#[async_trait]
impl Upload for FencedUpload {
    async fn write(&mut self, content: Bytes) -> StorageResult<()> {
        self.inner.write(content).await
    }

    async fn finish(self: Box<Self>, sha256: &Sha256) -> StorageResult<Stored> {
        self.gate.pass().await?;
        self.inner.finish(sha256).await
    }

    async fn abort(self: Box<Self>) -> StorageResult<()> {
        self.inner.abort().await
    }
}
