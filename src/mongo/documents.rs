//! Single documents of a collection that others use: found, written and removed by their `_id`s.
//!
//! Every write waits for the majority. As elsewhere on this floor, documents are bytes.

use bson::{Document, RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, cstr, rawdoc};
use mongodb::Database;

use super::answer::Pace;
use super::error::Attempt;
use super::load::{self, INSERT_BYTES, majority, run_retrying};
use super::namespaces;
use crate::error::{Error, Result};

/// The built-in roles that it takes.
pub const MERGE_ROLES: &str = "roles restore and readWriteAnyDatabase";

/// Returns those of a collection's documents that have the `_id` of one of `documents`.
///
/// # Errors
/// When the server does not answer or a privilege is missing.
pub async fn with_ids_of(
    database: &Database,
    collection: &str,
    documents: &[RawDocumentBuf],
) -> Result<Vec<RawDocumentBuf>> {
    let doing = format!("read {}.{collection}", database.name());
    let attempt = Attempt { doing: &doing, action: "find", roles: MERGE_ROLES };
    let command = rawdoc! { "find": collection, "filter": ids_filter(documents, &doing)? };
    namespaces::all(database, command, attempt).await
}

/// Removes the documents that have the `_id` of one of `documents`; returns how many there were.
///
/// # Errors
/// When the server does not answer or a privilege is missing.
pub async fn remove(database: &Database, collection: &str, documents: &[RawDocumentBuf]) -> Result<u64> {
    let doing = format!("remove documents from {}.{collection}", database.name());
    let attempt = Attempt { doing: &doing, action: "remove", roles: MERGE_ROLES };
    let delete = rawdoc! { "q": ids_filter(documents, &doing)?, "limit": 0 };
    let mut command = rawdoc! { "delete": collection, "deletes": [delete] };
    majority(&mut command);
    let (reply, _) = run_retrying(database, command, Pace::Soon, attempt).await?;
    Ok(count(&reply))
}

/// Writes documents as they are, in place of those with the same `_id`s: validators are bypassed, empty timestamps kept.
///
/// # Errors
/// When the server refuses one, such as a second document with a unique key, or stays away.
pub async fn put(database: &Database, collection: &str, documents: &[RawDocumentBuf]) -> Result<()> {
    let mut rest = documents;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|document| {
            bytes += document.as_bytes().len();
            bytes <= INSERT_BYTES
        });
        let (batch, behind) = rest.split_at(fitting.count().max(1));
        let references: Vec<&RawDocument> = batch.iter().map(AsRef::as_ref).collect();
        load::put(database, collection, &references, MERGE_ROLES).await?;
        rest = behind;
    }
    Ok(())
}

fn ids_filter(documents: &[RawDocumentBuf], doing: &str) -> Result<RawDocumentBuf> {
    let mut ids = RawArrayBuf::new();
    for document in documents {
        let id = document.get("_id").map_err(|error| Error::failed(format!("cannot {doing}")).caused_by(error))?;
        ids.push(id.map_or(RawBson::Null, RawBson::from));
    }
    let mut filter = RawDocumentBuf::new();
    let mut one_of = RawDocumentBuf::new();
    one_of.append(cstr!("$in"), ids);
    filter.append(cstr!("_id"), one_of);
    Ok(filter)
}

fn count(reply: &Document) -> u64 {
    let count = reply.get_i32("n").map(i64::from).or_else(|_| reply.get_i64("n")).unwrap_or_default();
    u64::try_from(count).unwrap_or_default()
}
