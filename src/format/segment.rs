//! Segments: a bounded run of whole BSON documents, and the header that says which.

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use serde::Deserialize;

use super::backup_id::BackupId;
use super::{check_version, malformed};
use crate::error::Result;
use crate::units::MIB;

/// How many bytes of documents a segment aims at. Measured in decision 0008: 4 MiB compresses
/// slightly worse, 16 MiB costs memory and gains nothing.
pub const TARGET_BYTES: usize = 8 * MIB;

/// The most bytes of documents a reader accepts in one segment: the largest document (16 MiB and a
/// little) with room to spare. A bound on what a forged segment can make us allocate.
pub const MAX_BYTES: usize = 32 * MIB;

/// The magic number of the zstd skippable frame that holds a header (RFC 8878, section 3.1.2).
const SKIPPABLE_MAGIC: [u8; 4] = 0x184D_2A5A_u32.to_le_bytes();

/// Bytes before the skippable frame's content.
const FRAME_PREFIX: usize = 8;

/// What a sealed run of documents is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Documents of one collection.
    Segment,
    /// The entries of a catalog.
    Catalog,
}

impl Content {
    fn format(self) -> &'static str {
        match self {
            Self::Segment => "regrow-segment",
            Self::Catalog => "regrow-catalog",
        }
    }
}

/// What stands in front of the documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub content: Content,
    /// The backup it belongs to.
    pub backup: BackupId,
    /// Its number in that backup: from 1 for segments, 0 for the catalog.
    pub number: u64,
    /// How many documents follow.
    pub documents: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

#[derive(Deserialize)]
struct Fields<'a> {
    format: &'a str,
    version: u32,
    backup: BackupId,
    number: i64,
    documents: i64,
    bytes: i64,
}

impl Header {
    /// Returns the header as a zstd skippable frame.
    ///
    /// # Panics
    /// Never: the document is a few hundred bytes.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let document = rawdoc! {
            "format": self.content.format(),
            "version": 1_i32,
            "backup": self.backup.as_str(),
            "number": self.number.cast_signed(),
            "documents": self.documents.cast_signed(),
            "bytes": self.bytes.cast_signed(),
        };
        let content = document.as_bytes();
        let length = u32::try_from(content.len()).expect("a header is small");
        [&SKIPPABLE_MAGIC[..], &length.to_le_bytes(), content].concat()
    }

    /// Reads the header at the beginning of a zstd stream; returns it and where the data frame begins.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when there is no such frame.
    pub fn parse(stream: &[u8], content: Content) -> Result<(Self, usize)> {
        let what = "a segment's header";
        let (prefix, rest) =
            stream.split_at_checked(FRAME_PREFIX).ok_or_else(|| malformed(what, "the stream is too short"))?;
        if prefix[..4] != SKIPPABLE_MAGIC {
            return Err(malformed(what, "the stream does not begin with one"));
        }
        let length = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
        let document = rest.get(..length).ok_or_else(|| malformed(what, "it is cut off"))?;
        let document = RawDocument::from_bytes(document).map_err(|error| malformed(what, error))?;
        let fields: Fields =
            bson::deserialize_from_slice(document.as_bytes()).map_err(|error| malformed(what, error))?;
        check_version(what, content.format(), fields.format, fields.version)?;
        let count =
            |name: &str, value: i64| u64::try_from(value).map_err(|_| malformed(what, format!("{name} is {value}")));
        let header = Self {
            content,
            backup: fields.backup,
            number: count("number", fields.number)?,
            documents: count("documents", fields.documents)?,
            bytes: count("bytes", fields.bytes)?,
        };
        Ok((header, FRAME_PREFIX + length))
    }
}

/// Whole BSON documents, one after the other, collected until there are enough for a segment.
#[derive(Debug, Default)]
pub struct Documents {
    bytes: Vec<u8>,
    count: u64,
}

impl Documents {
    /// Returns an empty run with room for one segment.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), count: 0 }
    }

    /// Appends a document as it is.
    pub fn push(&mut self, document: &RawDocument) {
        self.bytes.extend_from_slice(document.as_bytes());
        self.count += 1;
    }

    /// Whether `document` should begin a new run: this one has something and would grow over `target` bytes.
    #[must_use]
    pub fn is_full_for(&self, document: &RawDocument, target: usize) -> bool {
        self.count > 0 && self.bytes.len() + document.as_bytes().len() > target
    }

    /// Returns all bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns how many documents there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl FromIterator<RawDocumentBuf> for Documents {
    fn from_iter<I: IntoIterator<Item = RawDocumentBuf>>(documents: I) -> Self {
        let mut run = Self::default();
        documents.into_iter().for_each(|document| run.push(&document));
        run
    }
}

/// Walks over the documents of a run.
///
/// Yields an error, and then nothing, when the bytes are not whole documents.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    /// Begins at the first document.
    #[must_use]
    pub fn new(documents: &'a [u8]) -> Self {
        Self { rest: documents }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<&'a RawDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        let prefix = rest.first_chunk::<4>();
        if rest.is_empty() {
            return None;
        }
        let length = prefix.and_then(|prefix| usize::try_from(i32::from_le_bytes(*prefix)).ok());
        let Some((document, rest)) = length.and_then(|length| rest.split_at_checked(length)) else {
            return Some(Err(malformed("a run of documents", "its last document is cut off")));
        };
        match RawDocument::from_bytes(document) {
            Ok(document) => {
                self.rest = rest;
                Some(Ok(document))
            }
            Err(error) => Some(Err(malformed("a document", error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        let backup = "20261123T020000Z-daily-7f3a".parse().unwrap();
        Header { content: Content::Segment, backup, number: 7, documents: 3, bytes: 99 }
    }

    #[test]
    fn a_header_survives_the_way_to_a_frame_and_back() {
        let mut stream = header().to_frame();
        let length = stream.len();
        stream.extend_from_slice(b"data frame");
        assert_eq!(Header::parse(&stream, Content::Segment).unwrap(), (header(), length));
        assert!(Header::parse(&stream, Content::Catalog).is_err());
    }

    #[test]
    fn a_document_larger_than_the_target_gets_a_run_of_its_own() {
        let document = rawdoc! { "text": "x".repeat(100) };
        let mut run = Documents::default();
        assert!(!run.is_full_for(&document, 10));
        run.push(&document);
        assert!(run.is_full_for(&document, 10));
        assert!(!run.is_full_for(&document, 1000));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Header::parse(&bytes, Content::Segment);
            let mut framed = header().to_frame();
            framed.truncate(bytes.len());
            let _ = Header::parse(&framed, Content::Segment);
            prop_assert!(Walk::new(&bytes).count() <= 60 + 1);
        }

        #[test]
        fn a_walk_gives_back_what_was_pushed(numbers in proptest::collection::vec(any::<i64>(), 0..50)) {
            let documents: Vec<_> = numbers.iter().map(|number| rawdoc! { "n": *number }).collect();
            let run: Documents = documents.iter().cloned().collect();
            let walked: Vec<_> = Walk::new(run.as_bytes()).map(|document| document.unwrap().to_owned()).collect();
            prop_assert_eq!(walked, documents);
            prop_assert_eq!(run.count(), numbers.len() as u64);
        }
    }
}
