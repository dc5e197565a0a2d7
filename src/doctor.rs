//! What is wrong with an installation, found by doing what it will do, and how to mend it.
//!
//! Every check runs, whatever became of those before it; one that needs what another found missing is skipped and says so.
//! Nothing is changed but for markers in `control/` of the repository, which are removed again, and a note in the source's
//! oplog, which changes nothing. A doctor that is killed leaves at most such a marker: `regrow verify` knows them, and
//! nothing else looks at them.

mod capture;
mod check;
mod disk;
mod drill;
mod keys;
mod notes;
mod oplog;
mod privileges;
mod program;
mod proof;
mod schedules;
mod server;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use check::{Check, Outcome};

use crate::capture::CaptureSettings;
use crate::clock::Clock;
use crate::codec::{Identities, Recipients, SigningKey};
use crate::drill::TargetSettings;
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::mongo::{Deployment, MemberChoice};
use crate::policy::{Retention, Schedule};
use crate::random::Random;
use crate::repository::{Repository, Trust};
use crate::secret::Secret;
use crate::status::Objectives;
use crate::storage::Storage;

/// What is examined. What the configuration says wrongly is here as the error that it causes.
pub struct Installation {
    /// What is backed up.
    pub source: Result<Secret>,
    /// Which member of it is read.
    pub member: Result<MemberChoice>,
    /// Where backups go.
    pub storage: Result<Arc<dyn Storage>>,
    /// The directory that is, if it is one.
    pub directory: Option<PathBuf>,
    /// What the repository is held against.
    pub trust: Result<Trust>,
    /// Whom they are encrypted to; none where encryption is switched off.
    pub recipients: Result<Option<Recipients>>,
    /// What opens them, where something does.
    pub identities: Result<Option<Identities>>,
    /// What signs them.
    pub signing_key: Result<SigningKey>,
    /// How the oplog is captured; none where it is not.
    pub capture: Result<Option<CaptureSettings>>,
    /// What the service does when; none where there is no folder of schedules.
    pub schedules: Option<Result<Vec<Schedule>>>,
    /// How much is kept.
    pub retention: Option<Retention>,
    /// What is to be reached.
    pub objectives: Objectives,
    /// Where drills restore to; none where the configuration does not say.
    pub drill: Option<Result<TargetSettings>>,
    /// The browser that prints PDFs, where one is named.
    pub browser: Option<PathBuf>,
    /// Whom the service tells what is wrong: how many channels there are.
    pub channels: Result<usize>,
    /// What has no check of its own: the name of the setting, and what is wrong with it.
    pub settings: Vec<(&'static str, Error)>,
    /// Where a restore would go; none: to the source.
    pub restore_to: Option<Secret>,
    /// How long to wait until a marker has been captured.
    pub wait: Duration,
    /// Told when something takes its time.
    pub waiting: Box<dyn Fn(&str) + Send + Sync>,
    /// The time.
    pub clock: Clock,
    /// For the names of markers.
    pub random: Random,
}

/// What earlier checks have found, for those that follow.
#[derive(Default)]
struct Found {
    repository: Option<Repository>,
    source: Option<Deployment>,
    newest: Option<Manifest>,
}

/// Examines an installation and tells `told` of each check as it ends.
pub async fn examine(installation: &Installation, told: &mut (dyn FnMut(&Check) + Send)) -> Vec<Check> {
    let mut examination = Examination { installation, found: Found::default(), told, checks: Vec::new() };
    examination.run().await;
    examination.checks
}

struct Examination<'a> {
    installation: &'a Installation,
    found: Found,
    told: &'a mut (dyn FnMut(&Check) + Send),
    checks: Vec<Check>,
}

impl Examination<'_> {
    fn note(&mut self, checks: impl IntoIterator<Item = Check>) {
        for check in checks {
            (self.told)(&check);
            self.checks.push(check);
        }
    }

    async fn run(&mut self) {
        let installation = self.installation;
        self.note(schedules::settings(installation));
        self.note([schedules::schedules(installation), schedules::objectives(installation)]);
        self.note([schedules::channels(installation)]);
        // Keys need no network, so they are told before anything waits for one.
        self.note([keys::recipients(installation), keys::identity(installation)]);
        self.repository().await;
        self.source().await;
        self.note([drill::check(installation, &self.found).await]);
        self.note(disk::check(installation, &self.found).await);
        self.note([program::browser(installation).await]);
        // Last, because it may wait.
        self.note([capture::check(installation, &self.found).await]);
    }

    async fn repository(&mut self) {
        let (check, repository) = store::open(self.installation).await;
        self.note([check]);
        self.found.repository = repository;
        let checks = [
            store::by_doing(self.installation).await,
            keys::signing_key(self.installation, &self.found),
            keys::trusted_keys(self.installation, &self.found),
        ];
        self.note(checks);
        let (check, newest) = keys::newest_backup(self.installation, &self.found).await;
        self.note([check]);
        self.found.newest = newest;
        self.note([proof::check(self.installation, &self.found).await]);
    }

    async fn source(&mut self) {
        let installation = self.installation;
        let (check, deployment) = server::connect(installation).await;
        self.note([check]);
        self.found.source = deployment;
        let checks = [
            server::members(&self.found).await,
            server::clocks(installation, &self.found).await,
            server::snapshots(&self.found).await,
            oplog::window(installation, &self.found).await,
            privileges::of_source(&self.found).await,
            privileges::for_restores(installation, &self.found).await,
        ];
        self.note(checks);
    }
}
