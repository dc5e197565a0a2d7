//! What a restore is known by.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Error, Kind, Result};
use crate::random::Random;

/// A restore's id: when it began, and four digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestoreId(String);

impl RestoreId {
    /// Makes a new one.
    #[must_use]
    pub fn generate(now: Timestamp, random: &Random) -> Self {
        Self(format!("{}-{:04x}", now.strftime("%Y%m%dT%H%M%SZ"), random.next_u64() & 0xffff))
    }

    /// Returns when it began.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        let date = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", self.date()).ok()?;
        TimeZone::UTC.to_timestamp(date.to_datetime().ok()?).ok()
    }

    /// Returns when it began, as names of collections have it.
    #[must_use]
    pub fn date(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }
}

impl FromStr for RestoreId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_id = text.split_once('-').is_some_and(|(date, digits)| {
            date.len() == 16
                && digits.len() == 4
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
        if is_id {
            return Ok(Self(text.into()));
        }
        Err(Error::new(Kind::Usage, format!("'{text}' is no restore's id"))
            .with_hint("an id looks like 20261123T101500Z-7f3a; 'regrow restore --unfinished' lists what there is"))
    }
}

impl fmt::Display for RestoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
