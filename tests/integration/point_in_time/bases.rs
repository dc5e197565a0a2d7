//! Which backup a restore to a moment begins with: the newest that is not known to be damaged, or the one that is named.

use std::fs;

use futures_util::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use super::{begun, capture, listed, restore, without_expiry};
use crate::harness::{self, Servers, Workspace};

/// Two backups with a document before, between and behind them, all of it captured.
struct Ground {
    client: Client,
    workspace: Workspace,
    older: String,
    newer: String,
}

impl Ground {
    async fn new(servers: &Servers) -> Self {
        let client = servers.client().await;
        let orders = client.database("shop").collection::<Document>("orders");
        orders.insert_one(doc! { "_id": 0 }).await.unwrap();
        let workspace = begun(servers);
        orders.insert_one(doc! { "_id": 1 }).await.unwrap();
        workspace.run(["backup"]).exits(0);
        orders.insert_one(doc! { "_id": 2 }).await.unwrap();
        capture(&workspace);
        let backups = listed(&workspace)["backups"].clone();
        let id = |number: usize| backups[number]["id"].as_str().unwrap().to_owned();
        Self { client, workspace, older: id(1), newer: id(0) }
    }

    /// Alters a byte in the newer backup's data.
    fn damage(&self) {
        let packs = self.workspace.repository().join(format!("backups/{}/packs", self.newer));
        let pack = fs::read_dir(packs).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs::read(&pack).unwrap();
        // Behind tar's header: within the first segment.
        bytes[700] ^= 1;
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
    }

    async fn restored(&self, arguments: &[&str]) -> Vec<i32> {
        let copy = harness::unique_database_name();
        let map = format!("shop={copy}");
        restore(&self.workspace, &[arguments, &["--ns", "shop", "--map", &map]].concat()).exits(0);
        let orders = self.client.database(&copy).collection::<Document>("orders");
        let found = orders.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
        let found: Vec<Document> = found.try_collect().await.unwrap();
        found.iter().map(|order| order.get_i32("_id").unwrap()).collect()
    }

    fn plan(&self, arguments: &[&str]) -> (Value, String) {
        let arguments = [&["--map", "shop=copy", "--dry-run"], arguments].concat();
        let said = self.workspace.run([&["restore"], &arguments[..]].concat()).exits(0).stderr;
        (restore(&self.workspace, &arguments).exits(0).json(), said)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_moment_is_asked_for_by_name_and_a_backup_says_that_there_is_one() {
    let servers = harness::own(&without_expiry());
    let ground = Ground::new(&servers).await;
    assert_eq!(ground.restored(&["latest"]).await, [0, 1]);
    assert_eq!(ground.restored(&["--at", "latest"]).await, [0, 1, 2]);
    let end = &listed(&ground.workspace)["recovery_window"][0]["end"];
    let (plan, said) = ground.plan(&["latest"]);
    assert_eq!(&plan["oplog_leads_on_to"], end, "{plan}");
    assert!(said.contains("the captured oplog leads on from it to") && said.contains("--at latest in place"), "{said}");
    let (plan, said) = ground.plan(&["--at", "latest"]);
    assert_eq!((&plan["recovered_to"], &plan["backup"]), (end, &Value::from(&*ground.newer)), "{plan}");
    assert!(!said.contains("leads on from it"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_known_to_be_damaged_is_passed_over_and_marked() {
    let servers = harness::own(&without_expiry());
    let ground = Ground::new(&servers).await;
    ground.damage();
    // As long as nobody knows, it shows when it is read; then the way around it is named.
    let run = restore(&ground.workspace, &["--at", "latest", "--map", "shop=copy"]).exits(5);
    assert!(run.stderr.contains(&format!("add --from {}", ground.older)), "{run:?}");
    ground.workspace.run(["verify", &ground.newer]).exits(5);

    let (plan, said) = ground.plan(&["--at", "latest"]);
    assert_eq!(plan["backup"], *ground.older, "{plan}");
    assert_eq!(plan["passed_over"], serde_json::json!([ground.newer]), "{plan}");
    assert!(said.contains(&format!("{} is newer and passed over", ground.newer)), "{said}");
    assert_eq!(ground.restored(&["--at", "latest"]).await, [0, 1, 2]);

    let listing = listed(&ground.workspace);
    assert!(listing["backups"][0]["damaged_since"].is_string(), "{listing}");
    assert!(listing["backups"][1]["damaged_since"].is_null(), "{listing}");
    let text = ground.workspace.run(["list"]).exits(0);
    let line = |id: &str| text.stdout.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(line(&ground.newer).contains("DAMAGED") && !line(&ground.older).contains("DAMAGED"), "{text:?}");
    assert!(text.stderr.contains(&format!("warning: {} is damaged", ground.newer)), "{text:?}");

    let (plan, said) = ground.plan(&["latest"]);
    assert!(plan["damaged_since"].is_string() && said.contains(&format!("found {} damaged", ground.newer)), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backup_to_begin_with_can_be_named() {
    let servers = harness::own(&without_expiry());
    let ground = Ground::new(&servers).await;
    let (plan, _) = ground.plan(&["--at", "latest", "--from", &ground.older]);
    assert_eq!(plan["backup"], *ground.older, "{plan}");
    assert_eq!(ground.restored(&["--at", "latest", "--from", &ground.older]).await, [0, 1, 2]);

    let shown = &listed(&ground.workspace)["backups"][0]["cluster_time"];
    let before = format!("{},{}", shown["t"], shown["i"]);
    let asked = ["--before", &before, "--from", &ground.newer, "--map", "shop=copy"];
    let said = restore(&ground.workspace, &asked).exits(4).stderr;
    assert!(said.contains("it shows a later moment") && said.contains(&ground.older), "{said}");
    restore(&ground.workspace, &["latest", "--from", &ground.older]).exits(2);
    restore(&ground.workspace, &["--at", "latest", "--from", "20200101"]).exits(4);

    ground.damage();
    ground.workspace.run(["verify", &ground.newer]).exits(5);
    let (plan, said) = ground.plan(&["--at", "latest", "--from", &ground.newer]);
    assert!(plan["damaged_since"].is_string(), "{plan}");
    assert!(said.contains(&format!("--from {}", ground.older)), "{said}");
    assert!(!ground.client.list_database_names().await.unwrap().contains(&"copy".to_owned()), "nothing was touched");
}
