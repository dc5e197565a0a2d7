//! What the parts of the service tell each other and those who ask: how things stand in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::format::Job;
use crate::notify::{Alert, Severity};
use crate::status::Status;

/// A main loop that has not come round for this long hangs.
const STUCK: Duration = Duration::from_mins(2);

/// How often a sign is given while something is waited for.
const BEAT: Duration = Duration::from_secs(5);

/// How long capture is waited for to find where it begins, and how often that is looked at.
const BEGINS_WITHIN: Duration = Duration::from_secs(20);
const LOOKS_EVERY: Duration = Duration::from_millis(50);

/// Shared by everything in the process; clones are the same board.
#[derive(Debug, Clone)]
pub struct Board(Arc<Mutex<Notes>>);

/// What stands on it.
#[derive(Debug)]
pub struct Notes {
    /// The configured name of the source.
    pub source: String,
    /// Where the repository lies.
    pub repository: String,
    /// Whether this process leads.
    pub leads: bool,
    /// Whether this process waits for the one that leads.
    pub stands_by: bool,
    /// How things stood when the repository was read last.
    pub status: Option<Arc<Status>>,
    /// Whether capture follows the oplog; none where it is not to.
    pub capture_runs: Option<bool>,
    /// Whether capture has found where it begins since this process leads.
    pub capture_has_begun: bool,
    /// How far the server's oplog reaches back, in seconds.
    pub oplog_window: Option<u64>,
    /// What is wrong in this process, by key: what the repository cannot tell.
    pub troubles: BTreeMap<String, Alert>,
    /// What runs, and since when.
    pub running: BTreeMap<Job, Timestamp>,
    /// What is wrong, as people have been told.
    pub open_alerts: BTreeMap<Severity, u64>,
    /// How often a channel did not take a notice.
    pub notification_failures: BTreeMap<String, u64>,
    /// When the main loop last came round.
    pub beat: Instant,
}

impl Board {
    /// Makes an empty one.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Notes {
            source: String::new(),
            repository: String::new(),
            leads: false,
            stands_by: false,
            status: None,
            capture_runs: None,
            capture_has_begun: false,
            oplog_window: None,
            troubles: BTreeMap::new(),
            running: BTreeMap::new(),
            open_alerts: BTreeMap::new(),
            notification_failures: BTreeMap::new(),
            beat: Instant::now(),
        })))
    }

    /// Returns what stands on it, to read or to change. Never held across a wait.
    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the main loop comes round.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.notes().beat.elapsed() < STUCK
    }

    /// Waits for something that may take long, and is seen to be alive meanwhile.
    pub async fn while_waiting<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            self.notes().beat = Instant::now();
            if let Ok(outcome) = tokio::time::timeout(BEAT, &mut work).await {
                return outcome;
            }
        }
    }

    /// Notes whether the oplog is to be captured.
    pub fn captures(&self, is_wanted: bool) {
        let mut notes = self.notes();
        notes.capture_runs = is_wanted.then(|| notes.capture_runs.unwrap_or_default());
    }

    /// Waits until capture, where there is to be one, has found where it begins, for [`BEGINS_WITHIN`] at most.
    pub async fn until_capture_has_begun(&self) {
        let has_begun = |notes: &Notes| notes.capture_runs.is_none() || notes.capture_has_begun;
        let begun = async {
            while !has_begun(&self.notes()) {
                tokio::time::sleep(LOOKS_EVERY).await;
            }
        };
        if tokio::time::timeout(BEGINS_WITHIN, begun).await.is_err() {
            tracing::warn!("taking a backup although capture has not begun: another may be needed soon");
        }
    }

    /// Notes that something is wrong; since when stays as it is while it lasts.
    pub fn trouble(&self, mut alert: Alert) {
        let mut notes = self.notes();
        if let Some(before) = notes.troubles.get(&alert.key) {
            alert.since = before.since;
        }
        notes.troubles.insert(alert.key.clone(), alert);
    }

    /// Notes that something is wrong no more.
    pub fn clear(&self, key: &str) {
        self.notes().troubles.remove(key);
    }

    /// Forgets everything that only who leads knows.
    pub fn step_down(&self) {
        let mut notes = self.notes();
        notes.leads = false;
        notes.capture_runs = notes.capture_runs.map(|_| false);
        notes.capture_has_begun = false;
        notes.troubles.clear();
        notes.running.clear();
        notes.open_alerts.clear();
    }
}
