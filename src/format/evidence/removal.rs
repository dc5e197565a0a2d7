//! What is remembered of backups and slices that are gone, so that reports about their time stay possible.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::backup_id::{BackupId, BackupKind};
use super::super::manifest::{Consistency, Encryption, Manifest};
use super::super::oplog::TimelineId;
use super::super::time::ClusterTime;

/// What a report needs to know of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSummary {
    /// Its id.
    pub id: BackupId,
    /// Its kind.
    pub kind: BackupKind,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When it was complete.
    pub finished_at: Timestamp,
    /// The replica set that it is of; none where unknown.
    pub replica_set_id: Option<String>,
    /// The moment it shows.
    pub cluster_time: Option<ClusterTime>,
    /// From where on the oplog leads on from it.
    pub replay_from: Option<ClusterTime>,
    /// What moment it shows.
    pub consistency: Consistency,
    /// Whether it holds chosen namespaces only.
    pub partial: bool,
    /// Whether it is encrypted.
    pub encryption: Encryption,
    /// Namespaces.
    pub namespaces: u64,
    /// Documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes_raw: u64,
    /// Bytes as stored.
    pub bytes_stored: u64,
}

impl From<&Manifest> for BackupSummary {
    fn from(manifest: &Manifest) -> Self {
        Self {
            id: manifest.id.clone(),
            kind: manifest.kind,
            started_at: manifest.started_at,
            finished_at: manifest.finished_at,
            replica_set_id: manifest.replica_set_id.clone(),
            cluster_time: manifest.cluster_time,
            replay_from: manifest.replay_from,
            consistency: manifest.consistency,
            partial: manifest.partial,
            encryption: manifest.encryption,
            namespaces: manifest.namespaces,
            documents: manifest.documents,
            bytes_raw: manifest.bytes_raw,
            bytes_stored: manifest.bytes_stored,
        }
    }
}

/// Slices of one timeline that followed each other and are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedOplog {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where the first slice began.
    pub begin: ClusterTime,
    /// Where the last one ended.
    pub end: ClusterTime,
    /// For each slice, in order: the seconds from the end of the one before (for the first: from `begin`) to its end, the
    /// increment of its end, the seconds from there until it was stored, and its entries.
    pub slices: Vec<(u32, u32, i64, u64)>,
}
