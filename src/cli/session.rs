//! What every command gets, and what most of them begin with.

use std::path::PathBuf;
use std::time::Duration;

use super::{progress, record};
use crate::backup::{BackupContext, BackupSettings, Targets};
use crate::clock::Clock;
use crate::codec::{Recipients, SigningKey};
use crate::config::{Config, Stores};
use crate::error::Result;
use crate::mongo::Deployment;
use crate::progress::Progress;
use crate::random::Random;
use crate::repository::Repository;
use crate::secret::{self, Secret};

/// How long a person sees nothing before being told what is waited for.
const SILENCE: Duration = Duration::from_secs(2);

/// What every command gets.
pub(super) struct Session {
    pub(super) config: Option<PathBuf>,
    pub(super) json: bool,
    pub(super) quiet: bool,
    pub(super) progress: progress::Mode,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) stores: Stores,
    pub(super) targets: Targets,
}

impl Session {
    /// Reads the configuration.
    pub(super) fn config(&self) -> Result<Config> {
        Config::load(self.config.as_deref())
    }

    /// Returns what taking a backup into a repository needs besides its plan.
    pub(super) fn backup_context(
        &self,
        repository: &Repository,
        (recipients, signing_key): (Option<Recipients>, &SigningKey),
        progress: &Progress,
        settings: BackupSettings,
    ) -> BackupContext {
        BackupContext {
            repository: repository.clone(),
            recipients,
            signing_key: signing_key.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
            who: record::who(),
            progress: progress.clone(),
            targets: self.targets,
            settings,
        }
    }

    /// Opens the repository, and says where it contradicts what this machine remembers.
    pub(super) async fn repository(&self, config: &Config) -> Result<Repository> {
        let storage = self.stores.open(&config.file.repository, false).await?;
        let trust = config.trust()?;
        let remembers = trust.witness.is_some();
        let repository = Repository::open_as(storage, trust).await?;
        if remembers {
            for (key, problem) in repository.contradictions().await? {
                self.say(format_args!("warning: {key}: {problem}"));
            }
        }
        Ok(repository)
    }

    /// Returns the URI that `--to` gives.
    ///
    /// A password is taken from there, too, because an incident is no time to refuse one. But whoever lists the processes of this
    /// machine reads it.
    pub(super) fn target(&self, to: &str) -> Result<Secret> {
        if !secret::is_elsewhere(to) && has_password(to) {
            self.say(
                "warning: everybody on this machine can read the password in --to, in the list of processes: \
                 give --to env:NAME or --to file:PATH",
            );
        }
        Secret::resolve("--to", to)
    }

    /// Connects to a deployment, and says so when that takes long: a server that does not answer is waited for.
    pub(super) async fn connect(&self, uri: &Secret) -> Result<Deployment> {
        let connecting = Deployment::connect(uri);
        tokio::pin!(connecting);
        if let Ok(outcome) = tokio::time::timeout(SILENCE, &mut connecting).await {
            return outcome;
        }
        self.say("waiting for the MongoDB server to answer");
        connecting.await
    }

    /// Says something to a person, unless they asked for silence.
    pub(super) fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            progress::beside(|| eprintln!("{text}"));
        }
    }
}

/// Whether a URI names a password: `scheme://user:password@host`.
fn has_password(uri: &str) -> bool {
    let authority = uri.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    // A password may have a question mark in it, by mistake; an option may have an @.
    let account = authority.rsplit_once('@').and_then(|(account, _)| account.split('?').next());
    account.is_some_and(|account| account.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_told_from_a_port() {
        for with in [
            "mongodb://anna:secret@host:27017/?tls=true",
            "mongodb://anna:secret@host?tls=true",
            "mongodb://anna:se?cret@host",
        ] {
            assert!(has_password(with), "{with}");
        }
        for without in [
            "mongodb://host:27017,other:27017/",
            "mongodb://anna@host:27017",
            "host:27017",
            "mongodb://h/a:b@c",
            "mongodb://h?a=b:c@d",
        ] {
            assert!(!has_password(without), "{without}");
        }
    }
}
