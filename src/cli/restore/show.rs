//! What a restore says of its plan.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::Session;
use super::super::output::{are, counted, entries, moment};
use super::ready::LATEST;
use crate::compliance::restore_time;
use crate::format::evidence::Event;
use crate::mongo::Deployment;
use crate::repository::EvidenceLog;
use crate::restore::{LeadsOn, Mode, Only, Remarks, RestoreItem, RestorePlan, TargetState};
use crate::units::{ByteSize, Elapsed, Moment};

/// How many namespaces are named before the others are only counted.
pub(super) const MAX_NAMED: usize = 20;

/// Estimates are no better than that.
const SHORT: Duration = Duration::from_secs(10);

/// How long a restore should take, and where that is known from.
pub(super) struct Estimate {
    pub(super) time: Duration,
    /// When the drill was whose rates these are; none where it is a guess.
    drill: Option<Timestamp>,
}

impl Estimate {
    /// Goes by the newest drill that passed; without one, by a machine of two cores.
    pub(super) fn of(evidence: Option<&EvidenceLog>, plan: &RestorePlan) -> Self {
        let newest_first = evidence.into_iter().flat_map(|log| log.records().rev());
        let mut drills = newest_first.filter_map(|record| match &record.event {
            Event::Drill { result, .. } if result.passed && result.bytes > 0 => Some((record.recorded_at, result)),
            _ => None,
        });
        match drills.next() {
            Some((at, drill)) => {
                let replayed = plan.recovery.as_ref().map_or(0, |recovery| recovery.outlook.entries);
                Self { time: restore_time(drill, plan.bytes(), replayed), drill: Some(at) }
            }
            None => Self { time: plan.estimate(), drill: None },
        }
    }

    fn in_words(&self) -> String {
        let time = match self.time {
            time if time < SHORT => "a few seconds".to_owned(),
            time => format!("about {}", Elapsed(time)),
        };
        match self.drill {
            Some(at) => format!("{time}, at the rates of the drill of {}", Moment(at)),
            None => format!("{time}, at the rates of a machine with two cores; a drill would measure those of yours"),
        }
    }
}

/// What a plan is shown with.
pub(super) struct Shown<'a> {
    pub(super) plan: &'a RestorePlan,
    /// The moment that was asked for, as it was typed.
    pub(super) asked_for: Option<&'a str>,
    pub(super) deployment: &'a Deployment,
    pub(super) target: &'a TargetState,
    pub(super) remarks: &'a Remarks,
    pub(super) estimate: Estimate,
    pub(super) now: Timestamp,
}

pub(super) fn plan(session: &Session, shown: &Shown<'_>) {
    let Shown { plan, deployment, .. } = *shown;
    session.say(format_args!("Restore {} into {} at {}:", plan.manifest.id, deployment.name(), deployment.addresses()));
    if let Some(asked_for) = shown.asked_for {
        session.say(format_args!("  asked for: {asked_for}"));
    }
    if let Some(at) = plan.recovered_to() {
        let age = shown.now.duration_since(at.wall()).unsigned_abs();
        session.say(format_args!(
            "  the state at {}, {} ago; what was written after that moment is not in it",
            moment(at),
            Elapsed(age)
        ));
    } else {
        session.say("  each collection as it was when it was read: the backup is of a server without an oplog");
    }
    if let Some(increment) = &plan.manifest.incremental {
        let increments = counted(increment.number.into(), "increment");
        session.say(format_args!("  from the full backup {} and {increments}", increment.base));
    }
    if let Some(recovery) = &plan.recovery {
        let bytes = ByteSize(recovery.bytes());
        match recovery.outlook.entries {
            0 => session.say(format_args!("  nothing is to be replayed ({bytes} of the oplog are read for that)")),
            number => session.say(format_args!("  by replaying {} of the oplog ({bytes})", entries(number))),
        }
    }
    let namespaces = counted(plan.items.len() as u64, "namespace");
    let of_backup = match (&plan.request.only, &plan.recovery) {
        (Some(_), _) => " to look through",
        (None, Some(_)) => " in the backup",
        (None, None) => "",
    };
    let up_to = if plan.request.only.is_some() { "up to " } else { "" };
    session.say(format_args!("  {up_to}{}{of_backup} into {namespaces}:", amount(plan.documents(), plan.bytes())));
    for item in plan.items.iter().take(MAX_NAMED) {
        session.say(format_args!("    {}", item_in_words(item, plan, shown.target, of_backup)));
    }
    if plan.items.len() > MAX_NAMED {
        session.say(format_args!("    and {} more", plan.items.len() - MAX_NAMED));
    }
    if !plan.request.except.is_empty() {
        let except: Vec<String> = plan.request.except.iter().map(ToString::to_string).collect();
        session.say(format_args!("  left out by --except: {}", except.join(", ")));
    }
    replacement(session, shown);
    warnings(session, shown);
    session.say(format_args!("  {}", shown.estimate.in_words()));
    accounts(session, plan);
}

/// Says what becomes of what exists.
fn replacement(session: &Session, shown: &Shown<'_>) {
    if let Some(only) = &shown.plan.request.only {
        merging(session, shown.plan, only);
        return;
    }
    let replaced = shown.target.existing.len() as u64;
    if replaced == 0 {
        return;
    }
    let fate = match (shown.plan.request.keep_old, replaced) {
        (true, 1) => "what was there stays as NAME_replaced_TIME, and --undo brings it back",
        (true, _) => "what was there stays as NAME_replaced_TIME each, and --undo brings all of it back",
        (false, _) => "what was there is dropped when everything is restored and checked; --keep-old would keep it",
    };
    let how = match (shown.target.exchanges_at_once, replaced) {
        (_, 1) => "",
        (true, _) => ", all at once",
        (false, _) => ", one after the other",
    };
    session.say(format_args!("  {} replaced{how} in the end: {fate}", are(replaced, "namespace")));
    if !shown.target.exchanges_at_once && replaced > 1 {
        session.say("  note: a crash in that moment leaves some replaced and others not, until --resume or --undo; only a user who");
        session.say("  may do anything to anything can replace all at once (see docs/PRIVILEGES.md)");
    }
}

/// Says which documents go into live collections.
fn merging(session: &Session, plan: &RestorePlan, only: &Only) {
    session
        .say(format_args!("  only documents that match {}; nothing else in these collections is touched", only.text()));
    let fate = match only.mode() {
        Mode::Insert => "if any of them is there already, nothing is restored (--mode insert)",
        Mode::Upsert => "they take the place of those with the same _id (--mode upsert)",
        Mode::Missing => "those whose _id is there already stay as they are (--mode missing)",
    };
    session.say(format_args!("  {fate}"));
    session.say("  how many match is known when all have been looked through");
    if plan.request.keep_old && only.mode() == Mode::Upsert {
        session.say("  what they take the place of is kept beside them, as regrow.ID.N.old: --undo puts it back, --forget drops it");
    }
    if !plan.left_out.is_empty() {
        let left_out = plan.left_out.join(", ");
        session.say(format_args!("  left out, because their documents cannot be restored one by one: {left_out}"));
    }
}

/// Says what is known against backups, and how far the captured oplog would lead.
fn remarks(session: &Session, plan: &RestorePlan, remarks: &Remarks) {
    let id = &plan.manifest.id;
    for (id, problem) in &remarks.unreadable {
        session.say(format_args!("  warning: {id} cannot be restored: {problem}"));
    }
    for (id, since) in &remarks.passed_over {
        session.say(format_args!(
            "  warning: {id} is newer and passed over: the verification of {} found it damaged",
            Moment(*since)
        ));
    }
    if let Some(since) = remarks.damaged_since {
        let around = match (&remarks.other, &remarks.sound) {
            (Some(other), _) => format!("{other} leads to the same moment: --from {other}"),
            (None, Some(sound)) => format!("nothing is known against {sound}, the newest such backup"),
            (None, None) => "there is no other backup of everything that nothing is known against".into(),
        };
        let what = match &remarks.damaged_ancestor {
            Some(ancestor) => format!("{ancestor} damaged, which {id} builds on"),
            None => format!("{id} damaged"),
        };
        session.say(format_args!("  warning: the verification of {} found {what}; {around}", Moment(since)));
        session.say("  (where the damage is met the restore fails, and leaves the target as it was)");
    }
    if let Some(LeadsOn { to, is_newest }) = remarks.leads_on {
        let at = if is_newest { LATEST.to_owned() } else { to.to_string() };
        session.say(format_args!(
            "  note: the captured oplog leads on from it to {}: --at {at} in place of the backup's name",
            moment(to)
        ));
    }
}

fn warnings(session: &Session, shown: &Shown<'_>) {
    let (plan, target) = (shown.plan, shown.target);
    remarks(session, plan, shown.remarks);
    for known in target.unfinished(plan) {
        let id = &known.id;
        session.say(format_args!(
            "  warning: the restore {id} of the same namespaces did not end; --resume {id} goes on with it, --undo {id} takes it back"
        ));
    }
    if target.may_not_fit(plan) {
        let free = ByteSize(target.free_bytes.unwrap_or_default());
        session.say(format_args!(
            "  warning: the target has {free} free, and the documents have {}",
            ByteSize(plan.bytes())
        ));
    }
    if plan.source.replica_set.as_deref() != shown.deployment.hello.replica_set.as_deref() {
        let source = plan.source.replica_set.as_deref().unwrap_or("a standalone server");
        session.say(format_args!("  note: the backup was taken from {source} (source {})", plan.source.name));
    }
}

fn accounts(session: &Session, plan: &RestorePlan) {
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

fn item_in_words(item: &RestoreItem, plan: &RestorePlan, target: &TargetState, of_backup: &str) -> String {
    let source = item.record.namespace();
    let from = if source == item.target() { String::new() } else { format!(" (was {source})") };
    let holds = match item.size() {
        _ if item.is_view() => "view".to_owned(),
        // Made, or made anew, since the backup.
        (0, 0) if plan.recovery.is_some() => "what the oplog brings".to_owned(),
        (documents, bytes) => amount(documents, bytes) + of_backup,
    };
    let replaces = if plan.request.only.is_none() && target.existing.contains(&item.target()) {
        ", replaces what exists"
    } else {
        ""
    };
    format!("{}{from}: {holds}{replaces}", item.target())
}

fn amount(documents: u64, bytes: u64) -> String {
    format!("{}, {}", counted(documents, "document"), ByteSize(bytes))
}

pub(super) fn plan_json(shown: &Shown<'_>) -> Value {
    let Shown { plan, deployment, target, remarks, estimate, .. } = shown;
    let items = plan.items.iter().map(|item| {
        json!({ "namespace": item.target(), "from": item.record.namespace(), "documents": item.size().0, "bytes": item.size().1,
                "replaces": plan.request.only.is_none() && target.existing.contains(&item.target()) })
    });
    json!({
        "backup": plan.manifest.id,
        "target": deployment.addresses(),
        "base": plan.manifest.incremental.as_ref().map_or(&plan.manifest.id, |increment| &increment.base),
        "increments": plan.manifest.increments(),
        "recovered_to": plan.recovered_to(),
        "replay_entries": plan.recovery.as_ref().map_or(0, |recovery| recovery.outlook.entries),
        "estimated_seconds": estimate.time.as_secs(),
        "passed_over": remarks.passed_over.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        "damaged_since": remarks.damaged_since,
        "oplog_leads_on_to": remarks.leads_on.map(|leads_on| leads_on.to),
        "free_bytes": target.free_bytes,
        "target_version": target.version,
        "namespaces": plan.items.len(),
        "documents": plan.documents(),
        "bytes": plan.bytes(),
        "plan": items.collect::<Vec<_>>(),
        "dry_run": true,
    })
}
