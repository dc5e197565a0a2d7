//! Thousands of collections of some documents each.

use futures_util::{StreamExt, stream};
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use super::memory::{MOST, mebibytes, peak};
use super::{hashes, initialised, is_long};
use crate::harness::{self, Options};

/// How many are made at once.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_collections_come_back_each_as_it_was() {
    let count = if is_long() { 20_000 } else { 2_000 };
    let servers = harness::own(&Options::default());
    let (client, workspace) = (servers.client().await, initialised(servers.uri()));
    // A server has a file open for each collection and each index, and processes may often not have so many.
    let closes_soon = "file_manager=(close_handle_minimum=100,close_idle_time=3,close_scan_interval=1)";
    let command = doc! { "setParameter": 1, "wiredTigerEngineRuntimeConfig": closes_soon };
    client.database("admin").run_command(command).await.unwrap();
    let shop = client.database("shop");
    let make = async |number: i32| {
        let collection = shop.collection::<Document>(&format!("c{number}"));
        let documents = (0..3).map(|at| doc! { "_id": at, "of": number });
        collection.insert_many(documents).await.unwrap();
        if number % 4 == 0 {
            collection.create_index(IndexModel::builder().keys(doc! { "of": 1 }).build()).await.unwrap();
        }
    };
    stream::iter(0..count).for_each_concurrent(AT_ONCE, make).await;
    let (backup, of_backup) = peak(workspace.regrow(["backup", "--ns", "shop", "--json"]));
    let backup: Value = backup.exits(0).json();
    assert_eq!(backup["documents"], 3 * count);
    workspace.run(["verify"]).exits(0);
    let restore = ["restore", "latest", "--map", "shop.*=again.*", "--confirm", "rs0", "--json"];
    let (restored, of_restore) = peak(workspace.regrow(restore));
    let restored: Value = restored.exits(0).json();
    assert_eq!(restored["namespaces"], count);
    println!("{count} collections: a backup took {}, its restore {}", mebibytes(of_backup), mebibytes(of_restore));
    assert!(of_backup < MOST && of_restore < MOST, "more than is promised");
    let source = hashes(&shop).await;
    assert_eq!(source.len(), usize::try_from(count).unwrap());
    assert_eq!(hashes(&client.database("again")).await, source);
}
