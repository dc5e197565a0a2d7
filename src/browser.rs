//! Printing a page as PDF, by a browser without a window: paper shows what the screen shows. See decision 0022.
//!
//! The page is self-contained, and the browser is given no network to look for anything else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::patience;

/// The browsers that are looked for, where none is configured.
const KNOWN: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge"];

/// How long printing may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Returns a page as PDF; `browser` is the program, else one that is known is looked for. Blocks while it is printed.
///
/// # Errors
/// [`Kind::Configuration`](crate::error::Kind::Configuration) when there is no browser; when it does not print.
pub fn print(page: &str, browser: Option<&Path>) -> Result<Vec<u8>> {
    let browser = match browser {
        Some(browser) => browser.to_owned(),
        None => find().ok_or_else(|| {
            Error::configuration("a PDF is printed by a browser, and none is here").with_hint(
                "install chromium ('apt-get install chromium'), name a browser by report.browser, or write HTML and print that",
            )
        })?,
    };
    let failed = |error: std::io::Error| Error::failed("cannot print a PDF").caused_by(error);
    let folder = tempfile::Builder::new().prefix("regrow-print-").tempdir().map_err(failed)?;
    let (source, target) = (folder.path().join("report.html"), folder.path().join("report.pdf"));
    std::fs::write(&source, page).map_err(failed)?;
    let mut command = Command::new(&browser);
    command.args(["--headless", "--disable-gpu", "--no-pdf-header-footer", "--disable-background-networking"]);
    command.args(["--no-first-run", "--proxy-server=127.0.0.1:9", "--disable-dev-shm-usage"]);
    if rustix::process::geteuid().is_root() {
        // A browser refuses to run as root with its sandbox; the page is our own, and has no script.
        command.arg("--no-sandbox");
    }
    command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    command.arg(format!("--print-to-pdf={}", target.display())).arg(format!("file://{}", source.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = command.spawn().map_err(|error| {
        Error::configuration(format!("cannot run the browser '{}'", browser.display()))
            .caused_by(error)
            .with_hint("correct report.browser, or remove it to let one be looked for")
    })?;
    let Some(status) = patience::wait(&mut running, PATIENCE).map_err(failed)? else {
        return Err(Error::failed(format!("the browser '{}' did not print within two minutes", browser.display())));
    };
    std::fs::read(&target).map_err(|error| {
        Error::failed(format!("the browser '{}' did not print ({status})", browser.display()))
            .caused_by(error)
            .with_hint("run it by hand with --headless --print-to-pdf and see what it says")
    })
}

/// Returns the first of the known browsers that is here.
#[must_use]
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    KNOWN.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|program| program.is_file()))
}
