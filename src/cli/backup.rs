//! `regrow backup`: a backup now.

use super::output::{backup_json, counted, moment, name_leftovers};
use super::{Session, progress, record, stop_requested};
use crate::backup::{self, BackupContext, BackupPlan, BackupRequest, Targets};
use crate::error::Result;
use crate::format::evidence::Event;
use crate::format::manifest::{Consistency, Encryption, Manifest};
use crate::format::{BackupKind, Job};
use crate::mongo::{Deployment, Namespace, NamespaceKind};
use crate::namespace::kept_by_restore;
use crate::pattern::NamespacePattern;
use crate::progress::Progress;
use crate::units::{ByteSize, Elapsed};

pub(super) const HELP: &str = "\
A backup holds every database but local and config, with users and roles. With --ns it holds only what the \
patterns choose, without users and roles. Nothing is written to the server.

Examples:
  regrow backup --kind daily
  regrow backup --ns shop --ns 'tenant_*.orders'";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What the backup counts as: daily, weekly, monthly or manual
    #[arg(long, default_value = "manual")]
    kind: String,
    /// Take only these namespaces: db, db.collection, db.* (may be repeated)
    #[arg(long = "ns", value_name = "PATTERN")]
    patterns: Vec<String>,
}

pub(super) async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let config = session.config()?;
    let kind: BackupKind = arguments.kind.parse()?;
    let patterns =
        arguments.patterns.iter().map(|pattern| pattern.parse()).collect::<Result<Vec<NamespacePattern>>>()?;
    // Everything that can be wrong here is found out before the server is bothered.
    let (recipients, signing_key) = (config.recipients()?, config.signing_key()?);
    let repository = session.repository(&config).await?;
    repository.accept_signer(&signing_key)?;
    name_leftovers(session, &repository.list().await?.leftovers);
    let deployment = Deployment::connect(&config.source_uri()?).await?;
    let request = BackupRequest { source: config.source_name().into(), kind, patterns };
    let plan = BackupPlan::make(&deployment, request, &session.clock, &session.random).await?;
    if plan.at.is_none() {
        session.say(
            "warning: this is a standalone server: the collections are read at different moments (consistency = none)",
        );
    }
    if plan.at.is_some() && !plan.can_be_led_on() {
        session.say(
            "note: no captured oplog leads on from this backup: the user lacks the roles backup and clusterMonitor",
        );
    }
    name_kept(session, &plan);
    let progress = Progress::default();
    let (clock, targets) = (session.clock.clone(), Targets::default());
    let context = BackupContext {
        repository: repository.clone(),
        recipients,
        signing_key: signing_key.clone(),
        clock,
        progress: progress.clone(),
        targets,
    };
    let manifest =
        progress::show(session, "backup", &progress, Box::pin(backup::execute(plan, context, stop_requested())))
            .await?;
    // A part does not achieve what the schedule of a kind is for.
    let kind = if manifest.partial { BackupKind::Manual } else { kind };
    let run = record::by_hand(session, Job::Backup(kind), manifest.started_at);
    let event = Event::Backup { run, backup: manifest.id.clone(), imported: false };
    record::record(session, &config, &repository, &signing_key, event).await;
    answer(session, &manifest);
    Ok(())
}

/// Says what of the backup are only leavings of restores, so that nobody takes it for the shop's own. It is taken all the same:
/// it may be the only copy of what it holds.
fn name_kept(session: &Session, plan: &BackupPlan) {
    let namespaces = plan.namespaces.iter().map(|planned| &planned.namespace);
    let kept: Vec<String> = namespaces
        .filter(|namespace| namespace.kind != NamespaceKind::Buckets && kept_by_restore(&namespace.name).is_some())
        .map(Namespace::full_name)
        .collect();
    if !kept.is_empty() {
        session.say(format_args!(
            "note: with what restores have replaced and kept: {}; 'regrow restore --unfinished' names the restores, --forget drops it",
            kept.join(", ")
        ));
    }
}

fn answer(session: &Session, manifest: &Manifest) {
    if session.json {
        println!("{}", backup_json(manifest));
    } else {
        println!("{}", manifest.id);
    }
    let elapsed = manifest.finished_at.duration_since(manifest.started_at).unsigned_abs();
    let documents = counted(manifest.documents, "document");
    let namespaces = counted(manifest.namespaces, "namespace");
    let (raw, stored) = (ByteSize(manifest.bytes_raw), ByteSize(manifest.bytes_stored));
    session.say(format_args!("{documents} in {namespaces}, {raw}, stored as {stored}, in {}", Elapsed(elapsed)));
    if let Some(time) = manifest.cluster_time {
        session.say(format_args!("shows the state at {}", moment(time)));
        if manifest.consistency == Consistency::Oplog {
            session.say(
                "note: not all of it could be read as of one moment; the oplog that mends this is part of the backup",
            );
        }
        if manifest.outside_snapshot > 0 {
            let capped = counted(manifest.outside_snapshot, "capped collection");
            session.say(format_args!("note: {capped} read shortly after it; MongoDB reads those no other way"));
        }
    }
    if manifest.encryption == Encryption::None {
        session.say("warning: this backup is NOT ENCRYPTED, as the configuration says");
    }
}
