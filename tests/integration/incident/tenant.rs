//! One tenant's documents, restored into a collection that all tenants share.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::{Client, Collection};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::{self, Run, Workspace, fail_point};

const TENANT: &str = r#"{"tenantId": "t42"}"#;

/// A collection that tenants share, and a backup of it.
struct Shared {
    workspace: Workspace,
    client: Client,
    db: String,
    backup: String,
}

impl Shared {
    async fn new(documents: i32) -> Self {
        Self::on(harness::replica_set(), documents).await
    }

    async fn on(servers: &harness::Servers, documents: i32) -> Self {
        let (client, db) = (servers.client().await, harness::unique_database_name());
        let orders = client.database(&db).collection::<Document>("orders");
        for begin in (0..documents).step_by(20_000) {
            let batch = (begin..documents.min(begin + 20_000)).map(|number| {
                doc! { "_id": number, "tenantId": format!("t{}", number % 50), "state": "paid", "lines": [number, number + 1] }
            });
            orders.insert_many(batch).await.unwrap();
        }
        let indexes = doc! { "createIndexes": "orders", "indexes": [{ "key": { "tenantId": 1 }, "name": "tenant" }] };
        client.database(&db).run_command(indexes).await.unwrap();
        let workspace = Workspace::on_disk(servers.uri());
        workspace.run(["init"]).exits(0);
        let backup = workspace.run(["backup", "--ns", &db]).exits(0).stdout.trim().to_owned();
        Self { workspace, client, db, backup }
    }

    fn orders(&self) -> Collection<Document> {
        self.client.database(&self.db).collection("orders")
    }

    /// Returns how many documents match, and a digest of all their bytes.
    async fn digest(&self, filter: Document) -> (usize, String) {
        let orders = self.orders().clone_with_type::<RawDocumentBuf>();
        let mut found = orders.find(filter).sort(doc! { "_id": 1 }).await.unwrap();
        let (mut count, mut hash) = (0, Sha256::new());
        while let Some(document) = found.try_next().await.unwrap() {
            count += 1;
            hash.update(document.as_bytes());
        }
        (count, hex::encode(hash.finalize()))
    }

    async fn tenant(&self) -> (usize, String) {
        self.digest(doc! { "tenantId": "t42" }).await
    }

    async fn rest(&self) -> (usize, String) {
        self.digest(doc! { "tenantId": { "$ne": "t42" } }).await
    }

    /// A bad deployment: half of the tenant's orders are gone, and others are wrong. The other tenants go on.
    async fn spoil(&self) {
        let orders = self.orders();
        orders.delete_many(doc! { "tenantId": "t42", "_id": { "$mod": [4, 0] } }).await.unwrap();
        let wrong = doc! { "$set": { "state": "unpaid" }, "$push": { "lines": 0 } };
        orders.update_many(doc! { "tenantId": "t42", "_id": { "$mod": [3, 0] } }, wrong).await.unwrap();
        orders.update_many(doc! { "tenantId": "t7" }, doc! { "$set": { "state": "shipped" } }).await.unwrap();
        orders.delete_many(doc! { "tenantId": "t8", "_id": { "$lt": 500 } }).await.unwrap();
        orders.insert_one(doc! { "_id": "new", "tenantId": "t9" }).await.unwrap();
    }

    fn restore(&self, arguments: &[&str]) -> Run {
        self.workspace.run([&["restore"], arguments, &["--confirm", "rs0"]].concat())
    }

    /// Kills a restore while it builds the index of the live collection that it makes, the only one; returns its id.
    async fn killed_while_making(&self, arguments: &[&str]) -> String {
        loop {
            let before = fail_point::hold(&self.client, "createIndexes", 0, Duration::from_secs(1)).await;
            let mut running = self.workspace.regrow(arguments).spawn();
            fail_point::wait_until_held(&self.client, before).await;
            running.kill();
            running.wait();
            fail_point::let_go(&self.client).await;
            if let Some(known) = self.unfinished() {
                return known["restore"].as_str().unwrap().to_owned();
            }
            // It was through before it could be killed.
            self.client.database(&self.db).collection::<Document>("orders_t42").drop().await.unwrap();
        }
    }

    async fn is_clean(&self) {
        let names = self.client.database(&self.db).list_collection_names().await.unwrap();
        assert_eq!(names, ["orders"]);
        assert_eq!(self.unfinished(), None);
    }

    /// Returns the restore of this backup that did not end or can be undone; other tests use the server, too.
    fn unfinished(&self) -> Option<Value> {
        let listed: Value = self.workspace.run(["restore", "--unfinished", "--json"]).exits(0).json();
        listed["restores"].as_array().unwrap().iter().find(|known| known["backup"] == self.backup).cloned()
    }
}

#[tokio::test]
async fn one_tenant_of_fifty_is_restored_and_the_others_are_not_touched() {
    let shared = Shared::new(200_000).await;
    let good = shared.tenant().await;
    shared.spoil().await;
    let rest = shared.rest().await;
    let run = shared.restore(&[&shared.backup, "--where", TENANT, "--mode", "upsert"]).exits(0);
    assert!(run.stderr.contains("nothing else in these collections is touched"), "{run:?}");
    assert!(
        run.stderr.contains("up to 200000 documents") && run.stderr.contains("to look through into 1 namespace"),
        "{run:?}"
    );
    assert!(run.stdout.contains("documents that match"), "{run:?}");
    assert_eq!(shared.tenant().await, good);
    assert_eq!(shared.rest().await, rest);
    assert_eq!(good.0, 4000);
    shared.is_clean().await;
}

#[tokio::test]
async fn each_mode_does_what_it_says_and_can_be_undone() {
    let shared = Shared::new(5000).await;
    let good = shared.tenant().await;
    shared.spoil().await;
    let (spoilt, rest) = (shared.tenant().await, shared.rest().await);
    let restore = |mode: &str| {
        let arguments = [&shared.backup, "--where", TENANT, "--mode", mode, "--keep-old", "--json"];
        shared.restore(&arguments)
    };
    let plan = ["--where", TENANT, "--mode", "upsert", "--keep-old", "--dry-run"];
    let plan = shared.restore(&[&[&*shared.backup], &plan[..]].concat()).exits(0);
    assert!(plan.stderr.contains("kept beside them, as regrow.ID.N.old"), "{plan:?}");
    let refused = restore("insert").exits(7);
    assert!(refused.stderr.contains("has some of the documents already"), "{refused:?}");
    assert!(refused.stderr.contains("the target is as it was"), "{refused:?}");
    assert_eq!((shared.tenant().await, shared.rest().await), (spoilt.clone(), rest.clone()));
    shared.is_clean().await;

    for (mode, written, left) in [("missing", 50, 50), ("upsert", 75, 25)] {
        let answer: Value = restore(mode).exits(0).json();
        let counts = (answer["written"].as_u64().unwrap(), answer["left_as_they_were"].as_u64().unwrap());
        assert_eq!(counts.0 + counts.1, 100, "{answer}");
        assert!(counts.0.abs_diff(written) <= 10 && counts.1.abs_diff(left) <= 10, "{mode}: {answer}");
        let old = format!("{}.regrow.{}.0.old", shared.db, answer["restore"].as_str().unwrap());
        let kept = if mode == "upsert" { serde_json::json!([old]) } else { serde_json::json!([]) };
        assert_eq!(answer["kept"], kept, "{answer}");
        if mode == "upsert" {
            assert_eq!(shared.tenant().await, good);
        } else {
            assert_eq!(shared.tenant().await.0, good.0);
            let wrong = doc! { "tenantId": "t42", "state": "unpaid" };
            assert!(shared.digest(wrong).await.0 > 0, "those that were there stay");
        }
        assert_eq!(shared.rest().await, rest);
        shared.restore(&["--undo", answer["restore"].as_str().unwrap()]).exits(0);
        assert_eq!((shared.tenant().await, shared.rest().await), (spoilt.clone(), rest.clone()), "{mode} undone");
        shared.is_clean().await;
    }

    shared.orders().delete_many(doc! { "tenantId": "t42" }).await.unwrap();
    let answer: Value = restore("insert").exits(0).json();
    assert_eq!(shared.tenant().await, good);
    shared.orders().update_one(doc! { "_id": 42 }, doc! { "$set": { "since": true } }).await.unwrap();
    let undone = shared.restore(&["--undo", answer["restore"].as_str().unwrap()]).exits(0);
    assert!(
        undone.stdout.contains("1 document that the restore had added stays, because somebody has changed it since"),
        "{undone:?}"
    );
    assert_eq!(shared.tenant().await.0, 1);
    assert_eq!(shared.rest().await, rest);
}

#[tokio::test]
async fn a_filter_that_nothing_matches_and_a_map_about_nothing_are_no_success() {
    let shared = Shared::new(1000).await;
    let before = (shared.tenant().await, shared.rest().await);
    let typo = r#"{"tenantt": "t42"}"#;
    let map = format!("{0}.orders={0}.orders_t42", shared.db);
    for arguments in [vec!["--where", typo, "--mode", "upsert", "--keep-old"], vec!["--where", typo, "--map", &map]] {
        let none = shared.restore(&[&[&*shared.backup], &arguments[..]].concat()).exits(4).stderr;
        assert!(
            none.contains("no document of the backup matches") && none.contains("the target is as it was"),
            "{none}"
        );
        shared.is_clean().await;
    }
    let map = format!("{0}.order={0}.orders_look", shared.db);
    let unused = shared.restore(&[&shared.backup, "--map", &map, "--replace"]).exits(4).stderr;
    assert!(unused.contains(&format!("--map {map} is about nothing that would be restored")), "{unused}");
    shared.is_clean().await;
    assert_eq!((shared.tenant().await, shared.rest().await), before);
}

#[tokio::test]
async fn undoing_tells_first_whose_changes_it_undoes() {
    let shared = Shared::new(5000).await;
    shared.spoil().await;
    let (spoilt, rest) = (shared.tenant().await, shared.rest().await);
    let arguments = [&shared.backup, "--where", TENANT, "--mode", "upsert", "--keep-old", "--json"];
    let answer: Value = shared.restore(&arguments).exits(0).json();
    let id = answer["restore"].as_str().unwrap();
    let old = shared.client.database(&shared.db).collection::<Document>(&format!("regrow.{id}.0.old"));
    let replaced = old.find_one(doc! {}).await.unwrap().unwrap();
    let id_of_replaced = replaced.get("_id").unwrap();
    let selected = doc! { "_id": id_of_replaced.clone() };
    shared.orders().update_one(selected, doc! { "$set": { "since": true } }).await.unwrap();
    let unconfirmed = shared.restore(&["--undo", id]).exits(7).stderr;
    assert!(
        unconfirmed.contains("hint: nothing was changed; to lose those changes, add --discard-changes"),
        "{unconfirmed}"
    );
    let named = format!("    {}.orders {id_of_replaced}", shared.db);
    assert!(unconfirmed.contains("1 document that it had replaced has been changed since"), "{unconfirmed}");
    assert!(unconfirmed.lines().any(|line| line == named), "{unconfirmed}");
    shared.workspace.run(["restore", "--undo", id, "--dry-run"]).exits(0);
    let undone = shared.restore(&["--undo", id, "--discard-changes"]).exits(0);
    assert!(undone.stdout.contains("1 document that somebody had changed since the restore lost"), "{undone:?}");
    assert_eq!((shared.tenant().await, shared.rest().await), (spoilt, rest));
}

#[tokio::test]
async fn documents_can_be_looked_at_under_another_name() {
    let shared = Shared::new(1000).await;
    let map = format!("{0}.orders={0}.orders_t42", shared.db);
    shared.restore(&[&shared.backup, "--where", TENANT, "--map", &map]).exits(0);
    let copy = shared.client.database(&shared.db).collection::<Document>("orders_t42");
    assert_eq!(copy.count_documents(doc! {}).await.unwrap(), 20);
    assert_eq!(copy.list_index_names().await.unwrap(), ["_id_", "tenant"]);
}

#[tokio::test]
async fn what_cannot_be_restored_document_by_document_is_refused_or_left_out() {
    let servers = harness::own(&harness::Options::default());
    let stage = super::stage::Stage::new(&servers).await;
    let db = &stage.db;
    let run = stage.restore(&[&stage.backup, "--ns", &format!("{db}.log"), "--where", "{}"]).exits(7);
    assert!(run.stderr.contains(&format!("no single documents can be restored of {db}.log")), "{run:?}");
    let orders = format!("{db}.orders");
    for (arguments, says) in [
        (vec!["--where", r#"{"a": {"$regex": "x"}}"#], "$regex"),
        (vec!["--where", "nonsense"], "JSON"),
        (vec!["--where", "{}", "--replace"], "cannot be used with"),
        (vec!["--where", "{}", "--mode", "sideways"], "is no mode"),
        (vec!["--mode", "upsert"], "--where"),
        (vec!["--keep-old"], "nothing is"),
    ] {
        let run = stage.restore(&[&[&*stage.backup, "--ns", &orders], &arguments[..]].concat()).exits(2);
        assert!(run.stderr.contains(says), "{run:?}");
    }
    // Everything that documents can be restored of, at a moment at which it was good.
    let run = stage.restore(&[&stage.backup, "--where", r#"{"tenantId": "t1"}"#, "--mode", "missing", "--ns", &orders]);
    assert!(run.exits(0).stdout.contains("that match"));
    stage.is_clean().await;
}

#[tokio::test]
async fn a_merge_that_is_killed_is_finished_or_taken_back() {
    let shared = Shared::new(60_000).await;
    let good = shared.tenant().await;
    shared.spoil().await;
    let (spoilt, rest) = (shared.tenant().await, shared.rest().await);
    let arguments =
        ["restore", &shared.backup, "--where", TENANT, "--mode", "upsert", "--keep-old", "--confirm", "rs0"];
    let begun = Instant::now();
    let answer: Value = shared.workspace.run([&arguments[..], &["--json"]].concat()).exits(0).json();
    let mut whole = begun.elapsed();
    shared.restore(&["--undo", answer["restore"].as_str().unwrap()]).exits(0);
    let (mut resumed, mut undone) = (0, 0);
    for number in 0..48_u32 {
        if number >= 16 && resumed > 0 && undone > 3 {
            break;
        }
        let after = whole.mul_f64(0.2 + f64::from(number % 16) * 0.05);
        let mut running = shared.workspace.regrow(arguments).spawn();
        tokio::time::sleep(after).await;
        if !running.is_running() {
            // The first one took longer than they do now.
            whole = whole.min(after);
        }
        running.kill();
        running.wait();
        assert_eq!(shared.rest().await, rest, "killed after {after:?}");
        // What a killed run had sent may arrive only after it was looked for: then there is one more.
        while let Some(known) = shared.unfinished() {
            let id = known["restore"].as_str().unwrap();
            if number % 2 == 0 && !known["stage"].as_str().unwrap().starts_with("over") {
                shared.restore(&["--resume", id]).exits(0);
                assert_eq!(shared.tenant().await, good, "killed after {after:?}, resumed");
                resumed += 1;
            }
            shared.restore(&["--undo", id]).exits(0);
            undone += 1;
        }
        assert_eq!((shared.tenant().await, shared.rest().await), (spoilt.clone(), rest.clone()));
        shared.is_clean().await;
    }
    assert!(resumed > 0 && undone > 3, "{resumed} resumed, {undone} undone");
}

/// A collection that is made for documents goes with a run that fails, though an earlier one was killed making it; and a run that
/// succeeds leaves it whole.
#[tokio::test]
async fn killed_while_it_makes_a_collection_it_leaves_none_that_is_not_whole() {
    let servers = harness::own(&harness::Options { parameters: vec!["enableTestCommands=1"], ..Default::default() });
    let shared = Shared::on(&servers, 1000).await;
    let map = format!("{0}.orders={0}.orders_t42", shared.db);
    let arguments = ["restore", &shared.backup, "--where", TENANT, "--map", &map, "--confirm", "rs0"];
    let mut failures = 0;
    for command in ["listCollections", "find", "createIndexes"] {
        for skip in 0.. {
            let id = shared.killed_while_making(&arguments).await;
            fail_point::fail(&shared.client, command, skip).await;
            let run = shared.restore(&["--resume", &id]);
            fail_point::let_go(&shared.client).await;
            let made = shared.client.database(&shared.db).collection::<Document>("orders_t42");
            if run.code == 0 {
                assert_eq!(made.count_documents(doc! {}).await.unwrap(), 20);
                assert_eq!(made.list_index_names().await.unwrap(), ["_id_", "tenant"]);
                made.drop().await.unwrap();
                break;
            }
            failures += 1;
            if shared.unfinished().is_some() {
                shared.restore(&["--undo", &id]).exits(0);
            }
            shared.is_clean().await;
        }
    }
    assert!(failures > 3, "{failures}");
}

#[tokio::test]
async fn a_tenant_is_put_back_to_the_moment_before() {
    let servers = harness::own(&harness::Options::default());
    let stage = super::stage::Stage::new(&servers).await;
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.set("oplog.slice_interval", "1s");
    workspace.run(["init"]).exits(0);
    let stage = super::stage::Stage { workspace, ..stage };
    let orders = stage.client.database(&stage.db).collection::<Document>("orders");
    stage.workspace.run(["backup"]).exits(0);
    let capture = stage.workspace.regrow(["capture"]).spawn();
    // A document that comes to be the tenant's behind the backup, and one that is no longer.
    orders.update_one(doc! { "_id": 3 }, doc! { "$set": { "tenantId": "t42", "total": 7.0 } }).await.unwrap();
    orders.update_many(doc! { "_id": { "$lt": 10 } }, doc! { "$set": { "tenantId": "t42" } }).await.unwrap();
    orders.update_one(doc! { "_id": 4 }, doc! { "$set": { "tenantId": "t1" } }).await.unwrap();
    let tenant = || async { digest(&orders, doc! { "tenantId": "t42" }).await };
    let (good, moment) = (tenant().await, stage.captured_now().await);
    orders.update_many(doc! { "tenantId": "t42" }, doc! { "$set": { "total": -1.0 } }).await.unwrap();
    orders.delete_one(doc! { "_id": 5 }).await.unwrap();
    let rest = digest(&orders, doc! { "tenantId": { "$ne": "t42" } }).await;
    capture.signal("TERM");
    capture.wait().exits(0);
    let namespace = format!("{}.orders", stage.db);
    stage.restore(&["--at", &moment, "--ns", &namespace, "--where", TENANT, "--mode", "upsert"]).exits(0);
    assert_eq!(tenant().await, good);
    assert_eq!(digest(&orders, doc! { "tenantId": { "$ne": "t42" } }).await, rest);
}

async fn digest(orders: &Collection<Document>, filter: Document) -> Vec<Document> {
    orders.find(filter).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
}
