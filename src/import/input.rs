//! Bytes of a dump: files, compressed or not, taken apart into documents.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use bson::RawDocument;
use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::format::mongodump::archive::{MAGIC, TERMINATOR};
use crate::format::mongodump::damaged;
use crate::units::MIB;

/// The largest document that is accepted: what a server stores, and what the oplog adds to it.
const MAX_DOCUMENT: usize = 17 * MIB;

/// The shortest document that there is.
const MIN_DOCUMENT: usize = 5;

/// What a gzip file begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

const BUFFER: usize = 256 * 1024;

/// Opens a file, and takes compressed ones apart.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>> {
    let file = File::open(path).map_err(|error| unreadable(&path.display().to_string(), error))?;
    decompressed(&path.display().to_string(), file)
}

/// Returns what a compressed stream holds; any other as it is.
pub(super) fn decompressed(name: &str, stream: impl Read + Send + 'static) -> Result<Box<dyn Read + Send>> {
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    let begin = stream.fill_buf().map_err(|error| unreadable(name, error))?;
    if begin.starts_with(&GZIP_MAGIC) { Ok(Box::new(MultiGzDecoder::new(stream))) } else { Ok(Box::new(stream)) }
}

/// Reads a small file whole.
pub(super) fn read_whole(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut limited = open(path)?.take(MAX_DOCUMENT as u64);
    limited.read_to_end(&mut content).map_err(|error| unreadable(&path.display().to_string(), error))?;
    Ok(content)
}

/// One after the other, what a stream of documents holds.
pub(super) struct Pieces {
    name: String,
    stream: BufReader<Box<dyn Read + Send>>,
    buffer: Vec<u8>,
    /// How many bytes were read.
    position: u64,
}

/// What comes next.
pub(super) enum Piece<'a> {
    Document(&'a RawDocument),
    Terminator,
    End,
}

impl Pieces {
    pub fn new(name: String, stream: Box<dyn Read + Send>) -> Self {
        Self { name, stream: BufReader::with_capacity(BUFFER, stream), buffer: Vec::new(), position: 0 }
    }

    /// Whether an archive begins here; takes its first bytes if so.
    pub fn begin_archive(&mut self) -> Result<bool> {
        let mut begin = [0; 4];
        let read = self.fill(&mut begin)?;
        Ok(read == begin.len() && begin == MAGIC)
    }

    /// Returns where the reader is, for messages.
    pub fn place(&self) -> String {
        format!("{}, byte {}", self.name, self.position)
    }

    /// Returns the next piece.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged), with the place, when it is none.
    pub fn next(&mut self) -> Result<Piece<'_>> {
        let mut prefix = [0; 4];
        match self.fill(&mut prefix)? {
            0 => return Ok(Piece::End),
            4 if prefix == TERMINATOR => return Ok(Piece::Terminator),
            4 => {}
            _ => return Err(damaged(self.place(), "is cut off")),
        }
        let length = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
        if !(MIN_DOCUMENT..=MAX_DOCUMENT).contains(&length) {
            return Err(damaged(self.place(), format!("begins a document of {length} bytes, which none has")));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend_from_slice(&prefix);
        buffer.resize(length, 0);
        let read = self.fill(&mut buffer[4..])?;
        self.buffer = buffer;
        if read < length - 4 {
            return Err(damaged(self.place(), "is cut off"));
        }
        let document = RawDocument::from_bytes(&self.buffer);
        document.map(Piece::Document).map_err(|error| damaged(self.place(), format!("ends no document: {error}")))
    }

    /// Reads until the bytes are there or the stream ends; returns how many there are.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.stream.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&self.place(), error)),
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }
}

/// Says why something cannot be read: what a decompressor complains about is damage.
fn unreadable(place: &str, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
            damaged(place, "is no whole gzip stream").caused_by(error)
        }
        ErrorKind::NotFound => Error::not_found(format!("{place} is not there"))
            .with_hint("name the folder or the archive that mongodump wrote"),
        _ => Error::failed(format!("cannot read {place}")).caused_by(error),
    }
}
