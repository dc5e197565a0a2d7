//! What a backup will read: settled before the first document is.

use std::sync::Arc;

use bson::Timestamp;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp as WallTime;

use super::increment::{self, IncrementPlan, Take};
use super::touched::TouchedIds;
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::format::catalog::SourceRecord;
use crate::format::{BackupId, BackupKind};
use crate::mongo::read::AsOf;
use crate::mongo::{Deployment, Namespace, Node, namespaces, oplog, read};
use crate::namespace::visible_name;
use crate::pattern::NamespacePattern;
use crate::random::Random;

/// How often the catalog is listed anew when it keeps changing around the chosen time.
const MAX_LISTINGS: usize = 10;

/// How many collections' statistics are asked for at once.
const PARALLEL_ESTIMATES: usize = 8;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    /// The configured name of the source.
    pub source: String,
    /// The backup's kind.
    pub kind: BackupKind,
    /// The namespaces to take; none means all of them, with users and roles.
    pub patterns: Vec<NamespacePattern>,
}

/// A namespace to take, and about how large it is.
#[derive(Debug, Clone)]
pub struct PlannedNamespace {
    /// What it is.
    pub namespace: Namespace,
    /// About how many documents it has.
    pub documents: u64,
    /// About how many bytes they have.
    pub bytes: u64,
}

impl PlannedNamespace {
    /// Returns about how many bytes one document has.
    #[must_use]
    pub fn document_bytes(&self) -> u64 {
        self.bytes.checked_div(self.documents).unwrap_or(0)
    }
}

/// What is read, from where, and as of when.
#[derive(Debug, Clone)]
pub struct BackupPlan {
    /// The backup's id.
    pub id: BackupId,
    /// When planning began.
    pub started_at: WallTime,
    /// The node that everything is read from.
    pub node: Node,
    /// Whichever node is the primary.
    pub primary: Node,
    /// The cluster time of every document; none on a standalone server.
    pub at: Option<Timestamp>,
    /// From where on the oplog must be read to go on from there; none on a standalone server, and where the user may
    /// not know.
    pub replay_from: Option<Timestamp>,
    /// Whose oplog leads on from there: `settings.replicaSetId` of the replica set's configuration, in hex. None on a
    /// standalone server, and where the user may not know.
    pub replica_set_id: Option<String>,
    /// The namespaces, as they are at that time.
    pub namespaces: Vec<PlannedNamespace>,
    /// The chosen namespaces, taken without users and roles; empty where everything is.
    pub patterns: Vec<NamespacePattern>,
    /// Where it comes from.
    pub source: SourceRecord,
    /// What is taken, where it is an increment.
    pub increment: Option<IncrementPlan>,
}

impl BackupPlan {
    /// Looks at the deployment and settles everything.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when the patterns choose nothing; whatever the
    /// server says.
    pub async fn make(deployment: &Deployment, request: BackupRequest, clock: &Clock, random: &Random) -> Result<Self> {
        let started_at = clock.now();
        let node = deployment.node_to_read().await?;
        let (server_version, feature_compatibility_version) = deployment.versions().await?;
        // Before the cluster time: a transaction that is open then has not begun before this.
        let replay_from = if_allowed(replay_begin(deployment, &node).await)?.flatten();
        let replica_set_id = match replay_from {
            Some(_) => if_allowed(oplog::replica_set_id(&node).await)?,
            None => None,
        };
        let (at, namespaces) = settle(deployment, &node, &request.patterns).await?;
        check_all_match(&namespaces, &request.patterns)?;
        Ok(Self {
            id: BackupId::generate(started_at, request.kind, random),
            started_at,
            namespaces: with_sizes(&node, namespaces).await?,
            primary: deployment.primary(),
            at,
            replay_from,
            replica_set_id,
            patterns: request.patterns,
            increment: None,
            source: SourceRecord {
                name: request.source,
                replica_set: deployment.hello.replica_set.clone(),
                server_version,
                feature_compatibility_version,
                host: node.address.clone(),
            },
            node,
        })
    }

    /// Returns the state that a namespace is read in.
    #[must_use]
    pub fn as_of(&self, namespace: &Namespace) -> AsOf {
        match self.at {
            None => AsOf::Latest,
            Some(at) if namespace.is_ordered() => AsOf::Since(at),
            Some(at) => AsOf::ClusterTime(at),
        }
    }

    /// Whether the backup holds the namespace as it was at the cluster time.
    #[must_use]
    pub fn is_in_snapshot(&self, namespace: &Namespace) -> bool {
        self.at.is_some() && !namespace.is_ordered()
    }

    /// Whether only chosen namespaces are taken, without users and roles.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether a captured oplog can lead on from the backup.
    #[must_use]
    pub fn can_be_led_on(&self) -> bool {
        self.replay_from.is_some() && self.replica_set_id.is_some()
    }

    /// Returns the number that the oplog counts under, behind those of the namespaces.
    #[must_use]
    pub fn oplog_number(&self) -> usize {
        self.namespaces.len()
    }

    /// Returns about how many bytes of documents there are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.namespaces.iter().map(|planned| planned.bytes).sum()
    }

    /// Returns about how many bytes of documents will be read.
    #[must_use]
    pub fn bytes_to_read(&self) -> u64 {
        let Some(increment) = &self.increment else { return self.bytes() };
        increment::cost(&increment.takes, &self.namespaces)
    }

    /// Returns the `_id`s of the documents that alone are taken of a namespace; none where all of it is.
    #[must_use]
    pub fn changes(&self, number: usize) -> Option<&Arc<TouchedIds>> {
        match self.increment.as_ref()?.takes.get(number)? {
            Take::Changes(ids) => Some(ids),
            Take::Whole => None,
        }
    }
}

/// Returns from where on the oplog must be read to go on from the coming backup, if it can be read at all.
async fn replay_begin(deployment: &Deployment, node: &Node) -> Result<Option<Timestamp>> {
    let begin = oplog::replay_begin(deployment, node).await?;
    if begin.is_some() {
        oplog::window(node).await?;
    }
    Ok(begin)
}

/// Passes over that the user lacks the privileges for something that a backup alone does not need.
fn if_allowed<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(error) if error.kind() == Kind::Configuration => Ok(None),
        found => found.map(Some),
    }
}

/// Chooses the cluster time, and returns the namespaces as they are at that time.
///
/// Listings show the present, not a cluster time. So the time is taken between two listings: if both show
/// the same collections, options and indexes, that is what there was at the time between them.
///
/// What nobody asked for may change meanwhile.
async fn settle(
    deployment: &Deployment,
    node: &Node,
    patterns: &[NamespacePattern],
) -> Result<(Option<Timestamp>, Vec<Namespace>)> {
    let mut before = list(node, patterns).await?;
    for _ in 0..MAX_LISTINGS {
        let Some(time) = deployment.committed_time().await? else { return Ok((None, before)) };
        node.wait_for(time).await?;
        let after = list(node, patterns).await?;
        if before == after {
            return Ok((Some(time), after));
        }
        before = after;
    }
    Err(Error::failed("collections or indexes are created or dropped faster than they can be listed")
        .with_hint("run the backup again when that has stopped"))
}

async fn list(node: &Node, patterns: &[NamespacePattern]) -> Result<Vec<Namespace>> {
    let listed = namespaces::list(node, patterns.is_empty()).await?;
    let is_chosen = |one: &Namespace| NamespacePattern::any(patterns, &one.db, visible_name(&one.name));
    Ok(listed.into_iter().filter(is_chosen).collect())
}

/// A misspelt pattern beside a right one would leave a collection out without a word.
fn check_all_match(listed: &[Namespace], patterns: &[NamespacePattern]) -> Result<()> {
    let matches =
        |pattern: &NamespacePattern| listed.iter().any(|one| pattern.matches(&one.db, visible_name(&one.name)));
    if let Some(pattern) = patterns.iter().find(|pattern| !matches(pattern)) {
        return Err(Error::not_found(format!("no namespace matches {pattern}"))
            .with_hint("check the spelling; a pattern is db, db.collection or db.*"));
    }
    Ok(())
}

async fn with_sizes(node: &Node, namespaces: Vec<Namespace>) -> Result<Vec<PlannedNamespace>> {
    let sized = stream::iter(namespaces).map(|namespace| async move {
        let (documents, bytes) = if namespace.has_documents() {
            read::estimate(node, &namespace.db, &namespace.name).await?
        } else {
            (0, 0)
        };
        Ok(PlannedNamespace { namespace, documents, bytes })
    });
    sized.buffered(PARALLEL_ESTIMATES).try_collect().await
}
