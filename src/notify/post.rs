//! Requests over HTTP to places whose URL is a secret.

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::Serialize;

use super::channel::Trouble;
use super::settings::Endpoint;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// No more of an answer is read: the longest that says something useful is a line.
const ANSWER_BYTES: usize = 4096;

/// Makes the client for all requests.
///
/// It follows no redirect, which would carry what is said to a place that nobody configured. It keeps no connection,
/// because between two notices each would be closed by the other side. Time limits are the channels'.
pub(super) fn client() -> Result<Client> {
    let client = Client::builder()
        .user_agent(concat!("regrow/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(0);
    client.build().map_err(|error| {
        Error::failed("cannot prepare requests over HTTPS")
            .caused_by(error.without_url())
            .with_hint("install the certificates of the public authorities (ca-certificates)")
    })
}

/// Posts JSON to one place.
pub(super) struct Post {
    client: Client,
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
}

impl Post {
    pub(super) fn new(client: &Client, endpoint: Endpoint) -> Self {
        Self { client: client.clone(), endpoint, authorization: None }
    }

    /// Sends this token with each request.
    pub(super) fn with_token(mut self, token: &Secret) -> Result<Self> {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()));
        let mut value = value.map_err(|_| {
            Error::configuration(format!("the token for the webhook at {} is no token", self.endpoint.place()))
                .with_hint("notify.webhook.token must be one line of printable characters")
        })?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// Posts what must be taken as it is.
    pub(super) async fn deliver(&self, body: &impl Serialize) -> Result<(), Trouble> {
        judge(self.send(body).await?.status(), None)
    }

    /// Posts to a service that may say by one word why it refuses; the word is shown.
    pub(super) async fn deliver_and_ask_why(&self, body: &impl Serialize) -> Result<(), Trouble> {
        let response = self.send(body).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let said = beginning(response).await;
        judge(status, word(&said).filter(|word| !self.endpoint.reveal().as_str().contains(word)))
    }

    async fn send(&self, body: &impl Serialize) -> Result<Response, Trouble> {
        let mut request = self.client.post(self.endpoint.reveal().clone()).json(body);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.map_err(unanswered)
    }
}

/// Explains why there was no answer.
pub(super) fn unanswered(error: reqwest::Error) -> Trouble {
    let hint = "check that the host can be reached from here, and its certificate";
    Trouble::Passing(Error::failed("it does not answer").caused_by(error.without_url()).with_hint(hint))
}

/// Says what an answer means; `why` is what the server said about it.
pub(super) fn judge(status: StatusCode, why: Option<&str>) -> Result<(), Trouble> {
    if status.is_success() {
        return Ok(());
    }
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    let error = Error::failed(format!("it answers {status}{why}"));
    Err(match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Trouble::Passing(error),
        _ if status.is_server_error() => Trouble::Passing(error),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => Trouble::Refused(
            error.with_hint("check that the URL, and the key if there is one, belong to this kind of channel"),
        ),
        _ if status.is_redirection() => {
            Trouble::Standing(error.with_hint("redirects are not followed: configure the URL that this one leads to"))
        }
        _ => Trouble::Standing(error.with_hint("check the URL and the token: they may have been revoked")),
    })
}

/// Returns the beginning of an answer.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES {
        let Ok(Some(more)) = response.chunk().await else { break };
        bytes.extend_from_slice(&more[..more.len().min(ANSWER_BYTES - bytes.len())]);
    }
    bytes
}

/// Returns an answer that is one word like `channel_not_found`: nothing that quotes a request looks like that.
fn word(answer: &[u8]) -> Option<&str> {
    let word = str::from_utf8(answer).ok()?.trim();
    let is_word = (1..=60).contains(&word.len()) && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    is_word.then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_are_shown() {
        assert_eq!(word(b"channel_is_archived\n"), Some("channel_is_archived"));
        for other in [&b""[..], b"Cannot POST /services/T0/B0/x", b"T0", b"a b", &[0xff], &[b'a'; 61]] {
            assert_eq!(word(other), None);
        }
    }

    #[test]
    fn answers_mean_to_try_again_to_wait_or_to_give_up() {
        let judge = |code| judge(StatusCode::from_u16(code).unwrap(), None);
        assert!([200, 202, 204].iter().all(|code| judge(*code).is_ok()));
        assert!([408, 429, 500, 503].iter().all(|code| matches!(judge(*code), Err(Trouble::Passing(_)))));
        assert!([302, 401, 403, 404, 410].iter().all(|code| matches!(judge(*code), Err(Trouble::Standing(_)))));
        assert!([400, 413, 422].iter().all(|code| matches!(judge(*code), Err(Trouble::Refused(_)))));
    }
}
