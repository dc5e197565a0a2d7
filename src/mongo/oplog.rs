//! Reading the oplog: whose history it is, how far back it goes, and its entries as they are committed.

use std::time::Duration;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use mongodb::Database;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};

use super::answer;
use super::client::{Deployment, LOOK, Node};
use super::error::{Attempt, CAPPED_POSITION_LOST, CAPTURE_ROLES, code, explain};
use super::namespaces::all;
use crate::error::{Error, Result};

/// What reading the oplog is called in errors.
const READING: Attempt<'static> =
    Attempt { doing: "read the oplog (local.oplog.rs)", action: "find", roles: CAPTURE_ROLES };

/// How long the server holds an answer back until there is something new.
const AWAIT: Duration = Duration::from_millis(500);

/// What tells one history of writes from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceHistory {
    /// The replica set's name.
    pub replica_set: String,
    /// `settings.replicaSetId` of its configuration, in hex.
    pub replica_set_id: String,
    /// The feature compatibility version; none while it is being changed.
    pub feature_compatibility_version: Option<String>,
}

/// Returns whose history a node's oplog is.
///
/// # Errors
/// When the node does not answer, a privilege is missing, or it belongs to no replica set.
pub async fn history(deployment: &Deployment, node: &Node) -> Result<SourceHistory> {
    let replica_set = deployment.hello.replica_set.clone().ok_or_else(|| {
        Error::configuration(
            "this is a standalone server: it has no oplog, and without one there is no restore to a point in time",
        )
        .with_hint("start mongod with --replSet rs0 and run rs.initiate() once: a set of one node is enough")
    })?;
    let replica_set_id = replica_set_id(node).await?;
    let feature_compatibility_version = feature_compatibility_version(node).await?;
    Ok(SourceHistory { replica_set, replica_set_id, feature_compatibility_version })
}

/// Returns `settings.replicaSetId` of the replica set's configuration, in hex.
///
/// # Errors
/// When the node does not answer, a privilege is missing
/// ([`Kind::Configuration`](crate::error::Kind::Configuration)), or the set is not initiated.
pub async fn replica_set_id(node: &Node) -> Result<String> {
    let attempt = Attempt {
        doing: "read the replica set's configuration (local.system.replset)",
        action: "find",
        roles: CAPTURE_ROLES,
    };
    let command = rawdoc! { "find": "system.replset", "limit": 1 };
    let found = first(&node.database("local"), command, attempt).await?;
    let id = found.as_ref().and_then(|found| found.get_document("settings").ok()?.get_object_id("replicaSetId").ok());
    id.map(bson::oid::ObjectId::to_hex).ok_or_else(|| {
        Error::failed("the replica set's configuration names no settings.replicaSetId")
            .with_hint("wait until the set is initiated")
    })
}

/// Returns the feature compatibility version; none while it is being changed.
async fn feature_compatibility_version(node: &Node) -> Result<Option<String>> {
    let attempt = Attempt { doing: "read the feature compatibility version", action: "getParameter", ..LOOK };
    let command = bson::doc! { "getParameter": 1, "featureCompatibilityVersion": 1 };
    let reply =
        answer::soon(node.database("admin").run_command(command)).await.map_err(|error| explain(&error, attempt))?;
    let found = reply
        .get_document("featureCompatibilityVersion")
        .map_err(|error| Error::failed(format!("cannot {}", attempt.doing)).caused_by(error))?;
    if found.contains_key("targetVersion") {
        return Ok(None);
    }
    Ok(found.get_str("version").ok().map(str::to_owned))
}

/// The first and the last entry that a node's oplog has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OplogWindow {
    /// The oldest entry.
    pub first: Timestamp,
    /// The newest one, committed or not.
    pub last: Timestamp,
}

/// Returns how far back a node's oplog goes.
///
/// # Errors
/// When the node does not answer, a privilege is missing, or there is no oplog.
pub async fn window(node: &Node) -> Result<OplogWindow> {
    let end = |direction: i32| {
        let command = rawdoc! {
            "find": "oplog.rs", "sort": { "$natural": direction }, "limit": 1, "projection": { "ts": 1 },
        };
        async move { first(&node.database("local"), command, READING).await?.as_deref().map(timestamp).transpose() }
    };
    match (end(1).await?, end(-1).await?) {
        (Some(first), Some(last)) => Ok(OplogWindow { first, last }),
        _ => Err(Error::failed("the oplog is empty").with_hint("wait until the replica set is initiated")),
    }
}

/// Whether a node's oplog still has the entry of this time.
///
/// # Errors
/// When the node does not answer or a privilege is missing.
pub async fn has_entry(node: &Node, at: Timestamp) -> Result<bool> {
    let command = rawdoc! { "find": "oplog.rs", "filter": { "ts": at }, "limit": 1, "projection": { "ts": 1 } };
    Ok(first(&node.database("local"), command, READING).await?.is_some())
}

/// Returns the time of the last entry before `at`, if the oplog has one.
///
/// # Errors
/// When the node does not answer or a privilege is missing.
pub async fn entry_before(node: &Node, at: Timestamp) -> Result<Option<Timestamp>> {
    let command = rawdoc! {
        "find": "oplog.rs", "filter": { "ts": { "$lt": at } }, "sort": { "$natural": -1 }, "limit": 1, "projection": { "ts": 1 },
    };
    first(&node.database("local"), command, READING).await?.as_deref().map(timestamp).transpose()
}

/// Returns a moment from which on the oplog holds the whole of every transaction that commits later: the present, or
/// the entry before the first one of the oldest transaction that is open.
///
/// None for a standalone server.
///
/// # Errors
/// When the node does not answer or a privilege is missing.
pub async fn replay_begin(deployment: &Deployment, node: &Node) -> Result<Option<Timestamp>> {
    let attempt = Attempt { doing: "read config.transactions", action: "find", ..LOOK };
    let Some(now) = deployment.committed_time().await? else { return Ok(None) };
    // The server reads this collection at no other time than now. So now comes first: what began later lies behind it.
    node.wait_for(now).await?;
    let command = rawdoc! {
        "find": "transactions",
        "filter": { "state": { "$in": ["prepared", "inProgress"] } },
        "projection": { "startOpTime": 1 },
    };
    let open = all(&node.database("config"), command, attempt).await?;
    let begun = open.iter().filter_map(|found| found.get_document("startOpTime").ok()?.get_timestamp("ts").ok()).min();
    match begun {
        Some(begun) if begun <= now => Ok(Some(entry_before(node, begun).await?.unwrap_or(begun))),
        _ => Ok(Some(now)),
    }
}

async fn first(database: &Database, command: RawDocumentBuf, attempt: Attempt<'_>) -> Result<Option<RawDocumentBuf>> {
    Ok(all(database, command, attempt).await?.into_iter().next())
}

/// Returns an entry's time.
///
/// # Errors
/// When it has none.
pub fn timestamp(entry: &RawDocument) -> Result<Timestamp> {
    entry.get_timestamp("ts").map_err(|error| Error::failed("an oplog entry has no time").caused_by(error))
}

/// Whether an entry changes the feature compatibility version.
#[must_use]
pub fn changes_compatibility(entry: &RawDocument) -> bool {
    const ID: &str = "featureCompatibilityVersion";
    let of = |key: &str| entry.get_document(key).ok().and_then(|found| found.get_str("_id").ok()) == Some(ID);
    entry.get_str("ns").is_ok_and(|namespace| namespace == "admin.system.version") && (of("o") || of("o2"))
}

/// What became of waiting for entries.
pub enum Tailed {
    /// The server answered, perhaps with nothing new.
    Batch(EntryBatch),
    /// The entry to go on from is no longer in the oplog: entries are lost.
    RolledOver,
}

/// Entries as the server sent them.
pub struct EntryBatch {
    batch: RawBatch,
    /// Whether its first entry is the one to go on from, which is known already.
    begins_with_known: bool,
}

impl EntryBatch {
    /// Calls `take` with each entry and its time.
    ///
    /// # Errors
    /// When the server sent something else.
    pub fn for_each(&self, mut take: impl FnMut(&RawDocument, Timestamp)) -> Result<()> {
        let entries = self.batch.doc_slices().map_err(|error| explain(&error, READING))?;
        for entry in entries.into_iter().skip(usize::from(self.begins_with_known)) {
            let entry = entry.map_err(|error| Error::failed("cannot read an oplog entry").caused_by(error))?;
            let RawBsonRef::Document(entry) = entry else { continue };
            take(entry, timestamp(entry)?);
        }
        Ok(())
    }

    /// Returns how many bytes the server sent.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batch.as_raw_document().as_bytes().len()
    }

    fn first(&self) -> Option<Timestamp> {
        let first = self.batch.doc_slices().ok()?.into_iter().next()?.ok()?;
        timestamp(first.as_document()?).ok()
    }
}

/// A tail of one node's oplog: majority-committed entries, in order, without an end.
pub struct Tail {
    cursor: RawBatchCursor,
    /// The entry to go on from, until it has been seen.
    boundary: Option<Timestamp>,
}

impl Tail {
    /// Opens a tail behind the entry `after`, which the cursor reads first: so what follows is proved to be what
    /// follows, even where the capped oplog loses its beginning at that moment.
    ///
    /// # Errors
    /// When the node went away ([`Error::is_transient`]), a privilege is missing or the server refuses.
    pub async fn open(node: &Node, after: Timestamp) -> Result<Self> {
        let command = rawdoc! {
            "find": "oplog.rs",
            "filter": { "ts": { "$gte": after } },
            "tailable": true,
            "awaitData": true,
            "noCursorTimeout": true,
            "readConcern": { "level": "majority" },
        };
        let local = node.database("local");
        let mut command = local.run_raw_cursor_command(command).max_time(AWAIT);
        if let Some(criteria) = local.selection_criteria().cloned() {
            command = command.selection_criteria(criteria);
        }
        let cursor = answer::soon(command.batch()).await.map_err(|error| explain(&error, READING))?;
        Ok(Self { cursor, boundary: Some(after) })
    }

    /// Waits for more, up to half a second.
    ///
    /// # Errors
    /// When the node or the cursor went away ([`Error::is_transient`]) or the server refuses to go on.
    pub async fn next(&mut self) -> Result<Tailed> {
        let batch = match answer::next(&mut self.cursor).await {
            Ok(Some(batch)) => batch,
            Err(error) if code(&error) == Some(CAPPED_POSITION_LOST) => return Ok(Tailed::RolledOver),
            Err(error) => return Err(explain(&error, READING)),
            Ok(None) => return Err(Error::failed("the oplog's cursor was closed").transient()),
        };
        let mut batch = EntryBatch { batch, begins_with_known: false };
        if let (Some(boundary), Some(first)) = (self.boundary, batch.first()) {
            if first != boundary {
                return Ok(Tailed::RolledOver);
            }
            batch.begins_with_known = true;
            self.boundary = None;
        }
        Ok(Tailed::Batch(batch))
    }
}
