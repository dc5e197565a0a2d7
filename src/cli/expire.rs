//! `regrow expire`: retention now.

use serde_json::{Value, json};

use super::output::{counted, table, time};
use super::{Session, lease, record};
use crate::error::{Error, Result};
use crate::expire::{self, Expired, ExpiryContext, ExpiryPlan};
use crate::format::{BackupId, Job};
use crate::policy::Retention;
use crate::policy::retention::{Reason, Verdict};

pub(super) const HELP: &str = "\
Keeps what [retention] says, and always: the newest good backup, what is under hold, what was taken by hand, and what \
every second of the last [retention] oplog begins with; and with an increment everything that it builds on. What expires is marked first and stays for three days, in which \
'regrow undelete' brings it back; then its bytes go. How old something is, is counted up to the newest moment that is stored, as the server told it, or to now, where \
that is earlier: a clock that is ahead lets nothing go too early.

Examples:
  regrow expire --dry-run      # what would happen
  regrow expire";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Show what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let retention = config.retention().ok_or_else(|| {
        Error::configuration("the configuration has no [retention]: everything is kept")
            .with_hint("add [retention] with daily, weekly, monthly and oplog to let old backups go")
    })?;
    let repository = session.repository(&config).await?;
    if arguments.dry_run {
        let plan = expire::plan(&repository, &retention, session.clock.now()).await?;
        answer(session, &plan, None);
        return Ok(());
    }
    let signing_key = config.signing_key()?;
    repository.accept_signer(&signing_key)?;
    let lease = lease::take(session, &repository, &signing_key, "regrow expire").await?;
    let context = ExpiryContext {
        repository: &repository,
        signing_key: &signing_key,
        lease: &lease,
        clock: &session.clock,
        random: &session.random,
    };
    let started_at = session.clock.now();
    let outcome = apply(&context, &retention).await;
    lease::give_back(&lease).await;
    let (plan, done, outcome) = outcome?;
    let run = record::by_hand(session, Job::Expire, started_at);
    record::record(session, &config, &repository, &signing_key, done.event(run, outcome.is_err())).await;
    outcome?;
    answer(session, &plan, Some(&done));
    Ok(())
}

async fn apply(context: &ExpiryContext<'_>, retention: &Retention) -> Result<(ExpiryPlan, Expired, Result<()>)> {
    let plan = expire::plan(context.repository, retention, context.clock.now()).await?;
    let mut done = Expired::default();
    let outcome = expire::execute(&plan, context, &mut done).await;
    Ok((plan, done, outcome))
}

fn answer(session: &Session, plan: &ExpiryPlan, done: Option<&Expired>) {
    if session.json {
        println!("{}", as_json(plan, done));
    } else {
        print_plan(plan);
    }
    if let Some(done) = done {
        let (expired, removed) =
            (counted(done.expired.len() as u64, "backup"), counted(done.removed.len() as u64, "backup"));
        let oplog = counted(done.oplog_objects, "object");
        session.say(format_args!("{expired} expired; removed: {removed}, {oplog} of the oplog"));
        if let Some(denied) = &done.denied {
            session.say(format_args!("note: the rest was not removed: {denied}"));
            session
                .say("note: nothing is wrong with that; let a lifecycle rule or another account remove what expired");
        }
    } else {
        session.say("nothing was changed (--dry-run)");
    }
    if let Some(newest) = plan.held_back_to {
        session.say(format_args!(
            "note: {} is the newest moment that is stored, and nothing counts as older than it was then; by this machine's clock more would go",
            time(newest)
        ));
    }
    for id in &plan.damaged {
        session.say(format_args!("warning: {id} is damaged and was left alone; 'regrow verify' says more"));
    }
}

fn print_plan(plan: &ExpiryPlan) {
    if !plan.backups.is_empty() {
        let mut rows = vec![["BACKUP", "FATE", "WHY"].map(str::to_owned)];
        rows.extend(plan.backups.iter().map(|(id, verdict)| {
            let (fate, why) = fate(plan, id, verdict);
            [id.to_string(), fate.to_owned(), why]
        }));
        table(&rows, [false, false, false]);
    }
    for id in &plan.remains {
        println!("{id}  remove  what an interrupted run has left");
    }
    if !plan.oplog.is_empty() {
        println!(
            "oplog: {} in {} remove: no recovery window needs them",
            counted(plan.slice_count(), "slice"),
            counted(plan.oplog.len() as u64, "object")
        );
    }
}

fn fate(plan: &ExpiryPlan, id: &BackupId, verdict: &Verdict) -> (&'static str, String) {
    let children = || plan.kept_children(id).map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    match verdict {
        Verdict::Keep(reasons) => {
            let words = reasons.iter().map(|reason| match reason {
                Reason::Needed if plan.kept_children(id).next().is_none() => "something damaged builds on it".into(),
                Reason::Needed => format!("kept for {}, which builds on it", children()),
                other => words(*other).to_owned(),
            });
            ("keep", words.collect::<Vec<_>>().join(", "))
        }
        Verdict::Expire => ("expire", "no rule keeps it".into()),
        Verdict::Expired(until) => ("expired", format!("can be brought back until {}", time(*until))),
        Verdict::Remove => ("remove", "it expired, and its grace period is over".into()),
    }
}

fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::Held => "under hold",
        Reason::Manual => "taken by hand",
        Reason::Unlimited => "its kind is not limited",
        Reason::Newest => "one of the newest of its kind",
        Reason::Period => "the newest of its day, week or month",
        Reason::LastGood => "the newest good backup",
        Reason::LastVerified => "the newest verified backup",
        Reason::Window => "the recovery window begins with it",
        Reason::Needed => "something builds on it",
    }
}

fn as_json(plan: &ExpiryPlan, done: Option<&Expired>) -> Value {
    let backups = plan.backups.iter().map(|(id, verdict)| {
        let (fate, why) = fate(plan, id, verdict);
        json!({ "id": id, "fate": fate, "why": why })
    });
    json!({
        "dry_run": done.is_none(),
        "backups": backups.collect::<Vec<_>>(),
        "remains": plan.remains,
        "damaged": plan.damaged,
        "held_back_to": plan.held_back_to,
        "oplog_slices": plan.slice_count(),
        "oplog_objects": plan.oplog.len(),
        "expired": done.map(|done| &done.expired),
        "removed": done.map(|done| &done.removed),
        "oplog_objects_removed": done.map(|done| done.oplog_objects),
        "denied": done.and_then(|done| done.denied.as_ref()),
    })
}
