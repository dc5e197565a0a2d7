//! A shop that is backed up and captured, before something happens to it.

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use serde_json::Value;

use crate::contents::Contents;
use crate::harness::{self, Options, Servers, Workspace};

/// The name that the runbook gives the database.
pub const DATABASE: &str = "shop";

/// The shop's servers, and the folder of whoever is on call.
pub struct Shop {
    pub servers: Servers,
    pub client: Client,
    pub workspace: Workspace,
    /// The newest backup; orders were written after it.
    pub backup: String,
}

impl Shop {
    /// Opens a shop with a repository in a folder.
    pub async fn on_disk() -> Self {
        let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
        let workspace = Workspace::on_disk(servers.uri());
        Self::open(servers, workspace).await
    }

    /// Opens a shop with a repository in a bucket.
    pub async fn on_s3() -> Self {
        let servers = harness::own(&Options { s3: true, ..Options::default() });
        let workspace = Workspace::on_s3(servers.uri(), servers.s3());
        Self::open(servers, workspace).await
    }

    async fn open(servers: Servers, mut workspace: Workspace) -> Self {
        workspace.set_variable("MONGODB_URI", servers.uri()).set("source.uri", "env:MONGODB_URI");
        let client = servers.client().await;
        fill(&client).await;
        workspace.run(["init"]).exits(0);
        workspace.run(["capture", "--once"]).exits(0);
        let backup = back_up(&workspace);
        let later = (10_000..10_100).map(order);
        orders(&client).insert_many(later).await.unwrap();
        workspace.run(["capture", "--once"]).exits(0);
        Self { servers, client, workspace, backup }
    }

    pub fn orders(&self) -> Collection<Document> {
        orders(&self.client)
    }

    pub async fn contents(&self) -> Contents {
        Contents::of_database(&self.client, DATABASE).await
    }

    /// Makes sure that the shop holds what it held, and nothing else.
    pub async fn holds(&self, expected: &Contents) {
        self.contents().await.assert_equals(expected);
    }

    /// As [`holds`](Self::holds), leaving out what a restore has kept.
    pub async fn holds_beside_what_is_kept(&self, expected: &Contents) {
        let mut now = self.contents().await;
        now.keep(&expected.names());
        now.assert_equals(expected);
    }

    /// Returns the orders that match a filter, by their `_id`.
    pub async fn all(&self, filter: Document) -> Vec<Document> {
        Self::sorted(&self.orders(), filter).await
    }

    pub async fn sorted(collection: &Collection<Document>, filter: Document) -> Vec<Document> {
        collection.find(filter).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
    }

    /// Returns the restores that the server knows of.
    pub fn unfinished(&self) -> Vec<Value> {
        let listed: Value = self.workspace.run(["restore", "--unfinished", "--json"]).exits(0).json();
        listed["restores"].as_array().unwrap().clone()
    }
}

/// Returns one order of one of fifty tenants.
pub fn order(number: i32) -> Document {
    doc! { "_id": number, "tenantId": format!("t{}", number % 50), "total": 100 + number, "text": "x".repeat(100) }
}

fn orders(client: &Client) -> Collection<Document> {
    client.database(DATABASE).collection("orders")
}

fn back_up(workspace: &Workspace) -> String {
    workspace.run(["backup"]).exits(0).stdout.trim().to_owned()
}

async fn fill(client: &Client) {
    orders(client).insert_many((0..3000).map(order)).await.unwrap();
    let database = client.database(DATABASE);
    let by_tenant = doc! { "key": { "tenantId": 1, "total": -1 }, "name": "by_tenant" };
    database.run_command(doc! { "createIndexes": "orders", "indexes": [by_tenant] }).await.unwrap();
    let customers = (0..300).map(|number| doc! { "_id": number, "name": format!("customer {number}") });
    database.collection::<Document>("customers").insert_many(customers).await.unwrap();
    database
        .run_command(
            doc! { "create": "large", "viewOn": "orders", "pipeline": [{ "$match": { "total": { "$gt": 500 } } }] },
        )
        .await
        .unwrap();
}
