//! Is there room? In the repository, if it is a directory, and where temporary files go.

use std::path::PathBuf;

use super::check::{Check, Doing, doing};
use super::{Found, Installation};
use crate::error::{Error, Result};
use crate::mongo::health;
use crate::mongo::roles::RESTORE;
use crate::units::{ByteSize, MIB};

/// What capture may put aside in temporary files while the store is away.
const SPOOL: u64 = 1024 * MIB as u64;

/// How much room a file system has for others than root, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    pub(super) free: u64,
    total: u64,
}

impl Space {
    pub(super) fn left(self) -> String {
        let percent = self.free.saturating_mul(100) / self.total.max(1);
        format!("{} ({percent} %)", ByteSize(self.free))
    }
}

pub(super) fn size(bytes: u64) -> ByteSize {
    ByteSize(bytes)
}

pub(super) async fn check(installation: &Installation, found: &Found) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(directory) = installation.directory.clone() {
        let doing = doing("repository disk", format!("asked how much room {} has", directory.display()));
        let next = found.newest.as_ref().map_or(0, |newest| newest.bytes_stored);
        checks.push(
            room(doing, directory, next, "a backup as large as the newest one", "free space, or enlarge the disk")
                .await,
        );
    }
    let folder = std::env::temp_dir();
    let doing = doing("temporary files", format!("asked how much room {} has", folder.display()));
    checks.push(
        room(
            doing,
            folder,
            SPOOL,
            "what capture keeps while the store is away",
            "free space, or set TMPDIR to a larger disk",
        )
        .await,
    );
    checks.extend(of_server(found).await);
    checks
}

async fn room(doing: Doing, folder: PathBuf, needed: u64, what: &str, fix: &str) -> Check {
    match free(folder).await {
        Err(error) => doing.unknown(&error),
        Ok(space) if space.free < needed => {
            doing.warning(format!("{} is left, and {what} takes {}", space.left(), ByteSize(needed)), fix)
        }
        Ok(space) => doing.ok(format!("{} is left", space.left())),
    }
}

/// Tells how much room the source has for a restore under other names, where its user may ask.
async fn of_server(found: &Found) -> Option<Check> {
    let (source, newest) = (found.source.as_ref()?, found.newest.as_ref()?);
    let (total, free) = health::free_space(source, RESTORE.name).await.ok()??;
    let doing = doing("source disk", "asked how much room the source has");
    let space = Space { free, total };
    if free < newest.bytes_raw {
        let needed = ByteSize(newest.bytes_raw);
        let found =
            format!("{} is left: a restore of everything beside what is there takes up to {needed}", space.left());
        return Some(doing.warning(found, "enlarge the servers' disks, or restore to another server"));
    }
    Some(doing.ok(format!("{} is left", space.left())))
}

/// Returns how much room there is where a folder lies.
pub(super) async fn free(folder: PathBuf) -> Result<Space> {
    let shown = folder.display().to_string();
    let cannot = move |error: std::io::Error| {
        Error::failed(format!("cannot ask how much room {shown} has"))
            .caused_by(error)
            .with_hint("check that it exists and its disk is mounted")
    };
    let asked = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&folder)).await;
    let asked = asked.map_err(|error| Error::failed("asking for room was given up").caused_by(error))?;
    let found = asked.map_err(|error| cannot(error.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
}
