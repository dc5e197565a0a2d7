//! Programs that Regrow starts: are they there, and do they run?

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Installation;
use super::check::{Check, doing};
use crate::browser;
use crate::error::{Error, Result};
use crate::format::Job;
use crate::patience;

/// How long a program may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much of what it says is read: the first line says it.
const MAX_SAID: u64 = 4096;

pub(super) async fn browser(installation: &Installation) -> Check {
    let doing = doing("browser", "ran the browser that prints reports as PDF");
    let schedules = installation.schedules.as_ref().and_then(|schedules| schedules.as_ref().ok());
    let is_wanted = schedules.is_some_and(|all| all.iter().any(|schedule| schedule.job == Job::Report));
    let Some(program) = installation.browser.clone().or_else(browser::find) else {
        let found = "there is none: reports are written as HTML, Markdown, CSV and JSON, and not as PDF";
        if !is_wanted {
            return doing.ok(found);
        }
        return doing
            .warning(found, "install chromium ('apt-get install chromium'), or name a browser by report.browser");
    };
    match version(&program).await {
        Ok(version) => doing.ok(version),
        Err(error) if installation.browser.is_some() => doing.misconfigured(
            format!("cannot run '{}', which report.browser names: {error}", program.display()),
            "correct report.browser, or remove it to let one be looked for",
        ),
        Err(error) => doing.unknown(&error),
    }
}

/// Runs a program with `--version` and returns the first line that it says.
pub(super) async fn version(program: &Path) -> Result<String> {
    let program = PathBuf::from(program);
    let asked = tokio::task::spawn_blocking(move || ask(&program)).await;
    asked.map_err(|error| Error::failed("asking a program what it is was given up").caused_by(error))?
}

fn ask(program: &Path) -> Result<String> {
    let failed = |error: std::io::Error| Error::failed(format!("cannot run '{}'", program.display())).caused_by(error);
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = command.spawn().map_err(failed)?;
    let Some(status) = patience::wait(&mut running, PATIENCE).map_err(failed)? else {
        return Err(Error::failed(format!("'{}' does not say what it is within 20 s", program.display())));
    };
    let mut said = String::new();
    if let Some(output) = running.stdout.take() {
        output.take(MAX_SAID).read_to_string(&mut said).map_err(failed)?;
    }
    if !status.success() {
        return Err(Error::failed(format!("'{} --version' ended with {status}", program.display())));
    }
    Ok(said.lines().next().unwrap_or("it runs, and does not say what it is").trim().to_owned())
}
