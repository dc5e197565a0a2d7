//! The only source of randomness that is not a cryptographic library's own.
//!
//! Ids and jitter come from here, so that a test can repeat a run from its seed.

use std::sync::{Arc, Mutex, PoisonError};

/// A source of random numbers; clones share its state.
#[derive(Debug, Clone)]
pub struct Random(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Seeded(Arc<Mutex<u64>>),
}

impl Random {
    /// Returns the operating system's randomness.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a repeatable sequence (`SplitMix64`); never for keys.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(seed))))
    }

    /// Returns the next 64 random bits.
    #[must_use]
    #[allow(clippy::disallowed_methods, clippy::missing_panics_doc)] // The one place that asks the machine.
    pub fn next_u64(&self) -> u64 {
        match &self.0 {
            Source::System => getrandom::u64().expect("the operating system has randomness"),
            Source::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                z ^ (z >> 31)
            }
        }
    }

    /// Returns a number in `[0, 1)`.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // 53 bits are exactly what an f64 holds.
    pub fn fraction(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
