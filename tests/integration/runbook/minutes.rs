//! The first minutes: looking, reading a plan, and restores that were killed.

use std::time::Duration;

use mongodb::bson::doc;

use super::book::{Chapter, Shell};
use super::shop::Shop;
use crate::harness::fail_point;

impl Shop {
    /// Kills a restore while it loads.
    async fn kill_a_restore(&self) {
        let before = fail_point::hold(&self.client, "insert", 3, Duration::from_secs(5)).await;
        let arguments = ["restore", &self.backup, "--replace", "--keep-old", "--confirm", "rs0"];
        let mut running = self.workspace.regrow(arguments).spawn();
        fail_point::wait_until_held(&self.client, before).await;
        running.kill();
        running.wait();
        fail_point::let_go(&self.client).await;
    }
}

#[tokio::test]
async fn the_first_minutes_show_what_there_is_and_what_restores_have_left() {
    let chapter = Chapter::open("First minutes");
    let shop = Shop::on_disk().await;
    shop.orders().delete_many(doc! { "_id": { "$gte": 10_000 } }).await.unwrap();
    let good = shop.contents().await;
    shop.orders().delete_one(doc! { "_id": 7 }).await.unwrap();
    shop.orders().drop().await.unwrap();
    let spoilt = shop.contents().await;
    let shell = Shell::open(&shop.workspace, "");
    chapter.follow(&shell, &["Look", "Keep what you need", "See what happened", "Read a plan"]);
    shop.holds(&spoilt).await;
    let held: serde_json::Value = shop.workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(held["backups"][0]["held"], true, "{held}");

    shop.kill_a_restore().await;
    chapter.follow(&shell, &["A restore did not end", "Go on with it"]);
    shop.holds_beside_what_is_kept(&good).await;
    chapter.follow(&shell, &["Take it back"]);
    shop.holds(&spoilt).await;

    shop.kill_a_restore().await;
    chapter.follow(&shell, &["A restore did not end", "Take it back"]);
    shop.holds(&spoilt).await;

    shop.kill_a_restore().await;
    chapter.follow(&shell, &["A restore did not end", "Go on with it", "Be rid of what it kept"]);
    shop.holds(&good).await;
    assert!(shop.unfinished().is_empty());
}
