//! Looking ahead: what the oplog makes of a backup's collections, found out before anything is touched.
//!
//! Every run of entries is read and opened here once. So what is missing, damaged or not understood stops the restore
//! while the target is as it was, and the plan knows each namespace as it will be.

use futures_util::TryStreamExt;

use super::entries::Entries;
use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::catalog::Catalog;
use crate::format::manifest::Manifest;
use crate::operations::{Collections, Course, Outlook, Shown};
use crate::progress::Progress;

/// A stretch of the oplog that leads on from a backup to a moment, and what comes of it.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// The moment that was asked for; everything up to it is included.
    pub to: ClusterTime,
    /// What comes of it, up to that moment.
    pub outlook: Outlook,
    /// The entries to replay.
    pub(super) entries: Entries,
    /// What the backup's documents show.
    pub(super) shown: Shown,
}

impl Recovery {
    /// Reads the entries and follows what becomes of the collections.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged), naming the object, when one is missing or not what was written;
    /// when an entry is of a kind that is not known, with its time.
    pub async fn survey(
        entries: Entries,
        manifest: &Manifest,
        catalog: &Catalog,
        to: ClusterTime,
        progress: &Progress,
    ) -> Result<Self> {
        let shown = shown(manifest, catalog)?;
        let mut collections = Collections::of_backup(catalog.collections.clone())?;
        if let Some(oplog) = &catalog.oplog {
            let patterns = oplog.patterns.iter().map(|pattern| pattern.parse());
            collections = collections.only(patterns.collect::<Result<_>>()?);
        }
        let mut course = Course::new(collections, shown);
        progress.expect(entries.bytes());
        let mut read = std::pin::pin!(entries.read());
        while let Some(run) = read.try_next().await? {
            for entry in run.walk() {
                let (entry, time) = entry?;
                if time > to {
                    break;
                }
                course.follow(entry, time).map_err(|error| {
                    if run.is_own {
                        return error.with_hint("restore from another backup");
                    }
                    error.with_hint(format!("a restore to the moment before it is possible: --before {time}"))
                })?;
            }
            progress.add(0, run.bytes(), 0);
        }
        Ok(Self { to, outlook: course.finish()?, entries, shown })
    }

    /// Returns how many bytes of entries will be read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.bytes()
    }
}

/// Returns what a backup's documents show.
fn shown(manifest: &Manifest, catalog: &Catalog) -> Result<Shown> {
    match (&catalog.oplog, manifest.cluster_time) {
        (Some(oplog), _) => Ok(Shown::Since(oplog.since)),
        (None, Some(at)) => Ok(Shown::At(at)),
        (None, None) => Err(Error::failed("the backup shows no single moment")),
    }
}
