//! `regrow restore`: the way back.

use std::io::{BufRead, IsTerminal, Write};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::output::{counted, entries, moment};
use super::{Session, progress, record, stop_requested};
use crate::error::{Error, Kind, Result};
use crate::format::ClusterTime;
use crate::format::catalog::Catalog;
use crate::format::evidence::{Event, RestoreResult};
use crate::mongo::Deployment;
use crate::pattern::{NamespaceMap, NamespacePattern};
use crate::progress::Progress;
use crate::repository::SegmentReader;
use crate::restore::{self, Recovery, Replayed, RestoreContext, RestorePlan, RestoreRequest, RestoreSummary, Way};
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
    let way = match (to, &arguments.backup) {
        (Some(to), _) => Way::to_moment(&repository, identities.clone(), to, session.clock.now()).await?,
        (None, Some(backup)) => Way::to_backup(&repository, backup).await?,
        (None, None) => return Err(Error::new(Kind::Usage, "neither a backup nor a time is given")),
    };
    for (id, problem) in &way.damaged {
        session.say(format_args!("warning: {id} cannot be restored: {problem}"));
    }
    let segments = repository.segments(&way.manifest, identities.clone())?;
    let catalog = repository.catalog(&way.manifest, identities.as_ref()).await?;
    let recovery = survey(session, &way, &segments, &catalog).await?;
    let manifest = way.manifest;
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
    let (progress, started_at) = (Progress::default(), session.clock.now());
    let context = RestoreContext { deployment, segments, progress: progress.clone() };
    let restoring = Box::pin(restore::execute(&plan, &context, stop_requested()));
    let outcome = progress::show(session, "restore", &progress, restoring).await;
    let times = (started_at, session.clock.now());
    let result = result(&plan, outcome.as_ref(), request.patterns.is_empty(), times);
    // In an incident the signing key may be lost.
    record::record_if_possible(session, &config, &repository, Event::Restore { result }).await;
    answer(session, &plan, &outcome?, &target);
    Ok(())
}

/// Returns what evidence says of a restore. No namespaces, which an error may name.
fn result(
    plan: &RestorePlan,
    outcome: Result<&RestoreSummary, &Error>,
    everything: bool,
    (started_at, finished_at): (Timestamp, Timestamp),
) -> RestoreResult {
    RestoreResult {
        started_at,
        finished_at,
        backup: plan.manifest.id.clone(),
        recovered_to: plan.recovered_to(),
        everything,
        problem: outcome.err().map(|error| error.in_public().to_owned()),
        namespaces: plan.items.len() as u64,
        documents: plan.documents(),
        bytes: plan.bytes(),
        entries: plan.recovery.as_ref().map_or(0, |recovery| recovery.outlook.entries),
        phases: outcome.map(|summary| restore::as_recorded(&summary.phases)).unwrap_or_default(),
    }
}

fn moment_asked_for(arguments: &Arguments) -> Result<Option<ClusterTime>> {
    match (&arguments.at, &arguments.before) {
        (Some(at), _) => ClusterTime::at(at).map(Some),
        (_, Some(before)) => ClusterTime::before(before).map(Some),
        (None, None) => Ok(None),
    }
}

/// Reads the oplog ahead, with progress: it may be long.
async fn survey(session: &Session, way: &Way, segments: &SegmentReader, catalog: &Catalog) -> Result<Option<Recovery>> {
    let progress = Progress::default();
    let survey = way.survey(segments, catalog, &progress);
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
