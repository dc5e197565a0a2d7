//! A store that fails on purpose, for tests that stop a run after each of its storage operations.
//!
//! It is part of the library because the tests of every upper floor drive the library through its public
//! way in. No command and no configuration leads here.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Abilities, Entry, Key, Sha256, Storage, StorageError, StorageResult, Stored, Upload};

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This operation and every later one fails without effect, as if the process had been killed just
    /// before it. Uploads that were under way leave behind what a killed process would.
    Crash,
    /// This operation fails without effect, in a way that may pass.
    FailOnce,
    /// This operation takes effect, but its answer is lost.
    LostReply,
    /// From this operation on, whatever deletes is denied.
    DenyDeletes,
}

/// Counts a store's operations and makes one of them fail.
///
/// An operation is each call of [`Storage`] (but `location`) and each call of [`Upload`]; the first is
/// number 1. Clones share the count.
#[derive(Debug, Clone)]
pub struct Faulty<S> {
    inner: S,
    plan: Arc<Plan>,
}

impl<S: Storage> Faulty<S> {
    /// Wraps a store; operation number `at` meets the fault.
    pub fn new(inner: S, fault: Fault, at: u64) -> Self {
        Self { inner, plan: Arc::new(Plan { fault: Some((fault, at)), count: AtomicU64::new(0) }) }
    }

    /// Wraps a store without any fault, to learn how many operations a run takes.
    pub fn counting(inner: S) -> Self {
        Self { inner, plan: Arc::new(Plan { fault: None, count: AtomicU64::new(0) }) }
    }

    /// Returns how many operations have been asked for so far.
    pub fn count(&self) -> u64 {
        self.plan.count.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct Plan {
    fault: Option<(Fault, u64)>,
    count: AtomicU64,
}

impl Plan {
    /// Counts one operation and lets it meet its fate.
    async fn run<T>(&self, operation: &str, effect: impl Future<Output = StorageResult<T>>) -> StorageResult<T> {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            Some((Fault::Crash, at)) if number >= at => Err(StorageError::Other {
                operation: operation.to_owned(),
                reason: format!("the process was killed before storage operation {at} (simulated)"),
            }),
            Some((Fault::FailOnce, at)) if number == at => Err(unavailable(operation, "it failed once (simulated)")),
            Some((Fault::LostReply, at)) if number == at => {
                effect.await?;
                Err(unavailable(operation, "the answer was lost (simulated)"))
            }
            _ => effect.await,
        }
    }

    /// Whether it is this fault, and the operation that meets it has come.
    fn has_met(&self, fault: Fault) -> bool {
        self.fault.is_some_and(|(planned, at)| planned == fault && self.count.load(Ordering::SeqCst) >= at)
    }
}

fn denied(key: &str) -> StorageError {
    let (operation, reason) = ("delete".to_owned(), "these credentials may not (simulated)".to_owned());
    StorageError::Denied { place: key.to_owned(), operation, reason }
}

fn unavailable(operation: &str, reason: &str) -> StorageError {
    StorageError::Unavailable { operation: operation.to_owned(), reason: reason.to_owned() }
}

#[async_trait]
impl<S: Storage> Storage for Faulty<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn create(&self, key: &Key, content: Bytes) -> StorageResult<Stored> {
        self.plan.run(&format!("create {key}"), self.inner.create(key, content)).await
    }

    async fn replace(&self, key: &Key, old: Bytes, new: Bytes) -> StorageResult<()> {
        self.plan.run(&format!("replace {key}"), self.inner.replace(key, old, new)).await
    }

    async fn upload(&self, key: &Key) -> StorageResult<Box<dyn Upload>> {
        let inner = self.plan.run(&format!("begin {key}"), self.inner.upload(key)).await?;
        Ok(Box::new(FaultyUpload { inner: Some(inner), plan: self.plan.clone(), key: key.to_owned() }))
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        self.plan.run(&format!("read {key}"), self.inner.read(key, range)).await
    }

    async fn size(&self, key: &Key) -> StorageResult<u64> {
        self.plan.run(&format!("find the size of {key}"), self.inner.size(key)).await
    }

    async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        self.plan.run(&format!("list {prefix}"), self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &Key) -> StorageResult<()> {
        let operation = format!("delete {key}");
        let effect = async {
            if self.plan.has_met(Fault::DenyDeletes) { Err(denied(key)) } else { self.inner.delete(key).await }
        };
        self.plan.run(&operation, effect).await
    }

    async fn sweep(&self, prefix: &str, age: Duration) -> StorageResult<usize> {
        self.plan.run(&format!("sweep {prefix}"), self.inner.sweep(prefix, age)).await
    }

    async fn probe(&self) -> StorageResult<Abilities> {
        self.plan.run("probe the store", self.inner.probe()).await
    }
}

struct FaultyUpload {
    inner: Option<Box<dyn Upload>>,
    plan: Arc<Plan>,
    key: String,
}

impl FaultyUpload {
    /// Runs the call that ends the upload. One that meets its fault first leaves the upload to `drop`.
    async fn end<T, F>(&mut self, operation: &str, end: impl FnOnce(Box<dyn Upload>) -> F) -> StorageResult<T>
    where
        F: Future<Output = StorageResult<T>>,
    {
        let inner = &mut self.inner;
        let effect = async move {
            match inner.take() {
                Some(upload) => end(upload).await,
                None => Err(unavailable("end an upload", "it has ended already")),
            }
        };
        self.plan.run(&format!("{operation} {}", self.key), effect).await
    }
}

#[async_trait]
impl Upload for FaultyUpload {
    async fn write(&mut self, content: Bytes) -> StorageResult<()> {
        let operation = format!("write {}", self.key);
        let Some(inner) = &mut self.inner else {
            return Err(unavailable(&operation, "the upload has ended already"));
        };
        self.plan.run(&operation, inner.write(content)).await
    }

    async fn finish(mut self: Box<Self>, sha256: &Sha256) -> StorageResult<Stored> {
        self.end("finish", |upload| upload.finish(sha256)).await
    }

    async fn abort(mut self: Box<Self>) -> StorageResult<()> {
        self.end("abort", Upload::abort).await
    }
}

impl Drop for FaultyUpload {
    fn drop(&mut self) {
        // A killed process cleans nothing up: forgetting the upload keeps its own `drop` from doing so.
        if self.plan.has_met(Fault::Crash) {
            std::mem::forget(self.inner.take());
        }
    }
}
