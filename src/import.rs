//! A dump of the stock tools becomes a backup: `mongodump`'s folder or archive, compressed or not.
//!
//! What is read is checked as far as a dump lets anybody check it (its structure, the checksums of an archive and of gzip),
//! sealed and stored as a backup is, and committed at the end: after a failure there is no backup. Nobody can tell whether
//! a dump holds everything, so such a backup counts as a part: no moment is promised by it, and it meets no objective.
//! A dump shows no single moment, unless it brings the oplog along that was written meanwhile; that becomes the backup's own.

mod dump;
mod fill;
mod folder;
mod input;
mod listing;
mod oplog;

use std::path::Path;

use jiff::Timestamp;
use tokio::sync::mpsc;

pub use dump::Dump;
use fill::{Filler, Read};

use crate::backup::{self, BackupContext, Checkpoints, Origin, QUEUE};
use crate::codec::Sealer;
use crate::error::{Error, Result};
use crate::format::catalog::{Catalog, CollectionRecord, OplogRecord, SourceRecord};
use crate::format::manifest::{Consistency, ImportRecord, Manifest};
use crate::format::{BackupId, BackupKind};
use crate::random::Random;
use crate::repository::BackupWriter;

/// What the source is called where a dump does not say it.
const UNKNOWN: &str = "unknown";

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// The configured name of the source.
    pub source: String,
    /// The backup's kind.
    pub kind: BackupKind,
}

/// Makes a backup of a dump and returns its manifest. `stop` ends it early, cleanly.
///
/// # Errors
/// [`Kind::Damaged`](crate::error::Kind::Damaged), with the place, when the dump is not what was written;
/// [`Kind::Refused`](crate::error::Kind::Refused) when its oplog cannot be replayed; [`Kind::Interrupted`](crate::error::Kind::Interrupted) when `stop`
/// came first; what the storage says. As after a failed [`backup::execute`], there is no backup then.
pub async fn execute(
    dump: Dump,
    request: ImportRequest,
    context: BackupContext,
    random: &Random,
    stop: impl Future<Output = ()>,
) -> Result<Manifest> {
    let started_at = context.clock.now();
    let id = BackupId::generate(started_at, request.kind, random);
    let mut writer = context.writer(&id, Vec::new());
    tokio::pin!(stop);
    backup::sweep(&context.repository).await;
    let outcome = tokio::select! {
        outcome = write_data(dump, request, (id, started_at), &context, random, &mut writer) => outcome,
        () = &mut stop => Err(backup::interrupted()),
    };
    backup::commit(outcome, writer, Checkpoints::none(), &context, stop).await
}

/// Stores everything but the manifest, and returns that.
async fn write_data(
    mut dump: Dump,
    request: ImportRequest,
    (id, started_at): (BackupId, Timestamp),
    context: &BackupContext,
    random: &Random,
    writer: &mut BackupWriter,
) -> Result<Manifest> {
    let sealer = Sealer::new(context.recipients.clone()).with_level(context.settings.level);
    context.progress.expect(dump.bytes());
    if dump.listing.has_oplog() {
        dump.listing.name_all(random);
    }
    let (records, versions) = (dump.listing.records.clone(), dump.listing.versions.clone());
    let (filled, queue) = mpsc::channel(QUEUE);
    let filler = Filler::new(&dump.listing, filled, context)?;
    let reading = tokio::task::spawn_blocking(move || dump.read(filler));
    let read = async { reading.await.map_err(|error| Error::failed("reading the dump stopped").caused_by(error))? };
    let mut checkpoints = Checkpoints::none();
    let store = backup::store(&id, records.len(), queue, &sealer, writer, &mut checkpoints);
    let (mut tallies, read) = tokio::try_join!(store, read)?;
    let of_oplog = tallies.pop().unwrap_or_default();
    let Read { accounts, oplog, feature_compatibility_version } = read;
    let oplog = oplog.map(|oplog| OplogRecord {
        since: oplog.since,
        patterns: Vec::new(),
        segments: of_oplog.into_oplog(&oplog.ranges),
    });
    let in_snapshot = oplog.is_some();
    let collections = records.into_iter().zip(tallies);
    let collections =
        collections.map(|(record, tally)| CollectionRecord { in_snapshot, ..tally.into_record(record) }).collect();
    let source = SourceRecord {
        name: request.source,
        replica_set: None,
        server_version: versions.server.unwrap_or_else(|| UNKNOWN.into()),
        feature_compatibility_version: feature_compatibility_version.unwrap_or_else(|| UNKNOWN.into()),
        host: UNKNOWN.into(),
    };
    let origin = origin((id, started_at), oplog.as_ref(), versions.tool);
    let catalog = Catalog { source, collections, users: accounts.users, roles: accounts.roles, oplog, parent: None };
    backup::finish(origin, &catalog, context, &sealer, writer).await
}

fn origin((id, started_at): (BackupId, Timestamp), oplog: Option<&OplogRecord>, tool: Option<String>) -> Origin {
    Origin {
        id,
        started_at,
        replica_set_id: None,
        consistency: if oplog.is_some() { Consistency::Oplog } else { Consistency::None },
        cluster_time: oplog.map(OplogRecord::end),
        // Whose oplog would lead on from there, nobody knows.
        replay_from: None,
        partial: true,
        incremental: None,
        collections: Vec::new(),
        imported: Some(ImportRecord { layout: "mongodump".into(), tool_version: tool }),
    }
}

/// Opens a dump: a folder, an archive, or `-` for an archive on the standard input.
///
/// # Errors
/// As those of [`Dump::open`].
pub async fn open(path: &Path) -> Result<Dump> {
    let path = path.to_owned();
    let opening = tokio::task::spawn_blocking(move || Dump::open(&path)).await;
    opening.map_err(|error| Error::failed("reading the dump stopped").caused_by(error))?
}
