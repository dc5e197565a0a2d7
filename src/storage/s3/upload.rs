//! A large object on its way into a bucket: gathered into parts, several of which are sent at once.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::bucket::Bucket;
use super::multipart::Multipart;
use crate::storage::{LARGEST_OBJECT, Sha256, StorageError, StorageResult, Stored, Upload};

/// Large enough that a request's overhead is small, small enough that five of them (four in flight, one
/// being gathered) are 40 MiB; S3 wants at least 5 MiB. See [`LARGEST_OBJECT`] for why it is constant.
pub(super) const PART_SIZE: usize = 8 * 1024 * 1024;

/// An upload. Objects that never fill one part are sent with one plain request at the end.
///
/// Dropped unfinished, it asks the store to forget its parts; [`Multipart`] does that.
#[derive(Debug)]
pub(super) struct S3Upload {
    bucket: Arc<Bucket>,
    key: String,
    part: BytesMut,
    size: u64,
    multipart: Option<Multipart>,
    /// Set while a call is under way. A call that failed or was dropped half way leaves it set, because
    /// then nobody knows which bytes are in.
    broken: bool,
}

impl S3Upload {
    pub(super) fn new(bucket: Arc<Bucket>, key: String) -> Self {
        let part = BytesMut::new();
        Self { bucket, key, part, size: 0, multipart: None, broken: false }
    }

    async fn gather(&mut self, mut content: Bytes) -> StorageResult<()> {
        self.size += content.len() as u64;
        if self.size > LARGEST_OBJECT {
            return Err(self.other("it is larger than the 10,000 parts of 8 MiB that a store takes"));
        }
        while !content.is_empty() {
            let room = PART_SIZE - self.part.len();
            self.part.extend_from_slice(&content.split_to(room.min(content.len())));
            if self.part.len() == PART_SIZE {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    /// Hands the gathered bytes over to be sent, waiting while enough parts are in flight.
    async fn send_part(&mut self) -> StorageResult<()> {
        if self.multipart.is_none() {
            self.multipart = Some(Multipart::begin(self.bucket.clone(), &self.key).await?);
        }
        let content = self.part.split().freeze();
        match &mut self.multipart {
            Some(multipart) => multipart.send(content).await,
            None => Ok(()),
        }
    }

    fn begin_call(&mut self) -> StorageResult<()> {
        if self.broken {
            return Err(self.other("the upload has failed already"));
        }
        self.broken = true;
        Ok(())
    }

    fn other(&self, reason: &str) -> StorageError {
        StorageError::Other { operation: format!("write {}", self.key), reason: reason.to_owned() }
    }

    /// Sends an object that never filled a part. A repetition that finds the key taken cannot tell its own
    /// object from another writer's, so it reports that the outcome is not known.
    async fn create(&mut self, sha256: &Sha256) -> StorageResult<Stored> {
        let content = self.part.split().freeze();
        let (bucket, key) = (&self.bucket, &self.key);
        let outcome = bucket.patience.keep_trying(|failed| {
            let content = content.clone();
            async move {
                match bucket.create(key, content, sha256).await {
                    Err(StorageError::AlreadyExists { .. }) if failed > 0 => Ok(None),
                    answer => answer.map(Some),
                }
            }
        });
        outcome.await?.ok_or_else(|| bucket.outcome_unknown(key))
    }

    async fn complete(&mut self, mut multipart: Multipart, sha256: &Sha256) -> StorageResult<Stored> {
        let confirmed = match multipart.finish(self.part.split().freeze(), sha256).await {
            Ok(confirmed) => confirmed,
            Err(error) => {
                multipart.abort_quietly().await;
                return Err(error);
            }
        };
        Ok(Stored { size: self.size, confirmed })
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, content: Bytes) -> StorageResult<()> {
        self.begin_call()?;
        if let Err(error) = self.gather(content).await {
            // The parts that are stored already cost money until they are gone.
            if let Some(mut multipart) = self.multipart.take() {
                multipart.abort_quietly().await;
            }
            return Err(error);
        }
        self.broken = false;
        Ok(())
    }

    async fn finish(mut self: Box<Self>, sha256: &Sha256) -> StorageResult<Stored> {
        self.begin_call()?;
        match self.multipart.take() {
            None => self.create(sha256).await,
            Some(multipart) => self.complete(multipart, sha256).await,
        }
    }

    async fn abort(mut self: Box<Self>) -> StorageResult<()> {
        match self.multipart.take() {
            None => Ok(()),
            Some(mut multipart) => multipart.abort().await,
        }
    }
}
