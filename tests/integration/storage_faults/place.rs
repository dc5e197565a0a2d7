//! Where the repository of a test lies, and how it is put back to what it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use regrow::clock::Clock;
use regrow::random::Random;
use regrow::storage::{S3, S3Options, Storage};

use crate::harness::{self, Servers, Workspace};
use crate::small_backups::local;

/// How many objects are read at once.
const AT_ONCE: usize = 16;

/// Everything that a store holds, by key.
pub type Objects = BTreeMap<String, Bytes>;

pub enum Place {
    Disk(PathBuf),
    Bucket(Arc<dyn Storage>),
}

impl Place {
    /// Makes a workspace whose repository is a folder.
    pub fn on_disk(source: &Servers) -> (Workspace, Self) {
        let workspace = Workspace::on_disk(source.uri());
        let folder = workspace.repository();
        (workspace, Self::Disk(folder))
    }

    /// Makes a workspace whose repository is in a bucket of a real S3 server.
    pub async fn in_a_bucket(source: &Servers) -> (Workspace, Self) {
        let workspace = Workspace::on_s3(source.uri(), harness::s3());
        let prefix = workspace.repository_url().rsplit('/').next().unwrap().to_owned();
        let options = S3Options { prefix, ..harness::s3().options() };
        let store = S3::connect(options, Clock::system(), Random::system()).await.unwrap();
        (workspace, Self::Bucket(Arc::new(store)))
    }

    pub fn is_a_bucket(&self) -> bool {
        matches!(self, Self::Bucket(_))
    }

    /// Returns the store as it is, without faults.
    pub fn store(&self) -> Arc<dyn Storage> {
        match self {
            Self::Disk(folder) => local(folder),
            Self::Bucket(store) => Arc::clone(store),
        }
    }

    /// Reads everything that is there and was finished.
    pub async fn objects(&self) -> Objects {
        let store = self.store();
        // A folder that nobody has made yet holds nothing.
        let is_made = match self {
            Self::Disk(folder) => folder.exists(),
            Self::Bucket(_) => true,
        };
        let listed = if is_made { store.list("").await.unwrap() } else { Vec::new() };
        let read = stream::iter(listed).map(|entry| {
            let store = Arc::clone(&store);
            async move {
                let content = store.read(&entry.key, None).await.unwrap();
                (entry.key, content)
            }
        });
        read.buffer_unordered(AT_ONCE).collect().await
    }

    /// Removes everything that is there, and puts these objects in its place.
    pub async fn put_back(&self, objects: &Objects) {
        match self {
            Self::Disk(folder) => {
                let _ = fs::remove_dir_all(folder);
                for (key, content) in objects {
                    let path = folder.join(key);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, content).unwrap();
                }
            }
            Self::Bucket(store) => {
                // Most of it is what it was: a request for each object takes longer than what is tried.
                let found = self.objects().await;
                let is_kept = |key: &String| found.get(key).is_some_and(|content| objects.get(key) == Some(content));
                for key in found.keys().filter(|key| !is_kept(key)) {
                    store.delete(key).await.unwrap();
                }
                for (key, content) in objects.iter().filter(|(key, _)| !is_kept(key)) {
                    store.create(key, content.clone()).await.unwrap();
                }
            }
        }
    }
}
