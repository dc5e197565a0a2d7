//! What retention decides by.

use jiff::Timestamp;

use crate::format::manifest::Manifest;
use crate::format::{BackupId, ClusterTime};

/// What is known of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// Its id.
    pub id: BackupId,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When it was complete.
    pub finished_at: Timestamp,
    /// The moment it shows, by the clock of the server; where that has no cluster time, when the backup was complete.
    pub shows: Timestamp,
    /// What [`Manifest::leads_on`] tells.
    pub leads_on: Option<(ClusterTime, ClusterTime)>,
    /// Whether it holds only chosen namespaces.
    pub partial: bool,
    /// What it builds on, where it is an increment.
    pub parent: Option<BackupId>,
    /// How many increments it takes from a full backup to it.
    pub increments: u32,
    /// Whether a verification found every byte of it as recorded.
    pub verified: bool,
    /// Whether somebody said that it must not go.
    pub held: bool,
    /// Since when it has expired, if it has.
    pub expired_at: Option<Timestamp>,
}

impl BackupFacts {
    /// Returns what a manifest tells; the rest is to be found out elsewhere.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            id: manifest.id.clone(),
            started_at: manifest.started_at,
            finished_at: manifest.finished_at,
            shows: manifest.cluster_time.map_or(manifest.finished_at, ClusterTime::wall),
            leads_on: manifest.leads_on(),
            partial: manifest.partial,
            parent: manifest.parent().cloned(),
            increments: manifest.increments(),
            verified: false,
            held: false,
            expired_at: None,
        }
    }

    /// Whether it has not expired.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.expired_at.is_none()
    }
}

/// What is known of the captured oplog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapturedFacts {
    /// Up to where it is stored; none where nothing is.
    pub until: Option<ClusterTime>,
    /// Whether some was lost, or another history began, and no backup leads on behind the loss.
    pub in_gap: bool,
}

/// Returns the newest moment that is stored: that much time has passed, whatever this machine's clock says. Where nothing is
/// stored it is the earliest there is, at which nothing is old.
pub(super) fn vouched(backups: &[BackupFacts], captured: CapturedFacts) -> Timestamp {
    let backups = backups.iter().map(|backup| backup.shows);
    backups.chain(captured.until.map(ClusterTime::wall)).max().unwrap_or(Timestamp::UNIX_EPOCH)
}
