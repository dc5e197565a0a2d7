//! Changes documents of a shop that is there: what an increment is measured with.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::action::{Action, Aggregate};
use mongodb::error::Result;
use mongodb::options::Hint;

/// How many documents one update changes.
const BATCH: usize = 1000;

/// Changes a share of the documents of every plain collection, at random places among the newest ones, of which `within` says the
/// share; returns how many.
pub async fn change(database: &Database, share: f64, within: f64) -> Result<u64> {
    let mut changed = 0;
    let plain = database.list_collections().filter(doc! { "type": "collection", "options.capped": { "$ne": true } });
    let names: Vec<String> = plain.await?.map_ok(|found| found.name).try_collect().await?;
    for name in names.iter().filter(|name| !name.starts_with("system.")) {
        let collection = database.collection::<Document>(name);
        let documents = collection.estimated_document_count().await?;
        // Among all of them the server finds random ones without reading all.
        let newest = (within < 1.0).then(|| doc! { "$limit": part(documents, within.max(share)) });
        let newest_first = newest.as_ref().map(|_| Hint::Keys(doc! { "$natural": -1 }));
        let sample = [doc! { "$sample": { "size": part(documents, share) } }, doc! { "$project": { "_id": 1 } }];
        let sample = collection.aggregate(newest.into_iter().chain(sample));
        let sample = sample.optional(newest_first, Aggregate::hint).await?;
        let found: Vec<Document> = sample.try_collect().await?;
        let ids: Vec<Bson> = found.into_iter().filter_map(|mut found| found.remove("_id")).collect();
        for ids in ids.chunks(BATCH) {
            let change = doc! { "$inc": { "changes": 1 }, "$currentDate": { "changed_at": true } };
            changed += collection.update_many(doc! { "_id": { "$in": ids } }, change).await?.modified_count;
        }
    }
    Ok(changed)
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn part(documents: u64, share: f64) -> i64 {
    (documents as f64 * share).ceil() as i64
}

/// Reads a share: `1%`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_share(text: &str) -> std::result::Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<f64>().ok());
    percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "write a share such as 1%".to_owned())
}
