//! How long to go on asking a store that fails in a way that may pass.

use std::future::Future;
use std::time::{Duration, Instant};

use tracing::warn;

use super::StorageResult;
use crate::random::Random;

/// How often a request is made. With the pauses below it bridges half a minute of outage, which covers a
/// restart of the store or of a load balancer; longer ones are for the schedule to make good.
const ATTEMPTS: u32 = 8;

/// The first pause is at most this long: most transient failures are one lost connection.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// No pause is longer, so that a store that is back is noticed soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// No new attempt begins after this: attempts may each take minutes to time out, and the recovery point
/// objective of fifteen minutes must leave room for another try from the start.
const TOTAL: Duration = Duration::from_mins(3);

/// The bounds within which a failed request is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The upper bound of the first pause; each further one doubles.
    pub first_pause: Duration,
    /// The upper bound of every pause.
    pub longest_pause: Duration,
    /// After this time no further attempt begins.
    pub total: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { attempts: ATTEMPTS, first_pause: FIRST_PAUSE, longest_pause: LONGEST_PAUSE, total: TOTAL }
    }
}

impl Backoff {
    /// Returns the same number of attempts without pauses: for tests, whose failures pass at once.
    #[must_use]
    pub fn without_pauses() -> Self {
        Self { first_pause: Duration::ZERO, longest_pause: Duration::ZERO, ..Self::default() }
    }

    /// Returns the upper bound of the pause after `failed` attempts.
    fn ceiling(&self, failed: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        self.first_pause.saturating_mul(doubled).min(self.longest_pause)
    }
}

/// Makes requests again within the bounds of a [`Backoff`].
#[derive(Debug, Clone)]
pub(super) struct Patience {
    bounds: Backoff,
    random: Random,
}

impl Patience {
    pub(super) fn new(bounds: Backoff, random: Random) -> Self {
        Self { bounds, random }
    }

    /// Makes a request until it succeeds, fails for good, or the bounds are reached; then the last answer
    /// is returned. `request` is given the number of attempts that have failed before.
    pub(super) async fn keep_trying<T, F, R>(&self, mut request: R) -> StorageResult<T>
    where
        F: Future<Output = StorageResult<T>>,
        R: FnMut(u32) -> F,
    {
        // Not by the clock that shows the time: when that is set, nothing is more or less urgent.
        let begin = Instant::now();
        let mut failed = 0;
        loop {
            let error = match request(failed).await {
                Err(error) if error.is_transient() => error,
                answer => return answer,
            };
            failed += 1;
            if failed >= self.bounds.attempts || begin.elapsed() >= self.bounds.total {
                return Err(error);
            }
            // Full jitter: clients that failed together do not come back together.
            let pause = self.bounds.ceiling(failed).mul_f64(self.random.fraction());
            warn!(%error, failed, ?pause, "the store did not answer, trying again");
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::StorageError;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let bounds = Backoff::default();
        assert_eq!(bounds.ceiling(1), FIRST_PAUSE);
        assert_eq!(bounds.ceiling(3), FIRST_PAUSE * 4);
        assert_eq!(bounds.ceiling(30), LONGEST_PAUSE);
        assert_eq!(bounds.ceiling(u32::MAX), LONGEST_PAUSE);
    }

    /// No clock that somebody can set has a say in it: none is given.
    #[tokio::test]
    async fn it_is_over_when_so_much_time_has_passed_and_not_before() {
        let (attempts, pause, total) = (u32::MAX, Duration::from_millis(2), Duration::from_millis(40));
        let bounds = Backoff { attempts, first_pause: pause, longest_pause: pause, total };
        let (begin, mut made) = (Instant::now(), 0);
        let away = |_| {
            made += 1;
            async { Err::<(), _>(StorageError::Unavailable { operation: "read a".into(), reason: "503".into() }) }
        };
        Patience::new(bounds, Random::seeded(1)).keep_trying(away).await.unwrap_err();
        assert!(begin.elapsed() >= total && made > 1, "{made} attempts in {:?}", begin.elapsed());
    }
}
