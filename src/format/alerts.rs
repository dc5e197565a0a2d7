//! What of alerts is open and has been said: kept in `control/`, so that a service that takes over repeats nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::descriptor::RepositoryId;
use super::{check_version, malformed};
use crate::error::Result;

/// The payload of `control/alerts.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertBook {
    /// Always `regrow-alerts`.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// When it was written.
    pub written_at: Timestamp,
    /// What is open and when it was said last: for the service alone, and worth nothing but fewer messages.
    pub ledger: serde_json::Value,
}

impl AlertBook {
    /// The name that its `format` field bears.
    pub const FORMAT: &'static str = "regrow-alerts";

    /// Reads a payload whose signature has been checked.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none, or another repository's.
    pub fn parse(payload: &[u8], repository: &RepositoryId) -> Result<Self> {
        let what = "the record of alerts";
        let book: Self = serde_json::from_slice(payload).map_err(|error| malformed(what, error))?;
        check_version(what, Self::FORMAT, &book.format, book.version)?;
        if book.repository != *repository {
            return Err(malformed(what, format!("it belongs to repository {}", book.repository)));
        }
        Ok(book)
    }
}
