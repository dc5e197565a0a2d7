//! Accepted keys: further keys whose signatures count, such as a second backup host's.
//!
//! The descriptor is written once and lists the key that `init` made. Whoever holds a key that counts already signs that
//! another one does; so the repository alone still tells whose signatures to believe.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::descriptor::{RepositoryId, SigningKeyEntry};
use super::{check_version, layout, malformed};
use crate::error::Result;

/// The payload of `keys/<id>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedKey {
    /// Always `regrow-key`.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// The key that is accepted.
    pub key: SigningKeyEntry,
    /// Since when.
    pub accepted_at: Timestamp,
}

impl AcceptedKey {
    /// The name that its `format` field bears.
    pub const FORMAT: &'static str = "regrow-key";

    /// Reads a payload whose signature has been checked, and holds it against its place.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none, or another's.
    pub fn parse(payload: &[u8], repository: &RepositoryId, place: &str) -> Result<Self> {
        let accepted: Self = serde_json::from_slice(payload).map_err(|error| malformed(place, error))?;
        check_version(place, Self::FORMAT, &accepted.format, accepted.version)?;
        if accepted.repository != *repository || layout::accepted_key(&accepted.key.id) != place {
            return Err(malformed(place, "it belongs elsewhere"));
        }
        Ok(accepted)
    }
}
