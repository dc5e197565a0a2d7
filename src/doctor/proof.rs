//! What verifications and drills have found: whether what is stored is known to restore.

use std::collections::BTreeSet;

use super::check::{Check, Doing, doing};
use super::{Found, Installation};
use crate::error::Result;
use crate::format::BackupId;
use crate::format::evidence::Event;
use crate::repository::{EvidenceLog, Listing};
use crate::units::{Moment, counted};

/// Tells of damage that is known, and of a drill that did not pass.
pub(super) async fn check(installation: &Installation, found: &Found) -> Check {
    let doing = doing("proof", "read what verifications and drills have found");
    let Some(repository) = &found.repository else { return doing.skipped("the repository cannot be opened") };
    let known = async {
        let (listing, log) = (repository.list().await?, repository.newest_evidence(installation.clock.now()).await?);
        Result::Ok((listing, log))
    };
    match known.await {
        Ok((listing, log)) => judge(doing, &listing, &log),
        Err(error) => doing.failed(&error),
    }
}

fn judge(doing: Doing, listing: &Listing, log: &EvidenceLog) -> Check {
    let known = listing.soundness(log);
    let kept: BTreeSet<&BackupId> = listing.backups.iter().map(|backup| &backup.id).collect();
    let damaged: Vec<String> = known.damaged.keys().filter(|id| kept.contains(id)).map(ToString::to_string).collect();
    let is_sound = listing.manifests().any(|manifest| !manifest.partial && !known.damaged.contains_key(&manifest.id));
    if !damaged.is_empty() {
        let (what, all) = (counted(damaged.len() as u64, "backup"), damaged.join(", "));
        let text = format!("{what} damaged, as verifications found: {all}");
        return if is_sound {
            doing.warning(text, "'regrow verify' names what of them; others can be restored, see 'regrow list'")
        } else {
            doing.problem(text, "no backup of everything is known to be sound: take one now, 'regrow backup'")
        };
    }
    if let Some(damage) = &known.oplog_damage {
        let since = Moment(damage.since);
        return doing.warning(
            format!("a part of the captured oplog is damaged, as the verification of {since} found"),
            "a new backup ('regrow backup') makes what follows it restorable",
        );
    }
    let drill = log.records().rev().find_map(|record| match &record.event {
        Event::Drill { run, result } => Some((run, result)),
        _ => None,
    });
    match drill {
        Some((run, result)) if !result.passed => doing.warning(
            format!("the newest drill, of {} at {}, did not pass", result.backup, Moment(run.finished_at)),
            "run 'regrow drill' and see what it says; where a check fails, take a new backup and drill that",
        ),
        _ if log.records().any(|record| matches!(record.event, Event::Verification { .. })) => {
            doing.ok("nothing is known against what is stored")
        }
        _ => doing.ok("nothing is known against what is stored, and nothing was verified yet"),
    }
}
