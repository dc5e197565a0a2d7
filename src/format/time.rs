//! Cluster time: the server's logical clock.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment of the server's logical clock: seconds since 1970 and an increment within the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterTime {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub t: u32,
    /// The operation's number within that second, from 1.
    pub i: u32,
}

impl ClusterTime {
    /// Returns the wall-clock second.
    #[must_use]
    pub fn wall(self) -> Timestamp {
        Timestamp::from_second(i64::from(self.t)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl From<bson::Timestamp> for ClusterTime {
    fn from(timestamp: bson::Timestamp) -> Self {
        Self { t: timestamp.time, i: timestamp.increment }
    }
}

impl From<ClusterTime> for bson::Timestamp {
    fn from(time: ClusterTime) -> Self {
        Self { time: time.t, increment: time.i }
    }
}
