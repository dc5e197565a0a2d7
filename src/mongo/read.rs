//! Reading a collection as it was at one cluster time, in the server's own batches.
//!
//! A collection is read in its natural order. Each batch comes with a resume token, so a lost connection
//! costs nothing: the read goes on behind the last batch that arrived, on the same node, at the same
//! cluster time. The same tokens split a large collection into parts that are read side by side, which
//! costs the server half of what ranges of `_id` would (decision 0005).

use std::time::Duration;

use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use futures_util::StreamExt;
use mongodb::Database;
use mongodb::error::Error as DriverError;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};

use super::client::{LOOK, Node, snapshot_at};
use super::error::{Attempt, explain, is_connection_loss, is_cursor_loss};
use super::namespaces::all;
use crate::error::{Error, Result};
use crate::units::MIB;

/// How often a read is resumed after a lost connection before it is given up; a success resets it.
const MAX_RESUMES: u32 = 5;

/// The wait before a lost connection is tried again; doubled each time.
const RESUME_DELAY: Duration = Duration::from_millis(200);

/// Bytes asked for in one batch, as far as the documents' average size tells. The server itself ends a batch
/// only at 16 MiB, which each reader would have to hold twice.
const BATCH_BYTES: u64 = 4 * MIB as u64;

/// How many random documents are looked up for each part, so that parts come out about equal.
const SAMPLES_PER_PART: u64 = 8;

/// The server samples at random only up to 5 % of a collection; beyond, it scans.
const DOCUMENTS_PER_SAMPLE: u64 = 25;

/// A stretch of a collection in natural order: behind `after`, up to and with the document `until`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Part {
    /// The resume token of the document before the first; none at the collection's beginning.
    after: Option<RawDocumentBuf>,
    /// The `_id` of the last document; none at the collection's end.
    until: Option<RawBson>,
}

/// Which state of a collection a read shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// Whatever the node has.
    Latest,
    /// Whatever the majority has when each batch is read. Capped collections have nothing better: the
    /// server refuses to read them at a cluster time.
    Committed,
    /// The state at a cluster time.
    ClusterTime(Timestamp),
}

/// What is read of a collection, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Which state.
    pub as_of: AsOf,
    /// Which part.
    pub part: Part,
    /// About how large a document is; 0 when nobody knows.
    pub document_bytes: u64,
}

/// A collection being read.
pub struct CollectionReader {
    database: Database,
    collection: String,
    as_of: AsOf,
    batch_documents: u32,
    position: Option<RawDocumentBuf>,
    until: Option<Boundary>,
    cursor: Option<RawBatchCursor>,
    finished: bool,
}

/// Returns how many documents and bytes a collection has by the server's own, quick and inexact, count.
///
/// # Errors
/// When the node does not answer or a privilege is missing.
pub async fn estimate(node: &Node, db: &str, collection: &str) -> Result<(u64, u64)> {
    let doing = format!("read the statistics of {db}.{collection}");
    let attempt = Attempt { doing: &doing, action: "collStats", ..LOOK };
    let stage = rawdoc! { "$collStats": { "storageStats": {} } };
    let fields = rawdoc! { "$project": { "count": "$storageStats.count", "size": "$storageStats.size" } };
    let command = rawdoc! { "aggregate": collection, "pipeline": [stage, fields], "cursor": {} };
    let found = all(&node.database(db), command, attempt).await?;
    let number = |key: &str| match found.first().and_then(|stats| stats.get(key).ok().flatten()) {
        Some(RawBsonRef::Int32(value)) => u64::try_from(value).unwrap_or(0),
        Some(RawBsonRef::Int64(value)) => u64::try_from(value).unwrap_or(0),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // An estimate.
        Some(RawBsonRef::Double(value)) => value as u64,
        _ => 0,
    };
    Ok((number("count"), number("size")))
}

/// Splits a collection of about `documents` documents into at most `parts` parts.
///
/// The boundaries are documents that exist at `at`: where they lie decides only how even the parts
/// are, never what is read. One part is always right, and what comes back when the server cannot sample.
///
/// # Errors
/// When the node does not answer or a privilege is missing.
pub async fn split(
    node: &Node,
    db: &str,
    collection: &str,
    at: Timestamp,
    documents: u64,
    parts: u64,
) -> Result<Vec<Part>> {
    let samples = (parts * SAMPLES_PER_PART).min(documents / DOCUMENTS_PER_SAMPLE);
    if parts < 2 || samples < parts {
        return Ok(vec![Part::default()]);
    }
    let boundaries = sample(&node.database(db), collection, at, samples).await?;
    let parts = usize::try_from(parts).unwrap_or(1).min(boundaries.len() + 1);
    // Fewer samples may have come back than were asked for; spread evenly, no part gets all the rest.
    let inner = (1..parts).map(|part| boundaries[(part * boundaries.len() / parts).min(boundaries.len() - 1)].clone());
    let mut inner: Vec<_> = inner.collect();
    inner.dedup_by_key(|(record, _)| *record);
    let mut split = Vec::new();
    let mut after = None;
    for (record, id) in inner {
        split.push(Part { after, until: Some(id) });
        after = Some(rawdoc! { "$recordId": record });
    }
    split.push(Part { after, until: None });
    Ok(split)
}

/// Returns random documents of a collection, as record number and `_id`, in natural order.
async fn sample(database: &Database, collection: &str, at: Timestamp, samples: u64) -> Result<Vec<(i64, RawBson)>> {
    let doing = format!("sample {}.{collection}", database.name());
    let attempt = Attempt { doing: &doing, action: "find", ..LOOK };
    let pick = rawdoc! { "$sample": { "size": samples.cast_signed() } };
    let command = rawdoc! {
        "aggregate": collection,
        "pipeline": [pick, rawdoc! { "$project": { "_id": 1 } }],
        "cursor": {},
        "readConcern": snapshot_at(at),
    };
    let mut ids = bson::RawArrayBuf::new();
    for found in all(database, command, attempt).await? {
        if let Ok(Some(id)) = found.get("_id") {
            ids.push(RawBson::from(id));
        }
    }
    let command = rawdoc! {
        "find": collection,
        "filter": { "_id": { "$in": ids } },
        "projection": { "_id": 1 },
        "showRecordId": true,
        "readConcern": snapshot_at(at),
    };
    let mut boundaries = Vec::new();
    for found in all(database, command, attempt).await? {
        if let (Ok(Some(RawBsonRef::Int64(record))), Ok(Some(id))) = (found.get("$recordId"), found.get("_id")) {
            // NaNs are many as bytes and one in an index, which may be where this answer comes from.
            let may_be_nan =
                matches!(id, RawBsonRef::Double(id) if id.is_nan()) || matches!(id, RawBsonRef::Decimal128(_));
            if !may_be_nan {
                boundaries.push((record, RawBson::from(id)));
            }
        }
    }
    boundaries.sort_by_key(|(record, _)| *record);
    boundaries.dedup_by_key(|(record, _)| *record);
    Ok(boundaries)
}

/// A document that ends a part, told by its `_id`.
#[derive(Debug)]
struct Boundary {
    /// A document of nothing else.
    id: RawDocumentBuf,
}

impl Boundary {
    fn new(id: RawBson) -> Self {
        Self { id: rawdoc! { "_id": id } }
    }

    fn is(&self, document: &RawDocument) -> bool {
        /// A document begins with its length and ends with a zero.
        const LENGTH: usize = 4;
        /// What follows the length where `_id` comes first: its type, then its name.
        const NAME: std::ops::Range<usize> = 5..9;
        let (id, bytes) = (self.id.as_bytes(), document.as_bytes());
        if bytes.get(NAME) == Some(b"_id\0") {
            return bytes[LENGTH..].starts_with(&id[LENGTH..id.len() - 1]);
        }
        // Servers put `_id` first, but nothing holds those to it who write past them.
        matches!((document.get("_id"), self.id.get("_id")), (Ok(Some(one)), Ok(Some(other))) if one == other)
    }
}

impl CollectionReader {
    /// Prepares to read a collection.
    #[must_use]
    pub fn new(node: &Node, db: &str, collection: &str, reading: Reading) -> Self {
        Self {
            database: node.database(db),
            collection: collection.to_owned(),
            as_of: reading.as_of,
            batch_documents: batch_documents(reading.document_bytes),
            position: reading.part.after,
            until: reading.part.until.map(Boundary::new),
            cursor: None,
            finished: false,
        }
    }

    /// Calls `take` with each document of the next batch; returns whether there may be more.
    ///
    /// A batch has at most 16 MiB, or one document.
    ///
    /// # Errors
    /// When the snapshot is gone, the collection was changed, a privilege is missing, or the node stays away.
    pub async fn next(&mut self, mut take: impl FnMut(&RawDocument)) -> Result<bool> {
        if self.finished {
            return Ok(false);
        }
        let Some(batch) = self.batch().await? else {
            self.finished = true;
            if self.until.is_some() {
                return Err(Error::failed(format!("cannot read {}: a part's end was not found", self.name())));
            }
            return Ok(false);
        };
        let name = self.name();
        let malformed = |error: bson::error::Error| Error::failed(format!("cannot read {name}")).caused_by(error);
        for document in batch.doc_slices().map_err(|error| self.explain(&error))? {
            let document = document.map_err(malformed)?.as_document();
            let Some(document) = document else { continue };
            take(document);
            if self.until.as_ref().is_some_and(|until| until.is(document)) {
                self.finished = true;
                return Ok(false);
            }
        }
        self.position = resume_token(&batch).or_else(|| self.position.take());
        Ok(true)
    }

    /// Returns the next batch, resuming the read when the connection or the server's cursor is lost.
    async fn batch(&mut self) -> Result<Option<RawBatch>> {
        let mut delay = RESUME_DELAY;
        for attempt in 0.. {
            match self.try_batch().await {
                Ok(batch) => return Ok(batch),
                Err(error) if is_loss(&error) && self.can_resume() && attempt < MAX_RESUMES => {
                    tracing::warn!(namespace = self.name(), %error, "connection or cursor lost; resuming the read");
                    self.cursor = None;
                    tokio::time::sleep(delay).await;
                    delay *= 2;
                }
                Err(error) => return Err(self.explain(&error)),
            }
        }
        unreachable!("the loop ends by returning")
    }

    async fn try_batch(&mut self) -> Result<Option<RawBatch>, DriverError> {
        if self.cursor.is_none() {
            let criteria = self.database.selection_criteria().cloned();
            let mut command = self.database.run_raw_cursor_command(self.command()).batch_size(self.batch_documents);
            if let Some(criteria) = criteria {
                command = command.selection_criteria(criteria);
            }
            self.cursor = Some(command.batch().await?);
        }
        match &mut self.cursor {
            Some(cursor) => cursor.next().await.transpose(),
            None => Ok(None),
        }
    }

    fn command(&self) -> RawDocumentBuf {
        let mut command = rawdoc! {
            "find": self.collection.as_str(),
            "hint": { "$natural": 1 },
            "batchSize": i64::from(self.batch_documents),
        };
        match self.as_of {
            AsOf::Latest => {}
            AsOf::Committed => command.append(bson::cstr!("readConcern"), rawdoc! { "level": "majority" }),
            AsOf::ClusterTime(at) => {
                command.append(bson::cstr!("readConcern"), snapshot_at(at));
                command.append(bson::cstr!("$_requestResumeToken"), true);
                if let Some(position) = &self.position {
                    command.append(bson::cstr!("$_resumeAfter"), position.clone());
                }
            }
        }
        command
    }

    /// Only a fixed state can be gone on with where the last batch ended.
    fn can_resume(&self) -> bool {
        matches!(self.as_of, AsOf::ClusterTime(_))
    }

    fn name(&self) -> String {
        format!("{}.{}", self.database.name(), self.collection)
    }

    fn explain(&self, error: &DriverError) -> Error {
        let doing = format!("read {}", self.name());
        explain(error, Attempt { doing: &doing, action: "find", ..LOOK })
    }
}

fn batch_documents(document_bytes: u64) -> u32 {
    // Without an average, a thousand documents are a batch that hardly ever reaches the server's 16 MiB.
    const UNKNOWN: u32 = 1000;
    match BATCH_BYTES.checked_div(document_bytes) {
        None => UNKNOWN,
        Some(documents) => u32::try_from(documents).unwrap_or(UNKNOWN).max(1),
    }
}

fn is_loss(error: &DriverError) -> bool {
    is_connection_loss(error) || is_cursor_loss(error)
}

fn resume_token(batch: &RawBatch) -> Option<RawDocumentBuf> {
    let cursor = batch.as_raw_document().get_document("cursor").ok()?;
    cursor.get_document("postBatchResumeToken").ok().map(RawDocument::to_owned)
}

#[cfg(test)]
mod tests {
    use bson::spec::BinarySubtype;
    use bson::{Binary, RawBson};

    use super::*;

    #[test]
    fn a_boundary_is_one_document_and_no_other() {
        let binary = |subtype| RawBson::Binary(Binary { subtype, bytes: vec![1, 2] });
        let ids = [
            RawBson::Int32(5),
            RawBson::Int64(5),
            RawBson::Double(5.0),
            RawBson::Double(0.0),
            RawBson::Double(-0.0),
            RawBson::String("a".into()),
            RawBson::String("ab".into()),
            RawBson::Null,
            binary(BinarySubtype::Generic),
            binary(BinarySubtype::BinaryOld),
            RawBson::Document(rawdoc! { "a": 1, "b": 2 }),
            RawBson::Document(rawdoc! { "b": 2, "a": 1 }),
        ];
        for (at, until) in ids.iter().enumerate() {
            let boundary = Boundary::new(until.clone());
            for (other, id) in ids.iter().enumerate() {
                let found = boundary.is(&rawdoc! { "_id": id.clone(), "more": 1 });
                assert_eq!(found, at == other, "{until:?} and {id:?}");
            }
        }
    }

    #[test]
    fn a_boundary_is_found_where_its_id_is_not_first() {
        let boundary = Boundary::new(RawBson::Int32(5));
        assert!(boundary.is(&rawdoc! { "a": 1, "_id": 5 }));
        assert!(!boundary.is(&rawdoc! { "a": 1, "_id": 6 }));
        assert!(!boundary.is(&rawdoc! {}));
    }
}
