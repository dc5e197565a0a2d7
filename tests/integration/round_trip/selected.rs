//! Parts of a backup, under their own and other names: everything else stays as it is.

use mongodb::Client;
use mongodb::bson::{DateTime, RawDocumentBuf, rawdoc};
use serde_json::Value;

use super::odd::{documents, insert, run};
use super::{back_up, initialised, restore};
use crate::contents::Contents;
use crate::harness::{self, Workspace};

/// A shop with a time series and a view, and a neighbour that nobody asks about.
struct Shop {
    client: Client,
    db: String,
    neighbour: String,
    workspace: Workspace,
    before: Contents,
}

impl Shop {
    async fn open() -> Self {
        let client = harness::replica_set().client().await;
        let db = harness::unique_database_name();
        let neighbour = format!("{db}_neighbour");
        let shop = client.database(&db);
        insert(&shop, "orders", &documents::everything()).await;
        insert(&shop, "orders.old", &documents::ids()).await;
        let index = rawdoc! { "key": { "b": -1, "a": 1 }, "name": "both" };
        run(&shop, rawdoc! { "createIndexes": "orders", "indexes": [index] }).await;
        run(&shop, rawdoc! { "create": "weather", "timeseries": { "timeField": "at", "metaField": "m" } }).await;
        insert(&shop, "weather", &measurements()).await;
        run(&shop, rawdoc! { "create": "recent", "viewOn": "orders", "pipeline": [{ "$limit": 3 }] }).await;
        insert(&client.database(&neighbour), "orders", &documents::ids()).await;
        let workspace = initialised(Workspace::on_disk(harness::replica_set().uri()));
        back_up(&workspace, &["--ns", &db, "--ns", &neighbour]);
        let before = Contents::of_database(&client, &db).await;
        Self { client, db, neighbour, workspace, before }
    }

    /// Restores what a person would choose and checks what was and was not touched.
    async fn restores(&self, arguments: &[&str], namespaces: usize) {
        let untouched = Contents::of_database(&self.client, &self.neighbour).await;
        let restored: Value = restore(&self.workspace, &[arguments, &["--confirm", "rs0"]].concat()).exits(0).json();
        assert_eq!(restored["namespaces"], namespaces);
        Contents::of_database(&self.client, &self.neighbour).await.assert_equals(&untouched);
    }

    async fn now(&self) -> Contents {
        Contents::of_database(&self.client, &self.db).await
    }

    /// Returns what the copy of one namespace must be.
    fn expected(&self, from: &str, db: &str, to: &str) -> Contents {
        self.before.renamed(|_, name| (name == from).then(|| (db.to_owned(), to.to_owned())))
    }
}

fn measurements() -> Vec<RawDocumentBuf> {
    let measurement = |n: i64| rawdoc! { "at": DateTime::from_millis(n * 600_000), "m": n % 3, "v": n };
    (0..200).map(measurement).collect()
}

#[tokio::test]
async fn a_lost_collection_comes_back_alone() {
    let shop = Shop::open().await;
    let namespace = format!("{}.orders", shop.db);
    run(&shop.client.database(&shop.db), rawdoc! { "drop": "orders" }).await;
    shop.restores(&["--ns", &namespace], 1).await;
    shop.now().await.assert_equals(&shop.before);
}

#[tokio::test]
async fn a_single_collection_gets_another_name_beside_its_own() {
    let shop = Shop::open().await;
    let (from, map) = (format!("{}.orders", shop.db), format!("{0}.orders={0}.orders.copy \u{e9}", shop.db));
    shop.restores(&["--ns", &from, "--map", &map], 1).await;
    let copy = shop.expected("orders", &shop.db, "orders.copy \u{e9}");
    let is_copy = |name: &str| name == "orders.copy \u{e9}";
    let key = |name: &str| Some((shop.db.clone(), name.to_owned()));
    let now = shop.now().await;
    now.renamed(|_, name| is_copy(name).then(|| key(name)).flatten()).assert_equals(&copy);
    now.renamed(|_, name| (!is_copy(name)).then(|| key(name)).flatten()).assert_equals(&shop.before);
}

#[tokio::test]
async fn a_whole_database_gets_another_name() {
    let shop = Shop::open().await;
    let copy = harness::unique_database_name();
    shop.restores(&["--ns", &shop.db, "--map", &format!("{}={copy}", shop.db)], 4).await;
    let expected = shop.before.renamed(|_, name| Some((copy.clone(), name.to_owned())));
    Contents::of_database(&shop.client, &copy).await.assert_equals(&expected);
    shop.now().await.assert_equals(&shop.before);
}

#[tokio::test]
async fn a_time_series_takes_its_buckets_along() {
    let shop = Shop::open().await;
    let copy = harness::unique_database_name();
    let (from, map) = (format!("{}.weather", shop.db), format!("{}.weather={copy}.climate", shop.db));
    shop.restores(&["--ns", &from, "--map", &map], 1).await;
    let copied = Contents::of_database(&shop.client, &copy).await;
    assert_eq!(copied.names(), ["climate", "system.buckets.climate"].map(|name| format!("{copy}.{name}")));
    for (from, to) in [("weather", "climate"), ("system.buckets.weather", "system.buckets.climate")] {
        let one = copied.renamed(|db, name| (name == to).then(|| (db.to_owned(), to.to_owned())));
        one.assert_equals(&shop.expected(from, &copy, to));
    }
    shop.now().await.assert_equals(&shop.before);
}

#[tokio::test]
async fn what_exists_is_never_touched() {
    let shop = Shop::open().await;
    let refused = restore(&shop.workspace, &["--ns", &shop.db, "--confirm", "rs0"]).exits(7);
    assert!(refused.stderr.contains(&format!("{}.orders", shop.db)), "{}", refused.stderr);
    // A single namespace in the way is enough.
    let copy = harness::unique_database_name();
    insert(&shop.client.database(&copy), "weather", &measurements()).await;
    let map = format!("{}={copy}", shop.db);
    restore(&shop.workspace, &["--ns", &shop.db, "--map", &map, "--confirm", "rs0"]).exits(7);
    assert_eq!(Contents::of_database(&shop.client, &copy).await.names(), [format!("{copy}.weather")]);
    shop.now().await.assert_equals(&shop.before);
}

#[tokio::test]
async fn a_backup_of_some_namespaces_holds_no_others() {
    let shop = Shop::open().await;
    let pattern = format!("{}.*r*s*", shop.db);
    back_up(&shop.workspace, &["--ns", &pattern]);
    let shown: Value = shop.workspace.run(["show", "latest", "--json"]).exits(0).json();
    let mut names: Vec<_> =
        shown["collections"].as_array().unwrap().iter().map(|item| item["namespace"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["orders", "orders.old"].map(|name| format!("{}.{name}", shop.db)));
    back_up(&shop.workspace, &["--ns", &format!("{}.w*r", shop.db)]);
    let shown: Value = shop.workspace.run(["show", "latest", "--json"]).exits(0).json();
    assert_eq!(shown["collections"][0]["kind"], "timeseries");
    assert_eq!(shown["collections"][0]["documents"], shop.before.count(&shop.db, "system.buckets.weather").unwrap());
}
