//! A bucket with Object Lock: what is written once is removed by nobody before its time.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::ObjectLockMode;
use bytes::Bytes;
use mongodb::bson::{Document, doc};
use regrow::clock::Clock;
use regrow::random::Random;
use regrow::storage::{Backoff, LockMode, ObjectLock, S3, S3Options, Storage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{self, Options, Servers, Workspace};

const DAY: i64 = 24 * 3600;

/// Backups and oplog in a bucket with Object Lock, which a configuration uses for 30 days.
async fn locked(servers: &Servers) -> Workspace {
    let mut workspace = Workspace::on_s3(servers.uri(), servers.s3());
    workspace.set("repository.object_lock", "governance").set("repository.object_lock_for", "30d");
    workspace.run(["init"]).exits(0);
    let orders = servers.client().await.database("shop").collection::<Document>("orders");
    orders.insert_one(doc! { "_id": 1 }).await.unwrap();
    workspace.run(["backup"]).exits(0);
    orders.insert_one(doc! { "_id": 2 }).await.unwrap();
    workspace.run(["capture", "--once"]).exits(0);
    workspace.run(["verify"]).exits(0);
    workspace
}

async fn keys(client: &Client, bucket: &str) -> Vec<String> {
    let listed = client.list_objects_v2().bucket(bucket).send().await.unwrap();
    listed.contents().iter().filter_map(|object| object.key()).map(str::to_owned).collect()
}

#[tokio::test]
async fn everything_but_control_is_locked_and_what_was_hidden_comes_back() {
    let servers = harness::own(&Options { object_lock: true, ..Options::default() });
    let (workspace, s3) = (locked(&servers).await, servers.s3());
    let (client, bucket) = (s3.client(), s3.bucket.as_str());
    let (mut locked, mut free) = (0, 0);
    for key in keys(&client, bucket).await {
        let head = client.head_object().bucket(bucket).key(&key).send().await.unwrap();
        let mode = head.object_lock_mode().cloned();
        if key.contains("/control/") {
            assert_eq!(mode, None, "{key} is replaced all the time");
            free += 1;
            continue;
        }
        assert_eq!(mode, Some(ObjectLockMode::Governance), "{key}");
        let until = head.object_lock_retain_until_date().unwrap().secs() - Clock::system().now().as_second();
        assert!((29 * DAY..=30 * DAY).contains(&until), "{key} is locked for {until} s");
        locked += 1;
    }
    assert!(locked >= 8 && free >= 1, "{locked} locked, {free} not");

    let packs = keys(&client, bucket).await.into_iter().find(|key| key.ends_with("0001.tar")).unwrap();
    let version = client.head_object().bucket(bucket).key(&packs).send().await.unwrap();
    let destroy = client.delete_object().bucket(bucket).key(&packs).version_id(version.version_id().unwrap());
    assert!(destroy.send().await.is_err(), "a locked version was removed");
    let hidden = client.delete_object().bucket(bucket).key(&packs).send().await.unwrap();
    let said = workspace.run(["verify"]).exits(5).stdout;
    assert!(said.contains("0001.tar"), "{said}");
    let marker = client.delete_object().bucket(bucket).key(&packs).version_id(hidden.version_id().unwrap());
    marker.send().await.unwrap();
    workspace.run(["verify"]).exits(0);
}

#[tokio::test]
async fn where_nothing_can_be_locked_that_is_said_before_anything_is_stored() {
    let mut workspace = Workspace::on_s3(harness::replica_set().uri(), harness::s3());
    workspace.set("repository.object_lock", "compliance");
    let half = workspace.run(["init"]).exits(3).stderr;
    assert!(half.contains("repository.object_lock_for is missing"), "{half}");
    workspace.set("repository.object_lock_for", "1h");
    let short = workspace.run(["init"]).exits(3).stderr;
    assert!(short.contains("shorter than a day"), "{short}");
    workspace.set("repository.object_lock_for", "7d");
    let refused = workspace.run(["init"]).exits(3).stderr;
    assert!(refused.contains("has no Object Lock\nhint: make another bucket, with Object Lock"), "{refused}");
    let mut directory = Workspace::on_disk(harness::replica_set().uri());
    directory.set("repository.object_lock", "governance").set("repository.object_lock_for", "7d");
    let refused = directory.run(["init"]).exits(3).stderr;
    assert!(refused.contains("repository.object_lock means nothing for a directory"), "{refused}");
}

/// The server above forgets the lock of an object that comes in parts, so what is asked of it is looked at on its way.
#[tokio::test]
async fn an_object_that_comes_in_parts_asks_for_its_lock_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
        while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            let read = connection.read(&mut chunk).await.unwrap();
            assert_ne!(read, 0, "the request broke off");
            request.extend_from_slice(&chunk[..read]);
        }
        connection.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&request).to_ascii_lowercase()
    });
    let lock = ObjectLock { mode: LockMode::Compliance, retain_for: Duration::from_hours(48), except: "control/" };
    let options = S3Options {
        endpoint: Some(endpoint),
        lock: Some(lock),
        backoff: Backoff::without_pauses(),
        ..harness::s3().options()
    };
    let noon = Clock::manual("2026-11-23T12:00:00Z".parse().unwrap());
    let store = S3::connect(options, noon, Random::system()).await.unwrap();
    let mut upload = store.upload("backups/x/packs/0001.tar").await.unwrap();
    assert!(upload.write(Bytes::from(vec![0; 9 << 20])).await.is_err());
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("post ") && asked.contains("?uploads"), "{asked}");
    assert!(asked.contains("x-amz-object-lock-mode: compliance"), "{asked}");
    assert!(asked.contains("x-amz-object-lock-retain-until-date: 2026-11-25t12:00:00z"), "{asked}");
}
