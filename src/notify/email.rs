//! E-mail, by SMTP.
//!
//! What the connection is protected by: `smtps://` begins with TLS. `smtp://` must turn to TLS (STARTTLS) when there is
//! a password; without one it does when the server offers it. On this machine nobody listens on the way, and
//! certificates there are rarely for `localhost`: no TLS.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::Timestamp;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::{self, SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::channel::{Messenger, Trouble};
use super::settings::{EmailSettings, MailServer};
use super::{Notice, wording};
use crate::error::{Error, Result};

/// How many times as long as other channels a mail server may take: there are several answers to wait for, and some
/// servers greet late on purpose, to annoy those who send spam.
const PATIENCE: u32 = 3;

/// Longer subjects are cut; the text has all of it.
const LONGEST_SUBJECT: usize = 200;

pub(super) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    source: String,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Email {
    pub(super) fn new(settings: EmailSettings, source: &str, timeout: Duration) -> Result<Self> {
        let EmailSettings { server, login, from, to, .. } = settings;
        let (tls, port) = protection(&server, login.is_some())?;
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host.as_str())
            .port(server.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(timeout));
        if let Some(login) = login {
            let (user, password) = (login.user.reveal().to_owned(), login.password.reveal().to_owned());
            transport = transport.credentials(Credentials::new(user, password));
        }
        Ok(Self { transport: transport.build(), source: source.to_owned(), from, to })
    }

    /// Returns how long one e-mail may take.
    pub(super) fn timeout(of_others: Duration) -> Duration {
        of_others.saturating_mul(PATIENCE)
    }

    fn message(&self, notice: &Notice) -> Result<Message, lettre::error::Error> {
        let headline = wording::headline(&self.source, notice);
        let subject = wording::clip(&format!("[regrow] {headline}"), LONGEST_SUBJECT);
        let message = Message::builder().from(self.from.clone()).subject(subject);
        let message = self.to.iter().cloned().fold(message, MessageBuilder::to);
        message.date(date(notice)).message_id(None).raw_header(automatic()).body(text(&headline, notice))
    }
}

#[async_trait]
impl Messenger for Email {
    async fn send(&self, notice: &Notice) -> Result<(), Trouble> {
        let message = self
            .message(notice)
            .map_err(|error| Trouble::Refused(Error::failed("the e-mail cannot be written").caused_by(error)))?;
        self.transport.send(message).await.map(drop).map_err(explain)
    }
}

/// Returns how the connection is protected, and the port at which that is usual.
fn protection(server: &MailServer, has_password: bool) -> Result<(Tls, u16)> {
    let parameters = || {
        TlsParameters::new(server.host.clone()).map_err(|error| {
            Error::failed(format!("cannot prepare TLS for the mail server {}", server.host)).caused_by(error)
        })
    };
    Ok(match (server.begins_with_tls, has_password) {
        (true, _) => (Tls::Wrapper(parameters()?), SUBMISSIONS_PORT),
        (false, _) if server.is_local() => (Tls::None, SMTP_PORT),
        (false, true) => (Tls::Required(parameters()?), SUBMISSION_PORT),
        (false, false) => (Tls::Opportunistic(parameters()?), SMTP_PORT),
    })
}

/// Returns when the notice was made, which may be long before it is sent. No e-mail is older than Unix.
fn date(notice: &Notice) -> SystemTime {
    let since_epoch = notice.at.duration_since(Timestamp::UNIX_EPOCH);
    SystemTime::UNIX_EPOCH + Duration::try_from(since_epoch).unwrap_or_default()
}

/// Tells other programs not to answer that somebody is on holiday (RFC 3834).
fn automatic() -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into())
}

fn text(headline: &str, notice: &Notice) -> String {
    let details = wording::details(notice).into_iter();
    let details = details.map(|(name, value)| format!("{:<9} {value}", format!("{name}:")));
    [headline.to_owned(), String::new()].into_iter().chain(details).collect::<Vec<_>>().join("\r\n")
}

/// Explains what a server answered, without its own words: a refusal may quote the password.
fn explain(error: smtp::Error) -> Trouble {
    if error.is_response() {
        return Trouble::Passing(Error::failed("what it answers is no SMTP"));
    }
    let Some(code) = error.status() else {
        let hint =
            "check server and port, its certificate, and that it offers STARTTLS if smtp:// is used with a password";
        return Trouble::Passing(Error::failed("it does not take the e-mail").caused_by(error).with_hint(hint));
    };
    let answer = Error::failed(format!("it answers {code}"));
    match u16::from(code) {
        _ if error.is_transient() => Trouble::Passing(answer),
        // About this one: too long, or taken for spam.
        552 | 554 => Trouble::Refused(answer.with_hint("ask whoever runs the mail server why it rejects this e-mail")),
        530..=538 => Trouble::Standing(answer.with_hint("check notify.email.user and notify.email.password")),
        _ => Trouble::Standing(
            answer.with_hint("check that the server takes e-mail from notify.email.from to notify.email.to"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_password_goes_in_the_clear_to_this_machine_only() {
        let tls = |server: &str, has_password| {
            let server = MailServer::parse(&Secret::new(server.into())).unwrap();
            protection(&server, has_password).unwrap()
        };
        assert!(matches!(tls("smtp://mail.example.com", true), (Tls::Required(_), 587)));
        assert!(matches!(tls("smtp://mail.example.com", false), (Tls::Opportunistic(_), 25)));
        assert!(matches!(tls("smtps://localhost", true), (Tls::Wrapper(_), 465)));
        assert!(matches!(tls("smtp://127.0.0.1", true), (Tls::None, 25)));
        assert!(matches!(tls("smtp://127.0.0.1.example.com", true), (Tls::Required(_), 587)));
    }
}
