//! Single requests to a bucket: whole objects, their sizes, listings.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256 as Hasher};
use tracing::debug;

use super::failure::Request;
use super::lock::{ObjectLock, Retention};
use crate::clock::Clock;
use crate::storage::backoff::Patience;
use crate::storage::{Entry, LARGEST_WHOLE, Sha256, StorageError, StorageResult, Stored, key};

/// What must hold for a write to take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing.
    Always,
    /// There is no object yet.
    Free,
    /// The object still has this entity tag.
    Unchanged(String),
}

impl Condition {
    pub(super) fn if_none_match(&self) -> Option<String> {
        (*self == Self::Free).then(|| "*".to_owned())
    }

    fn if_match(&self) -> Option<String> {
        match self {
            Self::Unchanged(tag) => Some(tag.clone()),
            Self::Always | Self::Free => None,
        }
    }
}

/// A bucket, or the part of one below a prefix.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) patience: Patience,
    pub(super) lock: Option<ObjectLock>,
    clock: Clock,
    place: String,
    /// Empty, or ending with `/`.
    prefix: String,
    /// The bucket has answered a request, so it exists.
    seen: AtomicBool,
    /// The store knows conditions on writes, or ignores them; cleared when it refuses them.
    conditional: AtomicBool,
}

impl Bucket {
    pub(super) fn new(
        client: Client,
        name: String,
        prefix: &str,
        (lock, clock): (Option<ObjectLock>, Clock),
        patience: Patience,
    ) -> Self {
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            directory => format!("{directory}/"),
        };
        let place = format!("s3://{name}");
        let (seen, conditional) = (AtomicBool::new(false), AtomicBool::new(true));
        Self { client, name, patience, lock, clock, place, prefix, seen, conditional }
    }

    /// Returns what a request says of the lock of an object that it writes.
    pub(super) fn retention(&self, key: &str) -> Retention {
        ObjectLock::of(self.lock, key, &self.clock)
    }

    pub(super) fn location(&self) -> String {
        format!("{}/{}", self.place, self.prefix).trim_end_matches('/').to_owned()
    }

    /// Returns the key as the bucket knows it.
    pub(super) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Returns the key as our callers know it; `None` outside the prefix.
    pub(super) fn relative<'a>(&self, full: &'a str) -> Option<&'a str> {
        full.strip_prefix(&self.prefix)
    }

    pub(super) fn request<'a>(&'a self, key: &'a str, verb: &'static str, action: &'static str) -> Request<'a> {
        Request { place: &self.place, key, verb, action }
    }

    /// Creates an object with one request, unless its key is taken. The store is told its hash, and checks it.
    pub(super) async fn create(&self, key: &str, content: Bytes, sha256: &Sha256) -> StorageResult<Stored> {
        self.check_free(key).await?;
        let answered =
            self.under(Condition::Free, |condition| self.put(key, content.clone(), sha256, condition)).await?;
        Ok(Stored { size: content.len() as u64, confirmed: self.confirms(key, answered, sha256)? })
    }

    /// Returns [`StorageError::AlreadyExists`] if the key is taken: for stores that ignore `If-None-Match`.
    pub(super) async fn check_free(&self, key: &str) -> StorageResult<()> {
        if self.head(key).await?.is_some() {
            return Err(StorageError::AlreadyExists { key: key.to_owned() });
        }
        // A store may make a bucket for an object that needs one; a misspelt bucket must not come to life.
        self.check_place().await
    }

    /// Makes a write under a condition, and without it on a store that does not implement conditions.
    pub(super) async fn under<T, F>(&self, condition: Condition, write: impl Fn(Condition) -> F) -> StorageResult<T>
    where
        F: Future<Output = StorageResult<T>>,
    {
        if !self.conditional.load(Ordering::Relaxed) {
            return write(Condition::Always).await;
        }
        match write(condition).await {
            Err(StorageError::Other { reason, .. }) if is_not_implemented(&reason) => {
                debug!(place = self.place, reason, "the store has no conditional writes, going on without");
                self.conditional.store(false, Ordering::Relaxed);
                write(Condition::Always).await
            }
            answer => answer,
        }
    }

    /// Puts an object and returns the SHA-256 that the store answers with, in base64.
    pub(super) async fn put(
        &self,
        key: &str,
        content: Bytes,
        sha256: &Sha256,
        condition: Condition,
    ) -> StorageResult<Option<String>> {
        let size = content.len();
        let put = self.client.put_object().bucket(&self.name).key(self.full(key));
        let put = put.set_if_none_match(condition.if_none_match()).set_if_match(condition.if_match());
        let retention = self.retention(key);
        let (right, Retention { mode, until }) = (retention.right(), retention);
        // S3 takes what is to be locked only where this header says which checksum it comes with.
        let put = put.set_checksum_algorithm(mode.is_some().then_some(ChecksumAlgorithm::Sha256));
        let put = put.set_object_lock_mode(mode).set_object_lock_retain_until_date(until);
        let put = put.checksum_sha256(encode(sha256));
        let sending = put.body(ByteStream::from(content)).send();
        Ok(self.request(key, "write", right).send(size, sending).await?.checksum_sha256)
    }

    /// Whether the store answered a write with the SHA-256 of what was sent, if it answered with one.
    fn confirms(&self, key: &str, answered: Option<String>, sha256: &Sha256) -> StorageResult<bool> {
        match answered {
            None => Ok(false),
            Some(checksum) if checksum == encode(sha256) => Ok(true),
            Some(_) => Err(self.request(key, "write", "s3:PutObject").mismatch("the store's SHA-256 differs")),
        }
    }

    /// Puts `new` into the place of an object that is still `old`.
    pub(super) async fn replace(&self, key: &str, old: &Bytes, new: Bytes) -> StorageResult<()> {
        let (found, tag) = match self.get(key, None).await {
            Err(StorageError::NotFound { key }) => return Err(StorageError::Changed { key }),
            read => read?,
        };
        if found != old {
            return Err(StorageError::Changed { key: key.to_owned() });
        }
        let (condition, sha256) = (tag.map_or(Condition::Always, Condition::Unchanged), Hasher::digest(&new).into());
        match self.under(condition, |condition| self.put(key, new.clone(), &sha256, condition)).await {
            Ok(answered) => self.confirms(key, answered, &sha256).map(drop),
            Err(StorageError::AlreadyExists { key } | StorageError::NotFound { key }) => {
                Err(StorageError::Changed { key })
            }
            Err(error) => Err(error),
        }
    }

    /// Reads an object, or a stretch of it in HTTP's words, and the entity tag that the store knows it by.
    async fn get(&self, key: &str, range: Option<&Range<u64>>) -> StorageResult<(Bytes, Option<String>)> {
        let limit = range.map_or(LARGEST_WHOLE, |range| range.end - range.start);
        let range = range.map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let request = self.request(key, "read", "s3:GetObject");
        let get = self.client.get_object().bucket(&self.name).key(self.full(key)).set_range(range);
        match request.send(0, get.send()).await {
            Ok(mut answer) => {
                let tag = answer.e_tag.take();
                Ok((collect(&request, answer.body, answer.content_length, limit).await?, tag))
            }
            Err(StorageError::NotFound { .. }) => Err(self.missing(key).await),
            Err(error) => Err(error),
        }
    }

    /// Returns the object's size, or `None` where there is no object; whether there is a bucket is not known
    /// then, because the answer to this request has no body.
    pub(super) async fn head(&self, key: &str) -> StorageResult<Option<u64>> {
        let request = self.request(key, "find the size of", "s3:GetObject and s3:ListBucket");
        let head = self.client.head_object().bucket(&self.name).key(self.full(key));
        match request.send(0, head.send()).await {
            Ok(answer) => {
                let size = answer.content_length.and_then(|size| u64::try_from(size).ok());
                size.map(Some).ok_or_else(|| request.other("the store did not tell its size".to_owned()))
            }
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn read(&self, key: &str, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        // HTTP cannot ask for nothing, but whether the object exists is still asked.
        if range.as_ref().is_some_and(Range::is_empty) {
            return self.read_nothing(key).await;
        }
        match self.get(key, range.as_ref()).await {
            Ok((content, _)) => Ok(content),
            // HTTP 416: the range begins at or beyond the object's end.
            Err(StorageError::Other { reason, .. }) if range.is_some() && is_beyond_end(&reason) => Ok(Bytes::new()),
            Err(error) => Err(error),
        }
    }

    async fn read_nothing(&self, key: &str) -> StorageResult<Bytes> {
        match self.head(key).await? {
            Some(_) => Ok(Bytes::new()),
            None => Err(self.missing(key).await),
        }
    }

    /// Returns what it means that there is no such object: none, or no bucket.
    pub(super) async fn missing(&self, key: &str) -> StorageError {
        match self.check_place().await {
            Ok(()) => StorageError::NotFound { key: key.to_owned() },
            Err(error) => error,
        }
    }

    /// Makes sure, once, that the bucket exists.
    pub(super) async fn check_place(&self) -> StorageResult<()> {
        if self.seen.load(Ordering::Relaxed) {
            return Ok(());
        }
        let request = self.request(&self.name, "find", "s3:ListBucket");
        match request.send(0, self.client.head_bucket().bucket(&self.name).send()).await {
            // A bucket that may not be looked at exists.
            Ok(_) | Err(StorageError::Denied { .. }) => {
                self.seen.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(StorageError::NotFound { .. }) => Err(StorageError::NoSuchPlace { place: self.place.clone() }),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        let request = self.request(prefix, "list", "s3:ListBucket");
        let mut entries = Vec::new();
        let mut token = None;
        loop {
            let list = self.client.list_objects_v2().bucket(&self.name).prefix(self.full(prefix));
            let page = request.send(0, list.set_continuation_token(token.clone()).send()).await?;
            for object in page.contents() {
                let key = object.key().and_then(|full| self.relative(full));
                let size = object.size().and_then(|size| u64::try_from(size).ok());
                match (key, size) {
                    (Some(key), Some(size)) if key::is_valid(key) && key.starts_with(prefix) => {
                        entries.push(Entry { key: key.to_owned(), size });
                    }
                    _ => debug!(?object, "passed over what is not an object of ours"),
                }
            }
            let next = page.next_continuation_token;
            if page.is_truncated != Some(true) || next.is_none() {
                break;
            }
            if next == token {
                return Err(request.other("the store answers with the same page again and again".to_owned()));
            }
            token = next;
        }
        // S3 sorts, but its directory buckets and some other stores do not.
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(entries)
    }

    pub(super) async fn delete(&self, key: &str) -> StorageResult<()> {
        let delete = self.client.delete_object().bucket(&self.name).key(self.full(key));
        match self.request(key, "delete", "s3:DeleteObject").send(0, delete.send()).await {
            Ok(_) | Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Reads an answer's body, up to `limit` bytes. The SDK gives up on a body that stands still; what breaks off may be tried
/// again.
async fn collect(request: &Request<'_>, mut body: ByteStream, length: Option<i64>, limit: u64) -> StorageResult<Bytes> {
    let too_large = || request.mismatch(&format!("the store answers with more than the {limit} bytes that are read"));
    let length = length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
    if length > limit {
        return Err(too_large());
    }
    let mut content = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| request.unavailable(format!("the answer broke off: {error}")))?;
        if (content.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content.freeze())
}

pub(super) fn encode(sha256: &Sha256) -> String {
    BASE64_STANDARD.encode(sha256)
}

pub(super) fn is_not_implemented(reason: &str) -> bool {
    reason.contains("NotImplemented") || reason.contains("HTTP status 501")
}

fn is_beyond_end(reason: &str) -> bool {
    reason.contains("InvalidRange") || reason.contains("HTTP status 416")
}
