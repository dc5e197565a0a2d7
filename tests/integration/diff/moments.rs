//! Which moment is compared: one that both sides really show.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use super::{backed_up, compared, counts, diff, documents, of};
use crate::harness::{self, Options, Workspace, fail_point};

/// How long the program is held: whatever happens meanwhile takes less.
const HELD: Duration = Duration::from_secs(4);

fn testing() -> Options {
    Options { parameters: vec!["enableTestCommands=1", "ttlMonitorEnabled=false"], ..Options::default() }
}

/// Fills a collection that takes several batches to read.
async fn fill(client: &Client) {
    let orders = documents(client, "shop", "orders").await;
    orders.insert_many((0..200).map(|n| doc! { "_id": n, "filler": "x".repeat(100_000) })).await.unwrap();
}

/// Lets the server say `times` times that it holds a moment no longer.
async fn lose_the_moment(client: &Client, times: i32) {
    const SNAPSHOT_TOO_OLD: i32 = 239;
    let data = doc! { "failCommands": ["getMore"], "appName": "regrow", "errorCode": SNAPSHOT_TOO_OLD };
    let order = doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
    client.database("admin").run_command(order).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_meanwhile_is_not_seen_by_halves() {
    let servers = harness::own(&testing());
    let client = servers.client().await;
    fill(&client).await;
    let workspace = backed_up(servers.uri(), &["--ns", "shop"]);
    let before = fail_point::hold(&client, "getMore", 0, HELD).await;
    let running = workspace.regrow(["diff", "latest", "--json"]).spawn();
    fail_point::wait_until_held(&client, before).await;
    // The first batches hold the first documents, the others the last ones.
    let orders = documents(&client, "shop", "orders").await;
    orders.delete_many(doc! { "_id": { "$in": [0, 1, 198, 199] } }).await.unwrap();
    fail_point::let_go(&client).await;
    let answer: Value = tokio::task::spawn_blocking(|| running.wait()).await.unwrap().exits(0).json();
    assert_eq!(counts(&answer, "shop.orders"), [200, 0, 0, 0], "{answer}");
    assert_eq!(of(&answer, "shop.orders")["as_of"], answer["as_of"]);
    assert_eq!(counts(&compared(&workspace, &[]), "shop.orders"), [196, 0, 4, 0]);
}

#[tokio::test]
async fn a_moment_that_is_lost_is_read_again_as_a_newer_one() {
    let servers = harness::own(&testing());
    let client = servers.client().await;
    fill(&client).await;
    let workspace = backed_up(servers.uri(), &["--ns", "shop"]);
    documents(&client, "shop", "orders").await.delete_one(doc! { "_id": 7 }).await.unwrap();
    lose_the_moment(&client, 2).await;
    let run = diff(&workspace, &["--json"]).exits(0);
    assert_eq!(counts(&run.json(), "shop.orders"), [199, 0, 1, 0], "no document counts twice");
    assert_eq!(run.stderr.matches("reading it again").count(), 2, "{}", run.stderr);
    lose_the_moment(&client, 3).await;
    let said = diff(&workspace, &[]).exits(1).stderr;
    assert!(said.contains("shop.orders") && said.contains("minSnapshotHistoryWindowInSeconds"), "{said}");
}

#[tokio::test]
async fn a_backup_that_needs_its_oplog_is_refused() {
    let servers = harness::own(&testing());
    let client = servers.client().await;
    fill(&client).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    lose_the_moment(&client, 1).await;
    let backup: Value = workspace.run(["backup", "--json"]).exits(0).json();
    assert_eq!(backup["consistency"], "oplog");
    let said = diff(&workspace, &[]).exits(7).stderr;
    assert!(said.contains("its oplog is replayed") && said.contains("hint: "), "{said}");
}

#[tokio::test]
async fn a_standalone_server_is_compared_as_it_is() {
    let servers = harness::standalone();
    let client = servers.client().await;
    let db = harness::unique_database_name();
    let orders = client.database(&db).collection::<Document>("orders");
    orders.insert_many((0..500).map(|n| doc! { "_id": n })).await.unwrap();
    let workspace = backed_up(servers.uri(), &["--ns", &db]);
    let run = diff(&workspace, &["--json", "--check"]).exits(0);
    assert_eq!(run.json::<Value>()["as_of"], Value::Null);
    assert!(run.stderr.contains("different moments"), "{}", run.stderr);
    orders.update_one(doc! { "_id": 7 }, doc! { "$set": { "a": 1 } }).await.unwrap();
    orders.delete_one(doc! { "_id": 8 }).await.unwrap();
    assert_eq!(counts(&compared(&workspace, &[]), &format!("{db}.orders")), [498, 0, 1, 1]);
}

#[tokio::test]
async fn a_secondary_is_read_and_capped_collections_are_as_they_are() {
    let servers = harness::three_nodes();
    let client = servers.client().await;
    let db = harness::unique_database_name();
    let shop = client.database(&db);
    shop.run_command(doc! { "create": "log", "capped": true, "size": 1_000_000, "max": 10 }).await.unwrap();
    let log = shop.collection::<Document>("log");
    log.insert_many((0..15).map(|n| doc! { "_id": n })).await.unwrap();
    let workspace = backed_up(servers.uri(), &["--ns", &db]);
    diff(&workspace, &["--check"]).exits(0);
    log.insert_many((15..18).map(|n| doc! { "_id": n })).await.unwrap();
    let run = diff(&workspace, &["--json"]).exits(0);
    assert_eq!(counts(&run.json(), &format!("{db}.log")), [7, 3, 3, 0]);
    assert!(run.stderr.contains("1 capped collection of the backup"), "{}", run.stderr);
}
