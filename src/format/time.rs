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
    /// Returns the last moment that `--at` with this text includes: a whole second includes all of it.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it is neither RFC 3339 with whole seconds nor `seconds,increment`.
    pub fn at(text: &str) -> Result<Self> {
        if text.contains(',') {
            return text.parse();
        }
        Ok(Self { t: whole_second(text)?, i: u32::MAX })
    }

    /// Returns the last moment that `--before` with this text includes.
    ///
    /// # Errors
    /// [`Kind::Usage`] as for [`at`](Self::at).
    pub fn before(text: &str) -> Result<Self> {
        let Self { t, i } = if text.contains(',') { text.parse()? } else { Self { t: whole_second(text)?, i: 0 } };
        Ok(match i {
            0 => Self { t: t.saturating_sub(1), i: u32::MAX },
            i => Self { t, i: i - 1 },
        })
    }

    /// Returns the wall-clock second.
    #[must_use]
    pub fn wall(self) -> Timestamp {
        Timestamp::from_second(i64::from(self.t)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Reads RFC 3339; the server's clock knows nothing within a second but the order of things.
fn whole_second(text: &str) -> Result<u32> {
    let hint = "write 2026-11-23T10:15:00Z, or an exact seconds,increment such as 1764032400,1";
    let wrong = |reason: &str| Error::new(Kind::Usage, format!("'{text}' is no time{reason}")).with_hint(hint);
    let time: Timestamp = text.parse().map_err(|_| wrong(""))?;
    if time.subsec_nanosecond() != 0 {
        return Err(wrong(" that can be restored: cluster times have no parts of a second"));
    }
    u32::try_from(time.as_second()).map_err(|_| wrong(" of a server's clock"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn time(t: u32, i: u32) -> ClusterTime {
        ClusterTime { t, i }
    }

    #[test]
    fn a_whole_second_given_to_at_includes_all_of_it() {
        assert_eq!(ClusterTime::at("2026-11-23T10:15:00Z").unwrap(), time(1_795_428_900, u32::MAX));
        assert_eq!(ClusterTime::at("2026-11-23T13:15:00+03:00").unwrap(), time(1_795_428_900, u32::MAX));
        assert_eq!(ClusterTime::at("1764032400,7").unwrap(), time(1_764_032_400, 7));
    }

    #[test]
    fn before_stops_short() {
        assert_eq!(ClusterTime::before("2026-11-23T10:15:00Z").unwrap(), time(1_795_428_899, u32::MAX));
        assert_eq!(ClusterTime::before("1764032400,7").unwrap(), time(1_764_032_400, 6));
        assert_eq!(ClusterTime::before("1764032400,0").unwrap(), time(1_764_032_399, u32::MAX));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "2026-11-23", "2026-11-23T10:15:00.5Z", "5,x", "1960-01-01T00:00:00Z"] {
            let error = ClusterTime::at(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(error.hint().unwrap().contains("seconds,increment"), "{text}");
        }
    }
}
