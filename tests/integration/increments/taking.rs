//! When a backup is an increment, and when it is a full one.

use std::fs;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use regrow::codec::signing::MANIFEST_PURPOSE;
use serde_json::{Value, json};

use super::{back_up, begun, id, options, restore};
use crate::contents::Contents;
use crate::harness::{self, Workspace};
use crate::small_backups::signing_key;

async fn fill(client: &Client, name: &str, from: i32, number: i32) {
    let documents = (from..from + number).map(|number| doc! { "_id": number, "text": "x".repeat(1000) });
    client.database("shop").collection(name).insert_many(documents.collect::<Vec<_>>()).await.unwrap();
}

fn stderr(workspace: &Workspace, arguments: &[&str]) -> String {
    tokio::task::block_in_place(|| workspace.run([&["backup"], arguments].concat())).exits(0).stderr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_increment_holds_what_has_changed_and_is_restored_with_what_it_builds_on() {
    let (servers, target) = (harness::own(&options()), harness::own(&options()));
    let (client, mut workspace) = (servers.client().await, begun(&servers));
    workspace.set("backup.incremental", true).unset("backup.largest_increment");
    fill(&client, "orders", 0, 5000).await;
    fill(&client, "unchanged", 0, 100).await;
    let full = back_up(&workspace, &["--kind", "weekly"]);
    assert_eq!(full["parent"], Value::Null);
    let orders = client.database("shop").collection::<Document>("orders");
    orders.delete_many(doc! { "_id": { "$lt": 20 } }).await.unwrap();
    orders.update_many(doc! { "_id": { "$lt": 40 } }, doc! { "$set": { "state": "paid" } }).await.unwrap();
    fill(&client, "orders", 6000, 10).await;
    fill(&client, "new", 0, 7).await;
    let increment = back_up(&workspace, &["--kind", "daily"]);
    assert_eq!(increment["parent"], full["id"]);
    assert_eq!(increment["incremental"]["documents"], 20 + 10 + 7, "{increment}");
    assert_eq!(increment["incremental"]["touched"], 20 + 20 + 10, "{increment}");
    assert_eq!(increment["documents"], 4990 + 100 + 7, "{increment}");
    let stored = |backup: &Value| backup["bytes_stored"].as_u64().unwrap();
    assert!(stored(&increment) * 2 < stored(&full), "{increment}");
    let restored = restore(&workspace, &target, &[id(&increment)]);
    assert_eq!(restored["documents"], 4990 + 100 + 7, "{restored}");
    let (found, expected) = (target.client().await, Contents::of_database(&client, "shop").await);
    Contents::of_database(&found, "shop").await.assert_equals(&expected);
    let listed = tokio::task::block_in_place(|| workspace.run(["list"])).exits(0).stdout;
    assert!(listed.contains(&format!("{} +1", id(&increment))), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_stands_against_an_increment_is_named_and_a_full_backup_taken() {
    let servers = harness::own(&options());
    let (client, mut workspace) = (servers.client().await, begun(&servers));
    workspace.set("backup.largest_increment", 30);
    fill(&client, "orders", 0, 1000).await;
    let said = stderr(&workspace, &["--incremental"]);
    assert!(said.contains("a full backup instead of an increment: there is no full backup"), "{said}");
    let orders = client.database("shop").collection::<Document>("orders");
    orders.update_many(doc! {}, doc! { "$set": { "a": 1 } }).await.unwrap();
    let said = stderr(&workspace, &["--incremental"]);
    assert!(said.contains("100 % has changed, more than the 30 % of an increment"), "{said}");
    let version = doc! { "setFeatureCompatibilityVersion": "5.0" };
    client.database("admin").run_command(version).await.unwrap();
    let version = doc! { "setFeatureCompatibilityVersion": "6.0" };
    client.database("admin").run_command(version).await.unwrap();
    let said = stderr(&workspace, &["--incremental"]);
    assert!(said.contains("the feature compatibility version was changed"), "{said}");
    let identity = harness::Workspace::on_disk(servers.uri());
    workspace.set("encryption.recipients", vec![identity.recipient().to_owned()]);
    let said = stderr(&workspace, &["--incremental"]);
    assert!(said.contains("is encrypted to others"), "{said}");
    assert_eq!(stderr(&workspace, &["--incremental"]).matches("instead of").count(), 0, "now it builds on that one");
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    let parents = listed["backups"].as_array().unwrap().iter().filter(|backup| backup["parent"].is_string());
    assert_eq!(parents.count(), 1, "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weekly_and_monthly_backups_and_those_of_a_part_are_full() {
    let servers = harness::own(&options());
    let (client, mut workspace) = (servers.client().await, begun(&servers));
    fill(&client, "orders", 0, 100).await;
    workspace.set("backup.incremental", true);
    back_up(&workspace, &["--kind", "daily"]);
    for arguments in
        [&["--kind", "weekly"][..], &["--kind", "monthly"], &["--kind", "daily", "--full"], &["--ns", "shop"], &[]]
    {
        assert_eq!(back_up(&workspace, arguments)["parent"], Value::Null, "{arguments:?}");
    }
    assert!(back_up(&workspace, &["--kind", "daily"])["parent"].is_string());
    for (arguments, named) in [
        (&["--kind", "weekly", "--incremental"][..], "a weekly backup is no increment"),
        (&["--incremental", "--ns", "shop"], "--ns takes a part, and an increment is of everything"),
        (&["--incremental", "--full"], "cannot be used with"),
    ] {
        let run = workspace.run([&["backup"], arguments].concat()).exits(2);
        assert!(run.stderr.contains(named), "{}", run.stderr);
    }
    workspace.set("backup.largest_increment", 0);
    let run = workspace.run(["backup", "--incremental"]).exits(3);
    assert!(run.stderr.contains("backup.largest_increment is 0"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_oplog_is_not_what_it_was_a_full_backup_is_taken() {
    let servers = harness::own(&options());
    let (client, workspace) = (servers.client().await, begun(&servers));
    fill(&client, "orders", 0, 1000).await;
    let full = back_up(&workspace, &[]);
    fill(&client, "orders", 1000, 10).await;
    let path = workspace.repository().join("backups").join(id(&full)).join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let payload = text.split_once(':').unwrap().1.rsplit_once(",\"signature\":").unwrap().0;
    let payload: Value = serde_json::from_str(payload).unwrap();
    let t = payload["cluster_time"]["t"].as_u64().unwrap();
    let rewritten = |field: &str, time: Value| {
        let mut payload = payload.clone();
        payload[field] = time;
        fs::remove_file(&path).unwrap();
        fs::write(&path, signing_key(&workspace).sign(MANIFEST_PURPOSE, &payload.to_string())).unwrap();
    };
    // As if it had been written over since.
    rewritten("replay_from", json!({ "t": 1, "i": 1 }));
    let said = stderr(&workspace, &["--incremental", "--kind", "daily"]);
    assert!(said.contains("the oplog does not reach back to 1970-01-01"), "{said}");
    remove_newest(&workspace);
    // As if the source had been put back to a state before that moment, and behind the first entry that is needed.
    rewritten("cluster_time", json!({ "t": t, "i": 4_000_000 }));
    let said = stderr(&workspace, &["--incremental", "--kind", "daily"]);
    assert!(said.contains("it was put back"), "{said}");
}

/// Removes the daily backup, so that there is only the one before to build on.
fn remove_newest(workspace: &Workspace) {
    let backups = fs::read_dir(workspace.repository().join("backups")).unwrap().map(|entry| entry.unwrap().path());
    let daily = backups.filter(|path| path.to_str().unwrap().contains("-daily-"));
    daily.for_each(|path| fs::remove_dir_all(path).unwrap());
}
