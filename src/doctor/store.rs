//! The repository, and whether its store allows what backups need: found out by doing it.

use std::sync::Arc;

use bytes::Bytes;

use super::Installation;
use super::check::{Check, Doing, doing};
use super::notes::Notes;
use crate::codec::sha256;
use crate::error::{Error, Result};
use crate::format::layout;
use crate::repository::Repository;
use crate::storage::{Abilities, Storage, StorageError};

const CONTENT: &[u8] = b"regrow doctor: a marker that is removed again\n";

pub(super) async fn open(installation: &Installation) -> (Check, Option<Repository>) {
    let doing = doing("repository", "opened the repository");
    let storage = match &installation.storage {
        Err(error) => return (doing.failed(error), None),
        Ok(storage) => Arc::clone(storage),
    };
    let opened = match &installation.trust {
        Err(error) => return (doing.failed(error), None),
        Ok(trust) => Repository::open_as(storage, trust.clone()).await,
    };
    match opened {
        Ok(repository) => {
            let found = format!("{} at {}", repository.id(), repository.location());
            (doing.ok(found), Some(repository))
        }
        Err(error) => (doing.failed(&error), None),
    }
}

pub(super) async fn by_doing(installation: &Installation) -> Check {
    let doing = doing("storage", "created, read, listed, tried to overwrite, and deleted markers in control/");
    let Ok(storage) = &installation.storage else { return doing.skipped("the store cannot be reached") };
    let marker = format!("{}doctor-{:016x}", layout::PROBES, installation.random.next_u64());
    try_and_clean(doing, &**storage, &marker).await
}

async fn try_and_clean(doing: Doing, storage: &dyn Storage, marker: &str) -> Check {
    let outcome = try_out(storage, marker).await;
    // Whatever happened: what a killed doctor leaves is known, what another leaves should not be there.
    let removed = match storage.delete(marker).await {
        Ok(()) => storage.delete(&uploaded(marker)).await,
        denied => denied,
    };
    if let Err(error) = outcome {
        return doing.failed(&error);
    }
    let mut notes = Notes::default();
    match removed {
        Err(StorageError::Denied { .. }) => notes.warning(
            format!("all of it works but deleting, so {marker} remains, which does no harm"),
            "nothing, if that is meant: who breaks in here cannot delete backups. 'regrow expire' must then run elsewhere, with \
             credentials that may delete",
        ),
        Err(error) => return doing.failed(&error.into()),
        Ok(()) => {
            notes.well("the store allows all of it");
            match storage.probe().await {
                Ok(abilities) => judge(&abilities, &mut notes),
                Err(error) => return doing.failed(&error.into()),
            }
        }
    }
    notes.end(doing)
}

fn uploaded(marker: &str) -> String {
    format!("{marker}-uploaded")
}

/// Does what backups, capture and restores do, with small objects.
async fn try_out(storage: &dyn Storage, marker: &str) -> Result<()> {
    let content = Bytes::from_static(CONTENT);
    storage.create(marker, content.clone()).await?;
    expect(&storage.read(marker, None).await?, &content, marker)?;
    expect(&storage.read(marker, Some(7..13)).await?, &content[7..13], marker)?;
    let listed = storage.list(marker).await?;
    if !listed.iter().any(|entry| entry.key == marker && entry.size == content.len() as u64) {
        return Err(Error::failed(format!("a listing does not show {marker}, which was just created"))
            .with_hint("use a store whose listings are consistent"));
    }
    match storage.create(marker, Bytes::from_static(b"something else")).await {
        Err(StorageError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => {
            return Err(Error::failed("the store let an object be overwritten")
                .with_hint("use a store that refuses conditional creates of what exists (If-None-Match)"));
        }
    }
    let mut upload = storage.upload(&uploaded(marker)).await?;
    upload.write(content.clone()).await?;
    upload.finish(&sha256(&content)).await?;
    Ok(())
}

fn expect(found: &[u8], wanted: &[u8], marker: &str) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::damaged(format!("{marker} does not read as it was written"))
        .with_hint("the store or the network alters data; check its disks, and what lies between here and there"))
}

fn judge(abilities: &Abilities, notes: &mut Notes) {
    if !abilities.create_if_absent {
        notes.warning(
            "it ignores conditional creates, so Regrow re-reads what it creates",
            "use a store that knows If-None-Match, or keep others from writing to this one",
        );
    }
    if !abilities.checks_content {
        notes.warning(
            "it does not check SHA-256 checksums, so Regrow re-reads what it stores",
            "nothing needs to be done; a store that checks them saves reading everything again",
        );
    }
    if !abilities.replace_if_unchanged {
        notes.warning(
            "it ignores or denies conditional replaces, so the lease does not keep two services apart",
            "let only one service run for this repository",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::doctor::Outcome;
    use crate::random::Random;
    use crate::storage::{Fault, Faulty, Local};

    const MARKER: &str = "control/probe-doctor-0000000000000001";

    /// Tries out a store in a directory; returns the check and what is left in it.
    async fn tried(fault: Fault, at: u64) -> (Check, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path(), Clock::system(), Random::system());
        let store = Faulty::new(local.clone(), fault, at);
        let check = try_and_clean(doing("storage", ""), &store, MARKER).await;
        let left = local.list("").await.unwrap();
        (check, left.into_iter().map(|entry| entry.key).collect())
    }

    #[tokio::test]
    async fn whenever_it_is_killed_it_leaves_nothing_but_markers() {
        let mut at = 1;
        while let (Check { outcome: Outcome::Problem, .. }, left) = tried(Fault::Crash, at).await {
            assert!(left.iter().all(|key| key.starts_with(layout::PROBES)), "{at}: {left:?}");
            at += 1;
        }
        assert!(at > 10, "only {at} operations");
        assert_eq!(tried(Fault::Crash, at).await.1, [""; 0]);
    }

    #[tokio::test]
    async fn credentials_that_may_not_delete_are_a_choice() {
        let (check, left) = tried(Fault::DenyDeletes, 1).await;
        assert_eq!(check.outcome, Outcome::Warning, "{check:?}");
        assert!(check.found.contains(MARKER) && left.contains(&MARKER.to_owned()), "{check:?} {left:?}");
    }
}
