//! A store that fails on purpose: at one chosen operation, or by chance and repeatably.
//!
//! It is part of the library because the tests of every upper floor drive the library through its public
//! way in. No command and no configuration leads here: the program that ships never makes one
//! (`tests/programs/with_faults.rs` is another program around the same commands, which does).

mod fault;
mod plan;
mod upload;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::fault::Action;
pub use self::fault::Fault;
pub use self::plan::{Met, Seed};
use self::plan::{Plan, When};
use self::upload::FaultyUpload;
use super::{Abilities, Entry, Key, Storage, StorageResult, Stored, Upload};

/// Counts a store's operations and makes some of them fail.
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
        Self { inner, plan: Arc::new(Plan::new(When::At(fault, at))) }
    }

    /// Wraps a store without any fault, to learn how many operations a run takes.
    pub fn counting(inner: S) -> Self {
        Self { inner, plan: Arc::new(Plan::new(When::Never)) }
    }

    /// Wraps a store whose operations meet faults by chance.
    pub fn seeded(inner: S, seed: Seed) -> Self {
        Self { inner, plan: Arc::new(Plan::new(When::ByChance(seed))) }
    }

    /// Has `observer` told of each operation before it takes effect.
    ///
    /// # Panics
    /// When the store has been cloned already: the clones would not tell.
    #[must_use]
    pub fn telling(mut self, observer: impl Fn(&Met<'_>) + Send + Sync + 'static) -> Self {
        Arc::get_mut(&mut self.plan).expect("it has just been made").observer = Some(Box::new(observer));
        self
    }

    /// Returns how many operations have been asked for so far.
    pub fn count(&self) -> u64 {
        self.plan.count.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl<S: Storage> Storage for Faulty<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn create(&self, key: &Key, content: Bytes) -> StorageResult<Stored> {
        let stored = self.plan.meet(Action::Create, key).run(self.inner.create(key, content)).await?;
        self.plan.has_appeared(key);
        Ok(stored)
    }

    async fn replace(&self, key: &Key, old: Bytes, new: Bytes) -> StorageResult<()> {
        self.plan.meet(Action::Replace, key).run(self.inner.replace(key, old, new)).await
    }

    async fn upload(&self, key: &Key) -> StorageResult<Box<dyn Upload>> {
        let inner = self.plan.meet(Action::Begin, key).run(self.inner.upload(key)).await?;
        Ok(Box::new(FaultyUpload { inner: Some(inner), plan: self.plan.clone(), key: key.to_owned() }))
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        let met = self.plan.meet(Action::Read, key);
        let content = met.run(self.inner.read(key, range)).await?;
        Ok(if met.fault == Some(Fault::Truncate) { content.slice(..content.len() / 2) } else { content })
    }

    async fn size(&self, key: &Key) -> StorageResult<u64> {
        self.plan.meet(Action::Size, key).run(self.inner.size(key)).await
    }

    async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        let met = self.plan.meet(Action::List, prefix);
        let mut listed = met.run(self.inner.list(prefix)).await?;
        if met.fault == Some(Fault::Stale) {
            self.plan.forget_newest(&mut listed);
        }
        Ok(listed)
    }

    async fn delete(&self, key: &Key) -> StorageResult<()> {
        self.plan.meet(Action::Delete, key).run(self.inner.delete(key)).await
    }

    async fn sweep(&self, prefix: &str, age: Duration) -> StorageResult<usize> {
        self.plan.meet(Action::Sweep, prefix).run(self.inner.sweep(prefix, age)).await
    }

    async fn probe(&self) -> StorageResult<Abilities> {
        self.plan.meet(Action::Probe, "").run(self.inner.probe()).await
    }
}
