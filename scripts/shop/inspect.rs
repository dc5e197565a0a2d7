//! What a database holds, as the server counts it.

use bson::{Bson, Document, doc};
use mongodb::Database;
use mongodb::error::Result;
use regrow::units::ByteSize;

/// Returns one line for people.
pub async fn summary(database: &Database) -> Result<String> {
    let held = held(database).await?;
    let number = |field: &str| held.get_i64(field).expect("held makes numbers");
    Ok(format!(
        "{}: {} documents in {} collections, {} of BSON, {} indexes",
        database.name(),
        number("documents"),
        number("collections"),
        ByteSize(number("bytes").unsigned_abs()),
        number("indexes"),
    ))
}

/// Returns the server's version and what each database holds, for scripts.
pub async fn as_json(databases: &[&Database]) -> Result<String> {
    let mut all = Document::new();
    for database in databases {
        let build = database.run_command(doc! { "buildInfo": 1 }).await?;
        all.insert("server", build.get_str("version").unwrap_or("unknown"));
        all.insert(database.name(), held(database).await?);
    }
    Ok(serde_json::json!(all).to_string())
}

/// Returns how many bytes the server has sent since it began.
pub async fn sent(database: &Database) -> Result<i64> {
    let status = database.run_command(doc! { "serverStatus": 1 }).await?;
    let sent = status.get_document("network").ok().and_then(|network| network.get_i64("bytesOut").ok());
    Ok(sent.unwrap_or_default())
}

/// Asks for a database's counts. A time series counts as its buckets.
async fn held(database: &Database) -> Result<Document> {
    let stats = database.run_command(doc! { "dbStats": 1 }).await?;
    #[allow(clippy::cast_possible_truncation)] // Some servers answer a count as a double.
    let number = |field: &str| match stats.get(field) {
        Some(Bson::Int32(number)) => i64::from(*number),
        Some(Bson::Int64(number)) => *number,
        Some(Bson::Double(number)) => *number as i64,
        _ => 0,
    };
    Ok(doc! {
        "collections": number("collections"),
        "documents": number("objects"),
        "bytes": number("dataSize"),
        "indexes": number("indexes"),
    })
}
