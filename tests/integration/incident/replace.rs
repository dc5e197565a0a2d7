//! Replacing what exists, and taking that back.

use mongodb::bson::{Document, doc, rawdoc};
use serde_json::Value;

use super::stage::{Stage, fill};
use crate::contents::Contents;
use crate::harness::{self, Options, Workspace};
use crate::privileges;
use crate::round_trip::odd;

#[tokio::test]
async fn everything_is_replaced_and_nothing_else() {
    // Nothing of any restore is left in the end, so nobody else may restore there.
    let servers = harness::own(&Options::default());
    let stage = Stage::new(&servers).await;
    let refused = stage.restore(&[&stage.backup]).exits(7);
    assert!(
        refused.stderr.contains("5 target namespaces exist already") || refused.stderr.contains("exist already"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("--replace"), "{refused:?}");
    let orders = format!("{}.orders", stage.db);
    let one = stage.restore(&[&stage.backup, "--ns", &orders, "--replace", "--dry-run"]).exits(0);
    assert!(one.stderr.contains("1 namespace is replaced in the end: what was there is dropped"), "{one:?}");
    let run = stage.restore(&[&stage.backup, "--replace"]).exits(0);
    assert!(run.stderr.contains("replaces what exists") && run.stderr.contains("all at once"), "{run:?}");
    let mut now = stage.now().await;
    assert!(now.names().contains(&format!("{}.innocent", stage.db)));
    now.keep(&stage.good.names());
    now.assert_equals(&stage.good);
    stage.is_clean().await;
}

#[tokio::test]
async fn what_was_replaced_is_kept_and_comes_back() {
    // Nothing of any restore is left in the end, so nobody else may restore there.
    let servers = harness::own(&Options::default());
    let stage = Stage::new(&servers).await;
    let answer: Value = stage.restore(&[&stage.backup, "--replace", "--keep-old", "--json"]).exits(0).json();
    let id = answer["restore"].as_str().unwrap();
    assert_eq!(answer["can_be_undone"], true);
    let kept = answer["kept"].as_array().unwrap();
    assert_eq!(kept.len(), 3, "a collection, one in place of a time series, and a time series: {kept:?}");
    let names = stage.now().await.names();
    assert!(kept.iter().all(|name| names.contains(&name.as_str().unwrap().to_owned())), "{names:?}");
    let taken = stage.workspace.run(["backup", "--ns", &stage.db]).exits(0);
    assert!(
        taken.stderr.contains("with what restores have replaced and kept")
            && kept.iter().all(|name| taken.stderr.contains(name.as_str().unwrap())),
        "{taken:?}"
    );
    let compared = ["diff", &stage.backup, "--ns", &stage.db];
    let said = stage.workspace.run(compared).exits(0).stderr;
    assert!(said.contains("note: restores have kept"), "{said}");
    let compared: Value = stage.workspace.run([&compared[..], &["--json"]].concat()).exits(0).json();
    assert_eq!(compared["kept_by_restores"].as_array().unwrap().len(), kept.len(), "{compared}");
    assert!(!compared["collections"].to_string().contains("_replaced_"), "{compared}");
    let mut now = stage.now().await;
    now.keep(&stage.good.names());
    now.assert_equals(&stage.good);
    let listed = stage.workspace.run(["restore", "--unfinished"]).exits(0);
    assert!(listed.stdout.contains(id) && listed.stdout.contains("can be undone"), "{listed:?}");

    let plan: Value = stage.restore(&["--forget", id, "--dry-run", "--json"]).exits(0).json();
    assert_eq!((&plan["dry_run"], plan["dropped"].as_u64()), (&Value::Bool(true), Some(kept.len() as u64)), "{plan}");
    let plan: Value = stage.restore(&["--undo", id, "--dry-run", "--json"]).exits(0).json();
    assert_eq!((&plan["dry_run"], &plan["undone"]), (&Value::Bool(true), &Value::Bool(false)), "{plan}");
    assert_eq!(plan["restored"].as_array().unwrap().len(), 5, "{plan}");
    let undone = stage.restore(&["--undo", id]).exits(0);
    assert!(undone.stderr.contains("lose what was written to them since"), "{undone:?}");
    stage.now().await.assert_equals(&stage.spoilt);
    stage.is_clean().await;
    let again = stage.restore(&["--undo", id]).exits(4);
    assert!(again.stderr.contains("knows of no restore"), "{again:?}");
}

#[tokio::test]
async fn what_was_kept_can_be_forgotten() {
    // Nothing of any restore is left in the end, so nobody else may restore there.
    let servers = harness::own(&Options::default());
    let stage = Stage::new(&servers).await;
    let answer: Value = stage.restore(&[&stage.backup, "--replace", "--keep-old", "--json"]).exits(0).json();
    let id = answer["restore"].as_str().unwrap();
    stage.restore(&["--resume", id]).exits(7);
    stage.restore(&["--forget", id]).exits(0);
    let mut now = stage.now().await;
    now.keep(&stage.good.names());
    now.assert_equals(&stage.good);
    stage.is_clean().await;
}

#[tokio::test]
async fn a_standalone_server_can_be_replaced_in_too() {
    let servers = harness::standalone();
    let (client, db) = (servers.client().await, harness::unique_database_name());
    fill(&client, &db, 300).await;
    let good = Contents::of_database(&client, &db).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    workspace.run(["backup", "--ns", &db]).exits(0);
    client.database(&db).collection::<Document>("orders").delete_many(doc! {}).await.unwrap();
    let spoilt = Contents::of_database(&client, &db).await;
    let restore = ["restore", "latest", "--replace", "--keep-old", "--confirm", "standalone", "--json"];
    let answer: Value = workspace.run(restore).exits(0).json();
    let mut now = Contents::of_database(&client, &db).await;
    now.keep(&good.names());
    now.assert_equals(&good);
    workspace.run(["restore", "--undo", answer["restore"].as_str().unwrap(), "--confirm", "standalone"]).exits(0);
    Contents::of_database(&client, &db).await.assert_equals(&spoilt);
}

#[tokio::test]
async fn a_moment_is_restored_in_the_place_of_what_exists_and_a_later_moment_spans_the_replacement() {
    let servers = harness::own(&harness::Options::default());
    let stage = Stage::new(&servers).await;
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.set("oplog.slice_interval", "1s");
    workspace.run(["init"]).exits(0);
    let stage = Stage { workspace, ..stage };
    stage.workspace.run(["backup"]).exits(0);
    let capture = stage.workspace.regrow(["capture"]).spawn();
    let before = stage.captured_now().await;
    spoil_more(&stage).await;
    stage.restore(&["--at", &before, "--ns", &stage.db, "--replace"]).exits(0);
    stage.now().await.assert_equals(&stage.spoilt);
    let orders = stage.client.database(&stage.db).collection::<Document>("orders");
    orders.insert_one(doc! { "_id": "after", "tenantId": "t1" }).await.unwrap();
    let (after, moment) = (stage.now().await, stage.captured_now().await);
    capture.signal("TERM");
    capture.wait().exits(0);
    stage.client.database(&stage.db).drop().await.unwrap();
    stage.restore(&["--at", &moment, "--ns", &stage.db]).exits(0);
    stage.now().await.assert_equals(&after);
}

async fn spoil_more(stage: &Stage) {
    let database = stage.client.database(&stage.db);
    database.collection::<Document>("orders").update_many(doc! {}, doc! { "$set": { "total": -1 } }).await.unwrap();
    database.collection::<Document>("empty").drop().await.unwrap();
    database.collection::<Document>("readings").insert_one(doc! { "_id": 2 }).await.unwrap();
}

/// Everything odd that a server can hold, system.js and long names among it, is replaced by itself, and taken back.
#[tokio::test]
async fn everything_odd_is_replaced_and_comes_back() {
    let servers = harness::own(&Options { parameters: vec!["ttlMonitorEnabled=false"], ..Options::default() });
    let client = servers.client().await;
    odd::fill(&client).await;
    odd::fill_empty_timestamps(&client).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    workspace.run(["backup"]).exits(0);
    let good = Contents::of(&client).await;
    client.database("odd").collection::<Document>("everything").delete_many(doc! {}).await.unwrap();
    client.database("odd_series").drop().await.unwrap();
    let spoilt = Contents::of(&client).await;
    let restore = ["restore", "latest", "--replace", "--keep-old", "--json", "--confirm", "rs0"];
    let answer: Value = workspace.run(restore).exits(0).json();
    let mut now = Contents::of(&client).await;
    now.keep(&good.names());
    now.assert_equals(&good);
    workspace.run(["restore", "--undo", answer["restore"].as_str().unwrap(), "--confirm", "rs0"]).exits(0);
    Contents::of(&client).await.assert_equals(&spoilt);
    workspace.run(["restore", "latest", "--replace", "--confirm", "rs0"]).exits(0);
    Contents::of(&client).await.assert_equals(&good);
}

/// Stored functions, which the server counts among its own, are exchanged, kept and brought back.
async fn functions_are_replaced(servers: &harness::Servers, stage: &mut Stage) {
    let functions = stage.client.database(&stage.db).collection::<Document>("system.js");
    functions.insert_one(doc! { "_id": "tax", "value": 1 }).await.unwrap();
    stage.workspace.set("source.uri", servers.uri());
    let namespace = format!("{}.system.js", stage.db);
    let backup = stage.workspace.run(["backup", "--ns", &namespace]).exits(0).stdout.trim().to_owned();
    stage.workspace.set("source.uri", privileges::uri_of(servers, "restorer"));
    functions.update_one(doc! {}, doc! { "$set": { "value": 2 } }).await.unwrap();
    let value = async || functions.find_one(doc! { "_id": "tax" }).await.unwrap().unwrap().get_i32("value").unwrap();
    let answer: Value = stage.restore(&[&backup, "--replace", "--keep-old", "--json"]).exits(0).json();
    assert_eq!(value().await, 1);
    stage.restore(&["--undo", answer["restore"].as_str().unwrap()]).exits(0);
    assert_eq!(value().await, 2);
    stage.restore(&[&backup, "--replace"]).exits(0);
    assert_eq!(value().await, 1);
    stage.is_clean().await;
}

/// Under access control the documented role is enough, and one collection is exchanged after the other.
#[tokio::test]
async fn the_documented_role_is_enough_to_replace_to_undo_and_to_restore_single_documents() {
    let servers = harness::own(&Options { authentication: true, ..Options::default() });
    let client = servers.client().await;
    let mut stage = Stage::new(&servers).await;
    privileges::make_documented_roles(&client).await;
    privileges::add_user(&client.database("admin"), "restorer", rawdoc! { "roles": ["regrowRestore"] }).await;
    stage.workspace.set("source.uri", privileges::uri_of(&servers, "restorer"));
    let answer = stage.restore(&[&stage.backup, "--replace", "--keep-old", "--json"]).exits(0);
    assert!(answer.stderr.contains("replaced, one after the other") && answer.stderr.contains("a crash"), "{answer:?}");
    let mut now = stage.now().await;
    now.keep(&stage.good.names());
    now.assert_equals(&stage.good);
    let id = answer.json::<Value>()["restore"].as_str().unwrap().to_owned();
    stage.restore(&["--undo", &id]).exits(0);
    stage.now().await.assert_equals(&stage.spoilt);
    let orders = format!("{}.orders", stage.db);
    let filter = r#"{"tenantId": "t7"}"#;
    let merge = [&stage.backup, "--ns", &orders, "--where", filter, "--mode", "upsert", "--keep-old", "--json"];
    let merged: Value = stage.restore(&merge).exits(0).json();
    assert_eq!(merged["written"], 60);
    stage.restore(&["--undo", merged["restore"].as_str().unwrap()]).exits(0);
    stage.now().await.assert_equals(&stage.spoilt);
    functions_are_replaced(&servers, &mut stage).await;
}
