//! An S3 bucket, or a bucket of a store that speaks S3, as a store.
//!
//! Invariants: an object is sent with its SHA-256 and counts as confirmed only when the store answers with
//! the same SHA-256. A create asks whether the key is taken and then sends `If-None-Match: *`. Stores that
//! ignore that header (Garage, rclone) leave a window between the question and the create in which a second
//! writer would replace the first one's object; keys therefore carry ids that no two writers share (two runs of one
//! interrupted backup would, which is resumed only in stores that never overwrite), and
//! [`Storage::probe`] tells which kind of store it is. A replacement is a write with `If-Match`. A request
//! is made once; repeating it is the work of [`Retrying`](super::Retrying), but for the parts of an upload,
//! which are repeated here.
//!
//! A crash leaves at most parts of an unfinished upload, invisible to readers and removed by
//! [`Storage::sweep`] or by a lifecycle rule of the bucket.

mod bucket;
mod failure;
mod lock;
mod multipart;
mod options;
mod probe;
mod sweep;
mod upload;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256 as Hasher};

use self::bucket::Bucket;
pub use self::lock::{LockMode, ObjectLock};
pub use self::options::{S3Credentials, S3Options};
use self::upload::S3Upload;
use super::{Abilities, Entry, Key, Storage, StorageResult, Stored, Upload, key};
use crate::clock::Clock;
use crate::random::Random;

/// A store in an S3 bucket. Clones share its connections.
#[derive(Debug, Clone)]
pub struct S3 {
    bucket: Arc<Bucket>,
    clock: Clock,
}

impl S3 {
    /// Returns the store that `options` describe.
    ///
    /// Region and credentials are looked for as the AWS SDK does; nothing is asked of the bucket yet.
    ///
    /// # Errors
    /// [`StorageError::Other`](super::StorageError::Other) when no region is known.
    pub async fn connect(options: S3Options, clock: Clock, random: Random) -> StorageResult<Self> {
        let bucket = options::open(options, clock.clone(), random).await?;
        Ok(Self { bucket: Arc::new(bucket), clock })
    }
}

#[async_trait]
impl Storage for S3 {
    fn location(&self) -> String {
        self.bucket.location()
    }

    async fn create(&self, key: &Key, content: Bytes) -> StorageResult<Stored> {
        key::check(key)?;
        let sha256 = Hasher::digest(&content).into();
        self.bucket.create(key, content, &sha256).await
    }

    async fn replace(&self, key: &Key, old: Bytes, new: Bytes) -> StorageResult<()> {
        key::check(key)?;
        self.bucket.replace(key, &old, new).await
    }

    async fn upload(&self, key: &Key) -> StorageResult<Box<dyn Upload>> {
        key::check(key)?;
        Ok(Box::new(S3Upload::new(self.bucket.clone(), key.to_owned())))
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        key::check(key)?;
        self.bucket.read(key, range).await
    }

    async fn size(&self, key: &Key) -> StorageResult<u64> {
        key::check(key)?;
        match self.bucket.head(key).await? {
            Some(size) => Ok(size),
            None => Err(self.bucket.missing(key).await),
        }
    }

    async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        self.bucket.list(prefix).await
    }

    async fn delete(&self, key: &Key) -> StorageResult<()> {
        key::check(key)?;
        self.bucket.delete(key).await
    }

    async fn sweep(&self, prefix: &str, age: Duration) -> StorageResult<usize> {
        self.bucket.sweep(prefix, self.clock.now(), age).await
    }

    async fn probe(&self) -> StorageResult<Abilities> {
        self.bucket.probe().await
    }
}
