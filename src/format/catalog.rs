//! Catalogs: what the segments of a backup hold. A run of BSON documents, so that options and index
//! keys stand exactly as the server gave them.

mod entries;

use std::collections::BTreeMap;

use bson::{RawDocumentBuf, rawdoc};
use entries::{
    IncrementEntry, OplogSegmentsEntry, SegmentsEntry, decode_collection, encode_collection, encode_entry,
    encode_source, parse,
};
use serde::{Deserialize, Serialize};

use super::backup_id::BackupId;
use super::increment::ChangesRecord;
use super::malformed;
use super::segment::{Documents, Walk};
use super::time::ClusterTime;
use crate::error::{Error, Result};

/// How many segments one `segments` entry lists, so that entries stay small enough for stock tools.
const SEGMENTS_PER_ENTRY: usize = 10_000;

/// The most bytes that a catalog may have: a million collections, each with a validator of its own.
pub const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// What kind of namespace a collection entry describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CollectionKind {
    /// Documents.
    Collection,
    /// A stored aggregation; no documents.
    View,
    /// A time series; its documents are those of its buckets.
    Timeseries,
    /// The bucket documents of a time series, in `system.buckets.<name>`.
    Buckets,
}

/// Where the backup was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The configured name.
    pub name: String,
    /// The replica set; none for a standalone server.
    pub replica_set: Option<String>,
    /// The server's version, such as `6.0.5`.
    pub server_version: String,
    /// The feature compatibility version, such as `6.0`.
    pub feature_compatibility_version: String,
    /// The host and port that was read.
    pub host: String,
}

/// A segment of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// The segment's number in the backup.
    #[serde(with = "count")]
    pub n: u64,
    /// How many documents it holds.
    #[serde(with = "count")]
    pub documents: u64,
    /// How many bytes they have.
    #[serde(with = "count")]
    pub bytes: u64,
    /// How many backups back it lies: 0 where it is of the backup itself, as it is in every stored catalog.
    #[serde(skip)]
    pub layer: u8,
}

/// One namespace of a backup.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionRecord {
    /// The database.
    pub db: String,
    /// The collection's name.
    pub name: String,
    /// What it is.
    pub kind: CollectionKind,
    /// The collection's UUID on the source; none for views.
    pub uuid: Option<[u8; 16]>,
    /// The options as `listCollections` shows them.
    pub options: RawDocumentBuf,
    /// The indexes as `listIndexes` shows them.
    pub indexes: Vec<RawDocumentBuf>,
    /// How many documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The content digest.
    pub digest: [u8; 32],
    /// Whether the order of the documents matters.
    pub ordered: bool,
    /// Whether it shows the backup's cluster time; capped collections show a moment shortly after.
    pub in_snapshot: bool,
    /// Its segments in reading order.
    pub segments: Vec<SegmentRef>,
    /// Where the segments hold only what has changed since the parent: what of the rest it replaces. Documents, bytes and
    /// digest are of everything that the segments hold.
    pub changes: Option<ChangesRecord>,
}

impl CollectionRecord {
    /// Returns how many documents a person would say that it has, and their bytes: of an increment, as the source counts.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        self.changes.as_ref().map_or((self.documents, self.bytes), |changes| (changes.documents, changes.bytes))
    }

    /// Returns `db.name`.
    #[must_use]
    pub fn namespace(&self) -> String {
        format!("{}.{}", self.db, self.name)
    }
}

/// A segment that holds entries of the oplog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OplogSegment {
    /// The segment's number in the backup.
    #[serde(with = "count")]
    pub n: u64,
    /// The entry before the first one.
    #[serde(with = "timestamp")]
    pub begin: ClusterTime,
    /// The last entry.
    #[serde(with = "timestamp")]
    pub end: ClusterTime,
    /// How many entries it holds.
    #[serde(with = "count")]
    pub entries: u64,
    /// How many bytes they have.
    #[serde(with = "count")]
    pub bytes: u64,
}

/// The oplog that belongs to a backup whose documents were not all read as of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OplogRecord {
    /// Collections, options and indexes show this moment; each document shows it or a later one.
    #[serde(with = "timestamp")]
    pub since: ClusterTime,
    /// What the backup was limited to, as patterns of namespaces; empty where it is of everything.
    pub patterns: Vec<String>,
    /// The segments, in order: from where the oldest transaction that was open at `since` begins, up to and with the
    /// backup's cluster time.
    #[serde(skip)]
    pub segments: Vec<OplogSegment>,
}

impl OplogRecord {
    /// Returns the last entry's time; that moment itself where nothing was written behind it.
    #[must_use]
    pub fn end(&self) -> ClusterTime {
        self.segments.last().map_or(self.since, |last| last.end)
    }

    /// Returns how many entries it holds.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.segments.iter().map(|segment| segment.entries).sum()
    }
}

/// The encrypted part of a backup's commit record.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    /// Where it was read from.
    pub source: SourceRecord,
    /// Every namespace.
    pub collections: Vec<CollectionRecord>,
    /// The entries of `admin.system.users`.
    pub users: Vec<RawDocumentBuf>,
    /// The entries of `admin.system.roles`.
    pub roles: Vec<RawDocumentBuf>,
    /// What a restore replays to get to the backup's cluster time; none where the documents show it already.
    pub oplog: Option<OplogRecord>,
    /// The backup that it builds on, where it is an increment.
    pub parent: Option<BackupId>,
}

impl Catalog {
    /// Returns the catalog as a run of documents.
    ///
    /// # Errors
    /// When a name cannot be a BSON string, which a server's own listing never holds.
    pub fn encode(&self) -> Result<Documents> {
        let mut run = Documents::default();
        run.push(&encode_source(&self.source)?);
        for (number, collection) in self.collections.iter().enumerate() {
            let number = i32::try_from(number).map_err(|_| Error::failed("there are too many collections"))?;
            run.push(&encode_collection(number, collection)?);
            for segments in collection.segments.chunks(SEGMENTS_PER_ENTRY) {
                run.push(&encode_entry(
                    "segments",
                    &SegmentsEntry { collection: number, segments: segments.to_vec() },
                )?);
            }
            for touched in collection.changes.iter().flat_map(|changes| changes.touched.chunks(SEGMENTS_PER_ENTRY)) {
                run.push(&encode_entry("touched", &SegmentsEntry { collection: number, segments: touched.to_vec() })?);
            }
        }
        if let Some(parent) = &self.parent {
            run.push(&encode_entry("increment", &IncrementEntry { parent: parent.clone() })?);
        }
        if let Some(oplog) = &self.oplog {
            run.push(&encode_entry("oplog", oplog)?);
            for segments in oplog.segments.chunks(SEGMENTS_PER_ENTRY) {
                run.push(&encode_entry("oplog_segments", &OplogSegmentsEntry { segments: segments.to_vec() })?);
            }
        }
        for (kind, documents) in [("user", &self.users), ("role", &self.roles)] {
            for document in documents {
                run.push(&rawdoc! { "type": kind, "document": document.clone() });
            }
        }
        Ok(run)
    }

    /// Reads a run of documents.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when an entry is not as the format describes it.
    pub fn decode(documents: &[u8]) -> Result<Self> {
        let mut source = None;
        let mut collections: BTreeMap<i32, CollectionRecord> = BTreeMap::new();
        let (mut users, mut roles) = (Vec::new(), Vec::new());
        let mut oplog: Option<OplogRecord> = None;
        let mut parent = None;
        for entry in Walk::new(documents) {
            let entry = entry?;
            match entry.get_str("type").map_err(wrong)? {
                "source" => source = Some(parse(entry)?),
                "collection" => {
                    let (number, collection) = decode_collection(entry)?;
                    collections.insert(number, collection);
                }
                "segments" => {
                    let segments: SegmentsEntry = parse(entry)?;
                    let collection = collections.get_mut(&segments.collection);
                    collection.ok_or_else(|| wrong("segments of no collection"))?.segments.extend(segments.segments);
                }
                "touched" => {
                    let touched: SegmentsEntry = parse(entry)?;
                    let changes = collections.get_mut(&touched.collection).and_then(|record| record.changes.as_mut());
                    changes.ok_or_else(|| wrong("changes of no collection"))?.touched.extend(touched.segments);
                }
                "increment" => parent = Some(parse::<IncrementEntry>(entry)?.parent),
                "oplog" => oplog = Some(parse(entry)?),
                "oplog_segments" => {
                    let found: OplogSegmentsEntry = parse(entry)?;
                    oplog.as_mut().ok_or_else(|| wrong("segments of no oplog"))?.segments.extend(found.segments);
                }
                "user" => users.push(entry.get_document("document").map_err(wrong)?.to_owned()),
                "role" => roles.push(entry.get_document("document").map_err(wrong)?.to_owned()),
                other => return Err(wrong(format!("an entry has the unknown type '{other}'"))),
            }
        }
        let source = source.ok_or_else(|| wrong("it does not name its source"))?;
        Ok(Self { source, collections: collections.into_values().collect(), users, roles, oplog, parent })
    }
}

fn wrong(reason: impl std::fmt::Display) -> Error {
    malformed("the catalog", reason)
}

/// Counts are int64 in BSON and never negative.
mod count {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so.
    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(value.cast_signed())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let value = i64::deserialize(deserializer)?;
        u64::try_from(value).map_err(D::Error::custom)
    }
}

/// Cluster times are timestamps in BSON.
pub(super) mod timestamp {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ClusterTime;

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so.
    pub(in crate::format) fn serialize<S: Serializer>(value: &ClusterTime, serializer: S) -> Result<S::Ok, S::Error> {
        bson::Timestamp::from(*value).serialize(serializer)
    }

    pub(in crate::format) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClusterTime, D::Error> {
        bson::Timestamp::deserialize(deserializer).map(ClusterTime::from)
    }
}

#[cfg(test)]
mod tests;
