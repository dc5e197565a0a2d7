//! The one error type that reaches a person: what failed, why, and what to do about it.
//!
//! Lower floors may have richer error enums of their own; they become an [`Error`] where the operation
//! that failed has a name. Whoever handles an error logs it, once; everybody else returns it.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, as far as the caller's next step depends on it. Each kind is one exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The operation was tried and did not succeed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The configuration, a key or a credential is wrong.
    Configuration,
    /// The named backup, repository or namespace does not exist.
    NotFound,
    /// Stored data is not what was written.
    Damaged,
    /// A recovery objective is missed.
    ObjectiveMissed,
    /// The operation would harm something, or was not confirmed.
    Refused,
    /// Another run holds the lease; try later.
    LeaseHeld,
    /// The person or the system asked us to stop.
    Interrupted,
}

impl Kind {
    /// Returns the process exit code, as the command line's contract lists them.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::NotFound => 4,
            Self::Damaged => 5,
            Self::ObjectiveMissed => 6,
            Self::Refused => 7,
            Self::LeaseHeld => 75,
            Self::Interrupted => 130,
        }
    }
}

/// A failure with its cause and one remedy.
///
/// `Display` writes one line: what failed and every cause behind it, each said once.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    transient: bool,
    of_newer: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of every operation above the lowest floors.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error of `kind`; `message` says what could not be done, without a full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, transient: false, of_newer: false, source: None }
    }

    /// Makes an error of kind [`Kind::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Makes an error of kind [`Kind::Configuration`].
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(Kind::Configuration, message)
    }

    /// Makes an error of kind [`Kind::Configuration`] for what only a newer Regrow can read.
    pub fn of_newer(message: impl Into<String>) -> Self {
        Self { of_newer: true, ..Self::configuration(message) }.with_hint("install a newer Regrow")
    }

    /// Makes an error of kind [`Kind::Damaged`].
    pub fn damaged(message: impl Into<String>) -> Self {
        Self::new(Kind::Damaged, message)
    }

    /// Makes an error of kind [`Kind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Makes an error of kind [`Kind::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// Adds the one remedy a person should try.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Marks a failure that may pass by itself: of a network, or of a server that comes back.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// Adds the failure that caused this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says what was being attempted, in front of what went wrong; kind and hint stay.
    #[must_use]
    pub fn context(mut self, attempt: impl fmt::Display) -> Self {
        self.message = format!("{attempt}: {}", self.message);
        self
    }

    /// Returns the same once more, to be said of something else too; what caused it is part of its message.
    #[must_use]
    pub fn again(&self) -> Self {
        let (message, hint) = (self.to_string(), self.hint.clone());
        Self { kind: self.kind, message, hint, transient: self.transient, of_newer: self.of_newer, source: None }
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the same operation may succeed later although nobody did anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// Whether a newer Regrow could do it.
    #[must_use]
    pub fn is_of_newer(&self) -> bool {
        self.of_newer
    }

    /// Returns what may be said of it where everybody can read it. Evidence and reports are not encrypted, and a message
    /// may name namespaces.
    #[must_use]
    pub fn in_public(&self) -> &'static str {
        match self.kind {
            _ if self.transient => "a server or the store was away; the log says more",
            Kind::Configuration | Kind::Usage => "a configuration, a key or a privilege is wrong; the log says more",
            Kind::Damaged => "something is not as it was written; the log says more",
            Kind::Interrupted => "it was interrupted",
            Kind::NotFound => "there was nothing to do it with; the log says more",
            Kind::Refused => "it was refused, because it would have harmed something; the log says more",
            _ => "it did not succeed; the log says more",
        }
    }

    /// Returns the remedy, if one is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut said = self.message.clone();
        let mut cause = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(current) = cause {
            let text = current.to_string();
            // Many libraries repeat their source in their own text; saying it twice helps nobody.
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said.push_str(&text);
            }
            cause = current.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Names what was being attempted when a result turned out to be an error.
pub trait Context<T> {
    /// Puts `attempt`, a verb phrase such as "cannot read the catalog", in front of the error.
    ///
    /// # Errors
    /// Returns the error it was called on, with the attempt in front.
    fn context(self, attempt: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context(self, attempt: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.context(attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_says_each_cause_once() {
        let cause = std::io::Error::other("disk on fire");
        let error = Error::failed("cannot write the manifest").caused_by(cause);
        assert_eq!(error.to_string(), "cannot write the manifest: disk on fire");
        let repeated = Error::failed("cannot write: disk on fire").caused_by(std::io::Error::other("disk on fire"));
        assert_eq!(repeated.to_string(), "cannot write: disk on fire");
        let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert!(cause.is_some(), "whoever handles it may look at the cause");
        let outer = Error::failed("the backup failed").caused_by(error);
        assert_eq!(outer.to_string(), "the backup failed: cannot write the manifest: disk on fire");
    }

    #[test]
    fn context_keeps_kind_and_hint() {
        let error = Error::damaged("hash differs").with_hint("run verify").context("cannot read pack 1");
        assert_eq!(error.kind(), Kind::Damaged);
        assert_eq!(error.hint(), Some("run verify"));
        assert_eq!(error.to_string(), "cannot read pack 1: hash differs");
    }

    #[test]
    fn what_is_said_again_is_the_same() {
        let cause = std::io::Error::other("disk on fire");
        let error = Error::failed("cannot read").with_hint("try later").transient().caused_by(cause);
        assert!(Error::of_newer("it has version 9").again().is_of_newer() && !error.is_of_newer());
        let again = error.again();
        assert_eq!((again.kind(), again.hint(), again.is_transient()), (Kind::Failed, Some("try later"), true));
        assert_eq!(again.to_string(), error.to_string());
    }
}
