//! Cluster time: the server's logical clock.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

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

/// Prints `seconds,increment`, as people copy it from one command to the next.
impl fmt::Display for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{},{}", self.t, self.i))
    }
}

impl FromStr for ClusterTime {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(Kind::Usage, format!("'{text}' is no cluster time"))
                .with_hint("write seconds,increment, such as 1764032400,1")
        };
        let (t, i) = text.split_once(',').ok_or_else(wrong)?;
        Ok(Self { t: t.parse().map_err(|_| wrong())?, i: i.parse().map_err(|_| wrong())? })
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
