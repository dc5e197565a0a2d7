//! `regrow verify`: is what is stored still what was written?

use serde_json::{Value, json};

use super::output::{are, counted, leftovers_json, name_leftovers, time};
use super::{Session, progress, record, stop_requested};
use crate::error::{Error, Kind, Result};
use crate::format::evidence::Subset;
use crate::format::oplog::Range;
use crate::format::{Job, layout};
use crate::progress::Progress;
use crate::units::{ByteSize, Elapsed};
use crate::verify::{self, Finding, Level, VerifyRequest};

pub(super) const HELP: &str = "\
Needs no server, and no identity but at level content. The exit code is 5 when anything is damaged, missing or foreign.

Examples:
  regrow verify                            every byte of everything
  regrow verify --level structure          existence, sizes, signatures, and that nothing is missing: quick
  regrow verify --subset 2/4               the second of four parts; all four are everything
  regrow verify --level content latest     every document of the newest backup";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backups to check, each by its id, a unique beginning of it, or latest [default: all, and the captured oplog]
    backups: Vec<String>,
    /// Check all backups and the captured oplog
    #[arg(long, conflicts_with = "backups")]
    all: bool,
    /// structure: existence, sizes and signatures; checksum: every byte as well; content: every document, too
    #[arg(long, default_value = "checksum")]
    level: String,
    /// Read only one of several parts of the bytes, such as 2/4: all parts together are everything
    #[arg(long, value_name = "N/T", conflicts_with = "backups")]
    subset: Option<String>,
    /// Read no more than this in a second, such as 50MiB [default: verify.bandwidth of the configuration]
    #[arg(long, value_name = "SIZE")]
    bandwidth: Option<String>,
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
    let request = VerifyRequest {
        backups,
        level,
        subset: arguments.subset.as_deref().map(subset).transpose()?,
        identities: if level == Level::Content { config.identities()? } else { None },
    };
    let bandwidth = arguments.bandwidth.as_deref().map(bandwidth).transpose()?.or(config.verify()?.bandwidth);
    let read = repository.throttled(bandwidth);
    let (progress, started_at) = (Progress::default(), session.clock.now());
    let verification = progress::show(session, "verify", &progress, async {
        tokio::select! {
            verification = verify::verify(&read, &request, started_at, &progress) => verification,
            () = stop_requested() => Err(Error::new(Kind::Interrupted, "the verification was interrupted")),
        }
    })
    .await?;
    let run = record::by_hand(session, Job::Verify, started_at);
    record::record_if_possible(session, &config, &repository, verification.event(run, level)).await;
    let findings = &verification.findings;
    if session.json {
        let listed = findings.iter().map(as_json);
        let answer = json!({
            "checked_objects": verification.checked_objects,
            "checked_bytes": verification.checked_bytes,
            "findings": listed.collect::<Vec<_>>(),
            "ok": findings.is_empty(),
            "leftovers": leftovers_json(&leftovers),
        });
        println!("{answer}");
    } else {
        findings.iter().for_each(print);
    }
    let (objects, backups) =
        (counted(verification.checked_objects, "object"), counted(verification.backups.len() as u64, "backup"));
    session.say(format_args!("Checked {objects} of {backups}, read {}.", ByteSize(verification.checked_bytes)));
    name_leftovers(session, &leftovers);
    if findings.is_empty() {
        session.say(match (level, request.subset) {
            (Level::Structure, _) => "Everything is there with its recorded size; the bytes were not read.",
            (_, Some(_)) => "Everything of this part is as it was written; the other parts were not read.",
            (Level::Checksum, None) => "Everything is as it was written.",
            (Level::Content, None) => "Everything is as it was written, and every document is the one that was read.",
        });
        return Ok(());
    }
    let mut damaged: Vec<String> = findings.iter().flat_map(affected).collect();
    // What explains the others stands first.
    damaged.sort_by_key(|area| (area != layout::DESCRIPTOR, area.clone()));
    damaged.dedup();
    let objects = are(findings.len() as u64, "object");
    let error = Error::damaged(format!("{objects} not as written; affected: {}", damaged.join(", ")));
    if findings.iter().any(|finding| finding.object == layout::DESCRIPTOR) {
        return Err(error.with_hint(
            "bring regrow-repository.json back from a copy first: while it is not what it was, nothing that is signed can be believed",
        ));
    }
    let sound: Vec<String> =
        verification.backups.iter().map(ToString::to_string).filter(|id| !damaged.contains(id)).collect();
    Err(error.with_hint(match sound.iter().max() {
        _ if request.subset.is_some() => "take a new backup now, and verify the other parts".to_owned(),
        Some(newest) => {
            format!("take a new backup now; of those that were checked, {newest} is the newest that is not affected")
        }
        None if request.backups.is_empty() => "take a new backup now: there is none that is not affected".into(),
        None => "take a new backup now; 'regrow verify' tells which others are not affected".into(),
    }))
}

/// Returns what must not be restored because of a finding, increments that build on what is damaged among them.
fn affected(finding: &Finding) -> Vec<String> {
    match &finding.backup {
        Some(backup) => finding.costs.backups.iter().chain([backup]).map(ToString::to_string).collect(),
        None => vec![area(&finding.object)],
    }
}

/// Returns what an object that belongs to no backup belongs to.
fn area(object: &str) -> String {
    let folder = object.split_once('/').map_or("", |(folder, _)| folder);
    match folder {
        "oplog" => "the captured oplog".into(),
        "evidence" => "evidence".into(),
        "reports" => "reports".into(),
        _ => object.to_owned(),
    }
}

fn as_json(finding: &Finding) -> Value {
    json!({
        "object": finding.object,
        "backup": finding.backup,
        "problem": finding.problem,
        "namespace": finding.namespace,
        "costs": { "backups": finding.costs.backups, "recovery_points": finding.costs.recovery_points },
    })
}

fn print(finding: &Finding) {
    let of = finding.namespace.as_ref().map_or_else(String::new, |namespace| format!(" ({namespace})"));
    println!("{}: {}{of}", finding.object, finding.problem);
    let range = |range: &Range| {
        let length = Elapsed(range.end.wall().duration_since(range.begin.wall()).unsigned_abs());
        if range.begin == range.end {
            format!("the moment {}", time(range.begin.wall()))
        } else {
            format!("{} to {} ({length})", time(range.begin.wall()), time(range.end.wall()))
        }
    };
    let lost: Vec<String> = finding.costs.recovery_points.iter().map(range).collect();
    let backups: Vec<String> = finding.costs.backups.iter().map(ToString::to_string).collect();
    let backups = (!backups.is_empty()).then(|| backups.join(", "));
    match (backups, lost.is_empty()) {
        (None, true) => println!("  costs: nothing that could be restored"),
        (Some(backups), true) => println!("  costs: {backups}; no recovery point, others lead to all of its moments"),
        (None, false) => println!("  costs: {}", lost.join(", ")),
        (Some(backups), false) => println!("  costs: {backups}, and {}", lost.join(", ")),
    }
}

/// Reads a part and how many there are.
fn subset(text: &str) -> Result<Subset> {
    let parts = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    match parts {
        Some((part, of)) if part >= 1 && part <= of => Ok(Subset { part, of }),
        _ => {
            Err(Error::new(Kind::Usage, format!("'{text}' is no part"))
                .with_hint("write 1/4, 2/4, 3/4 and 4/4 in turn"))
        }
    }
}

fn bandwidth(text: &str) -> Result<u64> {
    let size: ByteSize = text.parse().map_err(|reason: String| Error::new(Kind::Usage, reason))?;
    Ok(size.0)
}
