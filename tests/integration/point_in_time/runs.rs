//! Many operations on few documents: what the replay leaves out because a later one makes it needless is never missed.

use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};

use super::workload::Random;
use super::{begun, capture, restore, text, without_expiry};
use crate::contents::Contents;
use crate::harness;

const OPERATIONS: i32 = 4000;
const MOMENTS: usize = 6;

/// How many documents the backup holds.
const BEFORE: i64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_change_all_the_time_are_what_they_were_at_any_moment() {
    let (servers, target) = (harness::own(&without_expiry()), harness::own(&without_expiry()));
    let client = servers.client().await;
    let orders = [client.database("hot").collection("a"), client.database("hot").collection("b")];
    for collection in &orders {
        // They are there in the backup: the first operation on each need not be an insert.
        let documents = (0..4).map(|id| doc! { "_id": id, "n": 0, "in": { "n": 0 }, "list": [0, 0] });
        collection.insert_many(documents).await.unwrap();
    }
    let workspace = begun(&servers);
    let mut random = Random(40);
    for number in 0..OPERATIONS {
        change(&orders[usize::from(random.below(2) == 0)], number, &mut random).await;
    }
    capture(&workspace);

    let oplog = client.database("local").collection::<RawDocumentBuf>("oplog.rs");
    let of_orders = doc! { "ns": { "$in": ["hot.a", "hot.b"] } };
    let entries: Vec<RawDocumentBuf> = oplog.find(of_orders).await.unwrap().try_collect().await.unwrap();
    let times: Vec<Timestamp> = entries.iter().map(|entry| entry.get_timestamp("ts").unwrap()).collect();
    let count = i64::try_from(times.len()).unwrap();
    assert!(count > i64::from(OPERATIONS) / 2, "only {count} were written");
    let target_client = target.client().await;
    for number in 1..=MOMENTS {
        // Behind those that the backup holds.
        let chosen = usize::try_from(BEFORE + random.below(count - BEFORE)).unwrap();
        let at = times[if number == MOMENTS { times.len() - 1 } else { chosen }];
        let arguments = ["--to", target.uri(), "--at", &text(at), "--replace"];
        restore(&workspace, &arguments).exits(0);
        let then = Contents::of_database_at(&client, "hot", at).await;
        Contents::of_database(&target_client, "hot").await.assert_equals(&then);
    }
}

/// Does one of everything that can be done to a document, whether it is there or not.
async fn change(orders: &Collection<Document>, n: i32, random: &mut Random) {
    // One and the same to the server.
    let whole = i32::try_from(random.below(4)).unwrap();
    let id = if random.below(8) == 0 { Bson::from(f64::from(whole)) } else { Bson::from(whole) };
    let own = doc! { "_id": &id };
    let update = match random.below(24) {
        0 => {
            orders.delete_one(own).await.unwrap();
            return;
        }
        1 | 13 => {
            // Fails where it is there.
            let _ = orders.insert_one(doc! { "_id": id, "n": n, "in": { "n": n }, "list": [n, n] }).await;
            return;
        }
        2 => {
            orders.replace_one(own, doc! { "x": n, "in": { "m": n }, "n": n }).await.unwrap();
            return;
        }
        3 => doc! { "$set": { "y": n, "x": n } },
        4 => doc! { "$set": { "x": n, "y": n } },
        5 => doc! { "$unset": { "x": "" } },
        6 => doc! { "$unset": { "in": "" } },
        7 => doc! { "$set": { "in.n": n } },
        8 => doc! { "$set": { "in.m": n, "in.n": n } },
        9 => doc! { "$push": { "list": n } },
        10 => doc! { "$set": { "list.1": n } },
        11 => doc! { "$set": { "list": [n, n] } },
        12 => doc! { "$set": { "in": n } },
        _ => doc! { "$inc": { "n": 1 } },
    };
    // What does not fit the document as it is, such as a push onto a number, is refused.
    let _ = orders.update_one(own, update).await;
}
