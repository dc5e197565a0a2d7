//! Repeatable choices.

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, Decimal128};
use regrow::random::Random;

/// The moment that the shop's newest documents carry, in milliseconds: 2026-11-01T00:00:00Z.
pub const NEWEST: i64 = 1_793_491_200_000;
/// How far back the oldest reach: a year, in milliseconds.
pub const SPAN: u64 = 365 * 24 * 3_600_000;

/// Draws one document's, or one batch's, values.
pub struct Dice(Random);

impl Dice {
    /// Returns the dice for the thing that `what` and `index` name, always the same under one seed.
    pub fn new(seed: u64, what: &str, index: u64) -> Self {
        let mut mixed = seed;
        for part in what.bytes().map(u64::from).chain([index]) {
            mixed = Random::seeded(mixed ^ part).next_u64();
        }
        Self(Random::seeded(mixed))
    }

    /// Returns a number in `[0, end)`, or 0 when that is empty.
    pub fn below(&self, end: u64) -> u64 {
        self.0.next_u64() % end.max(1)
    }

    /// Returns a small number in `[begin, end)`.
    pub fn between(&self, begin: i32, end: i32) -> i32 {
        let width = u64::from(end.abs_diff(begin));
        begin + i32::try_from(self.below(width)).expect("the range is of i32")
    }

    /// Returns a number in `[0, end)` of which small ones are much likelier, as the wares of a shop are.
    pub fn skewed(&self, end: u64) -> u64 {
        self.below(self.below(end) + 1)
    }

    /// Returns true `percent` times of a hundred.
    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns one of `choices`.
    pub fn pick<'a>(&self, choices: &[&'a str]) -> &'a str {
        self.one(choices)
    }

    fn one<T: Copy>(&self, choices: &[T]) -> T {
        let index = self.below(choices.len() as u64);
        choices[usize::try_from(index).expect("it is below a usize")]
    }

    /// Returns `count` words of `choices`, as a sentence would be.
    pub fn sentence(&self, choices: &[&str], count: i32) -> String {
        let mut text = String::with_capacity(64);
        for position in 0..count {
            if position > 0 {
                text.push(' ');
            }
            text.push_str(self.pick(choices));
        }
        text
    }

    /// Returns an amount of money with two decimals, `cents` hundredths.
    pub fn money(cents: u64) -> Decimal128 {
        const EXPONENT_MINUS_TWO: u128 = 6174 << 113;
        Decimal128::from_bytes((EXPONENT_MINUS_TWO | u128::from(cents)).to_le_bytes())
    }

    /// Returns random bytes, as keys and hashes are.
    pub fn bytes(&self, count: usize) -> Binary {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.0.next_u64().to_be_bytes());
        }
        bytes.truncate(count);
        Binary { subtype: BinarySubtype::Generic, bytes }
    }

    /// Returns a random UUID.
    pub fn uuid(&self) -> Binary {
        let mut uuid = self.bytes(16);
        uuid.subtype = BinarySubtype::Uuid;
        uuid.bytes[6] = uuid.bytes[6] & 0x0F | 0x40;
        uuid.bytes[8] = uuid.bytes[8] & 0x3F | 0x80;
        uuid
    }

    /// Returns the coordinates of a place in Kenya, `[longitude, latitude]`, to about ten metres.
    pub fn place(&self) -> (f64, f64) {
        let towns = [(36.8172, -1.2864), (39.6682, -4.0435), (34.7680, -0.0917), (36.0800, -0.3031), (35.2698, 0.5143)];
        let (longitude, latitude) = self.one(&towns);
        let offset = || f64::from(self.between(-1500, 1500)) / 10_000.0;
        let round = |degrees: f64| (degrees * 10_000.0).round() / 10_000.0;
        (round(longitude + offset()), round(latitude + offset()))
    }
}

/// Returns the id of the `index`-th document of a collection, made as a driver makes it: a time that grows
/// with the index, a process's constant, a counter.
pub fn object_id(collection: &str, index: u64, count: u64) -> ObjectId {
    let seconds = u32::try_from(moment(index, count).timestamp_millis() / 1000).expect("before the year 2106");
    let process = Dice::new(0, collection, index / 50_000).0.next_u64().to_be_bytes();
    let counter = index.to_be_bytes();
    ObjectId::from_parts(
        seconds,
        [process[0], process[1], process[2], process[3], process[4]],
        [counter[5], counter[6], counter[7]],
    )
}

/// Returns when the `index`-th of `count` documents was made: evenly over the last year.
pub fn moment(index: u64, count: u64) -> DateTime {
    let into = u128::from(SPAN) * u128::from(index.min(count)) / u128::from(count.max(1));
    DateTime::from_millis(NEWEST - i64::try_from(SPAN).expect("a year") + i64::try_from(into).expect("a year"))
}
