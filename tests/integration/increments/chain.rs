//! What reads a backup reads an increment; what is lost of one is lost of everything that builds on it.

use std::fs;
use std::sync::Arc;

use mongodb::bson::{Document, doc};
use regrow::error::Kind;
use regrow::format::layout;
use regrow::repository::Repository;
use regrow::storage::{Fault, Faulty};
use serde_json::Value;

use super::{back_up, begun, id, options, restore};
use crate::contents::Contents;
use crate::damage::every_object::files;
use crate::harness::{self, Run, Servers, Workspace};
use crate::small_backups::local;

/// A full backup, and two increments behind it.
struct Chain {
    servers: Servers,
    workspace: Workspace,
    backups: Vec<Value>,
}

impl Chain {
    async fn taken() -> Self {
        let servers = harness::own(&options());
        let (client, mut workspace) = (servers.client().await, begun(&servers));
        fs::create_dir(workspace.path("drills")).unwrap();
        let folder = workspace.path("drills").to_str().unwrap().to_owned();
        workspace.set("drill.mongod", servers.hosts()[0].argv[0].clone()).set("drill.folder", folder);
        let orders = client.database("shop").collection::<Document>("orders");
        let documents = (0..500).map(|number| doc! { "_id": number, "state": "new" });
        orders.insert_many(documents.collect::<Vec<_>>()).await.unwrap();
        let same = (0..20).map(|number| doc! { "_id": number });
        client.database("shop").collection("same").insert_many(same.collect::<Vec<_>>()).await.unwrap();
        tokio::task::block_in_place(|| workspace.run(["capture", "--once"])).exits(0);
        let mut backups = vec![back_up(&workspace, &[])];
        for state in ["paid", "sent"] {
            orders.delete_one(doc! { "state": "new" }).await.unwrap();
            orders.update_many(doc! { "_id": { "$gte": 490 } }, doc! { "$set": { "state": state } }).await.unwrap();
            backups.push(back_up(&workspace, &["--incremental"]));
        }
        assert_eq!(backups[2]["parent"], backups[1]["id"]);
        Self { servers, workspace, backups }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        tokio::task::block_in_place(|| self.workspace.run(arguments))
    }

    /// Returns the numbers of a command's storage operations that are this one.
    fn operations(&self, command: &[&str], operation: &str) -> Vec<u64> {
        let log = self.workspace.path("operations");
        tokio::task::block_in_place(|| self.workspace.with_faults("none", &log, command).run()).exits(0);
        let log = fs::read_to_string(log).unwrap();
        let numbers = log.lines().filter_map(|line| line.split_once(' ').filter(|(_, met)| *met == operation));
        numbers.map(|(number, _)| number.parse().unwrap()).collect()
    }

    /// Runs a command whose operation of this number is denied.
    fn run_denied(&self, at: u64, command: &[&str]) -> Run {
        let (plan, log) = (format!("deny@{at}"), self.workspace.path("operations"));
        tokio::task::block_in_place(|| self.workspace.with_faults(&plan, &log, command).run())
    }

    fn id(&self, number: usize) -> &str {
        id(&self.backups[number])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_reads_a_backup_reads_an_increment() {
    let chain = Chain::taken().await;
    let last = chain.id(2);
    let exported = chain.run(&["export", last, "--ns", "shop.orders", "--where", r#"{"state":"sent"}"#]).exits(0);
    assert_eq!(exported.stdout.lines().count(), 10, "{exported:?}");
    let exported = chain.run(&["export", last, "--ns", "shop.orders"]).exits(0);
    assert_eq!(exported.stdout.lines().count(), 498, "each document once");
    let differences: Value = chain.run(&["diff", last, "--check", "--json"]).exits(0).json();
    assert_eq!(differences["same"], true, "{differences}");
    let verified: Value = chain.run(&["verify", last, "--level", "content", "--json"]).exits(0).json();
    assert_eq!(verified["ok"], true, "{verified}");
    let shown: Value = chain.run(&["show", last, "--json"]).exits(0).json();
    let collections = shown["collections"].as_array().unwrap();
    let counted = |name: &str| collections.iter().find(|found| found["namespace"] == name).unwrap().clone();
    assert_eq!(counted("shop.orders")["documents"], 498, "{shown}");
    assert_eq!(counted("shop.same")["documents"], 20, "{shown}");
    assert!(shown["verified_at"].is_string(), "with what it builds on: {shown}");
    let planned = chain.run(&["restore", last, "--map", "shop=other", "--dry-run"]).exits(0);
    let from = format!("from the full backup {} and 2 increments", chain.id(0));
    assert!(planned.stderr.contains(&from), "{}", planned.stderr);
    let drilled: Value = chain.run(&["drill", last, "--json"]).exits(0).json();
    assert_eq!(drilled["passed"], true, "{drilled}");
    let source = drilled["checks"].as_array().unwrap().iter().find(|check| check["name"] == "source").unwrap();
    assert_eq!(source["outcome"], "passed", "{drilled}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oplog_leads_on_from_an_increment() {
    let (chain, target) = (Chain::taken().await, harness::own(&options()));
    let (client, found) = (chain.servers.client().await, target.client().await);
    let shop = client.database("shop");
    let change = doc! { "$set": { "state": "back" } };
    shop.collection::<Document>("orders").update_many(doc! { "_id": { "$lt": 50 } }, change).await.unwrap();
    shop.collection::<Document>("same").drop().await.unwrap();
    chain.run(&["capture", "--once"]).exits(0);
    let listed: Value = chain.run(&["list", "--json"]).exits(0).json();
    let end = &listed["recovery_window"][0]["end"];
    let at = format!("{},{}", end["t"], end["i"]);
    let restored = restore(&chain.workspace, &target, &["--at", &at]);
    assert_eq!(restored["backup"], chain.backups[2]["id"], "{restored}");
    let expected = Contents::of_database(&client, "shop").await;
    Contents::of_database(&found, "shop").await.assert_equals(&expected);
    // Single documents, into what others go on using.
    found.database("shop").collection::<Document>("orders").delete_many(doc! {}).await.unwrap();
    let only = ["--ns", "shop.orders", "--where", r#"{"state":"sent"}"#, "--mode", "upsert"];
    restore(&chain.workspace, &target, &[&[chain.id(2)], &only[..]].concat());
    let sent = found.database("shop").collection::<Document>("orders").count_documents(doc! {}).await.unwrap();
    assert_eq!(sent, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_of_what_they_build_on_is_damage_of_increments() {
    let chain = Chain::taken().await;
    let folder = chain.workspace.repository().join("backups").join(chain.id(0));
    let pack = folder.join("packs/0001.tar");
    let mut bytes = fs::read(&pack).unwrap();
    bytes[700] ^= 1;
    writable(&pack);
    fs::write(&pack, bytes).unwrap();
    let verified: Value = chain.run(&["verify", chain.id(2), "--json"]).exits(5).json();
    let finding = &verified["findings"][0];
    assert_eq!(finding["backup"], chain.backups[0]["id"], "what it builds on is verified too: {verified}");
    let text = verified.to_string();
    for number in 0..3 {
        assert!(text.contains(chain.id(number)), "{verified}");
    }
    let shown: Value = chain.run(&["show", chain.id(2), "--json"]).exits(0).json();
    assert_eq!(shown["verified_at"], Value::Null, "{shown}");
    fs::remove_file(folder.join("manifest.json")).unwrap();
    let listed: Value = chain.run(&["list", "--json"]).exits(0).json();
    for backup in listed["backups"].as_array().unwrap() {
        assert_eq!(backup["state"], "damaged", "{listed}");
        assert!(backup["problem"].as_str().unwrap().contains("builds on"), "{listed}");
    }
    assert_eq!(listed["recovery_window"].as_array().unwrap().len(), 0, "{listed}");
    let refused = chain.run(&["restore", chain.id(2), "--map", "shop=other", "--confirm", "rs0"]).exits(5);
    assert!(refused.stderr.contains(&format!("builds on {}", chain.id(0))), "{}", refused.stderr);
    let drilled: Value = chain.run(&["drill", chain.id(2), "--json"]).exits(5).json();
    assert_eq!(drilled["passed"], false, "that it does not restore is a result: {drilled}");
    let said = chain.run(&["backup", "--incremental"]).exits(0).stderr;
    assert!(said.contains("there is no full backup"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_they_build_on_and_cannot_be_read_is_not_damaged() {
    let chain = Chain::taken().await;
    let store = || local(&chain.workspace.repository());
    let manifest = Repository::open(store()).await.unwrap().manifest(&chain.id(2).parse().unwrap()).await.unwrap();
    let opened = Faulty::counting(store());
    Repository::open(Arc::new(opened.clone())).await.unwrap();
    for (fault, kind) in [
        (Fault::FailOnce, Kind::Failed),
        (Fault::Refuse, Kind::Failed),
        (Fault::Deny, Kind::Configuration),
        (Fault::Missing, Kind::Damaged),
        (Fault::Truncate, Kind::Damaged),
    ] {
        // Behind opening, it reads what it builds on, and what that builds on.
        let faulty = Faulty::new(store(), fault, opened.count() + 2);
        let repository = Repository::open(Arc::new(faulty)).await.unwrap();
        let error = repository.chain(&manifest).await.unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (kind, fault == Fault::FailOnce), "{fault}: {error}");
        let said = error.to_string();
        assert!(said.contains(chain.id(0)) && said.contains(chain.id(2)), "{fault}: {said}");
    }
    let away = Faulty::new(store(), Fault::FailOnce, opened.count() + 2);
    let listing = Repository::open(Arc::new(away)).await.unwrap().list().await.unwrap();
    assert!(listing.check_answered().unwrap_err().is_transient(), "what counts damage ends here: {listing:?}");
    let first = format!("read {}", layout::manifest(&chain.id(0).parse().unwrap()));
    for command in [&["drill", chain.id(2)][..], &["restore", chain.id(2), "--map", "shop=other", "--dry-run"]] {
        for at in chain.operations(command, &first) {
            let code = chain.run_denied(at, command).code;
            assert!([0, 3].contains(&code), "{command:?} at operation {at}: {code}");
        }
    }
    let failed =
        |key: &String| fs::read_to_string(chain.workspace.repository().join(key)).unwrap().contains("\"passed\":false");
    assert!(!files(&chain.workspace.repository()).iter().filter(|key| key.starts_with("evidence/")).any(failed));
    let [at] = chain.operations(&["list", "--json"], &first)[..] else { panic!("it is read once") };
    let listed: Value = chain.run_denied(at, &["list", "--json"]).exits(0).json();
    assert!(listed["backups"].as_array().unwrap().iter().all(|backup| backup["state"] == "unreadable"), "{listed}");
}

fn writable(path: &std::path::Path) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false)] // It is a test's own file.
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_regrow_refuses_an_increment_by_name() {
    let chain = Chain::taken().await;
    let (repository, identity) = (chain.workspace.repository(), chain.workspace.identity_file());
    let out = chain.workspace.path("out");
    let arguments = [repository.as_os_str(), identity.as_os_str(), chain.id(1).as_ref(), out.as_os_str()];
    let refused = tokio::task::block_in_place(|| chain.workspace.script("recover-without-regrow.sh", arguments).run());
    let refused = refused.exits(1);
    assert!(refused.stderr.contains("is an increment"), "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("recover the full backup {}", chain.id(0))), "{}", refused.stderr);
}
