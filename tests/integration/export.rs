//! Documents out of a backup, with no server in reach.

use std::fs;
use std::path::Path;

use mongodb::bson::{Bson, Document, RawDocumentBuf, rawdoc};
use regrow::codec::signing::MANIFEST_PURPOSE;
use regrow::format::manifest::{Consistency, Manifest};
use regrow::format::segment::Walk;
use serde_json::Value;

use crate::contents::all;
use crate::harness::{self, Workspace};
use crate::round_trip::odd::{documents, insert, run};
use crate::small_backups::{fill, signing_key, take_into};

/// Returns a workspace with a backup of one database, and what its collections hold; the server is out of reach.
async fn backed_up(db: &str) -> (Workspace, Vec<RawDocumentBuf>) {
    let servers = harness::replica_set();
    let database = servers.client().await.database(db);
    insert(&database, "orders", &documents::everything()).await;
    run(&database, rawdoc! { "create": "recent", "viewOn": "orders", "pipeline": [] }).await;
    run(&database, rawdoc! { "create": "weather", "timeseries": { "timeField": "at" } }).await;
    let held = all(&database, rawdoc! { "find": "orders" }).await;
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    workspace.run(["backup", "--ns", db]).exits(0);
    workspace.set("source.uri", "mongodb://127.0.0.1:1/");
    (workspace, held)
}

fn sorted(documents: impl IntoIterator<Item = RawDocumentBuf>) -> Vec<Vec<u8>> {
    let mut sorted: Vec<_> = documents.into_iter().map(RawDocumentBuf::into_bytes).collect();
    sorted.sort();
    sorted
}

/// Whether a line can be read back: not what JSON cannot show, nor what looks like an encoding of something else.
fn is_exact(line: &str) -> bool {
    ["\u{fffd}", "NaN", r#""$oid":"0""#].iter().all(|inexact| !line.contains(inexact))
}

/// Returns what lies in a folder and is no part of a workspace.
fn leftovers(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".regrow-export")).collect()
}

#[tokio::test]
async fn documents_come_out_byte_for_byte_or_as_json() {
    let db = harness::unique_database_name();
    let (workspace, held) = backed_up(&db).await;
    let orders = format!("{db}.orders");
    let exported = workspace.run(["export", "latest", "--ns", &orders, "--format", "bson"]).exits(0);
    let found = Walk::new(&exported.bytes).map(|document| document.unwrap().to_owned());
    assert_eq!(sorted(found), sorted(held.clone()));

    let broken = workspace.run(["export", "latest", "--ns", &orders]).exits(1).stderr;
    assert!(broken.contains("_id 1009") && broken.contains("--where"), "{broken}");
    let readable = ["export", "latest", "--ns", &orders, "--where", r#"{"_id":{"$ne":1009}}"#];
    let lines = workspace.run(readable).exits(0);
    assert!(lines.stderr.contains("2 documents hold text that is not UTF-8"), "{}", lines.stderr);
    assert_eq!(lines.stdout.lines().count(), held.len() - 1);
    for line in lines.stdout.lines().filter(|line| is_exact(line)) {
        let read = Bson::try_from(serde_json::from_str::<Value>(line).unwrap()).unwrap();
        let read = read.as_document().unwrap();
        let is_it = |held: &&RawDocumentBuf| held.get_i32("_id").ok() == read.get_i32("_id").ok();
        let held = Document::try_from(&**held.iter().find(is_it).unwrap()).unwrap();
        assert_eq!(Bson::from(read.clone()).into_canonical_extjson(), Bson::from(held).into_canonical_extjson());
    }
    let filter = r#"{"_id":{"$in":[1,2,3]}}"#;
    let relaxed = workspace.run(["export", "latest", "--ns", &orders, "--where", filter, "--relaxed"]).exits(0);
    let chosen = held.iter().filter(|held| held.get_i32("_id").is_ok_and(|id| (1..=3).contains(&id))).count();
    assert_eq!(relaxed.stdout.lines().count(), chosen, "{}", relaxed.stdout);
}

#[tokio::test]
async fn a_file_gets_its_name_when_it_is_whole_and_replaces_nothing() {
    let db = harness::unique_database_name();
    let (workspace, held) = backed_up(&db).await;
    let orders = format!("{db}.orders");
    let run = |file: &str| workspace.run(["export", "latest", "--ns", &orders, "-o", file, "--json"]);
    let summary: Value = run("orders.bson").exits(0).json();
    assert_eq!((&summary["documents"], &summary["namespace"]), (&held.len().into(), &orders.as_str().into()));
    let written = fs::read(workspace.path("orders.bson")).unwrap();
    assert_eq!(summary["bytes"], written.len());
    run("orders.bson").exits(7);
    assert_eq!(fs::read(workspace.path("orders.bson")).unwrap(), written);
    run("none/orders.bson").exits(1);
    assert_eq!(leftovers(&workspace.path("")), [""; 0]);
}

#[tokio::test]
async fn damage_is_named_and_leaves_no_file() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let manifest = take_into(&workspace, servers, &db).await;
    let pack = manifest.packs.last().unwrap();
    let path = workspace.repository().join(&pack.object.key);
    let mut bytes = fs::read(&path).unwrap();
    let at = usize::try_from(pack.segments.last().unwrap().offset).unwrap() + 300;
    bytes[at] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let damaged = [("orders", "json"), ("customers", "json")].into_iter().filter(|(collection, format)| {
        let arguments =
            ["export", "latest", "--ns", &format!("{db}.{collection}"), "--format", format, "-o", collection];
        let run = workspace.run(arguments);
        assert_eq!(workspace.path(collection).exists(), run.code == 0, "{run:?}");
        run.code == 5 && run.stderr.contains(&pack.object.key)
    });
    assert_eq!(damaged.count(), 1, "one collection has the damaged segment");
    for arguments in [["-o", "dump"], ["--archive", "archive"]] {
        let run = workspace.run([&["export", "latest", "--format", "mongodump"], &arguments[..]].concat()).exits(5);
        assert!(run.stderr.contains(&pack.object.key) && !workspace.path(arguments[1]).exists(), "{}", run.stderr);
    }
    assert_eq!(leftovers(&workspace.path("")), [""; 0]);
}

#[tokio::test]
async fn what_is_no_collection_of_documents_is_said_plainly() {
    let db = harness::unique_database_name();
    let (workspace, _) = backed_up(&db).await;
    let export = |namespace: &str| workspace.run(["export", "latest", "--ns", &format!("{db}.{namespace}")]);
    for (namespace, code, named) in [
        ("weather", 7, "time series"),
        ("recent", 7, "view"),
        ("none", 4, "holds no collection"),
        ("", 2, "no collection"),
    ] {
        let said = export(namespace).exits(code).stderr;
        assert!(said.contains(named) && said.contains("hint:"), "{said}");
    }
    export("system.buckets.weather").exits(0);
    for arguments in [
        &["--ns", "a.b", "--format", "xml"][..],
        &["--ns", "a.b", "--where", r#"{"a":{"$regex":"x"}}"#],
        &["--ns", "a.b", "--ns", "a.c"],
        &["--format", "mongodump"],
        &["--format", "mongodump", "-o", "d", "--where", "{}"],
        &["--ns", "a.b", "--users"],
    ] {
        workspace.run([&["export", "latest"], arguments].concat()).exits(2);
    }
}

#[tokio::test]
async fn documents_that_need_a_replay_are_not_passed_off_as_exact() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let manifest = take_into(&workspace, servers, &db).await;
    let path = workspace.repository().join(format!("backups/{}/manifest.json", manifest.id));
    let of_oplog = Manifest { consistency: Consistency::Oplog, ..manifest };
    fs::remove_file(&path).unwrap();
    let payload = serde_json::to_string(&of_oplog).unwrap();
    fs::write(&path, signing_key(&workspace).sign(MANIFEST_PURPOSE, &payload)).unwrap();
    let said = workspace.run(["export", "latest", "--ns", &format!("{db}.orders")]).exits(7).stderr;
    assert!(said.contains("different moments") && said.contains("regrow restore"), "{said}");
}

#[tokio::test]
async fn a_dump_has_the_layout_of_the_stock_tool() {
    let db = harness::unique_database_name();
    let (workspace, held) = backed_up(&db).await;
    let summary: Value = workspace
        .run(["export", "latest", "--format", "mongodump", "-o", "dump", "--ns", &db, "--users", "--json"])
        .exits(0)
        .json();
    assert_eq!((&summary["namespaces"], &summary["documents"]), (&3.into(), &held.len().into()));
    let file = |name: &str| fs::read(workspace.path(&format!("dump/{name}"))).unwrap();
    let documents =
        Walk::new(&file(&format!("{db}/orders.bson"))).map(|document| document.unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(sorted(documents), sorted(held));
    assert_eq!(file(&format!("{db}/system.buckets.weather.bson")), b"");
    let metadata = |name: &str| serde_json::from_slice::<Value>(&file(&format!("{db}/{name}.metadata.json"))).unwrap();
    assert_eq!(metadata("recent")["type"], "view");
    assert_eq!(metadata("recent")["options"]["viewOn"], "orders");
    assert_eq!(metadata("weather")["options"]["timeseries"]["timeField"], "at");
    assert_eq!(metadata("orders")["uuid"].as_str().unwrap().len(), 32);
    assert_eq!(metadata("orders")["indexes"][0]["key"]["_id"]["$numberInt"], "1");
    assert!(!workspace.path(&format!("dump/{db}/recent.bson")).exists());
    let versions: Value = serde_json::from_slice(&file("prelude.json")).unwrap();
    assert_eq!(versions["ServerVersion"], "6.0.5");
    assert!(!file("admin/system.version.bson").is_empty());
    workspace.run(["export", "latest", "--format", "mongodump", "-o", "dump"]).exits(7);
    workspace.run(["export", "latest", "--format", "mongodump", "-o", "other", "--ns", "nothing"]).exits(4);
}
