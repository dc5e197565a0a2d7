//! S3's multipart upload: parts sent side by side, joined at the end.

use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use sha2::{Digest, Sha256 as Hasher};
use tokio::task::JoinSet;
use tracing::debug;

use super::bucket::{Bucket, Condition, encode};
use super::lock::Retention;
use crate::storage::{Sha256, StorageError, StorageResult};

/// Enough to fill a link whose round trips are long; each holds one part in memory.
const PARTS_IN_FLIGHT: usize = 4;

/// An upload that the store knows of. Dropped before it has ended, it is aborted in the background.
#[derive(Debug)]
pub(super) struct Multipart {
    bucket: Arc<Bucket>,
    key: String,
    id: String,
    in_flight: JoinSet<StorageResult<Part>>,
    stored: Vec<Part>,
    parts: i32,
    ended: bool,
}

/// A part that the store has acknowledged.
#[derive(Debug)]
struct Part {
    number: i32,
    etag: Option<String>,
    sha256: Sha256,
}

impl Multipart {
    pub(super) async fn begin(bucket: Arc<Bucket>, key: &str) -> StorageResult<Self> {
        let request = bucket.request(key, "begin", bucket.retention(key).right());
        let begun = bucket.patience.keep_trying(|_| {
            let create = bucket.client.create_multipart_upload().bucket(&bucket.name).key(bucket.full(key));
            let Retention { mode, until } = bucket.retention(key);
            let create = create.set_object_lock_mode(mode).set_object_lock_retain_until_date(until);
            request.send(0, create.checksum_algorithm(ChecksumAlgorithm::Sha256).send())
        });
        let id = begun.await?.upload_id.ok_or_else(|| request.other("the store gave the upload no id".to_owned()))?;
        let key = key.to_owned();
        Ok(Self { bucket, key, id, in_flight: JoinSet::new(), stored: Vec::new(), parts: 0, ended: false })
    }

    /// Sends the next part in the background. Waits while enough parts are in flight; an error may be an
    /// earlier part's.
    pub(super) async fn send(&mut self, content: Bytes) -> StorageResult<()> {
        while self.in_flight.len() >= PARTS_IN_FLIGHT {
            self.acknowledge().await?;
        }
        self.parts += 1;
        let number = self.parts;
        let (bucket, key, id) = (self.bucket.clone(), self.key.clone(), self.id.clone());
        self.in_flight.spawn(async move { bucket.send_part(&key, &id, number, content).await });
        Ok(())
    }

    /// Waits for one part, if any is in flight.
    async fn acknowledge(&mut self) -> StorageResult<()> {
        match self.in_flight.join_next().await {
            None => Ok(()),
            Some(Ok(part)) => part.map(|part| self.stored.push(part)),
            Some(Err(error)) => {
                Err(StorageError::Other { operation: format!("write {}", self.key), reason: error.to_string() })
            }
        }
    }

    /// Sends what is left and joins the parts to the object, whose SHA-256 is `whole`. Returns whether the
    /// store confirmed the content.
    pub(super) async fn finish(&mut self, rest: Bytes, whole: &Sha256) -> StorageResult<bool> {
        if !rest.is_empty() {
            self.send(rest).await?;
        }
        while !self.in_flight.is_empty() {
            self.acknowledge().await?;
        }
        self.stored.sort_by_key(|part| part.number);
        let answered = self.complete().await?;
        self.ended = true;
        match answered {
            None => Ok(false),
            Some(checksum) if self.confirms(&checksum, whole) => Ok(true),
            Some(_) => Err(self
                .bucket
                .request(&self.key, "finish", "s3:PutObject")
                .mismatch("the store's SHA-256 of the joined parts differs")),
        }
    }

    /// Asks the store to join the parts, and returns the SHA-256 that it answers with.
    async fn complete(&self) -> StorageResult<Option<String>> {
        let outcome = self.bucket.patience.keep_trying(|failed| async move {
            match self.complete_once().await {
                // An earlier attempt may have joined them, which ends the upload and takes the key.
                Err(StorageError::AlreadyExists { .. } | StorageError::NotFound { .. }) if failed > 0 => Ok(None),
                answer => answer.map(Some),
            }
        });
        outcome.await?.ok_or_else(|| self.bucket.outcome_unknown(&self.key))
    }

    async fn complete_once(&self) -> StorageResult<Option<String>> {
        self.bucket.check_free(&self.key).await?;
        let request = self.bucket.request(&self.key, "finish", "s3:PutObject");
        let answer = self.bucket.under(Condition::Free, |condition| {
            let client = &self.bucket.client;
            let complete =
                client.complete_multipart_upload().bucket(&self.bucket.name).key(self.bucket.full(&self.key));
            let complete = complete
                .upload_id(&self.id)
                .multipart_upload(self.completed())
                .set_if_none_match(condition.if_none_match());
            request.send(0, complete.send())
        });
        Ok(answer.await?.checksum_sha256)
    }

    fn completed(&self) -> CompletedMultipartUpload {
        let parts = self.stored.iter().map(|part| {
            let completed = CompletedPart::builder().part_number(part.number).set_e_tag(part.etag.clone());
            completed.checksum_sha256(encode(&part.sha256)).build()
        });
        CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build()
    }

    /// Whether `checksum` is that of the object: S3 answers with the SHA-256 of the parts' SHA-256s and
    /// their number; a store might as well compute that of the whole.
    fn confirms(&self, checksum: &str, whole: &Sha256) -> bool {
        let mut hasher = Hasher::new();
        for part in &self.stored {
            hasher.update(part.sha256);
        }
        let composite = encode(&hasher.finalize().into());
        checksum == format!("{composite}-{}", self.stored.len()) || checksum == composite || checksum == encode(whole)
    }

    /// Gives the upload up. Waits for the parts in flight to stop first, so that none arrives afterwards.
    pub(super) async fn abort(&mut self) -> StorageResult<()> {
        self.in_flight.shutdown().await;
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        self.bucket.abort(&self.key, &self.id).await
    }

    /// Gives up an upload that failed. Its parts stay until a sweep if that fails, too.
    pub(super) async fn abort_quietly(&mut self) {
        if let Err(error) = self.abort().await {
            debug!(%error, key = self.key, "an upload that failed could not be aborted");
        }
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.in_flight.abort_all();
        let (bucket, key, id) = (self.bucket.clone(), self.key.clone(), self.id.clone());
        // Best effort: without a runtime the process is ending, and a sweep removes what is left.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = bucket.abort(&key, &id).await {
                    debug!(%error, key, "a dropped upload could not be aborted");
                }
            });
        }
    }
}

impl Bucket {
    /// Sends one part, as often as it takes within bounds.
    async fn send_part(&self, key: &str, id: &str, number: i32, content: Bytes) -> StorageResult<Part> {
        let sha256: Sha256 = Hasher::digest(&content).into();
        let request = self.request(key, "write", "s3:PutObject");
        let sent = self.patience.keep_trying(|_| {
            let part = self.client.upload_part().bucket(&self.name).key(self.full(key)).upload_id(id);
            let part = part.part_number(number).checksum_sha256(encode(&sha256));
            request.send(content.len(), part.body(ByteStream::from(content.clone())).send())
        });
        let answer = sent.await?;
        if answer.checksum_sha256.is_some_and(|checksum| checksum != encode(&sha256)) {
            return Err(request.mismatch("the store's SHA-256 of a part differs"));
        }
        Ok(Part { number, etag: answer.e_tag, sha256 })
    }

    /// Makes the store forget an unfinished upload; one that it does not know is not an error.
    pub(super) async fn abort(&self, key: &str, id: &str) -> StorageResult<()> {
        let request = self.request(key, "give up", "s3:AbortMultipartUpload");
        let aborted = self.patience.keep_trying(|_| {
            let abort = self.client.abort_multipart_upload().bucket(&self.name).key(self.full(key));
            request.send(0, abort.upload_id(id).send())
        });
        match aborted.await {
            Ok(_) | Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the error for a write that may have succeeded; [`Retrying`](crate::storage::Retrying)
    /// compares what is there.
    pub(super) fn outcome_unknown(&self, key: &str) -> StorageError {
        self.request(key, "finish", "s3:PutObject").unavailable("an answer of the store was lost".to_owned())
    }
}
