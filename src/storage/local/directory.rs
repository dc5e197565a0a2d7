//! The blocking side of a local store: one function for each thing that can be done to a directory.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tracing::debug;

use super::draft::Draft;
use super::replace;
use crate::random::Random;
use crate::storage::{Entry, LARGEST_WHOLE, StorageError, StorageResult, Stored, key};

/// Backups are for their owner alone, even where the umask is lax.
const DIRECTORY_MODE: u32 = 0o700;

/// How often a directory is made again that a concurrent delete removed because it was empty. Each round
/// needs another delete to hit the same instant.
const DIRECTORY_ATTEMPTS: usize = 16;

/// A root directory and what is below it.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    random: Random,
}

impl Directory {
    pub(super) fn new(root: PathBuf, random: Random) -> Self {
        Self { root, random }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn random_name(&self) -> u64 {
        self.random.next_u64()
    }

    pub(super) fn create_root(&self) -> StorageResult<()> {
        let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&self.root);
        made.and_then(|()| self.root.parent().map_or(Ok(()), sync_directory))
            .map_err(|error| self.explain(&error, "create", &self.root.display().to_string()))
    }

    /// Begins an object in the directory that it will be in, so that it can be moved to its name.
    pub(super) fn draft(&self, key: &str) -> StorageResult<Draft> {
        let path = self.path(key);
        let parent = path.parent().unwrap_or(&self.root);
        let mut begun = self.draft_in(parent);
        for _ in 1..DIRECTORY_ATTEMPTS {
            match &begun {
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => {
                    begun = self.draft_in(parent);
                }
                _ => break,
            }
        }
        begun.map_err(|error| match error.kind() {
            // A file where the key has a directory.
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => StorageError::Other {
                operation: format!("write {key}"),
                reason: "a part of its path is an object".to_owned(),
            },
            _ => self.explain(&error, "write", key),
        })
    }

    fn draft_in(&self, parent: &Path) -> io::Result<Draft> {
        if parent != self.root {
            self.make_directories(parent)?;
        }
        Draft::begin(parent, self.random.next_u64())
    }

    /// Makes the directories between the root and `path`, but never the root.
    fn make_directories(&self, path: &Path) -> io::Result<()> {
        let below = path.strip_prefix(&self.root).map_err(io::Error::other)?;
        let mut directory = self.root.clone();
        for part in below {
            directory.push(part);
            match DirBuilder::new().mode(DIRECTORY_MODE).create(&directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
                made => made?,
            }
        }
        Ok(())
    }

    /// Writes more of what will be the object `key`.
    pub(super) fn append(&self, draft: &mut Draft, content: &[u8], key: &str) -> StorageResult<()> {
        draft.append(content).map_err(|refused| self.explain_refused(refused, key))
    }

    /// Makes a draft the object `key`: durable when it returns.
    pub(super) fn commit(&self, draft: Draft, key: &str) -> StorageResult<Stored> {
        let path = self.path(key);
        let stored = draft.commit(&path).map_err(|refused| self.explain_refused(refused, key))?;
        self.sync_above(&path).map_err(|error| self.explain(&error, "write", key))?;
        Ok(stored)
    }

    /// Puts `new` into the place of the object `key`, if that is still `old`.
    pub(super) fn replace(&self, key: &str, old: &[u8], new: &[u8]) -> StorageResult<()> {
        let path = self.path(key);
        let mut draft = self.draft(key)?;
        self.append(&mut draft, new, key)?;
        // All that takes time is done before the lock is taken.
        let draft = draft.ready().map_err(|refused| self.explain_refused(refused, key))?;
        let cannot = |error: io::Error| self.explain(&error, "replace", key);
        let mut locked = match replace::lock(&path).map_err(cannot) {
            Err(StorageError::NotFound { key }) => return Err(StorageError::Changed { key }),
            locked => locked?,
        };
        let mut found = Vec::new();
        // One that is longer than what it shall be is another, however long.
        locked.by_ref().take(old.len() as u64 + 1).read_to_end(&mut found).map_err(cannot)?;
        if found != old {
            return Err(StorageError::Changed { key: key.to_owned() });
        }
        draft.persist(&path).map_err(|refused| cannot(refused.error))?;
        self.sync_above(&path).map_err(cannot)
    }

    /// Syncs every directory from the object's up to the root. All of them, because another writer may have
    /// made one just now and not have synced it yet.
    fn sync_above(&self, path: &Path) -> io::Result<()> {
        path.ancestors().skip(1).take_while(|directory| directory.starts_with(&self.root)).try_for_each(sync_directory)
    }

    pub(super) fn read(&self, key: &str, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        if range.is_none() && self.size(key)? > LARGEST_WHOLE {
            let reason = format!("it has more than the {LARGEST_WHOLE} bytes that are read");
            return Err(StorageError::Mismatch { key: key.to_owned(), reason });
        }
        self.read_file(key, range).map_err(|error| self.explain(&error, "read", key))
    }

    fn read_file(&self, key: &str, range: Option<Range<u64>>) -> io::Result<Bytes> {
        let mut file = File::open(self.path(key))?;
        let size = object_size(&file.metadata()?)?;
        let range = range.unwrap_or(0..size.min(LARGEST_WHOLE));
        let length = range.end.min(size).saturating_sub(range.start);
        file.seek(SeekFrom::Start(range.start.min(size)))?;
        let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact(&mut content)?;
        Ok(content.into())
    }

    pub(super) fn size(&self, key: &str) -> StorageResult<u64> {
        fs::metadata(self.path(key))
            .and_then(|metadata| object_size(&metadata))
            .map_err(|error| self.explain(&error, "find the size of", key))
    }

    pub(super) fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        let mut entries = Vec::new();
        self.walk(prefix, &mut |key, metadata| {
            if key::is_valid(key) && key.starts_with(prefix) {
                entries.push(Entry { key: key.to_owned(), size: metadata.len() });
            }
            Ok(())
        })
        .map_err(|error| self.explain(&error, "list", prefix))?;
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(entries)
    }

    pub(super) fn delete(&self, key: &str) -> StorageResult<()> {
        let path = self.path(key);
        match fs::remove_file(&path).map_err(|error| self.explain(&error, "delete", key)) {
            Ok(()) => {
                self.remove_empty_above(&path);
                Ok(())
            }
            Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the directories that an object's removal left empty. Not synced: a directory or an object
    /// that comes back after a crash only wastes space.
    pub(super) fn remove_empty_above(&self, path: &Path) {
        for directory in path.ancestors().skip(1) {
            if directory == self.root || !directory.starts_with(&self.root) || fs::remove_dir(directory).is_err() {
                return;
            }
        }
    }

    /// Removes the unfinished objects in the directories that `prefix` leads to, if they were last written
    /// to before `now - age`. Their names do not tell their keys, so a prefix counts up to its last `/`.
    pub(super) fn sweep(&self, prefix: &str, now: Timestamp, age: Duration) -> StorageResult<usize> {
        let mut removed = 0;
        self.walk(prefix, &mut |key, metadata| {
            if is_unfinished(key) && is_older(metadata, now, age)? {
                let path = self.path(key);
                fs::remove_file(&path)?;
                self.remove_empty_above(&path);
                debug!(key, "removed an unfinished object");
                removed += 1;
            }
            Ok(())
        })
        .map_err(|error| self.explain(&error, "sweep", prefix))?;
        Ok(removed)
    }

    /// Shows every file that may begin with `prefix` to `visit`, by its path below the root.
    fn walk(&self, prefix: &str, visit: &mut Visit) -> io::Result<()> {
        fs::read_dir(&self.root)?; // A missing root is an error; a missing directory below it is empty.
        let begin = directory_part(prefix);
        match begin.strip_suffix('/') {
            None => walk_directory(&self.root, "", visit),
            Some(directory) if key::is_valid(directory) => walk_directory(&self.path(directory), begin, visit),
            // No key begins so.
            Some(_) => Ok(()),
        }
    }

    pub(super) fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

type Visit<'a> = dyn FnMut(&str, &fs::Metadata) -> io::Result<()> + 'a;

/// Shows the files below `directory`, whose keys begin with `before`. What vanishes meanwhile was deleted.
fn walk_directory(directory: &Path, before: &str, visit: &mut Visit) -> io::Result<()> {
    let Some(entries) = unless_gone(fs::read_dir(directory))? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(metadata) = unless_gone(entry.metadata())? else { continue };
        let key = format!("{before}{name}");
        if metadata.is_dir() {
            walk_directory(&entry.path(), &format!("{key}/"), visit)?;
        } else if metadata.is_file() {
            unless_gone(visit(&key, &metadata))?;
        }
    }
    Ok(())
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the directories that `prefix` names in full: `a/b/` of `a/b/c`.
fn directory_part(prefix: &str) -> &str {
    prefix.rfind('/').map_or("", |slash| &prefix[..=slash])
}

fn is_unfinished(key: &str) -> bool {
    key.rsplit('/').next().is_some_and(|name| name.starts_with(key::UNFINISHED))
}

fn is_older(metadata: &fs::Metadata, now: Timestamp, age: Duration) -> io::Result<bool> {
    let written = Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)?;
    let elapsed = now.duration_since(written);
    Ok(elapsed.is_positive() && elapsed.unsigned_abs() > age)
}

fn object_size(metadata: &fs::Metadata) -> io::Result<u64> {
    if metadata.is_file() { Ok(metadata.len()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Makes the names in a directory durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        // Some network file systems cannot sync a directory and make names durable by themselves.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}
