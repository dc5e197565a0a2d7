//! A source with everything that a drill looks at, a backup of it, and drills that start servers of their own.

use std::fs;
use std::path::PathBuf;

use mongodb::Client;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::Value;

use super::long_ago;
use crate::harness::{self, Options, Running, Servers, Workspace};

/// What every drill stands on.
pub struct Ground {
    pub source: Servers,
    pub workspace: Workspace,
    pub db: String,
    /// The backup's id.
    pub backup: String,
    /// How many documents it holds.
    pub documents: u64,
}

impl Ground {
    pub async fn new() -> Self {
        let source = harness::own(&Options::default());
        let db = harness::unique_database_name();
        fill(&source, &db).await;
        let mut workspace = Workspace::on_disk(source.uri());
        fs::create_dir(workspace.path("drills")).unwrap();
        let folder = workspace.path("drills").to_str().unwrap().to_owned();
        let mongod = source.hosts()[0].argv[0].clone();
        workspace.set("drill.mongod", mongod).set("drill.folder", folder).set("oplog.slice_interval", "1s");
        workspace.run(["init"]).exits(0);
        let backup = workspace.run(["backup"]).exits(0).stdout.trim().to_owned();
        let shown: Value = workspace.run(["show", "latest", "--json"]).exits(0).json();
        let documents = shown["documents"].as_u64().unwrap();
        Self { source, workspace, db, backup, documents }
    }

    /// Lets drills restore into scratch databases of a server.
    pub fn restore_to_server(&mut self, uri: &str) {
        self.workspace.unset("drill.mongod").unset("drill.folder").set("drill.target", uri);
    }

    /// Begins to capture, and waits until something is captured.
    pub async fn capture(&self) -> Running {
        let running = self.workspace.regrow(["capture"]).spawn();
        self.write_and_wait_for_capture().await;
        running
    }

    /// Writes to the source, and waits until that can be restored.
    pub async fn write_and_wait_for_capture(&self) {
        let orders = self.source.client().await.database(&self.db).collection::<Document>("orders");
        let written = DateTime::now();
        orders.insert_one(doc! { "_id": written, "customer": 1, "at": written }).await.unwrap();
        let wanted = written.timestamp_millis() / 1000 + 1;
        for _ in 0..300 {
            let listed: Value = self.workspace.run(["list", "--json"]).exits(0).json();
            let end = listed["recovery_window"].as_array().unwrap().last().map(|range| range["end"]["t"].as_i64());
            if end.flatten().is_some_and(|end| end >= wanted) {
                return;
            }
            // A slice ends with an entry, and a set that nothing happens in writes one only every few seconds.
            orders.update_one(doc! { "customer": 2 }, doc! { "$inc": { "touched": 1 } }).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("nothing is captured");
    }

    /// Returns how many entries of the source's oplog changed anything.
    pub async fn writes_at_the_source(&self) -> u64 {
        let oplog = self.source.client().await.database("local").collection::<Document>("oplog.rs");
        oplog
            .count_documents(doc! { "op": { "$ne": "n" }, "ns": { "$not": { "$regex": "^config\\." } } })
            .await
            .unwrap()
    }

    /// Returns the records of evidence of a kind.
    pub fn evidence(&self, kind: &str) -> Vec<Value> {
        let mut found = Vec::new();
        for year in folders(self.workspace.repository().join("evidence")) {
            for month in folders(year) {
                let names = folders(month).into_iter();
                found.extend(names.filter(|path| path.to_str().unwrap().contains(&format!("-{kind}-"))));
            }
        }
        found.sort();
        found.iter().map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
    }

    /// Panics if a drill left a folder or a server.
    pub fn is_clean(&self) {
        let folder = self.workspace.path("drills");
        assert_eq!(folders(folder.clone()), Vec::<PathBuf>::new());
        let is_ours = |process: &PathBuf| {
            let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(folder.to_str().unwrap())
        };
        let servers: Vec<PathBuf> = folders("/proc".into()).into_iter().filter(is_ours).collect();
        assert_eq!(servers, Vec::<PathBuf>::new(), "a drill's server is still at work");
    }
}

fn folders(path: PathBuf) -> Vec<PathBuf> {
    fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Returns the databases of drills.
pub async fn scratch_databases(client: &Client) -> Vec<String> {
    let mut names = client.list_database_names().await.unwrap();
    names.retain(|name| name.starts_with("regrow_drill_"));
    names
}

async fn fill(source: &Servers, db: &str) {
    let database = source.client().await.database(db);
    let orders = (0..1000).map(|number| {
        doc! { "_id": number, "customer": number % 20, "at": DateTime::now(), "old": long_ago(), "text": "x".repeat(200) }
    });
    database.collection::<Document>("orders").insert_many(orders).await.unwrap();
    let customers = (0..20).map(|number| doc! { "_id": number });
    database.collection::<Document>("customers").insert_many(customers).await.unwrap();
    let index =
        doc! { "createIndexes": "orders", "indexes": [{ "key": { "customer": 1, "at": -1 }, "name": "by_customer" }] };
    database.run_command(index).await.unwrap();
    // The index comes with the documents in the backup; at the source nothing may go before that is taken.
    let admin = source.client().await.database("admin");
    admin.run_command(doc! { "setParameter": 1, "ttlMonitorEnabled": false }).await.unwrap();
    let sessions = (0..500).map(|number| doc! { "_id": number, "at": long_ago() });
    database.collection::<Document>("sessions").insert_many(sessions).await.unwrap();
    let ttl = doc! { "createIndexes": "sessions", "indexes": [{ "key": { "at": 1 }, "name": "ttl", "expireAfterSeconds": 60 }] };
    database.run_command(ttl).await.unwrap();
    database.run_command(doc! { "create": "log", "capped": true, "size": 100_000 }).await.unwrap();
    database.collection::<Document>("log").insert_one(doc! { "_id": 1 }).await.unwrap();
    database
        .run_command(doc! { "create": "loads", "timeseries": { "timeField": "at", "metaField": "of" } })
        .await
        .unwrap();
    let loads = (0..100).map(|number| doc! { "at": DateTime::now(), "of": number % 3, "load": number });
    database.collection::<Document>("loads").insert_many(loads).await.unwrap();
    database
        .run_command(doc! { "create": "first", "viewOn": "orders", "pipeline": [{ "$match": { "customer": 1 } }] })
        .await
        .unwrap();
}
