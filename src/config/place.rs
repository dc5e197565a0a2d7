//! From `[repository]` to an open store.

use std::path::Path;
use std::sync::Arc;

use super::file::Repository;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::storage::{Local, Retrying, S3, S3Options, Storage};

/// Opens the store that `repository` names. A missing local directory is made only when `create` says so.
///
/// # Errors
/// [`Kind::Configuration`](crate::error::Kind::Configuration) when the URL makes no sense; whatever the
/// store says.
pub async fn open_storage(
    repository: &Repository,
    create: bool,
    clock: &Clock,
    random: &Random,
) -> Result<Arc<dyn Storage>> {
    let store = open_unpatient(repository, create, clock, random).await?;
    Ok(Arc::new(Retrying::new(store, clock.clone(), random.clone())))
}

/// Opens the store that `repository` names, without making failed requests again.
///
/// # Errors
/// As [`open_storage`].
pub async fn open_unpatient(
    repository: &Repository,
    create: bool,
    clock: &Clock,
    random: &Random,
) -> Result<Arc<dyn Storage>> {
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
        ..S3Options::default()
    };
    Ok(Arc::new(S3::connect(options, clock.clone(), random.clone()).await?))
}

/// A setting that does nothing would be a setting silently ignored.
fn refuse_s3_settings(repository: &Repository) -> Result<()> {
    let given = [("region", &repository.region), ("endpoint", &repository.endpoint)];
    match given.into_iter().find(|(_, value)| value.is_some()) {
        None => Ok(()),
        Some((name, _)) => Err(Error::configuration(format!("repository.{name} means nothing for a directory"))
            .with_hint(format!("remove repository.{name}, or use an s3:// URL"))),
    }
}
