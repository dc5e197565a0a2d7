//! A deployment went wrong for one tenant of fifty, and nobody noticed for a while.

use mongodb::bson::{Document, doc};

use super::book::{Chapter, Shell};
use super::shop::{DATABASE, Shop, order};

#[tokio::test]
async fn one_tenants_documents_are_put_back_and_no_other_is_touched() {
    let chapter = Chapter::open("One tenant's data is wrong since Tuesday");
    let shop = Shop::on_disk().await;
    let (tenant, wrong) = (doc! { "tenantId": "t42" }, doc! { "$set": { "total": 0 } });
    // What the others do goes on, before and after it.
    shop.orders().delete_one(doc! { "_id": 1 }).await.unwrap();
    let good: Vec<Document> = shop.all(tenant.clone()).await;
    shop.orders().update_many(tenant.clone(), wrong).await.unwrap();
    shop.orders().delete_many(doc! { "tenantId": "t42", "_id": { "$lt": 500 } }).await.unwrap();
    shop.orders().delete_one(doc! { "_id": 2 }).await.unwrap();
    let newer = doc! { "_id": 30_000, "tenantId": "t42", "total": 1 };
    shop.orders().insert_many([newer.clone(), order(30_001)]).await.unwrap();
    let (spoilt, others) = (shop.contents().await, shop.all(doc! { "tenantId": { "$ne": "t42" } }).await);

    let shell = Shell::open(&shop.workspace, "");
    chapter.follow(&shell, &["Find the first wrong change", "Look at what it was"]);
    let beside = shop.client.database(DATABASE).collection::<Document>("orders_t42");
    assert_eq!(Shop::sorted(&beside, doc! {}).await, good);
    beside.drop().await.unwrap();
    shop.holds(&spoilt).await;

    chapter.follow(&shell, &["Put them back"]);
    assert_eq!(shop.all(tenant).await, [good, vec![newer]].concat());
    assert_eq!(shop.all(doc! { "tenantId": { "$ne": "t42" } }).await, others);
    chapter.follow(&shell, &["It was the wrong thing"]);
    shop.holds(&spoilt).await;
}
