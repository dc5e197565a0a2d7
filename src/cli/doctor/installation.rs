//! Everything that the doctor examines, as the configuration has it; what is wrong there is for the doctor to tell.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::Session;
use crate::config::{Config, schedules};
use crate::daemon::Settings;
use crate::doctor::Installation;
use crate::error::{Error, Result};
use crate::notify::Notifier;
use crate::policy::Schedule;
use crate::secret::Secret;

pub(super) async fn gather(
    session: &Session,
    config: &Config,
    wait: Duration,
    restore_to: Option<Secret>,
) -> Installation {
    let (clock, random) = (session.clock.clone(), session.random.clone());
    Installation {
        source: config.source_uri(),
        member: config.source_member(),
        // A person waits: what fails is told at once, and not tried again for minutes.
        storage: session.stores.open_unpatient(&config.file.repository, false).await,
        directory: config.file.repository.url.strip_prefix("file://").map(PathBuf::from),
        trust: config.trust(),
        recipients: config.recipients(),
        identities: config.identities(),
        signing_key: config.signing_key(),
        capture: config.capture(),
        schedules: read_schedules(config),
        retention: config.retention(),
        objectives: config.objectives(),
        drill: config.file.drill.is_some().then(|| config.drill().map(|drill| drill.target)),
        browser: config.browser(),
        channels: channels(session, config),
        settings: settings(config),
        restore_to,
        wait,
        waiting: waiting(session.quiet),
        clock,
        random,
    }
}

fn waiting(quiet: bool) -> Box<dyn Fn(&str) + Send + Sync> {
    Box::new(move |text| {
        if !quiet {
            eprintln!("{text}");
        }
    })
}

fn read_schedules(config: &Config) -> Option<Result<Vec<Schedule>>> {
    let folder = config.schedules_folder();
    (config.file.schedules.is_some() || folder.exists()).then(|| schedules::load(&folder))
}

fn channels(session: &Session, config: &Config) -> Result<usize> {
    let settings = config.notifications()?;
    Ok(Notifier::new(settings, config.source_name(), &session.clock, &session.random)?.channels())
}

/// Returns what is wrong with sections that have no check of their own.
fn settings(config: &Config) -> Vec<(&'static str, Error)> {
    let server = Settings::server(config).err().map(|error| ("server", error));
    let verify = config.verify().err().map(|error| ("verify", error));
    server.into_iter().chain(verify).collect()
}
