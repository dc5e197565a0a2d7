//! The servers and their disks are gone; there are new ones, empty.

use mongodb::bson::doc;

use super::book::{Chapter, Shell};
use super::shop::{DATABASE, Shop, order};
use crate::contents::Contents;
use crate::harness::{self, Options};

#[tokio::test]
async fn everything_comes_back_on_new_servers() {
    let chapter = Chapter::open("The cluster is gone");
    let Shop { servers, client, mut workspace, .. } = Shop::on_disk().await;
    let customer = doc! { "createUser": "app", "pwd": "secret", "roles": ["readWrite"] };
    client.database(DATABASE).run_command(customer).await.unwrap();
    // Users of behind a backup are not restored, so there is another one.
    workspace.run(["backup"]).exits(0);
    let orders = client.database(DATABASE).collection("orders");
    let archive = client.database("archive").collection("orders");
    archive.insert_many((0..500).map(order)).await.unwrap();
    orders.insert_many((20_000..20_100).map(order)).await.unwrap();
    orders.delete_one(doc! { "_id": 3 }).await.unwrap();
    workspace.run(["capture", "--once"]).exits(0);
    let good = Contents::of_database(&client, DATABASE).await;
    let archived = Contents::of_database(&client, "archive").await;
    drop((orders, archive, client, servers));

    // On some servers what is needed first comes first, on others everything at once.
    let sooner = harness::own(&Options::default());
    workspace.set_variable("MONGODB_URI", sooner.uri());
    let shell = Shell::open(&workspace, "");
    chapter.follow(&shell, &["What can be had", "What is needed first, by itself"]);
    let client = sooner.client().await;
    Contents::of_database(&client, DATABASE).await.assert_equals(&good);
    assert!(Contents::of_database(&client, "archive").await.names().is_empty());
    client.database(DATABASE).collection("orders").insert_one(order(30_000)).await.unwrap();
    let in_use = Contents::of_database(&client, DATABASE).await;
    chapter.follow(&shell, &["And then the rest"]);
    Contents::of_database(&client, DATABASE).await.assert_equals(&in_use);
    Contents::of_database(&client, "archive").await.assert_equals(&archived);
    drop((client, sooner));

    let new = harness::own(&Options::default());
    workspace.set_variable("MONGODB_URI", new.uri());
    let shell = Shell::open(&workspace, "");
    chapter.follow(&shell, &["What can be had", "Restore everything"]);
    let client = new.client().await;
    Contents::of_database(&client, DATABASE).await.assert_equals(&good);
    Contents::of_database(&client, "archive").await.assert_equals(&archived);
    let users = client.database(DATABASE).run_command(doc! { "usersInfo": "app" }).await.unwrap();
    assert_eq!(users.get_array("users").unwrap().len(), 1, "{users}");

    chapter.follow(&shell, &["Protect the new servers"]);
    for db in [DATABASE, "archive"] {
        client.database(db).drop().await.unwrap();
    }
    workspace.run(["restore", "latest", "--confirm", "rs0"]).exits(0);
    Contents::of_database(&client, DATABASE).await.assert_equals(&good);

    shell.set("SCRIPTS", concat!(env!("CARGO_MANIFEST_DIR"), "/scripts"));
    shell.set("REPOSITORY", workspace.repository().to_str().unwrap());
    chapter.follow(&shell, &["Regrow itself cannot be had"]);
    // That these files are what was backed up is what the script's own tests are for.
    assert!(workspace.path("recovered/shop/orders.bson").exists());
}
