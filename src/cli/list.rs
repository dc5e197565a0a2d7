//! `regrow list`: backups, newest first, and the recovery window.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::marks::Marks;
use super::output::{backup_json, gap_json, leftovers_json, name_leftovers, table, time};
use super::{Session, record};
use crate::error::{Error, Kind, Result};
use crate::format::BackupId;
use crate::format::manifest::{Consistency, Encryption, Manifest};
use crate::format::oplog::{Gap, Range};
use crate::repository::{CapturedTimeline, ListedBackup, Listing, Repository, recovery_window, sound_oplog};
use crate::units::ByteSize;

/// Backups that are known to be damaged, each with since when.
type Damage = BTreeMap<BackupId, Timestamp>;

pub(super) async fn run(session: &Session) -> Result<()> {
    let config = session.config()?;
    let repository = session.repository(&config).await?;
    let (listing, captured) = (repository.list().await?, repository.captured().await?);
    let evidence = record::of_late(session, &repository).await;
    let soundness = evidence.map(|log| listing.soundness(&log)).unwrap_or_default();
    let damage = &soundness.damaged;
    let sound = listing.manifests().filter(|manifest| !damage.contains_key(&manifest.id));
    let window = recovery_window(sound, &sound_oplog(&captured, soundness.oplog_damage.as_ref()));
    let gaps = gaps(&repository, &captured).await?;
    let marks = Marks::read(&repository).await;
    if session.json {
        let answer = json!({
            "backups": listing.backups.iter().map(|backup| item(backup, &marks, damage)).collect::<Vec<_>>(),
            "recovery_window": window,
            "gaps": gaps.iter().map(gap_json).collect::<Vec<_>>(),
            "leftovers": leftovers_json(&listing.leftovers),
        });
        println!("{answer}");
        return Ok(());
    }
    if listing.backups.is_empty() {
        session.say("No backups yet. Take one with 'regrow backup'.");
    } else {
        print(session, &listing, damage, &marks);
        print_window(&window, &gaps);
    }
    name_leftovers(session, &listing.leftovers);
    marks.say(session);
    for damaged in &listing.backups {
        if let Err(error) = &damaged.manifest {
            session.say(format_args!("warning: {} cannot be restored: {error}", damaged.id));
        }
    }
    for (id, since) in listing.backups.iter().filter_map(|backup| damage.get_key_value(&backup.id)) {
        session.say(format_args!(
            "warning: {id} is damaged, as the verification of {} found; 'regrow verify {id}' names what of it",
            time(*since)
        ));
    }
    if let Some(damage) = &soundness.oplog_damage {
        session.say(format_args!(
            "warning: a part of the captured oplog is damaged, as the verification of {} found; moments that need it are not in \
             the window",
            time(damage.since)
        ));
    }
    Ok(())
}

fn item(backup: &ListedBackup, marks: &Marks, damage: &Damage) -> Value {
    match &backup.manifest {
        Ok(manifest) => {
            let mut item = backup_json(manifest);
            marks.add_to(&mut item, &backup.id);
            item["damaged_since"] = json!(damage.get(&backup.id));
            item
        }
        Err(error) => {
            let state = unusable(error).to_lowercase();
            json!({ "id": backup.id, "kind": backup.id.kind(), "state": state, "problem": error.to_string() })
        }
    }
}

/// Reads the records of all gaps, for their causes.
async fn gaps(repository: &Repository, captured: &[CapturedTimeline]) -> Result<Vec<Gap>> {
    let mut gaps = Vec::new();
    for CapturedTimeline { timeline, gaps: ranges, .. } in captured {
        for range in ranges {
            gaps.push(repository.gap(&timeline.id, *range).await?);
        }
    }
    Ok(gaps)
}

/// Says which moments can be restored.
fn print_window(window: &[Range], gaps: &[Gap]) {
    println!("\nRECOVERY WINDOW");
    if window.is_empty() {
        println!("none: no backup of everything that shows one moment, and that nothing is known against");
    }
    for Range { begin, end } in window {
        if begin == end {
            println!("{}  this moment only", time(begin.wall()));
        } else {
            println!("{} to {}  any second", time(begin.wall()), time(end.wall()));
        }
    }
    for gap in gaps {
        println!("lost: {} to {}; {}", time(gap.begin.wall()), time(gap.end.wall()), gap.cause);
    }
}

fn print(session: &Session, listing: &Listing, damage: &Damage, marks: &Marks) {
    let mut rows = vec![["BACKUP", "", "STATE AS OF", "DOCUMENTS", "DATA", "STORED"].map(str::to_owned)];
    rows.extend(listing.backups.iter().map(|backup| match &backup.manifest {
        Ok(manifest) => row(manifest, damage, marks),
        Err(error) => [backup.id.as_str(), unusable(error), "", "", "", ""].map(str::to_owned),
    }));
    table(&rows, [false, false, false, true, true, true]);
    let unencrypted = listing
        .backups
        .iter()
        .filter(|backup| backup.manifest.as_ref().is_ok_and(|manifest| manifest.encryption == Encryption::None));
    if listing.manifests().any(|manifest| manifest.increments() > 0) {
        session.say("+1, +2 …: an increment, the first, the second … behind a full backup, with which it is restored");
    }
    let count = unencrypted.count();
    if count > 0 {
        let are = if count == 1 { "is" } else { "are" };
        session.say(format_args!("warning: {count} of these backups {are} NOT ENCRYPTED"));
    }
}

fn row(manifest: &Manifest, damage: &Damage, marks: &Marks) -> [String; 6] {
    [
        match manifest.increments() {
            0 => manifest.id.to_string(),
            number => format!("{} +{number}", manifest.id),
        },
        state(manifest, damage, marks),
        match manifest.cluster_time {
            Some(at) => time(at.wall()),
            None if manifest.imported.is_some() => "unknown: imported".into(),
            None => time(manifest.started_at),
        },
        manifest.documents.to_string(),
        ByteSize(manifest.bytes_raw).to_string(),
        ByteSize(manifest.bytes_stored).to_string(),
    ]
}

/// Returns what is wrong with a backup that is not known to be whole: what cannot be read is not damaged for that.
fn unusable(error: &Error) -> &'static str {
    if matches!(error.kind(), Kind::Damaged | Kind::NotFound) { "DAMAGED" } else { "UNREADABLE" }
}

/// Returns what somebody must know of a backup before its size.
fn state(manifest: &Manifest, damage: &Damage, marks: &Marks) -> String {
    let said = [
        (damage.contains_key(&manifest.id), "DAMAGED"),
        (marks.has_expired(&manifest.id), "expired"),
        (manifest.encryption == Encryption::None, "NOT ENCRYPTED"),
        (manifest.partial, "partial"),
        (manifest.consistency == Consistency::None, "inconsistent"),
    ];
    let said: Vec<&str> = said.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word).collect();
    said.join(", ")
}
