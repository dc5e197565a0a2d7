//! What a directory alone promises: what a crash leaves, whose files they are, what a full or locked
//! place answers.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use regrow::clock::Clock;
use regrow::codec::sha256;
use regrow::random::Random;
use regrow::storage::{Local, Storage, StorageError};

use super::{noise, open_local};

#[tokio::test]
async fn what_a_crash_leaves_is_invisible_until_it_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Clock::system().now());
    let store = Local::open(directory.path(), clock.clone(), Random::system());
    let mut upload = store.upload("backups/x/packs/1.tar").await.unwrap();
    upload.write(noise(1, 3_000_000)).await.unwrap();
    // A killed process runs no destructors.
    std::mem::forget(upload);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(files(directory.path()).len(), 1);
    assert!(files(directory.path())[0].contains("/.tmp-"), "{:?}", files(directory.path()));
    assert!(store.list("").await.unwrap().is_empty());

    clock.advance(Duration::from_hours(1));
    assert_eq!(store.sweep("backups/x/", Duration::from_hours(2)).await.unwrap(), 0);
    assert_eq!(store.sweep("backups/y/", Duration::from_mins(1)).await.unwrap(), 0);
    assert_eq!(store.sweep("backups/x/", Duration::from_mins(1)).await.unwrap(), 1);
    assert!(files(directory.path()).is_empty());
}

#[tokio::test]
async fn aborted_dropped_and_deleted_objects_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_local(directory.path());
    store.upload("a/b/c").await.unwrap().abort().await.unwrap();
    store.create("d/e/f", Bytes::from_static(b"x")).await.unwrap();
    store.delete("d/e/f").await.unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "not even empty directories");
    let mut dropped = store.upload("g/h").await.unwrap();
    dropped.write(noise(2, 5_000_000)).await.unwrap();
    drop(dropped);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(files(directory.path()).is_empty());
}

#[tokio::test]
async fn an_upload_whose_write_was_given_up_can_be_aborted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_local(directory.path());
    let mut upload = store.upload("a/b/c").await.unwrap();
    let piece = noise(3, 40_000_000);
    upload.write(piece.clone()).await.unwrap();
    // The first piece is still being written and synced, so this one waits.
    assert!(upload.write(piece).now_or_never().is_none(), "the disk was too fast to be interrupted");
    upload.abort().await.unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "not even empty directories");
}

#[tokio::test]
async fn objects_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_local(&directory.path().join("new/repository"));
    store.create_root().await.unwrap();
    store.create("a/created", Bytes::from_static(b"x")).await.unwrap();
    store.upload("a/uploaded").await.unwrap().finish(&sha256(b"")).await.unwrap();
    let mode = |path: &str| std::fs::metadata(directory.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("new/repository"), 0o700);
    assert_eq!(mode("new/repository/a"), 0o700);
    assert_eq!(mode("new/repository/a/created"), 0o600);
    assert_eq!(mode("new/repository/a/uploaded"), 0o600);
}

#[tokio::test]
async fn foreign_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_local(directory.path());
    store.create("a/object", Bytes::from_static(b"x")).await.unwrap();
    std::os::unix::fs::symlink("/etc/hostname", directory.path().join("a/link")).unwrap();
    std::os::unix::fs::symlink("..", directory.path().join("a/loop")).unwrap();
    let keys: Vec<_> = store.list("").await.unwrap().into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, ["a/object"]);
    assert_eq!(store.sweep("", Duration::ZERO).await.unwrap(), 0);
}

#[tokio::test]
async fn an_object_is_no_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_local(directory.path());
    store.create("a/b", Bytes::from_static(b"x")).await.unwrap();
    assert!(matches!(store.read("a", None).await, Err(StorageError::NotFound { .. })));
    assert!(matches!(store.size("a").await, Err(StorageError::NotFound { .. })));
    assert!(matches!(store.size("a/b/c").await, Err(StorageError::NotFound { .. })));
    store.delete("a").await.unwrap();
    assert!(matches!(store.create("a", Bytes::new()).await, Err(StorageError::AlreadyExists { .. })));
    assert!(matches!(store.create("a/b/c", Bytes::new()).await, Err(StorageError::Other { .. })));
    assert_eq!(store.read("a/b", None).await.unwrap(), "x");
}

/// The kernel's own directory refuses files even to root, which no permission of an ordinary one does.
#[tokio::test]
async fn a_locked_place_is_denied() {
    let store = open_local(Path::new("/sys"));
    for error in [
        store.create("object", Bytes::from_static(b"x")).await.unwrap_err(),
        store.create("kernel/object", Bytes::from_static(b"x")).await.unwrap_err(),
        store.upload("object").await.err().unwrap(),
    ] {
        assert!(matches!(&error, StorageError::Denied { place, .. } if place == "/sys"), "{error}");
    }
}

/// Returns the files below `directory`.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}
