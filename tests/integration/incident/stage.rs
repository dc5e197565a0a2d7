//! A database that is backed up and then spoilt.

use mongodb::Client;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde_json::Value;

use crate::contents::Contents;
use crate::harness::{self, Run, Servers, Workspace};

/// A database, as it was backed up and as it is now.
pub struct Stage {
    pub workspace: Workspace,
    pub client: Client,
    pub db: String,
    /// The backup of what was good, and the database as it was.
    pub backup: String,
    pub good: Contents,
    /// A backup of what it is now, and the database as it is.
    pub spoilt_backup: String,
    pub spoilt: Contents,
}

impl Stage {
    /// Fills a database, backs it up, and spoils it.
    pub async fn new(servers: &Servers) -> Self {
        let (client, db) = (servers.client().await, harness::unique_database_name());
        fill(&client, &db, 3000).await;
        let good = Contents::of_database(&client, &db).await;
        let workspace = Workspace::on_disk(servers.uri());
        workspace.run(["init"]).exits(0);
        let back_up = || workspace.run(["backup", "--ns", &db]).exits(0).stdout.trim().to_owned();
        let backup = back_up();
        spoil(&client, &db).await;
        let spoilt = Contents::of_database(&client, &db).await;
        let spoilt_backup = back_up();
        Self { workspace, client, db, backup, good, spoilt_backup, spoilt }
    }

    /// Makes the database what it was before it was restored.
    pub async fn spoil_again(&self) {
        self.client.database(&self.db).drop().await.unwrap();
        self.restore(&[&self.spoilt_backup, "--quiet"]).exits(0);
        self.now().await.assert_equals(&self.spoilt);
    }

    pub async fn now(&self) -> Contents {
        Contents::of_database(&self.client, &self.db).await
    }

    pub fn restore(&self, arguments: &[&str]) -> Run {
        self.workspace.run([&["restore"], arguments, &["--confirm", "rs0"]].concat())
    }

    /// Returns the restores that the server knows of, as `--unfinished` tells them.
    pub fn unfinished(&self) -> Vec<Value> {
        let listed: Value = self.workspace.run(["restore", "--unfinished", "--json"]).exits(0).json();
        listed["restores"].as_array().unwrap().clone()
    }

    /// Returns the moment of now, once the repository has everything up to it.
    pub async fn captured_now(&self) -> String {
        let noise = self.client.database("noise").collection::<Document>("noise");
        let reply = self.client.database("admin").run_command(doc! { "hello": 1 }).await.unwrap();
        let now = reply.get_document("lastWrite").unwrap().get_document("opTime").unwrap().get_timestamp("ts").unwrap();
        for _ in 0..600 {
            let listed: Value = self.workspace.run(["list", "--json"]).exits(0).json();
            let end = listed["recovery_window"].as_array().unwrap().last().map(|range| range["end"]["t"].as_u64());
            if end.flatten().is_some_and(|end| end > u64::from(now.time)) {
                return format!("{},{}", now.time, now.increment);
            }
            // A slice ends with an entry.
            noise.insert_one(doc! {}).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("nothing is captured");
    }

    /// Makes sure that nothing of any restore is left in the database but what it was told to keep.
    pub async fn is_clean(&self) {
        assert_eq!(self.unfinished(), Vec::<Value>::new());
        let names = self.client.database(&self.db).list_collection_names().await.unwrap();
        let left: Vec<_> = names.iter().filter(|name| name.contains("regrow") || name.contains("_replaced_")).collect();
        assert!(left.is_empty(), "{left:?}");
        let journals = self.client.database("regrow_restore").list_collection_names().await.unwrap();
        assert!(journals.is_empty(), "{journals:?}");
    }
}

/// Makes one namespace of each kind.
pub async fn fill(client: &Client, db: &str, documents: i32) {
    let database = client.database(db);
    let command = |command: Document| database.run_command(command);
    let orders = (0..documents).map(|number| {
        doc! { "_id": number, "tenantId": format!("t{}", number % 50), "total": f64::from(number), "text": "x".repeat(300) }
    });
    database.collection::<Document>("orders").insert_many(orders).await.unwrap();
    let indexes = vec![
        doc! { "key": { "tenantId": 1, "total": -1 }, "name": "by_tenant" },
        doc! { "key": { "number": 1 }, "name": "number", "unique": true, "sparse": true },
        doc! { "key": { "gone": 1 }, "name": "ttl", "expireAfterSeconds": 100_000 },
        doc! { "key": { "left": 1 }, "name": "another ttl", "expireAfterSeconds": 200_000 },
    ];
    command(doc! { "createIndexes": "orders", "indexes": indexes }).await.unwrap();
    command(doc! { "create": "log", "capped": true, "size": 1_000_000, "max": 5000 }).await.unwrap();
    let lines = (0..500).map(|number| doc! { "_id": 500 - number, "line": number });
    database.collection::<Document>("log").insert_many(lines).await.unwrap();
    let seconds = doc! { "timeField": "at", "metaField": "sensor" };
    command(doc! { "create": "readings", "timeseries": seconds, "expireAfterSeconds": 100_000_000_i64 }).await.unwrap();
    measure(client, db, "readings", 400).await;
    command(doc! { "create": "large", "viewOn": "orders", "pipeline": [{ "$match": { "total": { "$gt": 100 } } }] })
        .await
        .unwrap();
    command(doc! { "create": "empty", "validator": { "a": { "$exists": true } }, "validationLevel": "moderate" })
        .await
        .unwrap();
}

async fn measure(client: &Client, db: &str, collection: &str, number: i64) {
    let now = DateTime::now().timestamp_millis();
    let readings = (0..number).map(|reading| {
        doc! { "at": DateTime::from_millis(now - 60_000 * reading), "sensor": reading % 7, "value": Bson::Int64(reading) }
    });
    client.database(db).collection::<Document>(collection).insert_many(readings).await.unwrap();
}

/// Spoils everything: documents, options, indexes, and what a name stands for.
pub async fn spoil(client: &Client, db: &str) {
    let database = client.database(db);
    let command = |command: Document| database.run_command(command);
    let orders = database.collection::<Document>("orders");
    orders.delete_many(doc! { "_id": { "$gte": 100 } }).await.unwrap();
    orders.update_many(doc! {}, doc! { "$set": { "tenantId": "wrong" } }).await.unwrap();
    command(doc! { "dropIndexes": "orders", "index": "by_tenant" }).await.unwrap();
    database.collection::<Document>("log").drop().await.unwrap();
    // A collection where a time series was, a time series where a collection was.
    database.collection::<Document>("readings").drop().await.unwrap();
    database.collection::<Document>("readings").insert_one(doc! { "_id": 1 }).await.unwrap();
    database.collection::<Document>("empty").drop().await.unwrap();
    command(doc! { "create": "empty", "timeseries": { "timeField": "at" } }).await.unwrap();
    measure(client, db, "empty", 20).await;
    command(doc! { "drop": "large" }).await.unwrap();
    command(doc! { "create": "large", "viewOn": "log", "pipeline": [] }).await.unwrap();
    database.collection::<Document>("innocent").insert_one(doc! { "_id": "of no backup" }).await.unwrap();
}
