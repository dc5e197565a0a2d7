//! `regrow evidence`: what is recorded, for auditors.

mod export;

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Session;
use super::output::{table, time};
use crate::error::{Error, Kind, Result};
use crate::format::evidence::{Event, Evidence};
use crate::repository::{EvidenceLog, Repository};
use crate::units::{are, counted};

pub(super) const HELP: &str = "\
Each record is signed, and names those before it by their hashes.

Examples:
  regrow evidence list --kind drill
  regrow evidence show 1841a636108c6af7
  regrow evidence export -o evidence-2026 --from 2026-01-01 --to 2026-12-31";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the records, the newest last
    List(Selection),
    /// Show one record and whether it is what was written
    Show {
        /// The record's id or its key
        record: String,
    },
    /// Write all records to a folder, with a script that checks them by openssl and python3 alone
    Export {
        /// The folder to make; it must not exist, or be empty
        #[arg(short, long, value_name = "FOLDER")]
        output: PathBuf,
        #[command(flatten)]
        selection: Selection,
    },
}

#[derive(Debug, clap::Args)]
struct Selection {
    /// Only records of this kind, such as backup, drill or missed
    #[arg(long)]
    kind: Option<String>,
    /// Only records from this day on, in UTC
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<String>,
    /// Only records up to this day, in UTC
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<String>,
}

/// A record and where it is stored.
struct Stored {
    key: String,
    sha256: [u8; 32],
    evidence: Evidence,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let repository = session.repository(&config).await?;
    let mut log = EvidenceLog::since(Timestamp::UNIX_EPOCH);
    log.refresh(&repository, session.clock.now()).await?;
    match &arguments.what {
        What::List(selection) => list(session, &log, selection)?,
        What::Show { record } => return show(session, &repository, &log, record).await,
        What::Export { output, selection } => {
            let records = selection.choose(&log)?;
            export::export(&repository, &records, output).await?;
            let count = records.len();
            session
                .say(format_args!("Wrote {count} records to {0}. Check them with: sh {0}/check.sh", output.display()));
        }
    }
    intact(&log)
}

/// Fails where records were altered or removed.
fn intact(log: &EvidenceLog) -> Result<()> {
    match log.problems().iter().next() {
        None => Ok(()),
        Some((key, problem)) => {
            let records = are(log.problems().len() as u64, "record");
            Err(Error::damaged(format!("{records} not as written: {key}: {problem}"))
                .with_hint("'regrow verify --level structure' names all of them; bring them back from a copy"))
        }
    }
}

impl Selection {
    fn choose(&self, log: &EvidenceLog) -> Result<Vec<Stored>> {
        if let Some(kind) = self.kind.as_deref().filter(|kind| !Event::KINDS.contains(kind)) {
            return Err(Error::new(Kind::Usage, format!("there are no records of the kind '{kind}'"))
                .with_hint(format!("write one of {}", Event::KINDS.join(", "))));
        }
        let (from, to) = (self.from.as_deref().map(day).transpose()?, self.to.as_deref().map(day).transpose()?);
        let to = to.and_then(|to| to.checked_add(std::time::Duration::from_hours(24)).ok());
        let records = log.stored().map(|(key, sha256, evidence)| Stored { key, sha256, evidence });
        let is_chosen = |stored: &Stored| {
            let (at, kind) = (stored.evidence.recorded_at, stored.evidence.event.kind());
            self.kind.as_deref().is_none_or(|wanted| wanted == kind)
                && from.is_none_or(|from| at >= from)
                && to.is_none_or(|to| at < to)
        };
        Ok(records.filter(is_chosen).collect())
    }
}

fn day(text: &str) -> Result<Timestamp> {
    let wrong =
        || Error::new(Kind::Usage, format!("'{text}' is no day")).with_hint("write YYYY-MM-DD, such as 2026-10-31");
    let day: Date = text.parse().map_err(|_| wrong())?;
    TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).map_err(|_| wrong())
}

fn list(session: &Session, log: &EvidenceLog, selection: &Selection) -> Result<()> {
    let records = selection.choose(log)?;
    if session.json {
        let record = |stored: &Stored| {
            json!({
                "id": stored.evidence.id,
                "kind": stored.evidence.event.kind(),
                "recorded_at": stored.evidence.recorded_at,
                "recorded_by": stored.evidence.recorded_by,
                "key": stored.key,
                "sha256": hex::encode(stored.sha256),
            })
        };
        println!(
            "{}",
            json!({ "records": records.iter().map(record).collect::<Vec<_>>(), "problems": log.problems() })
        );
        return Ok(());
    }
    let mut rows = vec![["RECORDED", "KIND", "ID", "WHAT"].map(str::to_owned)];
    rows.extend(records.iter().map(|Stored { evidence, .. }| {
        [time(evidence.recorded_at), evidence.event.kind().into(), evidence.id.clone(), summary(&evidence.event)]
    }));
    table(&rows, [false; 4]);
    Ok(())
}

/// Returns an event in a few words.
fn summary(event: &Event) -> String {
    match event {
        Event::Creation { .. } => "the repository was created".into(),
        Event::Backup { backup, imported: true, .. } => format!("{backup}, imported from a dump"),
        Event::Backup { backup, .. } => backup.to_string(),
        Event::Drill { result, .. } => {
            format!("{} {}", result.backup, if result.passed { "passed" } else { "DID NOT PASS" })
        }
        Event::Restore { result } => {
            format!("{} {}", result.backup, result.problem.as_deref().unwrap_or("restored"))
        }
        Event::Report { begin, .. } => format!("about {}", begin.strftime("%Y-%m")),
        Event::Verification { result, .. } => format!("{}, {}", result.level, counted(result.findings, "finding")),
        Event::Expiry { expired, removed, .. } => format!("{} expired, {} removed", expired.len(), removed.len()),
        Event::Failure { run, problem } => format!("{} failed: {problem}", run.job),
        Event::Missed { job, times, cause, .. } => format!("{job}, {}: {cause}", counted(*times, "time")),
        Event::Gap { cause, .. } => cause.clone(),
        Event::Configuration { schedules, workloads, .. } => {
            let (schedules, workloads) = (schedules.len() as u64, workloads.len() as u64);
            format!("{}, {}", counted(schedules, "schedule"), counted(workloads, "workload"))
        }
    }
}

async fn show(session: &Session, repository: &Repository, log: &EvidenceLog, wanted: &str) -> Result<()> {
    let is_wanted = |key: &str, id: &str| key == wanted || id == wanted;
    let found = log.stored().find(|(key, _, evidence)| is_wanted(key, &evidence.id));
    let Some((key, sha256, evidence)) = found else {
        if let Some((key, problem)) = log.problems().iter().find(|(key, _)| key.contains(wanted)) {
            return Err(
                Error::damaged(format!("{key}: {problem}")).with_hint("bring it back from a copy of the repository")
            );
        }
        return Err(Error::not_found(format!("there is no record '{wanted}'"))
            .with_hint("'regrow evidence list' shows what there is"));
    };
    let document = repository.storage().read(&key, None).await?;
    let document: Value = serde_json::from_slice(&document)
        .map_err(|error| Error::damaged(format!("{key} is no JSON")).caused_by(error))?;
    let named_by = log.records().find(|later| later.previous.iter().any(|before| before.key == key));
    let problem = log.problems().get(&key);
    let answer = json!({
        "key": key,
        "sha256": hex::encode(sha256),
        "signature": "valid",
        "signed_by": document["signature"]["key"],
        "named_by": named_by.map(|later| later.id.clone()),
        "problem": problem,
        "record": document["payload"],
    });
    if session.json {
        println!("{answer}");
    } else {
        println!("key        {key}");
        println!("sha256     {}", hex::encode(sha256));
        println!("signature  valid, by key {}", document["signature"]["key"].as_str().unwrap_or_default());
        match named_by {
            Some(later) => println!("named by   {}, recorded {}", later.id, time(later.recorded_at)),
            None => println!("named by   no other record yet: it is the newest"),
        }
        println!("{:#}", document["payload"]);
    }
    match problem {
        None => Ok(()),
        Some(problem) => Err(Error::damaged(format!("{}: {problem}", evidence.key()))),
    }
}
