//! Backups: manifests, and the objects that they name.

use std::collections::VecDeque;

use super::{Finding, Stored, ToRead, Verification, manifest_of, wrong_size};
use crate::error::{Kind, Result};
use crate::format::manifest::Manifest;
use crate::format::{BackupId, layout};
use crate::repository::Repository;

/// Checks the named backups, or all that are committed. Returns what remains to be read, and the sound manifests.
pub(super) async fn check(
    repository: &Repository,
    named: &[BackupId],
    stored: &Stored,
    verification: &mut Verification,
) -> Result<(Vec<ToRead>, Vec<Manifest>)> {
    let all: Vec<BackupId> = stored.keys().filter_map(|key| manifest_of(key)).collect();
    let mut chosen: VecDeque<BackupId> = if named.is_empty() { all.into() } else { named.to_vec().into() };
    let (mut to_read, mut manifests) = (Vec::new(), Vec::new());
    while let Some(id) = chosen.pop_front() {
        if verification.backups.contains(&id) {
            continue;
        }
        let key = layout::manifest(&id);
        match repository.manifest(&id).await {
            Ok(manifest) => {
                verification.checked_objects += 1;
                to_read.extend(objects(&manifest, stored, verification));
                if let Some(parent) = manifest.parent() {
                    verification.parents.insert(id.clone(), parent.clone());
                    if stored.contains_key(&layout::manifest(parent)) {
                        // What it builds on is part of it.
                        chosen.push_back(parent.clone());
                    } else {
                        let problem = format!("it builds on {parent}, which is missing");
                        verification.findings.push(Finding::of_backup(&key, &id, problem));
                    }
                }
                manifests.push(manifest);
            }
            Err(error) if error.kind() == Kind::Damaged => {
                verification.checked_objects += 1;
                verification.findings.push(Finding::of_backup(&key, &id, error.to_string()));
            }
            // It was listed, and has expired since; what is missing although it should be there, evidence tells.
            Err(error) if error.kind() == Kind::NotFound && named.is_empty() => continue,
            Err(error) => return Err(error),
        }
        verification.backups.push(id);
    }
    Ok((to_read, manifests))
}

/// Checks existence and size of everything a manifest names, and that nothing else lies in its folder.
fn objects(manifest: &Manifest, stored: &Stored, verification: &mut Verification) -> Vec<ToRead> {
    let mut to_read = Vec::new();
    let packs = manifest.packs.iter().map(|pack| (&pack.object, Some(pack)));
    for (object, pack) in packs.chain(std::iter::once((&manifest.catalog, None))) {
        verification.checked_objects += 1;
        match wrong_size(stored, object) {
            Some(problem) => verification.findings.push(Finding::of_backup(&object.key, &manifest.id, problem)),
            None => to_read.push(ToRead {
                backup: Some(manifest.id.clone()),
                object: object.clone(),
                pack: pack.cloned(),
                slice: None,
            }),
        }
    }
    let folder = layout::backup(&manifest.id);
    let in_folder = stored.range(folder.clone()..).map(|(key, _)| key).take_while(|key| key.starts_with(&folder));
    for key in in_folder {
        // What was noted while the backup was taken is of no use any more.
        let is_known = *key == layout::manifest(&manifest.id) || layout::is_checkpoint(key);
        if !is_known && manifest.objects().all(|object| object.key != *key) {
            let problem = "it is foreign: its backup's manifest does not name it";
            verification.findings.push(Finding::of_backup(key, &manifest.id, problem));
        }
    }
    to_read
}
