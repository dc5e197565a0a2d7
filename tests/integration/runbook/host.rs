//! The backup host is gone; a bucket, an identity and perhaps the signing key are left.

use std::fs;

use super::book::{Chapter, Shell};
use super::shop::{DATABASE, Shop};
use crate::contents::Contents;
use crate::harness::S3;

#[tokio::test]
async fn a_new_host_restores_at_once_and_goes_on_with_or_without_the_old_key() {
    let chapter = Chapter::open("The backup host is gone");
    let shop = Shop::on_s3().await;
    shop.workspace.run(["capture", "--once"]).exits(0);
    let good = shop.contents().await;
    let backup = shop.workspace.run(["backup"]).exits(0).stdout.trim().to_owned();
    let url = shop.workspace.repository_url().to_owned();
    let safe = shop.workspace.path("safe");
    fs::create_dir(&safe).unwrap();
    for name in ["identity.txt", "regrow-signing.key"] {
        fs::rename(shop.workspace.path(name), safe.join(name)).unwrap();
    }
    fs::remove_file(shop.workspace.config_file()).unwrap();

    for (folder, has_key) in [("with", true), ("without", false)] {
        let shell = Shell::open(&shop.workspace, folder);
        fs::copy(safe.join("identity.txt"), shop.workspace.path(folder).join("identity.txt")).unwrap();
        for (name, value) in [("URL", &*url), ("REGION", S3::REGION), ("ENDPOINT", &shop.servers.s3().endpoint)] {
            shell.set(name, value);
        }
        chapter.follow(&shell, &["See what is there", "Restores work already"]);
        restored_as(&shop, &good).await;
        let configuration = shop.workspace.path(folder).join("regrow.toml");
        if has_key {
            shell.set("KEY_COPY", safe.join("regrow-signing.key").to_str().unwrap());
            chapter.follow(&shell, &["With the signing key: go on"]);
        } else {
            shell.set("NEW_URL", &format!("{url}-2"));
            chapter.follow(&shell, &["Without it: a new repository"]);
        }
        let configuration = configuration.to_str().unwrap();
        let restore = |config: &str, backup: &str| {
            let arguments = ["--config", config, "restore", backup, "--map", "shop=shop_check", "--confirm", "rs0"];
            shop.workspace.run(arguments).exits(0);
        };
        restore(configuration, "latest");
        restored_as(&shop, &good).await;
        if !has_key {
            restore(shop.workspace.path("without/old.toml").to_str().unwrap(), &backup);
            restored_as(&shop, &good).await;
        }
    }
    shop.holds(&good).await;
}

/// Makes sure that the copy is what the shop was, and removes it.
async fn restored_as(shop: &Shop, expected: &Contents) {
    let copy = Contents::of_database(&shop.client, "shop_check").await;
    copy.renamed(|_, name| Some((DATABASE.to_owned(), name.to_owned()))).assert_equals(expected);
    shop.client.database("shop_check").drop().await.unwrap();
}
