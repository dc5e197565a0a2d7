//! What arrives, channel by channel.

use regrow::clock::Clock;
use regrow::notify::{Event, HeartbeatSettings, Notifier, NotifySettings, Severity};
use regrow::random::Random;
use serde_json::json;

use super::*;

const CRITICAL: Severity = Severity::Critical;

/// Sends notices by a notifier that must have no trouble.
async fn deliver(settings: NotifySettings, notices: &[Notice]) {
    let failures = notifier(settings).deliver(notices).await;
    assert!(failures.is_empty(), "{failures:?}");
}

#[tokio::test]
async fn a_webhook_gets_all_that_is_known() {
    let receiver = Receiver::start();
    let settings = NotifySettings { webhooks: vec![webhook(&receiver)], ..settings() };
    deliver(settings, &[notice(Event::Raised, CRITICAL), notice(Event::Recovered, CRITICAL)]).await;
    let [raised, recovered] = &receiver.received()[..] else { panic!("two") };
    assert_eq!((raised.method.as_str(), raised.path.as_str()), ("POST", "/hooks/sesame?key=sesame"));
    assert_eq!(raised.headers["authorization"], "Bearer token-sesame");
    assert_eq!(raised.headers["content-type"], "application/json");
    assert!(raised.headers["user-agent"].starts_with("regrow/"), "{raised:?}");
    let expected = json!({
        "version": 1,
        "event": "raised",
        "source": "smartduka",
        "severity": "critical",
        "key": "exposure/orders",
        "what": "orders is 16 min behind, its RPO is 15 min",
        "since": "2026-11-25T02:00:00Z",
        "at": "2026-11-25T02:16:00Z",
        "meaning": "a disaster now would lose the orders since then",
        "remedy": "see 'regrow status', and whether capture runs",
    });
    assert_eq!(raised.json(), expected);
    assert_eq!(recovered.json()["event"], "recovered");
}

#[tokio::test]
async fn slack_gets_a_line_and_the_details() {
    let receiver = Receiver::start();
    let settings = NotifySettings { slacks: vec![slack(&receiver)], ..settings() };
    deliver(settings, &[notice(Event::Repeated, CRITICAL), about("<!channel> & *all*")]).await;
    let [repeated, odd] = &receiver.received()[..] else { panic!("two") };
    let text = "STILL CRITICAL smartduka: orders is 16 min behind, its RPO is 15 min";
    let field = |title: &str, value: &str| json!({ "title": title, "value": value, "short": false });
    let fields = [
        field("Since", "2026-11-25T02:00:00Z (16 min)"),
        field("Meaning", "a disaster now would lose the orders since then"),
        field("Remedy", "see 'regrow status', and whether capture runs"),
        field("About", "exposure/orders"),
    ];
    let attachment = json!({ "color": "danger", "fallback": text, "fields": fields, "mrkdwn_in": [] });
    assert_eq!(repeated.json(), json!({ "text": text, "mrkdwn": false, "attachments": [attachment] }));
    assert_eq!(odd.json()["text"], "CRITICAL smartduka: &lt;!channel&gt; &amp; *all*");
}

#[tokio::test]
async fn pagerduty_is_called_and_called_off_under_one_key() {
    let receiver = Receiver::start();
    receiver.answer_always(harness::Answer::Status(202));
    let settings = NotifySettings { pagerduties: vec![pagerduty(&receiver)], ..settings() };
    deliver(settings, &[notice(Event::Raised, CRITICAL), notice(Event::Recovered, CRITICAL)]).await;
    let [trigger, resolve] = &receiver.received()[..] else { panic!("two") };
    let expected = json!({
        "routing_key": "key-sesame",
        "event_action": "trigger",
        "dedup_key": "regrow/smartduka/exposure/orders",
        "client": "Regrow",
        "payload": {
            "summary": "CRITICAL smartduka: orders is 16 min behind, its RPO is 15 min",
            "source": "smartduka",
            "severity": "critical",
            "timestamp": "2026-11-25T02:00:00Z",
            "class": "exposure/orders",
            "custom_details": {
                "event": "raised",
                "what": "orders is 16 min behind, its RPO is 15 min",
                "since": "2026-11-25T02:00:00Z",
                "meaning": "a disaster now would lose the orders since then",
                "remedy": "see 'regrow status', and whether capture runs",
            },
        },
    });
    assert_eq!(trigger.json(), expected);
    let expected = json!({
        "routing_key": "key-sesame", "event_action": "resolve", "dedup_key": "regrow/smartduka/exposure/orders",
    });
    assert_eq!(resolve.json(), expected);
}

#[tokio::test]
async fn an_email_reads_well_and_names_everybody() {
    let server = harness::MailServer::start();
    let settings = NotifySettings { emails: vec![email(&server)], ..settings() };
    deliver(settings, &[notice(Event::Raised, CRITICAL), notice(Event::Recovered, CRITICAL)]).await;
    let [raised, recovered] = &server.mails()[..] else { panic!("two") };
    assert_eq!(raised.login, Some(("regrow".into(), "pass-sesame".into())));
    assert_eq!(raised.from, "regrow@example.com");
    assert_eq!(raised.to, ["ops@example.com", "boss@example.com"]);
    let subject = "[regrow] CRITICAL smartduka: orders is 16 min behind, its RPO is 15 min";
    assert_eq!(raised.header("Subject"), subject);
    assert_eq!(raised.header("To"), "ops@example.com, boss@example.com");
    assert_eq!(raised.header("Date"), "Wed, 25 Nov 2026 02:16:00 +0000");
    assert_eq!(raised.header("Auto-Submitted"), "auto-generated");
    let text = "CRITICAL smartduka: orders is 16 min behind, its RPO is 15 min\r\n\
        \r\n\
        Since:    2026-11-25T02:00:00Z (16 min)\r\n\
        Meaning:  a disaster now would lose the orders since then\r\n\
        Remedy:   see 'regrow status', and whether capture runs\r\n\
        About:    exposure/orders\r\n";
    assert_eq!(raised.text(), text);
    let subject = "[regrow] RECOVERED smartduka (was: orders is 16 min behind, its RPO is 15 min)";
    assert_eq!(recovered.header("Subject"), subject);
    assert!(recovered.text().contains("Until:    2026-11-25T02:16:00Z (16 min)\r\n"), "{recovered:?}");
}

#[tokio::test]
async fn no_name_becomes_a_header_or_ends_an_email() {
    let server = harness::MailServer::start();
    let settings = NotifySettings { emails: vec![email(&server)], ..settings() };
    let mut odd = about("shop.a\r\nBcc: thief@example.com\r\n\r\n.\r\nQUIT");
    odd.alert.meaning = ".\r\n.\r\nRCPT TO:<thief@example.com>".into();
    odd.alert.remedy = ".".into();
    deliver(settings, &[odd, about("läßt sich nicht sichern\r\nX-Evil: 1")]).await;
    let [odd, foreign] = &server.mails()[..] else { panic!("two: {:#?}", server.mails()) };
    assert_eq!(odd.to, ["ops@example.com", "boss@example.com"]);
    assert_eq!(odd.header("Subject"), "[regrow] CRITICAL smartduka: shop.a  Bcc: thief@example.com    .  QUIT");
    assert!(!odd.data.contains("\r\nBcc:"), "{}", odd.data);
    assert!(odd.text().contains("Meaning:  .  .  RCPT TO:<thief@example.com>\r\n"), "{}", odd.text());
    assert!(!foreign.data.contains("\r\nX-Evil"), "{}", foreign.data);
    assert!(foreign.header("Subject").contains("=?utf-8?"), "{}", foreign.data);
}

#[tokio::test]
async fn each_channel_is_told_of_what_it_is_for() {
    let [all, critical] = [(); 2].map(|()| Receiver::start());
    let only_critical = WebhookSettings { severity: CRITICAL, ..webhook(&critical) };
    let settings = NotifySettings { webhooks: vec![webhook(&all), only_critical], ..settings() };
    let improved = Notice { audience: CRITICAL, ..notice(Event::Improved, Severity::Warning) };
    let recovered = Notice { audience: CRITICAL, ..notice(Event::Recovered, Severity::Warning) };
    let notices = [notice(Event::Raised, Severity::Warning), notice(Event::Worsened, CRITICAL), improved, recovered];
    deliver(settings, &notices).await;
    let events = |receiver: &Receiver| -> Vec<serde_json::Value> {
        receiver.received().iter().map(|received| received.json()["event"].clone()).collect()
    };
    assert_eq!(events(&all), ["raised", "worsened", "improved", "recovered"]);
    assert_eq!(events(&critical), ["worsened", "improved", "recovered"]);
}

#[tokio::test]
async fn the_heart_beats_at_its_interval_and_again_at_once_after_a_failure() {
    let receiver = Receiver::start();
    let settings = NotifySettings { heartbeat: Some(heartbeat(&receiver)), ..settings() };
    let clock = Clock::manual(time("2026-11-25T02:16:00Z"));
    let notifier = Notifier::new(settings, "smartduka", &clock, &Random::seeded(7)).unwrap();
    assert_eq!(notifier.channels(), 0, "a heartbeat tells nobody what is wrong");
    let mut beats = Vec::new();
    for _ in 0..9 {
        notifier.heartbeat().await.unwrap();
        beats.push(receiver.received().len());
        clock.advance(HeartbeatSettings::INTERVAL / 4);
    }
    assert_eq!(beats, [1, 1, 1, 1, 2, 2, 2, 2, 3]);
    clock.advance(HeartbeatSettings::INTERVAL);
    receiver.answer_next(1, &harness::Answer::Status(503));
    let error = notifier.heartbeat().await.unwrap_err();
    let place = receiver.url("");
    let expected = format!(
        "cannot send the heartbeat to {}: it answers 503 Service Unavailable",
        place.trim_start_matches("http://")
    );
    assert_eq!(error.to_string(), expected);
    notifier.heartbeat().await.unwrap();
    let received = receiver.received();
    assert_eq!(received.len(), 5);
    assert_eq!((received[4].method.as_str(), received[4].path.as_str()), ("GET", "/hooks/sesame?key=sesame"));
    assert!(received[4].body.is_empty());
}

#[tokio::test]
async fn without_channels_nothing_is_done() {
    let notifier = notifier(settings());
    assert_eq!(notifier.channels(), 0);
    assert!(notifier.deliver(&[about("x")]).await.is_empty());
    notifier.heartbeat().await.unwrap();
}
