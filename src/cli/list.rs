//! `regrow list`: backups, newest first, and the recovery window.

use serde_json::{Value, json};

use super::Session;
use super::output::{backup_json, encryption, leftovers_json, name_leftovers, table, time};
use crate::error::Result;
use crate::format::manifest::{Encryption, Manifest};
use crate::repository::{ListedBackup, Listing};
use crate::units::ByteSize;

pub(super) async fn run(session: &Session) -> Result<()> {
    let config = session.config()?;
    let listing = session.repository(&config).await?.list().await?;
    if session.json {
        let answer = json!({
            "backups": listing.backups.iter().map(item).collect::<Vec<_>>(),
            "recovery_window": recovery_window(&listing),
            "leftovers": leftovers_json(&listing.leftovers),
        });
        println!("{answer}");
        return Ok(());
    }
    if listing.backups.is_empty() {
        session.say("No backups yet. Take one with 'regrow backup'.");
    } else {
        print(session, &listing);
    }
    name_leftovers(session, &listing.leftovers);
    for damaged in &listing.backups {
        if let Err(error) = &damaged.manifest {
            session.say(format_args!("warning: {} cannot be restored: {error}", damaged.id));
        }
    }
    Ok(())
}

fn item(backup: &ListedBackup) -> Value {
    match &backup.manifest {
        Ok(manifest) => backup_json(manifest),
        Err(error) => {
            json!({ "id": backup.id, "kind": backup.id.kind(), "state": "damaged", "problem": error.to_string() })
        }
    }
}

/// Without captured oplog, each backup's own moment is all there is to go back to.
fn recovery_window(listing: &Listing) -> Vec<Value> {
    let sound = listing.backups.iter().filter_map(|backup| backup.manifest.as_ref().ok());
    sound.filter_map(|manifest| manifest.cluster_time).map(|time| json!({ "begin": time, "end": time })).collect()
}

fn print(session: &Session, listing: &Listing) {
    let heading = ["BACKUP", "STATE AS OF", "CONSISTENCY", "NAMESPACES", "DOCUMENTS", "DATA", "STORED", "ENCRYPTION"];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(listing.backups.iter().map(|backup| match &backup.manifest {
        Ok(manifest) => row(manifest),
        Err(_) => [backup.id.as_str(), "DAMAGED", "", "", "", "", "", ""].map(str::to_owned),
    }));
    table(&rows, [false, false, false, true, true, true, true, false]);
    let unencrypted = listing
        .backups
        .iter()
        .filter(|backup| backup.manifest.as_ref().is_ok_and(|manifest| manifest.encryption == Encryption::None));
    let count = unencrypted.count();
    if count > 0 {
        session.say(format_args!("warning: {count} of these backups are NOT ENCRYPTED"));
    }
}

fn row(manifest: &Manifest) -> [String; 8] {
    [
        manifest.id.to_string(),
        manifest.cluster_time.map_or_else(|| time(manifest.started_at), |at| time(at.wall())),
        manifest.consistency.as_str().into(),
        manifest.namespaces.to_string(),
        manifest.documents.to_string(),
        ByteSize(manifest.bytes_raw).to_string(),
        ByteSize(manifest.bytes_stored).to_string(),
        encryption(manifest.encryption).into(),
    ]
}
