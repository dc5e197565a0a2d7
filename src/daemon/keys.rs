//! Keys and certificates: what will stop working, said before it does.

use super::board::Board;
use super::settings::Settings;
use crate::clock::Clock;
use crate::error::Result;
use crate::notify::{Alert, Severity};
use crate::repository::Repository;

/// Looks at every key that the service uses, and notes what is wrong with one.
pub(super) fn look(settings: &Settings, repository: &Repository, board: &Board, clock: &Clock) {
    let checks: [(&str, Result<()>, &str); 2] = [
        (
            "keys/signing",
            settings.config.signing_key().and_then(|key| repository.accept_signer(&key)),
            "no backup and no slice will be accepted after the next start",
        ),
        (
            "keys/identity",
            settings.config.identities().map(drop),
            "restores and drills from this machine will not open anything",
        ),
    ];
    for (key, outcome, meaning) in checks {
        match outcome {
            Ok(()) => board.clear(key),
            Err(error) => board.trouble(Alert {
                key: key.into(),
                severity: Severity::Critical,
                what: error.to_string(),
                since: clock.now(),
                meaning: meaning.into(),
                remedy: error.hint().unwrap_or("bring the file back").into(),
            }),
        }
    }
}
