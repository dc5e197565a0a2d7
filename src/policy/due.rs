//! Which run is due: each time of a timetable is run once or missed once.

use std::time::Duration;

use jiff::Timestamp;

use super::Schedule;

/// How late a run may begin and still be on time.
const PUNCTUAL: Duration = Duration::from_mins(1);

/// The wait before a run that failed is tried again; doubled each time.
const FIRST_RETRY: Duration = Duration::from_mins(1);
const LONGEST_RETRY: Duration = Duration::from_hours(1);

/// The longest wait before a run that found a server or a store away is tried again: it is to be noticed soon that they
/// are back.
const LONGEST_ABSENCE: Duration = Duration::from_mins(5);

/// What to do about a schedule at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Times that passed without a run, and will have none.
    pub missed: Vec<Timestamp>,
    /// The time whose run is to begin now.
    pub run: Option<Timestamp>,
    /// When to decide again, if nothing runs; none where the calendar has no more.
    pub next: Option<Timestamp>,
}

impl Schedule {
    /// Decides at `now`; every time up to `settled` has been run or missed.
    ///
    /// Of several times that passed, by a service that was down or a run that took long, only the last one is run: for
    /// what a run achieves, once is enough. If the schedule does not catch up, that one is missed, too, unless it has
    /// only just come.
    #[must_use]
    pub fn decide(&self, settled: Timestamp, now: Timestamp) -> Decision {
        let mut missed: Vec<Timestamp> = self.timetable.due(settled, now).collect();
        let is_punctual = |due: &Timestamp| now.duration_since(*due).unsigned_abs() <= PUNCTUAL;
        let run = missed.pop_if(|due| self.catch_up || is_punctual(due));
        Decision { missed, run, next: self.timetable.next_after(now.max(settled)) }
    }

    /// Returns when a run of `due`, of which `failures` attempts have failed, the last of them `now`, is tried again.
    /// None when it has been tried often enough, or the next run comes first.
    #[must_use]
    pub fn retry_at(&self, due: Timestamp, failures: u32, now: Timestamp) -> Option<Timestamp> {
        if failures > self.retries {
            return None;
        }
        self.again_at(due, failures, LONGEST_RETRY, now)
    }

    /// Returns when a run of `due` that found a server or a store away, at its attempt number `attempts`, is tried
    /// again: that may last, and is no fault of the run. None when the next run comes first.
    #[must_use]
    pub fn back_at(&self, due: Timestamp, attempts: u32, now: Timestamp) -> Option<Timestamp> {
        self.again_at(due, attempts, LONGEST_ABSENCE, now)
    }

    fn again_at(&self, due: Timestamp, tried: u32, longest: Duration, now: Timestamp) -> Option<Timestamp> {
        let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(tried.saturating_sub(1)));
        let at = now.checked_add(doubled.min(longest)).ok()?;
        let next = self.timetable.next_after(due);
        next.is_none_or(|next| at < next).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::SignedDuration;

    use super::*;
    use crate::format::Job;
    use crate::policy::Timetable;
    use crate::random::Random;

    fn schedule(cron: &str, catch_up: bool) -> Schedule {
        let timetable = Timetable::new(cron.parse().unwrap(), "Europe/Berlin").unwrap();
        let (jitter, timeout) = (Duration::ZERO, None);
        Schedule { name: "test".into(), job: Job::Verify, timetable, catch_up, jitter, timeout, retries: 3 }
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn of_what_passed_only_the_last_is_run() {
        let (settled, now) = (at("2026-06-01T12:00:00Z"), at("2026-06-04T12:00:00Z"));
        let times = ["2026-06-02T00:00:00Z", "2026-06-03T00:00:00Z", "2026-06-04T00:00:00Z"].map(at);
        let decision = schedule("0 2 * * *", true).decide(settled, now);
        assert_eq!(decision.missed, times[..2]);
        assert_eq!((decision.run, decision.next), (Some(times[2]), Some(at("2026-06-05T00:00:00Z"))));
        let decision = schedule("0 2 * * *", false).decide(settled, now);
        assert_eq!((decision.missed, decision.run), (times.to_vec(), None), "nobody wants it later");
        let just_now = schedule("0 2 * * *", false).decide(times[0], at("2026-06-03T00:00:30Z"));
        assert_eq!((just_now.missed, just_now.run), (vec![], Some(times[1])));
    }

    #[test]
    fn nothing_is_due_when_the_clock_went_back() {
        let decision = schedule("0 2 * * *", true).decide(at("2026-06-03T12:00:00Z"), at("2026-06-01T12:00:00Z"));
        assert_eq!((decision.missed, decision.run), (vec![], None));
        assert_eq!(decision.next, Some(at("2026-06-04T00:00:00Z")), "what was settled stays so");
    }

    #[test]
    fn failures_are_tried_again_ever_later_and_never_into_the_next_run() {
        let daily = schedule("0 2 * * *", true);
        let (due, now) = (at("2026-06-02T00:00:00Z"), at("2026-06-02T01:00:00Z"));
        let wait = |failures| daily.retry_at(due, failures, now).map(|at| at.duration_since(now).as_mins());
        assert_eq!([1, 2, 3, 4].map(wait), [Some(1), Some(2), Some(4), None]);
        assert_eq!(daily.retry_at(due, 3, at("2026-06-02T23:58:00Z")), None);
    }

    /// A year in which the service is down at times and some runs take longer than until the next.
    #[test]
    fn in_a_year_every_time_is_run_once_or_missed_once() {
        for (cron, catch_up) in [("30 2 * * *", true), ("30 2 * * *", false), ("15 * * * *", true), ("0 4 * * 0", true)]
        {
            let (schedule, random) = (schedule(cron, catch_up), Random::seeded(11));
            let (begin, end) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
            let (mut now, mut settled) = (begin, begin);
            let mut outcomes: BTreeMap<Timestamp, Vec<&str>> = BTreeMap::new();
            while now < end {
                let decision = schedule.decide(settled, now);
                for missed in &decision.missed {
                    outcomes.entry(*missed).or_default().push("missed");
                    settled = settled.max(*missed);
                }
                if let Some(due) = decision.run {
                    outcomes.entry(due).or_default().push("run");
                    settled = due;
                    now += Duration::from_secs(random.next_u64() % 600);
                }
                let next = decision.next.unwrap();
                let (is_held_up, by) = (random.next_u64() % 20 == 0, i32::try_from(random.next_u64() % 4).unwrap());
                let held_up = if is_held_up { next.duration_since(now).abs() * by } else { SignedDuration::ZERO };
                now = now.max(next) + held_up;
            }
            let all: Vec<Timestamp> = schedule.timetable.due(begin, settled).collect();
            assert_eq!(outcomes.keys().copied().collect::<Vec<_>>(), all, "{cron}");
            assert!(outcomes.values().all(|outcomes| outcomes.len() == 1), "{cron}");
            let runs = outcomes.values().filter(|outcomes| outcomes[0] == "run").count();
            assert!(runs * 2 > all.len() && runs < all.len(), "{cron}: {runs} of {}", all.len());
        }
    }
}
