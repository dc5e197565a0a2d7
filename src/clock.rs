//! The only source of the current time.
//!
//! Everything that needs "now" is given a [`Clock`], so that a test can hold or move time and a
//! simulation repeats exactly.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A source of wall-clock time; clones share it.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Ahead(Arc<Mutex<SignedDuration>>),
    Manual(Arc<Mutex<Timestamp>>),
}

impl Clock {
    /// Returns the machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a clock that goes with the machine's and shows a later time: what happens days later, tests see today.
    #[must_use]
    pub fn ahead(by: SignedDuration) -> Self {
        Self(Source::Ahead(Arc::new(Mutex::new(by))))
    }

    /// Puts a clock that is [ahead](Self::ahead) so far ahead from now on, as whoever sets a machine's clock does; the others ignore
    /// this.
    pub fn put_ahead(&self, by: SignedDuration) {
        if let Source::Ahead(ahead) = &self.0 {
            *ahead.lock().unwrap_or_else(PoisonError::into_inner) = by;
        }
    }

    /// Returns a clock that stands at `start` until it is [advanced](Self::advance).
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(Mutex::new(start))))
    }

    /// Returns the current time (UTC).
    #[must_use]
    #[allow(clippy::disallowed_methods)] // The one place that asks the machine.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Ahead(by) => Timestamp::now() + *by.lock().unwrap_or_else(PoisonError::into_inner),
            Source::Manual(time) => *time.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Moves a manual clock forward; the machine's clock moves by itself and ignores this.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(time) = &self.0 {
            *time.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }
}
