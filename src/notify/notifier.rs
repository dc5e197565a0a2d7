//! All channels together.

use futures_util::future::join_all;
use reqwest::Client;

use super::channel::{Channel, Failure, Messenger};
use super::email::Email;
use super::heartbeat::Heartbeat;
use super::pagerduty::PagerDuty;
use super::post::{self, Post};
use super::slack::Slack;
use super::webhook::Webhook;
use super::{EmailSettings, Notice, NotifySettings, Pace, Patience, Severity};
use crate::clock::Clock;
use crate::error::Result;
use crate::random::Random;

/// Everything that tells people.
pub struct Notifier {
    pace: Pace,
    channels: Vec<Channel>,
    heartbeat: Option<Heartbeat>,
}

impl Notifier {
    /// Prepares the channels, without asking any of them; `source` is what they call what is backed up.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) for a token that cannot be sent;
    /// [`Kind::Failed`](crate::error::Kind::Failed) when TLS cannot be used on this machine.
    pub fn new(settings: NotifySettings, source: &str, clock: &Clock, random: &Random) -> Result<Self> {
        let (pace, patience) = (settings.pace, settings.patience);
        let mut builder = Builder { channels: Vec::new(), source, patience, random };
        let client = if settings.needs_http() { Some(post::client()?) } else { None };
        if let Some(client) = &client {
            builder.add_http(&settings, client)?;
        }
        for email in settings.emails {
            builder.add_email(email)?;
        }
        let beat = |client| {
            let settings = settings.heartbeat?;
            Some(Heartbeat::new(client, settings, patience.timeout, clock.clone()))
        };
        Ok(Self { pace, channels: builder.channels, heartbeat: client.and_then(beat) })
    }

    /// Returns how often something is said, for [`Ledger::reconcile`](super::Ledger::reconcile).
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Returns how many channels there are; without any, alerts reach nobody.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Returns each channel's name, as a [`Failure`] tells it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(Channel::name)
    }

    /// Sends the notices, and what has waited since before, on all channels at once; returns what could not be sent.
    ///
    /// Takes as long as the slowest channel: while one hangs ten seconds, or thirty for e-mail; three times that when
    /// it has just begun to; and at most two and a half minutes, when a slow one begins to hang. Nothing is written to
    /// the log: the caller says what failed.
    pub async fn deliver(&self, notices: &[Notice]) -> Vec<Failure> {
        join_all(self.channels.iter().map(|channel| channel.deliver(notices))).await.into_iter().flatten().collect()
    }

    /// Tells the dead man's switch that all is well, if there is one and its interval has passed.
    ///
    /// # Errors
    /// [`Kind::Failed`](crate::error::Kind::Failed) when it did not take it; the next call tries again.
    pub async fn heartbeat(&self) -> Result<()> {
        match &self.heartbeat {
            None => Ok(()),
            Some(heartbeat) => heartbeat.beat().await,
        }
    }
}

impl NotifySettings {
    fn needs_http(&self) -> bool {
        let posts = self.webhooks.len() + self.slacks.len() + self.pagerduties.len();
        posts > 0 || self.heartbeat.is_some()
    }
}

/// Gathers channels.
struct Builder<'a> {
    channels: Vec<Channel>,
    source: &'a str,
    patience: Patience,
    random: &'a Random,
}

impl Builder<'_> {
    fn add_http(&mut self, settings: &NotifySettings, client: &Client) -> Result<()> {
        for webhook in &settings.webhooks {
            let post = Post::new(client, webhook.url.clone());
            let post = webhook.token.iter().try_fold(post, Post::with_token)?;
            let name = format!("webhook {}", webhook.url.place());
            self.add(name, webhook.severity, Webhook::new(post, self.source));
        }
        for slack in &settings.slacks {
            let post = Post::new(client, slack.url.clone());
            self.add(format!("slack {}", slack.url.place()), slack.severity, Slack::new(post, self.source));
        }
        for pagerduty in &settings.pagerduties {
            let url = PagerDuty::url(pagerduty);
            let name = format!("pagerduty {}", url.place());
            let messenger = PagerDuty::new(Post::new(client, url), pagerduty, self.source);
            self.add(name, pagerduty.severity, messenger);
        }
        Ok(())
    }

    fn add_email(&mut self, settings: EmailSettings) -> Result<()> {
        let (name, minimum) = (format!("email {}", settings.server.host), settings.severity);
        let messenger = Email::new(settings, self.source, self.patience.timeout)?;
        let patience = Patience { timeout: Email::timeout(self.patience.timeout), ..self.patience };
        self.channels.push(Channel::new(name, minimum, Box::new(messenger), patience, self.random));
        Ok(())
    }

    fn add(&mut self, name: String, minimum: Severity, messenger: impl Messenger + 'static) {
        self.channels.push(Channel::new(name, minimum, Box::new(messenger), self.patience, self.random));
    }
}
