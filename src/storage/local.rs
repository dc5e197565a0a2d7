//! A directory as a store.
//!
//! Invariants: an object is written to a temporary file beside its place, synced, read again and compared
//! with what was sent, and only then moved to its name, which fails if the name is taken. Afterwards the
//! directories up to the root are synced. So a crash leaves the whole object or none, and at most a file
//! whose name begins with `.tmp-`, which listings never show and [`Storage::sweep`] removes. An object that
//! is replaced is locked first, so that others who would replace it wait; the lock ends with its process,
//! but one that is stopped in that very instant keeps it. The root
//! itself is never created on the way: where a backup disk is not mounted, the backup must fail rather
//! than fill the disk below the mount point.
//!
//! Symbolic links below the root and files that are not objects are left alone and not listed.

mod directory;
mod draft;
mod failure;
mod replace;
mod upload;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::directory::Directory;
use self::upload::LocalUpload;
use super::{Abilities, Entry, Key, Storage, StorageError, StorageResult, Stored, Upload, key};
use crate::clock::Clock;
use crate::random::Random;

/// A store in a local or mounted directory. Clones share it.
#[derive(Debug, Clone)]
pub struct Local {
    directory: Arc<Directory>,
    clock: Clock,
}

impl Local {
    /// Returns the store in the directory `root`, without looking at it: operations on a directory that is
    /// not there fail with [`StorageError::NoSuchPlace`].
    pub fn open(root: impl Into<PathBuf>, clock: Clock, random: Random) -> Self {
        Self { directory: Arc::new(Directory::new(root.into(), random)), clock }
    }

    /// Creates the root directory, and those above it, where they are missing. Only a person who sets up
    /// a repository asks for this.
    ///
    /// # Errors
    /// [`StorageError::Denied`] or [`StorageError::Other`] when the directory cannot be made.
    pub async fn create_root(&self) -> StorageResult<()> {
        self.run(Directory::create_root).await
    }

    /// Runs blocking work where it does not hold up the runtime.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> StorageResult<T> + Send + 'static,
    ) -> StorageResult<T> {
        let directory = self.directory.clone();
        tokio::task::spawn_blocking(move || work(&directory)).await.unwrap_or_else(|error| Err(stopped(&error)))
    }
}

/// Returns the error for blocking work that did not end, which only a shutdown of the runtime causes.
fn stopped(error: &tokio::task::JoinError) -> StorageError {
    StorageError::Other { operation: "go on with local storage".to_owned(), reason: error.to_string() }
}

#[async_trait]
impl Storage for Local {
    fn location(&self) -> String {
        format!("file://{}", self.directory.root().display())
    }

    async fn create(&self, key: &Key, content: Bytes) -> StorageResult<Stored> {
        key::check(key)?;
        let key = key.to_owned();
        self.run(move |directory| {
            let mut draft = directory.draft(&key)?;
            directory.append(&mut draft, &content, &key)?;
            directory.commit(draft, &key)
        })
        .await
    }

    async fn replace(&self, key: &Key, old: Bytes, new: Bytes) -> StorageResult<()> {
        key::check(key)?;
        let key = key.to_owned();
        self.run(move |directory| directory.replace(&key, &old, &new)).await
    }

    async fn upload(&self, key: &Key) -> StorageResult<Box<dyn Upload>> {
        key::check(key)?;
        let owned = key.to_owned();
        let draft = self.run(move |directory| directory.draft(&owned)).await?;
        Ok(Box::new(LocalUpload::new(self.directory.clone(), key.to_owned(), draft)))
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        key::check(key)?;
        let key = key.to_owned();
        self.run(move |directory| directory.read(&key, range)).await
    }

    async fn size(&self, key: &Key) -> StorageResult<u64> {
        key::check(key)?;
        let key = key.to_owned();
        self.run(move |directory| directory.size(&key)).await
    }

    async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        let prefix = prefix.to_owned();
        self.run(move |directory| directory.list(&prefix)).await
    }

    async fn delete(&self, key: &Key) -> StorageResult<()> {
        key::check(key)?;
        let key = key.to_owned();
        self.run(move |directory| directory.delete(&key)).await
    }

    async fn sweep(&self, prefix: &str, age: Duration) -> StorageResult<usize> {
        let prefix = prefix.to_owned();
        let now = self.clock.now();
        self.run(move |directory| directory.sweep(&prefix, now, age)).await
    }

    async fn probe(&self) -> StorageResult<Abilities> {
        let marker = format!("control/probe-{:016x}", self.directory.random_name());
        self.create(&marker, Bytes::from_static(b"regrow probe\n")).await?;
        let second = self.create(&marker, Bytes::from_static(b"regrow probe, again\n")).await;
        self.delete(&marker).await?;
        let create_if_absent = match second {
            Err(StorageError::AlreadyExists { .. }) => true,
            Ok(_) => false,
            Err(error) => return Err(error),
        };
        Ok(Abilities { create_if_absent, checks_content: true, replace_if_unchanged: true })
    }
}
