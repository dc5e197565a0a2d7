//! `regrow restore`: the way back.

use std::io::{BufRead, IsTerminal, Write};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::output::{counted, entries, moment, time};
use super::{Session, progress, stop_requested};
use crate::codec::Identities;
use crate::error::{Error, Kind, Result};
use crate::format::ClusterTime;
use crate::format::catalog::Catalog;
use crate::format::manifest::Manifest;
use crate::mongo::Deployment;
use crate::pattern::{NamespaceMap, NamespacePattern};
use crate::progress::Progress;
use crate::repository::{Repository, SliceReader, Stretch, Unreachable, route};
use crate::restore::{self, Entries, Recovery, Replayed, RestoreContext, RestorePlan, RestoreRequest, RestoreSummary};
use crate::secret::Secret;
use crate::units::{ByteSize, Elapsed};

/// How many namespaces a plan names before it only counts.
const MAX_NAMED: usize = 20;

pub(super) const HELP: &str = "\
Nothing that exists is overwritten: the restore refuses when a target namespace exists, and drops
what it created when it fails. See the plan first with --dry-run.

With --at or --before, the newest backup at or before that moment is restored, and the captured oplog is replayed on
top of it. A time is RFC 3339 (--at includes the whole second, --before stops short of it) or an exact
seconds,increment.

Examples:
  regrow restore latest                            the whole newest backup, to the source
  regrow restore --at 2026-11-23T10:15:00Z         everything up to and with that second
  regrow restore --before 1764032400,7             everything before exactly that operation
  regrow restore 20261123 --ns shop.orders --map shop.orders=shop.orders_restored
  regrow restore latest --to env:SCRATCH_URI --confirm rs0";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup's id, a unique beginning of it, or latest
    #[arg(required_unless_present_any = ["at", "before"], conflicts_with_all = ["at", "before"])]
    backup: Option<String>,
    /// Restore the state at this moment, with everything that happened up to and at it
    #[arg(long, value_name = "TIME", conflicts_with = "before")]
    at: Option<String>,
    /// Restore the state just before this moment
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// The deployment to restore into [default: the source]
    #[arg(long, value_name = "URI")]
    to: Option<String>,
    /// Restore only these namespaces: db, db.collection, db.* (may be repeated)
    #[arg(long = "ns", value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Restore under another name: db=other or db.collection=other.collection (may be repeated)
    #[arg(long = "map", value_name = "FROM=TO")]
    maps: Vec<String>,
    /// Restore users and roles too; those that exist stay as they are
    #[arg(long)]
    users: bool,
    /// Show the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Confirm by the target's replica set name (or: standalone), instead of being asked for it
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
}

pub(super) async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let config = session.config()?;
    let request = RestoreRequest {
        patterns: arguments.patterns.iter().map(|text| text.parse()).collect::<Result<Vec<NamespacePattern>>>()?,
        maps: arguments.maps.iter().map(|text| text.parse()).collect::<Result<Vec<NamespaceMap>>>()?,
        accounts: arguments.users,
    };
    let uri = match &arguments.to {
        Some(to) => Secret::resolve("--to", to)?,
        None => config.source_uri()?,
    };
    let to = moment_asked_for(&arguments)?;
    let identities = config.identities()?;
    let repository = session.repository(&config).await?;
    let Way { manifest, captured, to } = match (to, &arguments.backup) {
        (Some(to), _) => way_to(session, &repository, identities.clone(), to).await?,
        (None, Some(backup)) => {
            let manifest = repository.manifest(&repository.resolve(backup).await?).await?;
            Way { to: manifest.cluster_time, manifest, captured: None }
        }
        (None, None) => return Err(Error::new(Kind::Usage, "neither a backup nor a time is given")),
    };
    let segments = repository.segments(&manifest, identities.clone())?;
    let catalog = repository.catalog(&manifest, identities.as_ref()).await?;
    let recovery = match (Entries::new(catalog.oplog.as_ref(), &segments, captured), to) {
        (Some(entries), Some(to)) => Some(survey(session, entries, &manifest, &catalog, to).await?),
        _ => None,
    };
    let plan = RestorePlan::make(manifest, catalog, recovery, &request)?;
    let deployment = Deployment::connect(&uri).await?;
    plan.check_target(&deployment).await?;
    show_plan(session, &plan, &deployment);
    if arguments.dry_run {
        if session.json {
            println!("{}", plan_json(&plan, &deployment));
        }
        session.say("Dry run: nothing was changed.");
        return Ok(());
    }
    confirm(&deployment, arguments.confirm.as_deref())?;
    let target = deployment.addresses();
    let progress = Progress::default();
    let context = RestoreContext { deployment, segments, progress: progress.clone() };
    let summary =
        progress::show(session, "restore", &progress, Box::pin(restore::execute(&plan, &context, stop_requested())))
            .await?;
    answer(session, &plan, &summary, &target);
    Ok(())
}

fn moment_asked_for(arguments: &Arguments) -> Result<Option<ClusterTime>> {
    match (&arguments.at, &arguments.before) {
        (Some(at), _) => ClusterTime::at(at).map(Some),
        (_, Some(before)) => ClusterTime::before(before).map(Some),
        (None, None) => Ok(None),
    }
}

/// A backup to restore, the captured oplog to replay on top of it, and the moment to get to.
struct Way {
    manifest: Manifest,
    captured: Option<SliceReader>,
    /// None where the backup shows no single moment.
    to: Option<ClusterTime>,
}

/// Finds the way to a moment, or says which moments there is a way to.
async fn way_to(
    session: &Session,
    repository: &Repository,
    identities: Option<Identities>,
    to: ClusterTime,
) -> Result<Way> {
    let (listing, captured) = (repository.list().await?, repository.captured().await?);
    for damaged in &listing.backups {
        if let Err(error) = &damaged.manifest {
            session.say(format_args!("warning: {} cannot be restored: {error}", damaged.id));
        }
    }
    let sound: Vec<&Manifest> = listing.backups.iter().filter_map(|backup| backup.manifest.as_ref().ok()).collect();
    let route = route(&sound, &captured, to).map_err(|nearest| no_way_to(to, nearest, session.clock.now()))?;
    let captured = match &route.oplog {
        Some(Stretch { timeline, slices }) => Some(repository.slices(timeline, slices, identities).await?),
        None => None,
    };
    Ok(Way { manifest: route.backup.clone(), captured, to: Some(to) })
}

fn no_way_to(to: ClusterTime, nearest: Unreachable, now: Timestamp) -> Error {
    let asked = if to.i == u32::MAX { format!("all of {}", time(to.wall())) } else { moment(to) };
    let reason = match nearest {
        _ if to.wall() > now => "it lies in the future",
        Unreachable { before: None, behind: None } => "there is no backup that shows one moment",
        Unreachable { before: None, .. } => "it lies before the first backup",
        Unreachable { behind: None, .. } => "the oplog has not been captured up to there",
        Unreachable { .. } => "the oplog behind the backup before it is not whole up to there",
    };
    let exact = |at: ClusterTime| format!("--at {at} ({})", time(at.wall()));
    let hint = match (nearest.before.map(exact), nearest.behind.map(exact)) {
        (Some(before), Some(behind)) => format!("the nearest moments that can be restored: {before} and {behind}"),
        (Some(only), None) | (None, Some(only)) => format!("the nearest moment that can be restored: {only}"),
        (None, None) => "take one with 'regrow backup'".into(),
    };
    Error::not_found(format!("cannot restore {asked}: {reason}")).with_hint(hint)
}

/// Reads the oplog ahead, with progress: it may be long.
async fn survey(
    session: &Session,
    entries: Entries,
    manifest: &Manifest,
    catalog: &Catalog,
    to: ClusterTime,
) -> Result<Recovery> {
    let progress = Progress::default();
    let survey = Recovery::survey(entries, manifest, catalog, to, &progress);
    tokio::select! {
        outcome = progress::show(session, "reading the oplog", &progress, survey) => outcome,
        () = stop_requested() => Err(Error::new(Kind::Interrupted, "the restore was interrupted; nothing was touched")),
    }
}

fn show_plan(session: &Session, plan: &RestorePlan, deployment: &Deployment) {
    session.say(format_args!("Restore {} into {} at {}:", plan.manifest.id, deployment.name(), deployment.addresses()));
    if let Some(at) = plan.recovered_to() {
        session.say(format_args!("  the state at {}", moment(at)));
    }
    if let Some(recovery) = &plan.recovery {
        let (entries, bytes) = (entries(recovery.outlook.entries), ByteSize(recovery.bytes()));
        session.say(format_args!("  by replaying {entries} of the oplog ({bytes})"));
    }
    let namespaces = counted(plan.items.len() as u64, "namespace");
    let of_backup = if plan.recovery.is_some() { " in the backup" } else { "" };
    session.say(format_args!("  {}{of_backup} into {namespaces}:", amount(plan.documents(), plan.bytes())));
    for item in plan.items.iter().take(MAX_NAMED) {
        let source = item.record.namespace();
        let from = if source == item.target() { String::new() } else { format!(" (was {source})") };
        let holds = if item.is_view() { "view".to_owned() } else { amount(item.documents, item.bytes) + of_backup };
        session.say(format_args!("    {}{from}: {holds}", item.target()));
    }
    if plan.items.len() > MAX_NAMED {
        session.say(format_args!("    and {} more", plan.items.len() - MAX_NAMED));
    }
    session.say(format_args!("  about {}, going by a machine of two cores", Elapsed(plan.estimate())));
    let account_changes = plan.recovery.as_ref().map_or(0, |recovery| recovery.outlook.account_changes);
    if plan.accounts.is_some() && account_changes > 0 {
        session
            .say("  warning: users and roles were changed behind the backup; they are restored as the backup has them");
    }
    if let Some(accounts) = &plan.accounts {
        session.say(format_args!(
            "  {} and {}, where they do not exist yet",
            counted(accounts.users.len() as u64, "user"),
            counted(accounts.roles.len() as u64, "role")
        ));
    }
}

fn amount(documents: u64, bytes: u64) -> String {
    format!("{}, {}", counted(documents, "document"), ByteSize(bytes))
}

/// Makes sure that the person means this deployment: by its name, which nobody types by accident.
fn confirm(deployment: &Deployment, given: Option<&str>) -> Result<()> {
    let name = deployment.name();
    let typed = match given {
        Some(given) => given.to_owned(),
        None if std::io::stdin().is_terminal() => ask(name)?,
        None => {
            return Err(Error::refused("the restore was not confirmed")
                .with_hint(format!("to restore into this deployment, add --confirm {name}")));
        }
    };
    if typed == name {
        return Ok(());
    }
    Err(Error::refused(format!("'{typed}' is not the target's name, which is '{name}'"))
        .with_hint("nothing was changed; make sure that --to points where you think it does"))
}

fn ask(name: &str) -> Result<String> {
    eprint!("Type the target's name ({name}) to go on: ");
    let mut line = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().lock().read_line(&mut line));
    read.map_err(|error| Error::new(Kind::Refused, "cannot ask for confirmation").caused_by(error))?;
    Ok(line.trim().to_owned())
}

fn plan_json(plan: &RestorePlan, deployment: &Deployment) -> Value {
    let items = plan.items.iter().map(|item| {
        json!({ "namespace": item.target(), "from": item.record.namespace(), "documents": item.documents, "bytes": item.bytes })
    });
    json!({
        "backup": plan.manifest.id,
        "target": deployment.addresses(),
        "recovered_to": plan.recovered_to(),
        "replay_entries": plan.recovery.as_ref().map_or(0, |recovery| recovery.outlook.entries),
        "estimated_seconds": plan.estimate().as_secs(),
        "namespaces": plan.items.len(),
        "documents": plan.documents(),
        "bytes": plan.bytes(),
        "plan": items.collect::<Vec<_>>(),
        "dry_run": true,
    })
}

fn answer(session: &Session, plan: &RestorePlan, summary: &RestoreSummary, target: &str) {
    if let Some(Replayed { split_transactions: split @ 1.., .. }) = summary.replayed {
        let transactions = counted(split, "transaction");
        session.say(format_args!(
            "warning: {transactions} also wrote to namespaces that were not chosen; only the chosen part was replayed"
        ));
    }
    let phases: Map<String, Value> =
        summary.phases.iter().map(|(name, time)| ((*name).to_owned(), json!(time.as_secs_f64()))).collect();
    if session.json {
        let answer = json!({
            "backup": plan.manifest.id,
            "target": target,
            "recovered_to": plan.recovered_to(),
            "replayed": summary.replayed.map_or(0, |replayed| replayed.operations),
            "split_transactions": summary.replayed.map_or(0, |replayed| replayed.split_transactions),
            "namespaces": summary.namespaces,
            "documents": summary.documents,
            "bytes": summary.bytes,
            "accounts": summary.accounts,
            "seconds": summary.elapsed.as_secs_f64(),
            "phases": phases,
        });
        println!("{answer}");
        return;
    }
    let (documents, namespaces) = (counted(summary.documents, "document"), counted(summary.namespaces, "namespace"));
    println!("Restored {documents} in {namespaces} from {}.", plan.manifest.id);
    println!("Every document was read back and is the one that was backed up.");
    if let (Some(replayed), Some(to)) = (&summary.replayed, plan.recovered_to()) {
        let operations = counted(replayed.operations, "operation");
        println!("Replayed {operations} on top of them; this is the state at {}.", moment(to));
    }
    if plan.accounts.is_some() {
        println!("Users and roles added: {}; those that existed stay as they were.", summary.accounts);
    }
    let phases: Vec<String> = summary.phases.iter().map(|(name, time)| format!("{name} {}", Elapsed(*time))).collect();
    println!("It took {} ({}; they overlap).", Elapsed(summary.elapsed), phases.join(", "));
}
