//! A dead man's switch: as long as all is well, a URL is asked for; whoever watches it raises an alarm when it is not.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Client;

use super::channel::{Trouble, within};
use super::post::{judge, unanswered};
use super::settings::{Endpoint, HeartbeatSettings};
use crate::clock::Clock;
use crate::error::{Context, Result};

pub(super) struct Heartbeat {
    client: Client,
    endpoint: Endpoint,
    interval: Duration,
    timeout: Duration,
    clock: Clock,
    /// When it was asked for last, with success.
    last: Mutex<Option<Timestamp>>,
}

impl Heartbeat {
    pub(super) fn new(client: Client, settings: HeartbeatSettings, timeout: Duration, clock: Clock) -> Self {
        let HeartbeatSettings { url, interval } = settings;
        Self { client, endpoint: url, interval, timeout, clock, last: Mutex::default() }
    }

    /// Asks once, if it is time to: the caller's next cycle is the next attempt.
    pub(super) async fn beat(&self) -> Result<()> {
        let now = self.clock.now();
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| !is_due(last, now, self.interval)) {
            return Ok(());
        }
        let answer = within(self.timeout, self.ask()).await;
        answer
            .map_err(Trouble::into_error)
            .context(format!("cannot send the heartbeat to {}", self.endpoint.place()))?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(())
    }

    async fn ask(&self) -> Result<(), Trouble> {
        let request = self.client.get(self.endpoint.reveal().clone());
        judge(request.send().await.map_err(unanswered)?.status(), None)
    }
}

/// Whether the next beat may come: after the interval, or a tenth earlier. Otherwise a cycle as long as the interval,
/// whenever it is a moment early, would leave out a beat. A clock that was set back stops no heart.
fn is_due(last: Timestamp, now: Timestamp, interval: Duration) -> bool {
    Duration::try_from(now.duration_since(last)).map_or(true, |elapsed| elapsed >= interval / 10 * 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_due_after_its_interval_and_when_the_clock_was_set_back() {
        let is_due = |seconds| {
            let now = Timestamp::from_second(seconds).unwrap();
            is_due(Timestamp::UNIX_EPOCH, now, Duration::from_mins(1))
        };
        assert_eq!([0, 15, 53, 54, 60, 3600, -1].map(is_due), [false, false, false, true, true, true, true]);
    }
}
