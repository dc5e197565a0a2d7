//! What is needed first is loaded first.

use futures_util::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{Document, doc};

use crate::harness::{self, Workspace};

/// More than are restored at the same time.
const ARCHIVES: usize = 10;

const ARCHIVE_BYTES: usize = 2 * 1024 * 1024;

/// Each archive's last document.
const LAST: i32 = 63;

/// A backup of archives and of orders, which are the smallest of all and so the last ones by themselves.
struct Shop {
    workspace: Workspace,
    client: Client,
    db: String,
}

impl Shop {
    async fn new() -> Self {
        let servers = harness::replica_set();
        let (client, db) = (servers.client().await, harness::unique_database_name());
        let text = "x".repeat(ARCHIVE_BYTES / 64);
        for number in 0..ARCHIVES {
            let documents = (0..=LAST).map(|id| doc! { "_id": id, "text": &text });
            let archive = client.database(&db).collection::<Document>(&format!("archive_{number}"));
            archive.insert_many(documents).await.unwrap();
        }
        client.database(&db).collection::<Document>("orders").insert_one(doc! { "_id": "orders" }).await.unwrap();
        let workspace = Workspace::on_disk(servers.uri());
        workspace.run(["init"]).exits(0);
        workspace.run(["backup", "--ns", &db]).exits(0);
        Self { workspace, client, db }
    }

    fn restore(&self, target: &str, arguments: &[&str]) {
        let map = format!("{}={target}", self.db);
        let fixed = ["restore", "latest", "--map", &map, "--confirm", "rs0"];
        self.workspace.run([&fixed, arguments].concat()).exits(0);
    }

    /// Returns how many archives were complete when the orders came, by the server's oplog.
    async fn archives_before_the_orders(&self, target: &str) -> usize {
        let oplog = self.client.database("local").collection::<Document>("oplog.rs");
        let ns = doc! { "$regex": format!("^{target}\\.") };
        let inserted = oplog.find(doc! { "op": "i", "ns": ns, "o._id": { "$in": [LAST, "orders"] } }).await.unwrap();
        let inserted: Vec<Document> = inserted.try_collect().await.unwrap();
        assert_eq!(inserted.len(), ARCHIVES + 1);
        inserted.iter().position(|entry| entry.get_str("ns").unwrap().ends_with(".orders")).unwrap()
    }
}

#[tokio::test]
async fn what_is_named_or_has_the_shortest_objective_comes_first() {
    let mut shop = Shop::new().await;
    let (db, target) = (shop.db.clone(), |name: &str| format!("{}_{name}", shop.db));
    let [by_size, named, by_tier] = ["by_size", "named", "by_tier"].map(target);

    shop.restore(&by_size, &[]);
    let late = shop.archives_before_the_orders(&by_size).await;
    assert!(late >= ARCHIVES - 4, "the largest first, at most four at once, and so the orders late: {late}");

    let orders = format!("{db}.orders");
    shop.restore(&named, &["--first", &orders]);
    assert!(shop.archives_before_the_orders(&named).await < 4);

    shop.workspace.set("tiers.medium.rpo", "24h").set("tiers.medium.rto", "24h");
    shop.workspace.set("tiers.critical.rpo", "15m").set("tiers.critical.rto", "1h");
    let workload = |name: &str, namespace: String, tier: &str| {
        let pairs = [("name", name.into()), ("namespaces", vec![namespace].into()), ("tier", tier.into())];
        toml::Value::Table(pairs.into_iter().map(|(key, value): (&str, toml::Value)| (key.to_owned(), value)).collect())
    };
    let workloads =
        vec![workload("archive", format!("{db}.archive_*"), "medium"), workload("shop", orders, "critical")];
    shop.workspace.set("workloads", workloads);
    shop.restore(&by_tier, &[]);
    assert!(shop.archives_before_the_orders(&by_tier).await < 4);
}

#[tokio::test]
async fn what_is_left_out_is_shown_and_not_restored() {
    let shop = Shop::new().await;
    let (db, target) = (&shop.db, format!("{}_orders", shop.db));
    let (map, archives) = (format!("{db}={target}"), format!("{db}.archive_*"));
    let restore = ["restore", "latest", "--map", &map, "--confirm", "rs0", "--except"];
    let with = |arguments: &[&str]| shop.workspace.run([&restore, arguments].concat());

    let shown = with(&[&archives, "--dry-run"]).exits(0).stderr;
    assert!(shown.contains(&format!("  left out by --except: {archives}\n")), "{shown}");
    let refused = with(&["no.such"]).exits(4).stderr;
    assert!(refused.contains("--except no.such leaves out nothing that would be restored"), "{refused}");
    let refused = with(&[&archives, "--ns", &format!("{db}.orders")]).exits(4).stderr;
    assert!(refused.contains("leaves out nothing that would be restored"), "{refused}");
    let refused = with(&[db, "--ns", &format!("{db}.orders")]).exits(4).stderr;
    assert!(refused.contains("--except leaves nothing to restore"), "{refused}");
    let names = shop.client.list_database_names().await.unwrap();
    assert!(!names.contains(&target), "{names:?}");

    with(&[&archives]).exits(0);
    let names = shop.client.database(&target).list_collection_names().await.unwrap();
    assert_eq!(names, ["orders"]);
}

#[tokio::test]
async fn what_is_wanted_first_and_is_not_there_is_refused() {
    let shop = Shop::new().await;
    let map = format!("{}={}_again", shop.db, shop.db);
    let refused =
        shop.workspace.run(["restore", "latest", "--map", &map, "--confirm", "rs0", "--first", "no.such"]).exits(4);
    assert!(refused.stderr.contains("--first no.such is about nothing that would be restored"), "{}", refused.stderr);
    let names = shop.client.list_database_names().await.unwrap();
    assert!(!names.contains(&format!("{}_again", shop.db)), "{names:?}");
    let nonsense = shop.workspace.run(["restore", "--unfinished", "--first", "shop"]).exits(2);
    assert!(nonsense.stderr.contains("--first"), "{}", nonsense.stderr);
}
