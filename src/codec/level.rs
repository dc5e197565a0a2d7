//! How much work is put into compressing.

use std::str::FromStr;

use crate::error::{Error, Kind, Result};

/// A zstd level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(i32);

/// Below them zstd saves a tenth of its time and stores text in nearly twice as much; those above 19 take more memory than a
/// backup shall.
const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;

impl Level {
    /// The default, the one of zstd itself. It is searched for by what the bytes are (decision 0033); others are as zstd
    /// has them.
    pub const DEFAULT: Self = Self(3);

    /// Returns a level.
    ///
    /// # Errors
    /// [`Kind::Usage`] when there is none of that number.
    pub fn new(number: i32) -> Result<Self> {
        if LEVELS.contains(&number) {
            return Ok(Self(number));
        }
        let (first, last) = (LEVELS.start(), LEVELS.end());
        Err(Error::new(Kind::Usage, format!("there is no compression level {number}"))
            .with_hint(format!("choose one from {first} (fast) to {last} (small); {} is the default", Self::DEFAULT.0)))
    }

    /// Returns its number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.parse().map_err(|_| Error::new(Kind::Usage, format!("'{text}' is no compression level")));
        Self::new(number.map_err(|error| error.with_hint("write a whole number from 1 (fast) to 19 (small)"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_or_refused() {
        assert_eq!("3".parse::<Level>().unwrap(), Level::DEFAULT);
        assert_eq!("19".parse::<Level>().unwrap().number(), 19);
        for wrong in ["", "0", "20", "-1", "3.5", "fast", "99999999999"] {
            let error = wrong.parse::<Level>().unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{wrong:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains("from 1 (fast) to 19 (small)")), "{error}");
        }
    }
}
