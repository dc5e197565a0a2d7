//! Gaps, other histories, and sources that have none.

use std::time::Duration;

use mongodb::bson::{Binary, Document, doc, spec::BinarySubtype};
use mongodb::{Client, Collection};
use serde_json::Value;

use super::{capture_up_to_now, is_the_oplog, listed, start, workspace};
use crate::harness::{self, Options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oplog_that_rolled_over_is_a_gap_that_is_shown_and_not_restored_into() {
    let servers = harness::own(&Options { oplog_megabytes: 8, checkpoint_seconds: 1, ..Options::default() });
    let (client, workspace) = (servers.client().await, workspace(&servers));
    capture_up_to_now(&workspace);
    workspace.run(["backup"]).exits(0);
    let blocks = client.database("shop").collection::<Document>("blocks");
    blocks.insert_one(doc! { "_id": "before" }).await.unwrap();
    capture_up_to_now(&workspace);
    let before = listed(&workspace);
    roll_over(&client, &blocks).await;
    let said = workspace.run(["capture", "--once"]).exits(0).stderr;
    assert!(said.contains("warning: a gap: the oplog from"), "{said}");
    assert!(said.contains("rolled over before it was captured"), "{said}");
    assert!(said.contains("take a backup now"), "{said}");
    let after = listed(&workspace);
    assert_eq!(after["recovery_window"], before["recovery_window"], "nothing leads across a gap");
    let gap = &after["gaps"][0];
    assert_eq!(gap["begin"], before["recovery_window"][0]["end"]);
    assert!(workspace.run(["list"]).exits(0).stdout.contains("lost: "));
    // A backup opens the window again.
    workspace.run(["backup"]).exits(0);
    blocks.insert_one(doc! { "_id": "after" }).await.unwrap();
    capture_up_to_now(&workspace);
    let window = listed(&workspace)["recovery_window"].clone();
    assert_eq!(window.as_array().unwrap().len(), 2, "{window}");
    assert!(window[1]["end"]["t"].as_u64() >= window[1]["begin"]["t"].as_u64(), "{window}");
    assert_ne!(window[1]["begin"], window[1]["end"], "the oplog leads on from it");
    let restore = |at: &Value, later: u64| {
        let at = format!("{},{}", at["t"], at["i"].as_u64().unwrap() + later);
        workspace.run(["restore", "--at", &at, "--map", "shop=copy", "--confirm", "rs0"])
    };
    let said = restore(&gap["begin"], 1).exits(4).stderr;
    assert!(said.contains("is not whole up to there"), "{said}");
    for nearest in [&window[0]["end"], &window[1]["begin"]] {
        assert!(said.contains(&format!("--at {},{}", nearest["t"], nearest["i"])), "{said}");
    }
    assert!(!client.list_database_names().await.unwrap().contains(&"copy".to_owned()), "nothing was touched");
    let said = workspace.run(["oplog", "--ns", "shop.blocks"]).exits(0).stderr;
    assert!(said.contains("is lost and was not searched"), "{said}");
    // What lies before the gap can still be had.
    restore(&gap["begin"], 0).exits(0);
    let restored = client.database("copy").collection::<Document>("blocks").find_one(doc! {}).await.unwrap();
    assert_eq!(restored, Some(doc! { "_id": "before" }));
}

/// Writes until the oplog begins later than it did.
pub async fn roll_over(client: &Client, blocks: &Collection<Document>) {
    let bytes: Vec<u8> = (0..32_768_u32).flat_map(|part| regrow::codec::sha256(&part.to_le_bytes())).collect();
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let first = async || oplog.find_one(doc! {}).await.unwrap().unwrap().get_timestamp("ts").unwrap();
    let before = first().await;
    let mut number = 0;
    while first().await == before {
        let noise = Binary { subtype: BinarySubtype::Generic, bytes: bytes.clone() };
        blocks.insert_one(doc! { "_id": number, "noise": noise }).await.unwrap();
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(number < 1000, "the oplog never rolled over");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_set_begins_another_timeline() {
    let (one, other) = (harness::replica_set(), harness::own(&Options::default()));
    let mut workspace = workspace(one);
    capture_up_to_now(&workspace);
    workspace.set("source.uri", other.uri());
    let said = workspace.run(["capture", "--once"]).exits(0).stderr;
    assert!(said.contains("beginning timeline") && said.contains("the source is another replica set"), "{said}");
    assert!(said.contains("take a backup now"), "{said}");
    let client = other.client().await;
    client.database("shop").collection::<Document>("orders").insert_one(doc! {}).await.unwrap();
    capture_up_to_now(&workspace);
    is_the_oplog(&workspace, &client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_compatibility_version_begins_another_timeline() {
    let servers = harness::own(&Options::default());
    let (client, workspace) = (servers.client().await, workspace(&servers));
    capture_up_to_now(&workspace);
    let mut capture = start(&workspace);
    let admin = client.database("admin");
    admin.run_command(doc! { "setFeatureCompatibilityVersion": "5.0" }).await.unwrap();
    capture.wait_until_it_says("the feature compatibility version changed from 6.0 to 5.0");
    capture.wait_until_it_says("take a backup now");
    client.database("shop").collection::<Document>("orders").insert_one(doc! {}).await.unwrap();
    capture.signal("TERM");
    capture.wait().exits(0);
    capture_up_to_now(&workspace);
    is_the_oplog(&workspace, &client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capture_begins_where_a_backup_leads_on() {
    let servers = harness::own(&Options::default());
    let (client, workspace) = (servers.client().await, workspace(&servers));
    workspace.run(["backup"]).exits(0);
    client.database("shop").collection::<Document>("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    let said = workspace.run(["capture", "--once"]).exits(0).stderr;
    assert!(!said.contains("take a backup now"), "{said}");
    let window = listed(&workspace)["recovery_window"].clone();
    assert_eq!(window.as_array().unwrap().len(), 1, "{window}");
    assert_ne!(window[0]["begin"], window[0]["end"], "what was written before capture began is in it");
}

#[test]
fn a_standalone_server_has_no_oplog() {
    let workspace = workspace(harness::standalone());
    let run = workspace.run(["capture", "--once"]).exits(3);
    assert_eq!(
        run.stderr,
        "error: this is a standalone server: it has no oplog, and without one there is no restore to a point in time\n\
         hint: start mongod with --replSet rs0 and run rs.initiate() once: a set of one node is enough\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_read_the_oplog_is_told_what_to_grant() {
    let servers = harness::authenticated();
    let admin = servers.client().await.database("admin");
    let name = harness::unique_database_name();
    let create = doc! { "createUser": &name, "pwd": "secret", "roles": ["readAnyDatabase"] };
    admin.run_command(create).await.unwrap();
    let uri = servers.anonymous_uri(0).replace("mongodb://", &format!("mongodb://{name}:secret@"));
    let mut workspace = workspace(servers);
    workspace.set("source.uri", uri.as_str());
    let run = workspace.run(["capture", "--once"]).exits(3);
    assert!(run.stderr.contains("lacks the privilege"), "{}", run.stderr);
    let hint = "hint: grant the user of the URI the built-in roles backup and clusterMonitor on the database admin";
    assert!(run.stderr.contains(hint), "{}", run.stderr);
    admin.run_command(doc! { "grantRolesToUser": &name, "roles": ["backup", "clusterMonitor"] }).await.unwrap();
    capture_up_to_now(&workspace);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let mut workspace = workspace(harness::replica_set());
    workspace.set("oplog.slice_interval", "500ms");
    let said = workspace.run(["capture"]).exits(3).stderr;
    assert!(said.contains("oplog.slice_interval is 500 ms"), "{said}");
    workspace.set("oplog.slice_interval", "1s").set("oplog.enabled", false);
    let said = workspace.run(["capture"]).exits(3).stderr;
    assert!(said.contains("switches capture off"), "{said}");
}
