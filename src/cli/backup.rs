//! `regrow backup`: a backup now.

use super::output::{backup_json, counted, moment, name_leftovers};
use super::{Session, progress, record, stop_requested};
use crate::backup::{
    self, BackupPlan, BackupRequest, Destination, IncrementSettings, MayResume, Resumption, Taken, WhyAnew, WhyFull,
};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::format::evidence::Event;
use crate::format::manifest::{Consistency, Encryption, Manifest};
use crate::format::{BackupKind, Job};
use crate::mongo::{Namespace, NamespaceKind};
use crate::namespace::kept_by_restore;
use crate::pattern::NamespacePattern;
use crate::progress::Progress;
use crate::units::{ByteSize, Elapsed};

pub(super) const HELP: &str = "\
A backup holds every database but local and config, with users and roles. With --ns it holds only what the \
patterns choose, without users and roles. Nothing is written to the server.

An increment holds what has changed since the newest backup and names that as what it builds on; it is restored, \
verified and kept together with it. Daily backups are increments where the configuration says so ([backup] incremental). \
Where one is not possible or would cost too much, a full backup is taken, and it says why.

With --resume it goes on with the last full backup of its kind that was interrupted, with its id and its moment: what that had stored is \
not read again. What was written since is not in it. The server must still show that moment (minSnapshotHistoryWindowInSeconds, \
300 by default), from the same node, and the same must be about to be taken; otherwise it begins anew, and says why. The service \
does so by itself.

Examples:
  regrow backup --kind daily
  regrow backup --incremental
  regrow backup --ns shop --ns 'tenant_*.orders'";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What the backup counts as: daily, weekly, monthly or manual
    #[arg(long, default_value = "manual")]
    kind: String,
    /// Take only these namespaces: db, db.collection, db.* (may be repeated)
    #[arg(long = "ns", value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Take only what has changed since the newest backup, where that is possible
    #[arg(long, conflicts_with = "full")]
    incremental: bool,
    /// Take everything, whatever the configuration says of increments
    #[arg(long)]
    full: bool,
    /// Go on with an interrupted backup of this kind, as of its moment, where that can be
    #[arg(long)]
    resume: bool,
    /// How much work to put into compressing, from 1 (fast) to 19 (small) [default: compression.level, or 3]
    #[arg(long, value_name = "LEVEL", allow_negative_numbers = true)]
    level: Option<String>,
}

impl Arguments {
    /// Returns how an increment is to be taken; none where a full backup is.
    fn increments(&self, config: &Config, kind: BackupKind) -> Result<Option<IncrementSettings>> {
        if self.incremental && matches!(kind, BackupKind::Weekly | BackupKind::Monthly) {
            return Err(Error::new(Kind::Usage, format!("a {kind} backup is no increment"))
                .with_hint("weekly and monthly backups are full, so that chains of increments end with them"));
        }
        if self.incremental && !self.patterns.is_empty() {
            return Err(Error::new(Kind::Usage, "--ns takes a part, and an increment is of everything")
                .with_hint("leave out --incremental, or --ns"));
        }
        match () {
            () if self.incremental => config.increment_settings().map(Some),
            () if self.full || !self.patterns.is_empty() => Ok(None),
            () => config.increments(kind),
        }
    }
}

pub(super) async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let config = session.config()?;
    let kind: BackupKind = arguments.kind.parse()?;
    let patterns =
        arguments.patterns.iter().map(|pattern| pattern.parse()).collect::<Result<Vec<NamespacePattern>>>()?;
    let increments = arguments.increments(&config, kind)?;
    let (settings, member) = (config.backup_settings(arguments.level.as_deref())?, config.source_member()?);
    // Everything that can be wrong here is found out before the server is bothered.
    let (recipients, signing_key) = (config.recipients()?, config.signing_key()?);
    let repository = session.repository(&config).await?;
    repository.accept_signer(&signing_key)?;
    name_leftovers(session, &repository.list().await?.leftovers);
    let deployment = session.connect(&config.source_uri()?).await?.reading_from(member);
    let request = BackupRequest { source: config.source_name().into(), kind, patterns };
    let progress = Progress::default();
    let context = session.backup_context(&repository, (recipients, &signing_key), &progress, settings);
    let destination = Destination { repository: &repository, recipients: context.recipients.as_ref() };
    let (clock, random) = (&session.clock, &session.random);
    let (plan, why_full) = backup::plan(&deployment, request.clone(), increments, destination, (clock, random)).await?;
    name_reason(session, why_full.as_ref());
    let (plan, resumption, why_anew) = if arguments.resume {
        Box::pin(backup::resume(plan, MayResume::Always, &deployment, &context)).await
    } else {
        (plan, None, None)
    };
    if arguments.resume && resumption.is_none() && why_anew.is_none() {
        session.say(format_args!("note: no interrupted {kind} backup can be gone on with; begins anew"));
    }
    name_resumption(session, &plan, resumption.as_ref(), why_anew.as_ref());
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
    let anew = || async { BackupPlan::make(&deployment, request, &session.clock, &session.random).await };
    let taking = Box::pin(backup::execute_or_full((plan, resumption), anew, &context, stop_requested()));
    let Taken { manifest, why_full, why_anew, resumed_bytes } =
        progress::show(session, "backup", &progress, taking).await?;
    name_reason(session, why_full.as_ref());
    name_why_anew(session, why_anew.as_ref());
    // A part does not achieve what the schedule of a kind is for.
    let kind = if manifest.partial { BackupKind::Manual } else { kind };
    let run = record::by_hand(session, Job::Backup(kind), manifest.started_at);
    let event = Event::Backup { run, backup: manifest.id.clone(), imported: false };
    record::record(session, &config, &repository, &signing_key, event).await;
    answer(session, &manifest, resumed_bytes);
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

fn name_reason(session: &Session, why_full: Option<&WhyFull>) {
    if let Some(why) = why_full {
        session.say(format_args!("note: a full backup instead of an increment: {why}"));
    }
}

fn name_resumption(session: &Session, plan: &BackupPlan, resumption: Option<&Resumption>, why_anew: Option<&WhyAnew>) {
    if let Some(resumption) = resumption {
        let (stored, all) = (ByteSize(resumption.bytes), ByteSize(plan.bytes().max(resumption.bytes)));
        let at = moment(resumption.at);
        session.say(format_args!(
            "resumes {}: {stored} of {all} were stored already; what was written after {at} is not in it",
            plan.id
        ));
    }
    name_why_anew(session, why_anew);
}

fn name_why_anew(session: &Session, why_anew: Option<&WhyAnew>) {
    if let Some(why) = why_anew {
        session.say(format_args!("note: begins anew: {why}"));
    }
}

fn answer(session: &Session, manifest: &Manifest, resumed_bytes: u64) {
    if session.json {
        let mut answer = backup_json(manifest);
        answer["resumed_bytes"] = resumed_bytes.into();
        println!("{answer}");
    } else {
        println!("{}", manifest.id);
    }
    let elapsed = manifest.finished_at.duration_since(manifest.started_at).unsigned_abs();
    let documents = counted(manifest.documents, "document");
    let namespaces = counted(manifest.namespaces, "namespace");
    let (raw, stored) = (ByteSize(manifest.bytes_raw), ByteSize(manifest.bytes_stored));
    if let Some(increment) = &manifest.incremental {
        session.say(format_args!(
            "{} changed or new of about {documents} in {namespaces}, stored as {stored}, in {}; builds on {}",
            counted(increment.documents, "document"),
            Elapsed(elapsed),
            increment.parent
        ));
    } else {
        session.say(format_args!("{documents} in {namespaces}, {raw}, stored as {stored}, in {}", Elapsed(elapsed)));
    }
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
