//! Archives that `mongodump` itself has written, of a MongoDB 6.0.

use mongodb::bson::{Bson, Decimal128, Document, RawDocumentBuf, doc, rawdoc};
use serde_json::Value;

use super::{collections, import, initialised};
use crate::contents::all;
use crate::harness::{self, Workspace};

/// Orders with an index, a capped log of five, a view, a time series of five, a long name, a user.
pub const PLAIN: &[u8] = include_bytes!("stock.archive");

/// The same while orders were written, with `--oplog` and `--gzip`: orders from 0 on, without a hole.
pub const WITH_OPLOG: &[u8] = include_bytes!("stock-oplog.archive.gz");

/// Imports an archive and restores it under a name of the test's own.
fn restored(archive: &[u8]) -> (Workspace, Value, String) {
    let workspace = initialised(harness::replica_set().uri());
    workspace.write("archive", archive);
    let imported: Value = import(&workspace, "archive").exits(0).json();
    let db = harness::unique_database_name();
    workspace.run(["restore", "latest", "--map", &format!("golden={db}"), "--confirm", "rs0"]).exits(0);
    (workspace, imported, db)
}

async fn find(db: &str, collection: &str) -> Vec<RawDocumentBuf> {
    let database = harness::replica_set().client().await.database(db);
    all(&database, rawdoc! { "find": collection, "sort": { "_id": 1 } }).await
}

#[tokio::test]
async fn what_mongodump_wrote_is_restored() {
    let (workspace, imported, db) = restored(PLAIN);
    assert_eq!((&imported["namespaces"], &imported["consistency"]), (&5.into(), &"none".into()));
    assert_eq!(imported["cluster_time"], Value::Null);
    let total = |id: i32| Bson::from(format!("{id}.50").parse::<Decimal128>().unwrap());
    let expected: Vec<Document> = (0..20).map(|id| doc! { "_id": id, "total": total(id) }).collect();
    let orders: Vec<_> = find(&db, "orders").await.iter().map(|order| Document::try_from(&**order).unwrap()).collect();
    assert_eq!(orders, expected);
    assert_eq!(find(&db, "log").await.len(), 5);
    assert_eq!(find(&db, "recent").await.len(), 5);
    assert_eq!(find(&db, "weather").await.len(), 5);
    assert_eq!(find(&db, &format!("caf\u{e9} & {}", "x".repeat(226))).await, [rawdoc! { "_id": 1 }]);
    let shown: Value = workspace.run(["show", "latest", "--json"]).exits(0).json();
    assert_eq!(shown["users"], 1);
}

#[tokio::test]
async fn an_oplog_that_came_along_leads_to_one_moment() {
    let (workspace, imported, db) = restored(WITH_OPLOG);
    assert_eq!(imported["consistency"], "oplog");
    let ids: Vec<i32> = find(&db, "orders").await.iter().map(|order| order.get_i32("_id").unwrap()).collect();
    let shown: Value = workspace.run(["show", "latest", "--json"]).exits(0).json();
    let of_orders = shown["collections"].as_array().unwrap().iter().find(|one| one["namespace"] == "golden.orders");
    let dumped = of_orders.unwrap()["documents"].as_u64().unwrap();
    assert!(ids.len() as u64 > dumped, "the replay has added some to {dumped}");
    assert!(ids.iter().copied().eq(0..i32::try_from(ids.len()).unwrap()), "and left no hole: {ids:?}");
    // The same is refused where it would be passed off as exact.
    workspace.run(["export", "latest", "--ns", "golden.orders"]).exits(7);
}

#[tokio::test]
async fn an_archive_may_come_through_a_pipe() {
    let workspace = initialised("mongodb://127.0.0.1:1/");
    let imported = workspace.regrow(["import", "-"]).stdin(PLAIN).run().exits(0);
    let exported = workspace.run(["export", imported.stdout.trim(), "--archive", "-", "--users"]).exits(0);
    assert!(exported.stderr.contains("no single moment"), "{}", exported.stderr);
    let again = workspace.regrow(["import", "-"]).stdin(exported.bytes).run().exits(0);
    assert_eq!(collections(&workspace, again.stdout.trim()), collections(&workspace, imported.stdout.trim()));
}
