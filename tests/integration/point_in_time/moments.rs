//! Which moment is restored, and which cannot be.

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{Document, Timestamp, doc};
use serde_json::Value;

use super::{begun, capture, listed, restore, text, without_expiry};
use crate::harness::{self, Workspace};

/// Inserts one document at a time, for a little over two seconds, and returns when each was written.
async fn write_for_seconds(client: &Client) -> Vec<(i32, Timestamp)> {
    let orders = client.database("shop").collection::<Document>("orders");
    for number in 0..50 {
        orders.insert_one(doc! { "_id": number }).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let inserts = oplog.find(doc! { "op": "i", "ns": "shop.orders" }).await.unwrap();
    let inserts: Vec<Document> = inserts.try_collect().await.unwrap();
    let when = |entry: &Document| entry.get_timestamp("ts").unwrap();
    inserts.iter().map(|entry| (entry.get_document("o").unwrap().get_i32("_id").unwrap(), when(entry))).collect()
}

/// Restores the shop under another name and returns how many orders it has; they must be the first ones.
async fn orders_restored(client: &Client, workspace: &Workspace, arguments: &[&str]) -> i32 {
    let copy = harness::unique_database_name();
    let map = format!("shop={copy}");
    restore(workspace, &[arguments, &["--map", &map]].concat()).exits(0);
    let orders = client.database(&copy).collection::<Document>("orders");
    let found: Vec<Document> = orders.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap();
    let ids: Vec<i32> = found.iter().map(|order| order.get_i32("_id").unwrap()).collect();
    let count = i32::try_from(ids.len()).unwrap();
    assert_eq!(ids, (0..count).collect::<Vec<_>>());
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_includes_the_moment_and_before_stops_short_of_it() {
    let servers = harness::own(&without_expiry());
    let client = servers.client().await;
    let workspace = begun(&servers);
    let written = write_for_seconds(&client).await;
    capture(&workspace);
    let (number, time) = written[30];
    assert_eq!(orders_restored(&client, &workspace, &["--at", &text(time)]).await, number + 1);
    assert_eq!(orders_restored(&client, &workspace, &["--before", &text(time)]).await, number);
    // A whole second: all of it, or none of it.
    let second = rfc3339(time.time);
    let up_to = |limit: u32| i32::try_from(written.iter().filter(|(_, at)| at.time < limit).count()).unwrap();
    assert_eq!(orders_restored(&client, &workspace, &["--at", &second]).await, up_to(time.time + 1));
    assert_eq!(orders_restored(&client, &workspace, &["--before", &second]).await, up_to(time.time));
}

fn rfc3339(seconds: u32) -> String {
    mongodb::bson::DateTime::from_millis(i64::from(seconds) * 1000).try_to_rfc3339_string().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moment_that_cannot_be_restored_is_refused_with_the_nearest_that_can() {
    let servers = harness::own(&without_expiry());
    let client = servers.client().await;
    let workspace = begun(&servers);
    write_for_seconds(&client).await;
    capture(&workspace);
    let window: Value = listed(&workspace)["recovery_window"][0].clone();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let moment = |end: &str, later: i64| {
        let (t, i) = (window[end]["t"].as_i64().unwrap() + later, &window[end]["i"]);
        format!("{t},{i}")
    };
    for (at, reason, nearest) in [
        (moment("begin", -60), "it lies before the first backup", moment("begin", 0)),
        (moment("end", 1), "the oplog has not been captured up to there", moment("end", 0)),
        ("2100-01-01T00:00:00Z".to_owned(), "it lies in the future", moment("end", 0)),
    ] {
        let said = restore(&workspace, &["--at", &at, "--map", "shop=copy"]).exits(4).stderr;
        assert!(said.contains(reason) && said.contains(&format!("--at {nearest}")), "{at}: {said}");
    }
    for wrong in ["yesterday", "2026-11-23", "12,", "2026-11-23T10:15:00.5Z"] {
        let said = restore(&workspace, &["--at", wrong]).exits(2).stderr;
        assert!(said.contains(wrong) && said.contains("seconds,increment"), "{said}");
    }
    restore(&workspace, &["latest", "--at", &moment("end", 0)]).exits(2);
    restore(&workspace, &["--before", &moment("end", 0), "--at", &moment("end", 0)]).exits(2);
    let names = client.list_database_names().await.unwrap();
    assert!(!names.contains(&"copy".to_owned()), "nothing was touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_what_would_happen_and_changes_nothing() {
    let servers = harness::own(&without_expiry());
    let client = servers.client().await;
    let workspace = begun(&servers);
    let (_, last) = write_for_seconds(&client).await.pop().unwrap();
    client.database("shop").collection::<Document>("later").insert_one(doc! {}).await.unwrap();
    capture(&workspace);
    let arguments = ["--at", &text(last), "--map", "shop=copy", "--dry-run"];
    let plan: Value = restore(&workspace, &arguments).exits(0).json();
    assert_eq!(plan["recovered_to"], serde_json::json!({ "t": last.time, "i": last.increment }));
    assert!(plan["replay_entries"].as_u64().unwrap() >= 50, "{plan}");
    assert_eq!(plan["plan"].as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(plan["plan"][0]["namespace"], "copy.orders", "it did not exist when the backup was taken");
    let said = workspace.run([&["restore"], &arguments[..]].concat()).exits(0).stderr;
    assert!(said.contains("by replaying") && said.contains("copy.orders"), "{said}");
    assert!(!client.list_database_names().await.unwrap().contains(&"copy".to_owned()));
    // What would be in the way is known although it was created behind the backup.
    client.database("copy").create_collection("orders").await.unwrap();
    let said = restore(&workspace, &["--at", &text(last), "--map", "shop=copy"]).exits(7).stderr;
    assert!(said.contains("copy.orders"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_replay_leaves_nothing() {
    let servers = harness::own(&without_expiry());
    let client = servers.client().await;
    let workspace = begun(&servers);
    let orders = client.database("shop").collection::<Document>("orders");
    for batch in 0..40 {
        let many = (0..2000).map(|number| doc! { "_id": batch * 2000 + number, "text": "x".repeat(300) });
        orders.insert_many(many.collect::<Vec<_>>()).await.unwrap();
    }
    let last = super::now(&client).await;
    capture(&workspace);
    let restoring =
        workspace.regrow(["restore", "--at", &text(last), "--map", "shop=copy", "--confirm", "rs0"]).spawn();
    let copy = client.database("copy").collection::<Document>("orders");
    while copy.estimated_document_count().await.unwrap() < 1000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    restoring.signal("INT");
    let said = restoring.wait().exits(130).stderr;
    assert!(said.contains("nothing was restored, the target is as it was"), "{said}");
    assert!(!client.list_database_names().await.unwrap().contains(&"copy".to_owned()));
}
