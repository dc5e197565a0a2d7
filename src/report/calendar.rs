//! The calendar of runs: for each job and month a row of days.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::words;
use crate::compliance::model::{RunOutcome, Schedule};

/// Returns the days on which a job was due, and the worst that became of it on each.
pub(super) fn calendar(schedule: &Schedule) -> Markup {
    let mut days: BTreeMap<(i16, i8), BTreeMap<i8, (RunOutcome, usize)>> = BTreeMap::new();
    for run in &schedule.runs {
        let date: Date = TimeZone::UTC.to_datetime(run.due).date();
        let day = days.entry((date.year(), date.month())).or_default().entry(date.day()).or_insert((run.outcome, 0));
        *day = (day.0.max(run.outcome), day.1 + 1);
    }
    html! {
        @for ((year, month), days) in &days {
            ul.calendar {
                li.name { (name(*year, *month)) }
                @for number in 1..=31_i8 {
                    @match days.get(&number) {
                        None => li { span aria-hidden="true" { "·" } }
                        Some((outcome, times)) => (cell(number, *outcome, *times))
                    }
                }
            }
        }
        @if days.is_empty() { p { "It was not due in this period." } }
    }
}

fn cell(day: i8, outcome: RunOutcome, times: usize) -> Markup {
    let (sign, word) = words::outcome(outcome);
    let said =
        if times == 1 { format!("day {day}: {word}") } else { format!("day {day}: {times} runs, the worst {word}") };
    html! { li class=(word) title=(said) { span aria-hidden="true" { (sign) } span.hidden { (said) } } }
}

fn name(year: i16, month: i8) -> String {
    Date::new(year, month, 1).map_or_else(|_| String::new(), |date| date.strftime("%b %Y").to_string())
}

/// Returns what the signs mean.
pub(super) fn legend() -> Markup {
    use RunOutcome::{Done, Failed, Late, Missed, Pending, Unknown};
    let all = [Done, Late, Failed, Missed, Pending, Unknown].map(words::outcome);
    html! { p { @for (sign, word) in all { span aria-hidden="true" { (sign) } " " (word) "   " } "· not due" } }
}
