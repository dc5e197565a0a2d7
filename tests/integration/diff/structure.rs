//! Namespaces, options, indexes, views and time series; other names, and what a backup of a part says of the rest.

use mongodb::bson::{DateTime, Document, doc, rawdoc};
use mongodb::{Client, Database};
use serde_json::{Value, json};

use super::{backed_up, compared, counts, diff, of};
use crate::harness::{self, Workspace};
use crate::round_trip::odd::run;

/// A shop with all that has a structure, and a backup of it.
async fn shop() -> (Client, String, Workspace) {
    let client = harness::replica_set().client().await;
    let db = harness::unique_database_name();
    let shop = client.database(&db);
    let orders = shop.collection::<Document>("orders");
    orders.insert_many((0..100).map(|n| doc! { "_id": n, "a": n, "b": n })).await.unwrap();
    let indexes = [rawdoc! { "key": { "a": 1 }, "name": "a" }, rawdoc! { "key": { "b": 1 }, "name": "b" }];
    run(
        &shop,
        rawdoc! { "createIndexes": "orders", "indexes": indexes.into_iter().collect::<mongodb::bson::RawArrayBuf>() },
    )
    .await;
    run(&shop, rawdoc! { "create": "weather", "timeseries": { "timeField": "at", "metaField": "m" } }).await;
    measure(&shop, 0..200).await;
    run(&shop, rawdoc! { "create": "recent", "viewOn": "orders", "pipeline": [{ "$limit": 3 }] }).await;
    shop.collection("gone").insert_one(doc! { "_id": 1 }).await.unwrap();
    let workspace = backed_up(harness::replica_set().uri(), &["--ns", &db]);
    (client, db, workspace)
}

async fn measure(shop: &Database, hours: std::ops::Range<i64>) {
    let measurement = |n: i64| doc! { "at": DateTime::from_millis(n * 3_600_000), "m": n % 3, "v": n };
    shop.collection("weather").insert_many(hours.map(measurement)).await.unwrap();
}

#[tokio::test]
async fn namespaces_options_and_indexes_are_compared() {
    let (client, db, workspace) = shop().await;
    let shop = client.database(&db);
    let name = |collection: &str| format!("{db}.{collection}");
    let before = compared(&workspace, &["--check"]);
    assert_eq!((&before["same"], before["collections"].as_array().unwrap().len()), (&json!(true), 4), "{before}");

    run(&shop, rawdoc! { "collMod": "orders", "validator": { "a": { "$gte": 0 } } }).await;
    run(&shop, rawdoc! { "dropIndexes": "orders", "index": ["a", "b"] }).await;
    let indexes = [rawdoc! { "key": { "b": -1 }, "name": "b" }, rawdoc! { "key": { "c": 1 }, "name": "c" }];
    run(
        &shop,
        rawdoc! { "createIndexes": "orders", "indexes": indexes.into_iter().collect::<mongodb::bson::RawArrayBuf>() },
    )
    .await;
    run(&shop, rawdoc! { "collMod": "recent", "viewOn": "orders", "pipeline": [{ "$limit": 4 }] }).await;
    run(&shop, rawdoc! { "drop": "gone" }).await;
    shop.collection("new").insert_many([doc! { "_id": 1 }, doc! { "_id": 2 }]).await.unwrap();
    measure(&shop, 10_000..10_010).await;

    let answer = compared(&workspace, &["--ns", &db, "--documents"]);
    let orders = of(&answer, &name("orders"));
    assert_eq!(counts(&answer, &name("orders")), [100, 0, 0, 0]);
    assert_eq!(orders["options"], json!(["validator", "validationLevel", "validationAction"]));
    let expected = json!([
        { "name": "a", "change": "removed", "fields": [] },
        { "name": "b", "change": "changed", "fields": ["key"] },
        { "name": "c", "change": "added", "fields": [] },
    ]);
    assert_eq!(orders["indexes"], expected);
    assert_eq!(of(&answer, &name("recent"))["options"], json!(["pipeline"]));
    assert_eq!(of(&answer, &name("recent"))["kind"], "view");
    assert_eq!(
        (&of(&answer, &name("gone"))["presence"], counts(&answer, &name("gone"))),
        (&json!("backup"), [0, 0, 1, 0])
    );
    assert_eq!((&of(&answer, &name("new"))["presence"], counts(&answer, &name("new"))), (&json!("live"), [0, 2, 0, 0]));
    let weather = of(&answer, &name("weather"));
    assert_eq!(weather["kind"], "timeseries");
    let [same, added, removed, _] = counts(&answer, &name("weather"));
    assert!(same > 0 && added > 0 && removed == 0, "the buckets: {weather}");

    let said = diff(&workspace, &["--ns", &db]).exits(0).stdout;
    for expected in [
        "differs; options validator, validationLevel, validationAction; indexes -a, ~b (key), +c",
        "differs; a view; options pipeline",
        "differs; buckets of a time series",
        "only in the backup",
        "only live",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[tokio::test]
async fn a_copy_is_compared_under_its_own_name() {
    let (client, db, workspace) = shop().await;
    let copy = harness::unique_database_name();
    let map = format!("{db}={copy}");
    workspace.run(["restore", "latest", "--map", &map, "--confirm", "rs0"]).exits(0);
    let answer: Value = diff(&workspace, &["--map", &map, "--check", "--json"]).exits(0).json();
    assert_eq!(answer["collections"].as_array().unwrap().len(), 4, "{answer}");
    assert_eq!(of(&answer, &format!("{copy}.orders"))["from"], format!("{db}.orders"));
    // What is added to the copy is, what the original has beside it is not.
    client.database(&copy).collection("more").insert_one(doc! { "_id": 1 }).await.unwrap();
    client.database(&db).collection("more of the original").insert_one(doc! { "_id": 1 }).await.unwrap();
    let answer = compared(&workspace, &["--ns", &db, "--map", &map]);
    assert_eq!(answer["collections"].as_array().unwrap().len(), 5, "{answer}");
    assert_eq!(of(&answer, &format!("{copy}.more"))["from"], format!("{db}.more"));
    // One collection against another of the same database.
    let (from, to) = (format!("{db}.orders"), format!("{db}.gone"));
    let said = diff(&workspace, &["--ns", &from, "--map", &format!("{from}={to}")]).exits(0).stdout;
    assert!(said.contains(&format!("{to} (was {from})")), "{said}");
    // A view has no documents of its own.
    let to = format!("{db}.recent");
    let answer = compared(&workspace, &["--ns", &from, "--map", &format!("{from}={to}")]);
    assert_eq!(counts(&answer, &to), [0, 0, 100, 0]);
    assert_eq!(of(&answer, &to)["options"][0], "kind");
}

#[tokio::test]
async fn another_deployment_is_compared_where_it_is_named() {
    let (_, db, workspace) = shop().await;
    let other = harness::three_nodes();
    let answer = compared(&workspace, &["--to", other.uri(), "--ns", &db]);
    assert_eq!(answer["same"], false);
    assert!(answer["collections"].as_array().unwrap().iter().all(|found| found["presence"] == "backup"), "{answer}");
    assert_eq!(counts(&answer, &format!("{db}.orders")), [0, 0, 100, 0]);
    workspace.run(["restore", "latest", "--to", other.uri(), "--confirm", "rs0"]).exits(0);
    diff(&workspace, &["--to", other.uri(), "--check"]).exits(0);
}

#[tokio::test]
async fn a_backup_of_a_part_says_nothing_of_the_rest_unless_asked() {
    let (client, db, workspace) = shop().await;
    client.database(&db).collection("new").insert_one(doc! { "_id": 1 }).await.unwrap();
    let run = diff(&workspace, &["--json"]).exits(0);
    assert_eq!(run.json::<Value>()["same"], true, "{}", run.stdout);
    assert!(run.stderr.contains("chosen namespaces"), "{}", run.stderr);
    let new = format!("{db}.new");
    assert_eq!(of(&compared(&workspace, &["--ns", &new]), &new)["presence"], "live");
}
