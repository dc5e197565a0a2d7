//! A large object on its way into a directory: one write at a time, off the runtime, in order.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::directory::Directory;
use super::draft::Draft;
use super::stopped;
use crate::storage::{Sha256, StorageError, StorageResult, Stored, Upload};

/// Writes of a caller that are smaller than this are gathered, to spare a thread switch for each.
const WRITTEN_AT_ONCE: usize = 1024 * 1024;

/// What is gathered at most while a write is in flight, so that the caller goes on while the disk syncs.
const GATHERED_AT_MOST: usize = 8 * 1024 * 1024;

/// Holds at most one write in flight and one being gathered, each of [`GATHERED_AT_MOST`] and a caller's piece.
/// Dropped, its draft removes itself.
#[derive(Debug)]
pub(super) struct LocalUpload {
    directory: Arc<Directory>,
    key: String,
    gathered: Vec<Bytes>,
    gathered_size: usize,
    /// The write in flight, which gives the draft back. `None` once something failed.
    writing: Option<JoinHandle<StorageResult<Draft>>>,
}

impl LocalUpload {
    pub(super) fn new(directory: Arc<Directory>, key: String, draft: Draft) -> Self {
        let writing = Some(tokio::task::spawn_blocking(move || Ok(draft)));
        Self { directory, key, gathered: Vec::new(), gathered_size: 0, writing }
    }

    /// Waits for the write in flight. The draft is lost, and with it the upload, unless it is put back.
    async fn draft(&mut self) -> StorageResult<Draft> {
        let Some(writing) = &mut self.writing else {
            return Err(StorageError::Other {
                operation: format!("write {}", self.key),
                reason: "the upload has failed already".to_owned(),
            });
        };
        // Taken away only when it has ended: a caller that gives up waiting can still abort.
        let draft = writing.await.unwrap_or_else(|error| Err(stopped(&error)));
        self.writing = None;
        draft
    }

    /// Starts to write what has been gathered.
    async fn flush(&mut self) -> StorageResult<()> {
        let mut draft = self.draft().await?;
        let content = std::mem::take(&mut self.gathered);
        self.gathered_size = 0;
        let (directory, key) = (self.directory.clone(), self.key.clone());
        self.writing = Some(tokio::task::spawn_blocking(move || {
            for bytes in content {
                directory.append(&mut draft, &bytes, &key)?;
            }
            Ok(draft)
        }));
        Ok(())
    }
}

#[async_trait]
impl Upload for LocalUpload {
    async fn write(&mut self, content: Bytes) -> StorageResult<()> {
        self.gathered_size += content.len();
        self.gathered.push(content);
        let idle = self.writing.as_ref().is_none_or(JoinHandle::is_finished);
        let enough = if idle { WRITTEN_AT_ONCE } else { GATHERED_AT_MOST };
        if self.gathered_size >= enough { self.flush().await } else { Ok(()) }
    }

    /// The file is compared with what was written, so that its hash need not be.
    async fn finish(mut self: Box<Self>, _: &Sha256) -> StorageResult<Stored> {
        self.flush().await?;
        let draft = self.draft().await?;
        let (directory, key) = (self.directory.clone(), self.key.clone());
        let committed = tokio::task::spawn_blocking(move || directory.commit(draft, &key)).await;
        committed.unwrap_or_else(|error| Err(stopped(&error)))
    }

    async fn abort(mut self: Box<Self>) -> StorageResult<()> {
        // A failed write has removed the draft already, so there is nothing left to give up.
        let draft = self.draft().await.ok();
        let (directory, key) = (self.directory.clone(), self.key.clone());
        let aborted = tokio::task::spawn_blocking(move || {
            drop(draft);
            directory.remove_empty_above(&directory.path(&key));
        });
        aborted.await.map_err(|error| stopped(&error))
    }
}
