//! Where things lie in a repository: the only place that spells keys.

use super::backup_id::BackupId;
use super::manifest::Encryption;

/// The descriptor's key.
pub const DESCRIPTOR: &str = "regrow-repository.json";

/// The folder of all backups.
pub const BACKUPS: &str = "backups/";

/// Returns the folder of one backup.
#[must_use]
pub fn backup(id: &BackupId) -> String {
    format!("{BACKUPS}{id}/")
}

/// Returns the key of a backup's pack; packs are numbered from 1.
#[must_use]
pub fn pack(id: &BackupId, number: u32) -> String {
    format!("{BACKUPS}{id}/packs/{number:04}.tar")
}

/// Returns the key of a backup's catalog.
#[must_use]
pub fn catalog(id: &BackupId, encryption: Encryption) -> String {
    format!("{BACKUPS}{id}/catalog.{}", encryption.extension())
}

/// Returns the key of a backup's manifest.
#[must_use]
pub fn manifest(id: &BackupId) -> String {
    format!("{BACKUPS}{id}/manifest.json")
}

/// Returns the id of the backup whose folder `key` lies in, if it lies in one.
#[must_use]
pub fn backup_of(key: &str) -> Option<BackupId> {
    key.strip_prefix(BACKUPS)?.split_once('/')?.0.parse().ok()
}
