//! Secrets that cannot be printed by accident, and the places they are read from.

use std::fmt;
use std::path::Path;

use crate::error::{Error, Result};

/// A string that never shows its content in `Debug` or `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value that is already at hand.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// Returns the content. Call it where the secret is used, not where it is passed on.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Resolves a configured value: `env:NAME`, `file:/path`, or the value itself.
    ///
    /// `setting` is the configuration key, for the message. Trailing line ends of a file are dropped.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when the variable is not set, the file
    /// cannot be read, or the value is empty.
    pub fn resolve(setting: &str, value: &str) -> Result<Self> {
        let text = if let Some(name) = value.strip_prefix("env:") {
            std::env::var(name).map_err(|_| {
                Error::configuration(format!("{setting} names the environment variable {name}, which is not set"))
                    .with_hint(format!("set {name}, or change {setting}"))
            })?
        } else if let Some(path) = value.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            std::fs::read_to_string(Path::new(path)).map_err(|error| {
                Error::configuration(format!("cannot read {path}, which {setting} names"))
                    .caused_by(error)
                    .with_hint("check the path and who may read it")
            })?
        } else {
            value.to_owned()
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(
                Error::configuration(format!("{setting} is empty")).with_hint(format!("give {setting} a value"))
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_not_printed() {
        let secret = Secret::new("hunter2".into());
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Secret::resolve("source.uri", "env:REGROW_NO_SUCH_VARIABLE").expect_err("it is not set");
        assert!(error.to_string().contains("REGROW_NO_SUCH_VARIABLE"), "{error}");
    }
}
