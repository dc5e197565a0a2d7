//! A rollback made on purpose: what only a primary had that was cut off must be in no slice and in no backup.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::capture::is_the_oplog;
use crate::contents::Contents;
use crate::harness::{self, Options, Topology, Workspace};

/// Writes documents that the majority gets.
async fn write(client: &Client, ids: std::ops::Range<i32>) {
    for id in ids {
        // An election may be under way.
        while client.database("shop").collection::<Document>("orders").insert_one(doc! { "_id": id }).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rolled_back_is_in_no_slice_and_in_no_backup() {
    let servers = harness::own(&Options {
        topology: Topology::ReplicaSet { nodes: 3 },
        parameters: vec!["enableTestCommands=1"],
        ..Options::default()
    });
    let client = servers.client().await;
    write(&client, 0..20).await;
    let lone = servers.primary().await;
    let others: Vec<usize> = (0..3).filter(|node| *node != lone).collect();
    // Whatever would read what is not committed reads it here: both go to the primary alone.
    let mut workspace = Workspace::on_disk(&servers.node_uri(lone));
    workspace.set("oplog.slice_interval", "1s").set("oplog.read_preference", "primary");
    workspace.run(["init"]).exits(0);
    workspace.run(["capture", "--once"]).exits(0);
    let mut capture = workspace.regrow(["capture"]).spawn();
    capture.wait_until_it_says("captured up to");

    let fetching = async |mode: &str| {
        for node in &others {
            let order = doc! { "configureFailPoint": "stopReplProducer", "mode": mode };
            servers.node_client(*node).await.database("admin").run_command(order).await.unwrap();
        }
    };
    // Stopping the processes does not do: what waits in their sockets would be read when they go on.
    fetching("alwaysOn").await;
    let alone = servers.node_client(lone).await;
    let only_here =
        doc! { "insert": "orders", "documents": [{ "_id": "only here" }], "writeConcern": { "w": 1, "j": true } };
    alone.database("shop").run_command(only_here).await.unwrap();
    let has_it = doc! { "find": "orders", "filter": { "_id": "only here" }, "readConcern": { "level": "local" } };
    let found = async |client: &Client| {
        let reply = client.database("shop").run_command(has_it.clone()).await.unwrap();
        !reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap().is_empty()
    };
    assert!(found(&alone).await, "it is there, and could be read");
    let backup = workspace.run(["backup", "--json"]).exits(0).json::<Value>();
    assert_eq!(backup["documents"], 20, "the majority does not have it");
    // Long enough for more than a slice.
    tokio::time::sleep(Duration::from_secs(2)).await;

    servers.kill(lone);
    fetching("off").await;
    write(&client, 20..40).await;
    servers.start_again(lone);
    let put_aside = servers.hosts()[lone].dbpath.join("rollback");
    let mut looks = 0..600;
    while !put_aside.exists() {
        assert!(looks.next().is_some(), "the server never rolled anything back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    write(&client, 40..60).await;
    assert!(!found(&servers.client().await).await);

    capture.signal("TERM");
    capture.wait().exits(0);
    workspace.set("source.uri", servers.uri());
    workspace.run(["capture", "--once"]).exits(0);
    // The first twenty were there before it began.
    assert!(is_the_oplog(&workspace, &client).await >= 40);
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(listed["gaps"].as_array().unwrap().len(), 0, "{listed}");
    let entries = workspace.run(["oplog", "--ns", "shop", "--where", r#"{"_id": "only here"}"#, "--json"]).exits(0);
    assert!(!entries.stdout.contains("only here"), "{entries:?}");

    let now = Contents::of_database(&client, "shop").await;
    assert_eq!(now.count("shop", "orders"), Some(60));
    workspace.run(["restore", "--at", "latest", "--map", "shop=copy", "--confirm", "rs0"]).exits(0);
    let copy = Contents::of_database(&client, "copy").await;
    copy.assert_equals(&now.renamed(|_, name| Some(("copy".to_owned(), name.to_owned()))));
    println!("1 rollback: lost 0, captured 0 of what was rolled back");
}
