//! `regrow drill`: does a backup really restore, and how long does that take?

use serde_json::{Map, Value, json};

use super::output::{counted, entries, moment};
use super::restore::ready::LATEST;
use super::{Session, progress, record, stop_requested};
use crate::drill::{self, CheckQuery, DrillContext, DrillReport, Finding, Wanted};
use crate::error::{Error, Kind, Result};
use crate::format::evidence::{CheckOutcome, Event};
use crate::format::{ClusterTime, Job};
use crate::progress::Progress;
use crate::units::{ByteSize, Elapsed};

pub(super) const HELP: &str = "\
Restores into scratch databases of the server that [drill] target names, or into a mongod of its own that [drill] mongod
names; checks namespaces, options, indexes and every document, lets the server validate each collection, and asks the
team's own [[drill.checks]]. Everything is timed, and removed again. The source is only read.

Without a backup and a time, any moment that can be restored is chosen. The exit code is 5 when a check failed.

Examples:
  regrow drill                                any moment
  regrow drill latest                         the newest backup
  regrow drill --at latest                    the newest moment, held against the source as long as it remembers
  regrow drill --at 2026-11-23T10:15:00Z";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup's id, a unique beginning of it, or latest [default: any moment that can be restored]
    #[arg(conflicts_with = "at")]
    backup: Option<String>,
    /// Restore the state at this moment, as 'regrow restore --at' does, or at the latest
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

pub(super) async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let config = session.config()?;
    let settings = config.drill()?;
    let wanted = match (arguments.backup, arguments.at.as_deref()) {
        (Some(backup), _) => Wanted::Backup(backup),
        (None, Some(LATEST)) => Wanted::Newest,
        (None, Some(at)) => Wanted::Moment(ClusterTime::at(at)?),
        (None, None) => Wanted::Any,
    };
    let repository = session.repository(&config).await?;
    let (progress, started_at) = (Progress::default(), session.clock.now());
    let context = DrillContext {
        repository: &repository,
        identities: config.identities()?,
        target: &settings.target,
        source: config.source_uri().ok(),
        member: config.source_member()?,
        queries: &settings.queries,
        clock: &session.clock,
        random: &session.random,
        progress: progress.clone(),
    };
    let drilling = Box::pin(drill::run(wanted, &context, stop_requested()));
    let report = progress::show(session, "drill", &progress, drilling).await?;
    let event = Event::Drill { run: record::by_hand(session, Job::Drill, started_at), result: report.result.clone() };
    let evidence = record::record_if_possible(session, &config, &repository, event).await;
    if session.json {
        println!("{}", as_json(&report, evidence.as_deref()));
    } else {
        print(&report, evidence.as_deref());
    }
    verdict(&report, &settings.queries)
}

fn verdict(report: &DrillReport, queries: &[CheckQuery]) -> Result<()> {
    let names: Vec<&str> = failed(report).map(|finding| finding.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let error = Error::new(
        Kind::Damaged,
        format!(
            "the drill did not pass: {} of {} ({})",
            names.len(),
            counted(report.findings.len() as u64, "check"),
            names.join(", ")
        ),
    );
    let is_own = |finding: &Finding| queries.iter().any(|query| query.name == finding.name);
    let hint = if failed(report).all(is_own) {
        "the backup restores; what was expected of the data is not so: look at the data, or at [[drill.checks]]"
    } else {
        "take a new backup now and drill it ('regrow drill latest'); 'regrow verify' tells whether stored data is damaged"
    };
    Err(error.with_hint(hint))
}

fn failed(report: &DrillReport) -> impl Iterator<Item = &Finding> {
    report.findings.iter().filter(|finding| finding.outcome == CheckOutcome::Failed)
}

fn as_json(report: &DrillReport, evidence: Option<&str>) -> Value {
    let result = &report.result;
    #[allow(clippy::cast_precision_loss)] // Milliseconds of less than an age.
    let seconds = |milliseconds: u64| milliseconds as f64 / 1000.0;
    let phases: Map<String, Value> =
        result.phases.iter().map(|phase| (phase.name.clone(), json!(seconds(phase.milliseconds)))).collect();
    let check =
        |finding: &Finding| json!({ "name": finding.name, "outcome": finding.outcome, "detail": finding.detail() });
    json!({
        "backup": result.backup,
        "target": report.target,
        "recovered_to": result.recovered_to,
        "replay_entries": result.entries,
        "namespaces": result.namespaces,
        "documents": result.documents,
        "bytes": result.bytes,
        "seconds": seconds(result.milliseconds),
        "phases": phases,
        "passed": result.passed,
        "checks": report.findings.iter().map(check).collect::<Vec<_>>(),
        "evidence": evidence,
    })
}

fn print(report: &DrillReport, evidence: Option<&str>) {
    let result = &report.result;
    println!("Drill on {}, into {}", result.backup, report.target);
    if let Some(at) = result.recovered_to {
        println!("  state at   {}", moment(at));
    }
    let replayed =
        if result.replayed { format!(", and {} of the oplog", entries(result.entries)) } else { String::new() };
    let (documents, namespaces) = (counted(result.documents, "document"), counted(result.namespaces, "namespace"));
    println!("  restored   {documents} in {namespaces}, {}{replayed}", ByteSize(result.bytes));
    let time = |milliseconds: u64| Elapsed(std::time::Duration::from_millis(milliseconds));
    let phases: Vec<String> =
        result.phases.iter().map(|phase| format!("{} {}", phase.name, time(phase.milliseconds))).collect();
    println!("  took       {} ({}; they overlap)", time(result.milliseconds), phases.join(", "));
    for finding in &report.findings {
        let word = match finding.outcome {
            CheckOutcome::Passed => "ok     ",
            CheckOutcome::Failed => "FAILED ",
            CheckOutcome::Unknown => "unknown",
        };
        println!("  {word}    {}: {}", finding.name, finding.detail());
    }
    println!("{}", if result.passed { "The drill passed: this backup restores." } else { "The drill did NOT pass." });
    if let Some(evidence) = evidence {
        println!("Recorded as {evidence}");
    }
}
