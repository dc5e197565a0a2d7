//! Inserts the documents, several batches at once.

use bson::RawDocumentBuf;
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::Database;
use mongodb::error::{Error, Result};

use crate::documents;
use crate::plan::{Collection, Plan};

/// Documents in a batch: about half a mebibyte.
const BATCH: u64 = 1_000;

/// Fills every collection, with up to `tasks` batches under way.
pub async fn fill(database: &Database, plan: &Plan, tasks: usize) -> Result<()> {
    let batches = Collection::ALL.into_iter().flat_map(|collection| {
        let count = plan.count(collection);
        (0..count.div_ceil(BATCH)).map(move |batch| (collection, batch * BATCH..count.min((batch + 1) * BATCH)))
    });
    stream::iter(batches)
        .map(|(collection, range)| {
            let (database, plan) = (database.clone(), plan.clone());
            let insert = async move {
                let documents = range.map(|index| documents::make(&plan, collection, index));
                insert(&database, collection.name(), documents).await
            };
            async { tokio::spawn(insert).await.map_err(Error::custom)? }
        })
        .buffer_unordered(tasks)
        .try_collect()
        .await
}

/// Inserts documents in one batch, in no particular order.
pub async fn insert(
    database: &Database,
    collection: &str,
    documents: impl Iterator<Item = RawDocumentBuf>,
) -> Result<()> {
    database.collection::<RawDocumentBuf>(collection).insert_many(documents).ordered(false).await?;
    Ok(())
}
