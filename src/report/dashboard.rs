//! The dashboard: how things stand now, as the service sees it. It only shows.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::page::{Column, code, page, table, text};
use super::{charts, words};
use crate::compliance::model::Period;
use crate::notify::{Alert, Severity};
use crate::status::{BackupState, DrillStatus, JobStatus, Status, WorkloadStatus};
use crate::units::ByteSize;

/// How far back the recovery window is shown at most.
const SHOWN: SignedDuration = SignedDuration::from_hours(14 * 24);

/// What is shown.
#[derive(Debug, Clone, Copy)]
pub struct Dashboard<'a> {
    /// The configured name of the source.
    pub source: &'a str,
    /// Where the repository lies.
    pub repository: &'a str,
    /// How things stand.
    pub status: &'a Status,
    /// The jobs that run, by name, and since when.
    pub running: &'a [(String, Timestamp)],
}

/// Returns the page of a service that does not lead, or has not read the repository yet.
#[must_use]
pub fn standby(source: &str, is_standby: bool) -> String {
    let state = if is_standby { "stands by" } else { "has not read the repository yet" };
    let content = html! {
        header { h1 { "Regrow: " (source) } }
        main { p { "This service " (state) ". " @if is_standby { "Another one does the work; it takes over when that ends." } } p #freshness role="status" {} }
    };
    page(&format!("Regrow: {source}"), true, &content)
}

/// Returns the page.
#[must_use]
pub fn dashboard(shown: Dashboard<'_>) -> String {
    let Dashboard { source, repository, status, running } = shown;
    let word = if status.ok { "met" } else { "missed" };
    let content = html! {
        header { h1 { "Regrow: " (source) } p.kicker { (repository) } }
        main {
            p #freshness role="status" { "As of " (words::minute(status.taken_at)) "." }
            div class={ "verdict " (word) } { p { (sentence(status)) } }
            (problems(&status.problems))
            (workloads(status))
            (window(status))
            (jobs(&status.jobs, running))
            (backups(&status.backups_kept))
            (drills(&status.drills))
        }
        footer { p { "Regrow " (env!("CARGO_PKG_VERSION")) ". This page refreshes itself; " a href="/" { "reload it" } " where scripts are off. " a href="/api/v1/status" { "The same as JSON" } "." } }
    };
    page(&format!("Regrow: {source}"), true, &content)
}

fn sentence(status: &Status) -> String {
    match status.problems.len() {
        0 => "✓ All is well.".into(),
        1 => "✗ One problem is open.".into(),
        count => format!("✗ {count} problems are open."),
    }
}

fn problems(problems: &[Alert]) -> Markup {
    html! {
        @if !problems.is_empty() {
            section aria-labelledby="problems" {
                h2 id="problems" { "Open problems" }
                @for problem in problems {
                    @let is_critical = problem.severity == Severity::Critical;
                    div class={ "problem" @if is_critical { " critical" } } {
                        h3 { (if is_critical { "Critical: " } else { "Warning: " }) (problem.what) }
                        p { "Since " (words::minute(problem.since)) ". " (words::capital(&problem.meaning)) "." }
                        p { strong { "To do: " } (words::capital(&problem.remedy)) "." }
                    }
                }
            }
        }
    }
}

fn workloads(status: &Status) -> Markup {
    let columns: [Column; 5] = [
        ("Workload", false),
        ("Tier", false),
        ("Could be lost now / allowed", false),
        ("Restore takes / allowed", false),
        ("", false),
    ];
    let row = |workload: &WorkloadStatus| {
        vec![
            text(&workload.name),
            text(&workload.tier),
            against(workload.exposure_seconds, workload.rpo_seconds, "everything"),
            against(workload.predicted_rto_seconds, workload.rto_seconds, "unknown"),
            html! { @if workload.ok { span class="badge met" { "✓ ok" } } @else { span class="badge missed" { "✗ missed" } } },
        ]
    };
    let rows: Vec<_> = status.workloads.iter().map(row).collect();
    html! {
        section aria-labelledby="workloads" {
            h2 id="workloads" { "Objectives" }
            @if rows.is_empty() { p { "No workloads are configured." } } @else { (table("What could be lost in a disaster now, and how long restoring would take.", &columns, &rows)) }
        }
    }
}

/// Returns a value beside what is allowed, in words and as a bar.
fn against(value: Option<u64>, allowed: u64, otherwise: &str) -> Markup {
    let share = value.map_or(100, |value| value.saturating_mul(100).checked_div(allowed).unwrap_or(100).min(100));
    html! {
        (words::span_or(value, otherwise)) " / " (words::span(allowed))
        span.meter aria-hidden="true" { svg viewBox="0 0 100 6" preserveAspectRatio="none" { rect class="phase" x="0" y="0" height="6" width=(share) {} } }
    }
}

fn window(status: &Status) -> Markup {
    let ranges: Vec<Period> = status
        .recovery_window
        .iter()
        .map(|range| Period { begin: range.begin.wall(), end: range.end.wall() })
        .collect();
    let oldest = ranges.iter().map(|range| range.begin).min().unwrap_or(status.taken_at);
    let begin = oldest.max(status.taken_at - SHOWN).min(status.taken_at - SignedDuration::from_mins(10));
    html! {
        section aria-labelledby="window" {
            h2 id="window" { "Recovery window" }
            @if ranges.is_empty() { p { "Nothing can be restored." } } @else {
                figure {
                    (charts::window(&ranges, Period { begin, end: status.taken_at }))
                    figcaption { "Every second within a band can be restored. " "The oldest moment is " (words::minute(oldest)) "; gaps are blank." }
                }
            }
            ul.facts {
                li { span { "Could be lost now" } strong { (words::span_or(status.exposure_seconds, "everything")) } }
                li { span { "Capture is behind by" } strong { (words::span_or(status.capture_lag_seconds, "not captured")) } }
                li { span { "Restoring everything takes" } strong { (words::span_or(status.predicted_rto_seconds, "unknown")) } }
                li { span { "Verified last" } strong { (status.verified_at.map_or_else(|| "never".into(), words::minute)) } }
                li { span { "Stored" } strong { (ByteSize(status.stored_bytes)) } }
            }
        }
    }
}

fn jobs(jobs: &[JobStatus], running: &[(String, Timestamp)]) -> Markup {
    let columns = [("Job", false), ("Last success", false), ("Took", true), ("Next", false), ("", false)];
    let row = |job: &JobStatus| {
        let since = running.iter().find(|(name, _)| name == job.job.as_str()).map(|(_, since)| *since);
        let last = job.last_success.as_ref();
        vec![
            text(words::capital(&job.job.to_string())),
            text(last.map_or_else(|| "never".into(), |run| words::minute(run.finished_at))),
            text(last.map_or_else(String::new, |run| words::span(run.duration().as_secs()))),
            text(job.next_due.map_or_else(|| "never".into(), words::minute)),
            match (since, &job.problem) {
                (Some(since), _) => text(format_args!("runs since {}", words::minute(since))),
                (None, Some(problem)) => html! { span class="badge missed" { "✗ " } (problem) },
                (None, None) => html! {},
            },
        ]
    };
    let rows: Vec<_> = jobs.iter().map(row).collect();
    html! {
        section aria-labelledby="jobs" {
            h2 id="jobs" { "Jobs" }
            @if rows.is_empty() { p { "Nothing is scheduled." } } @else { (table("Scheduled jobs, their last success and their next run.", &columns, &rows)) }
        }
    }
}

fn backups(backups: &[BackupState]) -> Markup {
    let columns = [("Backup", false), ("Finished", false), ("Data", true), ("Stored", true), ("State", false)];
    let row = |backup: &BackupState| {
        let verified = backup.verified_at.map(|at| format!("verified {}", words::day(at)));
        let drilled = backup.drilled_at.map(|at| format!("drilled {}", words::day(at)));
        let words_of = [verified, drilled].into_iter().flatten().collect::<Vec<_>>().join(", ");
        vec![
            code(&backup.id),
            text(words::minute(backup.finished_at)),
            text(ByteSize(backup.bytes_raw)),
            text(ByteSize(backup.bytes_stored)),
            html! { @if backup.damaged { span class="badge missed" { "✗ damaged" } } @else if words_of.is_empty() { "not verified yet" } @else { (words_of) } },
        ]
    };
    let rows: Vec<_> = backups.iter().take(30).map(row).collect();
    html! {
        section aria-labelledby="backups" {
            h2 id="backups" { "Backups" }
            @if rows.is_empty() { p { "There is none." } } @else { (table("The newest backups.", &columns, &rows)) }
        }
    }
}

fn drills(drills: &[DrillStatus]) -> Markup {
    let columns = [("Drill", false), ("Result", false), ("Backup", false), ("Data", true), ("Took", true)];
    let row = |drill: &DrillStatus| {
        vec![
            text(words::minute(drill.finished_at)),
            html! { @if drill.passed { span class="badge met" { "✓ passed" } } @else { span class="badge missed" { "✗ not passed" } } },
            code(&drill.backup),
            text(ByteSize(drill.bytes)),
            text(words::span(drill.seconds)),
        ]
    };
    let rows: Vec<_> = drills.iter().take(12).map(row).collect();
    html! {
        section aria-labelledby="drills" {
            h2 id="drills" { "Drills" }
            @if rows.is_empty() { p { "No drill was carried out yet." } } @else { (table("Recent drills, the newest first.", &columns, &rows)) }
        }
    }
}
