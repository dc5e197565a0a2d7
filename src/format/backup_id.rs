//! Backup ids: when, what kind, and four random digits that keep two of the same second apart.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};
use crate::random::Random;

/// Why a backup was taken; retention treats each kind by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupKind {
    /// The backup of a day.
    Daily,
    /// The full backup of a week.
    Weekly,
    /// The archive of a month.
    Monthly,
    /// Taken by hand.
    Manual,
}

impl BackupKind {
    /// Returns the word used in ids and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Manual => "manual",
        }
    }
}

impl fmt::Display for BackupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for BackupKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Daily, Self::Weekly, Self::Monthly, Self::Manual]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                Error::new(Kind::Usage, format!("'{text}' is no kind of backup"))
                    .with_hint("use daily, weekly, monthly or manual")
            })
    }
}

/// The id of a backup, such as `20261123T020000Z-daily-7f3a`. Ids sort by time, to the second.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId(String);

impl BackupId {
    /// Makes the id of a backup that begins `now`.
    #[must_use]
    pub fn generate(now: Timestamp, kind: BackupKind, random: &Random) -> Self {
        let digits = random.next_u64() & 0xffff;
        Self(format!("{}-{kind}-{digits:04x}", now.strftime("%Y%m%dT%H%M%SZ")))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the time that stands in the id, to the second: ids of one second do not sort by time.
    #[must_use]
    pub fn second(&self) -> &str {
        self.0.split_once('-').map_or(self.as_str(), |(second, _)| second)
    }

    /// Returns the kind that stands in the id.
    ///
    /// # Panics
    /// Never: the constructor has parsed it.
    #[must_use]
    pub fn kind(&self) -> BackupKind {
        self.0.split('-').nth(1).and_then(|kind| kind.parse().ok()).expect("the constructor checked the kind")
    }
}

impl FromStr for BackupId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::new(Kind::Usage, format!("'{text}' is no backup id"))
                .with_hint("an id looks like 20261123T020000Z-daily-7f3a; 'regrow list' shows them")
        };
        let parts: Vec<&str> = text.split('-').collect();
        let [time, kind, digits] = parts[..] else { return Err(wrong()) };
        let is_time = time.len() == 16
            && time.bytes().enumerate().all(|(at, byte)| match at {
                8 => byte == b'T',
                15 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
        let is_digits = digits.len() == 4 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_time || !is_digits || kind.parse::<BackupKind>().is_err() {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for BackupId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_parse_and_keep_their_kind() {
        let now: Timestamp = "2026-11-23T02:00:00Z".parse().unwrap();
        let id = BackupId::generate(now, BackupKind::Weekly, &Random::seeded(1));
        assert!(id.as_str().starts_with("20261123T020000Z-weekly-"), "{id}");
        assert_eq!(id.as_str().parse::<BackupId>().unwrap().kind(), BackupKind::Weekly);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "latest",
            "20261123T020000Z-hourly-7f3a",
            "20261123T020000Z-daily-7F3A",
            "../x-daily-7f3a",
            "20261123T020000Z-daily-7f3a-",
        ] {
            assert!(text.parse::<BackupId>().is_err(), "{text:?} was accepted");
        }
    }
}
