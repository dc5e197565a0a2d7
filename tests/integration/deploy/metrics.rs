//! The metrics: those that are rendered are those that are named, and Prometheus reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use regrow::format::evidence::{Phase, Run};
use regrow::format::{BackupKind, Job};
use regrow::metrics::{NAMES, Readings, render};
use regrow::notify::Severity;
use regrow::status::{DrillStatus, JobStatus, KindStatus, Status, WorkloadStatus};

use super::{said_by, tool};

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// Returns a status in which everything is known.
fn status() -> Status {
    let workload = WorkloadStatus {
        name: "orders".into(),
        tier: "critical".into(),
        exposure_seconds: Some(61),
        rpo_seconds: 900,
        predicted_rto_seconds: Some(1800),
        rto_seconds: 3600,
        ok: true,
    };
    let run = Run {
        job: Job::Backup(BackupKind::Daily),
        due: Some(at("2026-11-25T02:00:00Z")),
        started_at: at("2026-11-25T02:00:00Z"),
        finished_at: at("2026-11-25T02:16:00Z"),
        attempts: 1,
    };
    let job = JobStatus {
        job: run.job,
        cron: "0 2 * * *".into(),
        timezone: "UTC".into(),
        last_success: Some(run),
        next_due: Some(at("2026-11-26T02:00:00Z")),
        trouble: None,
        problem: None,
    };
    let daily = KindStatus { count: 7, bytes_raw: 3_000_000_000, bytes_stored: 500_000_000, duration_seconds: 960 };
    let drill = DrillStatus {
        finished_at: at("2026-11-01T08:30:00Z"),
        backup: "20261101T040000Z-monthly-7f3a".parse().unwrap(),
        passed: true,
        bytes: 3_000_000_000,
        seconds: 600,
        phases: vec![Phase { name: "load".into(), milliseconds: 400_000 }],
    };
    Status {
        taken_at: at("2026-11-25T09:00:00Z"),
        service: None,
        workloads: vec![workload],
        exposure_seconds: Some(61),
        predicted_rto_seconds: Some(1800),
        recovery_window: Vec::new(),
        capture_lag_seconds: Some(61),
        backups_kept: Vec::new(),
        drills: vec![drill],
        newest_backup: None,
        backups: BTreeMap::from([(BackupKind::Daily, daily)]),
        verified_at: Some(at("2026-11-22T06:10:00Z")),
        jobs: vec![job],
        stored_bytes: 4_000_000_000,
        problems: Vec::new(),
        ok: true,
    }
}

/// Returns everything that can be rendered.
fn everything() -> String {
    render(&Readings {
        status: Some(&status()),
        leads: true,
        capture_runs: Some(true),
        oplog_window_seconds: Some(86_400),
        running: BTreeMap::new(),
        open_alerts: vec![(Severity::Warning, 1), (Severity::Critical, 0)],
        notification_failures: vec![("email mail.example.com".into(), 0)],
    })
}

/// Returns the samples: what a line of them begins with is the metric's name.
fn samples(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

/// Returns the text in Prometheus' older format, the only one whose style promtool checks: there a metric is declared
/// by the name of its samples, and `info` is no type.
fn in_the_older_format(text: &str) -> String {
    let mut declared = text.replace(" regrow_build ", " regrow_build_info ").replace(" info\n", " gauge\n");
    declared = declared.replace(" regrow_notification_failures ", " regrow_notification_failures_total ");
    declared.replace("# EOF\n", "")
}

#[test]
fn what_is_rendered_is_what_is_named() {
    let text = everything();
    let rendered: BTreeSet<&str> = samples(&text).map(|sample| sample.split(['{', ' ']).next().unwrap()).collect();
    assert_eq!(rendered, NAMES.into());
}

#[test]
fn the_names_and_texts_are_as_prometheus_would_have_them() {
    let mut promtool = Command::new(tool("promtool"));
    let promtool =
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(in_the_older_format(&everything()).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn prometheus_reads_what_is_rendered() {
    let (text, folder) = (everything(), tempfile::tempdir().unwrap());
    // What is imported needs a time, which a scrape adds by itself.
    let timed = |line: &str| if line.starts_with('#') { format!("{line}\n") } else { format!("{line} 1795597200\n") };
    let path = folder.path().join("metrics.txt");
    std::fs::write(&path, text.lines().map(timed).collect::<String>()).unwrap();
    let mut promtool = Command::new(tool("promtool"));
    promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&path).arg(folder.path().join("blocks"));
    let said = said_by(&mut promtool);
    let count = samples(&text).count().to_string();
    assert!(said.lines().last().unwrap().split_whitespace().any(|word| word == count), "{count} samples\n{said}");
}
