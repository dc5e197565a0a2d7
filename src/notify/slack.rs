//! Slack's incoming webhooks, and those of other chats that understand the same.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::channel::{Messenger, Trouble};
use super::post::Post;
use super::{Event, Notice, Severity, wording};

/// Longer texts are cut: Slack takes more, but nobody reads it in a chat.
const LONGEST: usize = 2000;

pub(super) struct Slack {
    post: Post,
    source: String,
}

impl Slack {
    pub(super) fn new(post: Post, source: &str) -> Self {
        Self { post, source: source.to_owned() }
    }
}

#[async_trait]
impl Messenger for Slack {
    async fn send(&self, notice: &Notice) -> Result<(), Trouble> {
        self.post.deliver_and_ask_why(&message(&self.source, notice)).await
    }
}

/// A line of text and an attachment with the details: unlike blocks, other chats understand it, too. Markup is
/// switched off, because names have underscores and stars; the colour says nothing that the text does not.
fn message(source: &str, notice: &Notice) -> Value {
    let colour = match (notice.event, notice.alert.severity) {
        (Event::Recovered, _) => "good",
        (_, Severity::Warning) => "warning",
        (_, Severity::Critical) => "danger",
    };
    let text = escape(&wording::headline(source, notice));
    let details = wording::details(notice).into_iter();
    let fields: Vec<Value> =
        details.map(|(name, value)| json!({ "title": name, "value": escape(&value), "short": false })).collect();
    json!({
        "text": text,
        "mrkdwn": false,
        "attachments": [{ "color": colour, "fallback": text, "fields": fields, "mrkdwn_in": [] }],
    })
}

/// Escapes as Slack wants it (docs.slack.dev/messaging/formatting-message-text): otherwise `<!channel>` in a name
/// would wake everybody.
fn escape(text: &str) -> String {
    wording::clip(text, LONGEST).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::wording::tests::notice;
    use super::*;

    #[test]
    fn names_can_call_nobody() {
        let message = message("a&b", &notice(Event::Raised, "<!channel>\n*x*"));
        assert_eq!(message["text"], "CRITICAL a&amp;b: &lt;!channel&gt; *x*");
        assert_eq!(message["attachments"][0]["color"], "danger");
        assert_eq!(message["attachments"][0]["fields"][3]["value"], "exposure/orders");
    }

    #[test]
    fn long_texts_are_cut_before_they_are_escaped() {
        assert_eq!(escape(&"<".repeat(LONGEST + 1)), "&lt;".repeat(LONGEST - 1) + "…");
    }
}
