//! Dumps of the stock tools become backups: what `mongodump` wrote, what `regrow export` writes, what nobody should take.

mod damaged;
mod golden;

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use mongodb::bson::{RawDocumentBuf, rawdoc};
use serde_json::Value;

use crate::contents::{Contents, all};
use crate::damage::every_object::files;
use crate::harness::{self, Options, Run, Workspace};
use crate::round_trip::odd;

/// Returns a workspace with an empty repository.
fn initialised(uri: &str) -> Workspace {
    let workspace = Workspace::on_disk(uri);
    workspace.run(["init"]).exits(0);
    workspace
}

fn import(workspace: &Workspace, path: &str) -> Run {
    workspace.run(["import", path, "--json"])
}

fn run_of(documents: &[RawDocumentBuf]) -> Vec<u8> {
    documents.iter().flat_map(|document| document.as_bytes()).copied().collect()
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns what a backup says of its collections: names, kinds, counts, digests, in an order of their own.
fn collections(workspace: &Workspace, backup: &str) -> Vec<(String, String)> {
    let shown: Value = workspace.run(["show", backup, "--json"]).exits(0).json();
    let describe = |collection: &Value| {
        let [kind, documents, bytes, indexes, digest] =
            ["kind", "documents", "bytes", "indexes", "digest"].map(|field| collection[field].to_string());
        (collection["namespace"].to_string(), [kind, documents, bytes, indexes, digest].join(" "))
    };
    let mut collections: Vec<_> = shown["collections"].as_array().unwrap().iter().map(describe).collect();
    collections.sort();
    collections
}

fn no_backup_is_left(workspace: &Workspace) {
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(listed["backups"], Value::Array(Vec::new()));
    let left: Vec<_> = files(&workspace.repository()).into_iter().filter(|key| key.starts_with("backups/")).collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn everything_odd_survives_a_dump_and_an_archive() {
    let servers = harness::own(&Options { parameters: vec!["ttlMonitorEnabled=false"], ..Options::default() });
    let client = servers.client().await;
    odd::fill(&client).await;
    odd::fill_large(&client).await;
    let before = Contents::of(&client).await;
    let workspace = initialised(servers.uri());
    let backup: Value = workspace.run(["backup", "--json"]).exits(0).json();
    let backed_up = collections(&workspace, backup["id"].as_str().unwrap());
    for (arguments, path) in [
        (&["-o", "dump"][..], "dump"),
        (&["-o", "dump.gz", "--gzip"], "dump.gz"),
        (&["--archive", "archive"], "archive"),
        (&["--archive", "archive.gz", "--gzip", "--users"], "archive.gz"),
    ] {
        workspace
            .run([&["export", backup["id"].as_str().unwrap(), "--format", "mongodump"], arguments].concat())
            .exits(0);
        let imported: Value = import(&workspace, path).exits(0).json();
        assert_eq!(imported["consistency"], "none");
        assert_eq!(collections(&workspace, imported["id"].as_str().unwrap()), backed_up, "{path}");
    }
    for db in client.list_database_names().await.unwrap() {
        if !["admin", "config", "local"].contains(&db.as_str()) {
            client.database(&db).drop().await.unwrap();
        }
    }
    workspace.run(["restore", "latest", "--confirm", "rs0"]).exits(0);
    Contents::of(&client).await.assert_equals(&before);
    workspace.run(["verify", "--level", "content"]).exits(0);
}

/// A folder as an old tool wrote it, byte by byte, and with what is no part of it.
#[tokio::test]
async fn a_dump_made_by_hand_is_taken_as_it_says() {
    let servers = harness::replica_set();
    let (client, db) = (servers.client().await, harness::unique_database_name());
    let workspace = initialised(servers.uri());
    let orders: Vec<_> = (0..3).map(|id| rawdoc! { "_id": id, "total": f64::from(id) }).collect();
    let metadata = r#"{"options":{"collation":{"locale":"sv"}},"indexes":[
        {"v":2,"key":{"_id":1},"name":"_id_","ns":"x.orders"},{"v":2,"key":{"total":-1},"name":"by total","ns":"x.orders"}]}"#;
    workspace.write(&format!("dump/{db}/orders+%26+more.bson"), run_of(&orders));
    workspace.write(&format!("dump/{db}/orders+%26+more.metadata.json"), metadata);
    workspace.write(&format!("dump/{db}/bare.bson.gz"), compressed(&run_of(&orders[..1])));
    workspace.write(&format!("dump/{db}/notes.txt"), "from Tuesday");
    workspace.write("dump/config/chunks.bson", run_of(&orders));
    let imported = import(&workspace, "dump").exits(0);
    for said in ["config.chunks", "notes.txt", &format!("options and indexes of {db}.bare"), "not known"] {
        assert!(imported.stderr.contains(said), "{said}: {}", imported.stderr);
    }
    let imported: Value = imported.json();
    assert_eq!((&imported["documents"], &imported["namespaces"]), (&4.into(), &2.into()));
    assert_eq!(imported["imported"]["layout"], "mongodump");

    workspace.run(["restore", "latest", "--confirm", "rs0"]).exits(0);
    let database = client.database(&db);
    assert_eq!(all(&database, rawdoc! { "find": "orders & more", "sort": { "_id": 1 } }).await, orders);
    assert_eq!(all(&database, rawdoc! { "find": "bare" }).await, orders[..1]);
    let indexes = all(&database, rawdoc! { "listIndexes": "orders & more", "cursor": {} }).await;
    let names: Vec<_> = indexes.iter().map(|index| index.get_str("name").unwrap()).collect();
    assert_eq!(names, ["_id_", "by total"]);
    let named = rawdoc! { "listCollections": 1, "cursor": {}, "filter": { "name": "orders & more" } };
    let listed = all(&database, named).await;
    let collation = listed[0].get_document("options").unwrap().get_document("collation").unwrap();
    assert_eq!(collation.get_str("locale").unwrap(), "sv");
}

#[tokio::test]
async fn an_import_is_no_point_that_recovery_is_promised_from() {
    let mut workspace = initialised("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100");
    workspace.set("tiers.critical.rpo", "15m").set("tiers.critical.rto", "1h");
    let workload = toml::toml! {
        name = "orders"
        namespaces = ["golden.*"]
        tier = "critical"
    };
    workspace.set("workloads", vec![toml::Value::Table(workload)]);
    workspace.write("oplog.archive.gz", golden::WITH_OPLOG);
    let imported: Value = workspace.run(["import", "oplog.archive.gz", "--kind", "daily", "--json"]).exits(0).json();
    assert_eq!((&imported["consistency"], &imported["partial"]), (&"oplog".into(), &true.into()));
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(listed["recovery_window"], Value::Array(Vec::new()), "{listed}");
    let at = &imported["cluster_time"];
    workspace.run(["restore", "--at", &format!("{},{}", at["t"], at["i"]), "--confirm", "rs0"]).exits(4);
    let status: Value = workspace.run(["status", "--json"]).exits(0).json();
    assert_eq!(status["newest_backup"], Value::Null, "{status}");
    assert_eq!(status["workloads"][0]["ok"], false, "{status}");
    let recorded = workspace.run(["evidence", "list"]).exits(0).stdout;
    assert!(recorded.contains("imported from a dump"), "{recorded}");
    let listed = workspace.run(["list"]).exits(0).stdout;
    assert!(!listed.contains("this moment only"), "{listed}");
}

#[tokio::test]
async fn what_is_no_dump_is_refused_before_anything_is_stored() {
    let workspace = initialised("mongodb://127.0.0.1:1/");
    workspace.write("text", "nothing of the kind");
    workspace.write("short", "x");
    workspace.write("shop/orders.bson", run_of(&[rawdoc! { "_id": 1 }]));
    fs::create_dir(workspace.path("empty")).unwrap();
    for (path, code, named) in [
        ("nowhere", 4, "nowhere"),
        ("text", 2, "no archive"),
        ("short", 2, "no archive"),
        ("shop", 2, "folder of a database"),
        ("empty", 4, "holds no collection"),
    ] {
        let refused = import(&workspace, path).exits(code);
        assert!(refused.stderr.contains(named) && refused.stderr.contains("hint:"), "{}", refused.stderr);
    }
    workspace.run(["import", "shop", "--kind", "yearly"]).exits(2);
    no_backup_is_left(&workspace);
}
