//! `regrow show`: one backup, and with an identity what it holds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::Session;
use super::marks::Marks;
use super::output::{backup_json, counted, encryption, entries, moment, table, time};
use crate::config::Config;
use crate::error::{Kind, Result};
use crate::format::catalog::{Catalog, CollectionKind, CollectionRecord, OplogRecord};
use crate::format::evidence::Event;
use crate::format::manifest::{Encryption, Manifest};
use crate::namespace::visible_name;
use crate::policy::history::Soundness;
use crate::repository::{EvidenceLog, Repository};
use crate::units::{ByteSize, Elapsed};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup's id, a unique beginning of it, or latest
    backup: String,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let repository = session.repository(&config).await?;
    let manifest = repository.manifest(&repository.resolve(&arguments.backup).await?).await?;
    let (catalog, closed) = match catalog(&config, &repository, &manifest).await {
        Ok(catalog) => (catalog, None),
        // Who can open it is asked for when nobody here can.
        Err(error) if error.kind() == Kind::Configuration => (None, Some(error)),
        Err(error) => return Err(error),
    };
    let marks = Marks::about(&repository, &manifest.id).await;
    let Proved { verified_at, damaged_since, drilled_at, failed_at } =
        proved(&repository, &manifest, session.clock.now()).await?;
    if session.json {
        let mut answer = backup_json(&manifest);
        answer["verified_at"] = json!(verified_at);
        answer["drilled_at"] = json!(drilled_at);
        answer["damaged_since"] = json!(damaged_since);
        marks.add_to(&mut answer, &manifest.id);
        answer["packs"] = json!(manifest.packs.iter().map(|pack| &pack.object).collect::<Vec<_>>());
        answer["catalog"] = json!(manifest.catalog);
        if let Some(catalog) = &catalog {
            answer["collections"] = json!(
                visible(catalog)
                    .map(|(record, data)| json!({
                            "namespace": record.namespace(),
                            "kind": record.kind,
                            "documents": data.size().0,
                            "bytes": data.size().1,
                            "indexes": record.indexes.len(),
                    "in_snapshot": data.in_snapshot,
                            // That of all documents is known only where they lie in one backup.
                            "digest": data.changes.is_none().then(|| hex::encode(data.digest)),
                        }))
                    .collect::<Vec<_>>()
            );
            answer["users"] = json!(catalog.users.len());
            answer["roles"] = json!(catalog.roles.len());
            answer["oplog_entries"] = json!(catalog.oplog.as_ref().map_or(0, OplogRecord::entries));
        }
        println!("{answer}");
        return Ok(());
    }
    print_manifest(&manifest);
    match (damaged_since, verified_at) {
        (Some(since), _) => println!("verified     DAMAGED, as the verification of {} found", time(since)),
        (None, Some(at)) => println!("verified     {}: every byte was as it was written", time(at)),
        (None, None) => println!("verified     not yet ('regrow verify {}')", manifest.id),
    }
    match (failed_at, drilled_at) {
        (Some(at), _) => println!("drilled      {}: it did NOT pass ('regrow drill {}')", time(at), manifest.id),
        (None, Some(at)) => println!("drilled      {}: it was restored, and every check passed", time(at)),
        (None, None) => println!("drilled      not yet ('regrow drill {}')", manifest.id),
    }
    match (&catalog, closed) {
        (Some(catalog), _) => print_catalog(catalog),
        (None, None) => session.say("\nThe namespaces are encrypted; set encryption.identity_file to see them."),
        (None, Some(error)) => session.say(format_args!("\nThe namespaces stay closed: {error}")),
    }
    marks.say(session);
    Ok(())
}

/// Opens the catalog; none without an identity.
async fn catalog(config: &Config, repository: &Repository, manifest: &Manifest) -> Result<Option<Catalog>> {
    let identities = config.identities()?;
    if identities.is_none() && manifest.encryption != Encryption::None {
        return Ok(None);
    }
    repository.catalog(manifest, identities.as_ref()).await.map(Some)
}

/// What is known of a backup.
struct Proved {
    /// When every byte of it was last found as it was written.
    verified_at: Option<Timestamp>,
    /// Since when it, or what it builds on, is known to be damaged.
    damaged_since: Option<Timestamp>,
    /// When it was last restored in a drill that passed.
    drilled_at: Option<Timestamp>,
    /// When its newest drill did not pass.
    failed_at: Option<Timestamp>,
}

async fn proved(repository: &Repository, manifest: &Manifest, now: Timestamp) -> Result<Proved> {
    let mut evidence = EvidenceLog::since(manifest.started_at);
    evidence.refresh(repository, now).await?;
    let drills: Vec<_> = evidence
        .records()
        .filter_map(|record| match &record.event {
            Event::Drill { run, result } if result.backup == manifest.id => Some((run.finished_at, result.passed)),
            _ => None,
        })
        .collect();
    let parents = match manifest.parent() {
        Some(_) => repository.list().await?.parents(),
        None => BTreeMap::new(),
    };
    let known = Soundness::of(evidence.records()).spread(&parents);
    Ok(Proved {
        verified_at: known.verified.get(&manifest.id).copied(),
        damaged_since: known.damaged.get(&manifest.id).copied(),
        drilled_at: drills.iter().rev().find(|(_, passed)| *passed).map(|(at, _)| *at),
        failed_at: drills.last().filter(|(_, passed)| !passed).map(|(at, _)| *at),
    })
}

/// Returns what a person calls collections, each with the record that counts its documents.
fn visible(catalog: &Catalog) -> impl Iterator<Item = (&CollectionRecord, &CollectionRecord)> {
    let named = catalog.collections.iter().filter(|record| record.kind != CollectionKind::Buckets);
    named.map(|record| {
        let is_data = |data: &&CollectionRecord| {
            data.kind == CollectionKind::Buckets && data.db == record.db && visible_name(&data.name) == record.name
        };
        let data =
            if record.kind == CollectionKind::Timeseries { catalog.collections.iter().find(is_data) } else { None };
        (record, data.unwrap_or(record))
    })
}

fn print_manifest(manifest: &Manifest) {
    let elapsed = manifest.finished_at.duration_since(manifest.started_at).unsigned_abs();
    let replica_set = manifest.replica_set.as_deref().unwrap_or("standalone");
    println!("backup       {}", manifest.id);
    println!("kind         {}", manifest.kind);
    match &manifest.imported {
        Some(imported) => {
            let tool = imported.tool_version.as_deref().unwrap_or("of an unknown version");
            println!("imported     from a dump of {} ({tool})", imported.layout);
        }
        None => println!("source       {} ({replica_set})", manifest.source),
    }
    match manifest.cluster_time {
        Some(at) => println!("state as of  {}", moment(at)),
        None if manifest.imported.is_some() => println!("state as of  different moments, which nobody knows"),
        None => println!("state as of  different moments: the source was a standalone server"),
    }
    println!("consistency  {}", manifest.consistency.as_str());
    if let Some(increment) = &manifest.incremental {
        let (documents, behind) = (counted(increment.documents, "document"), &increment.base);
        println!("increment    {documents} changed or new since {}", increment.parent);
        println!("             number {} behind the full backup {behind}", increment.number);
    }
    println!("taken        {}, in {}", time(manifest.started_at), Elapsed(elapsed));
    let about = if manifest.incremental.is_some() { "about " } else { "" };
    println!("documents    {about}{} in {}", manifest.documents, counted(manifest.namespaces, "namespace"));
    println!("data         {}", ByteSize(manifest.bytes_raw));
    let packs = counted(manifest.packs.len() as u64, "pack");
    println!("stored       {} in {packs}", ByteSize(manifest.bytes_stored));
    println!("encryption   {}", encryption(manifest.encryption));
    for recipient in &manifest.recipients {
        println!("  opens with the identity of {recipient}");
    }
}

fn print_catalog(catalog: &Catalog) {
    println!();
    let mut rows = vec![["NAMESPACE", "KIND", "DOCUMENTS", "DATA", "INDEXES"].map(str::to_owned)];
    rows.extend(visible(catalog).map(|(record, data)| {
        let kind = match record.kind {
            CollectionKind::View => "view",
            CollectionKind::Timeseries => "time series (as buckets)",
            CollectionKind::Collection if record.ordered => "capped, read later",
            _ => "collection",
        };
        [
            record.namespace(),
            kind.into(),
            data.size().0.to_string(),
            ByteSize(data.size().1).to_string(),
            record.indexes.len().to_string(),
        ]
    }));
    table(&rows, [false, false, true, true, true]);
    let (users, roles) = (counted(catalog.users.len() as u64, "user"), counted(catalog.roles.len() as u64, "role"));
    println!("\n{users} and {roles}");
    if let Some(oplog) = &catalog.oplog {
        println!("{} of the oplog, which a restore replays", entries(oplog.entries()));
    }
}
