//! What is said, in words: the same in every format.

use std::time::Duration;

use jiff::Timestamp;

use crate::compliance::model::{Compliance, Period, Rpo, RunOutcome, Verdict, Workload};
use crate::units::Elapsed;
pub(super) use crate::units::counted;

/// Returns a number of seconds for people.
pub(super) fn span(seconds: u64) -> String {
    Elapsed(Duration::from_secs(seconds)).to_string()
}

/// Returns a number of seconds that may not be known; `otherwise` says what that means.
pub(super) fn span_or(seconds: Option<u64>, otherwise: &str) -> String {
    seconds.map_or_else(|| otherwise.to_owned(), span)
}

/// Returns words with a capital letter in front.
pub(super) fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Returns a moment to the minute.
pub(super) fn minute(at: Timestamp) -> String {
    at.strftime("%-d %b %Y, %H:%M UTC").to_string()
}

/// Returns a day.
pub(super) fn day(at: Timestamp) -> String {
    at.strftime("%-d %b %Y").to_string()
}

/// Returns a period; a whole month by its name.
pub(super) fn period(period: Period) -> String {
    let is_first = |at: Timestamp| at.strftime("%d %H:%M:%S").to_string() == "01 00:00:00";
    let days = period.end.duration_since(period.begin).as_hours() / 24;
    if is_first(period.begin) && is_first(period.end) && days < 32 {
        return period.begin.strftime("%B %Y").to_string();
    }
    let last = period.end.checked_sub(Duration::from_secs(1)).unwrap_or(period.end);
    format!("{} to {}", day(period.begin), day(last))
}

/// Returns a share as percent; what is short of all of it is never shown as all.
pub(super) fn percent(share: Option<f64>) -> String {
    match share {
        None => "unknown".into(),
        Some(share) if share >= 1.0 => "100 %".into(),
        Some(share) => format!("{:.2} %", (share * 10_000.0).floor() / 100.0),
    }
}

/// Returns the word for a verdict, with a sign that can be told without colour.
pub(super) fn verdict(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Met => ("✓", "met"),
        Verdict::Unknown => ("?", "unknown"),
        Verdict::Missed => ("✗", "missed"),
    }
}

/// Returns the sign and the word for what became of a run.
pub(super) fn outcome(outcome: RunOutcome) -> (&'static str, &'static str) {
    match outcome {
        RunOutcome::Done => ("●", "done"),
        RunOutcome::Late => ("◐", "late"),
        RunOutcome::Failed => ("✗", "failed"),
        RunOutcome::Missed => ("○", "missed"),
        RunOutcome::Pending => ("…", "pending"),
        RunOutcome::Unknown => ("?", "unknown"),
    }
}

/// Returns the whole verdict in a sentence or two.
pub(super) fn summary(compliance: &Compliance) -> String {
    if compliance.workloads.is_empty() {
        return "No objective was in force: whether this was good enough cannot be said.".into();
    }
    let missed: Vec<String> = compliance.workloads.iter().filter_map(what_was_missed).collect();
    let others = others(compliance);
    match compliance.verdict {
        Verdict::Met => "All objectives were met, and the records show it.".into(),
        _ if !missed.is_empty() => format!("Objectives were missed: {}.", missed.join("; ")),
        Verdict::Missed => format!(
            "Recovery objectives were not missed, but not everything was as it has to be: {}.",
            others.join(", ")
        ),
        Verdict::Unknown => {
            let unknown = compliance.workloads.iter().filter(|workload| workload.verdict == Verdict::Unknown);
            let mut doubts: Vec<String> = unknown.map(what_is_unknown).collect();
            doubts.extend(others);
            if doubts.is_empty() {
                doubts.push("records were altered".into());
            }
            format!("No objective is known to have been missed; not everything can be judged: {}.", doubts.join("; "))
        }
    }
}

fn what_was_missed(workload: &Workload) -> Option<String> {
    let mut missed = Vec::new();
    if workload.rpo.verdict == Verdict::Missed {
        let allowed = span(workload.rpo.objective_seconds);
        missed.push(match workload.rpo.maximum_seconds {
            Some(most) => format!(
                "up to {} of {} would have been lost in a disaster, {allowed} are allowed",
                span(most),
                workload.name
            ),
            None => format!("{} could not have been restored at times", workload.name),
        });
    }
    if workload.rto.verdict == Verdict::Missed {
        let longest = workload.rto.measured_seconds.max(workload.rto.predicted_seconds);
        missed.push(match longest.filter(|longest| *longest > workload.rto.objective_seconds) {
            Some(longest) => format!(
                "restoring {} takes {}, {} are allowed",
                workload.name,
                span(longest),
                span(workload.rto.objective_seconds)
            ),
            None => format!(
                "that {} restores is not proved: the newest drill did not pass, or a restore took too long",
                workload.name
            ),
        });
    }
    (!missed.is_empty()).then(|| missed.join(", and "))
}

fn what_is_unknown(workload: &Workload) -> String {
    match (workload.rpo.verdict, workload.rto.verdict) {
        (Verdict::Unknown, Verdict::Unknown) => {
            format!("neither the exposure nor the restore time of {} is known", workload.name)
        }
        (Verdict::Unknown, _) => format!("the exposure of {} is not known for all of the time", workload.name),
        _ => format!("no recent drill shows how long restoring {} takes", workload.name),
    }
}

fn others(compliance: &Compliance) -> Vec<String> {
    let worst = compliance.schedules.iter().map(|schedule| schedule.verdict).max().unwrap_or(Verdict::Met);
    let areas = [
        ("scheduled runs", worst),
        ("verification", compliance.verification.verdict),
        ("retention", compliance.retention.verdict),
        ("encryption", compliance.encryption.verdict),
    ];
    let areas = areas.into_iter().filter(|(_, found)| *found != Verdict::Met);
    areas.map(|(area, found)| format!("{area} {}", verdict(found).1)).collect()
}

/// Returns the largest exposure in words.
pub(super) fn maximum(rpo: &Rpo) -> String {
    if rpo.judged_seconds == 0 {
        return "unknown".into();
    }
    span_or(rpo.maximum_seconds, "everything")
}

/// Returns the exposure that was hardly ever exceeded, in words.
pub(super) fn p95(rpo: &Rpo) -> String {
    if rpo.judged_seconds == 0 {
        return "unknown".into();
    }
    span_or(rpo.p95_seconds, "everything")
}

/// Returns how the restore time develops.
pub(super) fn trend(seconds_per_month: Option<f64>) -> String {
    match seconds_per_month {
        None => "unknown: too few drills".into(),
        Some(change) if change.abs() < 1.0 => "steady".into(),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Rounded, and not negative.
        Some(change) => {
            let word = if change > 0.0 { "longer" } else { "shorter" };
            format!("{} {word} each month", span(change.abs().round() as u64))
        }
    }
}
