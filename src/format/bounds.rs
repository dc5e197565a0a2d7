//! Bounds: what must be there of things that grow at one end and go at the other.
//!
//! Each record of evidence names those before it, and each slice begins where another ended: so what is taken out of the
//! middle is missed. That the first or the last was taken away, only this tells. Bounds lie in `control/`, because they
//! move: the end after something was added, the begin before something is removed. So a crash leaves bounds that are true.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::descriptor::RepositoryId;
use super::evidence::Predecessor;
use super::oplog::TimelineId;
use super::time::ClusterTime;
use super::{check_version, malformed};
use crate::error::Result;

/// What all bounds begin with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundsHead {
    /// The name of the kind.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository they belong to.
    pub repository: RepositoryId,
    /// How often they have been written: no two contents are the same.
    pub writes: u64,
}

/// The payload of `control/evidence.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceBounds {
    /// What all bounds begin with.
    #[serde(flatten)]
    pub head: BoundsHead,
    /// The records that no other one named when this was written; none before the first.
    pub ends: Vec<Predecessor>,
}

/// The payload of `control/oplog/<timeline>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OplogBounds {
    /// What all bounds begin with.
    #[serde(flatten)]
    pub head: BoundsHead,
    /// The timeline.
    pub timeline: TimelineId,
    /// Up to where slices may have been removed.
    pub begin: ClusterTime,
    /// Up to where slices and gaps were recorded.
    pub end: ClusterTime,
}

/// Bounds of any kind.
pub trait Bounds: Serialize + DeserializeOwned + Clone {
    /// The name that their `format` field bears.
    const FORMAT: &'static str;

    /// Returns what all bounds begin with.
    fn head(&self) -> &BoundsHead;

    /// Returns the same, to be changed.
    fn head_mut(&mut self) -> &mut BoundsHead;

    /// Reads a payload whose signature has been checked.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none, or another repository's.
    fn parse(payload: &[u8], repository: &RepositoryId, key: &str) -> Result<Self> {
        let bounds: Self = serde_json::from_slice(payload).map_err(|error| malformed(key, error))?;
        let head = bounds.head();
        check_version(key, Self::FORMAT, &head.format, head.version)?;
        if head.repository != *repository {
            return Err(malformed(key, format!("it belongs to repository {}", head.repository)));
        }
        Ok(bounds)
    }
}

impl Bounds for EvidenceBounds {
    const FORMAT: &'static str = "regrow-evidence-bounds";

    fn head(&self) -> &BoundsHead {
        &self.head
    }

    fn head_mut(&mut self) -> &mut BoundsHead {
        &mut self.head
    }
}

impl Bounds for OplogBounds {
    const FORMAT: &'static str = "regrow-oplog-bounds";

    fn head(&self) -> &BoundsHead {
        &self.head
    }

    fn head_mut(&mut self) -> &mut BoundsHead {
        &mut self.head
    }
}
