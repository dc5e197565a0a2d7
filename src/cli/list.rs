//! `regrow list`: backups, newest first, and the recovery window.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::marks::Marks;
use super::output::{backup_json, encryption, gap_json, leftovers_json, name_leftovers, table, time};
use super::{Session, record};
use crate::error::Result;
use crate::format::BackupId;
use crate::format::manifest::{Encryption, Manifest};
use crate::format::oplog::{Gap, Range};
use crate::repository::{CapturedTimeline, ListedBackup, Listing, Repository, recovery_window};
use crate::restore::known_damage;
use crate::units::ByteSize;

/// Backups that are known to be damaged, each with since when.
type Damage = BTreeMap<BackupId, Timestamp>;

pub(super) async fn run(session: &Session) -> Result<()> {
    let config = session.config()?;
    let repository = session.repository(&config).await?;
    let (listing, captured) = (repository.list().await?, repository.captured().await?);
    let damage = record::of_late(session, &repository).await.as_ref().map(known_damage).unwrap_or_default();
    let sound = listing.backups.iter().filter_map(|backup| backup.manifest.as_ref().ok());
    let sound = sound.filter(|manifest| !damage.contains_key(&manifest.id));
    let window = recovery_window(sound, &captured);
    let gaps = gaps(&repository, &captured).await?;
    let marks = Marks::read(&repository).await;
    if session.json {
        let answer = json!({
            "backups": listing.backups.iter().map(|backup| item(backup, &marks, &damage)).collect::<Vec<_>>(),
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
        print(session, &listing, &damage);
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
            "warning: the verification of {} found {id} damaged; 'regrow verify {id}' names what of it",
            time(*since)
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
            json!({ "id": backup.id, "kind": backup.id.kind(), "state": "damaged", "problem": error.to_string() })
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
    if window.is_empty() {
        return;
    }
    println!("\nRECOVERY WINDOW");
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

fn print(session: &Session, listing: &Listing, damage: &Damage) {
    let heading =
        ["BACKUP", "STATE AS OF", "CONSISTENCY", "NAMESPACES", "DOCUMENTS", "DATA", "STORED", "ENCRYPTION", ""];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(listing.backups.iter().map(|backup| match &backup.manifest {
        Ok(manifest) => row(manifest, damage),
        Err(_) => [backup.id.as_str(), "DAMAGED", "", "", "", "", "", "", ""].map(str::to_owned),
    }));
    table(&rows, [false, false, false, true, true, true, true, false, false]);
    let unencrypted = listing
        .backups
        .iter()
        .filter(|backup| backup.manifest.as_ref().is_ok_and(|manifest| manifest.encryption == Encryption::None));
    let sound = listing.backups.iter().filter_map(|backup| backup.manifest.as_ref().ok());
    if sound.into_iter().any(|manifest| manifest.increments() > 0) {
        session.say("+1, +2 …: an increment, the first, the second … behind a full backup, with which it is restored");
    }
    let count = unencrypted.count();
    if count > 0 {
        let are = if count == 1 { "is" } else { "are" };
        session.say(format_args!("warning: {count} of these backups {are} NOT ENCRYPTED"));
    }
}

fn row(manifest: &Manifest, damage: &Damage) -> [String; 9] {
    [
        match manifest.increments() {
            0 => manifest.id.to_string(),
            number => format!("{} +{number}", manifest.id),
        },
        match manifest.cluster_time {
            Some(at) => time(at.wall()),
            None if manifest.imported.is_some() => "unknown: imported".into(),
            None => time(manifest.started_at),
        },
        manifest.consistency.as_str().into(),
        manifest.namespaces.to_string(),
        manifest.documents.to_string(),
        ByteSize(manifest.bytes_raw).to_string(),
        ByteSize(manifest.bytes_stored).to_string(),
        encryption(manifest.encryption).into(),
        if damage.contains_key(&manifest.id) { "DAMAGED".into() } else { String::new() },
    ]
}
