//! The content digest: equal exactly when two collections hold the same documents, in any order.

use std::fmt;

use super::lanes::{State, for_each_hash};
use crate::error::Result;
use crate::format::segment::Walk;

/// A sum modulo 2^256 of the SHA-256 of each document's bytes, and what went into it.
///
/// Digests of parts [merge](Self::merge) to that of the whole, whatever the order or the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContentDigest {
    /// The sum as four words, the least significant first.
    sum: [u64; 4],
    /// How many documents were added.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl ContentDigest {
    /// Adds documents, each as its bytes.
    pub fn add<'a>(&mut self, documents: impl IntoIterator<Item = &'a [u8]>) {
        let (mut count, mut bytes) = (0, 0);
        let counted = documents.into_iter().inspect(|document| {
            count += 1;
            bytes += document.len() as u64;
        });
        for_each_hash(counted, |hash| self.add_sum(as_number(hash)));
        self.documents += count;
        self.bytes += bytes;
    }

    /// Adds a document of so many bytes whose SHA-256 is known already.
    pub fn add_hashed(&mut self, hash: &[u8; 32], bytes: u64) {
        let mut state = State::default();
        let words = hash.as_chunks().0;
        state.iter_mut().zip(words).for_each(|(word, bytes)| *word = u32::from_be_bytes(*bytes));
        self.add_sum(as_number(&state));
        self.documents += 1;
        self.bytes += bytes;
    }

    /// Returns the digest of a run of documents.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when they are no documents.
    pub fn of(run: &[u8]) -> Result<Self> {
        let mut digest = Self::default();
        let mut broken = Ok(());
        digest.add(Walk::new(run).map_while(|document| match document {
            Ok(document) => Some(document.as_bytes()),
            Err(error) => {
                broken = Err(error);
                None
            }
        }));
        broken.map(|()| digest)
    }

    /// Returns the digest that a catalog holds.
    #[must_use]
    pub fn recorded(documents: u64, bytes: u64, digest: &[u8; 32]) -> Self {
        let mut sum = [0; 4];
        for (word, chunk) in sum.iter_mut().rev().zip(digest.as_chunks().0) {
            *word = u64::from_be_bytes(*chunk);
        }
        Self { sum, documents, bytes }
    }

    /// Adds everything that went into `other`.
    pub fn merge(&mut self, other: &Self) {
        self.add_sum(other.sum);
        self.documents += other.documents;
        self.bytes += other.bytes;
    }

    /// Returns the sum as 32 bytes, big-endian, as catalogs hold it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.sum.iter().rev()) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    fn add_sum(&mut self, other: [u64; 4]) {
        let mut carry = false;
        for (word, other) in self.sum.iter_mut().zip(other) {
            let (sum, first) = word.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *word = sum;
            carry = first || second;
        }
    }
}

/// Returns the number whose big-endian bytes are the hash, the least significant word first.
fn as_number(hash: &State) -> [u64; 4] {
    let word = |at: usize| u64::from(hash[at]) << 32 | u64::from(hash[at + 1]);
    [word(6), word(4), word(2), word(0)]
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_document_has_its_own_hash() {
        let mut digest = ContentDigest::default();
        digest.add([&b"abc"[..]]);
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_hashed_already_counts_the_same() {
        let (mut digest, mut hashed) = (ContentDigest::default(), ContentDigest::default());
        for document in [&b"abc"[..], b"", b"abc"] {
            digest.add([document]);
            hashed.add_hashed(&crate::codec::sha256(document), document.len() as u64);
        }
        assert_eq!(digest, hashed);
    }

    #[test]
    fn what_a_catalog_holds_comes_back() {
        let mut digest = ContentDigest::default();
        digest.add([&b"abc"[..], b"de"]);
        assert_eq!(ContentDigest::recorded(2, 5, &digest.to_bytes()), digest);
    }

    #[test]
    fn the_sum_carries_through_all_words() {
        let mut digest = ContentDigest { sum: [u64::MAX; 4], documents: 0, bytes: 0 };
        digest.add_sum([1, 0, 0, 0]);
        assert_eq!(digest.sum, [0; 4]);
    }

    proptest! {
        #[test]
        fn order_and_split_do_not_matter(documents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20), at in 0_usize..20) {
            let digest = |documents: &[Vec<u8>]| {
                let mut digest = ContentDigest::default();
                digest.add(documents.iter().map(Vec::as_slice));
                digest
            };
            let at = at.min(documents.len());
            let reversed: Vec<_> = documents.iter().rev().cloned().collect();
            let mut merged = digest(&documents[at..]);
            merged.merge(&digest(&documents[..at]));
            prop_assert_eq!(digest(&documents), digest(&reversed));
            prop_assert_eq!(digest(&documents), merged);
        }
    }
}
