//! One way to reach people: whom it tells, how long it is tried, and what waits for it.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Notice, Severity};
use crate::error::Error;
use crate::random::Random;

/// A server that takes longer to answer hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often a notice is sent in one round: with the pauses below this bridges a lost connection or a restart. What
/// takes longer is for the next round.
const ATTEMPTS: u32 = 3;

/// The first pause is at most this long; each further one doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How long a round begins with further notices.
const ROUND: Duration = Duration::from_mins(1);

/// So many notices wait for a channel: an outage of days at the usual pace. Older ones are dropped first, because
/// what is still wrong is said again.
const WAITING: usize = 100;

/// How long a channel is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long an answer may take.
    pub timeout: Duration,
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The upper bound of the first pause; each further one doubles.
    pub first_pause: Duration,
    /// So long after its begin a round begins with no further notice, so that a slow channel and a long queue do not hold up the
    /// next one.
    pub round: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { timeout: TIMEOUT, attempts: ATTEMPTS, first_pause: FIRST_PAUSE, round: ROUND }
    }
}

/// Why a notice was not taken.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may pass by itself: tried again at once.
    Passing(Error),
    /// The channel takes nothing until somebody does something: the notice waits.
    Standing(Error),
    /// The channel does not take this notice and never will: it is dropped.
    Refused(Error),
}

impl Trouble {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Passing(error) | Self::Standing(error) | Self::Refused(error) => error,
        }
    }
}

/// What could not be said on one channel.
#[derive(Debug)]
pub struct Failure {
    /// Which: its kind and its host.
    pub channel: String,
    /// The last thing that went wrong.
    pub error: Error,
    /// Notices that wait for the next time.
    pub waiting: usize,
    /// Notices that were given up, because the channel refused them or too many waited.
    pub dropped: usize,
}

/// What carries a notice to its receiver.
#[async_trait]
pub(super) trait Messenger: Send + Sync {
    async fn send(&self, notice: &Notice) -> Result<(), Trouble>;
}

/// A messenger with its queue.
pub(super) struct Channel {
    name: String,
    minimum: Severity,
    messenger: Box<dyn Messenger>,
    patience: Patience,
    random: Random,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    notices: VecDeque<Notice>,
    /// Whether the channel took nothing the last time.
    is_blocked: bool,
}

/// What a round leaves to say.
#[derive(Default)]
struct Round {
    error: Option<Error>,
    dropped: usize,
}

impl Channel {
    /// `name` is the kind, and the place as it may be shown.
    pub(super) fn new(
        name: String,
        minimum: Severity,
        messenger: Box<dyn Messenger>,
        patience: Patience,
        random: &Random,
    ) -> Self {
        let (random, queue) = (random.clone(), Mutex::default());
        Self { name, minimum, messenger, patience, random, queue }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Sends what waits and then the notices that are for this channel; what is not sent waits. A call that is
    /// dropped on the way leaves in the queue what it has not sent.
    pub(super) async fn deliver(&self, notices: &[Notice]) -> Option<Failure> {
        let mut queue = self.queue.lock().await;
        let for_this_one = notices.iter().filter(|notice| notice.audience >= self.minimum);
        queue.notices.extend(for_this_one.cloned());
        let mut round = self.round(&mut queue).await;
        let surplus = queue.notices.len().saturating_sub(WAITING);
        queue.notices.drain(..surplus);
        round.dropped += surplus;
        let error = match round.error {
            Some(error) => error.context(format!("cannot notify {}", self.name)),
            None if round.dropped > 0 => Error::failed(format!("{} is too slow for its notices", self.name)),
            None => return None,
        };
        Some(Failure { channel: self.name.clone(), error, waiting: queue.notices.len(), dropped: round.dropped })
    }

    /// Sends from the front of the queue until it is empty, the channel takes no more or the time is over.
    async fn round(&self, queue: &mut Queue) -> Round {
        let (mut round, begin) = (Round::default(), Instant::now());
        while let Some(notice) = queue.notices.front() {
            if begin.elapsed() >= self.patience.round {
                break;
            }
            // While a channel is known to be blocked, one attempt tells whether it still is.
            let attempts = if queue.is_blocked { 1 } else { self.patience.attempts };
            let outcome = self.keep_trying(notice, attempts).await;
            queue.is_blocked = matches!(outcome, Err(Trouble::Passing(_) | Trouble::Standing(_)));
            match outcome {
                Ok(()) => {}
                Err(Trouble::Refused(error)) => {
                    round.error = Some(error);
                    round.dropped += 1;
                }
                Err(Trouble::Passing(error) | Trouble::Standing(error)) => {
                    round.error = Some(error);
                    break;
                }
            }
            queue.notices.pop_front();
        }
        round
    }

    async fn keep_trying(&self, notice: &Notice, attempts: u32) -> Result<(), Trouble> {
        let mut failed = 0;
        loop {
            let outcome = within(self.patience.timeout, self.messenger.send(notice)).await;
            failed += 1;
            if failed >= attempts || !matches!(outcome, Err(Trouble::Passing(_))) {
                return outcome;
            }
            // Full jitter: services that failed together do not come back together.
            let ceiling = self.patience.first_pause.saturating_mul(2_u32.saturating_pow(failed - 1));
            tokio::time::sleep(ceiling.mul_f64(self.random.fraction())).await;
        }
    }
}

/// Waits for an answer, and no longer than for `limit`.
pub(super) async fn within(limit: Duration, answer: impl Future<Output = Result<(), Trouble>>) -> Result<(), Trouble> {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        let error = Error::failed(format!("there is no answer within {limit:?}"));
        Err(Trouble::Passing(error.with_hint("check that the host can be reached from here")))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::Event;
    use super::super::wording::tests::notice;
    use super::*;

    /// Refuses the notice "poison", takes `takes` others and then breaks.
    struct Gate {
        takes: AtomicUsize,
    }

    #[async_trait]
    impl Messenger for Gate {
        async fn send(&self, notice: &Notice) -> Result<(), Trouble> {
            if notice.alert.what == "poison" {
                return Err(Trouble::Refused(Error::failed("refused")));
            }
            let left = self.takes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            left.map(drop).map_err(|_| Trouble::Passing(Error::failed("broken")))
        }
    }

    fn channel(takes: usize) -> Channel {
        patient(takes, Patience { first_pause: Duration::ZERO, ..Patience::default() })
    }

    fn patient(takes: usize, patience: Patience) -> Channel {
        let gate = Box::new(Gate { takes: AtomicUsize::new(takes) });
        Channel::new("gate".into(), Severity::Warning, gate, patience, &Random::seeded(1))
    }

    fn notices(number: usize) -> Vec<Notice> {
        (0..number).map(|number| notice(Event::Raised, &number.to_string())).collect()
    }

    #[tokio::test]
    async fn of_what_waits_the_oldest_is_dropped_first() {
        let channel = channel(3);
        let failure = channel.deliver(&notices(WAITING + 10)).await.unwrap();
        assert_eq!((failure.waiting, failure.dropped), (WAITING, 7), "three were taken: {}", failure.error);
        assert_eq!(failure.error.to_string(), "cannot notify gate: broken");
        assert_eq!(channel.queue.lock().await.notices[0].alert.what, "10");
        let failure = channel.deliver(&[]).await.unwrap();
        assert_eq!((failure.waiting, failure.dropped), (WAITING, 0));
    }

    #[tokio::test]
    async fn what_a_round_has_no_time_for_waits_for_the_next() {
        let mut channel = patient(9, Patience { round: Duration::ZERO, ..Patience::default() });
        assert!(channel.deliver(&notices(3)).await.is_none());
        assert_eq!(channel.queue.lock().await.notices.len(), 3);
        channel.patience = Patience::default();
        assert!(channel.deliver(&[]).await.is_none());
        assert!(channel.queue.lock().await.notices.is_empty());
    }

    #[tokio::test]
    async fn what_is_refused_is_in_nobodys_way() {
        let channel = channel(9);
        let mut notices = notices(3);
        notices.insert(1, notice(Event::Raised, "poison"));
        let failure = channel.deliver(&notices).await.unwrap();
        assert_eq!((failure.waiting, failure.dropped), (0, 1));
        assert!(channel.deliver(&[]).await.is_none());
    }
}
