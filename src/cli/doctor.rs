//! `regrow doctor`: what is wrong, found by doing, and how to mend it.

mod installation;

use std::io::IsTerminal;

use serde_json::json;

use super::output::counted;
use super::{Session, stop_requested};
use crate::doctor::{self, Check, Outcome};
use crate::error::{Error, Kind, Result};
use crate::units::Span;

pub(super) const HELP: &str = "\
Checks the configuration, keys, store, servers and privileges by doing what backups, capture and restores do, and prints \
for each check what it did, what it found, and what mends it; commands for mongosh are complete. While the service (or \
'regrow capture') runs, a marker is written into the source's oplog and waited for in the repository.

The exit code is 0 when nothing is wrong (there may be warnings), 3 when the configuration or a privilege is, 1 otherwise.

Examples:
  regrow doctor
  regrow doctor --to env:RESTORE_URI    # may this user restore?
  regrow doctor --wait 10m --json";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How long to wait until a marker has been captured
    #[arg(long, value_name = "TIME", default_value = "90s")]
    wait: String,
    /// The deployment that restores would go to, with its user, as env:NAME or as a URI, whose password shows in the list of
    /// processes [default: the source]
    #[arg(long, value_name = "URI")]
    to: Option<String>,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let wait: Span = arguments.wait.parse().map_err(|error| Error::new(Kind::Usage, format!("--wait: {error}")))?;
    let to = arguments.to.as_deref().map(|to| session.target(to)).transpose()?;
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let json = session.json;
    let mut told = |check: &Check| {
        if !json {
            print(check, colour);
        }
    };
    let checks = match session.config() {
        Err(error) => {
            let check = Check::of_configuration(&error);
            told(&check);
            vec![check]
        }
        Ok(config) => {
            let installation = installation::gather(session, &config, wait.0, to).await;
            tokio::select! {
                checks = Box::pin(doctor::examine(&installation, &mut told)) => checks,
                () = stop_requested() => return Err(Error::new(Kind::Interrupted, "the doctor was interrupted")),
            }
        }
    };
    let verdict = verdict(&checks);
    if json {
        println!("{}", json!({ "ok": verdict.is_ok(), "checks": checks }));
    } else if verdict.is_ok() {
        session.say(summary(&checks));
    }
    verdict
}

/// How a check's outcome is written: the word tells, colour only helps the eye.
fn word(outcome: Outcome) -> (&'static str, &'static str) {
    const GREEN: &str = "\u{1b}[32m";
    const YELLOW: &str = "\u{1b}[33m";
    const BOLD_RED: &str = "\u{1b}[1;31m";
    const DIM: &str = "\u{1b}[2m";
    match outcome {
        Outcome::Ok => ("ok", GREEN),
        Outcome::Warning => ("warning", YELLOW),
        Outcome::Problem => ("PROBLEM", BOLD_RED),
        Outcome::Skipped => ("skipped", DIM),
    }
}

/// The width of the first column, and of the second: the longest name of a check.
const WORDS: usize = 7;
const NAMES: usize = 18;

fn print(check: &Check, colour: bool) {
    const PLAIN: &str = "\u{1b}[0m";
    let (word, escape) = word(check.outcome);
    let (on, off) = if colour { (escape, PLAIN) } else { ("", "") };
    let Check { name, did, found, fix, .. } = check;
    println!("{on}{word:<WORDS$}{off}  {name:<NAMES$}  {found}");
    let indent = " ".repeat(WORDS + NAMES + 4);
    if check.outcome != Outcome::Skipped {
        println!("{indent}({did})");
    }
    for (number, line) in fix.iter().flat_map(|fix| fix.lines()).enumerate() {
        let begin = if number == 0 { "to fix: " } else { "        " };
        println!("{indent}{begin}{line}");
    }
}

fn summary(checks: &[Check]) -> String {
    let warnings = checks.iter().filter(|check| check.outcome == Outcome::Warning).count();
    let all = counted(checks.len() as u64, "check");
    match warnings {
        0 => format!("Nothing is wrong: {all}."),
        _ => format!("{all}, {}; nothing stands in the way of backups.", counted(warnings as u64, "warning")),
    }
}

fn verdict(checks: &[Check]) -> Result<()> {
    let problems: Vec<&Check> = checks.iter().filter(|check| check.outcome == Outcome::Problem).collect();
    let names: Vec<&str> = problems.iter().map(|check| check.name).collect();
    if names.is_empty() {
        return Ok(());
    }
    let is_configuration = problems.iter().any(|check| check.is_configuration);
    let kind = if is_configuration { Kind::Configuration } else { Kind::Failed };
    let all = counted(checks.len() as u64, "check");
    let message = format!("{} of {all} found a problem: {}", names.len(), names.join(", "));
    Err(Error::new(kind, message).with_hint("each says above how to fix it; then run 'regrow doctor' again"))
}
