//! From `[repository]` to an open store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use x509_parser::pem::Pem;

use super::file::Repository;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::format::layout;
use crate::random::Random;
use crate::storage::{Local, ObjectLock, Retrying, S3, S3Options, Storage};
use crate::units::Span;

/// The shortest lock.
const DAY: Duration = Duration::from_hours(24);

/// Opens the stores that configurations name.
#[derive(Clone)]
pub struct Stores {
    clock: Clock,
    random: Random,
    wrap: Option<Arc<Wrap>>,
}

/// Puts something around a store.
type Wrap = dyn Fn(Arc<dyn Storage>) -> Arc<dyn Storage> + Send + Sync;

impl Stores {
    /// Returns the stores as they are.
    #[must_use]
    pub fn new(clock: Clock, random: Random) -> Self {
        Self { clock, random, wrap: None }
    }

    /// Returns the stores with something around each, below everything that Regrow itself does to bear failures. No command
    /// asks for it: tests put stores there that fail.
    #[must_use]
    pub fn wrapped(self, wrap: impl Fn(Arc<dyn Storage>) -> Arc<dyn Storage> + Send + Sync + 'static) -> Self {
        Self { wrap: Some(Arc::new(wrap)), ..self }
    }

    /// Opens the store that `repository` names. A missing local directory is made only when `create` says so.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when the URL makes no sense; whatever the
    /// store says.
    pub async fn open(&self, repository: &Repository, create: bool) -> Result<Arc<dyn Storage>> {
        let store = self.open_unpatient(repository, create).await?;
        Ok(Arc::new(Retrying::new(store, self.random.clone())))
    }

    /// Opens the store that `repository` names, without making failed requests again.
    ///
    /// # Errors
    /// As those of [`open`](Self::open).
    pub async fn open_unpatient(&self, repository: &Repository, create: bool) -> Result<Arc<dyn Storage>> {
        let store = open_plain(repository, create, &self.clock, &self.random).await?;
        Ok(match &self.wrap {
            Some(wrap) => wrap(store),
            None => store,
        })
    }
}

async fn open_plain(repository: &Repository, create: bool, clock: &Clock, random: &Random) -> Result<Arc<dyn Storage>> {
    let url = repository.url.as_str();
    if let Some(path) = url.strip_prefix("file://") {
        refuse_s3_settings(repository)?;
        if !Path::new(path).is_absolute() {
            return Err(Error::configuration(format!("repository.url: '{url}' is no absolute path"))
                .with_hint("write file:///path with three slashes"));
        }
        let local = Local::open(path, clock.clone(), random.clone());
        if create {
            local.create_root().await?;
        }
        return Ok(Arc::new(local));
    }
    let Some(place) = url.strip_prefix("s3://") else {
        return Err(Error::configuration(format!("repository.url: '{url}' is no place that Regrow knows"))
            .with_hint("write s3://bucket/prefix or file:///path"));
    };
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(Error::configuration(format!("repository.url: '{url}' names no bucket"))
            .with_hint("write s3://bucket/prefix"));
    }
    let options = S3Options {
        bucket: bucket.into(),
        prefix: prefix.trim_matches('/').into(),
        region: repository.region.clone(),
        endpoint: repository.endpoint.clone(),
        lock: object_lock(repository)?,
        authorities: repository.ca_file.as_deref().map(authorities).transpose()?,
        ..S3Options::default()
    };
    Ok(Arc::new(S3::connect(options, clock.clone(), random.clone()).await?))
}

/// Returns how objects are locked; half of that is a mistake.
fn object_lock(repository: &Repository) -> Result<Option<ObjectLock>> {
    let missing = |name: &str, hint: &str| {
        Err(Error::configuration(format!("repository.{name} is missing: objects are locked by someone, for some time"))
            .with_hint(hint))
    };
    match (repository.object_lock, repository.object_lock_for) {
        (None, None) => Ok(None),
        (Some(_), None) => missing("object_lock_for", "say for how long, such as object_lock_for = \"35d\""),
        (None, Some(_)) => missing("object_lock", "write object_lock = \"governance\" or \"compliance\""),
        (Some(_), Some(Span(time))) if time < DAY => {
            Err(Error::configuration("repository.object_lock_for is shorter than a day")
                .with_hint("write whole days, no fewer than you would need to find out that somebody removes backups"))
        }
        (Some(mode), Some(Span(retain_for))) => Ok(Some(ObjectLock { mode, retain_for, except: layout::CONTROL })),
    }
}

/// Reads the certificates that `repository.ca_file` holds. Each is looked at, because the TLS library takes none that it cannot
/// read, and ends the program over it.
fn authorities(file: &Path) -> Result<Vec<u8>> {
    let wrong = |reason: &str| {
        Error::configuration(format!("repository.ca_file: {} {reason}", file.display()))
            .with_hint("name the file with the certificates, in PEM, of whoever has issued the store's certificate")
    };
    let content = std::fs::read(file).map_err(|error| wrong("cannot be read").caused_by(error))?;
    let mut count = 0;
    for block in Pem::iter_from_buffer(&content) {
        let block = block.map_err(|error| wrong("is no PEM file").caused_by(error))?;
        if block.label != "CERTIFICATE" {
            return Err(wrong(&format!("holds a {}, and not only certificates", block.label)));
        }
        block.parse_x509().map_err(|error| wrong("holds a certificate that cannot be read").caused_by(error))?;
        count += 1;
    }
    if count == 0 { Err(wrong("holds no certificate")) } else { Ok(content) }
}

/// A setting that does nothing would be a setting silently ignored.
fn refuse_s3_settings(repository: &Repository) -> Result<()> {
    let given = [
        ("region", repository.region.is_some()),
        ("endpoint", repository.endpoint.is_some()),
        ("object_lock", repository.object_lock.is_some() || repository.object_lock_for.is_some()),
        ("ca_file", repository.ca_file.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => Err(Error::configuration(format!("repository.{name} means nothing for a directory"))
            .with_hint(format!("remove repository.{name}, or use an s3:// URL"))),
    }
}
