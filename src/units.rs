//! Sizes and durations as people write and read them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

/// Bytes in a mebibyte.
pub const MIB: usize = 1024 * 1024;

/// Returns a number of things in words: `1 pack`, `2 packs`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Returns what a number of things is said to be: `1 pack is`, `2 packs are`.
#[must_use]
pub fn are(number: u64, noun: &str) -> String {
    format!("{} {}", counted(number, noun), if number == 1 { "is" } else { "are" })
}

/// A number of bytes that prints for people: `512 B`, `1.5 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    #[allow(clippy::cast_precision_loss)] // Three digits are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 999.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        f.pad(&format!("{value:.1} {}", UNITS[unit]))
    }
}

impl<'de> serde::Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads a whole number and a unit: `512B`, `500GiB`, `2TB`.
impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let complain = || format!("'{text}' is no size; write a whole number and MiB, GiB or TiB, such as 500GiB");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(complain)?;
        let number: u64 = text[..digits].parse().map_err(|_| complain())?;
        let (power, base): (u32, u64) = match text[digits..].trim_start() {
            "B" => (0, 1024),
            "KiB" => (1, 1024),
            "MiB" => (2, 1024),
            "GiB" => (3, 1024),
            "TiB" => (4, 1024),
            "kB" => (1, 1000),
            "MB" => (2, 1000),
            "GB" => (3, 1000),
            "TB" => (4, 1000),
            _ => return Err(complain()),
        };
        number.checked_mul(base.pow(power)).map(Self).ok_or_else(complain)
    }
}

/// A duration that prints for people: `0.4 s`, `12 s`, `3 min 20 s`, `15 min`, `2 h 05 min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(pub Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let text = match seconds {
            0..=9 => format!("{:.1} s", self.0.as_secs_f64()),
            10..=119 => format!("{seconds} s"),
            120..=3599 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
            3600.. if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
            120..=7199 => format!("{} min {:02} s", seconds / 60, seconds % 60),
            _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        };
        f.pad(&text)
    }
}

/// A moment that prints for people, to the second: `2026-11-23 02:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
    }
}

/// A configured duration: a whole number and a unit, `500ms`, `60s`, `15m`, `24h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> serde::Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let complain =
            || format!("'{text}' is no duration; write a whole number and ms, s, m, h or d, such as 60s or 15m");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(complain)?;
        let number: u64 = text[..digits].parse().map_err(|_| complain())?;
        let milliseconds = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(complain()),
        };
        number.checked_mul(milliseconds).map(|total| Self(Duration::from_millis(total))).ok_or_else(complain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let shown = [0, 1023, 1024, 1_572_864, 1024 * 1024 * 1024 - 1].map(|n| ByteSize(n).to_string());
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "1.0 GiB"]);
    }

    #[test]
    fn sizes_are_parsed_or_refused() {
        assert_eq!("500GiB".parse(), Ok(ByteSize(500 << 30)));
        assert_eq!("2 TB".parse(), Ok(ByteSize(2_000_000_000_000)));
        for wrong in ["", "5", "GiB", "1.5GiB", "-1B", "5 gib", "99999999999TiB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn durations_read_well() {
        let shown = [400, 12_000, 200_000, 900_000, 3_600_000, 7_500_000]
            .map(|ms| Elapsed(Duration::from_millis(ms)).to_string());
        assert_eq!(shown, ["0.4 s", "12 s", "3 min 20 s", "15 min", "1 h", "2 h 05 min"]);
    }

    #[test]
    fn spans_are_parsed_or_refused() {
        assert_eq!("15m".parse(), Ok(Span(Duration::from_mins(15))));
        for wrong in ["", "15", "m", "1.5h", "-1s", "15 m", "99999999999999999d"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong:?} was accepted");
        }
    }
}
