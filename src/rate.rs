//! No more than so many bytes in a second.
//!
//! Whoever takes bytes waits until what was taken before has had its time; so nobody is faster in the mean, and one alone
//! begins at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A rate that several may share.
#[derive(Debug)]
pub struct Rate {
    bytes_per_second: u64,
    /// When what was taken so far has had its time.
    free_at: Mutex<Instant>,
}

impl Rate {
    /// Returns a rate; it is at least a byte a second.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(Instant::now()) }
    }

    /// Waits until what was taken so far has had its time.
    pub async fn wait(&self) {
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep_until(free_at).await;
    }

    /// Says that so many bytes were taken.
    pub fn spend(&self, bytes: u64) {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let time = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(Instant::now()) + time;
    }
}
