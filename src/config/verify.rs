//! `[verify]`: how the service verifies what is stored.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::units::ByteSize;
use crate::verify::Level;

/// `[verify]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// `checksum`, or `content`.
    level: Option<String>,
    /// How many bytes are read in a second at most.
    bandwidth: Option<ByteSize>,
}

/// How what is stored is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifySettings {
    /// How much is checked.
    pub level: Level,
    /// How many bytes are read in a second at most; none: as many as can be.
    pub bandwidth: Option<u64>,
}

impl Default for VerifySettings {
    fn default() -> Self {
        Self { level: Level::Checksum, bandwidth: None }
    }
}

impl Verify {
    /// Makes sense of it.
    pub(super) fn resolve(&self) -> Result<VerifySettings> {
        let level = match self.level.as_deref().map(str::parse) {
            None => Level::Checksum,
            Some(Ok(level)) if level != Level::Structure => level,
            _ => {
                return Err(Error::configuration("verify.level is none at which every byte is read")
                    .with_hint("write level = \"checksum\" or level = \"content\""));
            }
        };
        Ok(VerifySettings { level, bandwidth: self.bandwidth.map(|bandwidth| bandwidth.0) })
    }
}
