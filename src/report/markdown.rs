//! The report as text with tables.

use std::fmt::Write;

use jiff::Timestamp;

use super::sections::policy_text;
use super::{charts, words};
use crate::compliance::model::Compliance;
use crate::units::ByteSize;

/// Returns the whole text.
pub(super) fn report(compliance: &Compliance, made_at: Timestamp) -> String {
    let mut out = Text::default();
    let (sign, word) = words::verdict(compliance.verdict);
    out.line(&format!("# Backup and recovery compliance: {}", safe(&compliance.source)));
    out.line(&format!(
        "{} (UTC). **{sign} {word}.** {}",
        words::period(compliance.period),
        safe(&words::summary(compliance))
    ));
    workloads(&mut out, compliance);
    exceptions(&mut out, compliance);
    breaches(&mut out, compliance);
    schedules(&mut out, compliance);
    drills(&mut out, compliance);
    backups(&mut out, compliance);
    policies(&mut out, compliance);
    records(&mut out, compliance);
    let (version, repository) = (env!("CARGO_PKG_VERSION"), &compliance.repository);
    out.line(&format!(
        "Generated {} by Regrow {version} from the records of repository {repository}.",
        words::minute(made_at)
    ));
    out.0
}

/// Text that grows by blocks.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}\n");
    }

    fn table<const N: usize>(&mut self, heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
        let rows: Vec<[String; N]> = rows.into_iter().collect();
        if rows.is_empty() {
            return self.line("None.");
        }
        let _ = writeln!(self.0, "| {} |", heading.join(" | "));
        let _ = writeln!(self.0, "|{}|", vec!["---"; N].join("|"));
        for row in rows {
            let _ = writeln!(self.0, "| {} |", row.map(|cell| safe(&cell)).join(" | "));
        }
        self.0.push('\n');
    }
}

/// Returns text that means nothing to Markdown.
fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => safe.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' => {
                safe.push('\\');
                safe.push(letter);
            }
            letter => safe.push(letter),
        }
    }
    safe
}

fn workloads(out: &mut Text, compliance: &Compliance) {
    out.line("## Objectives and results");
    let rows = compliance.workloads.iter().map(|workload| {
        let (rpo, rto) = (&workload.rpo, &workload.rto);
        [
            workload.name.clone(),
            workload.tier.clone(),
            words::verdict(workload.verdict).1.into(),
            words::span(rpo.objective_seconds),
            words::maximum(rpo),
            words::p95(rpo),
            words::percent(rpo.within_share),
            words::span(rto.objective_seconds),
            words::span_or(rto.measured_seconds, "no drill"),
            words::span_or(rto.predicted_seconds, "unknown"),
        ]
    });
    let heading =
        ["Workload", "Tier", "Verdict", "RPO", "Largest", "95 % below", "Time within", "RTO", "Measured", "Predicted"];
    out.table(heading, rows);
    out.line(&format!("Restore time, trend: {}.", words::trend(compliance.recovery.trend_seconds_per_month)));
}

fn exceptions(out: &mut Text, compliance: &Compliance) {
    out.line("## Exceptions");
    let rows = compliance.exceptions.iter().map(|exception| {
        [
            words::minute(exception.begin),
            exception.end.map_or_else(|| "still open".into(), words::minute),
            exception.what.clone(),
            exception.cause.clone(),
            exception.done.clone().unwrap_or_else(|| "nothing is recorded".into()),
        ]
    });
    out.table(["Begin", "End", "What", "Cause", "Done"], rows);
}

fn breaches(out: &mut Text, compliance: &Compliance) {
    out.line("## Breaches");
    let rows = charts::breaches(compliance).into_iter().map(|breach| {
        [
            words::minute(breach.begin),
            breach.end.map_or_else(|| "not ended".into(), words::minute),
            words::span_or(breach.worst_seconds, "everything"),
            breach.cause.clone(),
            breach.evidence.join(", "),
        ]
    });
    out.table(["Begin", "End", "Largest exposure", "Cause", "Records"], rows);
}

fn schedules(out: &mut Text, compliance: &Compliance) {
    out.line("## Scheduled runs");
    let rows = compliance.schedules.iter().flat_map(|schedule| {
        schedule.runs.iter().map(|run| {
            [
                words::capital(&schedule.job.to_string()),
                words::minute(run.due),
                words::outcome(run.outcome).1.into(),
                run.note.clone().unwrap_or_default(),
                run.evidence.join(", "),
            ]
        })
    });
    out.table(["Job", "Due", "Outcome", "Note", "Records"], rows);
}

fn drills(out: &mut Text, compliance: &Compliance) {
    out.line("## Drills and restores");
    let rows = compliance.drills.iter().map(|drill| {
        let checks = drill.checks.iter().map(|check| format!("{}: {}", check.name, check.detail));
        [
            words::minute(drill.finished_at),
            if drill.passed { "passed".into() } else { "not passed".into() },
            drill.backup.to_string(),
            ByteSize(drill.bytes).to_string(),
            words::span(drill.seconds),
            checks.collect::<Vec<_>>().join("; "),
            drill.evidence.clone(),
        ]
    });
    out.table(["Drill", "Result", "Backup", "Data", "Took", "Checks", "Record"], rows);
    let rows = compliance.restores.iter().map(|restore| {
        [
            words::minute(restore.started_at),
            restore.backup.to_string(),
            words::span(restore.seconds),
            restore.problem.clone().unwrap_or_else(|| "succeeded".into()),
            restore.evidence.clone(),
        ]
    });
    out.line("Restores that somebody needed:");
    out.table(["Restore", "Backup", "Took", "Result", "Record"], rows);
}

fn backups(out: &mut Text, compliance: &Compliance) {
    out.line("## Backups");
    let rows = compliance.backups.iter().map(|backup| {
        let verified = backup.verified_at.map_or_else(|| "not yet".into(), words::day);
        [
            backup.summary.id.to_string(),
            words::minute(backup.summary.finished_at),
            ByteSize(backup.summary.bytes_raw).to_string(),
            ByteSize(backup.summary.bytes_stored).to_string(),
            backup.summary.encryption.as_str().into(),
            if backup.damaged { "DAMAGED".into() } else { verified },
            backup.drilled_at.map_or_else(|| "no".into(), words::day),
        ]
    });
    out.table(["Backup", "Finished", "Data", "Stored", "Encryption", "Verified", "Drilled"], rows);
}

fn policies(out: &mut Text, compliance: &Compliance) {
    let (verification, retention) = (&compliance.verification, &compliance.retention);
    out.line("## Verification, retention, encryption");
    let last = verification.everything_at.map_or_else(|| "never".into(), words::minute);
    let covered = words::percent(verification.covered_share);
    out.line(&format!(
        "Verification: {}. Everything was read again last {last}; {covered} of what backups hold was found as written within 35 days.",
        words::verdict(verification.verdict).1
    ));
    let policy = safe(&policy_text(retention.policy.as_ref()));
    out.line(&format!("Retention: {}. {policy} Removed: {}.", words::verdict(retention.verdict).1, retention.removed));
    let (encrypted, plain) = (compliance.encryption.encrypted, compliance.encryption.plain.len());
    out.line(&format!(
        "Encryption: {}. Encrypted backups: {encrypted}; others: {plain}.",
        words::verdict(compliance.encryption.verdict).1
    ));
}

fn records(out: &mut Text, compliance: &Compliance) {
    out.line("## Records");
    let rows = compliance.evidence.iter().map(|record| {
        [words::minute(record.recorded_at), record.kind.clone(), record.id.clone(), record.sha256.clone()]
    });
    out.table(["Recorded", "Kind", "Id", "SHA-256"], rows);
}
