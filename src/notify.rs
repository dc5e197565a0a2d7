//! Telling people: what is worth saying about what is wrong, and the channels by which it is said.
//!
//! Whoever checks hands in all that is wrong at the time, again and again. The [`Ledger`] holds it against what has
//! been said before and answers with [`Notice`]s; the [`Notifier`] delivers them by every channel that is configured.
//!
//! - A channel that fails or hangs holds up no other, and what it did not take waits for the next time.
//! - Secrets are in no error and no log. Of a URL only host and port are named, and what a server answers is not
//!   repeated: many answers quote the request.
//! - Everything is bounded: time, attempts, what waits, what is read.
//!
//! The module must not know what is checked, nor where the ledger is kept.

mod channel;
mod email;
mod heartbeat;
mod ledger;
mod notifier;
mod pagerduty;
mod post;
mod settings;
mod slack;
mod webhook;
mod wording;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use channel::{Failure, Patience};
pub use ledger::{Ledger, Pace};
pub use notifier::Notifier;
pub use settings::{
    EmailSettings, Endpoint, HeartbeatSettings, Login, MailServer, NotifySettings, PagerDutySettings, SlackSettings,
    WebhookSettings, mailbox,
};

/// How much an alert matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody should look at it today.
    #[default]
    Warning,
    /// Somebody should look at it now.
    Critical,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is about, the same for as long as it lasts: `exposure/orders`, `job/backup-daily`.
    pub key: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, in one line without a full stop.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
    /// What it means for recovery.
    pub meaning: String,
    /// What to do.
    pub remedy: String,
}

/// Why something is said about an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It is new.
    Raised,
    /// It matters more than was said last.
    Worsened,
    /// It matters less than was said last, but is still there.
    Improved,
    /// It is still there.
    Repeated,
    /// It is gone.
    Recovered,
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Why it is said.
    pub event: Event,
    /// About what; the last that was known of it when it is gone.
    pub alert: Alert,
    /// When it is said; for [`Event::Recovered`] when the alert was found to be gone.
    pub at: Timestamp,
    /// A channel is told when its minimum is not above this. For improvements and recoveries it is the severity
    /// that was said before: whoever was told of an alert is told of its end.
    pub audience: Severity,
}
