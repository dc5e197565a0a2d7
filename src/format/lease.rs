//! Leases: who may do what only one may do at a time, in a repository and with one backup.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::descriptor::RepositoryId;
use super::{check_version, malformed};
use crate::error::Result;
use crate::owner::Owner;

/// By how much the clocks of two machines may differ without one of them taking a lease that the other still holds.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// The payload of `control/lease.json`, and of `control/backups/<id>.json`.
///
/// No two are the same: a new holder has a new generation, and each renewal another number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Always `regrow-lease`.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// Grows by one with each holder.
    pub generation: u64,
    /// How often the holder has renewed it.
    pub renewals: u64,
    /// A name that no other run has: random, in hex.
    pub holder: String,
    /// Who that is, for people: a host, a process and what it does.
    pub description: String,
    /// Whether the holder is the service, and not a single command.
    #[serde(default)]
    pub service: bool,
    /// The holder's process, where a machine can tell of it that it is gone: then nobody has to wait until the lease runs out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Since when the holder has it.
    pub acquired_at: Timestamp,
    /// Up to when it is the holder's, unless it is renewed.
    pub expires_at: Timestamp,
    /// Whether the holder has given it back.
    pub released: bool,
}

impl Lease {
    /// The name that its `format` field bears.
    pub const FORMAT: &'static str = "regrow-lease";

    /// Reads a payload whose signature has been checked.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none, or another repository's.
    pub fn parse(payload: &[u8], repository: &RepositoryId) -> Result<Self> {
        let what = "the lease";
        let lease: Self = serde_json::from_slice(payload).map_err(|error| malformed(what, error))?;
        check_version(what, Self::FORMAT, &lease.format, lease.version)?;
        if lease.repository != *repository {
            return Err(malformed(what, format!("it belongs to repository {}", lease.repository)));
        }
        Ok(lease)
    }

    /// Whether somebody else may take it.
    #[must_use]
    pub fn is_free(&self, now: Timestamp) -> bool {
        self.is_over() || now.duration_since(self.expires_at) > CLOCK_SKEW
    }

    /// Whether it was given back, or its holder's process is known to have ended: whatever any clock says.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.released || self.process.as_deref().and_then(Owner::parse).is_some_and(|process| process.is_gone())
    }
}
