//! Searching the captured oplog: when exactly did it happen, and back to just before it.

use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use super::{begun, capture, files};
use crate::harness::{self, Options, Run, Servers, Workspace};

/// A shop with a mistake in its history, captured; the server may be gone afterwards.
async fn captured_mistake(servers: &Servers) -> Workspace {
    let workspace = begun(servers);
    let client = servers.client().await;
    let orders = client.database("shop").collection::<Document>("orders");
    for number in 0..20 {
        let order = doc! { "_id": number, "tenant": format!("t{}", number % 3), "lines": [{ "sku": number }] };
        orders.insert_one(order).await.unwrap();
    }
    orders.update_one(doc! { "_id": 7 }, doc! { "$set": { "lines.0.sku": 99 } }).await.unwrap();
    orders.delete_one(doc! { "_id": 7 }).await.unwrap();
    transaction(&client, 100, true).await;
    transaction(&client, 200, false).await;
    client.database("shop").collection::<Document>("carts").insert_one(doc! { "_id": 7 }).await.unwrap();
    client.database("shop").collection::<Document>("carts").drop().await.unwrap();
    capture(&workspace);
    workspace
}

/// Writes over 16 MiB in one transaction, so that it takes several entries, with a delete at its end.
async fn transaction(client: &Client, first: i32, commits: bool) {
    let orders = client.database("shop").collection::<Document>("orders");
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    for number in first..first + 20 {
        let order = doc! { "_id": number, "filler": "x".repeat(1024 * 1024) };
        orders.insert_one(order).session(&mut session).await.unwrap();
    }
    orders.delete_one(doc! { "_id": first }).session(&mut session).await.unwrap();
    if commits {
        session.commit_transaction().await.unwrap();
    } else {
        session.abort_transaction().await.unwrap();
    }
}

fn search(workspace: &Workspace, arguments: &[&str]) -> Run {
    workspace.run([&["oplog"], arguments].concat())
}

fn found(workspace: &Workspace, arguments: &[&str]) -> Vec<Value> {
    let answer: Value = search(workspace, &[&["--json"], arguments].concat()).exits(0).json();
    let entries = answer["entries"].as_array().unwrap().clone();
    assert_eq!(answer["found"], entries.len(), "{answer}");
    entries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_is_found_without_a_server_and_undone_exactly() {
    let servers = harness::own(&Options::default());
    let mut workspace = captured_mistake(&servers).await;
    let dropped = search(&workspace, &["--op", "c", "--ns", "shop.carts"]).exits(0).stdout;
    assert!(dropped.contains("{\"drop\":\"carts\"}  of 1 document\n"), "{dropped}");
    workspace.set("source.uri", "mongodb://127.0.0.1:1/");

    let deletes = found(&workspace, &["--ns", "shop.orders", "--op", "d", "--where", r#"{"_id": 7}"#]);
    assert_eq!(deletes.len(), 1, "{deletes:?}");
    let delete = &deletes[0];
    assert_eq!((&delete["op"], &delete["ns"], &delete["o"]["_id"]), (&"d".into(), &"shop.orders".into(), &7.into()));
    let position = format!("{},{}", delete["cluster_time"]["t"], delete["cluster_time"]["i"]);
    assert_eq!(delete["position"], position);

    let story = found(&workspace, &["--ns", "shop.orders", "--where", r#"{"_id": 7}"#]);
    let operations: Vec<&str> = story.iter().map(|entry| entry["op"].as_str().unwrap()).collect();
    assert_eq!(operations, ["i", "u", "d"]);
    assert_eq!(found(&workspace, &["--where", r#"{"lines.sku": 99}"#]).len(), 1, "a nested field that was set");
    assert_eq!(found(&workspace, &["--op", "i", "--where", r#"{"tenant": "t1"}"#]).len(), 7);
    assert_eq!(found(&workspace, &["--op", "u,d", "--to", &position]).len(), 2);
    let later = found(&workspace, &["--op", "d", "--from", &position]);
    assert_eq!(later[0], *delete, "the moment itself is included");

    let commands = found(&workspace, &["--op", "c", "--ns", "shop.carts"]);
    let of_carts = |entry: &Value| entry["o"]["create"] == "carts" || entry["o"]["drop"] == "carts";
    assert!(commands.len() == 2 && commands.iter().all(of_carts), "{commands:?}");

    workspace.set("source.uri", servers.uri());
    let arguments = ["restore", "--before", &position, "--map", "shop=before", "--confirm", "rs0"];
    workspace.run(arguments).exits(0);
    let before = servers.client().await.database("before").collection::<Document>("orders");
    let order = before.find_one(doc! { "_id": 7 }).await.unwrap().unwrap();
    assert_eq!(order, doc! { "_id": 7, "tenant": "t1", "lines": [{ "sku": 99 }] });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_found_where_it_commits_and_not_at_all_when_it_aborts() {
    let servers = harness::own(&Options::default());
    let workspace = captured_mistake(&servers).await;
    let committed = found(&workspace, &["--op", "d", "--where", r#"{"_id": 100}"#]);
    assert_eq!(committed.len(), 1);
    let inserted = found(&workspace, &["--op", "i", "--where", r#"{"_id": 101}"#]);
    assert_eq!(inserted[0]["position"], committed[0]["position"], "all of it counts at once");
    assert!(found(&workspace, &["--where", r#"{"_id": 201}"#]).is_empty(), "it never happened");
    let position = committed[0]["position"].as_str().unwrap();
    // From its end on, its beginning lies in entries before.
    let only_end = found(&workspace, &["--from", position, "--to", position]);
    assert_eq!(only_end.len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_short_and_begin_with_the_position() {
    let servers = harness::own(&Options::default());
    let workspace = captured_mistake(&servers).await;
    let said = search(&workspace, &["--ns", "shop.orders"]).exits(0);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines.len(), 20 + 2 + 21 + 1, "{}", said.stdout);
    for line in &lines {
        let (seconds, increment) = line.split_whitespace().next().unwrap().split_once(',').unwrap();
        assert!(seconds.parse::<u32>().is_ok() && increment.parse::<u32>().is_ok(), "{line}");
        assert!(line.contains("shop.orders") && line.chars().count() < 260, "{line}");
    }
    assert!(said.stderr.contains("Found 44 operations in"), "{}", said.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_searched_is_said() {
    let servers = harness::own(&Options::default());
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    assert!(search(&workspace, &[]).exits(4).stderr.contains("none of the oplog of that time was captured"));
    capture(&workspace);
    for (arguments, named) in [
        (&["--op", "x"][..], "'x'"),
        (&["--where", r#"{"a": {"$gt": 1}}"#], "$gt"),
        (&["--where", "_id=1"], "_id=1"),
        (&["--from", "yesterday"], "yesterday"),
        (&["--from", "20,1", "--to", "10,1"], "--from"),
        (&["--ns", "shop."], "shop."),
    ] {
        let said = search(&workspace, arguments).exits(2).stderr;
        assert!(said.contains(named) && said.contains("hint: "), "{arguments:?}: {said}");
    }
    let orders = servers.client().await.database("shop").collection::<Document>("orders");
    orders.insert_one(doc! { "_id": 1 }).await.unwrap();
    capture(&workspace);
    search(&workspace, &["--to", "10,1"]).exits(4);
    let slice = &files(&workspace, ".bson.zst.age")[0];
    std::fs::write(slice, "nonsense").unwrap();
    let name = slice.file_name().unwrap().to_string_lossy().into_owned();
    assert!(search(&workspace, &[]).exits(5).stderr.contains(&name));
    workspace.set("encryption.identity_file", "nowhere.txt");
    search(&workspace, &[]).exits(3);
}
