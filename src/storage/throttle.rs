//! A store that is read no faster than so many bytes a second: verification leaves the network to others.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Abilities, Entry, Key, Storage, StorageResult, Stored, Upload};
use crate::rate::Rate;

/// Reads no faster than a rate.
#[derive(Debug)]
pub struct Throttled<S> {
    inner: S,
    rate: Rate,
}

impl<S: Storage> Throttled<S> {
    /// Wraps a store; at least a byte a second is read.
    pub fn new(inner: S, bytes_per_second: u64) -> Self {
        Self { inner, rate: Rate::new(bytes_per_second) }
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
        self.rate.wait().await;
        let read = self.inner.read(key, range).await?;
        self.rate.spend(read.len() as u64);
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
    use tokio::time::Instant;

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
