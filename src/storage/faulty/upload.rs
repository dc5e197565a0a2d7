//! An upload to a store that fails on purpose.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::fault::{Action, Fault};
use super::plan::Plan;
use crate::storage::{Sha256, StorageError, StorageResult, Stored, Upload};

pub(super) struct FaultyUpload {
    pub(super) inner: Option<Box<dyn Upload>>,
    pub(super) plan: Arc<Plan>,
    pub(super) key: String,
}

impl FaultyUpload {
    fn has_ended(&self, action: Action) -> StorageError {
        let operation = format!("{} {}", action.verb(), self.key);
        StorageError::Unavailable { operation, reason: "the upload has ended already".to_owned() }
    }

    /// Runs the call that ends the upload. One that meets its fault first leaves the upload to `drop`.
    async fn end<T, F>(&mut self, action: Action, end: impl FnOnce(Box<dyn Upload>) -> F) -> StorageResult<T>
    where
        F: Future<Output = StorageResult<T>>,
    {
        let has_ended = self.has_ended(action);
        let inner = &mut self.inner;
        let effect = async move {
            match inner.take() {
                Some(upload) => end(upload).await,
                None => Err(has_ended),
            }
        };
        self.plan.meet(action, &self.key).run(effect).await
    }
}

#[async_trait]
impl Upload for FaultyUpload {
    async fn write(&mut self, content: Bytes) -> StorageResult<()> {
        let has_ended = self.has_ended(Action::Write);
        let Some(inner) = &mut self.inner else { return Err(has_ended) };
        self.plan.meet(Action::Write, &self.key).run(inner.write(content)).await
    }

    async fn finish(mut self: Box<Self>, sha256: &Sha256) -> StorageResult<Stored> {
        let key = self.key.clone();
        let stored = self.end(Action::Finish, |upload| upload.finish(sha256)).await?;
        self.plan.has_appeared(&key);
        Ok(stored)
    }

    async fn abort(mut self: Box<Self>) -> StorageResult<()> {
        self.end(Action::Abort, Upload::abort).await
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
