//! How much would have been lost in a disaster, second by second, and how that compares with how much may be.

use jiff::Timestamp;

use super::model::{Breach, Exposure, ExposureLine, Period, Rpo, Verdict};
use super::objectives::InForce;
use super::reach::{Reach, ceiling};
use crate::format::evidence::WorkloadRecord;

/// How many lines a chart gets.
const LINES: usize = 600;

/// A stretch of seconds in which nothing changed: at its second `s`, `s - newest` would have been lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// The first second.
    begin: i64,
    /// The first one behind it.
    end: i64,
    /// The newest second that could be restored, by what is known.
    surely: Option<i64>,
    /// The same if everything had been there of which nothing is known.
    at_best: Option<i64>,
}

/// How much would have been lost, over a period.
pub(super) struct Course(Vec<Piece>);

impl Course {
    /// Makes it of what could be restored by what is known, and at best.
    pub(super) fn of(surely: &Reach, at_best: &Reach, period: Period) -> Self {
        let (begin, end) = (ceiling(period.begin), ceiling(period.end));
        let steps = surely.steps.iter().chain(&at_best.steps).map(|(second, _)| *second);
        let mut borders: Vec<i64> = steps.filter(|second| *second > begin && *second < end).collect();
        borders.extend([begin, end]);
        borders.sort_unstable();
        borders.dedup();
        let piece = |pair: &[i64]| {
            let (begin, end) = (pair[0], pair[1]);
            Piece { begin, end, surely: newest(surely, begin), at_best: newest(at_best, begin) }
        };
        Self(borders.windows(2).map(piece).collect())
    }

    /// Returns it as lines.
    pub(super) fn exposure(&self) -> Exposure {
        let group = self.0.len().div_ceil(LINES).max(1);
        Exposure { lines: self.0.chunks(group).filter_map(line).collect() }
    }

    /// Holds it against an objective, for as long as that was in force. Causes of breaches are left empty.
    pub(super) fn judge(&self, workload: &InForce<WorkloadRecord>) -> Rpo {
        let mut tally = Tally::default();
        for (period, workload) in &workload.stretches {
            let (begin, end) = (ceiling(period.begin), ceiling(period.end));
            let objective = signed(workload.rpo_seconds);
            for piece in self.0.iter().filter_map(|piece| piece.within(begin, end)) {
                tally.take(piece, objective);
            }
        }
        tally.rpo(workload.what.rpo_seconds, self.0.last().map(|piece| piece.end))
    }
}

fn newest(reach: &Reach, at: i64) -> Option<i64> {
    let known = reach.steps.partition_point(|(second, _)| *second <= at);
    reach.steps[..known].last().and_then(|(_, newest)| *newest)
}

fn line(pieces: &[Piece]) -> Option<ExposureLine> {
    let (first, last) = (pieces.first()?, pieces.last()?);
    let worst = |exposure: fn(&Piece) -> Option<u64>| {
        let all: Option<Vec<u64>> = pieces.iter().map(exposure).collect();
        all.and_then(|all| all.into_iter().max())
    };
    Some(ExposureLine {
        begin: time(first.begin),
        end: time(last.end),
        begin_seconds: worst(|piece| piece.surely.map(|newest| unsigned(piece.begin - newest))),
        end_seconds: worst(|piece| piece.surely.map(|newest| unsigned(piece.end - newest))),
        known: pieces.iter().all(|piece| piece.surely == piece.at_best),
    })
}

impl Piece {
    fn within(&self, begin: i64, end: i64) -> Option<Self> {
        let (begin, end) = (self.begin.max(begin), self.end.min(end));
        (begin < end).then_some(Self { begin, end, ..*self })
    }
}

/// What has been counted.
#[derive(Default)]
struct Tally {
    /// Runs of judged seconds: the exposure at the first one, and how many there are. None: nothing could be restored.
    runs: Vec<(Option<i64>, i64)>,
    within: i64,
    unknown: i64,
    breaches: Vec<(i64, i64, Option<i64>)>,
}

impl Tally {
    fn take(&mut self, piece: Piece, objective: i64) {
        let exceeded = |newest: Option<i64>| newest.map_or(piece.begin, |newest| newest.saturating_add(objective + 1));
        let sure_until = exceeded(piece.surely).clamp(piece.begin, piece.end);
        let doubtful_until = exceeded(piece.at_best).clamp(sure_until, piece.end);
        self.count(piece.begin, sure_until, piece.surely);
        self.within += sure_until - piece.begin;
        self.unknown += doubtful_until - sure_until;
        self.count(doubtful_until, piece.end, piece.at_best);
        if doubtful_until < piece.end {
            let worst = piece.at_best.map(|newest| piece.end - 1 - newest);
            match self.breaches.last_mut().filter(|(_, end, _)| *end == doubtful_until) {
                Some((_, end, known)) => {
                    *end = piece.end;
                    *known = known.zip(worst).map(|(known, worst)| known.max(worst));
                }
                None => self.breaches.push((doubtful_until, piece.end, worst)),
            }
        }
    }

    fn count(&mut self, begin: i64, end: i64, newest: Option<i64>) {
        if begin < end {
            self.runs.push((newest.map(|newest| begin - newest), end - begin));
        }
    }

    fn rpo(self, objective_seconds: u64, until: Option<i64>) -> Rpo {
        let judged: i64 = self.runs.iter().map(|(_, seconds)| seconds).sum();
        let largest = |(first, seconds): &(Option<i64>, i64)| first.map(|first| first + seconds - 1);
        let largest: Option<Vec<i64>> = self.runs.iter().map(largest).collect();
        let breaches = self.breaches.iter().map(|(begin, end, worst)| Breach {
            begin: time(*begin),
            end: (until != Some(*end)).then(|| time(*end)),
            worst_seconds: worst.map(unsigned),
            cause: String::new(),
            evidence: Vec::new(),
        });
        let breaches: Vec<Breach> = breaches.collect();
        let verdict = match (breaches.is_empty(), self.unknown > 0 || judged == 0) {
            (false, _) => Verdict::Missed,
            (true, true) => Verdict::Unknown,
            (true, false) => Verdict::Met,
        };
        Rpo {
            objective_seconds,
            verdict,
            judged_seconds: unsigned(judged),
            unknown_seconds: unsigned(self.unknown),
            maximum_seconds: largest.and_then(|all| all.into_iter().max()).map(unsigned),
            p95_seconds: percentile(&self.runs, judged),
            within_share: share(self.within, judged),
            breaches,
        }
    }
}

/// Returns the smallest exposure that at least 95 % of the seconds do not exceed; none where there is none.
fn percentile(runs: &[(Option<i64>, i64)], judged: i64) -> Option<u64> {
    let wanted = (judged * 95 + 99) / 100;
    let not_above = |limit: i64| -> i64 {
        let counted = |(first, seconds): &(Option<i64>, i64)| first.map(|first| (limit - first + 1).clamp(0, *seconds));
        runs.iter().filter_map(counted).sum()
    };
    let finite = runs.iter().filter_map(|(first, seconds)| first.map(|first| (first, first + seconds - 1)));
    let (mut low, mut high) = finite.reduce(|(low, high), (first, last)| (low.min(first), high.max(last)))?;
    if judged == 0 || not_above(high) < wanted {
        return None;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if not_above(middle) >= wanted { high = middle } else { low = middle + 1 }
    }
    Some(unsigned(low))
}

#[allow(clippy::cast_precision_loss)] // A period has far fewer seconds than an f64 has bits for.
fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn signed(seconds: u64) -> i64 {
    // Longer than any history, and far from an overflow.
    i64::try_from(seconds).unwrap_or(i64::MAX).min(1 << 40)
}

/// Returns a number of seconds that is not negative; a clock that was ahead makes it so, and nothing would have been lost.
fn unsigned(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or_default()
}
