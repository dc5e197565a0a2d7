//! Looking at how things stand, again and again: what is wrong is told to people, what is well to the dead man's switch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::desk::Request;
use super::keys;
use super::leader::Leader;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::notify::{Alert, Failure, Ledger, Notifier, Severity};
use crate::status::{Facts, Observer, assess};

/// How often things are looked at: as often as slices are stored, within these bounds. Each look lists the repository.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(1);

/// How many times longer than a look the pause behind it is at least: a large repository takes long to list, and each
/// listing costs.
const SPARING: u32 = 10;

/// A repository that does not answer for this long counts as away.
const PATIENCE: Duration = Duration::from_mins(5);

/// How many looks in a row fail before somebody is told.
const ENOUGH_FAILURES: u32 = 2;

/// How often keys and certificates are looked at.
const KEYS: Duration = Duration::from_hours(1);

/// Looks, and tells.
pub(super) struct Monitor {
    pub(super) leader: Leader,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) requests: mpsc::Sender<Request>,
}

/// What is known from one look to the next.
struct Known {
    observer: Observer,
    facts: Option<Facts>,
    /// How often in a row the repository could not be read.
    failures: u32,
    ledger: Ledger,
    /// Whether some channel has not been told everything.
    is_untold: bool,
    /// What the repository keeps of it.
    kept: serde_json::Value,
    keys_at: Option<Instant>,
}

impl Monitor {
    /// Looks until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let kept = self.kept().await;
        let ledger = serde_json::from_value(kept.clone()).unwrap_or_default();
        let observer = Observer::new(self.leader.repository.clone());
        let (facts, failures, is_untold, keys_at) = (None, 0, false, None);
        let mut known = Known { observer, facts, failures, ledger, is_untold, kept, keys_at };
        // Not at once: what a service finds when it begins, it is often about to mend.
        let mut pause = SHORTEST;
        while let Some(notifier) = self.notifier(&mut known) {
            let settings = self.settings.borrow_and_update().clone();
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    changed = self.settings.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = stop.cancelled() => return,
                }
                let begun = Instant::now();
                tokio::select! {
                    () = self.look(&mut known, &settings, &notifier) => {}
                    () = stop.cancelled() => return,
                }
                let interval = settings.capture.as_ref().map_or(LONGEST, |capture| capture.slice_interval);
                pause = interval.clamp(SHORTEST, LONGEST).max(begun.elapsed() * SPARING);
            }
        }
    }

    /// Makes the channels of the settings of now.
    fn notifier(&mut self, known: &mut Known) -> Option<Notifier> {
        let settings = self.settings.borrow_and_update().clone();
        let Leader { board, clock, random, .. } = &self.leader;
        let notifier = Notifier::new(settings.notify.clone(), &settings.source, clock, random);
        let notifier = notifier.inspect_err(|error| tracing::error!(%error, "nobody can be notified")).ok()?;
        for channel in notifier.names() {
            board.notes().notification_failures.entry(channel.to_owned()).or_default();
        }
        if known.is_untold {
            // What waited for the channels of before is said anew by these.
            (known.ledger, known.is_untold) = (Ledger::default(), false);
        }
        Some(notifier)
    }

    /// Returns what the repository keeps of what was said; nothing where that cannot be had: then things are said again.
    async fn kept(&self) -> serde_json::Value {
        match self.leader.repository.said_alerts().await {
            Ok(kept) => kept.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "what was said of alerts is not known; all of it is said again");
                serde_json::Value::Null
            }
        }
    }

    async fn look(&self, known: &mut Known, settings: &Settings, notifier: &Notifier) {
        if known.keys_at.is_none_or(|at| at.elapsed() >= KEYS) {
            keys::look(&self.leader, settings);
            known.keys_at = Some(Instant::now());
        }
        self.observe(known).await;
        let now = self.leader.clock.now();
        let problems = match &mut known.facts {
            Some(facts) => self.judge(facts, settings, now),
            // Nothing is known yet; what was open before is not over for that.
            None => self.with_own(known.ledger.open().cloned().collect()),
        };
        let is_healthy = known.facts.is_some() && problems.iter().all(|alert| alert.severity < Severity::Critical);
        let notices = known.ledger.reconcile(problems, now, notifier.pace());
        for notice in &notices {
            tracing::info!(event = ?notice.event, key = notice.alert.key, what = notice.alert.what, "alert");
        }
        self.count_open(&known.ledger);
        let failures = notifier.deliver(&notices).await;
        known.is_untold = !failures.is_empty();
        // What nobody was told is said again by whoever comes next.
        let is_told = failures.len() < notifier.channels() || notifier.channels() == 0;
        for Failure { channel, error, waiting, dropped } in failures {
            tracing::error!(channel, %error, waiting, dropped, "a notice could not be delivered");
            *self.leader.board.notes().notification_failures.entry(channel).or_default() += 1;
        }
        if is_healthy && let Err(error) = notifier.heartbeat().await {
            tracing::warn!(%error, "the dead man's switch could not be reached");
        }
        if is_told && let Err(error) = self.keep(known, settings).await {
            tracing::debug!(%error, "what was said of alerts could not be kept");
        }
    }

    /// Reads the repository. What was known before stays where that fails: it says how exposure grows meanwhile.
    async fn observe(&self, known: &mut Known) {
        let observed = tokio::time::timeout(PATIENCE, known.observer.observe(self.leader.clock.now())).await;
        match observed.unwrap_or_else(|_| Err(Error::failed("the repository does not answer").transient())) {
            Ok(facts) => {
                if facts.needs_backup() {
                    let _ = self.requests.try_send(Request::Backup(facts.now));
                }
                (known.facts, known.failures) = (Some(facts), 0);
                self.leader.board.clear("repository");
            }
            Err(error) => {
                tracing::warn!(%error, "the repository cannot be read");
                known.failures += 1;
                if known.failures >= ENOUGH_FAILURES {
                    self.leader.board.trouble(unreadable(&error, self.leader.clock.now()));
                }
            }
        }
    }

    /// Judges what is known, publishes it, and returns what is wrong.
    fn judge(&self, facts: &mut Facts, settings: &Settings, now: Timestamp) -> Vec<Alert> {
        facts.now = now;
        facts.set_running(self.leader.board.notes().running.clone());
        let mut status = assess(facts, &settings.objectives);
        status.problems = self.with_own(status.problems);
        status.ok = status.problems.is_empty();
        let problems = status.problems.clone();
        self.leader.board.notes().status = Some(Arc::new(status));
        problems
    }

    /// Adds what only this process knows. About one thing only the worst is said; the worst comes first.
    fn with_own(&self, problems: Vec<Alert>) -> Vec<Alert> {
        let own = self.leader.board.notes().troubles.clone();
        let mut all: BTreeMap<String, Alert> = problems.into_iter().map(|alert| (alert.key.clone(), alert)).collect();
        for (key, alert) in own {
            if all.get(&key).is_none_or(|other| other.severity < alert.severity) {
                all.insert(key, alert);
            }
        }
        let mut all: Vec<Alert> = all.into_values().collect();
        all.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
        all
    }

    fn count_open(&self, ledger: &Ledger) {
        let mut open = BTreeMap::from([(Severity::Warning, 0), (Severity::Critical, 0)]);
        for alert in ledger.open() {
            *open.entry(alert.severity).or_default() += 1;
        }
        self.leader.board.notes().open_alerts = open;
    }

    async fn keep(&self, known: &mut Known, settings: &Settings) -> Result<()> {
        let ledger = serde_json::to_value(&known.ledger);
        let mut ledger = ledger.map_err(|error| Error::failed("cannot write the record of alerts").caused_by(error))?;
        without_texts(&mut ledger);
        if ledger == known.kept {
            return Ok(());
        }
        let Leader { repository, clock, .. } = &self.leader;
        repository.keep_said_alerts(ledger.clone(), clock.now(), &settings.signing_key).await?;
        known.kept = ledger;
        Ok(())
    }
}

fn unreadable(error: &Error, now: Timestamp) -> Alert {
    Alert {
        key: "repository".into(),
        severity: Severity::Critical,
        what: format!("the repository cannot be read: {error}"),
        since: now,
        meaning: "nothing can be stored or restored until it is back".into(),
        remedy: error.hint().unwrap_or("bring the store back; the service catches up by itself").into(),
    }
}

/// Puts the key of each alert in the place of its texts. They are kept where others can read them, and may name
/// namespaces; and they change with each look, where what was said does not.
fn without_texts(kept: &mut Value) {
    if let Value::Object(fields) = kept {
        if let (Some(key), true) = (fields.get("key").cloned(), fields.contains_key("remedy")) {
            fields.insert("what".into(), key);
            fields.insert("meaning".into(), "".into());
            fields.insert("remedy".into(), "".into());
        }
        fields.values_mut().for_each(without_texts);
    }
}
