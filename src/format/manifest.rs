//! Manifests: a backup's commit record, public and signed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backup_id::{BackupId, BackupKind};
use super::descriptor::RepositoryId;
use super::increment::{IncrementRecord, MOST_INCREMENTS};
use super::time::ClusterTime;
use super::{VERSION, catalog, check_version_up_to, hex_digest, layout, malformed, segment};
use crate::error::Result;

/// The name that a manifest's `format` field bears.
pub const FORMAT: &str = "regrow-manifest";

/// The version of an increment's manifest: who knows only the first would take what has changed for all there is.
const VERSION_OF_INCREMENTS: u32 = 2;

/// Whether stored data is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// To age recipients.
    Age,
    /// Not at all; only when the configuration says so in as many words.
    None,
}

impl Encryption {
    /// Returns the ending of sealed objects' names.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::None => "zst",
        }
    }

    /// Returns the word for listings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::None => "none",
        }
    }
}

/// What moment a backup shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Every document as of one cluster time.
    Snapshot,
    /// Every document as of one cluster time, once the oplog that belongs to the backup has been replayed.
    Oplog,
    /// Collections read at different moments: a standalone server has nothing better.
    None,
}

impl Consistency {
    /// Returns the word for listings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Oplog => "oplog",
            Self::None => "none",
        }
    }
}

/// One stored object: where, how large, and its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// The key, relative to the repository.
    pub key: String,
    /// Stored bytes.
    pub size: u64,
    /// SHA-256 of the stored bytes.
    #[serde(with = "hex_digest")]
    pub sha256: [u8; 32],
}

/// One segment's place in its pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRecord {
    /// The segment's number in the backup, from 1.
    pub n: u64,
    /// Where its bytes begin in the pack.
    pub offset: u64,
    /// Stored bytes.
    pub size: u64,
    /// SHA-256 of the stored bytes.
    #[serde(with = "hex_digest")]
    pub sha256: [u8; 32],
}

/// One pack and what lies in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRecord {
    /// The whole pack as one object.
    #[serde(flatten)]
    pub object: ObjectRecord,
    /// Its segments, by offset.
    pub segments: Vec<SegmentRecord>,
}

/// What a backup was imported from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// The layout: `mongodump`.
    pub layout: String,
    /// What wrote it, as far as it says so.
    pub tool_version: Option<String>,
}

/// The payload of `manifest.json`. No namespace names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `regrow-manifest`.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// The backup's id.
    pub id: BackupId,
    /// The backup's kind.
    pub kind: BackupKind,
    /// The configured name of the source.
    pub source: String,
    /// The source's replica set; none for a standalone server.
    pub replica_set: Option<String>,
    /// `settings.replicaSetId` of its configuration, in hex: whose oplog leads on from this backup.
    #[serde(default)]
    pub replica_set_id: Option<String>,
    /// When the backup began.
    pub started_at: Timestamp,
    /// When everything but the manifest was stored.
    pub finished_at: Timestamp,
    /// The moment it shows; none when `consistency` is `none`.
    pub cluster_time: Option<ClusterTime>,
    /// From where on the oplog must be read to go on from `cluster_time`: earlier where a transaction was open then.
    #[serde(default)]
    pub replay_from: Option<ClusterTime>,
    /// What that moment means.
    pub consistency: Consistency,
    /// Whether its objects are encrypted.
    pub encryption: Encryption,
    /// The recipients they are encrypted to.
    pub recipients: Vec<String>,
    /// Whether it holds only chosen namespaces: no way leads from there to a later state of everything.
    #[serde(default)]
    pub partial: bool,
    /// What it was made of, where no server was read: then nobody knows whether it holds everything, and it is `partial`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportRecord>,
    /// What it builds on, where it is an increment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental: Option<IncrementRecord>,
    /// The marks of the collections whose documents it shows, 16 hex digits for each: an increment can
    /// build on those. None where nothing can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collections: Vec<String>,
    /// How many namespaces it holds, views included.
    pub namespaces: u64,
    /// How many documents; of an increment about how many there are in all, as the source counts them.
    pub documents: u64,
    /// Their bytes as BSON.
    pub bytes_raw: u64,
    /// How many collections show a moment shortly after `cluster_time` instead: capped collections, which
    /// no server reads at a cluster time. All of them when `consistency` is `none`.
    #[serde(default)]
    pub outside_snapshot: u64,
    /// The bytes of packs and catalog.
    pub bytes_stored: u64,
    /// The encrypted part.
    pub catalog: ObjectRecord,
    /// The data.
    pub packs: Vec<PackRecord>,
    /// The version that wrote it.
    pub regrow_version: String,
}

impl Manifest {
    /// Reads a payload whose signature has been checked, and holds it against its place.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is no manifest, or that of another backup
    /// or repository.
    pub fn parse(payload: &[u8], repository: &RepositoryId, id: &BackupId) -> Result<Self> {
        let what = format!("the manifest of {id}");
        let manifest: Self = serde_json::from_slice(payload).map_err(|error| malformed(&what, error))?;
        check_version_up_to(VERSION_OF_INCREMENTS, &what, FORMAT, &manifest.format, manifest.version)?;
        if manifest.version != Self::version_of(manifest.incremental.as_ref()) {
            return Err(malformed(&what, format!("it is of version {}", manifest.version)));
        }
        if manifest.incremental.as_ref().is_some_and(|increment| !(1..=MOST_INCREMENTS).contains(&increment.number)) {
            return Err(malformed(&what, "its place in a chain of increments is impossible"));
        }
        if manifest.id != *id {
            return Err(malformed(&what, format!("it is that of {}", manifest.id)));
        }
        if manifest.repository != *repository {
            return Err(malformed(&what, format!("it belongs to repository {}", manifest.repository)));
        }
        manifest.misplaced().map_or(Ok(()), |reason| Err(malformed(&what, reason)))?;
        Ok(manifest)
    }

    /// Returns the version that a manifest bears.
    #[must_use]
    pub fn version_of(incremental: Option<&IncrementRecord>) -> u32 {
        if incremental.is_some() { VERSION_OF_INCREMENTS } else { VERSION }
    }

    /// Returns the backup that it builds on; none where it is a full one.
    #[must_use]
    pub fn parent(&self) -> Option<&BackupId> {
        self.incremental.as_ref().map(|increment| &increment.parent)
    }

    /// Returns how many increments it takes from a full backup to this one.
    #[must_use]
    pub fn increments(&self) -> u32 {
        self.incremental.as_ref().map_or(0, |increment| increment.number)
    }

    /// Returns the stored bytes of everything that a restore of it reads.
    #[must_use]
    pub fn chain_bytes_stored(&self) -> u64 {
        self.incremental.as_ref().map_or(self.bytes_stored, |increment| increment.chain_bytes_stored)
    }

    /// Returns what of it lies elsewhere than a backup's objects do, or is larger than any of them: that is neither read
    /// nor made room for.
    fn misplaced(&self) -> Option<String> {
        let catalog = &self.catalog;
        if catalog.key != layout::catalog(&self.id, self.encryption) || catalog.size > catalog::MAX_BYTES {
            return Some(format!("its catalog is {:?} with {} bytes", catalog.key, catalog.size));
        }
        for (number, pack) in (1..).zip(&self.packs) {
            let (key, size) = (&pack.object.key, pack.object.size);
            if *key != layout::pack(&self.id, number) {
                return Some(format!("its pack {number} is {key:?}"));
            }
            let fits = |segment: &SegmentRecord| {
                segment.size <= segment::MAX_STORED_BYTES
                    && segment.offset.checked_add(segment.size).is_some_and(|end| end <= size)
            };
            if let Some(segment) = pack.segments.iter().find(|segment| !fits(segment)) {
                return Some(format!("its segment {} does not lie in {key}", segment.n));
            }
        }
        None
    }

    /// Returns the moment that it shows and from where on the oplog must be read to go on from there; none where no way
    /// leads on, as from a backup of a part.
    #[must_use]
    pub fn leads_on(&self) -> Option<(ClusterTime, ClusterTime)> {
        self.cluster_time.zip(self.replay_from).filter(|_| !self.partial)
    }

    /// Returns every object but the manifest itself.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRecord> {
        self.packs.iter().map(|pack| &pack.object).chain(std::iter::once(&self.catalog))
    }
}
