//! Splitting a collection into parts that are read side by side.

use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, cstr, rawdoc};
use mongodb::Database;

use super::client::{LOOK, Node, snapshot_at};
use super::error::Attempt;
use super::namespaces::all;
use crate::error::Result;

/// How many random documents are looked up for each part, so that parts come out about equal.
const SAMPLES_PER_PART: u64 = 8;

/// The server samples at random only up to 5 % of a collection; beyond, it scans.
const DOCUMENTS_PER_SAMPLE: u64 = 25;

/// A stretch of a collection in natural order: behind `after`, up to and with the document `until`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Part {
    /// The resume token of the document before the first; none at the collection's beginning.
    pub(super) after: Option<RawDocumentBuf>,
    /// The last document; none at the collection's end.
    pub(super) until: Option<Boundary>,
}

impl Part {
    /// Returns the part behind a resume token, up to where this one ends.
    #[must_use]
    pub fn behind(self, token: Option<RawDocumentBuf>) -> Self {
        Self { after: token.or(self.after), ..self }
    }

    /// Returns it as a document.
    #[must_use]
    pub fn to_document(&self) -> RawDocumentBuf {
        let mut document = rawdoc! {};
        if let Some(after) = &self.after {
            document.append(cstr!("after"), after.clone());
        }
        if let Some(Boundary { record, id }) = &self.until {
            document.append(cstr!("until"), rawdoc! { "record": *record, "id": id.clone() });
        }
        document
    }

    /// Reads what [`to_document`](Self::to_document) wrote; none for anything else.
    #[must_use]
    pub fn parse(document: &RawDocument) -> Option<Self> {
        let part = |key| document.get(key).ok().map(|value| value.and_then(RawBsonRef::as_document));
        let until = match part("until")? {
            None => None,
            Some(until) => {
                let (record, id) = (until.get_i64("record").ok()?, until.get_document("id").ok()?.to_owned());
                Some(Boundary { record, id })
            }
        };
        Some(Self { after: part("after")?.map(RawDocument::to_owned), until })
    }
}

/// Splits a collection of about `documents` documents into at most `parts` parts.
///
/// The boundaries are documents that exist at `at`: where they lie decides only how even the parts
/// are, never what is read. One part is always right, and what comes back when the server cannot sample.
///
/// # Errors
/// When the node does not answer or a privilege is missing.
pub async fn split(
    node: &Node,
    db: &str,
    collection: &str,
    at: Timestamp,
    documents: u64,
    parts: u64,
) -> Result<Vec<Part>> {
    let samples = (parts * SAMPLES_PER_PART).min(documents / DOCUMENTS_PER_SAMPLE);
    if parts < 2 || samples < parts {
        return Ok(vec![Part::default()]);
    }
    let boundaries = sample(&node.database(db), collection, at, samples).await?;
    let parts = usize::try_from(parts).unwrap_or(1).min(boundaries.len() + 1);
    // Fewer samples may have come back than were asked for; spread evenly, no part gets all the rest.
    let inner = (1..parts).map(|part| boundaries[(part * boundaries.len() / parts).min(boundaries.len() - 1)].clone());
    let mut inner: Vec<_> = inner.collect();
    inner.dedup_by_key(|(record, _)| *record);
    let mut split = Vec::new();
    let mut after = None;
    for (record, id) in inner {
        split.push(Part { after, until: Some(Boundary::new(record, id)) });
        after = Some(rawdoc! { "$recordId": record });
    }
    split.push(Part { after, until: None });
    Ok(split)
}

/// Returns random documents of a collection, as record number and `_id`, in natural order.
async fn sample(database: &Database, collection: &str, at: Timestamp, samples: u64) -> Result<Vec<(i64, RawBson)>> {
    let doing = format!("sample {}.{collection}", database.name());
    let attempt = Attempt { doing: &doing, action: "find", ..LOOK };
    let pick = rawdoc! { "$sample": { "size": samples.cast_signed() } };
    let command = rawdoc! {
        "aggregate": collection,
        "pipeline": [pick, rawdoc! { "$project": { "_id": 1 } }],
        "cursor": {},
        "readConcern": snapshot_at(at),
    };
    let mut ids = bson::RawArrayBuf::new();
    for found in all(database, command, attempt).await? {
        if let Ok(Some(id)) = found.get("_id") {
            ids.push(RawBson::from(id));
        }
    }
    let command = rawdoc! {
        "find": collection,
        "filter": { "_id": { "$in": ids } },
        "projection": { "_id": 1 },
        "showRecordId": true,
        "readConcern": snapshot_at(at),
    };
    let mut boundaries = Vec::new();
    for found in all(database, command, attempt).await? {
        if let (Ok(Some(RawBsonRef::Int64(record))), Ok(Some(id))) = (found.get("$recordId"), found.get("_id")) {
            // NaNs are many as bytes and one in an index, which may be where this answer comes from.
            let may_be_nan =
                matches!(id, RawBsonRef::Double(id) if id.is_nan()) || matches!(id, RawBsonRef::Decimal128(_));
            if !may_be_nan {
                boundaries.push((record, RawBson::from(id)));
            }
        }
    }
    boundaries.sort_by_key(|(record, _)| *record);
    boundaries.dedup_by_key(|(record, _)| *record);
    Ok(boundaries)
}

/// A document that ends a part.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Boundary {
    /// Its place in the natural order.
    pub(super) record: i64,
    /// A document of nothing but its `_id`.
    id: RawDocumentBuf,
}

impl Boundary {
    fn new(record: i64, id: RawBson) -> Self {
        Self { record, id: rawdoc! { "_id": id } }
    }

    /// Whether `document` is it, told by the `_id`.
    pub(super) fn is(&self, document: &RawDocument) -> bool {
        /// A document begins with its length and ends with a zero.
        const LENGTH: usize = 4;
        /// What follows the length where `_id` comes first: its type, then its name.
        const NAME: std::ops::Range<usize> = 5..9;
        let (id, bytes) = (self.id.as_bytes(), document.as_bytes());
        if bytes.get(NAME) == Some(b"_id\0") {
            return bytes[LENGTH..].starts_with(&id[LENGTH..id.len() - 1]);
        }
        // Servers put `_id` first, but nothing holds those to it who write past them.
        matches!((document.get("_id"), self.id.get("_id")), (Ok(Some(one)), Ok(Some(other))) if one == other)
    }
}

#[cfg(test)]
mod tests {
    use bson::spec::BinarySubtype;
    use bson::{Binary, RawBson};

    use super::*;

    #[test]
    fn a_boundary_is_one_document_and_no_other() {
        let binary = |subtype| RawBson::Binary(Binary { subtype, bytes: vec![1, 2] });
        let ids = [
            RawBson::Int32(5),
            RawBson::Int64(5),
            RawBson::Double(5.0),
            RawBson::Double(0.0),
            RawBson::Double(-0.0),
            RawBson::String("a".into()),
            RawBson::String("ab".into()),
            RawBson::Null,
            binary(BinarySubtype::Generic),
            binary(BinarySubtype::BinaryOld),
            RawBson::Document(rawdoc! { "a": 1, "b": 2 }),
            RawBson::Document(rawdoc! { "b": 2, "a": 1 }),
        ];
        for (at, until) in ids.iter().enumerate() {
            let boundary = Boundary::new(1, until.clone());
            for (other, id) in ids.iter().enumerate() {
                let found = boundary.is(&rawdoc! { "_id": id.clone(), "more": 1 });
                assert_eq!(found, at == other, "{until:?} and {id:?}");
            }
        }
    }

    #[test]
    fn a_part_survives_the_way_to_a_document_and_back() {
        let until = Boundary::new(7, RawBson::String("a".into()));
        for part in [
            Part::default(),
            Part { after: Some(rawdoc! { "$recordId": 3_i64 }), until: None },
            Part { after: Some(rawdoc! { "$recordId": 3_i64 }), until: Some(until) },
        ] {
            assert_eq!(Part::parse(&part.to_document()), Some(part));
        }
        assert_eq!(Part::parse(&rawdoc! { "until": { "record": "x" } }), None);
    }

    #[test]
    fn a_boundary_is_found_where_its_id_is_not_first() {
        let boundary = Boundary::new(1, RawBson::Int32(5));
        assert!(boundary.is(&rawdoc! { "a": 1, "_id": 5 }));
        assert!(!boundary.is(&rawdoc! { "a": 1, "_id": 6 }));
        assert!(!boundary.is(&rawdoc! {}));
    }
}
