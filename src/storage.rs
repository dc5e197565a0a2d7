//! Keys and bytes: what a repository needs from the place that holds it.
//!
//! Invariants: nothing here knows what the bytes mean (never BSON, never age). An object is created
//! once and never changed; `create` and `upload` never replace an existing object. Only [`Storage::replace`] does,
//! for the few things that change, and only what its caller has seen. What a crash leaves
//! behind is at most an object that was never reported as created, or an unfinished upload that
//! [`Storage::sweep`] removes; both are invisible to readers or harmless.
//!
//! Every implementation passes the one contract suite in `tests/integration/storage_contract.rs`.

mod backoff;
mod error;
mod faulty;
mod fenced;
mod key;
mod local;
mod retry;
mod s3;
mod shared;
mod throttle;

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use backoff::Backoff;
pub use error::{StorageError, StorageResult};
pub use faulty::{Fault, Faulty, Met, Seed};
pub use fenced::{Fenced, Gate};
pub use local::Local;
pub use retry::Retrying;
pub use s3::{LockMode, ObjectLock, S3, S3Credentials, S3Options};
pub use throttle::Throttled;

/// The largest object that every store takes through [`Storage::upload`]: 10,000 parts of 8 MiB.
///
/// S3 counts at most 10,000 parts, and some stores (Cloudflare R2) want all parts but the last to be of
/// one size, so parts cannot grow with the object.
pub const LARGEST_OBJECT: u64 = 10_000 * 8 * 1024 * 1024;

/// The largest object that [`Storage::read`] reads as a whole: several times what a manifest of a terabyte has. What
/// claims to be larger was not written by us, and would only fill the memory.
pub const LARGEST_WHOLE: u64 = 64 * 1024 * 1024;

/// A name in the store: `/`-separated, relative, without empty, `.` or `..` parts, without control
/// characters, at most 512 bytes. No key is a directory of another (`a` and `a/b` never both exist).
pub type Key = str;

/// SHA-256 of an object's bytes.
pub type Sha256 = [u8; 32];

/// One object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The object's full key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What is known of an object once the store has acknowledged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Bytes stored.
    pub size: u64,
    /// Whether the content is confirmed: by a SHA-256 that the store computed over what it received, or by
    /// reading it again from the disk. Where it is not, the caller re-reads before it relies on the object.
    pub confirmed: bool,
}

/// What a store really does, found out by doing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// A second create of one key is refused by the store itself.
    pub create_if_absent: bool,
    /// Content is checked against the SHA-256 that was sent, or re-read from the disk it was synced to.
    pub checks_content: bool,
    /// An object that somebody has changed meanwhile is not replaced.
    pub replace_if_unchanged: bool,
}

/// A place for objects.
#[async_trait]
pub trait Storage: Send + Sync + std::fmt::Debug {
    /// Returns where this store is, for people: `file:///var/lib/regrow`, `s3://bucket/prefix`.
    fn location(&self) -> String;

    /// Creates a small object (at most 16 MiB; larger ones go through [`Storage::upload`]).
    ///
    /// Durable when it returns. A create whose outcome was lost is re-read and compared.
    ///
    /// # Errors
    /// [`StorageError::AlreadyExists`] when the key is taken, whatever its content.
    async fn create(&self, key: &Key, content: Bytes) -> StorageResult<Stored>;

    /// Replaces a small object whose content is still `old`. Durable when it returns.
    ///
    /// Of several that replace the same content at once, exactly one succeeds, on a store that can
    /// [`replace_if_unchanged`](Abilities::replace_if_unchanged). Contents must not come back: who sees `old` takes it
    /// for the one that it has seen before.
    ///
    /// # Errors
    /// [`StorageError::Changed`] when the content is another, or the object is not there.
    async fn replace(&self, key: &Key, old: Bytes, new: Bytes) -> StorageResult<()>;

    /// Begins a large object (at most [`LARGEST_OBJECT`]), which becomes visible only when the upload is
    /// finished.
    async fn upload(&self, key: &Key) -> StorageResult<Box<dyn Upload>>;

    /// Returns the bytes of `range`, or the whole object. The caller bounds the range. Where the object
    /// ends sooner the answer is shorter; a range that begins beyond the end is empty.
    ///
    /// # Errors
    /// [`StorageError::Mismatch`] when the whole object is larger than [`LARGEST_WHOLE`], or the store answers with more
    /// than was asked for; neither is held in memory.
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> StorageResult<Bytes>;

    /// Returns the object's size in bytes.
    async fn size(&self, key: &Key) -> StorageResult<u64>;

    /// Returns every object whose key begins with `prefix`, in the order of their keys (as bytes).
    ///
    /// The prefix is a string, not a directory: `packs/1` finds `packs/1.tar` and `packs/10.tar`.
    async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>>;

    /// Removes an object; one that is not there is not an error.
    async fn delete(&self, key: &Key) -> StorageResult<()>;

    /// Removes what unfinished uploads below `prefix` left, if older than `age`. Returns how many.
    async fn sweep(&self, prefix: &str, age: Duration) -> StorageResult<usize>;

    /// Finds out what the store really does, with markers below `control/`. It removes them again, or they are the same each time.
    async fn probe(&self) -> StorageResult<Abilities>;
}

/// An object being written. Dropped without [`finish`](Upload::finish), it never becomes visible.
#[async_trait]
pub trait Upload: Send {
    /// Appends bytes. Waits when too much is in flight already, so memory is bounded.
    ///
    /// An error may be about bytes of an earlier call. After one, or when the future was dropped half
    /// way, the upload is lost: every further call but [`abort`](Upload::abort) fails.
    async fn write(&mut self, content: Bytes) -> StorageResult<()>;

    /// Makes the object visible and durable. `sha256` is that of everything written, which the caller has taken
    /// on the way; a store that computes its own compares them.
    ///
    /// # Errors
    /// [`StorageError::AlreadyExists`] when the key was taken meanwhile.
    async fn finish(self: Box<Self>, sha256: &Sha256) -> StorageResult<Stored>;

    /// Gives the upload up and removes what it has stored so far.
    async fn abort(self: Box<Self>) -> StorageResult<()>;
}
