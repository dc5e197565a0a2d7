//! `regrow init`: the repository and its signing key.

use std::sync::Arc;

use super::keygen::write_secret;
use super::{Session, record};
use crate::codec::{SigningKey, TrustedKeys};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::format::evidence::Event;
use crate::format::layout;
use crate::format::manifest::Encryption;
use crate::repository::Repository;

pub(super) const HELP: &str = "\
The repository is made where repository.url says, in a directory or a bucket. The signing key is made where \
signing.key_file says [default: regrow-signing.key beside the configuration], unless it is there already.";

pub(super) async fn run(session: &Session) -> Result<()> {
    let config = session.config()?;
    // Wrong recipients would show only at the first backup; here they cost nothing.
    let recipients = config.recipients()?;
    let trust = config.trust()?;
    let storage = session.stores.open(&config.file.repository, true).await?;
    // What is wrong with the place shows here, before there is a key.
    if let Err(error) = Repository::open(Arc::clone(&storage)).await
        && error.kind() != Kind::NotFound
    {
        return Err(error);
    }
    let (key, made_key) = signing_key(session, &config, trust.keys.as_ref())?;
    let made = Repository::init(storage, &key, &session.clock, &session.random).await;
    if made_key && made.as_ref().is_err_and(|error| error.kind() == Kind::Refused) {
        // Another repository is there, and the key signs for nothing. After any other error the repository
        // may have been made and its answer lost: without this key nothing could ever be backed up into it.
        let _ = std::fs::remove_file(config.signing_key_path());
    }
    let (repository, abilities) = made?;
    let (_, descriptor) = repository.hash(layout::DESCRIPTOR, |_| ()).await?;
    record::record(session, &config, &repository, &key, Event::Creation { descriptor }).await;
    let path = config.signing_key_path();
    if session.json {
        let answer = serde_json::json!({
            "repository": repository.id().0,
            "location": repository.location(),
            "signing_key_file": path,
            "signing_public_key": key.entry().public_key,
            "create_if_absent": abilities.create_if_absent,
            "checks_content": abilities.checks_content,
            "replace_if_unchanged": abilities.replace_if_unchanged,
        });
        println!("{answer}");
    }
    session.say(format_args!("Created repository {} at {}.", repository.id(), repository.location()));
    if !abilities.create_if_absent {
        session.say("note: this store ignores conditional creates; Regrow re-reads what it creates instead.");
    }
    if !abilities.checks_content {
        session.say("note: this store does not check SHA-256 checksums; Regrow re-reads what it stores instead.");
    }
    if !abilities.replace_if_unchanged {
        session.say(
            "note: this store ignores or denies conditional replaces; let only one service run for this repository.",
        );
    }
    session.say("\nKeep safe:");
    session.say(format_args!("  {}  signs backups; whoever has it can forge them", path.display()));
    match (config.encryption(), recipients) {
        (Encryption::None, _) => {
            session.say("  Backups are NOT ENCRYPTED, as the configuration says: protect the store itself.");
        }
        (Encryption::Age, recipients) => {
            session.say("  The age identities of these recipients; without one of them no backup opens:");
            for recipient in recipients.iter().flat_map(crate::codec::Recipients::to_strings) {
                session.say(format_args!("    {recipient}"));
            }
            session.say("  Keep a copy of an identity away from this machine and from the store.");
        }
    }
    let public = key.entry().public_key;
    session.say(format_args!(
        "\nSo that nobody who can write to the store exchanges it, add to [repository], here and where restores run:\n  \
         trusted_keys = [\"{public}\"]"
    ));
    session.say("\nNext: regrow doctor; then let 'regrow daemon' (or 'regrow capture') run, and take a first backup: regrow backup");
    Ok(())
}

/// Reads the signing key, or makes it; returns whether it was made. One that the configuration does not trust would make a
/// repository that nobody believes.
fn signing_key(session: &Session, config: &Config, trusted: Option<&TrustedKeys>) -> Result<(SigningKey, bool)> {
    let path = config.signing_key_path();
    let found = path.exists().then(|| config.signing_key()).transpose()?;
    if let Some(trusted) = trusted
        && !found.as_ref().is_some_and(|key| trusted.contains(&key.entry()))
    {
        return Err(Error::configuration(format!(
            "repository.trusted_keys does not name the key that is to sign: {} {}",
            path.display(),
            found.map_or_else(|| "is not there".into(), |key| format!("holds {}", key.entry().id))
        ))
        .with_hint(
            "remove trusted_keys until the repository is made, then put the keys there that 'regrow keys' shows",
        ));
    }
    if let Some(key) = found {
        return Ok((key, false));
    }
    let key = SigningKey::generate(&session.random);
    write_secret(&path, &key.to_file())?;
    Ok((key, true))
}
