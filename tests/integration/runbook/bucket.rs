//! Somebody had the credentials of the bucket: objects are changed and removed, and perhaps the keys exchanged.

use std::fs;

use mongodb::bson::doc;

use super::book::{Chapter, Shell};
use super::shop::{DATABASE, Shop};
use crate::contents::Contents;
use crate::harness::Workspace;

impl Shop {
    /// Returns the name that an object of the repository has in the bucket.
    fn key(&self, object: &str) -> String {
        let (_, prefix) = self.workspace.repository_url().rsplit_once('/').unwrap();
        format!("{prefix}/{object}")
    }

    async fn read(&self, object: &str) -> Vec<u8> {
        let s3 = self.servers.s3();
        let found = s3.client().get_object().bucket(&s3.bucket).key(self.key(object)).send().await.unwrap();
        found.body.collect().await.unwrap().to_vec()
    }

    /// Overwrites an object, as whoever has the credentials can.
    async fn write(&self, object: &str, content: Vec<u8>) {
        let s3 = self.servers.s3();
        s3.client().put_object().bucket(&s3.bucket).key(self.key(object)).body(content.into()).send().await.unwrap();
    }

    async fn change(&self, object: &str) {
        let mut content = self.read(object).await;
        let middle = content.len() / 2;
        content[middle] ^= 1;
        self.write(object, content).await;
    }

    async fn remove(&self, object: &str) {
        let s3 = self.servers.s3();
        s3.client().delete_object().bucket(&s3.bucket).key(self.key(object)).send().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_whole_is_found_and_work_goes_on_elsewhere() {
    let chapter = Chapter::open("The bucket may be compromised");
    let shop = Shop::on_s3().await;
    let (good, sound) = (shop.contents().await, shop.workspace.run(["backup"]).exits(0).stdout.trim().to_owned());
    shop.orders().delete_one(doc! { "_id": 5 }).await.unwrap();
    let (live, damaged) = (shop.contents().await, shop.workspace.run(["backup"]).exits(0).stdout.trim().to_owned());
    let audit = shop.workspace.path("audit");
    shop.workspace.run(["evidence", "export", "-o", audit.to_str().unwrap()]).exits(0);
    shop.change(&format!("backups/{damaged}/packs/0001.tar")).await;
    shop.remove(&format!("backups/{}/catalog.age", shop.backup)).await;
    // A stranger's repository, whose descriptor takes the place of ours.
    let stranger = Workspace::on_disk(shop.servers.uri());
    stranger.run(["init"]).exits(0);

    let shell = Shell::open(&shop.workspace, "");
    let ours = shop.read("regrow-repository.json").await;
    let theirs = fs::read(stranger.repository().join("regrow-repository.json")).unwrap();
    shop.write("regrow-repository.json", theirs).await;
    shop.workspace.run(["backup"]).exits(3);
    shell.set("DESCRIPTOR", audit.join("regrow-repository.json").to_str().unwrap());
    chapter.follow(&shell, &["Copy it as it is", "Whose signatures count", "They differ: bring the descriptor back"]);
    assert_eq!(fs::read(shop.workspace.path("copy/regrow-repository.json")).unwrap(), ours);

    chapter.follow(&shell, &["Whose signatures count", "What is damaged, and what is not"]);
    let found = shop.workspace.bash(". ./.shell; echo \"$BACKUP\"").run().exits(0);
    assert_eq!(found.stdout.trim(), sound);
    chapter.follow(&shell, &["Restore from the copy"]);
    let restored = Contents::of_database(&shop.client, "shop_before").await;
    same_documents(&restored, &good);
    shop.client.database("shop_before").drop().await.unwrap();

    let place = format!("{}-new", shop.workspace.repository_url());
    shell.set("NEW_URL", &place);
    chapter.follow(&shell, &["Go on in a new bucket with new keys"]);
    shop.client.database(DATABASE).drop().await.unwrap();
    shop.workspace.run(["--config", "new/regrow.toml", "restore", "latest", "--confirm", "rs0"]).exits(0);
    shop.holds(&live).await;
}

/// Compares a database with another one's contents, whose views have other sources.
fn same_documents(found: &Contents, expected: &Contents) {
    let of_shop = |contents: &Contents| contents.renamed(|_, name| Some((DATABASE.to_owned(), name.to_owned())));
    of_shop(found).assert_equals(&of_shop(expected));
}
