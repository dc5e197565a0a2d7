//! Sizes and durations as people write and read them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Bytes in a mebibyte.
pub const MIB: usize = 1024 * 1024;

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

/// A duration that prints for people: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(pub Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let text = match seconds {
            0..=9 => format!("{:.1} s", self.0.as_secs_f64()),
            10..=119 => format!("{seconds} s"),
            120..=7199 => format!("{} min {:02} s", seconds / 60, seconds % 60),
            _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        };
        f.pad(&text)
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
    fn durations_read_well() {
        let shown = [400, 12_000, 200_000, 7_500_000].map(|ms| Elapsed(Duration::from_millis(ms)).to_string());
        assert_eq!(shown, ["0.4 s", "12 s", "3 min 20 s", "2 h 05 min"]);
    }

    #[test]
    fn spans_are_parsed_or_refused() {
        assert_eq!("15m".parse(), Ok(Span(Duration::from_mins(15))));
        for wrong in ["", "15", "m", "1.5h", "-1s", "15 m", "99999999999999999d"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong:?} was accepted");
        }
    }
}
