//! `regrow import`: a dump of the stock tools becomes a backup.

use std::path::PathBuf;

use super::output::{backup_json, moment};
use super::{Session, progress, record, stop_requested};
use crate::error::Result;
use crate::format::evidence::Event;
use crate::format::manifest::{Encryption, Manifest};
use crate::format::{BackupKind, Job};
use crate::import::{self, Dump, ImportRequest};
use crate::progress::Progress;
use crate::units::ByteSize;

pub(super) const HELP: &str = "\
Takes what mongodump wrote: its folder, or an archive, compressed or not. Needs no server. The backup is sealed, listed, \
verified and restored as any other; but nobody can tell whether a dump holds everything, so it counts as a part: it is no \
point that recovery promises are made of, and no objective is met by it.

A dump shows no single moment. One that was taken with --oplog does once its oplog is replayed, which a restore does.

Examples:
  regrow import dump
  regrow import shop.archive.gz --kind monthly
  mongodump --archive | regrow import -";

/// How many things are named in one message.
const MAX_NAMED: usize = 5;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder or the archive that mongodump wrote; - for an archive on the standard input
    path: PathBuf,
    /// What the backup counts as for retention: daily, weekly, monthly or manual
    #[arg(long, default_value = "manual")]
    kind: String,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let kind: BackupKind = arguments.kind.parse()?;
    let (recipients, signing_key) = (config.recipients()?, config.signing_key()?);
    let repository = session.repository(&config).await?;
    repository.accept_signer(&signing_key)?;
    let dump = import::open(&arguments.path).await?;
    remarks(session, &dump);
    let progress = Progress::default();
    let settings = config.backup_settings(None)?;
    let context = session.backup_context(&repository, (recipients, &signing_key), &progress, settings);
    let request = ImportRequest { source: config.source_name().into(), kind };
    let importing = Box::pin(import::execute(dump, request, context, &session.random, stop_requested()));
    let manifest = progress::show(session, "import", &progress, importing).await?;
    // No schedule is kept by a dump.
    let run = record::by_hand(session, Job::Backup(BackupKind::Manual), manifest.started_at);
    let event = Event::Backup { run, backup: manifest.id.clone(), imported: true };
    record::record(session, &config, &repository, &signing_key, event).await;
    answer(session, &manifest);
    Ok(())
}

/// Says what is not taken, or taken only in part.
fn remarks(session: &Session, dump: &Dump) {
    let named = |names: &[String]| {
        let more = names.len().saturating_sub(MAX_NAMED);
        let shown = names[..names.len() - more].join(", ");
        if more > 0 { format!("{shown} and {more} more") } else { shown }
    };
    if !dump.passed_over().is_empty() {
        let names = named(dump.passed_over());
        session.say(format_args!("note: not taken, because it is a server's own affair or no part of a dump: {names}"));
    }
    if !dump.bare().is_empty() {
        let names = named(dump.bare());
        session.say(format_args!("warning: the dump does not say options and indexes of {names}; they are missing"));
    }
}

fn answer(session: &Session, manifest: &Manifest) {
    if session.json {
        println!("{}", backup_json(manifest));
    } else {
        println!("{}", manifest.id);
    }
    let (documents, namespaces) = (manifest.documents, manifest.namespaces);
    let (raw, stored) = (ByteSize(manifest.bytes_raw), ByteSize(manifest.bytes_stored));
    session.say(format_args!("{documents} in {namespaces}, {raw}, stored as {stored}"));
    match manifest.cluster_time {
        Some(time) => session.say(format_args!(
            "shows the state at {}, once the oplog that came along is replayed; a restore does that",
            moment(time)
        )),
        None => session.say(
            "note: when the dump was taken is not known, and its collections show different moments (consistency = none)",
        ),
    }
    if manifest.encryption == Encryption::None {
        session.say("warning: this backup is NOT ENCRYPTED, as the configuration says");
    }
}
