//! `[notify]`: its shape, and how it is resolved.

use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::notify::{
    EmailSettings, Endpoint, HeartbeatSettings, Login, MailServer, NotifySettings, Pace, PagerDutySettings, Patience,
    Severity, SlackSettings, WebhookSettings, mailbox,
};
use crate::secret::{Secret, SecretReference};
use crate::units::Span;

/// Nothing is said more often than this, whatever is configured.
const SHORTEST: Duration = Duration::from_secs(1);

const HTTP_HINT: &str = "write https://host/path, or env:NAME or file:/path with such a URL";
const MAIL_SERVER_HINT: &str =
    "write smtps://host or smtp://host, with :port where it is unusual; user and password are keys of their own";
const MAILBOX_HINT: &str = "write ops@example.com, or Operations <ops@example.com>";

/// `[notify]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// What stays wrong is said again after this.
    pub repeat: Option<Span>,
    /// What is gone for this long has recovered.
    pub settle: Option<Span>,
    /// Receivers of JSON.
    #[serde(default)]
    pub webhook: Vec<Webhook>,
    /// Slack, and what understands the same.
    #[serde(default)]
    pub slack: Vec<Slack>,
    /// `PagerDuty`.
    #[serde(default)]
    pub pagerduty: Vec<PagerDuty>,
    /// E-mail.
    #[serde(default)]
    pub email: Vec<Email>,
    /// A dead man's switch.
    pub heartbeat: Option<Heartbeat>,
}

/// `[[notify.webhook]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `env:NAME`, `file:/path`, or the URL itself.
    pub url: SecretReference,
    /// The same for a bearer token.
    pub token: Option<SecretReference>,
    /// The least severe alerts that it is told of.
    pub severity: Option<Severity>,
}

/// `[[notify.slack]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// `env:NAME`, `file:/path`, or the URL itself.
    pub url: SecretReference,
    /// The least severe alerts that it is told of.
    pub severity: Option<Severity>,
}

/// `[[notify.pagerduty]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDuty {
    /// `env:NAME`, `file:/path`, or the key itself.
    pub routing_key: SecretReference,
    /// Where events go, for Europe or a proxy.
    pub url: Option<SecretReference>,
    /// The least severe alerts that it is told of.
    pub severity: Option<Severity>,
}

/// `[[notify.email]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// `smtps://host` or `smtp://host:port`.
    pub server: SecretReference,
    /// As whom to log in, with a password.
    pub user: Option<SecretReference>,
    /// `env:NAME`, `file:/path`, or the password itself.
    pub password: Option<SecretReference>,
    /// The sender.
    pub from: String,
    /// The readers.
    pub to: Vec<String>,
    /// The least severe alerts that they are told of.
    pub severity: Option<Severity>,
}

/// `[notify.heartbeat]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// `env:NAME`, `file:/path`, or the URL itself.
    pub url: SecretReference,
    /// How often at most.
    pub interval: Option<Span>,
}

impl Notify {
    /// Resolves every secret and checks every value.
    pub(super) fn resolve(&self) -> Result<NotifySettings> {
        let default = Pace::default();
        let pace = Pace {
            repeat: at_least_a_second("notify.repeat", self.repeat, default.repeat)?,
            settle: self.settle.map_or(default.settle, |settle| settle.0),
        };
        Ok(NotifySettings {
            pace,
            patience: Patience::default(),
            webhooks: each("notify.webhook", &self.webhook, Webhook::resolve)?,
            slacks: each("notify.slack", &self.slack, Slack::resolve)?,
            pagerduties: each("notify.pagerduty", &self.pagerduty, PagerDuty::resolve)?,
            emails: each("notify.email", &self.email, Email::resolve)?,
            heartbeat: self.heartbeat.as_ref().map(Heartbeat::resolve).transpose()?,
        })
    }
}

impl Webhook {
    fn resolve(&self, section: &Section) -> Result<WebhookSettings> {
        let url = endpoint(&section.key("url"), &self.url)?;
        let token = self.token.as_ref().map(|token| Secret::resolve(&section.key("token"), token)).transpose()?;
        Ok(WebhookSettings { url, token, severity: self.severity.unwrap_or_default() })
    }
}

impl Slack {
    fn resolve(&self, section: &Section) -> Result<SlackSettings> {
        let url = endpoint(&section.key("url"), &self.url)?;
        Ok(SlackSettings { url, severity: self.severity.unwrap_or_default() })
    }
}

impl PagerDuty {
    fn resolve(&self, section: &Section) -> Result<PagerDutySettings> {
        let routing_key = Secret::resolve(&section.key("routing_key"), &self.routing_key)?;
        let url = self.url.as_ref().map(|url| endpoint(&section.key("url"), url)).transpose()?;
        Ok(PagerDutySettings { routing_key, url, severity: self.severity.unwrap_or_default() })
    }
}

impl Email {
    fn resolve(&self, section: &Section) -> Result<EmailSettings> {
        let key = section.key("server");
        let server = MailServer::parse(&Secret::resolve(&key, &self.server)?);
        let server = server.map_err(|problem| wrong(&key, problem, MAIL_SERVER_HINT))?;
        let address = |name: &str, text: &str| {
            let key = section.key(name);
            mailbox(text).map_err(|problem| wrong(&format!("{key}: '{}'", text.escape_debug()), problem, MAILBOX_HINT))
        };
        let from = address("from", &self.from)?;
        if self.to.is_empty() {
            return Err(wrong(&section.key("to"), "is empty", "name at least one address"));
        }
        let to = self.to.iter().map(|text| address("to", text)).collect::<Result<_>>()?;
        let (login, severity) = (self.login(section)?, self.severity.unwrap_or_default());
        Ok(EmailSettings { server, login, from, to, severity })
    }

    fn login(&self, section: &Section) -> Result<Option<Login>> {
        let [user_key, password_key] = ["user", "password"].map(|name| section.key(name));
        match (&self.user, &self.password) {
            (None, None) => Ok(None),
            (Some(user), Some(password)) => {
                let (user, password) = (Secret::resolve(&user_key, user)?, Secret::resolve(&password_key, password)?);
                Ok(Some(Login { user, password }))
            }
            (None, Some(_)) => Err(wrong(&password_key, "has no user to belong to", "add user, or remove password")),
            (Some(_), None) => Err(wrong(&user_key, "has no password", "add password, or remove user")),
        }
    }
}

impl Heartbeat {
    fn resolve(&self) -> Result<HeartbeatSettings> {
        let url = endpoint("notify.heartbeat.url", &self.url)?;
        let default = HeartbeatSettings::INTERVAL;
        let interval = at_least_a_second("notify.heartbeat.interval", self.interval, default)?;
        Ok(HeartbeatSettings { url, interval })
    }
}

/// One of the tables of a channel's kind, by which its keys are named.
struct Section {
    name: &'static str,
    /// Counted from one; none where there is only one.
    number: Option<usize>,
}

impl Section {
    fn key(&self, key: &str) -> String {
        let number = self.number.map(|number| format!(" (entry {number})")).unwrap_or_default();
        format!("{}.{key}{number}", self.name)
    }
}

fn each<T, R>(name: &'static str, tables: &[T], resolve: impl Fn(&T, &Section) -> Result<R>) -> Result<Vec<R>> {
    let several = tables.len() > 1;
    let section = |at: usize| Section { name, number: several.then_some(at + 1) };
    tables.iter().enumerate().map(|(at, table)| resolve(table, &section(at))).collect()
}

fn endpoint(key: &str, value: &str) -> Result<Endpoint> {
    Endpoint::parse(&Secret::resolve(key, value)?).map_err(|problem| wrong(key, problem, HTTP_HINT))
}

fn at_least_a_second(key: &str, configured: Option<Span>, default: Duration) -> Result<Duration> {
    match configured {
        None => Ok(default),
        Some(Span(span)) if span >= SHORTEST => Ok(span),
        Some(_) => Err(wrong(key, "is too short", "write 1s or more")),
    }
}

fn wrong(key: &str, problem: &str, hint: &str) -> Error {
    Error::configuration(format!("{key} {problem}")).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<NotifySettings> {
        toml::from_str::<Notify>(text).unwrap().resolve()
    }

    const ALL: &str = r#"
        repeat = "30m"
        settle = "2m"
        [[webhook]]
        url = "https://example.com/hello"
        token = "t0"
        severity = "critical"
        [[slack]]
        url = "https://hooks.slack.com/services/T/B/x"
        [[slack]]
        url = "https://hooks.slack.com/services/T/B/y"
        severity = "warning"
        [[pagerduty]]
        routing_key = "k0"
        url = "https://events.eu.pagerduty.com/v2/enqueue"
        [[email]]
        server = "smtps://mail.example.com"
        user = "regrow"
        password = "p0"
        from = "Regrow <regrow@example.com>"
        to = ["ops@example.com", "boss@example.com"]
        [heartbeat]
        url = "https://hc-ping.com/id"
        interval = "5m"
    "#;

    #[test]
    fn everything_that_can_be_said_is_understood() {
        let settings = resolve(ALL).unwrap();
        let pace = Pace { repeat: Duration::from_mins(30), settle: Duration::from_mins(2) };
        assert_eq!(settings.pace, pace);
        assert_eq!(settings.webhooks[0].severity, Severity::Critical);
        assert_eq!(settings.slacks.iter().map(|slack| slack.severity).max(), Some(Severity::Warning));
        assert_eq!(settings.pagerduties[0].url.as_ref().unwrap().place(), "events.eu.pagerduty.com");
        assert_eq!((settings.emails[0].to.len(), settings.emails[0].login.is_some()), (2, true));
        assert_eq!(settings.heartbeat.unwrap().interval, Duration::from_mins(5));
    }

    #[test]
    fn settings_print_no_secret() {
        let shown = format!("{:?}", resolve(ALL).unwrap());
        for secret in ["/hello", "t0", "/T/B", "k0", "p0", "/id"] {
            assert!(!shown.contains(secret), "{secret} is in {shown}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key_and_a_remedy() {
        let email = |change: (&str, &str)| {
            let whole = "[[email]]\nserver = \"smtp://mail\"\nfrom = \"a@b.c\"\nto = [\"a@b.c\"]\n";
            assert!(whole.contains(change.0));
            whole.replace(change.0, change.1)
        };
        for (text, said, hint) in [
            ("[[webhook]]\nurl = \"example.com/secret\"".into(), "notify.webhook.url is no URL", "https://host/path"),
            ("[[slack]]\nurl = \"ftp://secret/\"".into(), "notify.slack.url has a scheme that is neither", "https://"),
            (
                "[[slack]]\nurl = \"http://a/\"\n[[slack]]\nurl = \"env:NO_SUCH_URL\"".into(),
                "notify.slack.url (entry 2) names the environment variable NO_SUCH_URL, which is not set",
                "set NO_SUCH_URL",
            ),
            ("[[pagerduty]]\nrouting_key = \"\"".into(), "notify.pagerduty.routing_key is empty", "a value"),
            (email(("smtp:", "secret:")), "notify.email.server has a scheme that is neither smtps nor", "smtps://host"),
            (email(("//mail", "//u:secret@mail")), "notify.email.server holds a user or a password", "of their own"),
            (email(("= \"a@b.c\"", "= \"a@\\nb\"")), "notify.email.from: 'a@\\nb' is no e-mail address", "ops@"),
            (email(("[\"a@b.c\"]", "[]")), "notify.email.to is empty", "at least one"),
            (email(("to", "password = \"secret\"\nto")), "notify.email.password has no user", "add user"),
            (email(("to", "user = \"u\"\nto")), "notify.email.user has no password", "add password"),
            ("repeat = \"0s\"".into(), "notify.repeat is too short", "1s"),
            ("[heartbeat]\nurl = \"x\"".into(), "notify.heartbeat.url is no URL", "https://"),
            ("[heartbeat]\nurl = \"http://x\"\ninterval = \"1ms\"".into(), "notify.heartbeat.interval is too", "1s"),
        ] {
            let text: String = text;
            let error = resolve(&text).unwrap_err();
            assert!(error.to_string().starts_with(said), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{said}: {:?}", error.hint());
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
