//! What a restore says of its outcome.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::Session;
use super::super::output::{counted, moment};
use super::show::MAX_NAMED;
use crate::restore::{Merged, Mode, Only, Replayed, RestoreId, RestorePlan, RestoreSummary};
use crate::units::Elapsed;

pub(super) fn answer(session: &Session, plan: &RestorePlan, summary: &RestoreSummary, id: &RestoreId, target: &str) {
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
            "restore": id.to_string(),
            "backup": plan.manifest.id,
            "target": target,
            "recovered_to": plan.recovered_to(),
            "replayed": summary.replayed.map_or(0, |replayed| replayed.operations),
            "split_transactions": summary.replayed.map_or(0, |replayed| replayed.split_transactions),
            "namespaces": summary.namespaces,
            "documents": summary.documents,
            "bytes": summary.bytes,
            "accounts": summary.accounts,
            "kept": summary.kept,
            "can_be_undone": summary.can_be_undone,
            "written": summary.merged.map(|merged| merged.written),
            "left_as_they_were": summary.merged.map(|merged| merged.left),
            "seconds": summary.elapsed.as_secs_f64(),
            "phases": phases,
            "dry_run": false,
        });
        println!("{answer}");
        return;
    }
    match (&plan.request.only, summary.merged) {
        (Some(only), Some(merged)) => say_merged(plan, only, merged),
        _ => say_restored(plan, summary),
    }
    if let (Some(_), Some(to)) = (&plan.recovery, plan.recovered_to()) {
        let state = format!("this is the state at {}", moment(to));
        match &summary.replayed {
            Some(replayed) => {
                println!("Replayed {} on top of the backup's; {state}.", counted(replayed.operations, "operation"));
            }
            None => println!("The run before had replayed the oplog; {state}."),
        }
    }
    if plan.accounts.is_some() {
        println!("Users and roles added: {}; those that existed stay as they were.", summary.accounts);
    }
    kept(plan, summary, id);
    let worth_a_word = summary.phases.iter().filter(|(_, time)| *time >= Duration::from_millis(50));
    let phases: Vec<String> = worth_a_word.map(|(name, time)| format!("{name} {}", Elapsed(*time))).collect();
    let of_which = match phases.len() {
        0 => String::new(),
        1 => format!(" ({})", phases[0]),
        _ => format!(" ({}; they overlap)", phases.join(", ")),
    };
    println!("It took {}{of_which}.", Elapsed(summary.elapsed));
}

/// Says what is left of what was replaced, and how to get it back or to get rid of it.
fn kept(plan: &RestorePlan, summary: &RestoreSummary, id: &RestoreId) {
    if !summary.can_be_undone {
        return;
    }
    let replaced = if summary.kept.is_empty() { "" } else { "What was replaced is still there. " };
    println!("{replaced}To undo this restore: regrow restore --undo {id}");
    for namespace in summary.kept.iter().take(MAX_NAMED) {
        println!("  {namespace}");
    }
    if summary.kept.len() > MAX_NAMED {
        println!("  and {} more", summary.kept.len() - MAX_NAMED);
    }
    if plan.request.only.is_some() {
        println!("Until then, copies of what was written stay beside it, in the collections regrow.{id}.N.");
    }
    if plan.request.keep_old {
        println!("To be rid of it when all is well: regrow restore --forget {id}");
    }
}

fn say_restored(plan: &RestorePlan, summary: &RestoreSummary) {
    let (documents, namespaces) = (counted(summary.documents, "document"), counted(summary.namespaces, "namespace"));
    println!("Restored {documents} in {namespaces} from {}.", plan.manifest.id);
    println!("Every document was read back and is the one that was backed up.");
}

fn say_merged(plan: &RestorePlan, only: &Only, merged: Merged) {
    let written = counted(merged.written, "document");
    let matching = if merged.written == 1 { "matches" } else { "match" };
    println!("Restored {written} that {matching} {} from {}.", only.text(), plan.manifest.id);
    if merged.left > 0 {
        let left = counted(merged.left, "other document");
        match only.mode() {
            Mode::Missing => println!("There already, and as before: {left} that would match."),
            _ => println!("There already, just as in the backup: {left} that would match."),
        }
    }
}
