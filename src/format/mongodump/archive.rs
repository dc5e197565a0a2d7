//! Archives: a magic number, then blocks. A block is a run of documents, of which the first is its header, and a terminator.
//!
//! The first block is the prelude: versions, and each namespace with its metadata. Each block behind it holds documents of
//! one namespace, or says that the namespace ends, with the CRC-64 of all its documents. Namespaces may take turns.

use std::collections::{HashMap, HashSet};

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use crc_fast::{CrcAlgorithm, Digest};

use super::allowance::Allowance;
use super::damaged;
use crate::error::{Error, Result};

/// The first bytes of an archive.
pub const MAGIC: [u8; 4] = 0x8199_e26d_u32.to_le_bytes();

/// What ends a block.
pub const TERMINATOR: [u8; 4] = [0xff; 4];

/// The only version that there is.
const VERSION: &str = "0.1";

/// The block that an archive begins with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prelude {
    /// The version of the server that was dumped.
    pub server_version: String,
    /// What wrote the archive.
    pub tool_version: String,
    /// Every namespace.
    pub namespaces: Vec<PreludeNamespace>,
}

/// A namespace as the prelude names it.
#[derive(Debug, Clone, PartialEq)]
pub struct PreludeNamespace {
    /// The database; empty for the oplog.
    pub db: String,
    /// The collection, by the name that people know.
    pub collection: String,
    /// The text of its metadata; empty where it has none.
    pub metadata: String,
    /// `collection`, `view` or `timeseries`; empty in old archives.
    pub kind: String,
}

impl Prelude {
    /// Returns the magic number and the block.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = rawdoc! {
            "concurrent_collections": 1, "version": VERSION, "server_version": self.server_version.as_str(),
            "tool_version": self.tool_version.as_str(),
        };
        let mut bytes = [&MAGIC[..], header.as_bytes()].concat();
        for PreludeNamespace { db, collection, metadata, kind } in &self.namespaces {
            let entry = rawdoc! {
                "db": db.as_str(), "collection": collection.as_str(), "metadata": metadata.as_str(), "size": 0,
                "type": kind.as_str(),
            };
            bytes.extend_from_slice(entry.as_bytes());
        }
        bytes.extend_from_slice(&TERMINATOR);
        bytes
    }

    /// Takes the prelude's header.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none, or one of a version that is not known.
    pub fn begin(header: &RawDocument) -> Result<Self> {
        let version = string(header, "version")?;
        if version != VERSION {
            return Err(Error::failed(format!("the archive has version {version}; only {VERSION} is known"))
                .with_hint("make the dump anew with --out, or install a newer Regrow"));
        }
        let (server_version, tool_version) = (string(header, "server_version")?, string(header, "tool_version")?);
        Ok(Self { server_version, tool_version, namespaces: Vec::new() })
    }

    /// Takes the next namespace.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none.
    pub fn add(&mut self, entry: &RawDocument) -> Result<()> {
        self.namespaces.push(PreludeNamespace {
            db: string(entry, "db")?,
            collection: string(entry, "collection")?,
            metadata: string(entry, "metadata")?,
            // Archives of old tools have none.
            kind: string(entry, "type").unwrap_or_default(),
        });
        Ok(())
    }
}

/// What frames the documents of one namespace that is written in one piece.
pub struct Frame {
    db: String,
    collection: String,
    crc: Crc,
}

impl Frame {
    /// Begins a namespace, by the name under which its documents lie; the bytes come first.
    #[must_use]
    pub fn begin(db: &str, collection: &str) -> (Self, Vec<u8>) {
        let bytes = namespace_header(db, collection, None).into_bytes();
        (Self { db: db.into(), collection: collection.into(), crc: Crc::default() }, bytes)
    }

    /// Counts documents that are written.
    pub fn add(&mut self, documents: &[u8]) {
        self.crc.0.update(documents);
    }

    /// Returns the bytes that come last.
    #[must_use]
    pub fn end(self) -> Vec<u8> {
        let end = namespace_header(&self.db, &self.collection, Some(self.crc.0.finalize()));
        [&TERMINATOR, end.as_bytes(), &TERMINATOR].concat()
    }
}

fn namespace_header(db: &str, collection: &str, crc: Option<u64>) -> RawDocumentBuf {
    rawdoc! { "db": db, "collection": collection, "EOF": crc.is_some(), "CRC": crc.unwrap_or(0).cast_signed() }
}

/// The CRC of a namespace's documents so far: CRC-64 with the polynomial of ECMA-182, bits reflected.
struct Crc(Digest);

impl Default for Crc {
    fn default() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64Xz))
    }
}

/// A namespace's database and collection, as blocks name them.
pub type Place = (String, String);

/// The blocks behind the prelude, piece by piece: whether they are what an archive may hold.
#[derive(Default)]
pub struct Blocks {
    open: HashMap<Place, Crc>,
    ended: HashSet<Place>,
    /// Whether a namespace is one of the prelude's, shows only with its documents.
    allowance: Allowance,
    current: Current,
}

/// What the block that is being read is.
#[derive(Default, Clone, PartialEq)]
enum Current {
    /// None; a header or the archive's end follows.
    #[default]
    Nothing,
    Data(Place),
    /// It has said that a namespace ends, and must end itself.
    End,
}

impl Blocks {
    /// Takes the next document; returns its namespace when it is one of the data.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it cannot stand here, or a namespace that ends has another CRC.
    pub fn document(&mut self, document: &RawDocument) -> Result<Option<&Place>> {
        match &self.current {
            Current::End => return Err(wrong("holds data of no namespace")),
            Current::Nothing => self.header(document)?,
            Current::Data(place) => {
                let crc = self.open.get_mut(place).ok_or_else(|| wrong("holds data of no namespace"))?;
                crc.0.update(document.as_bytes());
                return Ok(self.place());
            }
        }
        Ok(None)
    }

    fn place(&self) -> Option<&Place> {
        match &self.current {
            Current::Data(place) => Some(place),
            _ => None,
        }
    }

    fn header(&mut self, header: &RawDocument) -> Result<()> {
        let place = (string(header, "db")?, string(header, "collection")?);
        let name = format!("{}.{}", place.0, place.1);
        if self.ended.contains(&place) {
            return Err(wrong(format!("goes on with {name}, which has ended")));
        }
        if !self.open.contains_key(&place) {
            self.allowance.take(place.0.len() + place.1.len())?;
        }
        let crc = self.open.entry(place.clone()).or_default();
        if !header.get_bool("EOF").map_err(|_| wrong("has a header without an end mark"))? {
            self.current = Current::Data(place);
            return Ok(());
        }
        let recorded = header.get_i64("CRC").map_err(|_| wrong("has a header without a checksum"))?;
        if recorded.cast_unsigned() != crc.0.finalize() {
            return Err(wrong(format!("does not hold the documents of {name} that were written: the CRC is another")));
        }
        self.open.remove(&place);
        self.ended.insert(place);
        self.current = Current::End;
        Ok(())
    }

    /// Takes a terminator.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when no block is open.
    pub fn terminator(&mut self) -> Result<()> {
        match std::mem::take(&mut self.current) {
            Current::Nothing => Err(wrong("has a block without a header")),
            Current::Data(_) | Current::End => Ok(()),
        }
    }

    /// Makes sure that the archive may end here, and returns the namespaces that it held.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it was cut off.
    pub fn finish(self) -> Result<Vec<Place>> {
        if self.current != Current::Nothing || !self.open.is_empty() {
            return Err(wrong("was cut off"));
        }
        Ok(self.ended.into_iter().collect())
    }
}

fn string(document: &RawDocument, name: &str) -> Result<String> {
    let text = document.get_str(name).map_err(|_| wrong(format!("has a header without '{name}'")))?;
    Ok(text.to_owned())
}

fn wrong(reason: impl std::fmt::Display) -> Error {
    damaged("the archive", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what a [`Frame`] wrote.
    fn take(bytes: &[u8]) -> Result<Vec<Place>> {
        let mut blocks = Blocks::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some(behind) = rest.strip_prefix(&TERMINATOR) {
                blocks.terminator()?;
                rest = behind;
                continue;
            }
            let length = usize::try_from(u32::from_le_bytes(*rest.first_chunk().unwrap())).unwrap();
            blocks.document(RawDocument::from_bytes(&rest[..length]).unwrap())?;
            rest = &rest[length..];
        }
        blocks.finish()
    }

    fn framed(documents: &[RawDocumentBuf]) -> Vec<u8> {
        let (mut frame, mut bytes) = Frame::begin("shop", "orders");
        for document in documents {
            frame.add(document.as_bytes());
            bytes.extend_from_slice(document.as_bytes());
        }
        bytes.extend(frame.end());
        bytes
    }

    #[test]
    fn a_namespace_that_was_written_is_read() {
        let place = ("shop".to_owned(), "orders".to_owned());
        for documents in [vec![], vec![rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }]] {
            assert_eq!(take(&framed(&documents)).unwrap(), std::slice::from_ref(&place));
        }
    }

    #[test]
    fn the_crc_is_the_one_of_the_stock_tools() {
        let mut crc = Crc::default();
        crc.0.update(b"123456789");
        assert_eq!(crc.0.finalize(), 0x995d_c9bb_df19_39fa);
        assert_eq!(Crc::default().0.finalize(), 0);
    }

    #[test]
    fn what_is_not_whole_or_was_altered_is_found() {
        let bytes = framed(&[rawdoc! { "_id": 1 }]);
        let ends = bytes.windows(4).enumerate().filter(|(_, four)| *four == TERMINATOR).map(|(at, _)| at + 4);
        let ends: Vec<usize> = ends.collect();
        let error = take(&bytes[..ends[0]]).unwrap_err();
        assert!(error.to_string().contains("cut off"), "{error}");
        let twice = [&bytes[..], &bytes].concat();
        assert!(take(&twice).unwrap_err().to_string().contains("has ended"));
        let doubled = [&bytes[..], &TERMINATOR].concat();
        assert!(take(&doubled).unwrap_err().to_string().contains("without a header"));
        let mut altered = bytes;
        let at = ends[0] - 4 - 2;
        altered[at] ^= 1;
        assert!(take(&altered).unwrap_err().to_string().contains("CRC"));
    }
}
