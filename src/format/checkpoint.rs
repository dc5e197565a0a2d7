//! Checkpoints: what a backup that is not committed yet has stored, so that another run can go on with it.
//!
//! Each names one pack, beginning with the first, and what its segments hold. Nothing reads them once the manifest is there.

use bson::spec::BinarySubtype;
use bson::{Binary, RawDocument, RawDocumentBuf, rawdoc};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backup_id::BackupId;
use super::catalog::{SegmentRef, SourceRecord};
use super::descriptor::RepositoryId;
use super::manifest::PackRecord;
use super::segment::{Documents, MAX_STORED_BYTES, Walk};
use super::time::ClusterTime;
use super::{check_version, layout, malformed};
use crate::error::Result;

/// The name that a checkpoint's `format` field bears.
pub const FORMAT: &str = "regrow-checkpoint";

/// The most bytes of a checkpoint: what a store creates in one request, with room to spare. What would be larger is not
/// written, and the backup is not resumed from there.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The payload of `checkpoints/<n>.json`. No namespace names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Always [`FORMAT`].
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// The backup's id.
    pub id: BackupId,
    /// Its number, and that of the pack, from 1.
    pub number: u32,
    /// The pack, confirmed as stored.
    pub pack: PackRecord,
    /// [`Contents`] as documents, sealed, in base64.
    pub sealed: String,
}

impl Checkpoint {
    /// Reads a payload whose signature has been checked, and holds it against its place.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none, or that of another place.
    pub fn parse(payload: &[u8], repository: &RepositoryId, id: &BackupId, number: u32) -> Result<Self> {
        let what = format!("checkpoint {number} of {id}");
        let checkpoint: Self = serde_json::from_slice(payload).map_err(|error| malformed(&what, error))?;
        check_version(&what, FORMAT, &checkpoint.format, checkpoint.version)?;
        if (&checkpoint.repository, &checkpoint.id, checkpoint.number) != (repository, id, number) {
            return Err(malformed(&what, "it belongs elsewhere"));
        }
        let PackRecord { object, segments } = &checkpoint.pack;
        let lies_in_it = |offset: u64, size: u64| offset.checked_add(size).is_some_and(|end| end <= object.size);
        let fits = segments.iter().all(|one| one.size <= MAX_STORED_BYTES && lies_in_it(one.offset, one.size));
        if object.key != layout::pack(id, number) || !fits {
            return Err(malformed(&what, "its pack is another"));
        }
        Ok(checkpoint)
    }
}

/// What a backup is of: whoever goes on with it must be about to take the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undertaking {
    /// Where it is read from.
    pub source: SourceRecord,
    /// `settings.replicaSetId` of the source, in hex.
    pub replica_set_id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// The moment that it shows.
    #[serde(with = "super::catalog::timestamp")]
    pub cluster_time: ClusterTime,
    /// From where on the oplog must be read to go on from there.
    #[serde(with = "super::catalog::timestamp")]
    pub replay_from: ClusterTime,
    /// The patterns that choose the namespaces; none where all are taken.
    pub patterns: Vec<String>,
    /// The recipients; none where it is not encrypted.
    pub recipients: Vec<String>,
    /// The level of the compression.
    pub level: i32,
    /// The SHA-256 of the namespaces as listed, with options and indexes.
    pub listing: Binary,
}

/// A collection that is read in several parts, and where those begin and end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// The collection's number.
    pub collection: i32,
    /// The parts, as the reader describes them.
    pub parts: Vec<RawDocumentBuf>,
}

/// What one pack holds of one part of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredPart {
    /// The collection's number.
    pub collection: i32,
    /// The part's.
    pub part: i32,
    /// The place of the first of these segments in the part, from 0. Where it is 0 and something of the part was stored before,
    /// that was begun anew and counts no more.
    pub first: i32,
    /// The content digest of these segments.
    pub digest: Binary,
    /// The segments, in reading order.
    pub segments: Vec<SegmentRef>,
    /// Where reading goes on behind them.
    pub end: Position,
}

/// Where the reading of a part stands behind a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Whether the part ends there.
    pub is_end: bool,
    /// The server's resume token of a place before; none for the part's beginning.
    pub after: Option<RawDocumentBuf>,
    /// How many documents lie between that place and this one.
    pub passed: i64,
    /// The SHA-256 of the last of them.
    pub last: Binary,
}

impl Default for Position {
    fn default() -> Self {
        Self { is_end: false, after: None, passed: 0, last: binary(&[0; 32]) }
    }
}

/// What a checkpoint says of its pack; the first one also says what the backup is of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Contents {
    /// What the backup is of, in the first one.
    pub undertaking: Option<Undertaking>,
    /// The collections that are read in several parts, in the first one.
    pub parts: Vec<Parts>,
    /// What the pack holds.
    pub stored: Vec<StoredPart>,
}

impl Contents {
    /// Returns it as a run of documents.
    ///
    /// # Errors
    /// When something of it is no BSON, which nothing that a server said is.
    pub fn encode(&self) -> Result<Documents> {
        let mut run = Documents::default();
        if let Some(undertaking) = &self.undertaking {
            run.push(&entry("undertaking", undertaking)?);
        }
        for parts in &self.parts {
            run.push(&entry("parts", parts)?);
        }
        for stored in &self.stored {
            run.push(&entry("stored", stored)?);
        }
        Ok(run)
    }

    /// Reads a run of documents.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when an entry is not as the format describes it.
    pub fn decode(documents: &[u8]) -> Result<Self> {
        let mut contents = Self::default();
        for entry in Walk::new(documents) {
            let entry = entry?;
            match entry.get_str("type").map_err(wrong)? {
                "undertaking" => contents.undertaking = Some(content(entry)?),
                "parts" => contents.parts.push(content(entry)?),
                "stored" => contents.stored.push(content(entry)?),
                other => return Err(wrong(format!("an entry has the unknown type '{other}'"))),
            }
        }
        Ok(contents)
    }
}

/// Returns a hash as BSON holds it.
#[must_use]
pub fn binary(hash: &[u8; 32]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: hash.to_vec() }
}

fn entry(kind: &str, content: &impl Serialize) -> Result<RawDocumentBuf> {
    let content = bson::serialize_to_raw_document_buf(content).map_err(wrong)?;
    Ok(rawdoc! { "type": kind, "content": content })
}

fn content<'a, T: Deserialize<'a>>(entry: &'a RawDocument) -> Result<T> {
    let content = entry.get_document("content").map_err(wrong)?;
    bson::deserialize_from_slice(content.as_bytes()).map_err(wrong)
}

fn wrong(reason: impl std::fmt::Display) -> crate::error::Error {
    malformed("a checkpoint", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents() -> Contents {
        let time = ClusterTime { t: u32::MAX, i: 7 };
        let source = SourceRecord {
            name: "shop".into(),
            replica_set: Some("rs0".into()),
            server_version: "7.0.1".into(),
            feature_compatibility_version: "7.0".into(),
            host: "db1:27017".into(),
        };
        let undertaking = Undertaking {
            source,
            replica_set_id: "00".into(),
            started_at: Timestamp::UNIX_EPOCH,
            cluster_time: time,
            replay_from: time,
            patterns: vec!["shop.*".into()],
            recipients: Vec::new(),
            level: 3,
            listing: binary(&[1; 32]),
        };
        let token = rawdoc! { "$recordId": 5_i64 };
        let parts = Parts { collection: 0, parts: vec![rawdoc! {}, rawdoc! { "after": token.clone() }] };
        let end = Position { is_end: false, after: Some(token), passed: 3, last: binary(&[3; 32]) };
        let segments = vec![SegmentRef { n: 1, documents: 2, bytes: 99, layer: 0 }];
        let stored = StoredPart { collection: 0, part: 1, first: 0, digest: binary(&[2; 32]), segments, end };
        Contents { undertaking: Some(undertaking), parts: vec![parts], stored: vec![stored] }
    }

    #[test]
    fn contents_survive_the_way_to_documents_and_back() {
        let contents = contents();
        assert_eq!(Contents::decode(contents.encode().unwrap().as_bytes()).unwrap(), contents);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Contents::decode(&bytes);
            let mut cut = contents().encode().unwrap().as_bytes().to_vec();
            cut.truncate(bytes.len());
            let _ = Contents::decode(&cut);
        }
    }
}
