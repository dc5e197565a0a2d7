//! What people are told, and how it gets there: every channel against a real server.

mod channels;
mod trouble;

use std::time::Duration;

use jiff::Timestamp;
use regrow::clock::Clock;
use regrow::notify::{
    Alert, EmailSettings, Endpoint, Event, HeartbeatSettings, Login, MailServer, Notice, Notifier, NotifySettings,
    PagerDutySettings, Patience, Severity, SlackSettings, WebhookSettings, mailbox,
};
use regrow::random::Random;
use regrow::secret::Secret;

use crate::harness::{self, Receiver};

/// What must never be shown: it is in each URL, token, key and password here.
const SECRET: &str = "sesame";

/// What every channel here is configured by; each test adds its own.
fn settings() -> NotifySettings {
    let patience = Patience { first_pause: Duration::from_millis(1), ..Patience::default() };
    NotifySettings { patience, ..NotifySettings::default() }
}

fn notifier(settings: NotifySettings) -> Notifier {
    Notifier::new(settings, "smartduka", &Clock::manual(time("2026-11-25T02:16:00Z")), &Random::seeded(7)).unwrap()
}

fn webhook(receiver: &Receiver) -> WebhookSettings {
    let token = Some(Secret::new(format!("token-{SECRET}")));
    WebhookSettings { url: endpoint(receiver), token, severity: Severity::Warning }
}

fn slack(receiver: &Receiver) -> SlackSettings {
    SlackSettings { url: endpoint(receiver), severity: Severity::Warning }
}

fn pagerduty(receiver: &Receiver) -> PagerDutySettings {
    let routing_key = Secret::new(format!("key-{SECRET}"));
    PagerDutySettings { routing_key, url: Some(endpoint(receiver)), severity: Severity::Warning }
}

fn email(server: &harness::MailServer) -> EmailSettings {
    EmailSettings {
        server: MailServer::parse(&Secret::new(server.url())).unwrap(),
        login: Some(Login { user: Secret::new("regrow".into()), password: Secret::new(format!("pass-{SECRET}")) }),
        from: mailbox("Regrow <regrow@example.com>").unwrap(),
        to: vec![mailbox("ops@example.com").unwrap(), mailbox("boss@example.com").unwrap()],
        severity: Severity::Warning,
    }
}

fn heartbeat(receiver: &Receiver) -> HeartbeatSettings {
    HeartbeatSettings { url: endpoint(receiver), interval: HeartbeatSettings::INTERVAL }
}

fn endpoint(receiver: &Receiver) -> Endpoint {
    Endpoint::parse(&Secret::new(receiver.url(&format!("/hooks/{SECRET}?key={SECRET}")))).unwrap()
}

/// Returns a notice about orders that are late since 2026-11-25T02:00:00Z.
fn notice(event: Event, severity: Severity) -> Notice {
    let alert = Alert {
        key: "exposure/orders".into(),
        severity,
        what: "orders is 16 min behind, its RPO is 15 min".into(),
        since: time("2026-11-25T02:00:00Z"),
        meaning: "a disaster now would lose the orders since then".into(),
        remedy: "see 'regrow status', and whether capture runs".into(),
    };
    Notice { event, alert, at: time("2026-11-25T02:16:00Z"), audience: severity }
}

/// Returns a notice that tells of something by name alone.
fn about(what: &str) -> Notice {
    let mut notice = notice(Event::Raised, Severity::Critical);
    notice.alert.what = what.into();
    notice
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}
