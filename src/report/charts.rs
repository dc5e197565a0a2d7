//! Charts as SVG inside the page. Each says in words what it shows; a table beside it has the figures.

use jiff::Timestamp;
use maud::{Markup, html};

use super::words;
use crate::compliance::model::{Breach, Compliance, Drill, ExposureLine, Period};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;

/// The exposure chart: its height, and where its axes are.
const TOP: f64 = 14.0;
const BOTTOM: f64 = 226.0;
const HEIGHT: f64 = 256.0;

/// The smallest exposure that the scale tells apart, in seconds.
const SMALLEST: f64 = 10.0;

/// The heights of a drill in its chart: of its bar, of each phase, and between two drills.
const BAR: f64 = 16.0;
const PHASE: f64 = 11.0;
const GAP: f64 = 14.0;

/// Marks of the scale of exposure, in seconds.
const MARKS: [u32; 6] = [60, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600];

/// Returns where a moment is, from left to right.
fn x(at: Timestamp, period: Period) -> f64 {
    let whole = period.end.duration_since(period.begin).as_secs_f64().max(1.0);
    let part = at.duration_since(period.begin).as_secs_f64() / whole;
    LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
}

/// A scale from the smallest exposure to the largest, by their logarithms.
struct Scale {
    largest: f64,
}

impl Scale {
    fn y(&self, seconds: f64) -> f64 {
        let part = (seconds.max(SMALLEST) / SMALLEST).ln() / (self.largest / SMALLEST).ln();
        BOTTOM - part.clamp(0.0, 1.0) * (BOTTOM - TOP)
    }
}

#[allow(clippy::cast_precision_loss)] // Pixels.
fn number(seconds: u64) -> f64 {
    seconds as f64
}

fn px(value: f64) -> String {
    format!("{value:.1}")
}

/// Returns the exposure over a period against the objectives.
pub(super) fn exposure(compliance: &Compliance) -> Markup {
    let period = Period { begin: compliance.period.begin, end: compliance.until.max(compliance.period.begin) };
    let lines = &compliance.exposure.lines;
    let largest = lines.iter().filter_map(|line| line.end_seconds).max().unwrap_or(0);
    let mut limits: Vec<(u64, String)> = Vec::new();
    for workload in &compliance.workloads {
        let seconds = workload.rpo.objective_seconds;
        match limits.iter_mut().find(|(known, _)| *known == seconds) {
            Some((_, names)) => *names = format!("{names}, {}", workload.name),
            None => limits.push((seconds, format!("RPO {}: {}", words::span(seconds), workload.name))),
        }
    }
    let most = limits.iter().map(|(seconds, _)| *seconds).max().unwrap_or(0).max(largest).max(3600);
    let scale = Scale { largest: number(most) * 1.4 };
    let breaches = breaches(compliance);
    html! {
        figure {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-labelledby="exposure-title exposure-text" {
                title id="exposure-title" { "Exposure over time" }
                desc id="exposure-text" {
                    "How much would have been lost in a disaster, at every moment of the period, on a logarithmic scale. The largest was "
                    (words::span(largest)) ". " (breaches.len()) " stretches exceeded an objective; the table of breaches names them."
                }
                defs {
                    pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" { line class="hatch" x1="0" y1="0" x2="0" y2="7" {} }
                    pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse" { circle class="dots" cx="2" cy="2" r="1.2" {} }
                }
                @for mark in MARKS.into_iter().filter(|mark| f64::from(*mark) < scale.largest) {
                    line class="grid" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(px(scale.y(f64::from(mark)))) y2=(px(scale.y(f64::from(mark)))) {}
                    text x=(LEFT - 6.0) y=(px(scale.y(f64::from(mark)) + 4.0)) text-anchor="end" { (words::span(u64::from(mark))) }
                }
                @for (begin, end) in unknown(lines) {
                    rect fill="url(#dots)" x=(px(x(begin, period))) y=(TOP) width=(px((x(end, period) - x(begin, period)).max(2.0))) height=(BOTTOM - TOP) {}
                }
                path class="exposure" d=(outline(lines, period, &scale)) {}
                @for (number, breach) in breaches.iter().enumerate() {
                    @let (from, to) = (x(breach.begin, period), x(breach.end.unwrap_or(period.end), period));
                    rect class="breach" fill="url(#hatch)" x=(px(from)) y=(TOP) width=(px((to - from).max(3.0))) height=(BOTTOM - TOP) {}
                    text class="strong" x=(px(f64::midpoint(from, to))) y=(TOP - 3.0) text-anchor="middle" { "B" (number + 1) }
                }
                @for (seconds, name) in &limits {
                    @let y = scale.y(number(*seconds));
                    line class="limit" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(px(y)) y2=(px(y)) {}
                    text class="strong" x=(WIDTH - RIGHT - 4.0) y=(px(y - 4.0)) text-anchor="end" { (name) }
                }
                (axis(period))
            }
            figcaption { "Filled: what would have been lost (logarithmic scale). Dashed: the objectives. Hatched: breaches. Dotted: not known." }
        }
    }
}

/// Returns each breach once: of the workload whose objective was exceeded for longest.
pub(super) fn breaches(compliance: &Compliance) -> Vec<&Breach> {
    let all = compliance.workloads.iter().flat_map(|workload| &workload.rpo.breaches);
    let mut found: Vec<&Breach> = Vec::new();
    for breach in all {
        let overlaps = |other: &&Breach| {
            let ends_behind = |breach: &Breach, at: Timestamp| breach.end.is_none_or(|end| end > at);
            ends_behind(other, breach.begin) && ends_behind(breach, other.begin)
        };
        if !found.iter().any(overlaps) {
            found.push(breach);
        }
    }
    found.sort_by_key(|breach| breach.begin);
    found
}

fn unknown(lines: &[ExposureLine]) -> Vec<(Timestamp, Timestamp)> {
    let runs = lines.chunk_by(|a, b| a.known == b.known).filter(|run| run.iter().any(|line| !line.known));
    runs.filter_map(|run| Some((run.first()?.begin, run.last()?.end))).collect()
}

/// Returns the outline of what would have been lost; where that is everything, as high as the chart.
fn outline(lines: &[ExposureLine], period: Period, scale: &Scale) -> String {
    let Some((first, last)) = lines.first().zip(lines.last()) else { return String::new() };
    let y = |seconds: Option<u64>| px(seconds.map_or(TOP, |seconds| scale.y(number(seconds))));
    let mut points = vec![format!("M{} {}", px(x(first.begin, period)), px(BOTTOM))];
    for line in lines {
        points.push(format!("L{} {}", px(x(line.begin, period)), y(line.begin_seconds)));
        points.push(format!("L{} {}", px(x(line.end, period)), y(line.end_seconds)));
    }
    points.push(format!("L{} {}Z", px(x(last.end, period)), px(BOTTOM)));
    points.concat()
}

/// Returns the axis of time, with about eight marks at whole days.
fn axis(period: Period) -> Markup {
    let days = (period.end.duration_since(period.begin).as_hours() / 24).max(1);
    let step = (days / 8).max(1);
    let first = period.begin.as_second().div_euclid(86_400) + 1;
    let marks = (0..=days / step).filter_map(|number| Timestamp::from_second((first + number * step) * 86_400).ok());
    html! {
        line class="grid" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(BOTTOM) y2=(BOTTOM) {}
        @for at in marks.filter(|at| *at < period.end) {
            line class="grid" x1=(px(x(at, period))) x2=(px(x(at, period))) y1=(BOTTOM) y2=(BOTTOM + 5.0) {}
            text x=(px(x(at, period))) y=(BOTTOM + 19.0) text-anchor="middle" { (at.strftime("%-d %b")) }
        }
    }
}

/// Returns how long drills took, in all and by phase, against the objectives.
pub(super) fn drills(drills: &[Drill], objectives: &[(String, u64)]) -> Markup {
    let shown: Vec<&Drill> = drills.iter().rev().take(12).rev().collect();
    let longest = shown.iter().map(|drill| drill.seconds).max().unwrap_or(0);
    let tightest = objectives.iter().min_by_key(|(_, seconds)| *seconds);
    let most = number(longest.max(tightest.map_or(0, |(_, seconds)| *seconds)).max(1)) * 1.08;
    let left = 190.0;
    let wide = |seconds: f64| seconds / most * (WIDTH - left - RIGHT);
    let height = |drill: &Drill| BAR + number(drill.phases.len() as u64) * (PHASE + 2.0) + GAP;
    let total: f64 = shown.iter().map(|drill| height(drill)).sum();
    let tops: Vec<f64> = shown
        .iter()
        .scan(18.0, |top, drill| {
            let now = *top;
            *top += height(drill);
            Some(now)
        })
        .collect();
    html! {
        figure {
            svg viewBox=(format!("0 0 {WIDTH} {:.0}", total + 24.0)) role="img" aria-labelledby="drills-title drills-text" {
                title id="drills-title" { "Duration of drills" }
                desc id="drills-text" {
                    "For each drill one bar for all of it and thinner ones for its phases, which overlap. "
                    @for drill in &shown { (words::day(drill.finished_at)) ": " (words::span(drill.seconds)) ". " }
                }
                @for (drill, top) in shown.iter().zip(&tops) {
                    text class="strong" x="0" y=(px(top + 12.0)) { (words::day(drill.finished_at)) }
                    text x=(left - 8.0) y=(px(top + 12.0)) text-anchor="end" { (words::span(drill.seconds)) @if !drill.passed { " – not passed" } }
                    rect class={ "bar" @if !drill.passed { " failed" } } x=(left) y=(px(*top)) width=(px(wide(number(drill.seconds)).max(1.0))) height=(BAR) {}
                    @for (number_of, phase) in drill.phases.iter().enumerate() {
                        @let y = top + BAR + 2.0 + number(number_of as u64) * (PHASE + 2.0);
                        rect class="phase" x=(left) y=(px(y)) width=(px(wide(number(phase.milliseconds) / 1000.0).max(0.8))) height=(PHASE) {}
                        text.small x=(left - 8.0) y=(px(y + PHASE - 1.5)) text-anchor="end" { (phase.name) }
                    }
                }
                @if let Some((name, seconds)) = tightest {
                    @let at = left + wide(number(*seconds));
                    line class="limit" x1=(px(at)) x2=(px(at)) y1="12" y2=(px(total + 16.0)) {}
                    text class="strong" x=(px(at - 4.0)) y="10" text-anchor="end" { "RTO " (words::span(*seconds)) ": " (name) }
                }
            }
            figcaption { "Wide bars: all of a drill, from looking for the backup to the last check. Thin bars: its phases, which overlap. Dashed: the tightest objective." }
        }
    }
}

/// Returns the moments that can be restored, as a band with gaps.
pub(super) fn window(ranges: &[Period], shown: Period) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {WIDTH} 54")) role="img" aria-labelledby="window-title" {
            title id="window-title" {
                "Moments that can be restored: "
                @for range in ranges { (words::minute(range.begin)) " to " (words::minute(range.end)) "; " }
            }
            rect fill="none" class="grid" x=(LEFT) y="4" width=(WIDTH - LEFT - RIGHT) height="20" {}
            @for range in ranges.iter().filter(|range| range.end >= shown.begin) {
                @let (from, to) = (x(range.begin, shown), x(range.end, shown));
                rect class="window" x=(px(from)) y="4" width=(px((to - from).max(2.0))) height="20" {}
            }
            text x=(LEFT) y="42" { (words::minute(shown.begin)) }
            text x=(WIDTH - RIGHT) y="42" text-anchor="end" { (words::minute(shown.end)) }
        }
    }
}
