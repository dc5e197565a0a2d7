//! Thousands of collections of some documents each.

use futures_util::{StreamExt, stream};
use mongodb::bson::{Document, doc};
use mongodb::{Client, IndexModel};
use serde_json::Value;

use super::memory::{MOST, mebibytes, peak};
use super::{hashes, initialised};
use crate::harness::{self, Options, Workspace};

/// How many are made at once.
const AT_ONCE: usize = 8;

/// How many there are where each costs next to nothing.
const FEW: usize = 200;

/// What a process holds more, at most, for each further collection: its name, its options and its indexes, and what is known of its
/// documents.
const FOR_EACH: usize = 8 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_collections_come_back_each_as_it_was() {
    let servers = harness::own(&Options::default());
    let (client, workspace) = (servers.client().await, initialised(servers.uri()));
    // A server has a file open for each collection and each index, and processes may often not have so many.
    let closes_soon = "file_manager=(close_handle_minimum=100,close_idle_time=3,close_scan_interval=1)";
    let command = doc! { "setParameter": 1, "wiredTigerEngineRuntimeConfig": closes_soon };
    client.database("admin").run_command(command).await.unwrap();
    let many = if harness::takes_long() { 20_000 } else { 2_000 };
    let [few_backed_up, few_restored] = there_and_back(&client, &workspace, FEW).await;
    let [backed_up, restored] = there_and_back(&client, &workspace, many).await;
    assert!(backed_up < MOST && restored < MOST, "more than is promised");
    for (more, less) in [(backed_up, few_backed_up), (restored, few_restored)] {
        let each = more.saturating_sub(less) / (many - FEW);
        assert!(each < FOR_EACH, "{each} bytes for each collection");
    }
}

/// Makes so many collections, backs them up and restores them beside themselves; returns the memory that both took.
async fn there_and_back(client: &Client, workspace: &Workspace, count: usize) -> [usize; 2] {
    let (db, again) = (format!("shop{count}"), format!("again{count}"));
    let shop = client.database(&db);
    let make = async |number: usize| {
        let collection = shop.collection::<Document>(&format!("c{number}"));
        let of = i64::try_from(number).unwrap();
        let documents = (0..3).map(|at| doc! { "_id": at, "of": of });
        collection.insert_many(documents).await.unwrap();
        if number.is_multiple_of(4) {
            collection.create_index(IndexModel::builder().keys(doc! { "of": 1 }).build()).await.unwrap();
        }
    };
    stream::iter(0..count).for_each_concurrent(AT_ONCE, make).await;
    let (backup, of_backup) = peak(workspace.regrow(["backup", "--ns", &db, "--json"]));
    let backup: Value = backup.exits(0).json();
    assert_eq!(backup["documents"], 3 * count);
    workspace.run(["verify"]).exits(0);
    let map = format!("{db}.*={again}.*");
    let (restored, of_restore) =
        peak(workspace.regrow(["restore", "latest", "--map", &map, "--confirm", "rs0", "--json"]));
    let restored: Value = restored.exits(0).json();
    assert_eq!(restored["namespaces"], count);
    println!("{count} collections: a backup took {}, its restore {}", mebibytes(of_backup), mebibytes(of_restore));
    let source = hashes(&shop).await;
    assert_eq!(source.len(), count);
    assert_eq!(hashes(&client.database(&again)).await, source);
    [of_backup, of_restore]
}
