//! The configuration file, read once and resolved into what the program works with.
//!
//! Unknown keys are errors with a suggestion. Secrets are resolved where they are used, so a command never needs
//! one that it does not use.

mod drill;
mod explain;
mod file;
mod notify;
mod place;
pub mod schedules;
mod source;
mod verify;
mod workloads;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use drill::DrillSettings;
pub use file::{EncryptionTable, File};
pub use place::Stores;
pub use verify::VerifySettings;

use zeroize::Zeroizing;

use crate::backup::{BackupSettings, IncrementSettings, ReadLimits};
use crate::capture::CaptureSettings;
use crate::codec::signing::public_key;
use crate::codec::{Identities, Level, Recipients, SigningKey, TrustedKeys};
use crate::error::{Error, Result};
use crate::format::BackupKind;
use crate::format::manifest::Encryption;
use crate::mongo::MemberChoice;
use crate::notify::NotifySettings;
use crate::policy::Retention;
use crate::repository::Trust;
use crate::secret::Secret;
use crate::units::Span;

/// Where a configuration is looked for when none is named.
const DEFAULT_PATHS: [&str; 2] = ["./regrow.toml", "/etc/regrow/regrow.toml"];

/// The folder of the schedules, beside the configuration.
const DEFAULT_SCHEDULES: &str = "schedules";

/// Each slice is an object in the store, and each costs requests.
const SHORTEST_SLICE: Duration = Duration::from_secs(1);

/// The signing key's file, beside the configuration, unless `signing.key_file` says otherwise.
const DEFAULT_KEY_FILE: &str = "regrow-signing.key";

/// A configuration that makes sense.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file's content.
    pub file: File,
    path: PathBuf,
}

impl Config {
    /// Reads the configuration from `path`, or from the first default place that has one.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when there is none or it makes no sense.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => DEFAULT_PATHS.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
                Error::configuration(format!("there is no configuration: neither {}", DEFAULT_PATHS.join(" nor ")))
                    .with_hint("name one with --config FILE or REGROW_CONFIG; the README shows what belongs into it")
            })?,
        };
        // It may hold secrets.
        let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(|error| {
            Error::configuration(format!("cannot read the configuration {}", path.display()))
                .caused_by(error)
                .with_hint("check the path and who may read it")
        })?);
        let file = File::parse(&text, &path.display().to_string())?;
        let mut config = Self { file, path };
        // Who opens the store is given the table alone.
        let authorities = config.file.repository.ca_file.take().map(|file| config.beside(Path::new(&file)));
        config.file.repository.ca_file = authorities;
        Ok(config)
    }

    /// Returns the URI of the source.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when it is missing or cannot be resolved.
    pub fn source_uri(&self) -> Result<Secret> {
        let source = self.file.source.as_ref().ok_or_else(|| {
            Error::configuration("the configuration has no [source]").with_hint("add [source] with name and uri")
        })?;
        Secret::resolve("source.uri", &source.uri)
    }

    /// Returns the source's name for manifests and reports.
    #[must_use]
    pub fn source_name(&self) -> &str {
        self.file.source.as_ref().map_or("unnamed", |source| &source.name)
    }

    /// Returns whom backups are encrypted to; none only when encryption is switched off in as many words.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when there is no recipient.
    pub fn recipients(&self) -> Result<Option<Recipients>> {
        match self.encryption() {
            Encryption::None => Ok(None),
            Encryption::Age => Recipients::parse(&self.encryption_table().recipients).map(Some),
        }
    }

    /// Returns the identities that open backups, if a file of them is configured.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when the file cannot be read or holds none.
    pub fn identities(&self) -> Result<Option<Identities>> {
        let Some(path) = self.encryption_table().identity_file else { return Ok(None) };
        let path = self.beside(Path::new(&path));
        let what = format!("{}, which encryption.identity_file names", path.display());
        let missing = "put a copy of the identity there, or point encryption.identity_file at one; 'regrow show' names whose identity opens a backup";
        Identities::parse(&Secret::read_key(&path, &what, missing)?).map(Some)
    }

    /// Returns whether backups are encrypted.
    #[must_use]
    pub fn encryption(&self) -> Encryption {
        if matches!(self.file.encryption, Some(EncryptionTable::Off)) { Encryption::None } else { Encryption::Age }
    }

    /// Returns where the signing key lies.
    #[must_use]
    pub fn signing_key_path(&self) -> PathBuf {
        let configured = self.file.signing.as_ref().map(|signing| PathBuf::from(&signing.key_file));
        self.beside(&configured.unwrap_or_else(|| DEFAULT_KEY_FILE.into()))
    }

    /// Reads the signing key.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when the file is missing or holds none.
    pub fn signing_key(&self) -> Result<SigningKey> {
        let path = self.signing_key_path();
        let missing = "it is the file that 'regrow init' wrote when the repository was made: copy it there from the backup host or from where its copy is kept, or point signing.key_file at it; a new one signs for new repositories alone, or for this one once its key is accepted ('regrow keys --accept')";
        SigningKey::parse(&Secret::read_key(&path, &format!("the signing key {}", path.display()), missing)?)
    }

    /// Returns when a backup of a kind is an increment; none where it never is. Weekly and monthly ones are full, so that
    /// no chain is longer than a week; those that are taken by hand are what whoever takes them asks for.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when the share makes no sense.
    pub fn increments(&self, kind: BackupKind) -> Result<Option<IncrementSettings>> {
        let is_wanted = self.file.backup.as_ref().is_some_and(|backup| backup.incremental == Some(true));
        Ok(self.increment_settings().map(Some)?.filter(|_| is_wanted && kind == BackupKind::Daily))
    }

    /// Returns how increments are taken where one is asked for.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when the share makes no sense.
    pub fn increment_settings(&self) -> Result<IncrementSettings> {
        let share = self.file.backup.as_ref().and_then(|backup| backup.largest_increment);
        match share {
            None => Ok(IncrementSettings::default()),
            Some(share) if (1..=100).contains(&share) => Ok(IncrementSettings { share }),
            Some(share) => Err(Error::configuration(format!("backup.largest_increment is {share}, which is no share"))
                .with_hint("set it to a number of percent from 1 to 100, or leave it out for 30")),
        }
    }

    /// Returns what a backup may cost; `level` is the compression level that the command line names, which counts for more.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::error::Kind::Usage) when that is none,
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when a value of the configuration makes no sense.
    pub fn backup_settings(&self, level: Option<&str>) -> Result<BackupSettings> {
        let configured = self.file.compression.as_ref().and_then(|compression| compression.level);
        let level = match (level, configured) {
            (Some(named), _) => named.parse()?,
            (None, Some(number)) => Level::new(number).map_err(|error| {
                let hint = error.hint().unwrap_or_default().to_owned();
                Error::configuration(format!("compression.level: {error}")).with_hint(hint)
            })?,
            (None, None) => Level::DEFAULT,
        };
        let limits = self.file.source.as_ref().map_or_else(|| Ok(ReadLimits::default()), source::Source::limits)?;
        Ok(BackupSettings { level, limits })
    }

    /// Returns which member of the source is read.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when keys contradict each other.
    pub fn source_member(&self) -> Result<MemberChoice> {
        self.file.source.as_ref().map_or_else(|| Ok(MemberChoice::Any), source::Source::member)
    }

    /// Returns what is known of the repository before it is opened.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when a trusted key is none.
    pub fn trust(&self) -> Result<Trust> {
        let repository = &self.file.repository;
        let keys = repository.trusted_keys.as_deref().map(trusted_keys).transpose()?;
        let witness = repository.witness_file.as_ref().map(|path| self.beside(Path::new(path)));
        Ok(Trust { keys, witness })
    }

    /// Returns how much is kept; none when the configuration does not say.
    #[must_use]
    pub fn retention(&self) -> Option<Retention> {
        let table = self.file.retention.as_ref()?;
        let (daily, weekly, monthly) = (table.daily, table.weekly, table.monthly);
        Some(Retention { daily, weekly, monthly, oplog: table.oplog.map(|oplog| oplog.0) })
    }

    /// Returns who is told what; nobody when the configuration does not say.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration), naming the key, when a secret cannot be resolved or
    /// a value makes no sense.
    pub fn notifications(&self) -> Result<NotifySettings> {
        self.file.notify.as_ref().map_or_else(|| Ok(NotifySettings::default()), notify::Notify::resolve)
    }

    /// Returns how the oplog is captured; none when that is switched off.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when slices would be too short.
    pub fn capture(&self) -> Result<Option<CaptureSettings>> {
        let mut settings = CaptureSettings::default();
        let Some(oplog) = &self.file.oplog else { return Ok(Some(settings)) };
        if let Some(Span(interval)) = oplog.slice_interval {
            if interval < SHORTEST_SLICE {
                return Err(Error::configuration(format!("oplog.slice_interval is {} ms", interval.as_millis()))
                    .with_hint("set it to 1s or more: each slice is an object in the store"));
            }
            settings.slice_interval = interval;
        }
        settings.preference = oplog.read_preference.unwrap_or_default();
        Ok((oplog.enabled != Some(false)).then_some(settings))
    }

    /// Returns the folder of the schedules: `schedules` beside the configuration, unless it says otherwise.
    #[must_use]
    pub fn schedules_folder(&self) -> PathBuf {
        self.beside(Path::new(self.file.schedules.as_deref().unwrap_or(DEFAULT_SCHEDULES)))
    }

    /// Returns how what is stored is verified.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when the configuration makes no sense.
    pub fn verify(&self) -> Result<VerifySettings> {
        self.file.verify.as_ref().map_or_else(|| Ok(VerifySettings::default()), verify::Verify::resolve)
    }

    /// Returns the browser that prints PDFs, if one is configured.
    #[must_use]
    pub fn browser(&self) -> Option<PathBuf> {
        self.file.report.as_ref()?.browser.as_ref().map(PathBuf::from)
    }

    /// Returns what drills go by.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration), naming the key, when it says nothing of them or makes no sense.
    pub fn drill(&self) -> Result<DrillSettings> {
        let drill = self.file.drill.as_ref().ok_or_else(|| drill::no_target("the configuration has no [drill]"))?;
        drill.resolve(|folder| self.beside(Path::new(folder)))
    }

    fn encryption_table(&self) -> file::Encryption {
        match &self.file.encryption {
            Some(EncryptionTable::Table(table)) => table.clone(),
            _ => file::Encryption::default(),
        }
    }

    /// Resolves a path relative to the configuration's folder, so that it means the same from everywhere.
    fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// Reads `repository.trusted_keys`. An empty list would believe nobody, and is a mistake.
fn trusted_keys(listed: &[String]) -> Result<TrustedKeys> {
    if listed.is_empty() {
        return Err(Error::configuration("repository.trusted_keys is empty: no signature would count").with_hint(
            "put the public keys there that 'regrow keys' shows, or remove it to believe those that the repository lists",
        ));
    }
    let entries = listed.iter().map(|key| {
        public_key(key).map_err(|error| {
            Error::configuration(format!("repository.trusted_keys: {error}"))
                .with_hint("put the public keys there that 'regrow keys' shows: 44 characters each")
        })
    });
    TrustedKeys::parse(&entries.collect::<Result<Vec<_>>>()?)
}
