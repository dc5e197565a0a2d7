//! Everything odd, written behind the backup, so that all of it comes from the oplog.
//!
//! One world for all tests of this file: a source that was empty when it was backed up and was filled then, and a target
//! into which its last moment is restored. Each test looks at one trap.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{Document, RawDocumentBuf, Timestamp, doc, rawdoc};
use mongodb::{Client, ClientSession};
use tokio::sync::OnceCell;

use super::{begun, capture, now, restore, text};
use crate::contents::Contents;
use crate::harness::{self, Options, Servers, Workspace};
use crate::round_trip::odd;

/// A source that rests and can prepare transactions.
fn source_options() -> Options {
    Options { parameters: vec!["ttlMonitorEnabled=false", "enableTestCommands=1"], ..Options::default() }
}

/// The source and the target.
struct World {
    source: Servers,
    target: Servers,
}

/// The server's own expiry rests at the source; at the target it is at its liveliest.
fn servers() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World {
        source: harness::own(&source_options()),
        target: harness::own(&Options { parameters: vec!["ttlMonitorEnabled=false"], ..Options::default() }),
    })
}

/// Fills the source behind its backup and restores its last moment, once for all tests.
async fn world() -> &'static World {
    static RESTORED: OnceCell<bool> = OnceCell::const_new();
    let world = servers();
    // As a task of its own, so that what fails once is not tried again by every test.
    let restored = RESTORED.get_or_init(|| async { tokio::spawn(restore_world(world)).await.is_ok() }).await;
    assert!(restored, "the world was restored; see the first failure");
    world
}

async fn restore_world(world: &'static World) {
    let client = world.source.client().await;
    client
        .database("capped")
        .run_command(doc! { "create": "log", "capped": true, "size": 1_000_000, "max": 20 })
        .await
        .unwrap();
    client.database("unique").create_collection("pairs").await.unwrap();
    let indexes = doc! { "createIndexes": "pairs", "indexes": [{ "key": { "k": 1 }, "name": "k", "unique": true }] };
    client.database("unique").run_command(indexes).await.unwrap();
    let prepared = prepare(&client, "before").await;
    // The snapshot of the backup waits for the transaction, which is older than it.
    let workspace = tokio::task::spawn_blocking(|| begun(&world.source));
    tokio::time::sleep(Duration::from_secs(4)).await;
    commit(&client, prepared).await;
    let workspace = workspace.await.unwrap();
    odd::fill(&client).await;
    odd::fill_large(&client).await;
    odd::fill_empty_timestamps(&client).await;
    prepared_transactions(&client).await;
    move_unique_keys(&client).await;
    capped(&client).await;
    numbers(&client).await;
    recreate(&client).await;
    validators(&client).await;
    expiry(&client).await;
    vectored(&client).await;
    let last = text(now(&client).await);
    // Prepared and not committed by then: it must leave nothing behind.
    let late = prepare(&client, "after").await;
    commit(&client, late).await;
    tokio::task::block_in_place(|| {
        capture(&workspace);
        restore(&workspace, &["--at", &last, "--to", world.target.uri()]).exits(0);
    });
}

/// Holds a database of the target against that of the source.
async fn is_as_it_was(database: &str) -> Contents {
    let world = world().await;
    let (source, target) = (world.source.client().await, world.target.client().await);
    let expected = Contents::of_database(&source, database).await;
    assert!(!expected.names().is_empty(), "{database} is there");
    Contents::of_database(&target, database).await.assert_equals(&expected);
    expected
}

async fn find(client: &Client, database: &str, collection: &str) -> Vec<Document> {
    let collection = client.database(database).collection::<Document>(collection);
    collection.find(doc! {}).await.unwrap().try_collect().await.unwrap()
}

macro_rules! databases {
    ($($test:ident: $database:literal,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            is_as_it_was($database).await;
        })*
    };
}

databases! {
    every_type_and_odd_id_is_replayed: "odd",
    field_order_and_odd_names_are_kept: "odd_names",
    collections_are_created_with_every_option: "odd_options",
    indexes_come_from_the_oplog_with_every_option: "odd_indexes",
    views_are_replayed_as_views: "odd_views",
    time_series_are_replayed_on_their_buckets: "odd_series",
    the_largest_documents_are_replayed: "odd_large",
    empty_timestamps_stay_empty: "odd_zero",
    documents_that_fail_their_validator_are_replayed: "validators",
    a_capped_collection_ends_as_it_was: "capped",
    an_id_may_come_back_in_another_number_type: "numbers",
    a_unique_key_may_move_between_documents: "unique",
    a_collection_may_be_dropped_and_created_again: "again",
}

/// A transaction that is prepared: only a sharded cluster does that by itself.
struct Prepared {
    session: ClientSession,
    at: Timestamp,
}

async fn prepare(client: &Client, id: &str) -> Prepared {
    let database = client.database("prepared");
    let _ = database.create_collection("outcomes").await;
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let outcomes = database.collection::<Document>("outcomes");
    outcomes.insert_one(doc! { "_id": id }).session(&mut session).await.unwrap();
    let admin = client.database("admin");
    let prepare = doc! { "prepareTransaction": 1, "writeConcern": { "w": "majority" } };
    let reply = admin.run_command(prepare).session(&mut session).await.unwrap();
    Prepared { at: reply.get_timestamp("prepareTimestamp").unwrap(), session }
}

async fn commit(client: &Client, prepared: Prepared) {
    let at = prepared.at;
    commit_at(client, prepared, at).await;
}

async fn commit_at(client: &Client, mut prepared: Prepared, at: Timestamp) {
    let commit = doc! { "commitTransaction": 1, "commitTimestamp": at };
    client.database("admin").run_command(commit).session(&mut prepared.session).await.unwrap();
}

async fn abort(client: &Client, mut prepared: Prepared) {
    let abort = doc! { "abortTransaction": 1 };
    client.database("admin").run_command(abort).session(&mut prepared.session).await.unwrap();
}

async fn prepared_transactions(client: &Client) {
    let committed = prepare(client, "committed").await;
    let aborted = prepare(client, "aborted").await;
    commit(client, committed).await;
    abort(client, aborted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_transaction_is_there_if_it_committed_in_time() {
    let target = world().await.target.client().await;
    let mut outcomes = find(&target, "prepared", "outcomes").await;
    outcomes.sort_by_key(|outcome| outcome.get_str("_id").unwrap().to_owned());
    assert_eq!(outcomes, [doc! { "_id": "before" }, doc! { "_id": "committed" }]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_was_open_when_capture_began_is_restored() {
    let (source, target) = (harness::own(&source_options()), harness::own(&Options::default()));
    let client = source.client().await;
    let prepared = prepare(&client, "open").await;
    let workspace = Workspace::on_disk(source.uri());
    workspace.run(["init"]).exits(0);
    capture(&workspace);
    // Its cluster time is chosen at once; then it waits to learn what the transaction does to its document.
    let backup = workspace.regrow(["backup"]).spawn();
    tokio::time::sleep(Duration::from_secs(4)).await;
    client.database("other").collection("ticks").insert_one(doc! {}).await.unwrap();
    let behind_the_backup = now(&client).await;
    commit_at(&client, prepared, behind_the_backup).await;
    tokio::task::block_in_place(|| backup.wait().exits(0));
    client.database("prepared").create_collection("later").await.unwrap();
    let last = text(now(&client).await);
    tokio::task::block_in_place(|| {
        capture(&workspace);
        restore(&workspace, &["latest", "--to", target.uri(), "--map", "prepared=before"]).exits(0);
        restore(&workspace, &["--at", &last, "--to", target.uri()]).exits(0);
    });
    let target = target.client().await;
    assert_eq!(find(&target, "before", "outcomes").await, [], "the backup does not show it");
    assert_eq!(find(&target, "prepared", "outcomes").await, [doc! { "_id": "open" }]);
}

/// Two documents exchange what only one may have: halfway, a replay in another order would meet a duplicate.
async fn move_unique_keys(client: &Client) {
    let pairs = client.database("unique").collection::<Document>("pairs");
    pairs.insert_many([doc! { "_id": 1, "k": "a" }, doc! { "_id": 2, "k": "b" }]).await.unwrap();
    for round in 0..200 {
        let (one, other) = if round % 2 == 0 { ("b", "a") } else { ("a", "b") };
        pairs.update_one(doc! { "_id": 1 }, doc! { "$set": { "k": "free" } }).await.unwrap();
        pairs.update_one(doc! { "_id": 2 }, doc! { "$set": { "k": other } }).await.unwrap();
        pairs.update_one(doc! { "_id": 1 }, doc! { "$set": { "k": one } }).await.unwrap();
    }
}

async fn capped(client: &Client) {
    let database = client.database("capped");
    let log = database.collection::<Document>("log");
    for number in 0..100 {
        log.insert_one(doc! { "_id": number }).await.unwrap();
        if number == 60 {
            database.run_command(doc! { "collMod": "log", "cappedMax": 30 }).await.unwrap();
        }
    }
    database.run_command(doc! { "emptycapped": "log" }).await.unwrap();
    for number in 100..150 {
        log.insert_one(doc! { "_id": number }).await.unwrap();
    }
    database.run_command(doc! { "collMod": "log", "cappedMax": 10 }).await.unwrap();
    log.insert_one(doc! { "_id": 150 }).await.unwrap();
}

async fn numbers(client: &Client) {
    let numbers = client.database("numbers").collection::<Document>("ids");
    for number in 0..300 {
        numbers.insert_one(doc! { "_id": number, "as": "int" }).await.unwrap();
        numbers.delete_one(doc! { "_id": i64::from(number) }).await.unwrap();
        numbers.insert_one(doc! { "_id": f64::from(number), "as": "double" }).await.unwrap();
    }
}

async fn recreate(client: &Client) {
    let database = client.database("again");
    for round in 0..5 {
        let orders = database.collection::<Document>("orders");
        orders.insert_one(doc! { "_id": round }).await.unwrap();
        let index = doc! { "key": { format!("k{round}"): 1 }, "name": "k" };
        database.run_command(doc! { "createIndexes": "orders", "indexes": [index] }).await.unwrap();
        if round % 2 == 0 {
            orders.drop().await.unwrap();
        } else {
            database.drop().await.unwrap();
        }
    }
    database.collection::<Document>("orders").insert_one(doc! { "_id": "last" }).await.unwrap();
}

async fn validators(client: &Client) {
    let database = client.database("validators");
    let strict = doc! { "create": "strict", "validator": { "never": { "$exists": true } } };
    database.run_command(strict).await.unwrap();
    let insert = rawdoc! { "insert": "strict", "documents": [{ "_id": 1 }], "bypassDocumentValidation": true };
    database.run_raw_command(insert).await.unwrap();
    let change = rawdoc! { "q": { "_id": 1 }, "u": { "$set": { "a": 1 } } };
    let update: RawDocumentBuf = rawdoc! { "update": "strict", "updates": [change], "bypassDocumentValidation": true };
    database.run_raw_command(update).await.unwrap();
}

/// Documents that expired long ago, under indexes that were changed on the way.
async fn expiry(client: &Client) {
    let database = client.database("expiry");
    let index = doc! { "key": { "at": 1 }, "name": "at", "expireAfterSeconds": 3600 };
    database.run_command(doc! { "createIndexes": "sessions", "indexes": [index] }).await.unwrap();
    let old = mongodb::bson::DateTime::from_millis(0);
    database.collection("sessions").insert_one(doc! { "_id": 1, "at": old }).await.unwrap();
    let change = doc! { "name": "at", "expireAfterSeconds": 7200 };
    database.run_command(doc! { "collMod": "sessions", "index": change }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_expires_before_the_restore_is_done() {
    is_as_it_was("expiry").await;
}

/// Many documents in one command, whose deletes and updates are one entry each.
async fn vectored(client: &Client) {
    let many = client.database("vectored").collection::<Document>("many");
    many.insert_many((0..2000).map(|number| doc! { "_id": number, "n": number })).await.unwrap();
    many.update_many(doc! { "n": { "$lt": 1000 } }, doc! { "$inc": { "n": 5 } }).await.unwrap();
    many.delete_many(doc! { "n": { "$gt": 1500 } }).await.unwrap();
    let apply = doc! { "applyOps": [
        { "op": "i", "ns": "vectored.many", "o": { "_id": "a" } },
        { "op": "i", "ns": "vectored.many", "o": { "_id": "b" } },
    ] };
    client.database("admin").run_command(apply).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_of_many_documents_are_replayed_one_by_one() {
    let contents = is_as_it_was("vectored").await;
    assert!(contents.count("vectored", "many").unwrap() > 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_own_namespaces_are_not_replayed() {
    let world = world().await;
    let target = world.target.client().await;
    let transactions = find(&target, "config", "transactions").await;
    assert!(transactions.iter().all(|found| found.get_str("state").is_err()), "{transactions:?}");
    let builds = find(&target, "config", "system.indexBuilds").await;
    assert_eq!(builds, [], "index builds are the target's own");
}
