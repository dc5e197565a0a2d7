//! The identity is gone: with an escrow whose recipient every backup was encrypted to, and without.

use std::fs;

use toml::Value;

use super::book::{Chapter, Shell};
use super::shop::{DATABASE, Shop};
use crate::contents::Contents;

#[tokio::test]
async fn the_escrow_opens_everything_and_without_one_only_the_live_data_is_left() {
    let chapter = Chapter::open("I lost the identity");
    with_escrow(&chapter).await;
    without(&chapter).await;
}

async fn with_escrow(chapter: &Chapter) {
    let mut shop = Shop::on_disk().await;
    let escrow = shop.workspace.run(["keygen", "-o", "escrow.txt"]).exits(0).stdout.trim().to_owned();
    let recipients = [shop.workspace.recipient().to_owned(), escrow].map(Value::from).to_vec();
    shop.workspace.set("encryption.recipients", recipients);
    let backup = shop.workspace.run(["backup"]).exits(0).stdout.trim().to_owned();
    let good = shop.contents().await;
    fs::remove_file(shop.workspace.identity_file()).unwrap();
    shop.workspace.run(["restore", "latest", "--dry-run"]).exits(3);

    let shell = Shell::open(&shop.workspace, "");
    shell.set("ESCROW", shop.workspace.path("escrow.txt").to_str().unwrap());
    chapter.follow(&shell, &["Who can open it", "Another one is there: use it"]);
    let arguments = ["restore", &backup, "--map", "shop=shop_old", "--confirm", "rs0"];
    shop.workspace.run(arguments).exits(0);
    is_the_shop(&shop, "shop_old", &good).await;
    chapter.follow(&shell, &["Make a new one"]);
    is_the_shop(&shop, "shop_check", &good).await;
}

async fn without(chapter: &Chapter) {
    let shop = Shop::on_disk().await;
    fs::remove_file(shop.workspace.identity_file()).unwrap();
    let shell = Shell::open(&shop.workspace, "");
    let good = shop.contents().await;
    chapter.follow(&shell, &["Who can open it", "Make a new one"]);
    is_the_shop(&shop, "shop_check", &good).await;
    // What was encrypted to the lost one stays closed.
    let refused = shop.workspace.run(["restore", &shop.backup, "--map", "shop=shop_old", "--confirm", "rs0"]).exits(3);
    assert!(refused.stderr.contains("none of the configured identities opens it"), "{refused:?}");
}

async fn is_the_shop(shop: &Shop, db: &str, expected: &Contents) {
    let copy = Contents::of_database(&shop.client, db).await;
    copy.renamed(|_, name| Some((DATABASE.to_owned(), name.to_owned()))).assert_equals(expected);
    shop.client.database(db).drop().await.unwrap();
}
