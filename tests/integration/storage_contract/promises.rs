//! What every store promises, one function each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use regrow::codec::sha256;
use regrow::storage::{Entry, Storage, StorageError};

use super::{Subject, noise};

const MIB: usize = 1024 * 1024;

/// The size from which a bucket takes an object in several parts.
const PART: usize = 8 * MIB;

pub async fn what_is_created_is_read_back(Subject { store, .. }: &Subject) {
    let content = noise(1, 100_000);
    let stored = store.create("a/b/c", content.clone()).await.unwrap();
    assert_eq!(stored.size, 100_000);
    let checks_content = store.probe().await.unwrap().checks_content;
    assert_eq!(stored.confirmed, checks_content, "a store that checks the SHA-256 says so");
    assert_eq!(store.size("a/b/c").await.unwrap(), 100_000);
    assert_eq!(store.read("a/b/c", None).await.unwrap(), content);
}

pub async fn an_object_may_be_empty(Subject { store, .. }: &Subject) {
    let stored = store.create("created", Bytes::new()).await.unwrap();
    assert_eq!(stored.size, 0);
    let stored = store.upload("uploaded").await.unwrap().finish(&sha256(b"")).await.unwrap();
    assert_eq!(stored.size, 0);
    for key in ["created", "uploaded"] {
        assert_eq!(store.size(key).await.unwrap(), 0);
        assert!(store.read(key, None).await.unwrap().is_empty());
        assert!(store.read(key, Some(0..10)).await.unwrap().is_empty());
    }
    assert_eq!(keys(store, "").await, ["created", "uploaded"]);
}

pub async fn a_taken_key_is_refused(Subject { store, .. }: &Subject) {
    store.create("manifest", Bytes::from_static(b"first")).await.unwrap();
    for content in ["second", "first"] {
        let error = store.create("manifest", Bytes::from_static(content.as_bytes())).await.unwrap_err();
        assert!(matches!(&error, StorageError::AlreadyExists { key } if key == "manifest"), "{error}");
    }
    assert_eq!(store.read("manifest", None).await.unwrap(), "first");
}

pub async fn of_many_creators_one_wins(Subject { store, atomic, .. }: &Subject) {
    let contents: Vec<Bytes> = (0..16).map(|creator| noise(creator, 50_000)).collect();
    let barrier = Arc::new(tokio::sync::Barrier::new(contents.len()));
    let creators = contents.iter().cloned().map(|content| {
        let (store, barrier) = (store.clone(), barrier.clone());
        tokio::spawn(async move {
            barrier.wait().await;
            store.create("backups/x/manifest.json", content).await
        })
    });
    let (mut winners, mut unsure) = (Vec::new(), Vec::new());
    for (creator, outcome) in join_all(creators).await.into_iter().enumerate() {
        match outcome.unwrap() {
            Ok(_) => winners.push(contents[creator].clone()),
            // A server may refuse before it has read all, and the connection breaks before its answer arrives.
            Err(error) if error.is_transient() => unsure.push(contents[creator].clone()),
            Err(error) => assert!(matches!(error, StorageError::AlreadyExists { .. }), "{error}"),
        }
    }
    let found = store.read("backups/x/manifest.json", None).await.unwrap();
    if !winners.contains(&found) {
        assert!(unsure.contains(&found), "what is there is whole and a winner's");
        winners.push(found);
    }
    assert!(winners.len() == 1 || !atomic, "{} winners", winners.len());
    assert_eq!(keys(store, "").await, ["backups/x/manifest.json"]);
}

pub async fn only_what_is_unchanged_is_replaced(Subject { store, .. }: &Subject) {
    let [first, second, third] = [11, 12, 13].map(|seed| noise(seed, 1000));
    let is_changed = |outcome| matches!(outcome, Err(StorageError::Changed { key }) if key == "control/lease.json");
    assert!(is_changed(store.replace("control/lease.json", first.clone(), second.clone()).await), "it is not there");
    store.create("control/lease.json", first.clone()).await.unwrap();
    store.replace("control/lease.json", first.clone(), second.clone()).await.unwrap();
    assert!(is_changed(store.replace("control/lease.json", first, third.clone()).await), "it is another");
    assert_eq!(store.read("control/lease.json", None).await.unwrap(), second);
    store.replace("control/lease.json", second, third.clone()).await.unwrap();
    assert_eq!(store.read("control/lease.json", None).await.unwrap(), third);
    assert_eq!(keys(store, "").await, ["control/lease.json"]);
}

pub async fn of_many_replacers_one_wins(Subject { store, atomic, .. }: &Subject) {
    let mut current = noise(20, 1000);
    store.create("control/lease.json", current.clone()).await.unwrap();
    for round in 0..5 {
        let offers: Vec<Bytes> = (0..8).map(|replacer| noise(100 * (round + 1) + replacer, 1000)).collect();
        let replacers = offers.iter().cloned().map(|offer| {
            let (store, current) = (store.clone(), current.clone());
            tokio::spawn(async move { store.replace("control/lease.json", current, offer).await })
        });
        let outcomes: Vec<_> = join_all(replacers).await.into_iter().map(Result::unwrap).collect();
        let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(StorageError::Changed { .. }))).count();
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won + lost, offers.len(), "{outcomes:?}");
        assert!(won == 1 || (!atomic && won > 1), "{outcomes:?}");
        current = store.read("control/lease.json", None).await.unwrap();
        let winners = offers.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(offer, _)| offer);
        assert!(winners.into_iter().any(|winner| *winner == current), "the content is nobody's");
    }
}

pub async fn keys_may_have_odd_characters(Subject { store, .. }: &Subject) {
    let mut odd = ["a b", "a+b", "a%20b", "a%b", "ä/ö/€/😀", "q?x=1&y=2", "#hash", "d/..e", "~(!*')@$,;:=", "a\"<>&b"];
    for key in odd {
        store.create(key, Bytes::copy_from_slice(key.as_bytes())).await.unwrap();
    }
    for key in odd {
        assert_eq!(store.read(key, None).await.unwrap(), key.as_bytes(), "{key}");
        assert_eq!(store.size(key).await.unwrap(), key.len() as u64, "{key}");
    }
    odd.sort_unstable();
    assert_eq!(keys(store, "").await, odd);
    assert_eq!(keys(store, "a+").await, ["a+b"]);
    assert_eq!(keys(store, "a%").await, ["a%20b", "a%b"]);
    for key in odd {
        store.delete(key).await.unwrap();
    }
    assert!(keys(store, "").await.is_empty());
}

pub async fn keys_that_lead_elsewhere_are_refused(Subject { store, .. }: &Subject) {
    for key in ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/", "./a", "a\0b", ".tmp-1"] {
        let created = store.create(key, Bytes::new()).await;
        assert!(matches!(created, Err(StorageError::Other { .. })), "{key:?}");
        assert!(store.upload(key).await.is_err(), "{key:?}");
        assert!(store.read(key, None).await.is_err(), "{key:?}");
        assert!(store.size(key).await.is_err(), "{key:?}");
        assert!(store.delete(key).await.is_err(), "{key:?}");
    }
    assert!(keys(store, "../").await.is_empty());
}

pub async fn ranges_end_with_the_object(Subject { store, .. }: &Subject) {
    store.create("ten", Bytes::from_static(b"0123456789")).await.unwrap();
    for (range, expected) in [
        (0..10, "0123456789"),
        (0..1, "0"),
        (3..7, "3456"),
        (9..10, "9"),
        (5..100, "56789"),
        (10..20, ""),
        (1000..2000, ""),
        (4..4, ""),
    ] {
        let read = store.read("ten", Some(range.clone())).await.unwrap();
        assert_eq!(read, expected, "{range:?}");
    }
    assert!(matches!(store.read("none", Some(0..1)).await, Err(StorageError::NotFound { .. })));
    assert!(matches!(store.read("none", Some(1..1)).await, Err(StorageError::NotFound { .. })));
}

pub async fn a_large_upload_arrives_whole(Subject { store, .. }: &Subject) {
    let content = noise(7, 40 * MIB + 12_345);
    let mut upload = store.upload("packs/1.tar").await.unwrap();
    // Uneven writes, from a byte to more than a part.
    let mut rest = content.clone();
    for size in [1, 512, 3 * MIB + 7, 0, 17 * MIB, 65_536, 8 * MIB].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        upload.write(rest.split_to(size.min(rest.len()))).await.unwrap();
    }
    let stored = upload.finish(&sha256(&content)).await.unwrap();
    assert_eq!(stored.size, content.len() as u64);
    assert!(store.read("packs/1.tar", None).await.unwrap() == content, "the object differs from what was written");
    // Across what may be the border of two parts.
    let border = PART as u64 - 3..PART as u64 + 3;
    assert_eq!(store.read("packs/1.tar", Some(border)).await.unwrap(), content[PART - 3..PART + 3]);
    assert_eq!(store.list("").await.unwrap(), [Entry { key: "packs/1.tar".to_owned(), size: content.len() as u64 }]);
}

pub async fn uploads_of_every_size_around_a_part_arrive_whole(Subject { store, .. }: &Subject) {
    for size in [1, PART - 1, PART, PART + 1, 2 * PART] {
        let (key, content) = (format!("packs/{size}.tar"), noise(size as u64, size));
        let mut upload = store.upload(&key).await.unwrap();
        upload.write(content.clone()).await.unwrap();
        let stored = upload.finish(&sha256(&content)).await.unwrap();
        assert_eq!(stored.size, size as u64);
        assert!(store.read(&key, None).await.unwrap() == content, "{size}");
    }
}

pub async fn an_upload_to_a_taken_key_is_refused(Subject { store, .. }: &Subject) {
    for size in [10, 2 * PART] {
        let key = format!("packs/{size}.tar");
        let mut upload = store.upload(&key).await.unwrap();
        let content = noise(3, size);
        upload.write(content.clone()).await.unwrap();
        store.create(&key, Bytes::from_static(b"first")).await.unwrap();
        let error = upload.finish(&sha256(&content)).await.unwrap_err();
        assert!(matches!(error, StorageError::AlreadyExists { .. }), "{error}");
        assert_eq!(store.read(&key, None).await.unwrap(), "first");
    }
}

pub async fn an_unfinished_upload_is_invisible(Subject { store, .. }: &Subject) {
    let mut upload = store.upload("packs/1.tar").await.unwrap();
    let content = noise(4, 2 * PART + 5);
    upload.write(content.clone()).await.unwrap();
    assert!(keys(store, "").await.is_empty());
    assert!(matches!(store.size("packs/1.tar").await, Err(StorageError::NotFound { .. })));
    assert!(matches!(store.read("packs/1.tar", None).await, Err(StorageError::NotFound { .. })));
    upload.finish(&sha256(&content)).await.unwrap();
    assert_eq!(keys(store, "").await, ["packs/1.tar"]);
}

pub async fn aborted_and_dropped_uploads_stay_invisible(Subject { store, .. }: &Subject) {
    for size in [0, 10, 3 * PART] {
        let mut aborted = store.upload("packs/1.tar").await.unwrap();
        aborted.write(noise(5, size)).await.unwrap();
        aborted.abort().await.unwrap();
        let mut dropped = store.upload("packs/1.tar").await.unwrap();
        dropped.write(noise(6, size)).await.unwrap();
        drop(dropped);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(keys(store, "").await.is_empty());
        assert!(matches!(store.size("packs/1.tar").await, Err(StorageError::NotFound { .. })));
    }
    // The key is free for another try.
    store.create("packs/1.tar", Bytes::from_static(b"again")).await.unwrap();
}

pub async fn a_listing_has_every_page_in_order(Subject { store, .. }: &Subject) {
    // S3 answers with at most 1,000 keys at a time.
    let mut expected: Vec<String> = (0..1_050).map(|number| format!("oplog/{}/{number}", number % 7)).collect();
    stream::iter(expected.clone())
        .map(|key| async move { store.create(&key, Bytes::from_static(b"x")).await })
        .buffer_unordered(16)
        .try_for_each(|_| async { Ok(()) })
        .await
        .unwrap();
    expected.sort_unstable();
    assert_eq!(keys(store, "").await, expected);
    assert_eq!(keys(store, "oplog/").await, expected);
    assert_eq!(keys(store, "oplog/3/").await.len(), 150);
}

pub async fn a_prefix_is_a_string(Subject { store, .. }: &Subject) {
    for key in ["packs/1.tar", "packs/10.tar", "packs/2.tar", "packs-old", "pack", "packs/1.tar2"] {
        store.create(key, Bytes::from_static(b"x")).await.unwrap();
    }
    assert_eq!(keys(store, "packs/1").await, ["packs/1.tar", "packs/1.tar2", "packs/10.tar"]);
    assert_eq!(keys(store, "packs/").await, ["packs/1.tar", "packs/1.tar2", "packs/10.tar", "packs/2.tar"]);
    assert_eq!(keys(store, "packs").await.len(), 5);
    assert_eq!(keys(store, "packs/1.tar").await, ["packs/1.tar", "packs/1.tar2"]);
    assert!(keys(store, "other/").await.is_empty());
    assert!(keys(store, "pack/").await.is_empty());
}

pub async fn a_delete_may_be_repeated(Subject { store, .. }: &Subject) {
    store.create("backups/x/manifest.json", Bytes::from_static(b"1")).await.unwrap();
    store.create("backups/y/manifest.json", Bytes::from_static(b"2")).await.unwrap();
    store.delete("backups/x/manifest.json").await.unwrap();
    store.delete("backups/x/manifest.json").await.unwrap();
    store.delete("never/was").await.unwrap();
    assert_eq!(keys(store, "").await, ["backups/y/manifest.json"]);
    store.create("backups/x/manifest.json", Bytes::from_static(b"3")).await.unwrap();
    assert_eq!(store.read("backups/x/manifest.json", None).await.unwrap(), "3");
}

pub async fn a_missing_object_is_not_found(Subject { store, .. }: &Subject) {
    for error in [store.read("a/b", None).await.unwrap_err(), store.size("a/b").await.unwrap_err()] {
        assert!(matches!(&error, StorageError::NotFound { key } if key == "a/b"), "{error}");
    }
}

pub async fn a_missing_place_is_named(Subject { nowhere, .. }: &Subject) {
    let uploaded = async {
        let mut upload = nowhere.upload("a").await?;
        upload.write(Bytes::from_static(b"x")).await?;
        upload.finish(&sha256(b"x")).await
    };
    for error in [
        nowhere.create("a", Bytes::from_static(b"x")).await.unwrap_err(),
        uploaded.await.unwrap_err(),
        nowhere.read("a", None).await.unwrap_err(),
        nowhere.size("a").await.unwrap_err(),
        nowhere.list("").await.unwrap_err(),
        nowhere.delete("a").await.unwrap_err(),
    ] {
        assert!(matches!(&error, StorageError::NoSuchPlace { place } if place.contains("no")), "{error}");
    }
}

pub async fn a_sweep_spares_what_is_young(Subject { store, .. }: &Subject) {
    store.create("packs/0.tar", Bytes::from_static(b"whole")).await.unwrap();
    let mut under_way = store.upload("packs/1.tar").await.unwrap();
    let content = noise(8, PART + 1);
    under_way.write(content.clone()).await.unwrap();
    assert_eq!(store.sweep("", Duration::from_hours(1)).await.unwrap(), 0);
    under_way.finish(&sha256(&content)).await.unwrap();
    assert_eq!(store.sweep("", Duration::ZERO).await.unwrap(), 0);
    assert_eq!(keys(store, "").await, ["packs/0.tar", "packs/1.tar"]);
}

pub async fn probes_tell_the_truth_and_leave_one_marker_at_most(Subject { store, .. }: &Subject) {
    for _ in 0..3 {
        let abilities = store.probe().await.unwrap();
        assert!(abilities.create_if_absent, "{abilities:?}");
        assert!(abilities.checks_content, "{abilities:?}");
        assert!(abilities.replace_if_unchanged, "{abilities:?}");
    }
    let left = keys(store, "").await;
    assert!(left.len() <= 1 && left.iter().all(|key| key.starts_with("control/probe-")), "{left:?}");
}

async fn keys(store: &Arc<dyn Storage>, prefix: &str) -> Vec<String> {
    store.list(prefix).await.unwrap().into_iter().map(|entry| entry.key).collect()
}
