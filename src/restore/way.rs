//! The way to what is to be restored: which backup, and what of the captured oplog on top of it.

use jiff::Timestamp;

use super::{Entries, Recovery};
use crate::codec::Identities;
use crate::error::{Error, Result};
use crate::format::catalog::Catalog;
use crate::format::manifest::Manifest;
use crate::format::{BackupId, ClusterTime};
use crate::progress::Progress;
use crate::repository::{Repository, SegmentReader, SliceReader, Stretch, Unreachable, route};
use crate::units::Moment;

/// A backup to restore, the captured oplog to replay on top of it, and the moment to get to.
#[derive(Debug, Clone)]
pub struct Way {
    /// The backup.
    pub manifest: Manifest,
    /// What is replayed on top of it; none where the backup itself is asked for, or shows the moment.
    pub captured: Option<SliceReader>,
    /// The moment; none where the backup shows no single one.
    pub to: Option<ClusterTime>,
    /// Backups that cannot be restored, each with why: damage that people should hear of.
    pub damaged: Vec<(BackupId, String)>,
}

impl Way {
    /// Finds the way to a backup: the moment that it shows.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when there is no such backup, [`Kind::Damaged`](crate::error::Kind::Damaged) when its manifest
    /// was altered.
    pub async fn to_backup(repository: &Repository, name: &str) -> Result<Self> {
        let manifest = repository.manifest(&repository.resolve(name).await?).await?;
        Ok(Self { to: manifest.cluster_time, manifest, captured: None, damaged: Vec::new() })
    }

    /// Finds the way to a moment.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when there is none; it says which moments there is a way to.
    pub async fn to_moment(
        repository: &Repository,
        identities: Option<Identities>,
        to: ClusterTime,
        now: Timestamp,
    ) -> Result<Self> {
        let (listing, captured) = (repository.list().await?, repository.captured().await?);
        let mut damaged = Vec::new();
        let mut sound = Vec::new();
        for backup in &listing.backups {
            match &backup.manifest {
                Ok(manifest) => sound.push(manifest),
                Err(error) => damaged.push((backup.id.clone(), error.to_string())),
            }
        }
        let route = route(&sound, &captured, to).map_err(|nearest| no_way_to(to, nearest, now))?;
        let captured = match &route.oplog {
            Some(Stretch { timeline, slices }) => Some(repository.slices(timeline, slices, identities).await?),
            None => None,
        };
        Ok(Self { manifest: route.backup.clone(), captured, to: Some(to), damaged })
    }

    /// Reads ahead what is replayed; none where nothing is.
    ///
    /// # Errors
    /// As those of [`Recovery::survey`].
    pub async fn survey(
        &self,
        segments: &SegmentReader,
        catalog: &Catalog,
        progress: &Progress,
    ) -> Result<Option<Recovery>> {
        match (Entries::new(catalog.oplog.as_ref(), segments, self.captured.clone()), self.to) {
            (Some(entries), Some(to)) => {
                Recovery::survey(entries, &self.manifest, catalog, to, progress).await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn no_way_to(to: ClusterTime, nearest: Unreachable, now: Timestamp) -> Error {
    let asked = if to.i == u32::MAX {
        format!("all of {}", Moment(to.wall()))
    } else {
        format!("{} (cluster time {to})", Moment(to.wall()))
    };
    let reason = match nearest {
        _ if to.wall() > now => "it lies in the future",
        Unreachable { before: None, behind: None } => "there is no backup that shows one moment",
        Unreachable { before: None, .. } => "it lies before the first backup",
        Unreachable { behind: None, .. } => "the oplog has not been captured up to there",
        Unreachable { .. } => "the oplog behind the backup before it is not whole up to there",
    };
    let exact = |at: ClusterTime| format!("--at {at} ({})", Moment(at.wall()));
    let hint = match (nearest.before.map(exact), nearest.behind.map(exact)) {
        (Some(before), Some(behind)) => format!("the nearest moments that can be restored: {before} and {behind}"),
        (Some(only), None) | (None, Some(only)) => format!("the nearest moment that can be restored: {only}"),
        (None, None) => "take one with 'regrow backup'".into(),
    };
    Error::not_found(format!("cannot restore {asked}: {reason}")).with_hint(hint)
}
