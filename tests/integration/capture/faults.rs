//! Killed processes, servers and stores.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{Acknowledgment, WriteConcern};
use regrow::capture::{self, CaptureContext, CaptureEvent, CaptureSettings};
use regrow::clock::Clock;
use regrow::mongo::Deployment;
use regrow::random::Random;
use regrow::secret::Secret;
use regrow::storage::{Backoff, S3, S3Credentials, S3Options};

use super::{
    Writer, agrees, capture_up_to_now, entries, is_the_oplog, listed, on_disk, quick, repository, start, workspace,
};
use crate::harness::{self, Options, Topology, Workspace};
use crate::small_backups::signing_key;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_loses_and_repeats_nothing() {
    let (servers, database) = (harness::replica_set(), harness::unique_database_name());
    let (client, workspace) = (servers.client().await, workspace(servers));
    capture_up_to_now(&workspace);
    let writer = Writer::start(&client, &database);
    for moment in [300, 700, 1100, 1300, 1700, 1900, 2300, 900] {
        let mut capture = workspace.regrow(["capture"]).spawn();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        capture.kill();
        capture.wait();
    }
    let written = writer.stop().await;
    capture_up_to_now(&workspace);
    assert!(is_the_oplog(&workspace, &client).await >= usize::try_from(written).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_and_lost_members_leave_no_hole() {
    let servers = harness::own(&Options { topology: Topology::ReplicaSet { nodes: 3 }, ..Options::default() });
    let (client, workspace) = (servers.client().await, workspace(&servers));
    capture_up_to_now(&workspace);
    let writer = Writer::start(&client, "shop");
    let capture = start(&workspace);
    let down = client.database("admin").run_command(doc! { "replSetStepDown": 10, "force": true }).await;
    assert!(down.is_ok(), "{down:?}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    // One after the other, so that the one that is read from is among them.
    for node in 0..3 {
        servers.kill(node);
        tokio::time::sleep(Duration::from_secs(2)).await;
        servers.start_again(node);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    writer.stop().await;
    capture.signal("TERM");
    capture.wait().exits(0);
    capture_up_to_now(&workspace);
    let entries = is_the_oplog(&workspace, &client).await;
    assert!(entries > 100, "{entries}");
}

/// A member whose oplog begins later, because it was synchronised anew, is no proof that anything is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_does_not_answer_may_have_what_another_has_lost() {
    let servers = harness::own(&Options { topology: Topology::ReplicaSet { nodes: 3 }, ..Options::default() });
    let (client, workspace) = (servers.client().await, workspace(&servers));
    capture_up_to_now(&workspace);
    let orders = client.database("shop").collection::<Document>("orders");
    orders.insert_one(doc! { "_id": "before" }).await.unwrap();
    let primary = servers.primary().await;
    let [anew, other] = [1, 2].map(|step| (primary + step) % 3);
    servers.stop(anew);
    for entry in fs::read_dir(&servers.hosts()[anew].dbpath).unwrap().map(Result::unwrap) {
        let remove = if entry.path().is_dir() { fs::remove_dir_all } else { fs::remove_file };
        remove(entry.path()).unwrap();
    }
    servers.start_again(anew);
    let everywhere = WriteConcern::builder().w(Acknowledgment::Nodes(3)).build();
    orders.insert_one(doc! { "_id": "after" }).write_concern(everywhere).await.unwrap();

    for silent in [primary, other] {
        servers.pause(silent);
    }
    let mut capture = workspace.regrow(["capture"]).spawn();
    capture.wait_until_it_says("may have the oplog that the others have lost, and does not tell");
    for silent in [primary, other] {
        servers.resume(silent);
    }
    capture.wait_until_it_says("captured up to");
    capture.signal("TERM");
    let said = capture.wait().exits(0).stderr;
    assert!(!said.contains("a gap"), "{said}");
    capture_up_to_now(&workspace);
    assert_eq!(listed(&workspace)["gaps"], serde_json::json!([]));
    is_the_oplog(&workspace, &servers.client().await).await;
}

/// It answers every question, and its oplog does not grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secondary_whose_replication_stands_still_is_left() {
    let servers = harness::own(&Options {
        topology: Topology::ReplicaSet { nodes: 3 },
        parameters: vec!["enableTestCommands=1"],
        ..Options::default()
    });
    let (client, workspace) = (servers.client().await, workspace(&servers));
    let primary = servers.primary().await;
    let [still, hidden] = [1, 2].map(|step| (primary + step) % 3);
    // Nobody is sent to a hidden one, so there is but one secondary to read from.
    let admin = client.database("admin");
    let mut reply = admin.run_command(doc! { "replSetGetConfig": 1 }).await.unwrap();
    let mut config = reply.get_document_mut("config").unwrap().clone();
    let version = config.get_i32("version").unwrap() + 1;
    config.insert("version", version);
    for member in config.get_array_mut("members").unwrap() {
        let member = member.as_document_mut().unwrap();
        if member.get_str("host").unwrap() == servers.hosts()[hidden].address() {
            member.extend(doc! { "hidden": true, "priority": 0 });
        }
    }
    admin.run_command(doc! { "replSetReconfig": config }).await.unwrap();
    capture_up_to_now(&workspace);
    let mut capture = start(&workspace);
    let order = doc! { "configureFailPoint": "rsSyncApplyStop", "mode": "alwaysOn" };
    servers.node_client(still).await.database("admin").run_command(order).await.unwrap();
    let writer = Writer::start(&client, "shop");
    capture.wait_until_it_says("does not follow its replica set");
    writer.stop().await;
    let last =
        Deployment::connect(&Secret::new(servers.uri().to_owned())).await.unwrap().committed_time().await.unwrap();
    let mut waited = 0;
    while on_disk(&workspace).await.captured().await.unwrap().pop().unwrap().end() < last.unwrap().into() {
        assert!(waited < 600, "{}", capture.stderr());
        waited += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    capture.signal("TERM");
    capture.wait().exits(0);
    is_the_oplog(&workspace, &client).await;
}

/// Whoever runs it from cron must hear of it, and not find ten of them waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capturing_once_does_not_wait_for_ever_for_a_source_or_a_store_that_is_away() {
    for source_is_away in [true, false] {
        let servers = Arc::new(harness::own(&Options { s3: true, ..Options::default() }));
        let workspace = quick(Workspace::on_s3(servers.uri(), servers.s3()));
        capture_up_to_now(&workspace);
        servers.client().await.database("shop").collection("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
        let prefix = workspace.repository_url().rsplit('/').next().unwrap().to_owned();
        let options = S3Options { prefix, backoff: Backoff::without_pauses(), ..servers.s3().options() };
        let store = S3::connect(options, Clock::system(), Random::system()).await.unwrap();
        let goes = Arc::clone(&servers);
        let context = CaptureContext {
            deployment: Deployment::connect(&Secret::new(servers.uri().to_owned())).await.unwrap(),
            repository: repository(Arc::new(store)).await,
            recipients: None,
            signing_key: signing_key(&workspace),
            source: "test".into(),
            settings: CaptureSettings { once: true, patience: Duration::from_secs(1), ..CaptureSettings::default() },
            clock: Clock::system(),
            random: Random::system(),
            report: Box::new(move |event| match event {
                CaptureEvent::Resumed(_) if source_is_away => goes.kill(0),
                CaptureEvent::Resumed(_) => goes.kill_s3(),
                _ => {}
            }),
        };
        let error = capture::run(&context, std::future::pending()).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capturing_once_that_is_interrupted_does_not_say_that_it_is_done() {
    let (servers, database) = (harness::replica_set(), harness::unique_database_name());
    let workspace = workspace(servers);
    capture_up_to_now(&workspace);
    // More than a slice holds: there is much to do behind the first.
    let orders = servers.client().await.database(&database).collection("orders");
    orders.insert_many((0..40).map(|number| doc! { "_id": number, "text": "x".repeat(1 << 20) })).await.unwrap();
    let log = workspace.path("operations");
    let mut capture = workspace.with_faults("none,stop=create oplog", &log, &["capture", "--once"]).spawn();
    capture.wait_until("its first slice", |_| fs::read_to_string(&log).is_ok_and(|log| log.contains("create oplog")));
    capture.signal("TERM");
    capture.signal("CONT");
    let said = capture.wait().exits(130).stderr;
    assert!(said.contains("interrupted before it had come up to now"), "{said}");
    capture_up_to_now(&workspace);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_waited_for() {
    let servers = harness::own(&Options { s3: true, ..Options::default() });
    let s3 = servers.s3();
    let (client, workspace) = (servers.client().await, quick(Workspace::on_s3(servers.uri(), s3)));
    capture_up_to_now(&workspace);
    let writer = Writer::start(&client, "shop");
    let mut capture = start(&workspace);
    servers.kill_s3();
    capture.wait_until_it_says("wait for the repository, trying again");
    servers.start_s3_again();
    writer.stop().await;
    capture.signal("TERM");
    capture.wait().exits(0);
    capture_up_to_now(&workspace);
    let url = workspace.repository_url();
    let prefix = url.rsplit('/').next().unwrap().to_owned();
    let credentials = S3Credentials {
        access_key_id: s3.access_key.clone(),
        secret_access_key: Secret::new(s3.secret_key.clone()),
        session_token: None,
    };
    let options = S3Options {
        bucket: s3.bucket.clone(),
        prefix,
        region: Some("us-east-1".into()),
        endpoint: Some(s3.endpoint.clone()),
        credentials: Some(credentials),
        ..S3Options::default()
    };
    let store = S3::connect(options, Clock::system(), Random::system()).await.unwrap();
    agrees(&repository(Arc::new(store)).await, &workspace, &client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capturing_once_ends_where_the_store_is_full() {
    let (servers, database) = (harness::replica_set(), harness::unique_database_name());
    let workspace = workspace(servers);
    capture_up_to_now(&workspace);
    let written = servers.client().await.database(&database).collection("written");
    written.insert_one(doc! { "_id": "not captured yet" }).await.unwrap();
    let log = workspace.path("operations");
    let run = workspace.with_faults("full@1", &log, &["capture", "--once"]).run().exits(1);
    assert!(run.stderr.contains("could not be stored") && run.stderr.contains("is full"), "{run:?}");
    assert!(run.stderr.contains("hint: nothing is lost"), "{run:?}");
    workspace.run(["capture", "--once"]).exits(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oplog_that_will_not_last_until_the_store_is_back_is_warned_of() {
    let servers = harness::own(&Options { s3: true, ..Options::default() });
    let (client, workspace) = (servers.client().await, quick(Workspace::on_s3(servers.uri(), servers.s3())));
    capture_up_to_now(&workspace);
    let writer = Writer::start(&client, "shop");
    let mut capture = start(&workspace);
    // From here on everything that the young server's oplog holds waits for the store.
    servers.kill_s3();
    capture.wait_until_it_says("behind and the server's oplog reaches back only");
    writer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_majority_does_not_have_is_not_captured() {
    let servers = harness::own(&Options {
        topology: Topology::ReplicaSet { nodes: 3 },
        parameters: vec!["enableTestCommands=1"],
        ..Options::default()
    });
    let primary = servers.primary().await;
    let client = servers.client().await;
    let mut workspace = workspace(&servers);
    workspace.set("oplog.read_preference", "primary");
    let capture = start(&workspace);
    let replication = async |mode: &str| {
        for node in (0..3).filter(|node| *node != primary) {
            let order = doc! { "configureFailPoint": "rsSyncApplyStop", "mode": mode };
            servers.node_client(node).await.database("admin").run_command(order).await.unwrap();
        }
    };
    let is_captured = async || {
        let repository = on_disk(&workspace).await;
        let captured = repository.captured().await.unwrap().pop().unwrap();
        let entries = entries(&repository, &workspace, &captured).await;
        let has = |entry: &RawDocumentBuf, key, value| entry.get_str(key).is_ok_and(|found| found == value);
        let is_it = |entry| has(entry, "ns", "shop.orders") && has(entry, "op", "i");
        entries.iter().any(|(_, entry)| is_it(entry))
    };
    replication("alwaysOn").await;
    let insert = doc! { "insert": "orders", "documents": [{ "_id": 1 }], "writeConcern": { "w": 1 } };
    client.database("shop").run_command(insert).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!is_captured().await, "it could still be rolled back");
    replication("off").await;
    while !is_captured().await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(capture);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_goes_on_behind_one_that_runs_once() {
    let (servers, database) = (harness::replica_set(), harness::unique_database_name());
    let (client, workspace) = (servers.client().await, workspace(servers));
    capture_up_to_now(&workspace);
    let writer = Writer::start(&client, &database);
    let capture = workspace.regrow(["capture"]).spawn();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        capture_up_to_now(&workspace);
    }
    writer.stop().await;
    capture.signal("TERM");
    let said = capture.wait().exits(0).stderr;
    assert!(said.contains("this one goes on behind that"), "{said}");
    is_the_oplog(&workspace, &client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_captures_one_gives_way() {
    let (servers, database) = (harness::replica_set(), harness::unique_database_name());
    let (client, workspace) = (servers.client().await, workspace(servers));
    capture_up_to_now(&workspace);
    let writer = Writer::start(&client, &database);
    let (one, other) = (workspace.regrow(["capture"]).spawn(), workspace.regrow(["capture"]).spawn());
    let (mut one, mut other) = (one, other);
    let loser = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if !one.is_running() {
            break std::mem::replace(&mut one, other);
        }
        if !other.is_running() {
            break other;
        }
    };
    let said = loser.wait().exits(75).stderr;
    assert!(said.contains("another capture has stored the oplog behind"), "{said}");
    writer.stop().await;
    one.signal("TERM");
    one.wait().exits(0);
    is_the_oplog(&workspace, &client).await;
}
