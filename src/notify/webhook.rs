//! JSON for whatever a team has.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::channel::{Messenger, Trouble};
use super::post::Post;
use super::{Event, Notice, Severity};

/// Rises when a field changes its meaning or goes; fields may be added without.
const VERSION: u32 = 1;

pub(super) struct Webhook {
    post: Post,
    source: String,
}

/// What is posted.
#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    event: Event,
    source: &'a str,
    severity: Severity,
    key: &'a str,
    what: &'a str,
    since: Timestamp,
    at: Timestamp,
    meaning: &'a str,
    remedy: &'a str,
}

impl Webhook {
    pub(super) fn new(post: Post, source: &str) -> Self {
        Self { post, source: source.to_owned() }
    }
}

#[async_trait]
impl Messenger for Webhook {
    async fn send(&self, notice: &Notice) -> Result<(), Trouble> {
        let alert = &notice.alert;
        let body = Body {
            version: VERSION,
            event: notice.event,
            source: &self.source,
            severity: alert.severity,
            key: &alert.key,
            what: &alert.what,
            since: alert.since,
            at: notice.at,
            meaning: &alert.meaning,
            remedy: &alert.remedy,
        };
        self.post.deliver(&body).await
    }
}
