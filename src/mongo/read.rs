//! Reading a collection as it was at one cluster time, in the server's own batches.
//!
//! A collection is read in its natural order. Each batch comes with a resume token, so a lost connection
//! costs nothing: the read goes on behind the last batch that arrived, on the same node, at the same
//! cluster time. The same tokens split a large collection into [parts](super::parts) that are read side by side, which
//! costs the server half of what ranges of `_id` would (decision 0005).
//!
//! Every read names the collection's UUID. By its name alone, a server answers a read of a collection that was dropped
//! or renamed since with nothing, and no error.

use std::sync::Arc;
use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, RawDocument, RawDocumentBuf, Timestamp, cstr, rawdoc};
use mongodb::Database;
use mongodb::error::Error as DriverError;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use tokio::sync::watch;

use super::answer;
use super::client::{LOOK, Node, retrying, snapshot_at};
use super::error::{Attempt, Obstacle, explain};
use super::namespaces;
use super::parts::{Boundary, Part};
use crate::error::{Error, Result};
use crate::units::MIB;

/// How often a read is resumed after a lost connection before it is given up; a success resets it.
const MAX_RESUMES: u32 = 5;

/// The wait before a lost connection is tried again; doubled each time.
const RESUME_DELAY: Duration = Duration::from_millis(200);

/// What helps where a moment cannot be read and the oplog may not be.
const NEEDS_OPLOG: &str = "let the user read the oplog, which makes up for it: grant the built-in role backup on the database \
                           admin; or run the backup when no collections are being changed, with the server parameter \
                           minSnapshotHistoryWindowInSeconds above the time it takes";

/// Bytes asked for in one batch, as far as the documents' average size tells. The server itself ends a batch
/// only at 16 MiB, which each reader would have to hold twice.
pub const BATCH_BYTES: u64 = 4 * MIB as u64;

/// Which state of a collection a read shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// Whatever the node has.
    Latest,
    /// Whatever the majority has when each batch is read, this cluster time or a later one. Capped collections have
    /// nothing better: the server refuses to read them at a cluster time.
    Since(Timestamp),
    /// The state at a cluster time.
    ClusterTime(Timestamp),
}

impl AsOf {
    fn or_later(self) -> Self {
        match self {
            Self::ClusterTime(time) => Self::Since(time),
            other => other,
        }
    }
}

/// Told when something could be read only as it was later than planned.
///
/// A server keeps a moment readable for some minutes, and not across a change of the collection. Whoever holds the oplog
/// from that moment on may go on with later states, because replaying it makes all of them one.
#[derive(Debug, Clone)]
pub struct SnapshotLoss(Arc<watch::Sender<bool>>);

impl Default for SnapshotLoss {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl SnapshotLoss {
    /// Notes that it happened.
    pub fn note(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it happens.
    pub async fn noted(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|noted| *noted).await;
    }
}

/// What is read of a collection, and how.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Which state.
    pub as_of: AsOf,
    /// Whether later states may be read where that one cannot, and who is told.
    pub or_later: Option<SnapshotLoss>,
    /// The collection's UUID; without one, whichever bears the name is read.
    pub uuid: Option<[u8; 16]>,
    /// Which part.
    pub part: Part,
    /// About how large a document is; 0 when nobody knows.
    pub document_bytes: u64,
}

/// A collection being read.
pub struct CollectionReader {
    node: Node,
    database: Database,
    collection: String,
    uuid: Option<[u8; 16]>,
    as_of: AsOf,
    or_later: Option<SnapshotLoss>,
    document_bytes: u64,
    batch_documents: u32,
    position: Option<RawDocumentBuf>,
    /// Records up to this one have been read, although the read had to begin anew.
    pass_over: Option<i64>,
    until: Option<Boundary>,
    cursor: Option<RawBatchCursor>,
    finished: bool,
    dropped: bool,
}

/// How to go on after an error.
enum Recovery {
    /// At once, in another way.
    Now,
    /// The same again, after a while.
    Later,
    /// With nothing more: the collection is gone.
    Ended,
}

/// Returns how many documents and bytes a collection has by the server's own, quick and inexact, count; nothing of one that is gone.
///
/// # Errors
/// When the node does not answer or a privilege is missing.
pub async fn estimate(node: &Node, db: &str, collection: &str) -> Result<(u64, u64)> {
    let doing = format!("ask how large {db}.{collection} is");
    let attempt = Attempt { doing: &doing, action: "find", ..LOOK };
    // `$collStats` tells it as well, with all else that the storage engine counts: that costs more than to read a small collection.
    let command = rawdoc! { "dataSize": format!("{db}.{collection}"), "estimate": true };
    let ask = || async {
        let answer = answer::soon(node.database(db).run_raw_command(command.clone())).await;
        answer.map_err(|error| explain(&error, attempt))
    };
    let found = retrying(ask).await?;
    let number = |key: &str| match found.get(key) {
        Some(Bson::Int32(value)) => u64::try_from(*value).unwrap_or(0),
        Some(Bson::Int64(value)) => u64::try_from(*value).unwrap_or(0),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // An estimate.
        Some(Bson::Double(value)) => *value as u64,
        _ => 0,
    };
    Ok((number("numObjects"), number("size")))
}

/// Whether a node still shows a collection as it was at a moment.
///
/// # Errors
/// When the node does not answer or a privilege is missing.
pub async fn shows(node: &Node, db: &str, collection: &str, at: Timestamp) -> Result<bool> {
    let doing = format!("read {db}.{collection}");
    let attempt = Attempt { doing: &doing, action: "find", ..LOOK };
    let command = rawdoc! { "find": collection, "limit": 1, "batchSize": 1, "projection": { "_id": 1 }, "readConcern": snapshot_at(at) };
    match answer::soon(node.database(db).run_raw_command(command)).await {
        Ok(_) => Ok(true),
        Err(error) if Obstacle::of(&error) == Obstacle::NoSnapshot => Ok(false),
        Err(error) => Err(explain(&error, attempt)),
    }
}

impl CollectionReader {
    /// Prepares to read a collection.
    #[must_use]
    pub fn new(node: &Node, db: &str, collection: &str, reading: Reading) -> Self {
        let Reading { as_of, or_later, uuid, part, document_bytes } = reading;
        let is_lost = or_later.as_ref().is_some_and(SnapshotLoss::is_noted);
        Self {
            node: node.clone(),
            database: node.database(db),
            collection: collection.to_owned(),
            uuid,
            as_of: if is_lost { as_of.or_later() } else { as_of },
            or_later,
            document_bytes,
            batch_documents: batch_documents(document_bytes, BATCH_BYTES),
            position: part.after,
            pass_over: None,
            until: part.until,
            cursor: None,
            finished: false,
            dropped: false,
        }
    }

    /// Asks for batches of about so many bytes, instead of [`BATCH_BYTES`].
    #[must_use]
    pub fn in_batches_of(self, bytes: u64) -> Self {
        Self { batch_documents: batch_documents(self.document_bytes, bytes), ..self }
    }

    /// Calls `take` with each document of the next batch; returns whether there may be more.
    ///
    /// A batch has at most 16 MiB, or one document. Where later states may be read, a document can come twice, in two
    /// versions.
    ///
    /// # Errors
    /// When the snapshot is gone, the collection was changed, a privilege is missing, or the node stays away.
    pub async fn next(&mut self, mut take: impl FnMut(&RawDocument)) -> Result<bool> {
        if self.finished {
            return Ok(false);
        }
        let Some(batch) = self.batch().await? else {
            self.finished = true;
            if self.until.is_some() && self.is_exact() {
                return Err(Error::failed(format!("cannot read {}: a part's end was not found", self.name())));
            }
            return Ok(false);
        };
        let end = resume_token(&batch);
        let last_record = end.as_deref().and_then(record);
        if self.pass_over.zip(last_record).is_some_and(|(known, last)| last <= known) {
            self.position = end;
            return Ok(true);
        }
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
        // The document that ends the part may have been deleted since.
        if let (Some(until), Some(last)) = (&self.until, last_record)
            && !self.is_exact()
            && last >= until.record
        {
            self.finished = true;
            return Ok(false);
        }
        self.position = end.or_else(|| self.position.take());
        Ok(true)
    }

    /// Returns the server's resume token behind which the next batch begins; none at the collection's beginning.
    #[must_use]
    pub fn position(&self) -> Option<&RawDocumentBuf> {
        self.position.as_ref()
    }

    /// Whether the collection was dropped while it was read: what came is all that will.
    #[must_use]
    pub fn was_dropped(&self) -> bool {
        self.dropped
    }

    /// Returns the next batch, going on after errors where that is possible.
    async fn batch(&mut self) -> Result<Option<RawBatch>> {
        let (mut delay, mut attempts) = (RESUME_DELAY, 0);
        loop {
            if self.cursor.is_none() && self.position.is_some() {
                retrying(|| self.node.is_itself()).await?;
            }
            let error = match self.try_batch().await {
                Ok(batch) => return Ok(batch),
                Err(error) => error,
            };
            self.cursor = None;
            match self.recovery(&error).await? {
                Some(Recovery::Now) => {}
                Some(Recovery::Later) if attempts < MAX_RESUMES => {
                    attempts += 1;
                    tracing::warn!(namespace = self.name(), %error, "interrupted; resuming the read");
                    tokio::time::sleep(delay).await;
                    delay *= 2;
                }
                Some(Recovery::Ended) => return Ok(None),
                Some(Recovery::Later) | None => return Err(self.explain(&error)),
            }
        }
    }

    /// Decides how to go on after an error; none when there is no way.
    async fn recovery(&mut self, error: &DriverError) -> Result<Option<Recovery>> {
        let obstacle = Obstacle::of(error);
        // Only a fixed state, or one that the oplog will mend, can be gone on with where the last batch ended.
        if obstacle == Obstacle::Interruption {
            return Ok((self.is_exact() || self.or_later.is_some()).then_some(Recovery::Later));
        }
        let Some(loss) = &self.or_later else { return Ok(None) };
        match obstacle {
            // A change of the catalog that is not committed yet: it will be.
            Obstacle::NoSnapshot if !self.is_exact() => return Ok(Some(Recovery::Later)),
            Obstacle::NoSnapshot | Obstacle::Renamed => {}
            Obstacle::PositionLost => {
                self.pass_over = self.position.take().as_deref().and_then(record).or(self.pass_over);
            }
            Obstacle::Interruption | Obstacle::Other => return Ok(None),
        }
        loss.note();
        self.as_of = self.as_of.or_later();
        if let (Obstacle::Renamed, Some(uuid)) = (obstacle, self.uuid) {
            let Some(name) = retrying(|| namespaces::name_of(&self.database, uuid)).await? else {
                self.dropped = true;
                return Ok(Some(Recovery::Ended));
            };
            self.collection = name;
            return Ok(Some(Recovery::Later));
        }
        Ok(Some(Recovery::Now))
    }

    async fn try_batch(&mut self) -> Result<Option<RawBatch>, DriverError> {
        if self.cursor.is_none() {
            let criteria = self.database.selection_criteria().cloned();
            let mut command = self.database.run_raw_cursor_command(self.command()).batch_size(self.batch_documents);
            if let Some(criteria) = criteria {
                command = command.selection_criteria(criteria);
            }
            self.cursor = Some(answer::soon(command.batch()).await?);
        }
        match &mut self.cursor {
            Some(cursor) => answer::next(cursor).await,
            None => Ok(None),
        }
    }

    fn command(&self) -> RawDocumentBuf {
        let mut command = rawdoc! {
            "find": self.collection.as_str(),
            "hint": { "$natural": 1 },
            "batchSize": i64::from(self.batch_documents),
        };
        if let Some(uuid) = self.uuid {
            let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: uuid.to_vec() };
            command.append(cstr!("collectionUUID"), uuid);
        }
        match self.as_of {
            AsOf::Latest => return command,
            AsOf::Since(time) => {
                command.append(cstr!("readConcern"), rawdoc! { "level": "majority", "afterClusterTime": time });
            }
            AsOf::ClusterTime(at) => command.append(cstr!("readConcern"), snapshot_at(at)),
        }
        command.append(cstr!("$_requestResumeToken"), true);
        if let Some(position) = &self.position {
            command.append(cstr!("$_resumeAfter"), position.clone());
        }
        command
    }

    /// Whether all of it is read as of one moment.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self.as_of, AsOf::ClusterTime(_))
    }

    fn name(&self) -> String {
        format!("{}.{}", self.database.name(), self.collection)
    }

    fn explain(&self, error: &DriverError) -> Error {
        let doing = format!("read {}", self.name());
        let explained = explain(error, Attempt { doing: &doing, action: "find", ..LOOK });
        match (self.as_of, Obstacle::of(error)) {
            (
                AsOf::ClusterTime(_) | AsOf::Since(_),
                Obstacle::NoSnapshot | Obstacle::Renamed | Obstacle::PositionLost,
            ) if self.or_later.is_none() => explained.with_hint(NEEDS_OPLOG),
            _ => explained,
        }
    }
}

fn batch_documents(document_bytes: u64, batch_bytes: u64) -> u32 {
    // Without an average, a thousand documents are a batch that hardly ever reaches the server's 16 MiB.
    const UNKNOWN: u32 = 1000;
    match batch_bytes.checked_div(document_bytes) {
        None => UNKNOWN,
        Some(documents) => u32::try_from(documents).unwrap_or(UNKNOWN).max(1),
    }
}

fn resume_token(batch: &RawBatch) -> Option<RawDocumentBuf> {
    let cursor = batch.as_raw_document().get_document("cursor").ok()?;
    cursor.get_document("postBatchResumeToken").ok().map(RawDocument::to_owned)
}

/// Returns a resume token's place in the natural order; clustered collections have none that is a number.
fn record(token: &RawDocument) -> Option<i64> {
    token.get_i64("$recordId").ok()
}
