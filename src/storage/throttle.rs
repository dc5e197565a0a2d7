//! A store that is read no faster than so many bytes a second: verification leaves the network to others.
//!
//! Each read waits until what was read before has had its time; so reads are never faster in the mean, and one alone begins
//! at once.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::{Abilities, Entry, Key, Storage, StorageResult, Stored, Upload};

/// Reads no faster than a rate.
#[derive(Debug)]
pub struct Throttled<S> {
    inner: S,
    bytes_per_second: u64,
    /// When what was read so far has had its time.
    free_at: Mutex<Instant>,
}

impl<S: Storage> Throttled<S> {
    /// Wraps a store; at least a byte a second is read.
    pub fn new(inner: S, bytes_per_second: u64) -> Self {
        Self { inner, bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(Instant::now()) }
    }

    async fn wait(&self) {
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep_until(free_at).await;
    }

    fn spend(&self, bytes: usize) {
        let nanoseconds = u128::try_from(bytes).unwrap_or_default() * 1_000_000_000 / u128::from(self.bytes_per_second);
        let time = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(Instant::now()) + time;
    }
}

#[async_trait]
impl<S: Storage> Storage for Throttled<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn create(&self, key: &Key, content: Bytes) -> StorageResult<Stored> {
        self.inner.create(key, content).await
    }

    async fn replace(&self, key: &Key, old: Bytes, new: Bytes) -> StorageResult<()> {
        self.inner.replace(key, old, new).await
    }

    async fn upload(&self, key: &Key) -> StorageResult<Box<dyn Upload>> {
        self.inner.upload(key).await
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        self.wait().await;
        let read = self.inner.read(key, range).await?;
        self.spend(read.len());
        Ok(read)
    }

    async fn size(&self, key: &Key) -> StorageResult<u64> {
        self.inner.size(key).await
    }

    async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &Key) -> StorageResult<()> {
        self.inner.delete(key).await
    }

    async fn sweep(&self, prefix: &str, age: Duration) -> StorageResult<usize> {
        self.inner.sweep(prefix, age).await
    }

    async fn probe(&self) -> StorageResult<Abilities> {
        self.inner.probe().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::random::Random;
    use crate::storage::Local;

    #[tokio::test]
    async fn reads_take_the_time_that_their_bytes_have() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path(), Clock::system(), Random::system());
        let store = Throttled::new(local, 1_000_000);
        store.create("a/b", vec![7; 200_000].into()).await.unwrap();
        let begun = Instant::now();
        store.read("a/b", None).await.unwrap();
        store.read("a/b", None).await.unwrap();
        store.read("a/b", Some(0..1)).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    }
}
