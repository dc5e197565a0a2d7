//! What holds when a storage operation fails, whichever it is: with `Faulty`, stopped before, made to fail
//! once, or robbed of its answer at each operation in turn.

use bytes::Bytes;
use regrow::codec::sha256;
use regrow::storage::{Fault, Faulty, Local, Storage, StorageResult, Stored};
use tempfile::TempDir;

use super::{noise, open_local, patient};

/// A run with one of each operation that changes something.
async fn run(store: &impl Storage) -> StorageResult<(Stored, Stored)> {
    let mut upload = store.upload("packs/1.tar").await?;
    for piece in 0..3 {
        upload.write(noise(piece, 700_000)).await?;
    }
    let pack = upload.finish(&sha256(&pack())).await?;
    store.delete("control/lease.json").await?;
    let manifest = store.create("manifest.json", Bytes::from_static(b"{}")).await?;
    store.list("").await?;
    Ok((pack, manifest))
}

fn pack() -> Vec<u8> {
    (0..3).flat_map(|piece| noise(piece, 700_000)).collect()
}

fn place() -> (TempDir, Local) {
    let directory = tempfile::tempdir().unwrap();
    let store = open_local(directory.path());
    (directory, store)
}

/// Returns how many operations [`run`] takes.
async fn operations() -> u64 {
    let (_directory, store) = place();
    let counting = Faulty::counting(store);
    run(&counting).await.unwrap();
    counting.count()
}

#[tokio::test]
async fn a_crash_before_any_operation_leaves_whole_objects_in_order() {
    let operations = operations().await;
    assert_eq!(operations, 8);
    for at in 1..=operations {
        let (_directory, store) = place();
        let error = run(&Faulty::new(store.clone(), Fault::Crash, at)).await.unwrap_err();
        assert!(!error.is_transient(), "nobody repeats what a killed process did: {error}");
        let keys: Vec<String> = store.list("").await.unwrap().into_iter().map(|entry| entry.key).collect();
        let expected: &[&str] = match at {
            ..=5 => &[],
            6..=7 => &["packs/1.tar"],
            _ => &["manifest.json", "packs/1.tar"],
        };
        assert_eq!(keys, expected, "operation {at}");
        if at > 5 {
            assert!(store.read("packs/1.tar", None).await.unwrap() == pack(), "operation {at}");
        }
    }
}

#[tokio::test]
async fn a_crash_during_an_upload_leaves_what_a_killed_process_would() {
    let (directory, store) = place();
    run(&Faulty::new(store.clone(), Fault::Crash, 4)).await.unwrap_err();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let left = std::fs::read_dir(directory.path().join("packs")).unwrap().count();
    assert_eq!(left, 1, "the temporary file is still there");
    assert_eq!(store.sweep("", std::time::Duration::ZERO).await.unwrap(), 1);
}

#[tokio::test]
async fn a_fault_that_passes_is_made_good_or_reported() {
    for fault in [Fault::FailOnce, Fault::LostReply] {
        for at in 1..=operations().await {
            let (_directory, store) = place();
            let outcome = run(&patient(Faulty::new(store.clone(), fault, at))).await;
            // A write cannot be repeated, and a finish that had no effect has used the upload up.
            let is_fatal = matches!((at, fault), (2..=4, _) | (5, Fault::FailOnce));
            assert_eq!(outcome.is_err(), is_fatal, "{fault:?} at operation {at}: {outcome:?}");
            if let Ok((stored, manifest)) = outcome {
                assert!(stored.confirmed && manifest.confirmed);
                assert!(store.read("packs/1.tar", None).await.unwrap() == pack());
                assert_eq!(store.read("manifest.json", None).await.unwrap(), "{}");
            }
        }
    }
}

#[tokio::test]
async fn a_lost_answer_does_not_claim_another_writers_object() {
    let (_directory, store) = place();
    store.create("manifest.json", Bytes::from_static(b"another's")).await.unwrap();
    let retrying = patient(Faulty::new(store.clone(), Fault::FailOnce, 1));
    let error = retrying.create("manifest.json", Bytes::from_static(b"our own")).await.unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(store.read("manifest.json", None).await.unwrap(), "another's");
}

#[tokio::test]
async fn a_replacement_whose_answer_was_lost_is_known_as_ones_own() {
    let (_directory, store) = place();
    let [old, new, another] = ["old", "new", "another"].map(|text| Bytes::from_static(text.as_bytes()));
    store.create("lease", old.clone()).await.unwrap();
    let retrying = patient(Faulty::new(store.clone(), Fault::LostReply, 1));
    retrying.replace("lease", old.clone(), new.clone()).await.unwrap();
    assert_eq!(store.read("lease", None).await.unwrap(), new);
    let retrying = patient(Faulty::new(store.clone(), Fault::FailOnce, 1));
    let error = retrying.replace("lease", old, another).await.unwrap_err();
    assert!(error.to_string().contains("changed by somebody else"), "{error}");
}

#[tokio::test]
async fn a_store_that_stays_away_is_given_up() {
    let counting = Faulty::counting(
        super::connect(regrow::storage::S3Options {
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            ..super::s3_server()
        })
        .await,
    );
    assert!(patient(counting.clone()).size("a").await.unwrap_err().is_transient());
    assert_eq!(counting.count(), 8, "the bound on attempts");
}
