//! Recording what a command has done as evidence.

use jiff::Timestamp;

use super::Session;
use crate::codec::SigningKey;
use crate::config::Config;
use crate::format::Job;
use crate::format::evidence::{Event, Run};
use crate::policy::{Retention, history};
use crate::repository::{EvidenceLog, Recorder, Repository};

/// Returns who does something here, for people: the host and the process.
pub(crate) fn who() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "an unknown host".into());
    format!("{} (process {})", host.trim(), std::process::id())
}

/// Returns the run of a job that a person started at `started_at` and that has ended now.
pub(super) fn by_hand(session: &Session, job: Job, started_at: Timestamp) -> Run {
    Run { job, due: None, started_at, finished_at: session.clock.now(), attempts: 1 }
}

/// Reads the evidence of late, for whoever needs it more than once. Where it cannot be read, that is said, and is no reason to
/// stop.
pub(super) async fn of_late(session: &Session, repository: &Repository) -> Option<EvidenceLog> {
    match repository.newest_evidence(session.clock.now()).await {
        Ok(log) => Some(log),
        Err(error) => {
            session.say(format_args!("warning: which backups verifications found damaged is not known: {error}"));
            None
        }
    }
}

/// Records an event and returns the record's key. What was done is done: that it could not be recorded is said, and is no
/// failure of it.
///
/// Objectives that are configured and not recorded as they are come first: a report holds what follows against them.
pub(super) async fn record(
    session: &Session,
    config: &Config,
    repository: &Repository,
    signing_key: &SigningKey,
    event: Event,
) -> Option<String> {
    record_in(session, config, repository, (signing_key, None), event).await
}

/// As [`record`], behind evidence that has been read already, if it has.
async fn record_in(
    session: &Session,
    config: &Config,
    repository: &Repository,
    (signing_key, read): (&SigningKey, Option<EvidenceLog>),
    event: Event,
) -> Option<String> {
    let recorder = Recorder { who: &who(), signing_key, random: &session.random };
    let now = session.clock.now();
    let recording = async {
        let mut log = match read {
            Some(log) => log,
            None => repository.newest_evidence(now).await?,
        };
        log.refresh(repository, now).await?;
        if let Some(configuration) = configuration(config, &log) {
            repository.record(&mut log, configuration, now, &recorder).await?;
        }
        repository.record(&mut log, event, now, &recorder).await
    };
    match recording.await {
        Ok(key) => Some(key),
        Err(error) => {
            session.say(format_args!("warning: this could not be recorded as evidence: {error}"));
            None
        }
    }
}

/// Returns what is to be recorded of the configuration: nothing where it says no objectives, or those that are recorded.
/// Schedules are the service's own affair.
fn configuration(config: &Config, log: &EvidenceLog) -> Option<Event> {
    let (workloads, retention) = (config.objectives().workloads, config.retention().map(Retention::record));
    let (schedules, known) = match history::configuration(log.records()) {
        Some(Event::Configuration { schedules, workloads, retention }) => {
            (schedules.clone(), Some((workloads.clone(), retention.clone())))
        }
        _ => (Vec::new(), None),
    };
    let is_new = !workloads.is_empty() && known != Some((workloads.clone(), retention.clone()));
    is_new.then_some(Event::Configuration { schedules, workloads, retention })
}

/// As [`record`], where there may be no signing key, or another repository's.
pub(super) async fn record_if_possible(
    session: &Session,
    config: &Config,
    repository: &Repository,
    event: Event,
) -> Option<String> {
    record_behind(session, config, repository, None, event).await
}

/// As [`record_if_possible`], behind evidence that has been read already, if it has.
pub(super) async fn record_behind(
    session: &Session,
    config: &Config,
    repository: &Repository,
    read: Option<EvidenceLog>,
    event: Event,
) -> Option<String> {
    if let Ok(key) = config.signing_key().and_then(|key| repository.accept_signer(&key).map(|()| key)) {
        return record_in(session, config, repository, (&key, read), event).await;
    }
    session.say("note: there is no signing key of this repository here, so this is not recorded as evidence");
    None
}
