//! `PagerDuty`, by its Events API v2 (developer.pagerduty.com/docs/events-api-v2).

use async_trait::async_trait;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::channel::{Messenger, Trouble};
use super::post::Post;
use super::settings::{Endpoint, PagerDutySettings};
use super::{Event, Notice, Severity, wording};
use crate::secret::Secret;

/// The service outside of Europe; there it is `https://events.eu.pagerduty.com/v2/enqueue`.
const DEFAULT_URL: &str = "https://events.pagerduty.com/v2/enqueue";

/// The longest summary that the API takes.
const LONGEST_SUMMARY: usize = 1024;

/// The longest deduplication key that the API takes.
const LONGEST_KEY: usize = 255;

pub(super) struct PagerDuty {
    post: Post,
    routing_key: Secret,
    minimum: Severity,
    source: String,
}

impl PagerDuty {
    pub(super) fn new(post: Post, settings: &PagerDutySettings, source: &str) -> Self {
        let PagerDutySettings { routing_key, severity, .. } = settings;
        Self { post, routing_key: routing_key.clone(), minimum: *severity, source: source.to_owned() }
    }

    /// Returns where the events go.
    pub(super) fn url(settings: &PagerDutySettings) -> Endpoint {
        let default = || Endpoint::parse(&Secret::new(DEFAULT_URL.into())).expect("the constant is a URL");
        settings.url.clone().unwrap_or_else(default)
    }

    fn event(&self, notice: &Notice) -> Value {
        let mut event = json!({
            "routing_key": self.routing_key.reveal(),
            "event_action": if self.is_over(notice) { "resolve" } else { "trigger" },
            "dedup_key": dedup_key(&self.source, &notice.alert.key),
        });
        if !self.is_over(notice) {
            event["client"] = "Regrow".into();
            event["payload"] = self.payload(notice);
        }
        event
    }

    /// Whether nobody needs to be called any more: what has improved beyond what this channel is for is over, too.
    fn is_over(&self, notice: &Notice) -> bool {
        notice.event == Event::Recovered || notice.alert.severity < self.minimum
    }

    fn payload(&self, notice: &Notice) -> Value {
        let alert = &notice.alert;
        json!({
            "summary": wording::clip(&wording::headline(&self.source, notice), LONGEST_SUMMARY),
            "source": self.source,
            "severity": alert.severity,
            "timestamp": alert.since,
            "class": alert.key,
            "custom_details": {
                "event": notice.event,
                "what": alert.what,
                "since": alert.since,
                "meaning": alert.meaning,
                "remedy": alert.remedy,
            },
        })
    }
}

#[async_trait]
impl Messenger for PagerDuty {
    async fn send(&self, notice: &Notice) -> Result<(), Trouble> {
        self.post.deliver(&self.event(notice)).await
    }
}

/// Returns what joins the events about one alert of one source.
fn dedup_key(source: &str, key: &str) -> String {
    let joined = format!("regrow/{source}/{key}");
    if joined.len() <= LONGEST_KEY { joined } else { format!("regrow/{}", hex::encode(Sha256::digest(joined))) }
}

#[cfg(test)]
mod tests {
    use reqwest::Client;

    use super::super::wording::tests::notice;
    use super::*;

    #[test]
    fn what_is_no_longer_critical_is_over_where_only_that_counts() {
        let action = |minimum, event, severity| {
            let settings = PagerDutySettings { routing_key: Secret::new("k".into()), url: None, severity: minimum };
            let post = Post::new(&Client::new(), PagerDuty::url(&settings));
            let mut notice = notice(event, "x");
            notice.alert.severity = severity;
            PagerDuty::new(post, &settings, "shop").event(&notice)["event_action"].clone()
        };
        assert_eq!(action(Severity::Critical, Event::Improved, Severity::Warning), "resolve");
        assert_eq!(action(Severity::Warning, Event::Improved, Severity::Warning), "trigger");
        assert_eq!(action(Severity::Warning, Event::Recovered, Severity::Critical), "resolve");
    }

    #[test]
    fn long_keys_stay_different_and_short_enough() {
        assert_eq!(dedup_key("shop", "job/verify"), "regrow/shop/job/verify");
        let [one, other] = ["a", "b"].map(|end| dedup_key("shop", &("x".repeat(300) + end)));
        assert!(one != other && one.len() <= LONGEST_KEY);
    }
}
