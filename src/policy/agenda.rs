//! What the service has to do next: schedules, what of them is settled, and what runs or waits for another try.
//!
//! It holds no state that evidence does not hold: made anew from what was recorded, after a crash or on another machine,
//! it goes on where it was. A run that was begun and whose end nobody recorded counts as not begun.

use jiff::{SignedDuration, Timestamp};

use super::Schedule;
use super::history::{FUTURE, Settled};
use crate::format::Job;
use crate::random::Random;

/// All schedules and where each of them stands.
#[derive(Debug, Clone)]
pub struct Agenda {
    items: Vec<Item>,
}

#[derive(Debug, Clone)]
struct Item {
    schedule: Schedule,
    /// Every time up to here has been run, has failed for good, or was missed.
    settled: Timestamp,
    /// When something was begun outside of the agenda that achieves what the schedule is for, in order.
    achieved: Vec<Timestamp>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is to be done before the next time.
    Idle,
    /// A run is to begin at a moment: a little after it was due, or again after it failed.
    Waiting { attempt: Attempt, at: Timestamp },
    /// A run is under way.
    Running(Attempt),
}

/// One attempt at a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The job.
    pub job: Job,
    /// The time that it is for.
    pub due: Timestamp,
    /// Its number, from 1.
    pub number: u32,
    /// How many before it failed by a fault of their own.
    failures: u32,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Todo {
    /// Record that these times passed without a run.
    Missed {
        /// The job.
        job: Job,
        /// The times, in order; never empty.
        times: Vec<Timestamp>,
    },
    /// Begin a run, and tell [`Agenda::ended`] how it ended.
    Run(Attempt),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It achieved what it was for.
    Succeeded,
    /// It failed.
    Failed,
    /// What it needs is away: a server or a store. That may last and is no fault of the run.
    Away,
}

/// What follows from how an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Its time is settled.
    Settled,
    /// It is tried again at this moment.
    Again(Timestamp),
    /// It is not tried again: its time is settled by a failure.
    GivenUp,
}

impl Agenda {
    /// Makes one of schedules, each with up to where it is settled.
    #[must_use]
    pub fn new(schedules: impl IntoIterator<Item = (Schedule, Settled)>) -> Self {
        let item =
            |(schedule, Settled { until, achieved })| Item { schedule, settled: until, achieved, state: State::Idle };
        Self { items: schedules.into_iter().map(item).collect() }
    }

    /// Returns what is to be done now. Everything is returned once.
    pub fn due(&mut self, now: Timestamp, random: &Random) -> Vec<Todo> {
        let mut todo = Vec::new();
        for item in &mut self.items {
            if item.state == State::Idle {
                item.decide(now, random, &mut todo);
            }
            if let State::Waiting { attempt, at } = item.state
                && at <= now
            {
                item.state = State::Running(attempt);
                todo.push(Todo::Run(attempt));
            }
        }
        todo
    }

    /// Returns when there will be something to do, unless a run that is under way ends before.
    #[must_use]
    pub fn wakes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let wakes = self.items.iter().filter_map(|item| match item.state {
            State::Idle if item.settled.duration_since(now) > FUTURE => Some(now),
            State::Idle => item.schedule.timetable.next_after(now.max(item.settled)),
            State::Waiting { at, .. } => Some(at),
            State::Running(_) => None,
        });
        wakes.min()
    }

    /// Settles what an attempt leads to. One that the agenda does not know any more leads to nothing.
    pub fn ended(&mut self, attempt: Attempt, outcome: Outcome, now: Timestamp) -> Consequence {
        let known = |item: &&mut Item| item.state == State::Running(attempt);
        let Some(item) = self.items.iter_mut().find(known) else { return Consequence::Settled };
        let failures = attempt.failures + u32::from(outcome == Outcome::Failed);
        let again = match outcome {
            Outcome::Succeeded => None,
            Outcome::Failed => item.schedule.retry_at(attempt.due, failures, now),
            Outcome::Away => item.schedule.back_at(attempt.due, attempt.number, now),
        };
        if let Some(at) = again {
            item.state = State::Waiting { attempt: Attempt { number: attempt.number + 1, failures, ..attempt }, at };
            return Consequence::Again(at);
        }
        item.state = State::Idle;
        item.settled = item.settled.max(attempt.due);
        if outcome == Outcome::Succeeded { Consequence::Settled } else { Consequence::GivenUp }
    }

    /// Goes on with other schedules. What runs or waits goes on, so that nothing is begun twice; a schedule that is as it
    /// was is settled as it was, and another one from `now` on. Returns what waited for another try and is no longer
    /// scheduled.
    pub fn change(&mut self, schedules: impl IntoIterator<Item = Schedule>, now: Timestamp) -> Vec<Attempt> {
        let mut before = std::mem::take(&mut self.items);
        for schedule in schedules {
            let same_job = before.iter().position(|item| item.schedule.job == schedule.job);
            let mut item = Item { schedule, settled: now, achieved: Vec::new(), state: State::Idle };
            if let Some(other) = same_job.map(|at| before.swap_remove(at)) {
                item.state = other.state;
                if other.schedule.record().is_alike(&item.schedule.record()) {
                    (item.settled, item.achieved) = (other.settled, other.achieved);
                }
            }
            self.items.push(item);
        }
        let waiting = before.into_iter().filter_map(|item| match item.state {
            State::Waiting { attempt, .. } => Some(attempt),
            State::Idle | State::Running(_) => None,
        });
        waiting.collect()
    }
}

impl Item {
    fn decide(&mut self, now: Timestamp, random: &Random, todo: &mut Vec<Todo>) {
        let job = self.schedule.job;
        if self.settled.duration_since(now) > FUTURE {
            // The clock was wrong when that was settled.
            self.settled = now;
        }
        let achieved = std::mem::take(&mut self.achieved);
        if let Some(last) = achieved.last().copied().filter(|last| *last > self.settled) {
            let timetable = &self.schedule.timetable;
            let is_achieved = |time: &Timestamp| {
                let next = timetable.next_after(*time);
                achieved.iter().any(|begun| begun >= time && next.is_none_or(|next| *begun < next))
            };
            let passed: Vec<Timestamp> = timetable.due(self.settled, last).collect();
            // Times that follow each other are told together.
            let missed = passed.split(is_achieved).filter(|times| !times.is_empty());
            todo.extend(missed.map(|times| Todo::Missed { job, times: times.to_vec() }));
            self.settled = last;
        }
        let decision = self.schedule.decide(self.settled, now);
        if let Some(last) = decision.missed.last() {
            self.settled = self.settled.max(*last);
            todo.push(Todo::Missed { job, times: decision.missed });
        }
        if let Some(due) = decision.run {
            let attempt = Attempt { job, due, number: 1, failures: 0 };
            self.state = State::Waiting { attempt, at: now.max(due + self.jitter(random)) };
        }
    }

    fn jitter(&self, random: &Random) -> SignedDuration {
        SignedDuration::try_from(self.schedule.jitter.mul_f64(random.fraction())).unwrap_or(SignedDuration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::Timetable;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn agenda(cron: &str, jitter: Duration) -> Agenda {
        let timetable = Timetable::new(cron.parse().unwrap(), "UTC").unwrap();
        let (job, timeout) = (Job::Verify, None);
        let schedule = Schedule { name: "v".into(), job, timetable, catch_up: true, jitter, timeout, retries: 1 };
        Agenda::new([(schedule, Settled { until: at("2026-06-01T12:00:00Z"), achieved: Vec::new() })])
    }

    fn run(agenda: &mut Agenda, now: &str) -> Attempt {
        match &agenda.due(at(now), &Random::seeded(1))[..] {
            [Todo::Run(attempt)] => *attempt,
            other => panic!("{now}: {other:?}"),
        }
    }

    #[test]
    fn a_run_is_begun_once_and_settled_by_its_end() {
        let mut agenda = agenda("0 2 * * *", Duration::ZERO);
        assert_eq!(agenda.wakes_at(at("2026-06-01T12:00:00Z")), Some(at("2026-06-02T02:00:00Z")));
        let attempt = run(&mut agenda, "2026-06-02T02:00:00Z");
        assert_eq!(agenda.due(at("2026-06-02T02:00:01Z"), &Random::seeded(1)), []);
        assert_eq!(agenda.wakes_at(at("2026-06-02T02:00:01Z")), None, "it runs");
        assert_eq!(agenda.ended(attempt, Outcome::Succeeded, at("2026-06-02T02:10:00Z")), Consequence::Settled);
        assert_eq!(agenda.due(at("2026-06-02T02:10:00Z"), &Random::seeded(1)), []);
    }

    #[test]
    fn failures_are_limited_and_absence_is_not() {
        let mut agenda = agenda("0 2 * * *", Duration::ZERO);
        let mut attempt = run(&mut agenda, "2026-06-02T02:00:00Z");
        let mut now = at("2026-06-02T02:00:00Z");
        for _ in 0..20 {
            let Consequence::Again(again) = agenda.ended(attempt, Outcome::Away, now) else { panic!("{now}") };
            assert!(again > now);
            now = again;
            attempt = run(&mut agenda, &now.to_string());
        }
        assert!(now > at("2026-06-02T03:00:00Z"), "{now}: an outage of an hour is waited for");
        let Consequence::Again(again) = agenda.ended(attempt, Outcome::Failed, now) else { panic!("one retry") };
        attempt = run(&mut agenda, &again.to_string());
        assert_eq!(attempt.number, 22);
        assert_eq!(agenda.ended(attempt, Outcome::Failed, again), Consequence::GivenUp);
        assert_eq!(agenda.wakes_at(again), Some(at("2026-06-03T02:00:00Z")));
    }

    #[test]
    fn a_run_may_begin_a_little_later() {
        let mut agenda = agenda("0 2 * * *", Duration::from_mins(10));
        assert_eq!(agenda.due(at("2026-06-02T02:00:00Z"), &Random::seeded(3)), []);
        let begins = agenda.wakes_at(at("2026-06-02T02:00:00Z")).unwrap();
        assert!(begins > at("2026-06-02T02:00:00Z") && begins < at("2026-06-02T02:10:00Z"), "{begins}");
        assert_eq!(run(&mut agenda, &begins.to_string()).due, at("2026-06-02T02:00:00Z"));
    }

    #[test]
    fn what_runs_goes_on_under_other_schedules() {
        let mut after = agenda("0 2 * * *", Duration::ZERO);
        let attempt = run(&mut after, "2026-06-02T02:00:00Z");
        let same = agenda("0 2 * * *", Duration::ZERO).items.remove(0).schedule;
        assert_eq!(after.change([same], at("2026-06-02T02:00:10Z")), []);
        assert_eq!(after.due(at("2026-06-02T02:00:30Z"), &Random::seeded(1)), []);
        assert_eq!(after.ended(attempt, Outcome::Succeeded, at("2026-06-02T02:05:00Z")), Consequence::Settled);
        assert_eq!(after.due(at("2026-06-02T02:06:00Z"), &Random::seeded(1)), []);
        let attempt = run(&mut after, "2026-06-03T02:00:00Z");
        after.ended(attempt, Outcome::Failed, at("2026-06-03T02:01:00Z"));
        let dropped = after.change([], at("2026-06-03T02:01:10Z"));
        assert_eq!(dropped.iter().map(|attempt| attempt.due).collect::<Vec<_>>(), [at("2026-06-03T02:00:00Z")]);
    }

    #[test]
    fn what_somebody_else_achieved_is_settled_and_the_rest_was_missed() {
        let mut agenda = agenda("0 2 * * *", Duration::ZERO);
        agenda.items[0].achieved = ["2026-06-02T08:00:00Z", "2026-06-04T12:00:00Z"].map(at).to_vec();
        let missed = vec![at("2026-06-03T02:00:00Z")];
        let expected = [Todo::Missed { job: Job::Verify, times: missed }];
        assert_eq!(agenda.due(at("2026-06-04T13:00:00Z"), &Random::seeded(1)), expected);
        assert_eq!(agenda.wakes_at(at("2026-06-04T13:00:00Z")), Some(at("2026-06-05T02:00:00Z")));
    }

    #[test]
    fn a_clock_that_was_ahead_silences_nothing() {
        let mut agenda = agenda("0 2 * * *", Duration::ZERO);
        agenda.items[0].settled = at("2036-06-01T02:00:00Z");
        assert_eq!(agenda.due(at("2026-06-04T13:00:00Z"), &Random::seeded(1)), []);
        assert_eq!(run(&mut agenda, "2026-06-05T02:00:00Z").due, at("2026-06-05T02:00:00Z"));
    }
}
