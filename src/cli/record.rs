//! Recording what a command has done as evidence.

use jiff::Timestamp;

use super::Session;
use crate::codec::SigningKey;
use crate::config::Config;
use crate::format::Job;
use crate::format::evidence::{Event, Run};
use crate::repository::{Recorder, Repository};

/// Returns who does something here, for people: the host and the process.
pub(crate) fn who() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "an unknown host".into());
    format!("{} (process {})", host.trim(), std::process::id())
}

/// Returns the run of a job that a person started at `started_at` and that has ended now.
pub(super) fn by_hand(session: &Session, job: Job, started_at: Timestamp) -> Run {
    Run { job, due: None, started_at, finished_at: session.clock.now(), attempts: 1 }
}

/// Records an event and returns the record's key. What was done is done: that it could not be recorded is said, and is no
/// failure of it.
pub(super) async fn record(
    session: &Session,
    repository: &Repository,
    signing_key: &SigningKey,
    event: Event,
) -> Option<String> {
    let recorder = Recorder { who: &who(), signing_key, random: &session.random };
    match repository.record_one(event, session.clock.now(), &recorder).await {
        Ok(key) => Some(key),
        Err(error) => {
            session.say(format_args!("warning: this could not be recorded as evidence: {error}"));
            None
        }
    }
}

/// As [`record`], where there may be no signing key, or another repository's.
pub(super) async fn record_if_possible(
    session: &Session,
    config: &Config,
    repository: &Repository,
    event: Event,
) -> Option<String> {
    if let Ok(key) = config.signing_key().and_then(|key| repository.accept_signer(&key).map(|()| key)) {
        return record(session, repository, &key, event).await;
    }
    session.say("note: there is no signing key of this repository here, so this is not recorded as evidence");
    None
}
