//! Secrets that cannot be printed by accident, and the places they are read from.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// What nobody but the owner, and those of the group who read, may do with a key file: services and pods get theirs by a group.
const OPEN: u32 = 0o027;

/// The largest key file: many identities, and no more than that.
const LARGEST_KEY_FILE: u64 = 1024 * 1024;

/// What a value begins with that is the name of an environment variable.
const ENVIRONMENT: &str = "env:";

/// What a value begins with that is a file's path.
const IN_FILE: &str = "file:";

/// A string that never shows its content in `Debug` or `Display`, and leaves none of it in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a value that is already at hand.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Reads a file that holds a key, which `what` names for the message, and which others may not read.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when it cannot be read, or by too many. That it is not there
    /// is answered with `missing` as the remedy.
    pub fn read_key(path: &Path, what: &str, missing: &str) -> Result<Self> {
        let cannot = |error: std::io::Error| {
            let failed = Error::configuration(format!("cannot read {what}"));
            failed.caused_by(error).with_hint(missing.to_owned())
        };
        // The permissions are those of what is read, whatever takes its name meanwhile.
        let file = File::open(path).map_err(cannot)?;
        let mode = file.metadata().map_err(cannot)?.permissions().mode();
        if mode & OPEN != 0 {
            return Err(Error::configuration(format!(
                "{} is open to others (mode {:04o}): it is no secret",
                path.display(),
                mode & 0o7777
            ))
            .with_hint(format!("run 'chmod 600 {}', and make new keys if others may have read it", path.display())));
        }
        let mut content = Zeroizing::new(String::new());
        file.take(LARGEST_KEY_FILE).read_to_string(&mut content).map_err(cannot)?;
        Ok(Self(content))
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
        let text = Zeroizing::new(if let Some(name) = value.strip_prefix(ENVIRONMENT) {
            std::env::var(name).map_err(|_| {
                Error::configuration(format!("{setting} names the environment variable {name}, which is not set"))
                    .with_hint(format!("set {name}, or change {setting}"))
            })?
        } else if let Some(path) = value.strip_prefix(IN_FILE) {
            let path = path.strip_prefix("//").unwrap_or(path);
            std::fs::read_to_string(Path::new(path)).map_err(|error| {
                Error::configuration(format!("cannot read {path}, which {setting} names"))
                    .caused_by(error)
                    .with_hint("check the path and who may read it")
            })?
        } else {
            value.to_owned()
        });
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(
                Error::configuration(format!("{setting} is empty")).with_hint(format!("give {setting} a value"))
            );
        }
        Ok(Self::new(text.to_owned()))
    }
}

/// Whether a value names the place of a secret, and is none itself.
#[must_use]
pub fn is_elsewhere(value: &str) -> bool {
    [ENVIRONMENT, IN_FILE].iter().any(|place| value.starts_with(place))
}

/// What a configuration says of a secret: `env:NAME`, `file:/path`, or the secret itself, which `Debug` does not show and which is
/// not left in memory.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct SecretReference(Zeroizing<String>);

impl From<String> for SecretReference {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Deref for SecretReference {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if is_elsewhere(self) { self } else { "[redacted]" })
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
    fn of_what_is_configured_only_the_place_is_printed() {
        let shown = |text: &str| format!("{:?}", SecretReference::from(text.to_owned()));
        let expected = ["env:URI", "file:/run/uri", "[redacted]"].map(str::to_owned);
        assert_eq!(["env:URI", "file:/run/uri", "mongodb://u:hunter2@h"].map(shown), expected);
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Secret::resolve("source.uri", "env:REGROW_NO_SUCH_VARIABLE").expect_err("it is not set");
        assert!(error.to_string().contains("REGROW_NO_SUCH_VARIABLE"), "{error}");
    }
}
