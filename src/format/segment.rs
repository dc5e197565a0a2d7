//! Segments: a bounded run of whole BSON documents.

use bson::{RawDocument, RawDocumentBuf};

use super::malformed;
use crate::error::Result;
use crate::units::MIB;

/// How many bytes of documents a segment aims at. Measured in decision 0008: 4 MiB compresses
/// slightly worse, 16 MiB costs memory and gains nothing.
pub const TARGET_BYTES: usize = 8 * MIB;

/// The most bytes of documents a reader accepts in one segment: the largest document (16 MiB and a
/// little) with room to spare. A bound on what a forged segment can make us allocate.
pub const MAX_BYTES: usize = 32 * MIB;

/// The most stored bytes of anything that holds so many: zstd and age add less than a hundredth, and a header.
pub const MAX_STORED_BYTES: u64 = (MAX_BYTES + MIB) as u64;

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
    use bson::rawdoc;
    use proptest::prelude::*;

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
