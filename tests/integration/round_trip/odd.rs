//! A deployment in which everything is odd that a MongoDB 6.0 can hold.

pub mod bytes;
mod collections;
pub mod documents;
mod indexes;
mod series;

use mongodb::bson::{Document, RawArrayBuf, RawBson, RawDocumentBuf, rawdoc};
use mongodb::{Client, Database};

/// Fills several databases; what takes long or takes special privileges to restore is apart.
pub async fn fill(client: &Client) {
    let odd = client.database("odd");
    insert(&odd, "everything", &documents::everything()).await;
    insert(&odd, "ids", &documents::ids()).await;
    collections::options(&client.database("odd_options")).await;
    collections::capped(&client.database("odd_options")).await;
    collections::views(&client.database("odd_views")).await;
    collections::names(client).await;
    indexes::fill(&client.database("odd_indexes")).await;
    series::fill(&client.database("odd_series")).await;
}

/// Documents as large as they come.
pub async fn fill_large(client: &Client) {
    for document in documents::large() {
        insert(&client.database("odd_large"), "large", &[document]).await;
    }
}

/// Documents with `Timestamp(0, 0)` in a field of their own, which a server replaces by the time when they are
/// inserted: they come from an update, and so they do in real life.
pub async fn fill_empty_timestamps(client: &Client) {
    let database = client.database("odd_zero");
    let bypassed = rawdoc! { "create": "invalid", "validator": { "never": { "$exists": true } } };
    run(&database, bypassed).await;
    run(&database, rawdoc! { "create": "capped", "capped": true, "size": 1_000_000 }).await;
    run(&database, rawdoc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } }).await;
    run(&database, rawdoc! { "create": "collation", "collation": { "locale": "sv", "strength": 1 } }).await;
    for collection in ["plain", "invalid", "capped", "clustered", "collation"] {
        let stored = documents::empty_timestamps();
        let updates: RawArrayBuf = stored.iter().map(replacement).collect();
        let update = rawdoc! { "update": collection, "updates": updates, "bypassDocumentValidation": true };
        let reply = run(&database, update).await;
        assert_eq!(reply.get_array("upserted").unwrap().len(), stored.len(), "{reply}");
    }
}

fn replacement(document: &RawDocumentBuf) -> RawDocumentBuf {
    let id = document.get("_id").expect("the document is right").expect("it has an _id");
    rawdoc! {
        "q": { "_id": { "$eq": RawBson::from(id) } },
        "u": [{ "$replaceWith": { "$literal": document.clone() } }],
        "upsert": true,
    }
}

/// Runs a command that must succeed.
pub async fn run(database: &Database, command: RawDocumentBuf) -> Document {
    let text = format!("{command:?}");
    let reply = database.run_raw_command(command).await;
    let reply = reply.unwrap_or_else(|error| panic!("{}: {text:.300}: {error}", database.name()));
    assert!(!reply.contains_key("writeErrors"), "{}: {text:.300}: {reply}", database.name());
    reply
}

/// Inserts documents as they are, past any validator.
pub async fn insert(database: &Database, collection: &str, documents: &[RawDocumentBuf]) {
    let list: RawArrayBuf = documents.iter().cloned().collect();
    run(database, rawdoc! { "insert": collection, "documents": list, "bypassDocumentValidation": true }).await;
}
