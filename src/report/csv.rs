//! The report as one fact a line: section, subject, fact, value, unit, record. Every section of a report has other columns,
//! so tables in one file could be read by nobody; facts can be filtered, and put into any table.
//!
//! Spreadsheets take what begins with `=`, `+`, `-` or `@` for a formula: such text gets an apostrophe in front.

use std::fmt::Display;

use jiff::Timestamp;

use super::words;
use crate::compliance::model::{Compliance, Rto, Workload};

/// Returns the whole file.
pub(super) fn report(compliance: &Compliance, made_at: Timestamp) -> String {
    let mut sheet = Sheet(String::new());
    sheet.row(["section", "subject", "fact", "value", "unit", "record"]);
    let source = compliance.source.as_str();
    sheet.fact("report", source, "generated_at", made_at, "time", "");
    sheet.fact("report", source, "repository", &compliance.repository, "", "");
    sheet.fact("report", source, "begin", compliance.period.begin, "time", "");
    sheet.fact("report", source, "end", compliance.period.end, "time", "");
    sheet.fact("report", source, "judged_until", compliance.until, "time", "");
    sheet.fact("report", source, "verdict", words::verdict(compliance.verdict).1, "", "");
    compliance.workloads.iter().for_each(|workload| sheet.workload(workload));
    for schedule in &compliance.schedules {
        for run in &schedule.runs {
            let (due, outcome) = (run.due.to_string(), words::outcome(run.outcome).1);
            sheet.fact(
                "schedule",
                schedule.job.as_str(),
                &format!("run due {due}"),
                outcome,
                "",
                &run.evidence.join(" "),
            );
        }
    }
    sheet.proofs(compliance);
    sheet.kept(compliance);
    for exception in &compliance.exceptions {
        let records = exception.evidence.join(" ");
        sheet.fact("exception", &exception.what, "begin", exception.begin, "time", &records);
        sheet.fact("exception", &exception.what, "end", optional(exception.end), "time", &records);
        sheet.fact("exception", &exception.what, "cause", &exception.cause, "", &records);
        sheet.fact("exception", &exception.what, "done", exception.done.as_deref().unwrap_or_default(), "", &records);
    }
    for record in &compliance.evidence {
        sheet.fact("evidence", &record.key, "kind", &record.kind, "", &record.id);
        sheet.fact("evidence", &record.key, "sha256", &record.sha256, "", &record.id);
    }
    sheet.0
}

struct Sheet(String);

fn optional<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

impl Sheet {
    fn row(&mut self, cells: [&str; 6]) {
        self.0.push_str(&cells.map(cell).join(","));
        self.0.push_str("\r\n");
    }

    #[allow(clippy::needless_pass_by_value)] // What is shown is made for it.
    fn fact(&mut self, section: &str, subject: &str, fact: &str, value: impl Display, unit: &str, record: &str) {
        self.row([section, subject, fact, &format!("{value}"), unit, record]);
    }

    fn workload(&mut self, workload: &Workload) {
        let (name, rpo) = (workload.name.as_str(), &workload.rpo);
        self.fact("workload", name, "tier", &workload.tier, "", "");
        self.fact("workload", name, "verdict", words::verdict(workload.verdict).1, "", "");
        self.fact("workload", name, "rpo_objective", rpo.objective_seconds, "s", "");
        self.fact("workload", name, "rpo_verdict", words::verdict(rpo.verdict).1, "", "");
        self.fact("workload", name, "exposure_maximum", optional(rpo.maximum_seconds), "s", "");
        self.fact("workload", name, "exposure_p95", optional(rpo.p95_seconds), "s", "");
        self.fact("workload", name, "within_share", optional(rpo.within_share), "", "");
        self.fact("workload", name, "judged", rpo.judged_seconds, "s", "");
        self.fact("workload", name, "unknown", rpo.unknown_seconds, "s", "");
        let Rto { objective_seconds, verdict, measured_seconds, predicted_seconds } = &workload.rto;
        self.fact("workload", name, "rto_objective", objective_seconds, "s", "");
        self.fact("workload", name, "rto_verdict", words::verdict(*verdict).1, "", "");
        self.fact("workload", name, "restore_measured", optional(*measured_seconds), "s", "");
        self.fact("workload", name, "restore_predicted", optional(*predicted_seconds), "s", "");
        for breach in &rpo.breaches {
            let (fact, records) = (format!("breach {}", breach.begin), breach.evidence.join(" "));
            self.fact("breach", name, &format!("{fact} end"), optional(breach.end), "time", &records);
            self.fact("breach", name, &format!("{fact} worst"), optional(breach.worst_seconds), "s", &records);
            self.fact("breach", name, &format!("{fact} cause"), &breach.cause, "", &records);
        }
    }

    /// Verifications, drills and restores.
    fn proofs(&mut self, compliance: &Compliance) {
        let verification = &compliance.verification;
        self.fact("verification", "repository", "verdict", words::verdict(verification.verdict).1, "", "");
        self.fact("verification", "repository", "everything_at", optional(verification.everything_at), "time", "");
        self.fact("verification", "repository", "covered_share", optional(verification.covered_share), "", "");
        for run in &verification.runs {
            let subject = run.finished_at.to_string();
            self.fact("verification", &subject, "level", &run.level, "", &run.evidence);
            self.fact("verification", &subject, "scope", &run.scope, "", &run.evidence);
            self.fact("verification", &subject, "findings", run.findings, "", &run.evidence);
        }
        for drill in &compliance.drills {
            let subject = drill.finished_at.to_string();
            self.fact("drill", &subject, "backup", &drill.backup, "", &drill.evidence);
            self.fact("drill", &subject, "passed", drill.passed, "", &drill.evidence);
            self.fact("drill", &subject, "bytes", drill.bytes, "B", &drill.evidence);
            self.fact("drill", &subject, "seconds", drill.seconds, "s", &drill.evidence);
            for phase in &drill.phases {
                self.fact(
                    "drill",
                    &subject,
                    &format!("phase {}", phase.name),
                    phase.milliseconds,
                    "ms",
                    &drill.evidence,
                );
            }
            for check in &drill.checks {
                self.fact("drill", &subject, &format!("check {}", check.name), &check.detail, "", &drill.evidence);
            }
        }
        for restore in &compliance.restores {
            let subject = restore.started_at.to_string();
            self.fact("restore", &subject, "backup", &restore.backup, "", &restore.evidence);
            self.fact("restore", &subject, "seconds", restore.seconds, "s", &restore.evidence);
            self.fact(
                "restore",
                &subject,
                "problem",
                restore.problem.as_deref().unwrap_or_default(),
                "",
                &restore.evidence,
            );
        }
    }

    fn kept(&mut self, compliance: &Compliance) {
        let (retention, encryption) = (&compliance.retention, &compliance.encryption);
        self.fact("retention", "repository", "verdict", words::verdict(retention.verdict).1, "", "");
        for (kind, count, oldest) in &retention.kept {
            self.fact("retention", kind.as_str(), "kept", count, "", "");
            self.fact("retention", kind.as_str(), "oldest", optional(*oldest), "time", "");
        }
        self.fact("encryption", "repository", "verdict", words::verdict(encryption.verdict).1, "", "");
        for backup in &compliance.backups {
            let id = backup.summary.id.to_string();
            self.fact("backup", &id, "finished_at", backup.summary.finished_at, "time", "");
            self.fact("backup", &id, "bytes_raw", backup.summary.bytes_raw, "B", "");
            self.fact("backup", &id, "bytes_stored", backup.summary.bytes_stored, "B", "");
            self.fact("backup", &id, "encryption", backup.summary.encryption.as_str(), "", "");
            self.fact("backup", &id, "verified_at", optional(backup.verified_at), "time", "");
            self.fact("backup", &id, "drilled_at", optional(backup.drilled_at), "time", "");
            self.fact("backup", &id, "damaged", backup.damaged, "", "");
        }
    }
}

/// Returns a cell as RFC 4180 has it.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn cells_are_quoted_and_are_no_formulas() {
        let cells = ["plain", "a,b", "say \"yes\"", "=1+1", "@x", "two\nlines"].map(cell);
        assert_eq!(cells, ["plain", "\"a,b\"", "\"say \"\"yes\"\"\"", "'=1+1", "'@x", "\"two\nlines\""]);
    }
}
