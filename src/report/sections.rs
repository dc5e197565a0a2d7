//! The facts behind the first page.

use maud::{Markup, html};

use super::page::{badge, code, table, text};
use super::{calendar, charts, words};
use crate::compliance::model::{Backup, Breach, Compliance, Drill, Period, Restore, VerificationRun};
use crate::format::evidence::{CheckOutcome, RetentionRecord};
use crate::units::ByteSize;

pub(super) fn exposure(compliance: &Compliance) -> Markup {
    let columns = [
        ("Breach", false),
        ("Begin", false),
        ("End", false),
        ("Largest exposure", true),
        ("Cause", false),
        ("Records", false),
    ];
    let row = |(number, breach): (usize, &&Breach)| {
        vec![
            text(format_args!("B{}", number + 1)),
            text(words::minute(breach.begin)),
            text(breach.end.map_or_else(|| "not ended".into(), words::minute)),
            text(words::span_or(breach.worst_seconds, "everything")),
            text(&breach.cause),
            html! { @for id in &breach.evidence { (code(id)) " " } },
        ]
    };
    let breaches = charts::breaches(compliance);
    let rows: Vec<_> = breaches.iter().enumerate().map(row).collect();
    html! {
        section aria-labelledby="exposure" {
            h2 id="exposure" { "Exposure over time" }
            p { "How much would have been lost if everything but the repository had been lost at that moment. It rises by a second each second, and falls when a backup or a slice of the oplog is stored." }
            (charts::exposure(compliance))
            @if rows.is_empty() { p { "No objective was exceeded." } } @else { (table("Stretches in which an objective was exceeded.", &columns, &rows)) }
        }
    }
}

pub(super) fn schedules(compliance: &Compliance) -> Markup {
    html! {
        section aria-labelledby="schedules" {
            h2 id="schedules" { "Scheduled runs" }
            @if compliance.schedules.is_empty() { p { "No schedules are recorded." } } @else { (calendar::legend()) }
            @for schedule in &compliance.schedules {
                h3 { (words::capital(&schedule.job.to_string())) " " (badge(schedule.verdict)) }
                p { (code(&schedule.cron)) " by the clock of " (schedule.timezone) }
                (calendar::calendar(schedule))
            }
        }
    }
}

pub(super) fn recovery(compliance: &Compliance) -> Markup {
    let objectives: Vec<(String, u64)> =
        compliance.workloads.iter().map(|workload| (workload.name.clone(), workload.rto.objective_seconds)).collect();
    html! {
        section aria-labelledby="drills" {
            h2 id="drills" { "Drills and restores" }
            p { "A drill restores a backup for real into scratch databases, compares every document with what was backed up, and removes it again." }
            @if let Some(predicted) = &compliance.recovery.predicted {
                p { "At the end of the period restoring everything would have taken about " strong { (words::span(predicted.seconds)) } ": " (ByteSize(predicted.bytes)) " of documents and " (words::counted(predicted.slices, "slice")) " of oplog, at the rates that drill " (code(&predicted.drill)) " measured." }
            } @else { p { "How long restoring takes is unknown: no drill has passed." } }
            @if compliance.drills.is_empty() { p { "There was no drill in this period." } } @else { (charts::drills(&compliance.drills, &objectives)) (drills(&compliance.drills)) }
            @if !compliance.restores.is_empty() { (restores(&compliance.restores)) }
        }
    }
}

fn drills(drills: &[Drill]) -> Markup {
    let columns =
        [("Drill", false), ("Result", false), ("Backup, and the state of", false), ("Took", false), ("Checks", false)];
    let row = |drill: &Drill| {
        let phases =
            drill.phases.iter().map(|phase| format!("{} {}", phase.name, words::span(phase.milliseconds / 1000)));
        vec![
            html! { (words::minute(drill.finished_at)) br; (code(&drill.evidence)) },
            html! {
                @if drill.passed { span class="badge met" { "✓ passed" } }
                @else { span class="badge missed" { "✗ not passed" } }
            },
            html! {
                (code(&drill.backup)) br;
                (drill.recovered_to.map_or_else(|| "no single moment".into(), |at| words::minute(at.wall())))
            },
            html! {
                (words::span(drill.seconds)) " for " (ByteSize(drill.bytes)) br;
                small { (phases.collect::<Vec<_>>().join(", ")) }
            },
            html! {
                @for check in &drill.checks { (check_sign(check.outcome)) " " (check.name) ": " (check.detail) br; }
            },
        ]
    };
    table("Drills of the period.", &columns, &drills.iter().map(row).collect::<Vec<_>>())
}

fn check_sign(outcome: CheckOutcome) -> &'static str {
    match outcome {
        CheckOutcome::Passed => "✓",
        CheckOutcome::Failed => "✗",
        CheckOutcome::Unknown => "?",
    }
}

fn restores(restores: &[Restore]) -> Markup {
    let columns = [
        ("Restore", false),
        ("Backup", false),
        ("Scope", false),
        ("Documents", true),
        ("Took", true),
        ("Result", false),
    ];
    let row = |restore: &Restore| {
        vec![
            html! { (words::minute(restore.started_at)) br; (code(&restore.evidence)) },
            code(&restore.backup),
            text(if restore.everything { "everything" } else { "chosen namespaces" }),
            text(restore.documents),
            text(words::span(restore.seconds)),
            text(restore.problem.as_deref().unwrap_or("succeeded")),
        ]
    };
    table("Restores that somebody needed.", &columns, &restores.iter().map(row).collect::<Vec<_>>())
}

pub(super) fn backups(compliance: &Compliance) -> Markup {
    let columns = [
        ("Backup", false),
        ("Finished", false),
        ("Documents", true),
        ("Data", true),
        ("Stored", true),
        ("Consistency", false),
        ("Encryption", false),
        ("Verified", false),
        ("Drilled", false),
    ];
    let row = |backup: &Backup| {
        let summary = &backup.summary;
        let verified = if backup.damaged {
            "DAMAGED".into()
        } else {
            backup.verified_at.map_or_else(|| "not yet".into(), words::day)
        };
        vec![
            code(&summary.id),
            text(words::minute(summary.finished_at)),
            text(summary.documents),
            text(ByteSize(summary.bytes_raw)),
            text(ByteSize(summary.bytes_stored)),
            text(if summary.partial { "a part only" } else { summary.consistency.as_str() }),
            text(summary.encryption.as_str()),
            text(verified),
            text(backup.drilled_at.map_or_else(|| "no".into(), words::day)),
        ]
    };
    let rows: Vec<_> = compliance.backups.iter().map(row).collect();
    html! {
        section aria-labelledby="backups" {
            h2 id="backups" { "Backups" }
            @if rows.is_empty() { p { "There was no backup at the end of the period." } } @else { (table("The backups that existed at the end of the period, the newest first.", &columns, &rows)) }
        }
    }
}

pub(super) fn verification(compliance: &Compliance) -> Markup {
    let found = &compliance.verification;
    let columns = [
        ("Verification", false),
        ("Level", false),
        ("Scope", false),
        ("Objects", true),
        ("Read", true),
        ("Findings", true),
    ];
    let row = |run: &VerificationRun| {
        vec![
            html! { (words::minute(run.finished_at)) br; (code(&run.evidence)) },
            text(&run.level),
            text(&run.scope),
            text(run.objects),
            text(ByteSize(run.bytes)),
            text(run.findings),
        ]
    };
    let rows: Vec<_> = found.runs.iter().map(row).collect();
    html! {
        section aria-labelledby="verification" {
            h2 id="verification" { "Verification " (badge(found.verdict)) }
            p {
                "Everything was read again, byte for byte, last "
                strong { (found.everything_at.map_or_else(|| "never".into(), words::minute)) }
                ". Of what the backups hold, " strong { (words::percent(found.covered_share)) } " was found as it was written within 35 days."
            }
            @if !found.uncovered.is_empty() { p { "Not verified within that time: " @for id in &found.uncovered { (code(id)) " " } } }
            @if !rows.is_empty() { (table("Verifications of the period.", &columns, &rows)) }
        }
    }
}

pub(super) fn policy(compliance: &Compliance) -> Markup {
    let (retention, encryption) = (&compliance.retention, &compliance.encryption);
    let columns = [("Kind", false), ("Kept", true), ("Oldest", false)];
    let rows: Vec<_> = retention
        .kept
        .iter()
        .map(|(kind, count, oldest)| vec![text(kind), text(count), text(oldest.map_or_else(|| "–".into(), words::day))])
        .collect();
    html! {
        section aria-labelledby="retention" {
            h2 id="retention" { "Retention " (badge(retention.verdict)) }
            p { (policy_text(retention.policy.as_ref())) " Removed in the period: " (words::counted(retention.removed, "backup")) "." }
            @if !rows.is_empty() { (table("What was kept at the end of the period.", &columns, &rows)) }
            @if retention.recovery_window.is_empty() { p { "Nothing could be restored at the end of the period." } }
            @else { p { "At the end of the period every second of these stretches could be restored, or the moment of a backup: " @for Period { begin, end } in &retention.recovery_window { (words::minute(*begin)) " to " (words::minute(*end)) "; " } } }
            h2 id="encryption" { "Encryption " (badge(encryption.verdict)) }
            p { "Encrypted: " (words::counted(encryption.encrypted, "backup")) "." @if !encryption.plain.is_empty() { " Not encrypted: " @for id in &encryption.plain { (code(id)) " " } } }
        }
    }
}

/// Returns in words what is to be kept.
pub(super) fn policy_text(policy: Option<&RetentionRecord>) -> String {
    let Some(policy) = policy else { return "What is to be kept is not recorded.".into() };
    let number = |number: Option<u32>, what: &str| {
        number.map_or_else(|| format!("all {what}"), |number| format!("{number} {what}"))
    };
    let oplog = policy
        .oplog_seconds
        .map_or_else(|| "all of the oplog".into(), |seconds| format!("the oplog of {}", words::span(seconds)));
    format!(
        "To be kept: {}, {}, {}, {oplog}.",
        number(policy.daily, "daily backups"),
        number(policy.weekly, "weekly ones"),
        number(policy.monthly, "monthly ones")
    )
}
