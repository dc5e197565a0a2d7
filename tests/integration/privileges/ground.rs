//! Two servers with access control, a little of everything on one of them, and roles that are changed on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{DateTime, Document, JavaScriptCodeWithScope, Timestamp, doc, rawdoc};
use regrow::mongo::roles::{BACKUP, DRILL, RESTORE, Resource, Role};
use serde_json::Value;

use super::{add_user, uri_of};
use crate::harness::{self, Options, Run, Servers, Workspace};

/// The database that is backed up.
const DB: &str = "shop";

/// A day that is far away, so that nothing expires.
const YEARS: i32 = 60 * 60 * 24 * 365 * 50;

/// Servers, and a workspace whose source is read by `backup`, and whose drills run as `drill`.
pub struct Ground {
    _source: Servers,
    _target: Servers,
    source_client: Client,
    target_client: Client,
    pub workspace: Workspace,
    restore_to: String,
    /// The newest moment that can be restored.
    newest: String,
}

impl Ground {
    /// Makes everything with the documented roles: a backup, changes of every kind, and their capture.
    pub async fn new() -> Self {
        let [source, target] = [(); 2].map(|()| harness::own(&Options { authentication: true, ..Options::default() }));
        let (source_client, target_client) = (source.client().await, target.client().await);
        super::make_documented_roles(&source_client).await;
        super::make_documented_roles(&target_client).await;
        add_user(&source_client.database("admin"), "backup", rawdoc! { "roles": [BACKUP.name] }).await;
        for (user, role) in [("restore", RESTORE), ("drill", DRILL)] {
            add_user(&target_client.database("admin"), user, rawdoc! { "roles": [role.name] }).await;
        }
        fill(&source_client).await;
        let mut workspace = Workspace::on_disk(&uri_of(&source, "backup"));
        workspace.set("drill.target", uri_of(&target, "drill"));
        workspace.run(["init"]).exits(0);
        workspace.run(["backup"]).exits(0);
        workspace.run(["capture", "--once"]).exits(0);
        change(&source_client).await;
        workspace.run(["capture", "--once"]).exits(0);
        let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
        let end = &listed["recovery_window"][0]["end"];
        let newest = format!("{},{}", end["t"], end["i"]);
        let restore_to = uri_of(&target, "restore");
        Self { _source: source, _target: target, source_client, target_client, workspace, restore_to, newest }
    }

    pub fn source(&self) -> &Client {
        &self.source_client
    }

    pub fn target(&self) -> &Client {
        &self.target_client
    }

    /// Returns the target, as the user of restores knows it.
    pub fn restore_uri(&self) -> &str {
        &self.restore_to
    }

    /// Restores the newest backup to the target, with users.
    pub async fn restore(&self) -> Run {
        self.restored(&["latest"]).await
    }

    /// Restores the newest moment to the target, with users.
    pub async fn restore_to_newest(&self) -> Run {
        self.restored(&["--at", &self.newest]).await
    }

    async fn restored(&self, what: &[&str]) -> Run {
        self.clear_target().await;
        let rest = ["--users", "--to", &self.restore_to, "--confirm", "rs0", "--quiet"];
        self.workspace.run(["restore"].iter().chain(what).chain(&rest).copied())
    }

    /// Removes what earlier restores brought.
    async fn clear_target(&self) {
        self.target_client.database(DB).drop().await.unwrap();
        let admin = self.target_client.database("admin");
        for (command, name) in [("dropUser", "backup"), ("dropRole", "clerk")] {
            let _ = admin.run_command(doc! { command: name }).await; // It may not be there.
        }
        let _ = self.target_client.database(DB).run_command(doc! { "dropUser": "anna" }).await;
    }
}

/// Gives a role these privileges and no others.
pub async fn change_role(client: &Client, role: &Role, privileges: &[(Resource, &'static str)]) {
    let mut by_resource: BTreeMap<String, (Document, Vec<&str>)> = BTreeMap::new();
    for (resource, action) in privileges {
        let entry = by_resource.entry(format!("{resource:?}")).or_insert_with(|| (document(*resource), Vec::new()));
        entry.1.push(action);
    }
    let privileges: Vec<Document> = by_resource
        .into_values()
        .map(|(resource, actions)| doc! { "resource": resource, "actions": actions })
        .collect();
    let command = doc! { "updateRole": role.name, "privileges": privileges };
    client.database("admin").run_command(command).await.unwrap();
}

fn document(resource: Resource) -> Document {
    match resource {
        Resource::Cluster => doc! { "cluster": true },
        Resource::Collection { db, name } => doc! { "db": db, "collection": name },
        Resource::Buckets => doc! { "db": "", "system_buckets": "" },
    }
}

/// Returns JavaScript as servers keep functions.
fn function(text: &str) -> JavaScriptCodeWithScope {
    JavaScriptCodeWithScope { code: text.into(), scope: doc! {} }
}

/// Returns a document whose empty timestamp an insert would replace.
fn clock(id: i32) -> Document {
    let document = doc! { "_id": id, "at": Timestamp { time: 0, increment: 0 } };
    doc! { "q": { "_id": id }, "u": [{ "$replaceWith": { "$literal": document } }], "upsert": true }
}

/// A little of everything that is restored in a way of its own.
async fn fill(client: &Client) {
    let shop = client.database(DB);
    let run = async |command: Document| shop.run_command(command).await.unwrap();
    let orders = shop.collection("orders");
    orders.insert_many((0..100).map(|number| doc! { "_id": number, "number": number })).await.unwrap();
    let index = |key: Document, name: &str| doc! { "key": key, "name": name };
    run(doc! { "createIndexes": "orders", "indexes": [index(doc! { "number": 1 }, "number_1")] }).await;
    run(doc! { "create": "recent", "capped": true, "size": 65_536, "max": 100 }).await;
    shop.collection("recent").insert_one(doc! { "_id": 1 }).await.unwrap();
    run(doc! { "create": "readings", "timeseries": { "timeField": "at", "metaField": "of" } }).await;
    let reading = |of: i32| doc! { "at": DateTime::from_millis(1_700_000_000_000), "of": of, "value": 1 };
    shop.collection("readings").insert_many([reading(1), reading(2)]).await.unwrap();
    run(doc! { "create": "open", "viewOn": "orders", "pipeline": [{ "$match": { "number": 1 } }] }).await;
    let mut expiring = index(doc! { "at": 1 }, "at_1");
    expiring.insert("expireAfterSeconds", YEARS);
    run(doc! { "createIndexes": "sessions", "indexes": [expiring] }).await;
    let clustered = doc! { "key": { "_id": 1 }, "unique": true };
    run(doc! { "create": "clustered", "clusteredIndex": clustered, "expireAfterSeconds": YEARS }).await;
    shop.collection("system.js")
        .insert_many([doc! { "_id": "f", "value": function("1") }, doc! { "_id": "g" }])
        .await
        .unwrap();
    run(doc! { "update": "clocks", "updates": [clock(1)] }).await;
    let read = doc! { "resource": { "db": DB, "collection": "orders" }, "actions": ["find"] };
    client
        .database("admin")
        .run_command(doc! { "createRole": "clerk", "privileges": [read], "roles": [] })
        .await
        .unwrap();
    let roles = [doc! { "role": "clerk", "db": "admin" }];
    run(doc! { "createUser": "anna", "pwd": "p", "roles": roles.to_vec() }).await;
}

/// Changes of every kind that a replay brings in a way of its own.
async fn change(client: &Client) {
    let shop = client.database(DB);
    let orders = shop.collection::<Document>("orders");
    orders.insert_one(doc! { "_id": 1000, "number": 1000 }).await.unwrap();
    orders.update_one(doc! { "_id": 1 }, doc! { "$set": { "paid": true } }).await.unwrap();
    orders.delete_one(doc! { "_id": 2 }).await.unwrap();
    shop.collection("recent").insert_one(doc! { "_id": 2 }).await.unwrap();
    let readings = shop.collection::<Document>("readings");
    // Into a bucket that is there, into a new one, and one that goes.
    let reading = |of: i32, after: Duration| {
        let at = DateTime::from_millis(1_700_000_000_000 + i64::try_from(after.as_millis()).unwrap());
        doc! { "at": at, "of": of, "value": 2 }
    };
    readings.insert_one(reading(1, Duration::from_secs(1))).await.unwrap();
    readings.insert_one(reading(3, Duration::ZERO)).await.unwrap();
    readings.delete_many(doc! { "of": 2 }).await.unwrap();
    let functions = shop.collection::<Document>("system.js");
    functions.update_one(doc! { "_id": "f" }, doc! { "$set": { "value": function("2") } }).await.unwrap();
    functions.delete_one(doc! { "_id": "g" }).await.unwrap();
    functions.insert_one(doc! { "_id": "h" }).await.unwrap();
    shop.run_command(doc! { "update": "clocks", "updates": [clock(2)] }).await.unwrap();
    shop.run_command(doc! { "create": "later" }).await.unwrap();
    let rename = doc! { "renameCollection": format!("{DB}.later"), "to": format!("{DB}.latest") };
    client.database("admin").run_command(rename).await.unwrap();
}
