//! Numbers of four types, compared exactly: nothing is rounded to a type that both would fit.

use std::cmp::Ordering;

use bson::Decimal128;
use bson::spec::ElementType;

use super::Value;

#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Integer(i64),
    Double(f64),
    Decimal(Decimal128),
}

impl Number {
    pub(super) fn of(value: Value<'_>) -> Option<Self> {
        let bytes = value.bytes;
        Some(match value.kind {
            ElementType::Int32 => Self::Integer(i32::from_le_bytes(*bytes.first_chunk()?).into()),
            ElementType::Int64 => Self::Integer(i64::from_le_bytes(*bytes.first_chunk()?)),
            ElementType::Double => Self::Double(f64::from_le_bytes(*bytes.first_chunk()?)),
            ElementType::Decimal128 => Self::Decimal(Decimal128::from_bytes(*bytes.first_chunk()?)),
            _ => return None,
        })
    }

    /// Returns the number as a double where nothing is lost by it, for most numbers fast.
    fn as_double(self) -> Option<f64> {
        match self {
            Self::Integer(number) => i32::try_from(number).ok().map(f64::from),
            Self::Double(number) => Some(number),
            Self::Decimal(_) => None,
        }
    }

    pub(super) fn is_nan(self) -> bool {
        match self {
            Self::Integer(_) => false,
            Self::Double(number) => number.is_nan(),
            Self::Decimal(number) => Digits::of_text(&number.to_string()).is_none(),
        }
    }
}

/// Returns a number as its sign, its digits, and the place of the point. So two numbers are equal to the server exactly when
/// these are, whatever their types. None for what is no number.
#[must_use]
pub fn canonical_number(value: Value<'_>) -> Option<(bool, String, i64)> {
    let digits = Digits::of(Number::of(value)?);
    let digits = digits.map(|digits| (digits.negative, digits.significant, digits.exponent));
    // Whatever is not a number is the same to the server.
    Some(digits.unwrap_or_else(|| (false, "nan".into(), 0)))
}

impl Ord for Number {
    /// What is no number comes before all that are, as the server has it inside of documents and arrays.
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(&b),
            (a, b) => match (a.as_double(), b.as_double()) {
                (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())),
                _ => Digits::of(a).cmp(&Digits::of(b)),
            },
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

/// A number in decimal: `0.significant × 10^exponent`, without zeros at either end. Zero has no digits and no sign.
#[derive(Debug, PartialEq, Eq)]
struct Digits {
    negative: bool,
    /// That of infinity is larger than any other.
    exponent: i64,
    significant: String,
}

impl Digits {
    /// Returns nothing for what is no number.
    fn of(number: Number) -> Option<Self> {
        /// More digits behind the point than any binary fraction has.
        const ALL_DIGITS: usize = 1080;
        match number {
            Number::Integer(number) => Self::of_text(&number.to_string()),
            // Most that count with doubles count whole things, and those are written much faster.
            Number::Double(number) => match whole(number) {
                Some(number) => Self::of_text(&number.to_string()),
                None => Self::of_text(&format!("{number:.ALL_DIGITS$}")),
            },
            Number::Decimal(number) => Self::of_text(&number.to_string()),
        }
    }

    fn of_text(text: &str) -> Option<Self> {
        let (negative, magnitude) = text.strip_prefix('-').map_or((false, text), |magnitude| (true, magnitude));
        let magnitude = magnitude.to_ascii_lowercase();
        if magnitude.starts_with("inf") {
            return Some(Self { negative, exponent: i64::MAX, significant: "1".into() });
        }
        let (mantissa, exponent) = magnitude.split_once('e').unwrap_or((&magnitude, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0');
        let zeros_in_front = i64::try_from(digits.len() - significant.len()).ok()?;
        let exponent = exponent.parse::<i64>().ok()? + i64::try_from(whole.len()).ok()? - zeros_in_front;
        let significant = significant.trim_end_matches('0');
        // Also for `NaN`, which has no digits.
        if !significant.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let is_zero = significant.is_empty();
        Some(Self {
            negative: negative && !is_zero,
            exponent: if is_zero { i64::MIN } else { exponent },
            significant: significant.into(),
        })
    }
}

#[allow(clippy::cast_possible_truncation)] // Checked: it has no fraction and fits.
fn whole(number: f64) -> Option<i64> {
    /// Up to here each whole number has a double of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

impl Ord for Digits {
    fn cmp(&self, other: &Self) -> Ordering {
        let magnitude = || self.exponent.cmp(&other.exponent).then_with(|| self.significant.cmp(&other.significant));
        match (self.negative, other.negative) {
            (false, false) => magnitude(),
            (true, true) => magnitude().reverse(),
            (negative, other) => other.cmp(&negative),
        }
    }
}

impl PartialOrd for Digits {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
