//! Entries of a catalog: what of them serde maps, and what stands as the server gave it.

use bson::spec::BinarySubtype;
use bson::{Binary, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use serde::{Deserialize, Serialize};

use super::super::backup_id::BackupId;
use super::super::increment::ChangesRecord;
use super::{CollectionKind, CollectionRecord, OplogSegment, SegmentRef, SourceRecord, count, wrong};
use crate::error::Result;
use crate::namespace;

#[derive(Serialize, Deserialize)]
pub(super) struct SegmentsEntry {
    pub collection: i32,
    pub segments: Vec<SegmentRef>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct IncrementEntry {
    pub parent: BackupId,
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
pub(super) struct OplogSegmentsEntry {
    pub segments: Vec<OplogSegment>,
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

pub(super) fn encode_source(source: &SourceRecord) -> Result<RawDocumentBuf> {
    encode_entry("source", source)
}

/// Serialises an entry and puts its `type` in front.
pub(super) fn encode_entry(kind: &str, fields: &impl Serialize) -> Result<RawDocumentBuf> {
    let fields = bson::serialize_to_raw_document_buf(fields).map_err(wrong)?;
    let mut entry = rawdoc! { "type": kind };
    for element in fields.iter_elements() {
        let element = element.map_err(wrong)?;
        entry.append(element.key(), raw(element.value().map_err(wrong)?));
    }
    Ok(entry)
}

pub(super) fn encode_collection(number: i32, collection: &CollectionRecord) -> Result<RawDocumentBuf> {
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

pub(super) fn decode_collection(entry: &RawDocument) -> Result<(i32, CollectionRecord)> {
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
    if let Some(reason) = namespace::misfit(&fields.db, &fields.name) {
        return Err(wrong(format!("the namespace {:?}: {reason}", format!("{}.{}", fields.db, fields.name))));
    }
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

pub(super) fn parse<'a, T: Deserialize<'a>>(entry: &'a RawDocument) -> Result<T> {
    bson::deserialize_from_slice(entry.as_bytes()).map_err(wrong)
}

fn raw(value: RawBsonRef<'_>) -> bson::RawBson {
    value.into()
}
