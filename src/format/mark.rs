//! Marks: what is said about a backup after it was taken. They lie in `control/`, because they may be taken back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backup_id::BackupId;
use super::descriptor::RepositoryId;
use super::{check_version, malformed};
use crate::error::Result;

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkKind {
    /// The backup must not go, whatever retention says.
    Hold,
    /// Retention lets it go: its bytes are removed after a grace period.
    Expired,
}

/// What becomes of a backup that has expired. One mark bears one of them, so only one can come true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is being removed, and nobody can bring it back any more.
    Removal,
    /// It is being brought back, and must not be removed: the mark says nothing any more, and goes.
    Return,
}

/// The payload of `control/holds/<id>.json` and `control/expired/<id>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Always `regrow-mark`.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// The backup that it is about.
    pub backup: BackupId,
    /// What it says.
    pub kind: MarkKind,
    /// Why, for people; may be empty.
    pub reason: String,
    /// Since when.
    pub placed_at: Timestamp,
    /// What becomes of what has expired; none as long as it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fate: Option<Fate>,
}

impl Mark {
    /// The name that its `format` field bears.
    pub const FORMAT: &'static str = "regrow-mark";

    /// Reads a payload whose signature has been checked, and holds it against its place.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none, or another's.
    pub fn parse(payload: &[u8], repository: &RepositoryId, kind: MarkKind, backup: &BackupId) -> Result<Self> {
        let what = format!("the mark of {backup}");
        let mark: Self = serde_json::from_slice(payload).map_err(|error| malformed(&what, error))?;
        check_version(&what, Self::FORMAT, &mark.format, mark.version)?;
        if mark.backup != *backup || mark.kind != kind || mark.repository != *repository {
            return Err(malformed(&what, "it belongs elsewhere"));
        }
        Ok(mark)
    }
}
