//! `regrow verify`: is what is stored still what was written?

use serde_json::json;

use super::output::{counted, leftovers_json, name_leftovers};
use super::{Session, progress, record, stop_requested};
use crate::error::{Error, Kind, Result};
use crate::format::Job;
use crate::progress::Progress;
use crate::units::ByteSize;
use crate::verify::{self, Finding, Level};

pub(super) const HELP: &str = "\
Needs neither an identity nor the server. The exit code is 5 when anything is damaged or missing.";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backups to check, each by its id, a unique beginning of it, or latest [default: all, and the captured oplog]
    backups: Vec<String>,
    /// Check all backups and the captured oplog
    #[arg(long, conflicts_with = "backups")]
    all: bool,
    /// structure: existence, sizes and signatures; checksum: every byte as well
    #[arg(long, default_value = "checksum")]
    level: String,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let level: Level = arguments.level.parse()?;
    let repository = session.repository(&config).await?;
    let mut backups = Vec::new();
    for name in &arguments.backups {
        backups.push(repository.resolve(name).await?);
    }
    // A backup whose manifest is lost looks like one that was never finished, so those are named here too.
    let leftovers = if backups.is_empty() { repository.list().await?.leftovers } else { Vec::new() };
    let (progress, started_at) = (Progress::default(), session.clock.now());
    let verification = progress::show(session, "verify", &progress, async {
        tokio::select! {
            verification = verify::verify(&repository, &backups, level, &progress) => verification,
            () = stop_requested() => Err(Error::new(Kind::Interrupted, "the verification was interrupted")),
        }
    })
    .await?;
    let run = record::by_hand(session, Job::Verify, started_at);
    record::record_if_possible(session, &config, &repository, verification.event(run, level)).await;
    let findings = &verification.findings;
    if session.json {
        let listed = findings
            .iter()
            .map(|finding| json!({ "object": finding.object, "backup": finding.backup, "problem": finding.problem }));
        let answer = json!({
            "checked_objects": verification.checked_objects,
            "checked_bytes": verification.checked_bytes,
            "findings": listed.collect::<Vec<_>>(),
            "ok": findings.is_empty(),
            "leftovers": leftovers_json(&leftovers),
        });
        println!("{answer}");
    } else {
        for finding in findings {
            println!("{}: {}", finding.object, finding.problem);
        }
    }
    let (objects, backups) =
        (counted(verification.checked_objects, "object"), counted(verification.backups.len() as u64, "backup"));
    session.say(format_args!("Checked {objects} of {backups}, read {}.", ByteSize(verification.checked_bytes)));
    name_leftovers(session, &leftovers);
    if findings.is_empty() {
        session.say(match level {
            Level::Structure => "Everything is there with its recorded size; the bytes were not read.",
            Level::Checksum => "Everything is as it was written.",
        });
        return Ok(());
    }
    let affected = |finding: &Finding| finding.backup.as_ref().map_or("the captured oplog".into(), ToString::to_string);
    let mut damaged: Vec<String> = findings.iter().map(affected).collect();
    damaged.dedup();
    let objects = match findings.len() {
        1 => "1 object is".to_owned(),
        count => format!("{count} objects are"),
    };
    Err(Error::damaged(format!("{objects} not as written; affected: {}", damaged.join(", ")))
        .with_hint("take a new backup now, and restore from one that is not affected"))
}
