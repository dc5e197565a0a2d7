//! Catalogs: what the segments of a backup hold. A run of BSON documents, so that options and index
//! keys stand exactly as the server gave them.

use std::collections::BTreeMap;

use bson::spec::BinarySubtype;
use bson::{Binary, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use serde::{Deserialize, Serialize};

use super::backup_id::BackupId;
use super::increment::ChangesRecord;
use super::malformed;
use super::segment::{Documents, Walk};
use super::time::ClusterTime;
use crate::error::{Error, Result};

/// How many segments one `segments` entry lists, so that entries stay small enough for stock tools.
const SEGMENTS_PER_ENTRY: usize = 10_000;

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

#[derive(Serialize, Deserialize)]
struct SegmentsEntry {
    collection: i32,
    segments: Vec<SegmentRef>,
}

#[derive(Serialize, Deserialize)]
struct IncrementEntry {
    parent: BackupId,
}

/// The sizes of a collection of which only changes are held.
#[derive(Deserialize)]
struct ChangesFields {
    #[serde(with = "count")]
    documents: u64,
    #[serde(with = "count")]
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct OplogSegmentsEntry {
    segments: Vec<OplogSegment>,
}

/// The fields of a `collection` entry that serde maps; options and indexes are handled as raw bytes.
#[derive(Deserialize)]
struct CollectionFields {
    number: i32,
    db: String,
    name: String,
    kind: CollectionKind,
    #[serde(with = "count")]
    documents: u64,
    #[serde(with = "count")]
    bytes: u64,
    ordered: bool,
    in_snapshot: bool,
    changes: Option<ChangesFields>,
}

fn encode_source(source: &SourceRecord) -> Result<RawDocumentBuf> {
    encode_entry("source", source)
}

/// Serialises an entry and puts its `type` in front.
fn encode_entry(kind: &str, fields: &impl Serialize) -> Result<RawDocumentBuf> {
    let fields = bson::serialize_to_raw_document_buf(fields).map_err(wrong)?;
    let mut entry = rawdoc! { "type": kind };
    for element in fields.iter_elements() {
        let element = element.map_err(wrong)?;
        entry.append(element.key(), raw(element.value().map_err(wrong)?));
    }
    Ok(entry)
}

fn encode_collection(number: i32, collection: &CollectionRecord) -> Result<RawDocumentBuf> {
    let kind = bson::serialize_to_bson(&collection.kind).map_err(wrong)?;
    let uuid = collection.uuid.map_or(bson::Bson::Null, |uuid| {
        bson::Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: uuid.to_vec() })
    });
    let mut indexes = bson::RawArrayBuf::new();
    collection.indexes.iter().for_each(|index| indexes.push(index.clone()));
    let mut entry = rawdoc! {
        "type": "collection",
        "number": number,
        "db": collection.db.as_str(),
        "name": collection.name.as_str(),
        "kind": bson::RawBson::try_from(kind).map_err(wrong)?,
        "uuid": bson::RawBson::try_from(uuid).map_err(wrong)?,
        "options": collection.options.clone(),
        "indexes": indexes,
        "documents": collection.documents.cast_signed(),
        "bytes": collection.bytes.cast_signed(),
        "digest": Binary { subtype: BinarySubtype::Generic, bytes: collection.digest.to_vec() },
        "ordered": collection.ordered,
        "in_snapshot": collection.in_snapshot,
    };
    if let Some(ChangesRecord { documents, bytes, .. }) = &collection.changes {
        let sizes = rawdoc! { "documents": documents.cast_signed(), "bytes": bytes.cast_signed() };
        entry.append(bson::cstr!("changes"), sizes);
    }
    Ok(entry)
}

fn decode_collection(entry: &RawDocument) -> Result<(i32, CollectionRecord)> {
    let fields: CollectionFields = parse(entry)?;
    let uuid = match entry.get("uuid").map_err(wrong)? {
        Some(RawBsonRef::Binary(binary)) => Some(<[u8; 16]>::try_from(binary.bytes).map_err(wrong)?),
        _ => None,
    };
    let mut indexes = Vec::new();
    for index in entry.get_array("indexes").map_err(wrong)? {
        let index = index.map_err(wrong)?;
        indexes.push(index.as_document().ok_or_else(|| wrong("an index is no document"))?.to_owned());
    }
    let digest = entry.get_binary("digest").map_err(wrong)?.bytes;
    let collection = CollectionRecord {
        db: fields.db,
        name: fields.name,
        kind: fields.kind,
        uuid,
        options: entry.get_document("options").map_err(wrong)?.to_owned(),
        indexes,
        documents: fields.documents,
        bytes: fields.bytes,
        digest: digest.try_into().map_err(wrong)?,
        ordered: fields.ordered,
        in_snapshot: fields.in_snapshot,
        segments: Vec::new(),
        changes: fields.changes.map(|ChangesFields { documents, bytes }| ChangesRecord {
            documents,
            bytes,
            touched: Vec::new(),
        }),
    };
    Ok((fields.number, collection))
}

fn parse<'a, T: Deserialize<'a>>(entry: &'a RawDocument) -> Result<T> {
    bson::deserialize_from_slice(entry.as_bytes()).map_err(wrong)
}

fn raw(value: RawBsonRef<'_>) -> bson::RawBson {
    value.into()
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
mod timestamp {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ClusterTime;

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so.
    pub(super) fn serialize<S: Serializer>(value: &ClusterTime, serializer: S) -> Result<S::Ok, S::Error> {
        bson::Timestamp::from(*value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClusterTime, D::Error> {
        bson::Timestamp::deserialize(deserializer).map(ClusterTime::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let collection = CollectionRecord {
            db: "shop".into(),
            name: "orders.2026 \u{1f4b0}\n".into(),
            kind: CollectionKind::Collection,
            uuid: Some([7; 16]),
            options: rawdoc! { "collation": { "locale": "sv", "strength": 2 }, "capped": true },
            indexes: vec![rawdoc! { "v": 2, "key": { "b": 1, "a": -1 }, "name": "b_1_a_-1" }],
            documents: 3,
            bytes: 99,
            digest: [9; 32],
            ordered: true,
            in_snapshot: false,
            segments: (1..=25_000).map(segment).collect(),
            changes: None,
        };
        let changed = CollectionRecord {
            changes: Some(ChangesRecord {
                documents: 700,
                bytes: 9000,
                touched: (36_001..=47_000).map(segment).collect(),
            }),
            ..collection.clone()
        };
        let view =
            CollectionRecord { kind: CollectionKind::View, uuid: None, segments: Vec::new(), ..collection.clone() };
        Catalog {
            source: SourceRecord {
                name: "smartduka".into(),
                replica_set: None,
                server_version: "6.0.5".into(),
                feature_compatibility_version: "6.0".into(),
                host: "127.0.0.1:27017".into(),
            },
            collections: vec![collection, view, changed],
            users: vec![rawdoc! { "_id": "admin.root", "user": "root" }],
            roles: vec![rawdoc! { "_id": "shop.clerk" }],
            oplog: Some(OplogRecord {
                since: ClusterTime { t: 7, i: 2 },
                patterns: vec!["shop.*".into()],
                segments: (25_001..=36_000).map(oplog_segment).collect(),
            }),
            parent: Some("20261123T020000Z-weekly-7f3a".parse().unwrap()),
        }
    }

    fn segment(n: u64) -> SegmentRef {
        SegmentRef { n, documents: 1, bytes: 33, layer: 0 }
    }

    fn oplog_segment(n: u64) -> OplogSegment {
        let (begin, end) = (ClusterTime { t: 7, i: 1 }, ClusterTime { t: u32::MAX, i: u32::MAX });
        OplogSegment { n, begin, end, entries: 5, bytes: 500 }
    }

    #[test]
    fn a_catalog_survives_the_way_to_bson_and_back() {
        let run = catalog().encode().unwrap();
        assert_eq!(Catalog::decode(run.as_bytes()).unwrap(), catalog());
    }

    #[test]
    fn a_damaged_catalog_is_refused() {
        let run = catalog().encode().unwrap();
        assert!(Catalog::decode(&run.as_bytes()[..run.as_bytes().len() - 1]).is_err());
        assert!(Catalog::decode(&[]).is_err());
        let unknown: Documents = [rawdoc! { "type": "spell" }].into_iter().collect();
        assert!(Catalog::decode(unknown.as_bytes()).unwrap_err().to_string().contains("spell"));
    }
}
