//! One request with its time limit, and what a failed one means for the caller.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::handshake::Refusal;
use crate::storage::{StorageError, StorageResult};

/// A store that takes longer to answer has lost the request. Completing a large upload takes S3 itself
/// longest; it sends its headers first, but other stores do not.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// The slowest link that a backup is expected to run over, shared by the parts in flight.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 * 1024;

/// Longer messages are pages of HTML from a proxy.
const LONGEST_REASON: usize = 200;

/// What a request is about, for its time limit and its error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// The bucket, as `s3://bucket`.
    pub(super) place: &'a str,
    /// The object's key, or what else the request is about.
    pub(super) key: &'a str,
    /// What was to be done: `write`.
    pub(super) verb: &'static str,
    /// The permission that it needs: `s3:PutObject`.
    pub(super) action: &'static str,
}

impl Request<'_> {
    /// Makes the request, which sends `size` bytes of content, within its time limit.
    ///
    /// The SDK's futures are tens of kilobytes, so they are boxed rather than nested into each other.
    pub(super) fn send<T, E>(
        self,
        size: usize,
        sending: impl Future<Output = Result<T, SdkError<E>>> + Send,
    ) -> impl Future<Output = StorageResult<T>> + Send
    where
        T: Send,
        E: ProvideErrorMetadata + StdError + Send + 'static,
    {
        let limit = ANSWER_TIMEOUT + Duration::from_secs(size as u64 / SLOWEST_BYTES_PER_SECOND);
        let answer = tokio::time::timeout(limit, Box::pin(sending));
        async move {
            match answer.await {
                Ok(answer) => answer.map_err(|error| self.explain(&error)),
                Err(_) => Err(self.unavailable(format!("the store did not answer within {} s", limit.as_secs()))),
            }
        }
    }

    pub(super) fn unavailable(&self, reason: String) -> StorageError {
        StorageError::Unavailable { operation: self.operation(), reason }
    }

    pub(super) fn other(&self, reason: String) -> StorageError {
        StorageError::Other { operation: self.operation(), reason }
    }

    pub(super) fn mismatch(&self, reason: &str) -> StorageError {
        StorageError::Mismatch { key: self.key.to_owned(), reason: reason.to_owned() }
    }

    fn operation(&self) -> String {
        let what = if self.key.is_empty() { self.place } else { self.key };
        format!("{} {what}", self.verb)
    }

    /// Returns the storage error for what the SDK reports.
    fn explain<E>(&self, error: &SdkError<E>) -> StorageError
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        if let Some(refusal) = refusal(error) {
            return self.untrusted(refusal);
        }
        match error {
            // The answer was cut off, or is not what S3 answers. (A success with an error code in it is one of
            // the answers to the end of an upload.)
            _ if error.code().is_none() && is_success(error) => {
                self.unavailable(format!("the store's answer makes no sense: {}", root_cause(error)))
            }
            SdkError::ServiceError(service) => {
                self.answered(service.raw().status().as_u16(), service.err().code(), service.err().message())
            }
            SdkError::ResponseError(response) => self.answered(response.raw().status().as_u16(), None, None),
            SdkError::TimeoutError(_) => self.unavailable("the store did not answer in time".to_owned()),
            SdkError::DispatchFailure(failure) if failure.is_timeout() || failure.is_io() => {
                self.unavailable(root_cause(error))
            }
            _ if mentions_credentials(error) => self.denied(without_credentials(error)),
            SdkError::DispatchFailure(failure) if failure.is_user() => self.other(root_cause(error)),
            // What is left are connections that broke: hyper does not count all of these as I/O.
            SdkError::DispatchFailure(_) => self.unavailable(root_cause(error)),
            _ => self.other(root_cause(error)),
        }
    }

    fn answered(&self, status: u16, code: Option<&str>, message: Option<&str>) -> StorageError {
        let reason = reason(status, code, message);
        match Meaning::of(status, code.unwrap_or_default()) {
            Meaning::NoSuchPlace => StorageError::NoSuchPlace { place: self.place.to_owned() },
            Meaning::Other if reason.contains("missing Object Lock") || reason.contains("missing ObjectLock") => {
                StorageError::NoObjectLock { place: self.place.to_owned() }
            }
            Meaning::NotFound => StorageError::NotFound { key: self.key.to_owned() },
            Meaning::AlreadyExists => StorageError::AlreadyExists { key: self.key.to_owned() },
            Meaning::Denied => self.denied(reason),
            Meaning::Mismatch => self.mismatch(&reason),
            Meaning::Full => StorageError::Full { place: self.place.to_owned() },
            Meaning::Unavailable => self.unavailable(reason),
            Meaning::Other => self.other(reason),
        }
    }

    fn untrusted(&self, refusal: Refusal) -> StorageError {
        let remedy = match refusal {
            Refusal::UnknownIssuer => "name the file of the authority that has issued it: repository.ca_file",
            Refusal::Expired | Refusal::NotYetValid => {
                "renew the store's certificate, or set this machine's clock right"
            }
            Refusal::OtherName => "write repository.endpoint with a name that the certificate holds",
            Refusal::Ours => "let the store accept connections without a certificate; Regrow shows it none",
            Refusal::NoTls => "write repository.endpoint with http://, or let the store speak TLS",
        };
        StorageError::Untrusted { operation: self.operation(), reason: refusal.cause(), remedy }
    }

    fn denied(&self, reason: String) -> StorageError {
        StorageError::Denied { place: self.place.to_owned(), operation: self.action.to_owned(), reason }
    }
}

/// What an answer of the store means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    NoSuchPlace,
    NotFound,
    AlreadyExists,
    Denied,
    Mismatch,
    Full,
    Unavailable,
    Other,
}

impl Meaning {
    /// Reads S3's error code, and where a store has none or one of its own, the HTTP status.
    fn of(status: u16, code: &str) -> Self {
        match (code, status) {
            ("NoSuchBucket", _) => Self::NoSuchPlace,
            ("BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch", _) => Self::Mismatch,
            ("QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull", _) | (_, 507) => Self::Full,
            // 409 is a conditional create that met another one: S3 asks to try again.
            ("InternalError" | "ServiceUnavailable" | "SlowDown" | "RequestTimeout", _) | (_, 409) => Self::Unavailable,
            ("PreconditionFailed", _) | (_, 412) => Self::AlreadyExists,
            // Some stores answer 400 to credentials that they do not know.
            ("AccessDenied" | "ExpiredToken" | "InvalidToken" | "InvalidAccessKeyId", _) | (_, 401 | 403) => {
                Self::Denied
            }
            ("NoSuchKey" | "NoSuchUpload", _) | (_, 404) => Self::NotFound,
            ("NotImplemented", _) | (_, 501) => Self::Other,
            (_, 408 | 429 | 500..) => Self::Unavailable,
            _ => Self::Other,
        }
    }
}

/// Returns one line: the store's code and words, or the HTTP status where it has none.
fn reason(status: u16, code: Option<&str>, message: Option<&str>) -> String {
    let line = match (code, message) {
        (Some(code), Some(message)) if message.contains(code) => message.to_owned(),
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, Some(message)) => format!("{message} (HTTP status {status})"),
        (None, None) => format!("the store answered with HTTP status {status}"),
    };
    line.lines().next().unwrap_or_default().chars().take(LONGEST_REASON).collect()
}

/// Returns the innermost cause, which is the one a person understands: "Connection refused".
fn root_cause(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = cause.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.split(" (os error").next().unwrap_or_default().chars().take(LONGEST_REASON).collect()
}

fn is_success<E>(error: &SdkError<E>) -> bool {
    error.raw_response().is_some_and(|response| response.status().is_success())
}

/// Whether the request was never made because TLS was refused.
fn refusal(error: &dyn StdError) -> Option<Refusal> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(refusal) = Refusal::find(&current.to_string()) {
            return Some(refusal);
        }
        cause = current.source();
    }
    None
}

fn without_credentials(error: &dyn StdError) -> String {
    format!("no credentials in the environment, a profile or the instance can be used: {}", root_cause(error))
}

/// Whether the request was never made because there was nothing to sign it with. The SDK has no type for
/// this that it would let callers see.
fn mentions_credentials(error: &dyn StdError) -> bool {
    let mut cause = Some(error);
    while let Some(current) = cause {
        let text = current.to_string();
        if text.contains("credential") || text.contains("identity") {
            return true;
        }
        cause = current.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_what_callers_act_on() {
        for (status, code, meaning) in [
            (404, "NoSuchBucket", Meaning::NoSuchPlace),
            (404, "NoSuchKey", Meaning::NotFound),
            (404, "", Meaning::NotFound),
            (412, "PreconditionFailed", Meaning::AlreadyExists),
            (409, "ConditionalRequestConflict", Meaning::Unavailable),
            (403, "SignatureDoesNotMatch", Meaning::Denied),
            (400, "InvalidAccessKeyId", Meaning::Denied),
            (400, "BadDigest", Meaning::Mismatch),
            (400, "RequestTimeout", Meaning::Unavailable),
            (429, "TooManyRequests", Meaning::Unavailable),
            (429, "", Meaning::Unavailable),
            (400, "InvalidRequest", Meaning::Other),
            (301, "PermanentRedirect", Meaning::Other),
            (500, "InternalError", Meaning::Unavailable),
            (501, "NotImplemented", Meaning::Other),
            (503, "SlowDown", Meaning::Unavailable),
            (200, "InternalError", Meaning::Unavailable),
            (200, "PreconditionFailed", Meaning::AlreadyExists),
            (507, "XMinioStorageFull", Meaning::Full),
        ] {
            assert_eq!(Meaning::of(status, code), meaning, "{status} {code}");
        }
    }

    #[test]
    fn reasons_are_one_line() {
        assert_eq!(reason(503, Some("SlowDown"), Some("Please reduce")), "SlowDown: Please reduce");
        assert_eq!(reason(502, None, None), "the store answered with HTTP status 502");
        assert_eq!(reason(500, Some("InternalError"), Some("first\nsecond")), "InternalError: first");
    }
}
