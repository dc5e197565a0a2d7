//! A collection was dropped, or documents were deleted: with and without a new one in its place.

use mongodb::bson::{Document, doc};

use super::book::{Chapter, Shell};
use super::shop::{DATABASE, Shop, order};
use crate::contents::Contents;

impl Shop {
    /// Drops the orders; the application makes the collection again, and writes to it.
    async fn drop_and_go_on(&self) -> Contents {
        self.orders().drop().await.unwrap();
        self.orders().insert_many((20_000..20_010).map(order)).await.unwrap();
        self.contents().await
    }
}

#[tokio::test]
async fn what_was_deleted_comes_back_whatever_stands_in_its_place() {
    let chapter = Chapter::open("Someone deleted a collection");
    a_collection(&chapter).await;
    documents(&chapter).await;
}

async fn a_collection(chapter: &Chapter) {
    let shop = Shop::on_disk().await;
    let good = shop.contents().await;
    let shell = Shell::open(&shop.workspace, "");

    shop.orders().drop().await.unwrap();
    chapter.follow(&shell, &["Find the drop", "Nothing is there under its name: restore it", "Check it"]);
    shop.holds(&good).await;

    let spoilt = shop.drop_and_go_on().await;
    chapter.follow(&shell, &["Find the drop", "It was created again: look at both"]);
    let beside = |name: &str| if name == "orders_before" { "orders".into() } else { format!("not {name}") };
    let mut restored = shop.contents().await.renamed(|db, name| Some((db.to_owned(), beside(name))));
    restored.keep(&["shop.orders".to_owned()]);
    restored.assert_equals(&good.renamed(|db, name| (name == "orders").then(|| (db.to_owned(), name.to_owned()))));
    shop.client.database(DATABASE).collection::<Document>("orders_before").drop().await.unwrap();
    shop.holds(&spoilt).await;

    chapter.follow(&shell, &["What is in it now may go: replace it"]);
    shop.holds_beside_what_is_kept(&good).await;
    chapter.follow(&shell, &["Undo it"]);
    shop.holds(&spoilt).await;
}

async fn documents(chapter: &Chapter) {
    let shop = Shop::on_disk().await;
    let good = shop.contents().await;
    let shell = Shell::open(&shop.workspace, "");
    shop.orders().delete_many(doc! { "_id": { "$gte": 100 } }).await.unwrap();
    let newer = order(30_000);
    shop.orders().insert_one(&newer).await.unwrap();
    let spoilt = shop.contents().await;
    chapter.follow(&shell, &["Find the deletes", "Put back what is missing"]);
    shop.orders().delete_one(doc! { "_id": 30_000 }).await.unwrap();
    shop.holds_beside_what_is_kept(&good).await;
    shop.orders().insert_one(&newer).await.unwrap();
    chapter.follow(&shell, &["Undo it"]);
    shop.holds(&spoilt).await;
}
