//! `regrow restore`: the way back.

use std::io::{BufRead, IsTerminal, Write};

use serde_json::{Map, Value, json};

use super::output::{counted, moment};
use super::{Session, progress, stop_requested};
use crate::error::{Error, Kind, Result};
use crate::mongo::Deployment;
use crate::pattern::{NamespaceMap, NamespacePattern};
use crate::progress::Progress;
use crate::restore::{self, RestoreContext, RestorePlan, RestoreRequest, RestoreSummary};
use crate::secret::Secret;
use crate::units::{ByteSize, Elapsed};

/// How many namespaces a plan names before it only counts.
const MAX_NAMED: usize = 20;

pub(super) const HELP: &str = "\
Nothing that exists is overwritten: the restore refuses when a target namespace exists, and drops
what it created when it fails. See the plan first with --dry-run.

Examples:
  regrow restore latest                            the whole newest backup, to the source
  regrow restore 20261123 --ns shop.orders --map shop.orders=shop.orders_restored
  regrow restore latest --to env:SCRATCH_URI --confirm rs0";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup's id, a unique beginning of it, or latest
    backup: String,
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
    let identities = config.identities()?;
    let repository = session.repository(&config).await?;
    let manifest = repository.manifest(&repository.resolve(&arguments.backup).await?).await?;
    let segments = repository.segments(&manifest, identities.clone())?;
    let catalog = repository.catalog(&manifest, identities.as_ref()).await?;
    let plan = RestorePlan::make(manifest, catalog, &request)?;
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
        progress::show(session, "restore", &progress, restore::execute(&plan, &context, stop_requested())).await?;
    answer(session, &plan, &summary, &target);
    Ok(())
}

fn show_plan(session: &Session, plan: &RestorePlan, deployment: &Deployment) {
    session.say(format_args!("Restore {} into {} at {}:", plan.manifest.id, deployment.name(), deployment.addresses()));
    if let Some(at) = plan.manifest.cluster_time {
        session.say(format_args!("  the state at {}", moment(at)));
    }
    let namespaces = counted(plan.items.len() as u64, "namespace");
    session.say(format_args!("  {} into {namespaces}:", amount(plan.documents(), plan.bytes())));
    for item in plan.items.iter().take(MAX_NAMED) {
        let source = item.record.namespace();
        let from = if source == item.target() { String::new() } else { format!(" (was {source})") };
        let holds = if item.is_view() { "view".to_owned() } else { amount(item.documents, item.bytes) };
        session.say(format_args!("    {}{from}: {holds}", item.target()));
    }
    if plan.items.len() > MAX_NAMED {
        session.say(format_args!("    and {} more", plan.items.len() - MAX_NAMED));
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
        "recovered_to": plan.manifest.cluster_time,
        "namespaces": plan.items.len(),
        "documents": plan.documents(),
        "bytes": plan.bytes(),
        "plan": items.collect::<Vec<_>>(),
        "dry_run": true,
    })
}

fn answer(session: &Session, plan: &RestorePlan, summary: &RestoreSummary, target: &str) {
    let phases: Map<String, Value> =
        summary.phases.iter().map(|(name, time)| ((*name).to_owned(), json!(time.as_secs_f64()))).collect();
    if session.json {
        let answer = json!({
            "backup": plan.manifest.id,
            "target": target,
            "recovered_to": plan.manifest.cluster_time,
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
    if plan.accounts.is_some() {
        println!("Users and roles added: {}; those that existed stay as they were.", summary.accounts);
    }
    let phases: Vec<String> = summary.phases.iter().map(|(name, time)| format!("{name} {}", Elapsed(*time))).collect();
    println!("It took {} ({}; they overlap).", Elapsed(summary.elapsed), phases.join(", "));
}
