//! The first page: for those who read only one.

use maud::{Markup, html};

use super::page::{badge, table, text};
use super::words;
use crate::compliance::model::{Compliance, Exception, Workload};

/// How many exceptions it names.
const EXCEPTIONS: usize = 5;

pub(super) fn front(compliance: &Compliance) -> Markup {
    let (_, word) = words::verdict(compliance.verdict);
    html! {
        div.front {
            div class={ "verdict " (word) } { (badge(compliance.verdict)) p { (words::summary(compliance)) } }
            section aria-labelledby="objectives" {
                h2 id="objectives" { "Objectives and results" }
                (objectives(compliance))
                (trend(compliance))
            }
            section aria-labelledby="short-exceptions" {
                h2 id="short-exceptions" { "Exceptions" }
                (short(&compliance.exceptions))
            }
        }
    }
}

fn objectives(compliance: &Compliance) -> Markup {
    let columns = [
        ("Workload", false),
        ("Verdict", false),
        ("RPO", true),
        ("Largest", true),
        ("95 % below", true),
        ("Within", true),
        ("RTO", true),
        ("Measured", true),
        ("Predicted", true),
    ];
    let row = |workload: &Workload| {
        let (rpo, rto) = (&workload.rpo, &workload.rto);
        vec![
            html! { (workload.name) br; small { (workload.tier) } },
            badge(workload.verdict),
            text(words::span(rpo.objective_seconds)),
            text(words::maximum(rpo)),
            text(words::p95(rpo)),
            text(words::percent(rpo.within_share)),
            text(words::span(rto.objective_seconds)),
            text(words::span_or(rto.measured_seconds, "no drill")),
            text(words::span_or(rto.predicted_seconds, "unknown")),
        ]
    };
    let rows: Vec<_> = compliance.workloads.iter().map(row).collect();
    html! {
        @if rows.is_empty() { p { "No objectives are recorded for this period." } }
        @else { (table("RPO: how much may be lost in a disaster, against the largest exposure, the one that was not exceeded for 95 % of the time, and the share of time within. RTO: how long restoring may take, against the newest drill, and what is predicted from it.", &columns, &rows)) }
    }
}

fn trend(compliance: &Compliance) -> Markup {
    let drills = compliance.recovery.history.len();
    let scheduled: usize = compliance.schedules.iter().map(|schedule| schedule.runs.len()).sum();
    let kept = |run: &crate::compliance::model::ScheduledRun| run.outcome <= crate::compliance::model::RunOutcome::Late;
    let done: usize = compliance.schedules.iter().flat_map(|schedule| &schedule.runs).filter(|run| kept(run)).count();
    html! {
        ul.facts {
            li { span { "Restore time, trend" } strong { (words::trend(compliance.recovery.trend_seconds_per_month)) } }
            li { span { "Drills passed in a year" } strong { (drills) } }
            li { span { "Scheduled runs done" } strong { (done) " of " (scheduled) } }
            li { span { "Verified within 35 days" } strong { (words::percent(compliance.verification.covered_share)) } }
        }
    }
}

fn short(exceptions: &[Exception]) -> Markup {
    if exceptions.is_empty() {
        return html! { p { "There were none." } };
    }
    // What lasts longest to be known comes first: what is still open.
    let mut ordered: Vec<&Exception> = exceptions.iter().collect();
    ordered.sort_by_key(|exception| (exception.end.is_some(), std::cmp::Reverse(exception.begin)));
    html! {
        ul.exceptions { @for exception in ordered.iter().take(EXCEPTIONS) { (entry(exception)) } }
        @if exceptions.len() > EXCEPTIONS { p { "and " (exceptions.len() - EXCEPTIONS) " more, below." } }
    }
}

/// Returns an exception as an entry of a list.
pub(super) fn entry(exception: &Exception) -> Markup {
    html! {
        li {
            strong { (words::capital(&exception.what)) } " – " (words::minute(exception.begin)) " "
            @match exception.end { Some(end) => { "to " (words::minute(end)) } None => { "and still open" } }
            small { "Cause: " (exception.cause) }
            small { "Done: " (exception.done.as_deref().unwrap_or("nothing is recorded")) }
        }
    }
}
