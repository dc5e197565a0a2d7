//! `regrow diff`: what it says has changed is what has changed, and nothing else.

mod large;
mod moments;
mod structure;

use std::collections::BTreeSet;

use mongodb::Client;
use mongodb::bson::{Document, doc, rawdoc};
use serde_json::{Value, json};

use crate::harness::{self, Options, Run, Workspace};
use crate::round_trip::odd::{self, bytes, bytes::Bytes};

/// A backup of everything, or of what the arguments choose.
fn backed_up(uri: &str, arguments: &[&str]) -> Workspace {
    let workspace = Workspace::on_disk(uri);
    workspace.run(["init"]).exits(0);
    workspace.run([&["backup"], arguments].concat()).exits(0);
    workspace
}

fn diff(workspace: &Workspace, arguments: &[&str]) -> Run {
    workspace.run([&["diff", "latest"], arguments].concat())
}

fn compared(workspace: &Workspace, arguments: &[&str]) -> Value {
    diff(workspace, &[&["--json"], arguments].concat()).exits(0).json()
}

/// Returns what was found of one namespace.
fn of<'a>(answer: &'a Value, namespace: &str) -> &'a Value {
    let collections = answer["collections"].as_array().unwrap();
    let found = collections.iter().find(|found| found["namespace"] == namespace);
    found.unwrap_or_else(|| panic!("nothing of {namespace}: {answer}"))
}

/// Returns how many documents are the same, added, removed and changed.
fn counts(answer: &Value, namespace: &str) -> [u64; 4] {
    let found = of(answer, namespace);
    ["same", "added", "removed", "changed"].map(|field| found[field].as_u64().unwrap())
}

/// Returns the `_id`s that are listed with a change, as JSON.
fn listed(answer: &Value, namespace: &str, change: &str) -> BTreeSet<String> {
    let documents = of(answer, namespace)["documents"].as_array().unwrap();
    let chosen = documents.iter().filter(|document| document["change"] == change);
    chosen.map(|document| document["_id"].to_string()).collect()
}

async fn documents(client: &Client, db: &str, name: &str) -> mongodb::Collection<Document> {
    client.database(db).collection::<Document>(name)
}

/// The servers' own expiry would change what is compared.
fn without_expiry() -> Options {
    Options { parameters: vec!["ttlMonitorEnabled=false"], ..Options::default() }
}

#[tokio::test]
async fn nothing_odd_differs_until_it_is_changed() {
    let servers = harness::own(&without_expiry());
    let client = servers.client().await;
    odd::fill(&client).await;
    odd::fill_empty_timestamps(&client).await;
    let workspace = backed_up(servers.uri(), &[]);
    let same: Value = diff(&workspace, &["--check", "--json", "--documents"]).exits(0).json();
    assert_eq!(same["same"], true, "{same}");
    for found in same["collections"].as_array().unwrap() {
        let differing = ["added", "removed", "changed"].map(|field| found[field].as_u64().unwrap());
        assert_eq!(differing, [0; 3], "{found}");
        assert_eq!((&found["options"], &found["indexes"]), (&json!([]), &json!([])), "{found}");
    }
    let number = odd::documents::ids().len() as u64;
    assert_eq!(counts(&same, "odd.ids"), [number, 0, 0, 0]);
    let text = diff(&workspace, &["--ns", "odd.ids"]).exits(0);
    assert!(text.stdout.contains("odd.ids") && text.stdout.contains("the same"), "{}", text.stdout);
    assert!(text.stderr.contains("Nothing differs in 1 namespace."), "{}", text.stderr);

    // Every second document has another field, and every fourth is gone.
    let ids = client.database("odd");
    odd::run(&ids, rawdoc! { "update": "ids", "updates": [{ "q": { "n": { "$mod": [2, 1] } }, "u": [{ "$set": { "more": 1 } }], "multi": true }] }).await;
    odd::run(&ids, rawdoc! { "delete": "ids", "deletes": [{ "q": { "n": { "$mod": [4, 0] } }, "limit": 0 }] }).await;
    let (changed, removed) = (number / 2, number.div_ceil(4));
    for namespace in ["odd.ids", "odd_options.clustered"] {
        let expected =
            if namespace == "odd.ids" { [number - changed - removed, 0, removed, changed] } else { [number, 0, 0, 0] };
        let answer = compared(&workspace, &["--documents"]);
        assert_eq!(counts(&answer, namespace), expected, "{answer}");
        assert_eq!(listed(&answer, namespace, "removed").len() as u64, expected[2], "each _id is told apart");
    }
    let refused = diff(&workspace, &["--check"]).exits(6);
    assert!(refused.stderr.contains("1 of ") && refused.stderr.contains("hint: "), "{}", refused.stderr);
    assert!(refused.stdout.contains("differs"), "{}", refused.stdout);
}

#[tokio::test]
async fn an_id_is_the_one_that_the_server_takes_for_it() {
    let client = harness::replica_set().client().await;
    let db = harness::unique_database_name();
    let shop = client.database(&db);
    let number = |kind: u8, value: &[u8]| Bytes::with_id(kind, value).int("a", 1).raw();
    let numbers = |kind: u8, one: &[u8], half: &[u8]| vec![number(kind, one), number(bytes::DOUBLE, half)];
    odd::insert(&shop, "ids", &numbers(bytes::INT32, &1_i32.to_le_bytes(), &0.5_f64.to_le_bytes())).await;
    odd::insert(&shop, "ids", &[rawdoc! { "_id": { "a": 1, "b": "x" } }, rawdoc! { "_id": "A" }]).await;
    let workspace = backed_up(harness::replica_set().uri(), &["--ns", &db]);

    odd::run(&shop, rawdoc! { "drop": "ids" }).await;
    let decimal = bytes::decimal(0x303e_0000_0000_0000, 5); // 0.5
    odd::insert(&shop, "ids", &[number(bytes::INT64, &1_i64.to_le_bytes()), number(bytes::DECIMAL, &decimal)]).await;
    odd::insert(&shop, "ids", &[rawdoc! { "_id": { "a": 1.0, "b": "x" } }, rawdoc! { "_id": "a" }]).await;
    let answer = compared(&workspace, &["--ns", &db, "--documents"]);
    let namespace = format!("{db}.ids");
    assert_eq!(counts(&answer, &namespace), [0, 1, 1, 3], "{answer}");
    let changed = [r#"{"$numberInt":"1"}"#, r#"{"$numberDouble":"0.5"}"#, r#"{"a":{"$numberInt":"1"},"b":"x"}"#];
    assert_eq!(listed(&answer, &namespace, "changed"), changed.map(str::to_owned).into(), "as the backup has them");
    assert_eq!(listed(&answer, &namespace, "added"), ["\"a\"".to_owned()].into());
    assert_eq!(listed(&answer, &namespace, "removed"), ["\"A\"".to_owned()].into());
}

#[tokio::test]
async fn what_cannot_be_compared_is_said() {
    let client = harness::replica_set().client().await;
    let db = harness::unique_database_name();
    let orders = documents(&client, &db, "orders").await;
    orders.insert_many((0..100).map(|n| doc! { "_id": n })).await.unwrap();
    let mut workspace = backed_up(harness::replica_set().uri(), &["--ns", &db]);
    for (arguments, code, named) in [
        (&["--limit", "3"][..], 2, "--documents"),
        (&["--documents", "--limit", "0"], 2, "--limit"),
        (&["--ns", "nowhere"], 4, "nowhere"),
        (&["--ns", "shop."], 2, "shop."),
        (&["--map", "shop"], 2, "shop"),
        (&["--to", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500"], 1, "127.0.0.1:1"),
    ] {
        let said = diff(&workspace, arguments).exits(code).stderr;
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
    workspace.run(["diff", "20200101"]).exits(4);
    // A damaged segment is found as soon as it is needed.
    let backups = workspace.repository().join("backups");
    let backup = std::fs::read_dir(backups).unwrap().next().unwrap().unwrap().path();
    std::fs::write(backup.join("packs/0001.tar"), "nonsense").unwrap();
    assert_eq!(compared(&workspace, &[])["same"], true, "what is live is what was read");
    orders.delete_one(doc! { "_id": 5 }).await.unwrap();
    diff(&workspace, &[]).exits(5);
    workspace.unset("encryption.identity_file");
    diff(&workspace, &[]).exits(3);
}
