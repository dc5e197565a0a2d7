//! What is needed to reach the channels: resolved, and right as far as can be seen without asking anyone.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use lettre::message::Mailbox;
use reqwest::Url;

use super::{Pace, Patience, Severity};
use crate::secret::Secret;

/// Where and how people are told; by default nobody is.
#[derive(Debug, Clone, Default)]
pub struct NotifySettings {
    /// How often something is said.
    pub pace: Pace,
    /// How long a channel is tried.
    pub patience: Patience,
    /// Receivers of JSON.
    pub webhooks: Vec<WebhookSettings>,
    /// Incoming webhooks of Slack, or of what understands the same.
    pub slacks: Vec<SlackSettings>,
    /// Services of `PagerDuty`.
    pub pagerduties: Vec<PagerDutySettings>,
    /// E-mails.
    pub emails: Vec<EmailSettings>,
    /// What is told that all is well.
    pub heartbeat: Option<HeartbeatSettings>,
}

/// A receiver of JSON.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Where to.
    pub url: Endpoint,
    /// Sent as a bearer token.
    pub token: Option<Secret>,
    /// The least severe alerts that it is told of.
    pub severity: Severity,
}

/// An incoming webhook of Slack.
#[derive(Debug, Clone)]
pub struct SlackSettings {
    /// Where to.
    pub url: Endpoint,
    /// The least severe alerts that it is told of.
    pub severity: Severity,
}

/// An integration with the Events API v2 of `PagerDuty`.
#[derive(Debug, Clone)]
pub struct PagerDutySettings {
    /// The integration's key.
    pub routing_key: Secret,
    /// Where to, unless it is the service outside of Europe.
    pub url: Option<Endpoint>,
    /// The least severe alerts that it is told of.
    pub severity: Severity,
}

/// E-mail to some people.
#[derive(Debug, Clone)]
pub struct EmailSettings {
    /// The server that takes them.
    pub server: MailServer,
    /// As whom, if it wants to know.
    pub login: Option<Login>,
    /// The sender.
    pub from: Mailbox,
    /// The readers.
    pub to: Vec<Mailbox>,
    /// The least severe alerts that they are told of.
    pub severity: Severity,
}

/// A user of a mail server.
#[derive(Debug, Clone)]
pub struct Login {
    /// The name.
    pub user: Secret,
    /// The password.
    pub password: Secret,
}

/// A dead man's switch: a URL that somebody watches and raises an alarm about when it is not asked for.
#[derive(Debug, Clone)]
pub struct HeartbeatSettings {
    /// What is asked for.
    pub url: Endpoint,
    /// How often at most.
    pub interval: Duration,
}

impl HeartbeatSettings {
    /// How often, unless configured: the shortest period that such services commonly watch for.
    pub const INTERVAL: Duration = Duration::from_mins(1);
}

/// An `https://` or `http://` URL, which is a secret but for its host and port.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Parses a URL.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow its name and show nothing of it.
    pub fn parse(url: &Secret) -> Result<Self, &'static str> {
        let url = Url::parse(url.reveal()).map_err(|_| "is no URL")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("has a scheme that is neither https nor http");
        }
        Ok(Self(url))
    }

    /// Returns the host, with the port if it is an unusual one: what may be shown.
    #[must_use]
    pub fn place(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Returns all of it. Call it where the request is made, not where the endpoint is passed on.
    pub(super) fn reveal(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/[redacted]", self.0.scheme(), self.place())
    }
}

/// A server that takes e-mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Whether the connection begins with TLS, rather than in the clear.
    pub(super) begins_with_tls: bool,
}

impl MailServer {
    /// Parses `smtps://host` or `smtp://host`, each with a port or without.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow its name and show nothing of it.
    pub fn parse(text: &Secret) -> Result<Self, &'static str> {
        let url = Url::parse(text.reveal()).map_err(|_| "is no URL of a mail server")?;
        let begins_with_tls = match url.scheme() {
            "smtps" => true,
            "smtp" => false,
            _ => return Err("has a scheme that is neither smtps nor smtp"),
        };
        let host = url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned());
        let host = host.filter(|host| !host.is_empty()).ok_or("names no host")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a user or a password");
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("has more than a host and a port");
        }
        Ok(Self { host, port: url.port(), begins_with_tls })
    }

    /// Whether it is on this machine, so that nobody listens on the way.
    pub(super) fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

/// Parses an e-mail address, `ops@example.com` or `Operations <ops@example.com>`.
///
/// # Errors
/// What is wrong with it, in words that follow its name.
pub fn mailbox(text: &str) -> Result<Mailbox, &'static str> {
    text.parse().map_err(|_| "is no e-mail address")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    #[test]
    fn an_endpoint_shows_its_host_only() {
        let endpoint = Endpoint::parse(&secret("https://user:pass@hooks.example.com:8443/T0/secret?key=k#f")).unwrap();
        assert_eq!(endpoint.place(), "hooks.example.com:8443");
        assert_eq!(format!("{endpoint:?}"), "https://hooks.example.com:8443/[redacted]");
        for wrong in ["", "hooks.example.com/T0", "https://", "ftp://host/", "file:///etc/passwd", "https://ho st/"] {
            assert!(Endpoint::parse(&secret(wrong)).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn mail_servers_are_understood_or_refused() {
        let server = MailServer::parse(&secret("smtp://[::1]:2525")).unwrap();
        assert_eq!((server.host.as_str(), server.port, server.begins_with_tls), ("::1", Some(2525), false));
        assert!(server.is_local());
        let server = MailServer::parse(&secret("smtps://mail.example.com/")).unwrap();
        assert_eq!((server.host.as_str(), server.port, server.begins_with_tls), ("mail.example.com", None, true));
        assert!(!server.is_local());
        for local in ["smtp://localhost", "smtp://127.0.0.1:25"] {
            assert!(MailServer::parse(&secret(local)).unwrap().is_local(), "{local}");
        }
        for wrong in
            ["mail.example.com", "smtp://", "https://mail", "smtp://u:p@mail", "smtp://mail/x", "smtp://mail?tls"]
        {
            assert!(MailServer::parse(&secret(wrong)).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn addresses_are_understood_or_refused() {
        assert_eq!(mailbox("Operations <ops@example.com>").unwrap().email.to_string(), "ops@example.com");
        for wrong in ["", "ops", "ops@", "a@example.com, b@example.com", "a@example.com\r\nBcc: b@example.com"] {
            assert!(mailbox(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
