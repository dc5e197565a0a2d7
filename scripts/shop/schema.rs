//! The kinds of collections and indexes that a backup must bring back.

use bson::{Document, doc};
use futures_util::future::try_join_all;
use mongodb::Database;
use mongodb::error::Result;

/// A capped collection keeps its size from the day it is made.
const AUDIT_LOG_BYTES: i64 = 64 << 20;
/// Longer than any test runs, so that the server deletes nothing on its own: twenty years.
const NEVER_IN_PRACTICE: i64 = 20 * 365 * 24 * 3600;

/// Makes the collections that need options; the others come into being with their first document.
pub async fn create_collections(database: &Database) -> Result<()> {
    let payment = doc! {
        "bsonType": "object",
        "required": ["tenant", "reference", "amount", "state"],
        "properties": {
            "amount": { "bsonType": "decimal" },
            "state": { "enum": ["settled", "refunded", "failed"] },
        },
    };
    let revenue = vec![
        doc! { "$match": { "status": "delivered" } },
        doc! { "$group": {
            "_id": { "tenant": "$tenant", "month": { "$dateTrunc": { "date": "$placed_at", "unit": "month" } } },
            "orders": { "$sum": 1 },
            "goods": { "$sum": "$totals.goods" },
        } },
    ];
    for command in [
        doc! { "create": "payments", "validator": { "$jsonSchema": payment }, "validationLevel": "strict" },
        doc! { "create": "visits", "timeseries": { "timeField": "at", "metaField": "tenant", "granularity": "minutes" } },
        doc! { "create": "audit_log", "capped": true, "size": AUDIT_LOG_BYTES },
        doc! { "create": "monthly_revenue", "viewOn": "orders", "pipeline": revenue },
    ] {
        database.run_command(command).await?;
    }
    Ok(())
}

/// Builds the twelve secondary indexes: a command for each collection, all at once.
pub async fn create_indexes(database: &Database) -> Result<()> {
    let indexes = [
        (
            "users",
            vec![
                doc! { "name": "email", "key": { "tenant": 1, "email": 1 }, "unique": true },
                doc! { "name": "phone", "key": { "phone": 1 }, "partialFilterExpression": { "phone": { "$exists": true } } },
            ],
        ),
        (
            "products",
            vec![
                doc! { "name": "sku", "key": { "tenant": 1, "sku": 1 }, "unique": true },
                doc! { "name": "shelf", "key": { "tenant": 1, "category": 1, "price": -1 } },
                doc! {
                    "name": "search",
                    "key": { "name": "text", "description": "text" },
                    "weights": { "name": 5, "description": 1 },
                    "default_language": "english",
                },
            ],
        ),
        (
            "orders",
            vec![
                doc! { "name": "newest", "key": { "tenant": 1, "placed_at": -1 } },
                doc! { "name": "bought", "key": { "items.product": 1 } },
                doc! { "name": "pending", "key": { "placed_at": 1 }, "partialFilterExpression": { "status": "pending" } },
                doc! { "name": "near", "key": { "delivery.location": "2dsphere" } },
            ],
        ),
        ("payments", vec![doc! { "name": "reference", "key": { "reference": 1 }, "unique": true }]),
        (
            "events",
            vec![
                doc! { "name": "kind", "key": { "tenant": 1, "kind": 1, "at": -1 } },
                doc! { "name": "expiry", "key": { "at": 1 }, "expireAfterSeconds": NEVER_IN_PRACTICE },
            ],
        ),
    ];
    try_join_all(indexes.map(|(collection, indexes)| build(database, collection, indexes))).await?;
    Ok(())
}

async fn build(database: &Database, collection: &str, indexes: Vec<Document>) -> Result<()> {
    database.run_command(doc! { "createIndexes": collection, "indexes": indexes }).await?;
    Ok(())
}
