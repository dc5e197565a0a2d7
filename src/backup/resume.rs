//! Going on with a backup that another run has begun and not finished.
//!
//! It keeps its id and its moment. Nothing of it is believed that cannot be shown: its checkpoints are signed, it is of the same
//! namespaces as they are listed now, the node still shows its moment, and its packs are read again before the manifest is
//! written. In doubt a backup begins anew, and says why.

use std::collections::btree_map::Entry;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::BackupContext;
use super::checkpoint::{self, Held, Resumed, STANDS_STILL, digest_of};
use super::plan::BackupPlan;
use crate::codec::{Opener, Recipients, sha256};
use crate::error::{Error, Kind, Result};
use crate::format::catalog::SourceRecord;
use crate::format::checkpoint::{Checkpoint, Contents, StoredPart, Undertaking, binary};
use crate::format::lease::Lease;
use crate::format::manifest::{Encryption, PackRecord};
use crate::format::{BackupId, ClusterTime, Subject};
use crate::mongo::parts::Part;
use crate::mongo::{Deployment, Namespace, oplog, read};
use crate::repository::HeldLease;

/// How many unfinished backups are looked at: whatever is older has no moment that a server still shows.
const LOOKED_AT: usize = 3;

/// What of an unfinished backup is there already.
pub struct Resumption {
    pub(super) lease: Held,
    pub(super) packs: Vec<PackRecord>,
    pub(super) resumed: Resumed,
    /// The moment that it shows.
    pub at: ClusterTime,
    /// The bytes of the documents that are stored.
    pub bytes: u64,
}

/// Which backups an unfinished one may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayResume {
    /// Any.
    Always,
    /// One that is taken out of turn: it is to show what is there now, unless any is better than none.
    WhereThereIsNone,
}

/// Why an unfinished backup is not resumed.
#[derive(Debug)]
pub struct WhyAnew(String);

impl fmt::Display for WhyAnew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl WhyAnew {
    /// Returns what is said of a backup that was resumed in vain.
    pub(super) fn in_vain(id: &BackupId, error: &Error) -> Self {
        Self(format!("{id} is not resumed: {error}"))
    }
}

/// What keeps a backup from being resumed.
enum Obstacle {
    /// Others may be able to, or this run later.
    Now(Error),
    /// Nobody will ever be able to.
    ForGood(Error),
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Self::Now(error)
    }
}

/// Turns the plan of a full backup into that of the unfinished one that it can go on with. Otherwise it stays what it is, and
/// tells why where there is an unfinished one behind which none was taken. What nobody can resume any more is removed.
pub async fn resume(
    plan: BackupPlan,
    may_resume: MayResume,
    deployment: &Deployment,
    context: &BackupContext,
) -> (BackupPlan, Option<Resumption>, Option<WhyAnew>) {
    let Some(now) = plan.undertaking(context) else { return (plan, None, None) };
    let (unfinished, newest) = match context.repository.unfinished().await {
        Ok(found) => found,
        Err(error) => return (plan, None, Some(WhyAnew(format!("what is unfinished is not known: {error}")))),
    };
    if may_resume == MayResume::WhereThereIsNone && newest.is_some() {
        return (plan, None, None);
    }
    let mut why = None;
    for id in unfinished.iter().filter(|id| id.kind() == plan.id.kind()).take(LOOKED_AT) {
        let error = match Box::pin(find(id, &plan, &now, deployment, context)).await {
            Ok((plan, resumption)) => return (plan, Some(resumption), None),
            Err(Obstacle::Now(error)) => error,
            Err(Obstacle::ForGood(error)) => {
                discard(id, context).await;
                error
            }
        };
        if newest.as_ref().is_none_or(|newest| id.second() >= newest.second()) {
            why = why.or_else(|| Some(WhyAnew::in_vain(id, &error)));
        } else {
            tracing::debug!(%id, %error, "not resumed");
        }
    }
    (plan, None, why)
}

/// Removes what unfinished backups of a kind have left, once a later one is there: nobody resumes them any more.
pub(super) async fn discard_before(newest: &BackupId, context: &BackupContext) {
    let Ok((unfinished, _)) = context.repository.unfinished().await else { return };
    for id in unfinished.iter().filter(|id| id.kind() == newest.kind() && id.second() <= newest.second()) {
        discard(id, context).await;
    }
}

/// Removes what an unfinished backup has left, where it is certain that nobody takes it any more. What stays,
/// expiry removes a day later.
async fn discard(id: &BackupId, context: &BackupContext) {
    let discarded = async {
        let Some(lease) = context.repository.backup_lease(id).await?.filter(Lease::is_over) else { return Ok(()) };
        let (applicant, with) = (checkpoint::applicant(context), (&context.clock, &context.random));
        let held = context.repository.acquire_remains(id, &lease, &applicant, &context.signing_key, with).await?;
        if held.is_none() {
            return Ok(());
        }
        tracing::info!(%id, "removing what an unfinished backup has left: nobody can resume it any more");
        context.repository.remove_backup(id).await.map_err(Error::from)
    };
    if let Err(error) = discarded.await {
        tracing::info!(%id, %error, "what an unfinished backup has left stays until it expires");
    }
}

impl BackupPlan {
    /// Returns what a run must be about to take that goes on with this backup; none where nobody could: where nothing shows a
    /// moment, or nobody could tell that it is the same history, and of increments, for which the oplog would be read anew.
    pub(super) fn undertaking(&self, context: &BackupContext) -> Option<Undertaking> {
        let (at, replay_from, replica_set_id) = (self.at?, self.replay_from?, self.replica_set_id.clone()?);
        if self.increment.is_some() {
            return None;
        }
        Some(Undertaking {
            source: self.source.clone(),
            replica_set_id,
            started_at: self.started_at,
            cluster_time: at.into(),
            replay_from: replay_from.into(),
            patterns: self.patterns.iter().map(ToString::to_string).collect(),
            recipients: context.recipients.as_ref().map(Recipients::to_strings).unwrap_or_default(),
            level: context.settings.level.number(),
            listing: binary(&listing(self.namespaces.iter().map(|planned| &planned.namespace))),
        })
    }
}

async fn find(
    id: &BackupId,
    plan: &BackupPlan,
    now: &Undertaking,
    deployment: &Deployment,
    context: &BackupContext,
) -> Result<(BackupPlan, Resumption), Obstacle> {
    // Nobody is kept from it before it is known that it fits.
    let begun = undertaking(&context.repository.first_checkpoint(id).await?, context)?;
    check_same(&begun, now)?;
    let plan = plan_of(id, &begun, plan, deployment).await?;
    let lease = Held::new(lease(id, context).await?);
    match stored(id, context).await {
        Ok((packs, resumed)) => {
            let bytes = resumed.stored.values().map(|stored| digest_of(stored).bytes).sum();
            Ok((plan, Resumption { lease, packs, resumed, at: begun.cluster_time, bytes }))
        }
        Err(obstacle) => {
            lease.end().await;
            Err(obstacle)
        }
    }
}

/// Takes the lease of an unfinished backup, once it is certain that nobody else takes it any more: it was given back, its
/// process is gone, or it stands still.
async fn lease(id: &BackupId, context: &BackupContext) -> Result<HeldLease> {
    let seen = context.repository.backup_lease(id).await?;
    if let Some(lease) = seen.as_ref().filter(|lease| !lease.is_over()) {
        tracing::info!(%id, holder = lease.description, "waiting to see whether somebody still takes this backup");
        tokio::time::sleep(STANDS_STILL).await;
    }
    checkpoint::lease(context, id, seen.as_ref()).await
}

fn undertaking(first: &Checkpoint, context: &BackupContext) -> Result<Undertaking> {
    let contents = open(first, context).map_err(|error| match error.kind() {
        Kind::Configuration => Error::failed("it was noted with another signing key, or with other encryption"),
        _ => error.context("its checkpoints cannot be opened"),
    })?;
    contents.undertaking.ok_or_else(|| Error::damaged("its first checkpoint does not say what it is of"))
}

/// Opens what a checkpoint says of its pack.
///
/// # Errors
/// [`Kind::Configuration`](crate::error::Kind::Configuration) when another signing key has noted it, [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none.
fn open(checkpoint: &Checkpoint, context: &BackupContext) -> Result<Contents> {
    let sealed = BASE64.decode(&checkpoint.sealed);
    let sealed = sealed.map_err(|error| Error::damaged("a checkpoint is no base64").caused_by(error))?;
    let (_, identities) = context.signing_key.checkpoint_keys();
    let encryption = if context.recipients.is_some() { Encryption::Age } else { Encryption::None };
    let opener = Opener::new(encryption, Some(identities), &[])?;
    let subject = Subject::Checkpoint { backup: checkpoint.id.clone(), number: checkpoint.number };
    // Its hash was signed with everything else.
    let (documents, _) = opener.open(&subject, &sealed, &sha256(&sealed))?;
    Contents::decode(&documents)
}

/// Makes sure that the same is about to be taken.
fn check_same(begun: &Undertaking, now: &Undertaking) -> Result<()> {
    let source = |one: &Undertaking| {
        let source = &one.source;
        let version = (source.server_version.clone(), source.feature_compatibility_version.clone());
        (source.name.clone(), source.replica_set.clone(), version, one.replica_set_id.clone())
    };
    let differs = if source(begun) != source(now) {
        "it is of another source, or of another version of it"
    } else if begun.patterns != now.patterns {
        "it is of other namespaces"
    } else if begun.recipients != now.recipients {
        "it is encrypted to others"
    } else if begun.level != now.level {
        "it is compressed at another level"
    } else if begun.listing != now.listing {
        "collections, options or indexes have changed since"
    } else {
        return Ok(());
    };
    Err(Error::failed(differs))
}

/// Returns the plan of the unfinished backup, where the node that it was read from still shows its moment.
async fn plan_of(
    id: &BackupId,
    begun: &Undertaking,
    plan: &BackupPlan,
    deployment: &Deployment,
) -> Result<BackupPlan, Obstacle> {
    let host = &begun.source.host;
    let node = match &plan.node {
        same if same.address == *host => Some(same.clone()),
        _ => deployment.any_member_at(host).await,
    };
    let node = node.ok_or_else(|| Error::failed(format!("it was read from {host}, which is not read now")))?;
    let at = begun.cluster_time.into();
    // Without it, the source was put back to an earlier state and shows another history.
    if !oplog::has_entry(&node, at).await? {
        return Err(Obstacle::ForGood(Error::failed("the source's oplog does not hold its moment any more")));
    }
    let is_plain = |namespace: &&Namespace| namespace.has_documents() && !namespace.is_ordered();
    let namespaces = plan.namespaces.iter().map(|planned| &planned.namespace);
    if let Some(Namespace { db, name, .. }) = namespaces.clone().find(is_plain)
        && !read::shows(&node, db, name, at).await?
    {
        return Err(Obstacle::ForGood(Error::failed("the server does not show its moment any more")));
    }
    let source = SourceRecord { host: host.clone(), ..plan.source.clone() };
    Ok(BackupPlan {
        id: id.clone(),
        started_at: begun.started_at,
        node,
        at: Some(at),
        replay_from: Some(begun.replay_from.into()),
        source,
        ..plan.clone()
    })
}

/// Returns what is stored, as the holder of the lease finds it.
async fn stored(id: &BackupId, context: &BackupContext) -> Result<(Vec<PackRecord>, Resumed), Obstacle> {
    let (checkpoints, besides) = context.repository.checkpoints(id).await.map_err(|error| match error.kind() {
        Kind::Damaged => Obstacle::ForGood(error),
        _ => Obstacle::Now(error),
    })?;
    // Removing it could hit a run that is only slow: its objects stay as they are, whatever they are.
    if let Some(entry) = besides.first() {
        let error = Error::failed(format!("it left {}, which it had not noted yet", entry.key));
        return Err(Obstacle::ForGood(error));
    }
    let mut resumed = Resumed::default();
    let mut packs = Vec::new();
    for checkpoint in checkpoints {
        let contents = open(&checkpoint, context)?;
        for parts in contents.parts {
            let read: Option<Vec<Part>> = parts.parts.iter().map(|part| Part::parse(part)).collect();
            resumed.parts.insert(index(parts.collection)?, read.ok_or_else(|| malformed("a part"))?);
        }
        for stored in contents.stored {
            add(&mut resumed, stored)?;
        }
        resumed.last = checkpoint.pack.segments.iter().map(|segment| segment.n).max().unwrap_or(resumed.last);
        packs.push(checkpoint.pack);
    }
    Ok((packs, resumed))
}

/// Adds what a pack holds of a part to what those before it do.
fn add(resumed: &mut Resumed, stored: StoredPart) -> Result<()> {
    let key = (index(stored.collection)?, index(stored.part)?);
    let so_far = resumed.stored.get(&key).map_or(0, |before| before.segments.len());
    if index(stored.first)? != so_far {
        return Err(malformed("the order of a part"));
    }
    match resumed.stored.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(stored);
        }
        Entry::Occupied(mut entry) => {
            let before = entry.get_mut();
            let mut digest = digest_of(before);
            digest.merge(&digest_of(&stored));
            before.digest = binary(&digest.to_bytes());
            before.segments.extend(stored.segments);
            before.end = stored.end;
        }
    }
    Ok(())
}

fn index(number: i32) -> Result<usize> {
    usize::try_from(number).map_err(|_| malformed("a number"))
}

fn malformed(what: &str) -> Error {
    Error::damaged(format!("its checkpoints do not tell {what}"))
}

/// Returns the SHA-256 of namespaces as they are listed.
fn listing<'a>(namespaces: impl Iterator<Item = &'a Namespace>) -> [u8; 32] {
    let mut all = Vec::new();
    for Namespace { db, name, kind, uuid, options, indexes } in namespaces {
        let uuid = uuid.map(hex::encode).unwrap_or_default();
        let named =
            bson::rawdoc! { "db": db.as_str(), "name": name.as_str(), "kind": format!("{kind:?}"), "uuid": uuid };
        let number = bson::rawdoc! { "indexes": i64::try_from(indexes.len()).unwrap_or(i64::MAX) };
        for document in [&named, options, &number].into_iter().chain(indexes) {
            all.extend_from_slice(document.as_bytes());
        }
    }
    sha256(&all)
}
