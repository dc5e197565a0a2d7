//! How fast it goes, and so when it ends: by what happened of late, because phases differ.

use std::collections::VecDeque;
use std::time::Duration;

use crate::progress::Snapshot;

/// What counts as of late.
const OF_LATE: Duration = Duration::from_secs(30);

/// How many moments are remembered.
const MAX_MOMENTS: usize = 300;

/// Before this nothing is said: connections are made, and caches are cold.
const SOON: Duration = Duration::from_secs(2);

/// Bytes that were done by when.
#[derive(Debug, Default)]
pub(super) struct Pace {
    moments: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// Remembers how many bytes were done so long after the beginning.
    pub(super) fn note(&mut self, elapsed: Duration, bytes: u64) {
        if self.moments.is_empty() {
            self.moments.push_back((Duration::ZERO, 0));
        }
        self.moments.push_back((elapsed, bytes));
        // One from before stays, so that what is remembered reaches all the way back.
        while self.moments.len() > MAX_MOMENTS || self.moments.get(1).is_some_and(|(at, _)| *at + OF_LATE < elapsed) {
            self.moments.pop_front();
        }
    }

    /// Returns how fast it goes of late; none as long as nobody can know.
    pub(super) fn bytes_per_second(&self) -> Option<u64> {
        let ((begin, before), (end, now)) = (self.moments.front()?, self.moments.back()?);
        let milliseconds = end.checked_sub(*begin).filter(|_| *end >= SOON)?.as_millis();
        let rate = u128::from(now.saturating_sub(*before)) * 1000 / milliseconds.max(1);
        u64::try_from(rate).ok()
    }

    /// Returns how long the rest should take at that rate; none if nobody can know, or if no bytes are left to count.
    pub(super) fn left(&self, in_all: Snapshot) -> Option<Duration> {
        let left = in_all.expected_bytes.checked_sub(in_all.bytes).filter(|left| *left > 0)?;
        left.checked_div(self.bytes_per_second()?).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: u64, expected_bytes: u64) -> Snapshot {
        Snapshot { expected_bytes, bytes, ..Snapshot::default() }
    }

    #[test]
    fn the_rest_takes_as_long_as_it_takes_of_late() {
        let mut pace = Pace::default();
        pace.note(Duration::from_secs(1), 500);
        assert_eq!((pace.bytes_per_second(), pace.left(of(500, 2000))), (None, None), "it is too early");
        pace.note(Duration::from_secs(10), 1000);
        assert_eq!((pace.bytes_per_second(), pace.left(of(1000, 2000))), (Some(100), Some(Duration::from_secs(10))));

        for second in 11..=100 {
            pace.note(Duration::from_secs(second), 1000 + (second - 10) * 10);
        }
        assert_eq!(pace.bytes_per_second(), Some(10), "the fast beginning is long past");
        assert!(pace.moments.len() <= 32);
        assert_eq!(pace.left(of(1900, 1900)), None, "nothing is left to count");
        assert_eq!(pace.left(of(1900, 0)), None, "nobody knows how much there is");

        for second in 101..=200 {
            pace.note(Duration::from_secs(second), 1900);
        }
        assert_eq!((pace.bytes_per_second(), pace.left(of(1900, 2000))), (Some(0), None), "it stands still");
    }
}
