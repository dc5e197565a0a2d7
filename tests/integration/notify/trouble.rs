//! Channels that fail, hang, refuse or tell secrets.

use std::time::Instant;

use regrow::notify::{Failure, NotifySettings};

use super::*;
use crate::harness::Answer;

/// Returns what was said, and checks that no secret is in it.
fn said(failure: &Failure) -> String {
    let said = format!("{} {} {:?} {:?}", failure.channel, failure.error, failure.error.hint(), failure.error);
    assert!(!said.contains(SECRET), "a secret is shown: {said}");
    failure.error.to_string()
}

fn place(receiver: &Receiver) -> String {
    receiver.url("").trim_start_matches("http://").to_owned()
}

fn what(receiver: &Receiver) -> Vec<serde_json::Value> {
    receiver.received().iter().map(|received| received.json()["what"].clone()).collect()
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again() {
    let (receiver, server) = (Receiver::start(), harness::MailServer::start());
    receiver.answer_next(1, &Answer::Status(500)).answer_next(1, &Answer::Status(429));
    server.refuse_next("MAIL", "421 busy").refuse_next("RCPT", "451 later");
    let settings = NotifySettings { webhooks: vec![webhook(&receiver)], emails: vec![email(&server)], ..settings() };
    let failures = notifier(settings).deliver(&[about("x")]).await;
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!((receiver.received().len(), server.mails().len()), (3, 1));
}

#[tokio::test]
async fn what_is_not_taken_waits_and_is_sent_in_its_order() {
    let receiver = Receiver::start();
    receiver.answer_always(Answer::Status(503));
    let notifier = notifier(NotifySettings { webhooks: vec![webhook(&receiver)], ..settings() });
    let [failure] = &notifier.deliver(&[about("1"), about("2")]).await[..] else { panic!("one") };
    let expected = format!("cannot notify webhook {}: it answers 503 Service Unavailable", place(&receiver));
    assert_eq!(said(failure), expected);
    assert_eq!((failure.waiting, failure.dropped), (2, 0));
    assert_eq!(what(&receiver), ["1", "1", "1"], "the second would fail as well");
    let [failure] = &notifier.deliver(&[about("3")]).await[..] else { panic!("one") };
    assert_eq!(failure.waiting, 3);
    assert_eq!(what(&receiver)[3..], ["1"], "whether it is still away is asked once");
    receiver.answer_always(Answer::Status(204));
    assert!(notifier.deliver(&[]).await.is_empty());
    assert_eq!(what(&receiver)[4..], ["1", "2", "3"]);
    assert!(notifier.deliver(&[]).await.is_empty());
    assert_eq!(receiver.received().len(), 7, "nothing is left");
}

#[tokio::test]
async fn refusals_are_not_repeated_and_redirects_not_followed() {
    let [receiver, elsewhere] = [(); 2].map(|()| Receiver::start());
    let notifier = notifier(NotifySettings { webhooks: vec![webhook(&receiver)], ..settings() });
    receiver.answer_next(1, &Answer::Status(403));
    let [failure] = &notifier.deliver(&[about("1")]).await[..] else { panic!("one") };
    assert!(said(failure).ends_with("it answers 403 Forbidden"));
    assert_eq!((failure.waiting, failure.dropped), (1, 0), "it may be allowed again");
    receiver.answer_next(1, &Answer::Redirect(elsewhere.url(&format!("/{SECRET}"))));
    let [failure] = &notifier.deliver(&[]).await[..] else { panic!("one") };
    assert!(said(failure).ends_with("it answers 307 Temporary Redirect"));
    receiver.answer_next(1, &Answer::Status(400));
    let [failure] = &notifier.deliver(&[about("2")]).await[..] else { panic!("one") };
    assert!(said(failure).ends_with("it answers 400 Bad Request"));
    assert_eq!((failure.waiting, failure.dropped), (0, 1), "this one would be refused for ever");
    assert_eq!(what(&receiver), ["1", "1", "1", "2"]);
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn a_channel_that_hangs_holds_up_no_other() {
    let [hanging, well] = [(); 2].map(|()| Receiver::start());
    let server = harness::MailServer::start();
    hanging.answer_always(Answer::Hang);
    let mut settings = NotifySettings {
        webhooks: vec![webhook(&hanging), webhook(&well)],
        emails: vec![email(&server)],
        ..settings()
    };
    settings.patience.timeout = Duration::from_secs(2);
    let notifier = notifier(settings);
    let notices = [about("1"), about("2"), about("3")];
    let begin = Instant::now();
    let others = async {
        while well.received().len() < 3 || server.mails().len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begin.elapsed()
    };
    let (failures, others) = tokio::join!(notifier.deliver(&notices), others);
    assert!(others < Duration::from_secs(2), "they waited for the one that hangs: {others:?}");
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(said(&failures[0]).ends_with("there is no answer within 2s"), "{failures:?}");
    assert_eq!((failures[0].waiting, hanging.received().len()), (3, 3), "the first notice, three times");
    hanging.answer_always(Answer::Status(200));
    assert!(notifier.deliver(&[]).await.is_empty());
    assert_eq!((hanging.received().len(), well.received().len()), (6, 3));
}

#[tokio::test]
async fn servers_that_are_not_there_are_named_by_their_host_alone() {
    let [gone, mute] = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let url = |text: String| Endpoint::parse(&Secret::new(text)).unwrap();
    let dead = url(format!("http://user:{SECRET}@{gone}/{SECRET}"));
    let server = MailServer::parse(&Secret::new(format!("smtp://{mute}"))).unwrap();
    let settings = NotifySettings {
        webhooks: vec![WebhookSettings { url: dead.clone(), token: None, severity: Severity::Warning }],
        slacks: vec![SlackSettings { url: url(format!("https://{gone}/{SECRET}")), severity: Severity::Warning }],
        emails: vec![EmailSettings { server, ..email(&harness::MailServer::start()) }],
        heartbeat: Some(HeartbeatSettings { url: dead, interval: HeartbeatSettings::INTERVAL }),
        ..settings()
    };
    let notifier = notifier(settings);
    let failures = notifier.deliver(&[about("x")]).await;
    let kinds: Vec<String> = failures.iter().map(|failure| failure.channel.clone()).collect();
    assert_eq!(kinds, [format!("webhook {gone}"), format!("slack {gone}"), "email 127.0.0.1".to_owned()]);
    for failure in &failures {
        assert!(said(failure).contains("Connection refused"), "{failure:?}");
    }
    let error = notifier.heartbeat().await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot send the heartbeat to {gone}: ")), "{error}");
    assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
}

#[tokio::test]
async fn servers_that_quote_what_they_were_sent_are_not_quoted() {
    let (receiver, server) = (Receiver::start(), harness::MailServer::start());
    let quoting = format!("cannot POST /hooks/{SECRET}?key={SECRET}");
    receiver.answer_always(Answer::Says(404, quoting));
    server.refuse_next("AUTH", "535 5.7.8 no such user: {} sesame");
    let mut settings = NotifySettings { webhooks: vec![webhook(&receiver)], ..settings() };
    (settings.slacks, settings.pagerduties) = (vec![slack(&receiver)], vec![pagerduty(&receiver)]);
    settings.emails = vec![email(&server)];
    let failures = notifier(settings).deliver(&[about("x")]).await;
    let said: Vec<String> = failures.iter().map(said).collect();
    let http = ["webhook", "slack", "pagerduty"];
    let http = http.map(|kind| format!("cannot notify {kind} {}: it answers 404 Not Found", place(&receiver)));
    assert_eq!(said[..3], http);
    assert_eq!(said[3], "cannot notify email 127.0.0.1: it answers 535");
    assert_eq!(failures[3].error.hint(), Some("check notify.email.user and notify.email.password"));
}

#[tokio::test]
async fn the_word_by_which_slack_refuses_is_shown() {
    let receiver = Receiver::start();
    receiver.answer_next(1, &Answer::Says(410, "channel_is_archived".into()));
    let notifier = notifier(NotifySettings { slacks: vec![slack(&receiver)], ..settings() });
    let [failure] = &notifier.deliver(&[about("x")]).await[..] else { panic!("one") };
    assert!(said(failure).ends_with("it answers 410 Gone (channel_is_archived)"), "{failure:?}");
    receiver.answer_next(1, &Answer::Says(410, SECRET.into()));
    let [failure] = &notifier.deliver(&[]).await[..] else { panic!("one") };
    assert!(said(failure).ends_with("it answers 410 Gone"), "a word of the URL is not");
}

#[tokio::test]
async fn a_token_that_is_none_is_an_error_of_the_configuration() {
    let receiver = Receiver::start();
    let token = Some(Secret::new(format!("{SECRET}\r\nX-Evil: 1")));
    let webhooks = vec![WebhookSettings { token, ..webhook(&receiver) }];
    let made =
        Notifier::new(NotifySettings { webhooks, ..settings() }, "smartduka", &Clock::system(), &Random::system());
    let error = made.map(drop).unwrap_err();
    assert_eq!(error.kind(), regrow::error::Kind::Configuration);
    assert!(!format!("{error:?} {error}").contains(SECRET), "{error:?}");
    assert!(error.hint().unwrap().contains("notify.webhook.token"), "{error:?}");
}
