//! Databases that are there only for a while, and what is asked of them.
//!
//! Whoever uses some keeps a beat beside them, by the server's own clock, so that whoever comes later can tell what nobody
//! uses any more.

use std::time::Duration;

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use mongodb::Database;
use mongodb::options::UpdateModifications;

use super::answer::{self, Pace};
use super::client::{Deployment, LOOK};
use super::error::{Attempt, explain};
use super::load::majority;
use super::namespaces;
use crate::error::{Error, Result};

/// The built-in roles that drills need on their target.
pub const DRILL_ROLES: &str = "roles restore, readWriteAnyDatabase and dbAdminAnyDatabase";

/// The collection of the one document that is the beat.
const BEAT: &str = "beat";

/// Returns the names of all databases that begin with `prefix`.
///
/// # Errors
/// When nobody answers or a privilege is missing.
pub async fn databases(deployment: &Deployment, prefix: &str) -> Result<Vec<String>> {
    let names = namespaces::databases(&deployment.primary(), false).await?;
    Ok(names.into_iter().filter(|name| name.starts_with(prefix)).collect())
}

/// Drops a database; one that does not exist is no error.
///
/// # Errors
/// When nobody answers or a privilege is missing.
pub async fn drop_database(database: &Database) -> Result<()> {
    let doing = format!("drop the database {}", database.name());
    let mut command = rawdoc! { "dropDatabase": 1 };
    majority(&mut command);
    let attempt = Attempt { doing: &doing, action: "dropDatabase", roles: DRILL_ROLES };
    answer::run(database, command, Pace::WhenDone).await.map(drop).map_err(|error| explain(&error, attempt))
}

/// Writes down that `database` is in use at this moment of the server's clock, and by whom.
///
/// # Errors
/// When nobody answers or a privilege is missing.
pub async fn beat(database: &Database, by: &str) -> Result<()> {
    let doing = format!("write to {}", database.name());
    let attempt = Attempt { doing: &doing, action: "update", roles: DRILL_ROLES };
    let pipeline = vec![doc! { "$set": { "by": { "$literal": by }, "at": "$$NOW" } }];
    let beats = database.collection::<Document>(BEAT);
    let update = beats.update_one(doc! { "_id": BEAT }, UpdateModifications::Pipeline(pipeline)).upsert(true);
    answer::soon(update).await.map(drop).map_err(|error| explain(&error, attempt))
}

/// Returns who wrote down last that `database` is in use, and how long ago that was by the server's clock; none when
/// nobody has.
///
/// # Errors
/// When nobody answers or a privilege is missing.
pub async fn last_beat(database: &Database) -> Result<Option<(String, Duration)>> {
    let doing = format!("read {}", database.name());
    let attempt = Attempt { doing: &doing, action: "find", roles: DRILL_ROLES };
    let age = rawdoc! { "$project": { "by": 1, "milliseconds": { "$subtract": ["$$NOW", "$at"] } } };
    let command = rawdoc! { "aggregate": BEAT, "pipeline": [age], "cursor": {} };
    let found = namespaces::all(database, command, attempt).await?;
    let beat = |beat: &RawDocumentBuf| {
        let milliseconds = u64::try_from(beat.get_i64("milliseconds").ok()?).unwrap_or(0);
        Some((beat.get_str("by").ok()?.to_owned(), Duration::from_millis(milliseconds)))
    };
    Ok(found.first().and_then(beat))
}

/// Lets the server check a collection and its indexes. Returns what is wrong; nothing when all is well.
///
/// Not the full check: that reads every byte of the server's own files, which this server has only just written.
///
/// # Errors
/// When the server does not answer or a privilege is missing.
pub async fn validate(database: &Database, collection: &str) -> Result<Vec<String>> {
    let doing = format!("validate {}.{collection}", database.name());
    let attempt = Attempt { doing: &doing, action: "validate", roles: DRILL_ROLES };
    let reply = answer::run(database, rawdoc! { "validate": collection }, Pace::WhenDone).await;
    let reply = reply.map_err(|error| explain(&error, attempt))?;
    if reply.get_bool("valid").unwrap_or(false) {
        return Ok(Vec::new());
    }
    let errors = reply.get_array("errors").map(Vec::as_slice).unwrap_or_default();
    let mut errors: Vec<String> = errors.iter().filter_map(Bson::as_str).map(str::to_owned).collect();
    if errors.is_empty() {
        errors.push("the server does not say what".into());
    }
    Ok(errors)
}

/// Runs an aggregation and returns its first document.
///
/// # Errors
/// When the server refuses it or does not answer.
pub async fn first(database: &Database, collection: &str, pipeline: &[Document]) -> Result<Option<RawDocumentBuf>> {
    let doing = format!("ask {}.{collection}", database.name());
    let attempt = Attempt { doing: &doing, action: "find", ..LOOK };
    let command = doc! { "aggregate": collection, "pipeline": pipeline, "cursor": {} };
    let command = RawDocumentBuf::try_from(&command)
        .map_err(|error| Error::failed(format!("cannot {doing}: the query cannot be sent")).caused_by(error))?;
    // A team's own question may read everything there is.
    let reply = answer::run(database, command, Pace::WhenDone).await.map_err(|error| explain(&error, attempt))?;
    let found = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let first = found.ok().and_then(|found| found.first()?.as_document());
    let malformed = |error| Error::failed(format!("cannot {doing}: the answer makes no sense")).caused_by(error);
    first.map(RawDocumentBuf::try_from).transpose().map_err(malformed)
}

/// Returns the fields in which two descriptions of a collection or an index differ, their order apart: options and indexes
/// are the same in whatever order a server lists their fields.
#[must_use]
pub fn differences(expected: &RawDocument, found: &RawDocument) -> Vec<String> {
    /// What a server adds by itself, or has done with.
    const PASSED_OVER: [&str; 3] = ["v", "ns", "background"];
    let keys = |document: &RawDocument| -> Vec<String> {
        let elements = document.iter_elements().filter_map(std::result::Result::ok);
        elements.map(|element| element.key().as_str().to_owned()).collect()
    };
    let mut all = keys(expected);
    all.extend(keys(found).into_iter().filter(|key| expected.get(key.as_str()).ok().flatten().is_none()));
    all.retain(|key| !PASSED_OVER.contains(&key.as_str()) && !is_same(expected, found, key));
    all
}

fn is_same(one: &RawDocument, other: &RawDocument, key: &str) -> bool {
    let (Ok(one), Ok(other)) = (one.get(key), other.get(key)) else { return false };
    match (one, other) {
        (Some(one), Some(other)) => one == other || number(one).is_some() && number(one) == number(other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// The server does not keep which of its kinds of numbers an option was given as.
#[allow(clippy::cast_precision_loss)] // Sizes and seconds that people configure.
fn number(value: bson::RawBsonRef<'_>) -> Option<f64> {
    match value {
        bson::RawBsonRef::Int32(value) => Some(f64::from(value)),
        bson::RawBsonRef::Int64(value) => Some(value as f64),
        bson::RawBsonRef::Double(value) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_of_values_and_not_of_the_order_of_fields() {
        let one = rawdoc! { "v": 2, "key": { "a": 1, "b": 1 }, "name": "a_1_b_1", "expireAfterSeconds": 3600_i64 };
        let alike = rawdoc! { "name": "a_1_b_1", "expireAfterSeconds": 3600, "key": { "a": 1, "b": 1 } };
        assert_eq!(differences(&one, &alike), Vec::<String>::new());
        let other = rawdoc! { "key": { "b": 1, "a": 1 }, "name": "a_1_b_1", "unique": true };
        assert_eq!(differences(&one, &other), ["key", "expireAfterSeconds", "unique"]);
    }
}
