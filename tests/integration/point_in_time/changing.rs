//! Backups of a source that the server cannot show as of one moment: their own oplog makes them whole.
//!
//! Each is held by the server when it has read a first batch of the large collections; then everything changes, and the
//! snapshot goes away. Nothing changes behind the backup, so the source itself says what the backup must show.

use std::time::Duration;

use mongodb::bson::{Document, Timestamp, doc, rawdoc};
use mongodb::{Client, ClientSession};
use serde_json::Value;

use super::{capture, listed, now, restore, text};
use crate::contents::Contents;
use crate::harness::{self, Options, Run, Servers, Workspace, fail_point};
use crate::stock_tools::{documents, recover};

/// Time enough to change everything.
const HELD: Duration = Duration::from_secs(6);

/// Large enough for several batches of the reader.
const LARGE: i32 = 600;
const WEIGHT: usize = 40_000;

fn options() -> Options {
    let parameters = vec!["enableTestCommands=1", "ttlMonitorEnabled=false"];
    Options { parameters, ..Options::default() }
}

/// A source with two large collections, which are read first, and some small ones.
async fn source() -> (Servers, Client) {
    let servers = harness::own(&options());
    let client = servers.client().await;
    let shop = client.database("shop");
    for name in ["left", "right"] {
        for batch in (0..LARGE).collect::<Vec<_>>().chunks(200) {
            let large =
                batch.iter().map(|id| doc! { "_id": id, "n": 0, "list": [1, 2, 3], "weight": "x".repeat(WEIGHT) });
            shop.collection::<Document>(name).insert_many(large).await.unwrap();
        }
    }
    for name in ["dropped", "recreated", "renamed", "replaced", "kept"] {
        let small = (0..20).map(|id| doc! { "_id": id, "of": name });
        shop.collection::<Document>(name).insert_many(small).await.unwrap();
    }
    run(&client, doc! { "create": "log", "capped": true, "size": 1_000_000, "max": 10 }).await;
    run(&client, doc! { "create": "weather", "timeseries": { "timeField": "at", "metaField": "where" } }).await;
    run(&client, doc! { "create": "view", "viewOn": "kept", "pipeline": [] }).await;
    for number in 0..15 {
        shop.collection("log").insert_one(doc! { "_id": number }).await.unwrap();
    }
    measure(&client, 0).await;
    (servers, client)
}

async fn run(client: &Client, command: Document) {
    client.database("shop").run_command(command).await.unwrap();
}

async fn measure(client: &Client, hour: i64) {
    let at = mongodb::bson::DateTime::from_millis(hour * 3_600_000);
    client.database("shop").collection("weather").insert_one(doc! { "at": at, "where": "a", "t": hour }).await.unwrap();
}

/// Lets the server forget all snapshots but the newest.
async fn forget_snapshots(client: &Client) {
    let forget = doc! { "setParameter": 1, "minSnapshotHistoryWindowInSeconds": 0 };
    client.database("admin").run_command(forget).await.unwrap();
    for _ in 0..3 {
        client.database("other").collection("ticks").insert_one(doc! {}).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

/// Takes a backup; when it has read the first batches, lets `change` do its work.
async fn back_up_while(client: &Client, workspace: &Workspace, arguments: &[&str], change: impl AsyncFnOnce()) -> Run {
    let before = fail_point::hold(client, "getMore", 0, HELD).await;
    let backup = workspace.regrow([&["backup", "--json"], arguments].concat()).spawn();
    fail_point::wait_until_held(client, before).await;
    change().await;
    fail_point::let_go(client).await;
    tokio::task::spawn_blocking(|| backup.wait()).await.unwrap()
}

/// Changes everything that a reader could trip over.
async fn change_everything(client: &Client, session: &mut ClientSession) {
    let shop = client.database("shop");
    let (left, right) = (shop.collection::<Document>("left"), shop.collection::<Document>("right"));
    // What was read and what was not, among it a document that moves to the end, where it is read again.
    left.update_many(doc! {}, doc! { "$inc": { "n": 1 }, "$push": { "list": 4 } }).await.unwrap();
    left.update_many(doc! {}, doc! { "$set": { "list.0": "one" }, "$unset": { "list.1": 1 } }).await.unwrap();
    for id in [0, 1, LARGE - 1] {
        left.delete_one(doc! { "_id": id }).await.unwrap();
    }
    left.insert_one(doc! { "_id": 0, "again": true }).await.unwrap();
    // The last document that was read is among these: there is nothing to go on behind.
    left.delete_many(doc! { "_id": { "$gte": 50, "$lt": 250 } }).await.unwrap();
    right.update_one(doc! { "_id": 5 }, doc! { "$set": { "n": 5 } }).await.unwrap();
    right.delete_many(doc! { "_id": { "$mod": [7, 0] } }).await.unwrap();
    // With an empty timestamp, which only an update can write, and read a second time as well.
    let empty = Timestamp { time: 0, increment: 0 };
    let replace = rawdoc! { "q": { "_id": 7 }, "u": [{ "$replaceWith": { "$literal": { "_id": 7, "empty": empty } } }], "upsert": true };
    shop.run_raw_command(rawdoc! { "update": "right", "updates": [replace] }).await.unwrap();
    run(client, doc! { "createIndexes": "left", "indexes": [{ "key": { "n": 1, "_id": -1 }, "name": "n" }] }).await;
    shop.collection::<Document>("dropped").drop().await.unwrap();
    shop.collection::<Document>("recreated").drop().await.unwrap();
    shop.collection("recreated").insert_one(doc! { "_id": "new" }).await.unwrap();
    rename(client, "renamed", "shop.other_name", false).await;
    rename(client, "right", "shop.right_too", false).await;
    shop.collection("replacing").insert_one(doc! { "_id": "replaced" }).await.unwrap();
    rename(client, "replacing", "shop.replaced", true).await;
    for number in 15..40 {
        shop.collection("log").insert_one(doc! { "_id": number }).await.unwrap();
    }
    shop.collection::<Document>("log").update_one(doc! { "_id": 39 }, doc! { "$set": { "a": 1 } }).await.unwrap();
    measure(client, 0).await;
    measure(client, 100).await;
    run(client, doc! { "collMod": "view", "viewOn": "left", "pipeline": [{ "$match": { "n": 1 } }] }).await;
    shop.collection("created").insert_one(doc! { "_id": 1, "k": 1 }).await.unwrap();
    let unique = doc! { "key": { "k": 1 }, "name": "k", "unique": true };
    run(client, doc! { "createIndexes": "created", "indexes": [unique] }).await;
    session.commit_transaction().await.unwrap();
}

async fn rename(client: &Client, from: &str, to: &str, drop_target: bool) {
    let rename = doc! { "renameCollection": format!("shop.{from}"), "to": to, "dropTarget": drop_target };
    client.database("admin").run_command(rename).await.unwrap();
}

fn initialised(servers: &Servers) -> Workspace {
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    workspace
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_changes_under_a_backup_is_restored_as_it_was_at_its_end() {
    let (servers, client) = source().await;
    let target = harness::own(&options());
    let workspace = initialised(&servers);
    // Open when the backup begins, with an entry that lies before it.
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let kept = client.database("shop").collection::<Document>("kept");
    kept.insert_one(doc! { "_id": "in a transaction" }).session(&mut session).await.unwrap();
    let backup: Value = back_up_while(&client, &workspace, &[], async || {
        change_everything(&client, &mut session).await;
        forget_snapshots(&client).await;
    })
    .await
    .exits(0)
    .json();
    assert_eq!(backup["consistency"], "oplog", "{backup}");
    let expected = Contents::of(&client).await;
    workspace.run(["verify"]).exits(0);
    let shown = workspace.run(["show", "latest"]).exits(0).stdout;
    assert!(shown.contains("consistency  oplog") && shown.contains("of the oplog, which a restore replays"), "{shown}");

    let plan: Value = restore(&workspace, &["latest", "--to", target.uri(), "--dry-run"]).exits(0).json();
    assert!(plan["replay_entries"].as_u64().unwrap() > 100, "{plan}");
    // Without Regrow, the same entries are there for mongorestore to replay.
    let recovered = recover(&workspace, "latest", "recovered");
    let entries = documents(&std::fs::read(recovered.join("oplog.bson")).unwrap());
    assert!(entries.len() as u64 >= plan["replay_entries"].as_u64().unwrap(), "{} entries", entries.len());
    let last = entries.last().unwrap().get_timestamp("ts").unwrap();
    assert_eq!(
        (&last.time.into(), &last.increment.into()),
        (&backup["cluster_time"]["t"], &backup["cluster_time"]["i"])
    );
    let restored: Value = restore(&workspace, &["latest", "--to", target.uri()]).exits(0).json();
    assert_eq!(restored["recovered_to"], backup["cluster_time"]);
    Contents::of(&target.client().await).await.assert_equals(&expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captured_oplog_leads_on_from_such_a_backup() {
    let (servers, client) = source().await;
    let workspace = initialised(&servers);
    capture(&workspace);
    let left = client.database("shop").collection::<Document>("left");
    let backup: Value = back_up_while(&client, &workspace, &[], async || {
        left.delete_one(doc! { "_id": 3 }).await.unwrap();
        left.update_one(doc! { "_id": 4 }, doc! { "$set": { "n": 4 } }).await.unwrap();
        // Slices and the backup's own oplog overlap.
        tokio::task::block_in_place(|| capture(&workspace));
        forget_snapshots(&client).await;
    })
    .await
    .exits(0)
    .json();
    assert_eq!(backup["consistency"], "oplog");
    left.update_one(doc! { "_id": 4 }, doc! { "$inc": { "n": 1 } }).await.unwrap();
    left.delete_one(doc! { "_id": 5 }).await.unwrap();
    let (last, expected) = (now(&client).await, Contents::of_database(&client, "shop").await);
    left.delete_many(doc! {}).await.unwrap();
    capture(&workspace);
    assert_eq!(listed(&workspace)["recovery_window"][0]["begin"], backup["cluster_time"]);
    let target = harness::own(&options());
    let restored: Value = restore(&workspace, &["--at", &text(last), "--to", target.uri()]).exits(0).json();
    assert_eq!(restored["backup"], backup["id"]);
    Contents::of_database(&target.client().await, "shop").await.assert_equals(&expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chosen_namespaces_end_as_what_bears_their_names_then() {
    let (servers, client) = source().await;
    let workspace = initialised(&servers);
    let chosen = ["--ns", "shop.left", "--ns", "shop.re*", "--ns", "shop.log"];
    let backup: Value = back_up_while(&client, &workspace, &chosen, async || {
        let shop = client.database("shop");
        shop.collection::<Document>("left").delete_one(doc! { "_id": 0 }).await.unwrap();
        shop.collection::<Document>("kept").delete_many(doc! {}).await.unwrap();
        let out = [doc! { "$match": { "_id": { "$gt": 10 } } }, doc! { "$out": "replaced" }];
        shop.collection::<Document>("recreated").aggregate(out).await.unwrap();
        rename(&client, "renamed", "shop.not_chosen", false).await;
        shop.collection("red").insert_one(doc! { "_id": 1 }).await.unwrap();
        forget_snapshots(&client).await;
    })
    .await
    .exits(0)
    .json();
    assert_eq!(backup["consistency"], "oplog");
    let target = harness::own(&options());
    restore(&workspace, &["latest", "--to", target.uri()]).exits(0);
    let restored = Contents::of(&target.client().await).await;
    assert_eq!(restored.names(), ["shop.left", "shop.log", "shop.recreated", "shop.red", "shop.replaced"]);
    let mut expected = Contents::of_database(&client, "shop").await;
    expected.keep(&restored.names());
    restored.assert_equals(&expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_comes_in_from_outside_of_the_choice_fails_the_backup() {
    let (servers, client) = source().await;
    let workspace = initialised(&servers);
    let failed = back_up_while(&client, &workspace, &["--ns", "shop.left", "--ns", "shop.replaced"], async || {
        rename(&client, "kept", "shop.replaced", true).await;
        forget_snapshots(&client).await;
    })
    .await
    .exits(1);
    assert!(failed.stderr.contains("shop.kept, which the backup does not hold"), "{}", failed.stderr);
    assert_eq!(listed(&workspace)["backups"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_dropped_while_it_is_read_is_not_restored() {
    let (servers, client) = source().await;
    let workspace = initialised(&servers);
    let backup: Value = back_up_while(&client, &workspace, &[], async || {
        client.database("shop").collection::<Document>("left").drop().await.unwrap();
    })
    .await
    .exits(0)
    .json();
    assert_eq!(backup["consistency"], "oplog");
    let target = harness::own(&options());
    restore(&workspace, &["latest", "--to", target.uri()]).exits(0);
    Contents::of(&target.client().await).await.assert_equals(&Contents::of(&client).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capped_collection_that_was_read_later_is_replayed_into() {
    let (servers, target) = (harness::own(&options()), harness::own(&options()));
    let client = servers.client().await;
    let shop = client.database("shop");
    run(&client, doc! { "create": "queue", "capped": true, "size": 100_000_000 }).await;
    let queue = shop.collection::<Document>("queue");
    queue.insert_many((0..300).map(|id| doc! { "_id": id, "weight": "x".repeat(WEIGHT) })).await.unwrap();
    let workspace = initialised(&servers);
    capture(&workspace);
    let backup: Value = back_up_while(&client, &workspace, &[], async || {
        // Neither is read any more, and one is changed before it goes.
        queue.update_one(doc! { "_id": 299 }, doc! { "$set": { "done": true } }).await.unwrap();
        queue.delete_many(doc! { "_id": { "$in": [298, 299] } }).await.unwrap();
        queue.insert_one(doc! { "_id": 300 }).await.unwrap();
    })
    .await
    .exits(0)
    .json();
    assert_eq!((&backup["consistency"], &backup["outside_snapshot"]), (&"snapshot".into(), &1.into()));
    queue.update_one(doc! { "_id": 300 }, doc! { "$set": { "done": true } }).await.unwrap();
    let last = text(now(&client).await);
    capture(&workspace);
    restore(&workspace, &["--at", &last, "--to", target.uri()]).exits(0);
    Contents::of(&target.client().await).await.assert_equals(&Contents::of(&client).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_still_being_built_is_not_restored() {
    let (servers, target) = (harness::own(&options()), harness::own(&options()));
    let client = servers.client().await;
    let (shop, admin) = (client.database("shop"), client.database("admin"));
    shop.collection("orders").insert_many([doc! { "_id": 1, "k": 1 }, doc! { "_id": 2, "k": 1 }]).await.unwrap();
    let hold = |mode: &str| doc! { "configureFailPoint": "hangAfterStartingIndexBuild", "mode": mode };
    admin.run_command(hold("alwaysOn")).await.unwrap();
    let unique = doc! { "key": { "k": 1 }, "name": "k", "unique": true };
    let create = doc! { "createIndexes": "orders", "indexes": [unique] };
    let build = tokio::spawn(async move { shop.run_command(create).await });
    let builds = client.database("config").collection::<Document>("system.indexBuilds");
    while builds.find_one(doc! {}).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let workspace = initialised(&servers);
    tokio::task::block_in_place(|| workspace.run(["backup"]).exits(0));
    admin.run_command(hold("off")).await.unwrap();
    build.await.unwrap().expect_err("there are duplicates");
    restore(&workspace, &["latest", "--to", target.uri()]).exits(0);
    Contents::of_database(&target.client().await, "shop")
        .await
        .assert_equals(&Contents::of_database(&client, "shop").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oplog_that_rolls_over_under_such_a_backup_fails_it() {
    let servers = harness::own(&Options { oplog_megabytes: 1, checkpoint_seconds: 1, ..options() });
    let client = servers.client().await;
    let blocks = client.database("shop").collection::<Document>("blocks");
    let block = |id: i32| doc! { "_id": id, "weight": "x".repeat(500_000) };
    blocks.insert_many((0..40).map(block)).await.unwrap();
    let workspace = initialised(&servers);
    let failed = back_up_while(&client, &workspace, &[], async || {
        for id in 40..120 {
            blocks.insert_one(block(id)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        forget_snapshots(&client).await;
    })
    .await
    .exits(1);
    assert!(failed.stderr.contains("the oplog rolled over while the collections were read"), "{}", failed.stderr);
    assert!(failed.stderr.contains("replSetResizeOplog"), "{}", failed.stderr);
    assert_eq!(listed(&workspace)["backups"], Value::Array(Vec::new()));
    assert_eq!(listed(&workspace)["leftovers"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_backup_is_enough_and_without_the_oplog_the_cause_is_named() {
    let servers = harness::own(&Options { authentication: true, ..options() });
    let client = servers.client().await;
    let admin = client.database("admin");
    for (user, role) in [("backup", "backup"), ("reader", "readAnyDatabase")] {
        admin.run_command(doc! { "createUser": user, "pwd": "p", "roles": [role] }).await.unwrap();
    }
    for (user, code) in [("backup", 0), ("reader", 1)] {
        let blocks = client.database("shop").collection::<Document>("blocks");
        blocks.drop().await.unwrap();
        blocks.insert_many((0..40).map(|id| doc! { "_id": id, "weight": "x".repeat(500_000) })).await.unwrap();
        let uri = format!("mongodb://{user}:p@{}/?replicaSet=rs0&authSource=admin", servers.hosts()[0].address());
        let workspace = Workspace::on_disk(&uri);
        workspace.run(["init"]).exits(0);
        let run = back_up_while(&client, &workspace, &["--ns", "shop"], async || blocks.drop().await.unwrap()).await;
        let run = run.exits(code);
        if code == 0 {
            assert_eq!(run.json::<Value>()["consistency"], "oplog");
        } else {
            assert!(run.stderr.contains("dropped meanwhile"), "{}", run.stderr);
            assert!(run.stderr.contains("role backup"), "{}", run.stderr);
        }
    }
}
