//! What comes after a restore that was cut off or that kept what it replaced: going on with it, taking it back, forgetting it.

use serde_json::{Value, json};

use super::super::output::{are, counted, table, time};
use super::super::{Session, record};
use super::ready::{Asked, Ready, What, first};
use super::{Arguments as RestoreArguments, DRY_RUN, confirm, execute};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::mongo::Deployment;
use crate::progress::Progress;
use crate::restore::{self, ChangedSince, First, Journal, Known, RestoreContext, RestoreId, RestoreRequest, Stage};
use crate::secret::Secret;

/// Only one of them at once.
#[derive(Debug, clap::Args)]
#[group(id = "later", multiple = false)]
pub(super) struct Arguments {
    /// Go on with a restore that was killed or lost its target
    #[arg(long, value_name = "ID")]
    resume: Option<RestoreId>,
    /// Take a restore back: what it replaced is there again, what it loaded is dropped
    #[arg(long, value_name = "ID")]
    undo: Option<RestoreId>,
    /// Drop what a restore has replaced and kept: it cannot be undone any more
    #[arg(long, value_name = "ID")]
    forget: Option<RestoreId>,
    /// List the restores that did not end or can be undone
    #[arg(long)]
    unfinished: bool,
}

/// What is asked of one restore.
#[derive(Clone, Copy)]
struct Wish<'a> {
    confirm: Option<&'a str>,
    dry_run: bool,
    discard_changes: bool,
}

impl Wish<'_> {
    /// Returns whether the restore is to be touched, once the person has confirmed it; a dry run ends here.
    async fn goes_on(&self, session: &Session, deployment: &Deployment) -> Result<bool> {
        if self.dry_run {
            session.say(DRY_RUN);
            return Ok(false);
        }
        confirm(deployment, self.confirm).await.map(|()| true)
    }
}

impl Arguments {
    pub(super) fn is_given(&self) -> bool {
        self.unfinished || [&self.resume, &self.undo, &self.forget].into_iter().any(Option::is_some)
    }
}

pub(super) async fn run(session: &Session, config: &Config, uri: &Secret, given: &RestoreArguments) -> Result<()> {
    let deployment = session.connect(uri).await?;
    let known = restore::known_restores(&deployment).await?;
    let find = |id: &RestoreId| find(&known, id, &deployment);
    let wish =
        Wish { confirm: given.confirm.as_deref(), dry_run: given.dry_run, discard_changes: given.discard_changes };
    match &given.later {
        Arguments { resume: Some(id), .. } => {
            let first = first(given, config)?;
            Box::pin(resume(session, config, deployment.clone(), find(id)?, first, wish)).await
        }
        Arguments { undo: Some(id), .. } => undo(session, &deployment, find(id)?, wish).await,
        Arguments { forget: Some(id), .. } => forget(session, &deployment, find(id)?, wish).await,
        _ => {
            list(session, &known);
            Ok(())
        }
    }
}

fn find<'a>(known: &'a [Known], id: &RestoreId, deployment: &Deployment) -> Result<&'a Known> {
    let found = known.iter().find(|known| known.id == *id).ok_or_else(|| {
        Error::not_found(format!(
            "{} knows of no restore {id} that did not end or can be undone",
            deployment.addresses()
        ))
        .with_hint(match known.len() {
            0 => "no restore is unfinished there, and none can be undone; give --to if it was not into the source",
            _ => "'regrow restore --unfinished' lists those that it knows; give --to if it was not into the source",
        })
    })?;
    if found.is_live {
        return Err(Error::refused(format!("the restore {id} is at work"))
            .with_hint("wait until it is over; if it was killed on another machine, that shows within two minutes"));
    }
    Ok(found)
}

async fn resume(
    session: &Session,
    config: &Config,
    deployment: Deployment,
    known: &Known,
    first: First,
    wish: Wish<'_>,
) -> Result<()> {
    let (id, record) = (&known.id, &known.record);
    match known.past.stage {
        Stage::Done => {
            return Err(Error::refused(format!("the restore {id} is over"))
                .with_hint(format!("undo it with --undo {id}, or drop what it replaced with --forget {id}")));
        }
        Stage::Undoing => {
            return Err(Error::refused(format!("the restore {id} is being undone"))
                .with_hint(format!("finish that with --undo {id}, then restore again")));
        }
        _ => {}
    }
    // With the backup that it began with, whatever is newer by now.
    let backup = record.backup.to_string();
    let what = match record.moment {
        Some(to) => What::Moment { to, from: Some(backup) },
        None => What::Backup(backup),
    };
    let request = RestoreRequest { first, ..record.request()? };
    let asked = Asked { what, request };
    let repository = session.repository(config).await?;
    let evidence = record::of_late(session, &repository).await;
    let ready = Ready::find(session, config, &repository, evidence.as_ref(), &asked).await?;
    let plan = if ready.plan.is_staged() { ready.plan.beside(id) } else { ready.plan };
    if plan.manifest.id != record.backup || plan.item_records() != record.items {
        return Err(Error::refused(format!("the repository no longer has what the restore {id} began with"))
            .with_hint(format!("take it back with --undo {id}, and restore again")));
    }
    session.say(format_args!(
        "Go on with the restore {id} of {} into {} at {}.",
        plan.manifest.id,
        deployment.name(),
        deployment.addresses()
    ));
    if !wish.goes_on(session, &deployment).await? {
        if session.json {
            let answer = json!({ "restore": id.to_string(), "backup": plan.manifest.id, "target": deployment.addresses(),
                "recovered_to": plan.recovered_to(), "namespaces": plan.items.len(), "documents": plan.documents(),
                "bytes": plan.bytes(), "dry_run": true });
            println!("{answer}");
        }
        return Ok(());
    }
    let journal = Journal::reopen(&deployment, id.clone(), &session.random).await?;
    let context = RestoreContext {
        deployment,
        segments: ready.segments,
        progress: Progress::default(),
        journal: Some(journal),
        past: known.past.clone(),
    };
    execute(session, config, &repository, evidence, &plan, &context).await
}

async fn undo(session: &Session, deployment: &Deployment, known: &Known, wish: Wish<'_>) -> Result<()> {
    let (id, backup) = (&known.id, &known.record.backup);
    let (name, addresses) = (deployment.name(), deployment.addresses());
    session.say(format_args!("Undo the restore {id} of {backup} into {name} at {addresses}:"));
    let (replaced, is_merged) = (known.replaced(), known.is_merged());
    if is_merged {
        session
            .say("  of these, only the documents that it wrote are again what they were before it; all others stay:");
    } else if replaced.is_empty() {
        session.say("  what it has loaded is dropped; it has replaced nothing");
    } else {
        session.say("  these are again what they were before it, and lose what was written to them since:");
    }
    for namespace in &replaced {
        session.say(format_args!("    {namespace}"));
    }
    let changed = restore::changed_since(deployment, known).await?;
    say_changed(session, &changed);
    if !wish.dry_run && wish.confirm.is_some() && changed.overwritten > 0 && !wish.discard_changes {
        return Err(Error::refused(format!(
            "{} changed since the restore",
            have_been(changed.overwritten, "document that it had replaced", "documents that it had replaced")
        ))
        .with_hint("nothing was changed; to lose those changes, add --discard-changes"));
    }
    if !wish.goes_on(session, deployment).await? {
        if session.json {
            println!("{}", undone_json(id, &replaced, None, &changed));
        }
        return Ok(());
    }
    let undone = restore::undo(deployment, known, &session.random).await?;
    if session.json {
        println!("{}", undone_json(id, &undone.restored, Some(undone.dropped), &undone.changed_since));
        return Ok(());
    }
    let ChangedSince { kept, overwritten, .. } = undone.changed_since;
    if overwritten > 0 {
        let changed = counted(overwritten, "document");
        println!("{changed} that somebody had changed since the restore lost those changes.");
    }
    if kept > 0 {
        let changed = counted(kept, "document");
        let (stay, them) = if kept == 1 { ("stays", "it") } else { ("stay", "them") };
        println!("{changed} that the restore had added {stay}, because somebody has changed {them} since.");
    }
    match undone.restored.len() as u64 {
        0 => println!("The restore {id} is undone: the target is as it was before it."),
        count if is_merged => {
            let namespaces = counted(count, "namespace");
            println!("The restore {id} is undone: what it wrote in {namespaces} is as before it.");
        }
        count => println!("The restore {id} is undone: {} as before it.", are(count, "namespace")),
    }
    Ok(())
}

/// Returns what undoing a restore has done, or, where it has dropped nothing that could be counted yet, what it would do.
fn undone_json(id: &RestoreId, restored: &[String], dropped: Option<usize>, changed: &ChangedSince) -> Value {
    json!({ "restore": id.to_string(), "undone": dropped.is_some(), "restored": restored, "dropped": dropped,
        "changed_since": changed.kept, "overwritten": changed.overwritten, "dry_run": dropped.is_none() })
}

fn have_been(number: u64, one: &str, several: &str) -> String {
    if number == 1 { format!("1 {one} has been") } else { format!("{number} {several} have been") }
}

/// Says what undoing does to what others have written since the restore.
fn say_changed(session: &Session, changed: &ChangedSince) {
    let ChangedSince { overwritten, kept, examples } = changed;
    if *overwritten > 0 {
        let documents = have_been(*overwritten, "document that it had replaced", "documents that it had replaced");
        session.say(format_args!("  warning: {documents} changed since, or removed; undoing undoes that, too:"));
        for example in examples {
            session.say(format_args!("    {example}"));
        }
        let more = overwritten.saturating_sub(examples.len() as u64);
        if more > 0 {
            session.say(format_args!("    and {more} more"));
        }
    }
    if *kept > 0 {
        let documents = have_been(*kept, "document that it had added", "documents that it had added");
        let stay = if *kept == 1 { "stays" } else { "stay" };
        session.say(format_args!("  {documents} changed since, and {stay}"));
    }
}

async fn forget(session: &Session, deployment: &Deployment, known: &Known, wish: Wish<'_>) -> Result<()> {
    let id = &known.id;
    if known.past.stage != Stage::Done {
        return Err(Error::refused(format!("the restore {id} did not end"))
            .with_hint(format!("finish it with --resume {id}, or take it back with --undo {id}")));
    }
    session.say(format_args!("Drop what the restore {id} replaced in {}:", deployment.addresses()));
    for namespace in known.kept() {
        session.say(format_args!("    {namespace}"));
    }
    if !wish.goes_on(session, deployment).await? {
        if session.json {
            println!("{}", forgotten_json(known, known.kept().len() as u64, true));
        }
        return Ok(());
    }
    let dropped = restore::forget(deployment, known, &session.random).await?;
    if session.json {
        println!("{}", forgotten_json(known, dropped, false));
    } else {
        println!("The restore {id} cannot be undone any more; {} dropped.", are(dropped, "namespace"));
    }
    Ok(())
}

/// Returns what forgetting a restore has dropped, or would drop.
fn forgotten_json(known: &Known, dropped: u64, dry_run: bool) -> Value {
    json!({ "restore": known.id.to_string(), "dropped": dropped, "kept": known.kept(), "dry_run": dry_run })
}

fn list(session: &Session, known: &[Known]) {
    if session.json {
        let restores = known.iter().map(|known| {
            json!({ "restore": known.id.to_string(), "backup": known.record.backup, "stage": state(known),
                "namespaces": known.record.items.len(), "at_work": known.is_live, "kept": known.kept() })
        });
        println!("{}", json!({ "restores": restores.collect::<Vec<_>>() }));
        return;
    }
    if known.is_empty() {
        println!("No restore is unfinished, and none can be undone.");
        return;
    }
    let heading = ["RESTORE", "BACKUP", "BEGAN", "NAMESPACES", "STATE"].map(str::to_owned);
    let rows = known.iter().map(|known| {
        let began = known.id.began().map(time).unwrap_or_default();
        let items = known.record.items.len().to_string();
        [known.id.to_string(), known.record.backup.to_string(), began, items, state(known).to_owned()]
    });
    table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>(), [false, false, false, true, false]);
}

fn state(known: &Known) -> &'static str {
    match known.past.stage {
        _ if known.is_live => "at work",
        Stage::Loading => "cut off while loading: --resume or --undo",
        Stage::Exchanging | Stage::Exchanged => "cut off while replacing: --resume or --undo",
        Stage::Removing => "restored, cut off while removing what it replaced: --resume",
        Stage::Done => "over, can be undone: --undo or --forget",
        Stage::Undoing => "cut off while being undone: --undo",
    }
}
