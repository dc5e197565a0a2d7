//! What a deployment holds: databases, collections with their options, indexes.

use std::time::Duration;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::Database;
use tokio::time::Instant;

use super::answer;
use super::client::{LOOK, Node};
use super::error::{Attempt, BACKUP_ROLES, explain};
use crate::error::{Error, Result};
use crate::namespace::{self, BUCKETS_PREFIX};

/// How many listings are under way at once: they are small, and the time is all latency.
const PARALLEL_LISTINGS: usize = 8;

/// The wait before a listing is asked for again; doubled each time.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// How long a replica set may take to have a primary again: `electionTimeoutMillis` is 10 s, unless somebody has set it.
const ELECTION: Duration = Duration::from_secs(15);

/// What a namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceKind {
    /// Documents.
    Collection,
    /// A stored aggregation.
    View,
    /// A time series; its data lies in its buckets.
    Timeseries,
    /// The buckets of a time series.
    Buckets,
}

/// One entry of a database's listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Namespace {
    /// The database.
    pub db: String,
    /// The collection's name.
    pub name: String,
    /// What it is.
    pub kind: NamespaceKind,
    /// The collection's UUID; none for views and time series.
    pub uuid: Option<[u8; 16]>,
    /// The options, byte for byte as listed.
    pub options: RawDocumentBuf,
    /// The indexes, byte for byte as listed.
    pub indexes: Vec<RawDocumentBuf>,
}

impl Namespace {
    /// Returns `db.name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.db, self.name)
    }

    /// Whether it holds documents of its own.
    #[must_use]
    pub fn has_documents(&self) -> bool {
        matches!(self.kind, NamespaceKind::Collection | NamespaceKind::Buckets)
    }

    /// Whether the order of its documents is part of its content.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        matches!(self.options.get("capped"), Ok(Some(RawBsonRef::Boolean(true))))
    }
}

/// Returns the namespaces of every database but the server's own, sorted by name, with their indexes.
///
/// With `complete`, a user who may not see every database is refused rather than shown a part.
///
/// # Errors
/// When the node does not answer or a privilege is missing.
pub async fn list(node: &Node, complete: bool) -> Result<Vec<Namespace>> {
    let mut namespaces = Vec::new();
    for db in databases(node, complete).await? {
        namespaces.extend(collections(&node.database(&db)).await?);
    }
    let with_indexes = stream::iter(namespaces).map(|namespace| async move {
        let indexes = if matches!(namespace.kind, NamespaceKind::View | NamespaceKind::Buckets) {
            Vec::new()
        } else {
            indexes(&node.database(&namespace.db), &namespace.name).await?
        };
        Ok::<_, Error>(Namespace { indexes, ..namespace })
    });
    let mut namespaces: Vec<_> = with_indexes.buffered(PARALLEL_LISTINGS).try_collect().await?;
    namespaces.sort_by(|a, b| (&a.db, &a.name).cmp(&(&b.db, &b.name)));
    Ok(namespaces)
}

/// Returns the names of all databases but the server's own.
pub(super) async fn databases(node: &Node, complete: bool) -> Result<Vec<String>> {
    let attempt = Attempt { doing: "list the databases", action: "listDatabases", ..LOOK };
    let admin = node.database("admin");
    let mut command = rawdoc! { "listDatabases": 1, "nameOnly": true };
    if complete {
        // Unless asked like this, the server leaves out what the user may not see, and says nothing.
        command.append(bson::cstr!("authorizedDatabases"), false);
    }
    let command = admin.run_raw_command(command);
    let reply = answer::soon(command).await.map_err(|error| explain(&error, attempt))?;
    let databases =
        reply.get_array("databases").map_err(|error| Error::failed("cannot list the databases").caused_by(error))?;
    let names = databases.iter().filter_map(|database| database.as_document()?.get_str("name").ok());
    Ok(names.filter(|name| !namespace::is_never_backed_up(name)).map(str::to_owned).collect())
}

/// Returns the collections of one database, without their indexes.
///
/// # Errors
/// When the server does not answer or a privilege is missing.
pub async fn collections(database: &Database) -> Result<Vec<Namespace>> {
    collections_for(database, BACKUP_ROLES).await
}

/// As [`collections`], for a purpose that the built-in `roles` grant.
///
/// # Errors
/// When the server does not answer or a privilege is missing.
pub async fn collections_for(database: &Database, roles: &str) -> Result<Vec<Namespace>> {
    let doing = format!("list the collections of {}", database.name());
    let attempt = Attempt { doing: &doing, action: "listCollections", roles };
    let entries = all(database, rawdoc! { "listCollections": 1, "cursor": {} }, attempt).await?;
    let parsed = entries.iter().map(|entry| parse(database.name(), entry));
    let parsed = parsed
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::failed(format!("cannot {doing}")).caused_by(error))?;
    Ok(parsed.into_iter().flatten().collect())
}

/// Returns the name that a collection bears now; none when it was dropped.
pub(super) async fn name_of(database: &Database, uuid: [u8; 16]) -> Result<Option<String>> {
    let found = collections(database).await?.into_iter().find(|namespace| namespace.uuid == Some(uuid));
    Ok(found.map(|namespace| namespace.name))
}

/// Returns the indexes of one collection that are built; none when it does not exist any more.
///
/// # Errors
/// When the server does not answer or a privilege is missing.
pub async fn indexes(database: &Database, collection: &str) -> Result<Vec<RawDocumentBuf>> {
    let doing = format!("list the indexes of {}.{collection}", database.name());
    let attempt = Attempt { doing: &doing, action: "listIndexes", ..LOOK };
    // Asked like this, the server tells those that are being built, which may never be.
    let command = rawdoc! { "listIndexes": collection, "cursor": {}, "includeBuildUUIDs": true };
    let mut indexes = all(database, command, attempt).await?;
    indexes.retain(|index| matches!(index.get("buildUUID"), Ok(None)));
    Ok(indexes)
}

/// Runs a listing to its end and returns its entries as they stand. One that fails at once is asked for again for as long as an
/// election takes; the driver does not do that for commands.
pub(super) async fn all(
    database: &Database,
    command: RawDocumentBuf,
    attempt: Attempt<'_>,
) -> Result<Vec<RawDocumentBuf>> {
    let (begun, mut delay) = (Instant::now(), FIRST_DELAY);
    loop {
        match once(database, command.clone(), attempt).await {
            Err(error) if error.is_transient() && begun.elapsed() + delay < ELECTION => {
                tracing::debug!(%error, "asking again");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LONGEST_DELAY);
            }
            outcome => return outcome,
        }
    }
}

async fn once(database: &Database, command: RawDocumentBuf, attempt: Attempt<'_>) -> Result<Vec<RawDocumentBuf>> {
    /// The collection was dropped since it was listed.
    const NAMESPACE_NOT_FOUND: i32 = 26;
    let criteria = database.selection_criteria().cloned();
    let mut command = database.run_raw_cursor_command(command);
    if let Some(criteria) = criteria {
        command = command.selection_criteria(criteria);
    }
    let mut cursor = match answer::soon(command.batch()).await {
        Ok(cursor) => cursor,
        Err(error) if super::error::code(&error) == Some(NAMESPACE_NOT_FOUND) => return Ok(Vec::new()),
        Err(error) => return Err(explain(&error, attempt)),
    };
    let mut entries = Vec::new();
    while let Some(batch) = answer::next(&mut cursor).await.map_err(|error| explain(&error, attempt))? {
        for entry in batch.doc_slices().map_err(|error| explain(&error, attempt))? {
            let entry = entry.map_err(|error| Error::failed(format!("cannot {}", attempt.doing)).caused_by(error))?;
            entries.extend(entry.as_document().map(RawDocument::to_owned));
        }
    }
    Ok(entries)
}

/// Reads one entry of `listCollections`; none for a collection that is not backed up as data.
fn parse(db: &str, entry: &RawDocument) -> Result<Option<Namespace>, Box<dyn std::error::Error + Send + Sync>> {
    let name = entry.get_str("name")?;
    if !namespace::holds_data(name) {
        return Ok(None);
    }
    let kind = match entry.get_str("type")? {
        "view" => NamespaceKind::View,
        "timeseries" => NamespaceKind::Timeseries,
        _ if name.starts_with(BUCKETS_PREFIX) => NamespaceKind::Buckets,
        _ => NamespaceKind::Collection,
    };
    let uuid = match entry.get_document("info")?.get("uuid")? {
        Some(RawBsonRef::Binary(binary)) => Some(binary.bytes.try_into()?),
        _ => None,
    };
    let options = entry.get_document("options")?.to_owned();
    Ok(Some(Namespace { db: db.into(), name: name.into(), kind, uuid, options, indexes: Vec::new() }))
}
