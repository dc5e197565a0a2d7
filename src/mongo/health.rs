//! How a deployment fares: its members, clocks and oplog, as far as backups depend on them.

use std::time::Duration;

use bson::{Bson, Document, Timestamp, doc};
use jiff::Timestamp as WallTime;

use super::answer;
use super::client::{Deployment, LOOK, Node};
use super::error::{Attempt, CAPTURE_ROLES, explain};
use crate::clock::Clock;
use crate::error::{Error, Result};

/// One member of a replica set, as the member that was asked sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its address.
    pub address: String,
    /// What it is: `PRIMARY`, `SECONDARY`, `ARBITER`, or what keeps it from being one of these.
    pub state: String,
    /// By how much it is behind the primary; none where that is not known, and for arbiters.
    pub lag: Option<Duration>,
}

/// Returns the members of the replica set.
///
/// # Errors
/// When nobody answers or a privilege is missing.
pub async fn members(deployment: &Deployment) -> Result<Vec<Member>> {
    let attempt = Attempt { doing: "ask how the replica set fares", action: "replSetGetStatus", roles: CAPTURE_ROLES };
    let reply = answer::soon(deployment.client().database("admin").run_command(doc! { "replSetGetStatus": 1 })).await;
    let reply = reply.map_err(|error| explain(&error, attempt))?;
    let found: Vec<&Document> =
        reply.get_array("members").into_iter().flatten().filter_map(Bson::as_document).collect();
    let is_primary = |member: &&&Document| member.get_str("stateStr").is_ok_and(|state| state == "PRIMARY");
    let newest = found.iter().find(is_primary).and_then(|primary| applied(primary));
    Ok(found.iter().map(|member| parse(member, newest)).collect())
}

fn parse(member: &Document, newest: Option<u32>) -> Member {
    let text = |key| member.get_str(key).unwrap_or("unknown").to_owned();
    let state = text("stateStr");
    let behind = newest.zip(applied(member)).map(|(newest, applied)| newest.saturating_sub(applied));
    let lag = behind.filter(|_| state == "SECONDARY").map(|seconds| Duration::from_secs(seconds.into()));
    Member { address: text("name"), state, lag }
}

fn applied(member: &Document) -> Option<u32> {
    Some(member.get_document("optime").ok()?.get_timestamp("ts").ok()?.time)
}

/// By how much a server's clock is ahead of this machine's, in milliseconds, and how inexact that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// Positive where the server's clock is ahead.
    pub milliseconds: i64,
    /// Half the time that the question took.
    pub inexact: i64,
}

/// Compares a node's clock with `clock`.
///
/// # Errors
/// When it does not answer.
pub async fn skew(node: &Node, clock: &Clock) -> Result<Skew> {
    let attempt = Attempt { doing: "ask for the time", ..LOOK };
    let admin = node.database("admin");
    // The first question opens the connection, which takes its time.
    for _ in 0..2 {
        answer::soon(admin.run_command(doc! { "hello": 1 })).await.map_err(|error| explain(&error, attempt))?;
    }
    let before = clock.now();
    let reply = answer::soon(admin.run_command(doc! { "hello": 1 })).await.map_err(|error| explain(&error, attempt))?;
    let after = clock.now();
    let time = reply.get_datetime("localTime");
    let time = time.map_err(|error| Error::failed("the server does not say what time it is").caused_by(error))?;
    let milliseconds = |moment: WallTime| moment.as_millisecond();
    let inexact = (milliseconds(after) - milliseconds(before)) / 2;
    Ok(Skew { milliseconds: time.timestamp_millis() - (milliseconds(before) + inexact), inexact })
}

/// How large an oplog is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OplogSize {
    /// What it holds.
    pub used: u64,
    /// What it may hold before it loses its beginning.
    pub limit: u64,
}

/// Returns how large a node's oplog is.
///
/// # Errors
/// When it does not answer or a privilege is missing.
pub async fn oplog_size(node: &Node) -> Result<OplogSize> {
    let attempt = Attempt { doing: "ask how large the oplog is", action: "collStats", roles: CAPTURE_ROLES };
    let command =
        doc! { "aggregate": "oplog.rs", "pipeline": [{ "$collStats": { "storageStats": {} } }], "cursor": {} };
    let reply =
        answer::soon(node.database("local").run_command(command)).await.map_err(|error| explain(&error, attempt))?;
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let first = batch.ok().and_then(|batch| batch.first()?.as_document()?.get_document("storageStats").ok());
    let sizes =
        first.and_then(|stats| Some(OplogSize { used: bytes(stats, "size")?, limit: bytes(stats, "maxSize")? }));
    sizes.ok_or_else(|| Error::failed("the server does not say how large its oplog is"))
}

/// Returns how much room a node's disk has, and how much is left of it, in bytes; none where it does not say.
///
/// # Errors
/// When it does not answer or a privilege is missing.
pub async fn free_space(deployment: &Deployment, roles: &str) -> Result<Option<(u64, u64)>> {
    let attempt = Attempt { doing: "ask how much room the server has", action: "dbStats", roles };
    let stats = answer::soon(deployment.client().database("admin").run_command(doc! { "dbStats": 1 })).await;
    let stats = stats.map_err(|error| explain(&error, attempt))?;
    let sizes = bytes(&stats, "fsTotalSize").zip(bytes(&stats, "fsUsedSize"));
    Ok(sizes.map(|(total, used)| (total, total.saturating_sub(used))))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Sizes, which servers tell as any kind of number.
fn bytes(stats: &Document, key: &str) -> Option<u64> {
    match stats.get(key)? {
        Bson::Int32(value) => u64::try_from(*value).ok(),
        Bson::Int64(value) => u64::try_from(*value).ok(),
        Bson::Double(value) => Some(*value as u64),
        _ => None,
    }
}

/// Returns for how long a node keeps what reads of an earlier moment need (`minSnapshotHistoryWindowInSeconds`).
///
/// # Errors
/// When it does not answer or a privilege is missing.
pub async fn snapshot_window(node: &Node) -> Result<Duration> {
    const NAME: &str = "minSnapshotHistoryWindowInSeconds";
    let doing = format!("read the server parameter {NAME}");
    let attempt = Attempt { doing: &doing, action: "getParameter", ..LOOK };
    let reply = answer::soon(node.database("admin").run_command(doc! { "getParameter": 1, NAME: 1 })).await;
    let reply = reply.map_err(|error| explain(&error, attempt))?;
    let seconds = bytes(&reply, NAME);
    seconds.map(Duration::from_secs).ok_or_else(|| Error::failed(format!("cannot {doing}: the server does not say it")))
}

/// Writes an entry into the oplog that changes nothing; returns a moment at or behind it.
///
/// # Errors
/// When nobody answers or a privilege is missing.
pub async fn note(deployment: &Deployment, data: Document) -> Result<Timestamp> {
    let attempt = Attempt { doing: "write a note into the oplog", action: "appendOplogNote", roles: CAPTURE_ROLES };
    let command = doc! { "appendOplogNote": 1, "data": data, "writeConcern": { "w": "majority" } };
    let reply = answer::soon(deployment.client().database("admin").run_command(command)).await;
    let reply = reply.map_err(|error| explain(&error, attempt))?;
    reply
        .get_timestamp("operationTime")
        .map_err(|error| Error::failed("the server does not say when it wrote the note").caused_by(error))
}
