//! Reports about a fabricated quarter, from its records to every format, and pages as a browser shows them.
//!
//! `REGROW_BLESS=1` writes the golden files anew; look at what changed before you commit it.

mod pages;
mod quarter;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use regrow::compliance::assess;
use regrow::compliance::model::{Compliance, RunOutcome, Verdict};
use regrow::report::{Format, render};
use serde_json::Value;

use crate::harness::{self, Workspace};
use quarter::{PERIOD, facts};

/// When the golden reports were made.
fn made_at() -> Timestamp {
    "2026-10-02T06:00:00Z".parse().unwrap()
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/integration/report/golden").join(name)
}

/// Compares text with a golden file, or writes that anew.
fn is_golden(name: &str, text: &str) {
    let path = golden(name);
    if std::env::var_os("REGROW_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differs = text.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    let (found, expected) = (text.lines().count(), expected.lines().count());
    assert!(
        differs.is_none() && found == expected,
        "{name} differs from line {differs:?} on: {found} lines, not {expected}"
    );
}

fn judged() -> Compliance {
    assess(&facts(), PERIOD())
}

#[test]
fn the_quarter_is_judged_as_it_was() {
    let quarter = judged();
    assert_eq!(quarter.verdict, Verdict::Missed);
    let of = |name: &str| quarter.workloads.iter().find(|workload| workload.name == name).unwrap();
    let (orders, stock, archive) = (of("orders"), of("stock"), of("archive"));
    assert_eq!(orders.rpo.breaches.len(), 2, "{:?}", orders.rpo.breaches);
    assert!(
        orders.rpo.breaches[0].cause.contains("no oplog was stored from 2026-08-03 10:00"),
        "{:?}",
        orders.rpo.breaches
    );
    assert!(orders.rpo.breaches[1].cause.contains("the disk was full"), "{:?}", orders.rpo.breaches);
    assert_eq!(
        (orders.rpo.verdict, stock.rpo.verdict, archive.rpo.verdict),
        (Verdict::Missed, Verdict::Missed, Verdict::Met)
    );
    assert_eq!(stock.rpo.breaches.len(), 1, "an outage of 47 minutes is within an hour: {:?}", stock.rpo.breaches);
    assert_eq!(orders.rto.verdict, Verdict::Met, "{:?}", orders.rto);
    let outcomes = |wanted: RunOutcome| {
        let runs = quarter.schedules.iter().flat_map(|schedule| &schedule.runs);
        runs.filter(|run| run.outcome == wanted).count()
    };
    assert_eq!((outcomes(RunOutcome::Missed), outcomes(RunOutcome::Failed), outcomes(RunOutcome::Unknown)), (1, 1, 0));
    assert_eq!(quarter.drills.iter().filter(|drill| !drill.passed).count(), 1);
    assert!(quarter.exceptions.iter().any(|exception| exception.what.contains("the weekly backup of 2026-08-16")));
    assert!(quarter.exceptions.iter().all(|exception| !exception.cause.is_empty()), "{:?}", quarter.exceptions);
}

#[test]
fn every_format_says_what_it_said() {
    let quarter = judged();
    for format in [Format::Html, Format::Json, Format::Markdown, Format::Csv] {
        is_golden(&format!("quarter.{}", format.extension()), &render(format, &quarter, made_at()));
    }
}

#[test]
fn the_same_records_give_the_same_bytes_but_for_the_time_of_making() {
    let later: Timestamp = "2026-11-30T06:00:00Z".parse().unwrap();
    for format in [Format::Html, Format::Json, Format::Markdown, Format::Csv] {
        let (one, other) = (render(format, &judged(), made_at()), render(format, &judged(), later));
        let differing = one.lines().zip(other.lines()).filter(|(one, other)| one != other).count();
        assert_eq!((differing, one.lines().count()), (1, other.lines().count()), "{format:?}");
    }
}

#[test]
fn what_is_not_known_is_never_called_met() {
    let mut nothing = facts();
    nothing.records.clear();
    nothing.backups.clear();
    nothing.timelines.clear();
    let judged = assess(&nothing, PERIOD());
    assert_eq!(judged.verdict, Verdict::Unknown);
    let text = render(Format::Markdown, &judged, made_at());
    assert!(text.contains("? unknown") && text.contains("cannot be said"), "{text}");
}

#[test]
fn text_that_people_wrote_means_nothing_to_any_format() {
    let mut quarter = judged();
    let hostile = "<script>alert(1)</script>|=cmd|'a\"b\n# x";
    quarter.workloads[0].name = hostile.into();
    quarter.exceptions[0].cause = hostile.into();
    let html = render(Format::Html, &quarter, made_at());
    assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"));
    let markdown = render(Format::Markdown, &quarter, made_at());
    assert!(!markdown.contains("<script>") && !markdown.contains("\n# x"), "{markdown}");
    let csv = render(Format::Csv, &quarter, made_at());
    assert!(csv.lines().all(|line| !line.starts_with('=')), "{csv}");
    let json: Value = serde_json::from_str(&render(Format::Json, &quarter, made_at())).unwrap();
    assert_eq!(json["report"]["workloads"][0]["name"], hostile);
}

#[tokio::test]
async fn a_report_is_the_same_on_another_machine() {
    let servers = harness::own(&harness::Options::default());
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.set("tiers.critical.rpo", "15m").set("tiers.critical.rto", "1h");
    let workloads: toml::Table =
        "[[workloads]]\nname = \"orders\"\nnamespaces = [\"shop\"]\ntier = \"critical\"\n".parse().unwrap();
    workspace.set("workloads", workloads["workloads"].clone());
    workspace.run(["init"]).exits(0);
    workspace.run(["backup"]).exits(0);
    workspace.run(["verify"]).exits(0);
    let report: Value = workspace.run(["report", "--json"]).exits(0).json();
    assert_eq!(
        report["report"]["workloads"][0]["name"], "orders",
        "objectives are recorded by commands, too: {report}"
    );
    // Another machine has the bucket, and neither keys nor objectives.
    let elsewhere = Workspace::new("mongodb://nowhere", workspace.repository_url());
    let until = ["--from", "2026-01-01", "--to", "2099-12-31"];
    let facts = |workspace: &Workspace| {
        let run = workspace.run(["report", "--json"].into_iter().chain(until)).exits(0);
        let mut report: Value = run.json();
        report["generated_at"] = Value::Null;
        // The period is not over: up to when it is judged is when it was made.
        report["report"]["until"] = Value::Null;
        report["report"]["exposure"] = Value::Null;
        report["report"]["workloads"][0]["rpo"] = Value::Null;
        report
    };
    // In the second of the backup itself, nothing is exposed yet.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(facts(&workspace), facts(&elsewhere));
    let run = workspace.run(["report", "--month", "2026-13"]).exits(2);
    assert!(run.stderr.contains("'2026-13' is no time"), "{run:?}");
}
