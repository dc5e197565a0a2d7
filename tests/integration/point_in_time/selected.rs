//! A part of a moment, under other names, and with no more rights than the documentation asks for.

use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use super::{begun, capture, now, restore, text, without_expiry};
use crate::contents::Contents;
use crate::harness::{self, Options};

async fn fill(client: &Client, database: &str, collection: &str, from: i32) {
    let documents = (from..from + 50).map(|number| doc! { "_id": number, "of": collection });
    client.database(database).collection(collection).insert_many(documents.collect::<Vec<_>>()).await.unwrap();
}

async fn rename(client: &Client, from: &str, to: &str) {
    let command = doc! { "renameCollection": from, "to": to, "dropTarget": true };
    client.database("admin").run_command(command).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chosen_collection_is_followed_through_its_names() {
    let servers = harness::own(&without_expiry());
    let client = servers.client().await;
    for collection in ["orders", "staging", "users"] {
        fill(&client, "shop", collection, 0).await;
    }
    let workspace = begun(&servers);
    // What is called orders in the end was called otherwise before, in the backup and behind it.
    fill(&client, "shop", "staging", 100).await;
    rename(&client, "shop.staging", "shop.next").await;
    rename(&client, "shop.next", "shop.orders").await;
    fill(&client, "shop", "orders", 200).await;
    fill(&client, "shop", "users", 100).await;
    let at = now(&client).await;
    rename(&client, "shop.orders", "shop.old").await;
    capture(&workspace);
    let arguments = ["--at", &text(at), "--ns", "shop.orders", "--map", "shop.orders=copy.of_orders"];
    let answer: Value = restore(&workspace, &arguments).exits(0).json();
    assert_eq!(answer["namespaces"], 1, "{answer}");
    assert_eq!(answer["replayed"], 100, "{answer}");
    let found = Contents::of_database(&client, "copy").await;
    let of_orders = |_: &str, name: &str| (name == "old").then(|| ("copy".to_owned(), "of_orders".to_owned()));
    found.assert_equals(&Contents::of_database(&client, "shop").await.renamed(of_orders));
    let none = restore(&workspace, &["--at", &text(at), "--ns", "shop.staging", "--map", "shop=copy"]);
    assert!(none.exits(4).stderr.contains("matches"), "nothing had that name then");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_reaches_outside_of_what_is_chosen_is_reported() {
    let servers = harness::own(&without_expiry());
    let client = servers.client().await;
    fill(&client, "shop", "orders", 0).await;
    fill(&client, "shop", "stock", 0).await;
    let workspace = begun(&servers);
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    for collection in ["orders", "stock"] {
        let collection = client.database("shop").collection::<Document>(collection);
        collection.insert_one(doc! { "_id": 100 }).session(&mut session).await.unwrap();
    }
    session.commit_transaction().await.unwrap();
    let at = text(now(&client).await);
    capture(&workspace);
    let run = restore(&workspace, &["--at", &at, "--ns", "shop.orders", "--map", "shop=copy"]).exits(0);
    assert!(run.stderr.contains("1 transaction also wrote to namespaces that were not chosen"), "{}", run.stderr);
    assert_eq!(run.json::<Value>()["split_transactions"], 1);
    let whole = restore(&workspace, &["--at", &at, "--map", "shop=whole"]).exits(0);
    assert_eq!(whole.json::<Value>()["split_transactions"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_roles_are_enough_and_what_lacks_is_named() {
    let servers = harness::own(&Options { authentication: true, ..without_expiry() });
    let client = servers.client().await;
    let user = async |name: &str, roles: &[&str]| {
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        let command = doc! { "createUser": name, "pwd": "p", "roles": roles };
        client.database("admin").run_command(command).await.unwrap();
        let host = servers.hosts()[0].address();
        format!("mongodb://{name}:p@{host}/?replicaSet=rs0&authSource=admin")
    };
    let replayer = user("replayer", &["restore", "readWriteAnyDatabase"]).await;
    let restorer = user("restorer", &["restore", "readAnyDatabase"]).await;
    let workspace = begun(&servers);
    let shop = client.database("shop");
    fill(&client, "shop", "orders", 0).await;
    fill(&client, "shop", "system.js", 0).await;
    shop.collection::<Document>("orders").update_many(doc! {}, doc! { "$set": { "a": 1 } }).await.unwrap();
    shop.collection::<Document>("orders").delete_one(doc! { "_id": 1 }).await.unwrap();
    shop.run_command(doc! { "create": "series", "timeseries": { "timeField": "at" } }).await.unwrap();
    for value in 0..3 {
        let point = doc! { "at": mongodb::bson::DateTime::now(), "value": value };
        shop.collection::<Document>("series").insert_one(point).await.unwrap();
    }
    let at = text(now(&client).await);
    capture(&workspace);
    let restore_to = |to: &str, pattern: &str| {
        restore(&workspace, &["--at", &at, "--to", to, "--ns", pattern, "--map", "shop=copy"])
    };
    let refused = restore_to(&restorer, "shop.orders").exits(3);
    assert!(refused.stderr.contains("readWriteAnyDatabase"), "{}", refused.stderr);
    assert!(refused.stderr.contains("the target is as it was"), "{}", refused.stderr);
    restore_to(&replayer, "shop").exits(0);
    let copied = |_: &str, name: &str| Some(("copy".to_owned(), name.to_owned()));
    let expected = Contents::of_database(&client, "shop").await.renamed(copied);
    Contents::of_database(&client, "copy").await.assert_equals(&expected);
}
