//! `regrow restore`: the way back.

mod answer;
mod later;
pub(super) mod ready;
mod show;

use std::io::{BufRead, IsTerminal, Write};

use jiff::Timestamp;

use super::{Session, progress, record, stop_requested};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::format::catalog::Catalog;
use crate::format::evidence::{Event, RestoreResult};
use crate::mongo::Deployment;
use crate::progress::Progress;
use crate::repository::{EvidenceLog, Repository, SegmentReader};
use crate::restore::{
    self, Journal, Mode, Only, Past, Record, Recovery, RestoreContext, RestoreId, RestorePlan, RestoreSummary,
    TargetState, Way,
};
use ready::{Asked, Ready, begin_elsewhere};
use show::{Estimate, Shown};

/// What a dry run ends with.
const DRY_RUN: &str = "Dry run: nothing was changed.";

pub(super) const HELP: &str = "\
The plan is shown first; --dry-run stops there. Without --replace nothing that exists is touched: the restore refuses when a \
target namespace exists. With --replace everything is loaded beside what exists and checked, then exchanged for it all at \
once; --keep-old keeps what was replaced, so that --undo can bring it back. A restore that fails or is interrupted (Ctrl-C) \
leaves the target as it was. One that was killed, or that lost its target for good, is finished with --resume or taken back \
with --undo; --unfinished lists such restores.

With --where, only the documents that match are restored, into collections that others go on using: with --mode insert none \
of them may be there, upsert puts the backup's in the place of those that are, missing leaves those as they are.

With --at or --before, the newest backup at or before that moment is restored, and the captured oplog is replayed on top of \
it; a backup that a verification found damaged is passed over, and --from names another one. A time is RFC 3339 (--at \
includes the whole second, --before stops short of it) or an exact seconds,increment; --at latest is the newest moment that \
can be restored, where 'regrow restore latest' is the newest backup.

Examples:
  regrow restore latest                            the whole newest backup, to the source
  regrow restore --at latest                       the newest moment, which the captured oplog leads to
  regrow restore --at 2026-11-23T10:15:00Z         everything up to and with that second
  regrow restore --before 1764032400,7             everything before exactly that operation
  regrow restore --before 1764032400,7 --ns shop.orders --replace --keep-old
  regrow restore 20261123 --ns shop.orders --map shop.orders=shop.orders_restored
  regrow restore 20261123 --except archive         all but the database archive
  regrow restore latest --map 'shop.*=shop_restored.*'
  regrow restore latest --to env:SCRATCH_URI --confirm rs0
  regrow restore --before 1764032400,7 --ns shop.orders --where '{\"tenantId\": \"t42\"}' --mode upsert
  regrow restore --undo 20261123T101500Z-7f3a      what that restore replaced is back";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup's id, a unique beginning of it, or latest
    #[arg(required_unless_present_any = ["at", "before", "later"], conflicts_with_all = ["at", "before", "later"])]
    backup: Option<String>,
    /// Restore the state at this moment, with everything that happened up to and at it; latest is the newest that can
    /// be restored
    #[arg(long, value_name = "TIME", group = "moment", conflicts_with_all = ["before", "later"])]
    at: Option<String>,
    /// Restore the state just before this moment
    #[arg(long, value_name = "TIME", group = "moment", conflicts_with = "later")]
    before: Option<String>,
    /// With --at or --before, the backup to begin with [default: the newest from which the captured oplog leads there,
    /// and that no verification found damaged]
    #[arg(long, value_name = "BACKUP", requires = "moment", conflicts_with = "later")]
    from: Option<String>,
    /// The deployment to restore into, as env:NAME or as a URI, whose password shows in the list of processes
    /// [default: the source]
    #[arg(long, value_name = "URI")]
    to: Option<String>,
    /// Restore only these namespaces: db, db.collection, db.* (may be repeated)
    #[arg(long = "ns", value_name = "PATTERN", conflicts_with = "later")]
    patterns: Vec<String>,
    /// Leave these namespaces of the backup out, of all or of what --ns chooses (may be repeated)
    #[arg(long, value_name = "PATTERN", conflicts_with = "later")]
    except: Vec<String>,
    /// Restore under another name: db=other, db.collection=other.collection or db.*=other.* (may be repeated)
    #[arg(long = "map", value_name = "FROM=TO", conflicts_with = "later")]
    maps: Vec<String>,
    /// Load, check and index these namespaces of the backup before all others (may be repeated: the first before the second)
    /// [default: those of the workloads, the shortest recovery time objective first]
    #[arg(long, value_name = "PATTERN", conflicts_with_all = ["undo", "forget", "unfinished"])]
    first: Vec<String>,
    /// Restore users and roles too; those that exist stay as they are
    #[arg(long, conflicts_with = "later")]
    users: bool,
    #[command(flatten)]
    existing: Existing,
    #[command(flatten)]
    later: later::Arguments,
    /// Show the plan and change nothing
    #[arg(long, conflicts_with = "unfinished")]
    dry_run: bool,
    /// With --undo and --confirm, undo what others have changed since in documents that the restore had replaced, too
    #[arg(long, requires = "undo")]
    discard_changes: bool,
    /// Confirm by the target's replica set name (or: standalone), instead of being asked for it
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
}

impl Arguments {
    /// Returns the moment that was asked for, as it was typed.
    fn moment(&self) -> Option<String> {
        let (at, before) = (self.at.as_ref(), self.before.as_ref());
        at.map(|at| format!("--at {at}")).or(before.map(|before| format!("--before {before}")))
    }
}

/// What becomes of what exists.
#[derive(Debug, clap::Args)]
struct Existing {
    /// Replace what exists: load beside it, check, then exchange all at once
    #[arg(long, conflicts_with = "later")]
    replace: bool,
    /// Keep what is replaced under another name, so that the restore can be undone
    #[arg(long, conflicts_with = "later")]
    keep_old: bool,
    /// Restore only the documents that match this filter, into collections that stay as they are otherwise
    #[arg(long = "where", value_name = "JSON", conflicts_with_all = ["replace", "later", "users"])]
    filter: Option<String>,
    /// With --where, what becomes of a document that is there already: insert refuses, upsert replaces it, missing
    /// leaves it
    #[arg(long, value_name = "MODE", requires = "filter", default_value = "insert")]
    mode: Mode,
}

impl Existing {
    fn only(&self) -> Result<Option<Only>> {
        if self.keep_old && !self.replace && self.filter.is_none() {
            return Err(Error::new(Kind::Usage, "--keep-old keeps what is replaced, and nothing is")
                .with_hint("add --replace, or --where"));
        }
        self.filter.as_ref().map(|filter| Only::parse(filter, self.mode)).transpose()
    }
}

pub(super) async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let config = session.config()?;
    let uri = match &arguments.to {
        Some(to) => session.target(to)?,
        None => config.source_uri()?,
    };
    if arguments.later.is_given() {
        return Box::pin(later::run(session, &config, &uri, &arguments)).await;
    }
    let asked = Asked::parse(&arguments, &config)?;
    let repository = session.repository(&config).await?;
    let evidence = record::of_late(session, &repository).await;
    let ready = Ready::find(session, &config, &repository, evidence.as_ref(), &asked).await?;
    let deployment = session.connect(&uri).await?;
    let target = TargetState::look(&deployment, &ready.plan).await?;
    target.check(&ready.plan)?;
    let now = session.clock.now();
    let estimate = Estimate::of(evidence.as_ref(), &ready.plan);
    let Ready { plan, segments, moment, remarks } = ready;
    let asked_for = arguments.moment();
    let shown = Shown {
        plan: &plan,
        asked_for: asked_for.as_deref(),
        deployment: &deployment,
        target: &target,
        remarks: &remarks,
        estimate,
        now,
    };
    show::plan(session, &shown);
    if arguments.dry_run {
        if session.json {
            println!("{}", show::plan_json(&shown));
        }
        session.say(DRY_RUN);
        return Ok(());
    }
    confirm(&deployment, arguments.confirm.as_deref()).await?;
    let id = RestoreId::generate(now, &session.random);
    let plan = if plan.is_staged() { plan.beside(&id) } else { plan };
    let journal = Journal::begin(&deployment, id, Record::of(&plan, moment), &session.random).await?;
    let context = RestoreContext {
        deployment,
        segments,
        progress: Progress::default(),
        journal: Some(journal),
        past: Past::default(),
    };
    let carried_out = execute(session, &config, &repository, evidence, &plan, &context).await;
    carried_out.map_err(|error| begin_elsewhere(error, &remarks))
}

/// Carries the plan out, records that as evidence, and answers.
async fn execute(
    session: &Session,
    config: &Config,
    repository: &Repository,
    evidence: Option<EvidenceLog>,
    plan: &RestorePlan,
    context: &RestoreContext,
) -> Result<()> {
    let (target, started_at) = (context.deployment.addresses(), session.clock.now());
    let restoring = Box::pin(restore::execute(plan, context, stop_requested()));
    let outcome = progress::show(session, "restore", &context.progress, restoring).await;
    let times = (started_at, session.clock.now());
    let result = result(plan, outcome.as_ref(), times);
    // In an incident the signing key may be lost.
    record::record_behind(session, config, repository, evidence, Event::Restore { result }).await;
    let summary = outcome?;
    if let Some(journal) = &context.journal {
        answer::answer(session, plan, &summary, journal.id(), &target);
    }
    Ok(())
}

/// Returns what evidence says of a restore. No namespaces, which an error may name.
fn result(
    plan: &RestorePlan,
    outcome: Result<&RestoreSummary, &Error>,
    (started_at, finished_at): (Timestamp, Timestamp),
) -> RestoreResult {
    RestoreResult {
        started_at,
        finished_at,
        backup: plan.manifest.id.clone(),
        recovered_to: plan.recovered_to(),
        everything: plan.is_everything(),
        problem: outcome.err().map(|error| error.in_public().to_owned()),
        namespaces: plan.items.len() as u64,
        documents: outcome.map_or_else(|_| plan.documents(), |summary| summary.documents),
        bytes: outcome.map_or_else(|_| plan.bytes(), |summary| summary.bytes),
        entries: plan.recovery.as_ref().map_or(0, |recovery| recovery.outlook.entries),
        phases: outcome.map(|summary| restore::as_recorded(&summary.phases)).unwrap_or_default(),
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

/// Makes sure that the person means this deployment: by its name, which nobody types by accident.
async fn confirm(deployment: &Deployment, given: Option<&str>) -> Result<()> {
    let name = deployment.name();
    let typed = match given {
        Some(given) => given.to_owned(),
        None if std::io::stdin().is_terminal() => ask(name).await?,
        None => {
            return Err(Error::refused("the restore was not confirmed")
                .with_hint(format!("to restore into this deployment, add --confirm {name}")));
        }
    };
    if typed == name {
        return Ok(());
    }
    Err(Error::refused(format!("'{typed}' is not the target's name, which is '{name}'"))
        .with_hint(format!("nothing was changed; the target is the deployment at {}", deployment.addresses())))
}

async fn ask(name: &str) -> Result<String> {
    let cannot = |error| Error::new(Kind::Refused, "cannot ask for confirmation").caused_by(error);
    eprint!("Type the target's name ({name}) to go on: ");
    std::io::stderr().flush().map_err(cannot)?;
    let typed = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = tokio::select! {
        typed = typed => typed.unwrap_or_else(|panic| Err(std::io::Error::other(panic))),
        () = stop_requested() => return Err(Error::new(Kind::Interrupted, "interrupted; nothing was changed")),
    };
    line.map(|line| line.trim().to_owned()).map_err(cannot)
}
