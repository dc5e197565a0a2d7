//! Keys: whom backups are encrypted to, what opens them, and what signs them.

use super::check::{Check, Doing, doing};
use super::{Found, Installation};
use crate::clock::Clock;
use crate::codec::{Identities, Opener, Recipients, Sealer, sha256};
use crate::error::{Error, Kind, Result};
use crate::format::manifest::{Encryption, Manifest};
use crate::format::segment::Documents;
use crate::format::{BackupId, BackupKind, Subject};
use crate::random::Random;
use crate::repository::Repository;

/// What to do where nothing here opens backups.
const NO_IDENTITY: &str = "set encryption.identity_file where restores and drills run; a host that only takes backups needs none. \
                           Keep a copy of the identity away from this machine and from the store";

pub(super) fn recipients(installation: &Installation) -> Check {
    let doing = doing("recipients", "read encryption.recipients");
    match &installation.recipients {
        Err(error) => doing.failed(error),
        Ok(None) => doing.warning(
            "encryption is switched off: whoever can read the store can read every document",
            "remove encryption = \"none\", run 'regrow keygen -o identity.txt', and put its age1… line into encryption.recipients",
        ),
        Ok(Some(recipients)) => match &recipients.to_strings()[..] {
            [_] => doing.warning(
                "backups are encrypted to one recipient: without its one identity, none of them opens",
                "add the recipient of a second identity that is kept elsewhere (in a safe) to encryption.recipients",
            ),
            several => doing.ok(format!("backups are encrypted to {} recipients", several.len())),
        },
    }
}

pub(super) fn identity(installation: &Installation) -> Check {
    let doing = doing("identity", "encrypted a probe to the recipients and opened it with encryption.identity_file");
    let recipients = match &installation.recipients {
        Err(_) => return doing.skipped("the recipients are wrong"),
        Ok(None) => return doing.skipped("encryption is switched off"),
        Ok(Some(recipients)) => recipients,
    };
    match &installation.identities {
        Err(error) => doing.failed(error),
        Ok(None) => doing.warning("no identity is configured: nothing can be restored from here", NO_IDENTITY),
        Ok(Some(identities)) => match opens_probe(recipients, identities, installation) {
            Ok(()) => doing.ok("it opens what is encrypted now"),
            Err(error) => does_not_open(doing, recipients, identities, &error),
        },
    }
}

fn does_not_open(doing: Doing, recipients: &Recipients, identities: &Identities, error: &Error) -> Check {
    let (wanted, here) = (recipients.to_strings().join(", "), identities.recipients().join(", "));
    doing.misconfigured(
        format!("backups are encrypted to {wanted}, and the identity file opens what is encrypted to {here}: {error}"),
        "put an identity of one of these recipients into encryption.identity_file, or the identity's own recipient into \
         encryption.recipients",
    )
}

/// Seals something as a backup's catalog is sealed, and opens it again.
fn opens_probe(recipients: &Recipients, identities: &Identities, installation: &Installation) -> Result<()> {
    let subject = probe(&installation.clock, &installation.random);
    let sealed = Sealer::new(Some(recipients.clone())).seal(subject.clone(), &Documents::default())?;
    let opener = Opener::new(Encryption::Age, Some(identities.clone()), &recipients.to_strings())?;
    opener.open(&subject, &sealed, &sha256(&sealed)).map(drop)
}

fn probe(clock: &Clock, random: &Random) -> Subject {
    Subject::Catalog { backup: BackupId::generate(clock.now(), BackupKind::Manual, random) }
}

pub(super) fn signing_key(installation: &Installation, found: &Found) -> Check {
    let doing = doing("signing key", "held the signing key against those that the repository accepts");
    let key = match &installation.signing_key {
        Err(error) => return doing.failed(error),
        Ok(key) => key,
    };
    let Some(repository) = &found.repository else { return doing.skipped("the repository cannot be opened") };
    match repository.accept_signer(key) {
        Ok(()) => doing.ok(format!("the repository accepts what {} signs", key.entry().id)),
        Err(error) => doing.failed(&error),
    }
}

/// Asks for the repository's keys to be named outside of the store, where they are not.
pub(super) fn trusted_keys(installation: &Installation, found: &Found) -> Check {
    let doing = doing("trusted keys", "looked for repository.trusted_keys");
    let is_pinned = match &installation.trust {
        Err(_) => return doing.skipped("it is wrong, which opening the repository tells"),
        Ok(trust) => trust.keys.is_some(),
    };
    let Some(repository) = &found.repository else { return doing.skipped("the repository cannot be opened") };
    if is_pinned {
        return doing.ok("only what the keys there sign counts, and what they accept");
    }
    let keys = repository.signing_keys().into_iter().map(|key| format!("\"{}\"", key.public_key));
    let keys = keys.collect::<Vec<_>>().join(", ");
    doing.warning(
        "whose signatures count is what the store itself says: whoever can write to it can exchange the keys, and forge backups",
        format!("add to [repository], if 'regrow init' and the other backup hosts have shown these keys: trusted_keys = [{keys}]"),
    )
}

/// Opens the newest backup, as far as this host can, and returns its manifest.
pub(super) async fn newest_backup(installation: &Installation, found: &Found) -> (Check, Option<Manifest>) {
    let doing = doing("newest backup", "checked its signature and opened its catalog");
    let Some(repository) = &found.repository else {
        return (doing.skipped("the repository cannot be opened"), None);
    };
    match newest(repository).await {
        Ok(Some(manifest)) => (opened(doing, installation, repository, &manifest).await, Some(manifest)),
        Ok(None) => (doing.warning("there is no backup yet", "take one: 'regrow backup'"), None),
        Err(error) => (doing.failed(&error), None),
    }
}

async fn newest(repository: &Repository) -> Result<Option<Manifest>> {
    match repository.resolve("latest").await {
        Ok(id) => repository.manifest(&id).await.map(Some),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn opened(doing: Doing, installation: &Installation, repository: &Repository, manifest: &Manifest) -> Check {
    let identities = match &installation.identities {
        Ok(Some(identities)) => Some(identities),
        _ if manifest.encryption == Encryption::None => None,
        _ => {
            return doing
                .warning(format!("{} is signed as it should be; no identity here opens it", manifest.id), NO_IDENTITY);
        }
    };
    match repository.catalog(manifest, identities).await {
        Ok(catalog) => {
            doing.ok(format!("{} opens; namespaces in its catalog: {}", manifest.id, catalog.collections.len()))
        }
        Err(error) => doing.failed(&error),
    }
}
