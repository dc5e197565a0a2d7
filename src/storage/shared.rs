//! A shared store is a store, so that decorators can wrap what the configuration chose at run time.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Abilities, Entry, Key, Storage, StorageResult, Stored, Upload};

#[async_trait]
impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn location(&self) -> String {
        (**self).location()
    }

    async fn create(&self, key: &Key, content: Bytes) -> StorageResult<Stored> {
        (**self).create(key, content).await
    }

    async fn replace(&self, key: &Key, old: Bytes, new: Bytes) -> StorageResult<()> {
        (**self).replace(key, old, new).await
    }

    async fn upload(&self, key: &Key) -> StorageResult<Box<dyn Upload>> {
        (**self).upload(key).await
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        (**self).read(key, range).await
    }

    async fn size(&self, key: &Key) -> StorageResult<u64> {
        (**self).size(key).await
    }

    async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        (**self).list(prefix).await
    }

    async fn delete(&self, key: &Key) -> StorageResult<()> {
        (**self).delete(key).await
    }

    async fn sweep(&self, prefix: &str, age: Duration) -> StorageResult<usize> {
        (**self).sweep(prefix, age).await
    }

    async fn probe(&self) -> StorageResult<Abilities> {
        (**self).probe().await
    }
}
