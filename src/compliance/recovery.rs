//! How long restoring takes: measured by drills, and predicted from what they measured.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::facts::{Facts, Recorded};
use super::model::{Drill, Period, Prediction, Recovery, Restore, Rto, Verdict};
use crate::format::evidence::{DrillResult, Event, Run};
use crate::restore;

/// A drill that is older says nothing any more: drills are due each month, and one may fail.
const COUNTS_FOR: SignedDuration = SignedDuration::from_hours(62 * 24);

/// How far back the history of drills goes.
const HISTORY: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Over how much time drills must spread for a trend.
const SHORTEST_TREND: SignedDuration = SignedDuration::from_hours(20 * 24);

const MONTH_SECONDS: f64 = 30.0 * 86400.0;

/// Returns what drills up to a moment tell.
pub(super) fn recovery(facts: &Facts, until: Timestamp) -> Recovery {
    let passed: Vec<Drill> = drills(facts, until - HISTORY, until).into_iter().filter(|drill| drill.passed).collect();
    let newest = passed.last().cloned();
    let history: Vec<(Timestamp, u64)> = passed.iter().map(|drill| (drill.finished_at, drill.seconds)).collect();
    Recovery { predicted: predict(facts, until), trend_seconds_per_month: trend(&history), newest, history }
}

/// Returns the drills that ended in a stretch of time, the oldest first.
pub(super) fn drills(facts: &Facts, begin: Timestamp, until: Timestamp) -> Vec<Drill> {
    let drill = |record: &Recorded| match record.event() {
        Event::Drill { run, result } => Some(drill(record.id(), run, result)),
        _ => None,
    };
    facts.between(begin, until).filter_map(drill).collect()
}

fn drill(evidence: String, run: &Run, result: &DrillResult) -> Drill {
    Drill {
        evidence,
        finished_at: run.finished_at,
        backup: result.backup.clone(),
        recovered_to: result.recovered_to,
        replayed: result.replayed,
        passed: result.passed,
        documents: result.documents,
        bytes: result.bytes,
        seconds: result.milliseconds.div_ceil(1000),
        phases: result.phases.clone(),
        checks: result.checks.clone(),
    }
}

/// Returns the restores of a stretch of time that somebody needed.
pub(super) fn restores(facts: &Facts, begin: Timestamp, until: Timestamp) -> Vec<Restore> {
    let restore = |record: &Recorded| match record.event() {
        Event::Restore { result } => Some(Restore {
            evidence: record.id(),
            started_at: result.started_at,
            seconds: result.finished_at.duration_since(result.started_at).unsigned_abs().as_secs(),
            backup: result.backup.clone(),
            recovered_to: result.recovered_to,
            everything: result.everything,
            documents: result.documents,
            problem: result.problem.clone(),
        }),
        _ => None,
    };
    facts.between(begin, until).filter_map(restore).collect()
}

/// Holds what drills and restores tell against an objective.
pub(super) fn judge(facts: &Facts, recovery: &Recovery, objective_seconds: u64, period: Period) -> Rto {
    let Period { begin, end: until } = period;
    let newest = recovery.newest.as_ref().filter(|drill| until.duration_since(drill.finished_at) <= COUNTS_FOR);
    let last = drills(facts, until - COUNTS_FOR, until).pop();
    let measured_seconds = newest.map(|drill| drill.seconds);
    let predicted_seconds = newest.and(recovery.predicted.as_ref()).map(|predicted| predicted.seconds);
    let real = restores(facts, begin, until);
    let real = real.iter().filter(|restore| restore.everything && restore.problem.is_none());
    let times = measured_seconds.into_iter().chain(predicted_seconds).chain(real.map(|restore| restore.seconds));
    let is_missed = times.max().is_some_and(|longest| longest > objective_seconds);
    let verdict = match last {
        _ if is_missed => Verdict::Missed,
        Some(last) if !last.passed => Verdict::Missed,
        Some(_) if predicted_seconds.is_some() => Verdict::Met,
        _ => Verdict::Unknown,
    };
    Rto { objective_seconds, verdict, measured_seconds, predicted_seconds }
}

/// Predicts how long restoring the newest moment takes, at the rates of the newest drill that passed.
pub(super) fn predict(facts: &Facts, until: Timestamp) -> Option<Prediction> {
    let newest = facts.up_to(until).rev().find_map(|record| match record.event() {
        Event::Drill { result, .. } if result.passed => Some((record, result)),
        _ => None,
    });
    let (record, result) = newest?;
    let whole = facts.backups_at(until).map(|backup| &backup.summary).filter(|backup| !backup.partial);
    let backup = whole.max_by_key(|backup| backup.finished_at)?;
    let stored =
        facts.timelines.iter().filter(|timeline| Some(&timeline.replica_set_id) == backup.replica_set_id.as_ref());
    let behind = stored
        .flat_map(|timeline| &timeline.slices)
        .filter(|(range, slice)| backup.replay_from.is_some_and(|from| range.end > from) && slice.stored_at <= until);
    let (slices, entries) = behind.fold((0, 0), |(slices, entries), (_, slice)| (slices + 1, entries + slice.entries));
    let seconds = restore_time(result, backup.bytes_raw, entries).as_secs();
    Some(Prediction { seconds, bytes: backup.bytes_raw, slices, drill: record.id() })
}

/// Returns how long restoring so many bytes and entries takes, at the rates that a drill measured.
#[must_use]
pub fn restore_time(measured: &DrillResult, bytes: u64, entries: u64) -> Duration {
    Duration::from_secs(Rates::of(measured).seconds(bytes, entries))
}

/// What a drill measured.
struct Rates {
    /// What takes the same time whatever the size.
    fixed_milliseconds: u64,
    load_milliseconds: u64,
    bytes: u64,
    replay_milliseconds: u64,
    entries: u64,
}

impl Rates {
    fn of(result: &DrillResult) -> Self {
        let phase = |name: &str| {
            let phases = result.phases.iter().filter(|phase| phase.name == name);
            phases.map(|phase| phase.milliseconds).sum::<u64>()
        };
        let (find, replay) = (phase("find"), phase("replay"));
        Self {
            fixed_milliseconds: find,
            load_milliseconds: result.milliseconds.saturating_sub(find + replay),
            bytes: result.bytes,
            replay_milliseconds: replay,
            entries: result.entries,
        }
    }

    /// Returns how long so much takes. Where a drill replayed nothing, the rate that restores go by.
    fn seconds(&self, bytes: u64, entries: u64) -> u64 {
        let scale = |time: u64, of: u64, to: u64| {
            let scaled = u128::from(time) * u128::from(to) / u128::from(of.max(1));
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        let load = if self.bytes == 0 {
            u64::try_from(restore::estimate(bytes, 0).as_millis()).unwrap_or(u64::MAX)
        } else {
            scale(self.load_milliseconds, self.bytes, bytes)
        };
        let replay = if self.entries == 0 || self.replay_milliseconds == 0 {
            restore::estimate(0, entries).as_secs().saturating_sub(1).saturating_mul(1000)
        } else {
            scale(self.replay_milliseconds, self.entries, entries)
        };
        self.fixed_milliseconds.saturating_add(load).saturating_add(replay).div_ceil(1000)
    }
}

/// Returns the slope of the line that fits best, in seconds for each month.
#[allow(clippy::cast_precision_loss)] // Times and durations of drills are far below 2^52 seconds.
fn trend(history: &[(Timestamp, u64)]) -> Option<f64> {
    let (first, count) = (history.first()?.0, history.len() as f64);
    let points: Vec<(f64, f64)> = history
        .iter()
        .map(|(at, seconds)| (at.duration_since(first).as_secs_f64() / MONTH_SECONDS, *seconds as f64))
        .collect();
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let together: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    // Over a few days only chance would show.
    let weeks = history.last()?.0.duration_since(first) >= SHORTEST_TREND;
    (weeks && spread > 0.0).then(|| together / spread)
}
