//! Looking at how things stand, again and again: what is wrong is told to people, what is well to the dead man's switch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::keys;
use super::leader::Leader;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::notify::{Alert, Failure, Ledger, Notifier, Severity};
use crate::status::{Facts, Observer, Status, assess};

/// How often things are looked at: as often as slices are stored, within these bounds. Each look lists the repository.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(1);

/// A repository that does not answer for this long counts as away.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often keys and certificates are looked at.
const KEYS: Duration = Duration::from_hours(1);

/// Looks, and tells.
pub(super) struct Monitor {
    pub(super) leader: Leader,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) observer: Observer,
}

/// What is known from one look to the next.
struct Known {
    facts: Option<Facts>,
    ledger: Ledger,
    /// What the repository keeps of it.
    kept: serde_json::Value,
    keys_at: Option<Instant>,
}

impl Monitor {
    /// Looks until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let kept = self.kept().await;
        let ledger = serde_json::from_value(kept.clone()).unwrap_or_default();
        let mut known = Known { facts: None, ledger, kept, keys_at: None };
        while !stop.is_cancelled() {
            let settings = self.settings.borrow_and_update().clone();
            let notifier =
                match Notifier::new(settings.notify.clone(), &settings.source, &self.leader.clock, &self.leader.random)
                {
                    Ok(notifier) => notifier,
                    Err(error) => {
                        tracing::error!(%error, "nobody can be notified");
                        return;
                    }
                };
            for channel in notifier.names() {
                self.leader.board.notes().notification_failures.entry(channel.to_owned()).or_default();
            }
            let interval = settings.capture.as_ref().map_or(LONGEST, |capture| capture.slice_interval);
            // Not at once: what a service finds when it begins, it is often about to mend.
            let mut rounds = tokio::time::interval_at(Instant::now() + SHORTEST, interval.clamp(SHORTEST, LONGEST));
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = rounds.tick() => {}
                    changed = self.settings.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = stop.cancelled() => return,
                }
                tokio::select! {
                    () = self.look(&mut known, &settings, &notifier) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
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

    async fn look(&mut self, known: &mut Known, settings: &Settings, notifier: &Notifier) {
        if known.keys_at.is_none_or(|at| at.elapsed() >= KEYS) {
            keys::look(&self.leader, settings);
            known.keys_at = Some(Instant::now());
        }
        self.observe(known).await;
        // What was known before says how exposure grows while the repository is away.
        let Some(facts) = &mut known.facts else { return };
        facts.now = self.leader.clock.now();
        let mut status = assess(facts, &settings.objectives);
        self.add_own(&mut status);
        let notices = known.ledger.reconcile(status.problems.clone(), facts.now, notifier.pace());
        for notice in &notices {
            tracing::info!(event = ?notice.event, key = notice.alert.key, what = notice.alert.what, "alert");
        }
        let failures = notifier.deliver(&notices).await;
        // What nobody was told is said again by whoever comes next.
        let is_told = failures.len() < notifier.channels() || notifier.channels() == 0;
        let is_healthy = status.problems.iter().all(|alert| alert.severity < Severity::Critical);
        self.publish(status, &known.ledger);
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

    async fn observe(&mut self, known: &mut Known) {
        let observed = tokio::time::timeout(PATIENCE, self.observer.observe(self.leader.clock.now())).await;
        let observed = observed.unwrap_or_else(|_| Err(Error::failed("the repository does not answer").transient()));
        match observed {
            Ok(facts) => {
                known.facts = Some(facts);
                self.leader.board.clear("repository");
            }
            Err(error) => {
                tracing::warn!(%error, "the repository cannot be read");
                self.leader.board.trouble(Alert {
                    key: "repository".into(),
                    severity: Severity::Critical,
                    what: format!("the repository cannot be read: {error}"),
                    since: self.leader.clock.now(),
                    meaning: "nothing can be stored or restored until it is back".into(),
                    remedy: error.hint().unwrap_or("bring the store back; the service catches up by itself").into(),
                });
            }
        }
    }

    /// Adds what only this process knows. About one thing only the worst is said.
    fn add_own(&self, status: &mut Status) {
        let own = self.leader.board.notes().troubles.clone();
        let mut all: BTreeMap<String, Alert> =
            status.problems.drain(..).map(|alert| (alert.key.clone(), alert)).collect();
        for (key, alert) in own {
            if all.get(&key).is_none_or(|other| other.severity < alert.severity) {
                all.insert(key, alert);
            }
        }
        status.problems = all.into_values().collect();
        status.problems.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
        status.ok = status.problems.is_empty();
    }

    fn publish(&self, status: Status, ledger: &Ledger) {
        let mut open = BTreeMap::from([(Severity::Warning, 0), (Severity::Critical, 0)]);
        for alert in ledger.open() {
            *open.entry(alert.severity).or_default() += 1;
        }
        let mut notes = self.leader.board.notes();
        notes.status = Some(Arc::new(status));
        notes.open_alerts = open;
    }

    async fn keep(&self, known: &mut Known, settings: &Settings) -> Result<()> {
        let ledger = serde_json::to_value(&known.ledger);
        let ledger = ledger.map_err(|error| Error::failed("cannot write the record of alerts").caused_by(error))?;
        if ledger == known.kept {
            return Ok(());
        }
        self.leader.repository.keep_said_alerts(ledger.clone(), self.leader.clock.now(), &settings.signing_key).await?;
        known.kept = ledger;
        Ok(())
    }
}
