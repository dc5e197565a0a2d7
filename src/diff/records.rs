//! One side of a comparison: for each document a record of one size, sorted by the hash of its `_id`.
//!
//! Records are gathered in memory, up to [`RUN`] of them; a run that is full is sorted and written to an unnamed file.
//! Reading merges the runs, with one buffer for each out of [`MERGED`] records, so memory does not grow with the number
//! of documents. A collection that fits into one run touches no disk. Where the `_id`s themselves are wanted, they lie
//! in a second file, and a record says where.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::vec;

use bson::{RawDocument, RawDocumentBuf};

use crate::codec::{ContentDigest, sha256};
use crate::error::{Error, Result};
use crate::format::segment::Walk;
use crate::operations::identity::{Element, Hash, IdentityKey, first_half};
use crate::units::MIB;

/// How many records are sorted in memory: 20 MiB of them for each side.
const RUN: usize = 512 * 1024;

/// How many records of all runs together are in memory while they are merged: 5 MiB for each side.
const MERGED: usize = 128 * 1024;

/// How many records are written or encoded at once.
const CHUNK: usize = 4096;

/// How many bytes of `_id`s are gathered before they are written.
const NAMES_BUFFERED: usize = MIB;

/// What a record takes in a file.
const BYTES: usize = 40;

/// What is known of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    /// Which document it is.
    pub(super) id: Hash,
    /// What it holds.
    pub(super) content: Hash,
    /// Where its `_id` is among the names, if it is.
    pub(super) place: u64,
}

impl Record {
    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..16].copy_from_slice(&self.id);
        bytes[16..32].copy_from_slice(&self.content);
        bytes[32..].copy_from_slice(&self.place.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        let (mut id, mut content, mut place) = ([0; 16], [0; 16], [0; 8]);
        id.copy_from_slice(&bytes[..16]);
        content.copy_from_slice(&bytes[16..32]);
        place.copy_from_slice(&bytes[32..]);
        Self { id, content, place: u64::from_le_bytes(place) }
    }
}

/// How many records may be in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// While they are gathered.
    pub(super) run: usize,
    /// While they are merged.
    pub(super) merged: usize,
}

/// Records of documents, being gathered.
pub(super) struct Records {
    key: IdentityKey,
    digest: ContentDigest,
    limits: Limits,
    gathered: Vec<Record>,
    file: Option<File>,
    /// The sorted runs in the file, counted in records.
    runs: Vec<Range<u64>>,
    names: Option<Names>,
}

impl Records {
    /// Begins without any; `named` keeps the `_id`s themselves.
    pub(super) fn new(key: &IdentityKey, named: bool) -> Self {
        Self::within(Limits { run: RUN, merged: MERGED }, key, named)
    }

    pub(super) fn within(limits: Limits, key: &IdentityKey, named: bool) -> Self {
        Self {
            key: key.clone(),
            digest: ContentDigest::default(),
            limits,
            gathered: Vec::new(),
            file: None,
            runs: Vec::new(),
            names: named.then(Names::default),
        }
    }

    /// Returns the content digest of all documents so far.
    pub(super) fn digest(&self) -> &ContentDigest {
        &self.digest
    }

    /// Adds a run of documents.
    pub(super) fn add(&mut self, documents: &[u8]) -> Result<()> {
        for document in Walk::new(documents) {
            let document = document?;
            let (hash, id) = (sha256(document.as_bytes()), Element::id_of(document));
            self.digest.add_hashed(&hash, document.as_bytes().len() as u64);
            let place = match &mut self.names {
                Some(names) => names.add(&id.and_then(|id| id.alone()).unwrap_or_default())?,
                None => 0,
            };
            self.gathered.push(Record { id: self.key.hash(id), content: first_half(hash), place });
            if self.gathered.len() >= self.limits.run {
                self.write_run()?;
            }
        }
        Ok(())
    }

    fn write_run(&mut self) -> Result<()> {
        self.gathered.sort_unstable();
        let begin = self.runs.last().map_or(0, |last| last.end);
        let mut end = begin;
        let file = open(&mut self.file)?;
        for chunk in self.gathered.chunks(CHUNK) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|record| record.to_bytes()).collect();
            file.write_all_at(&bytes, end * BYTES as u64).map_err(unusable)?;
            end += chunk.len() as u64;
        }
        self.runs.push(begin..end);
        self.gathered.clear();
        Ok(())
    }

    /// Returns all records in order, and the names.
    pub(super) fn sorted(mut self) -> Result<(Sorted, Option<Names>)> {
        self.gathered.sort_unstable();
        if self.file.is_some() {
            self.write_run()?;
        }
        let sorted = match self.file {
            Some(file) => Sorted::Merged(Merge::new(file, self.runs, self.limits.merged)?),
            None => Sorted::InMemory(self.gathered.into_iter()),
        };
        Ok((sorted, self.names))
    }
}

/// Records in order.
pub(super) enum Sorted {
    InMemory(vec::IntoIter<Record>),
    Merged(Merge),
}

impl Sorted {
    pub(super) fn next(&mut self) -> Result<Option<Record>> {
        match self {
            Self::InMemory(records) => Ok(records.next()),
            Self::Merged(merge) => merge.next(),
        }
    }
}

/// Several sorted runs, read as one.
pub(super) struct Merge {
    file: File,
    /// What is left of each run: in the file, and read already.
    runs: Vec<(Range<u64>, vec::IntoIter<Record>)>,
    /// The first record of each run that has any left.
    heads: BinaryHeap<Reverse<(Record, usize)>>,
    /// How many records of one run are read at once.
    buffered: u64,
}

impl Merge {
    fn new(file: File, runs: Vec<Range<u64>>, merged: usize) -> Result<Self> {
        let buffered = (merged / runs.len().max(1)).max(1) as u64;
        let runs: Vec<_> = runs.into_iter().map(|run| (run, Vec::new().into_iter())).collect();
        let mut merge = Self { file, heads: BinaryHeap::with_capacity(runs.len()), runs, buffered };
        for run in 0..merge.runs.len() {
            merge.pull(run)?;
        }
        Ok(merge)
    }

    fn next(&mut self) -> Result<Option<Record>> {
        let Some(Reverse((record, run))) = self.heads.pop() else { return Ok(None) };
        self.pull(run)?;
        Ok(Some(record))
    }

    /// Puts a run's next record among the heads, if there is one.
    fn pull(&mut self, run: usize) -> Result<()> {
        let (left, read) = &mut self.runs[run];
        if read.as_slice().is_empty() && !left.is_empty() {
            let count = self.buffered.min(left.end - left.start);
            *read = read_records(&self.file, left.start, count)?.into_iter();
            left.start += count;
        }
        self.heads.extend(read.next().map(|record| Reverse((record, run))));
        Ok(())
    }
}

fn read_records(file: &File, begin: u64, count: u64) -> Result<Vec<Record>> {
    let bytes = usize::try_from(count * BYTES as u64).map_err(io::Error::other).map_err(unusable)?;
    let mut bytes = vec![0; bytes];
    file.read_exact_at(&mut bytes, begin * BYTES as u64).map_err(unusable)?;
    Ok(bytes.as_chunks().0.iter().map(Record::from_bytes).collect())
}

/// The `_id`s of documents, each as the only field of a document, one after the other.
#[derive(Default)]
pub(super) struct Names {
    file: Option<File>,
    written: u64,
    gathered: Vec<u8>,
}

impl Names {
    /// Adds one and returns its place.
    fn add(&mut self, id: &RawDocument) -> Result<u64> {
        if self.gathered.len() >= NAMES_BUFFERED {
            open(&mut self.file)?.write_all_at(&self.gathered, self.written).map_err(unusable)?;
            self.written += self.gathered.len() as u64;
            self.gathered.clear();
        }
        let place = self.written + self.gathered.len() as u64;
        self.gathered.extend_from_slice(id.as_bytes());
        Ok(place)
    }

    /// Returns the one at a place.
    pub(super) fn at(&self, place: u64) -> Result<RawDocumentBuf> {
        let mut length = [0; 4];
        self.read(&mut length, place)?;
        let mut bytes = vec![0; usize::try_from(i32::from_le_bytes(length)).unwrap_or(0)];
        self.read(&mut bytes, place)?;
        RawDocumentBuf::from_bytes(bytes).map_err(|error| unusable(io::Error::other(error)))
    }

    fn read(&self, bytes: &mut [u8], place: u64) -> Result<()> {
        let gathered = place.checked_sub(self.written).and_then(|at| usize::try_from(at).ok());
        match (gathered, &self.file) {
            (Some(at), _) => {
                let found = self.gathered.get(at..at + bytes.len());
                bytes.copy_from_slice(found.ok_or_else(|| unusable(io::ErrorKind::UnexpectedEof.into()))?);
                Ok(())
            }
            (None, Some(file)) => file.read_exact_at(bytes, place).map_err(unusable),
            (None, None) => Err(unusable(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// Returns the file, made when it is first needed. It has no name, so whatever ends the process removes it.
fn open(file: &mut Option<File>) -> Result<&File> {
    let made = match file.take() {
        Some(file) => file,
        None => tempfile::tempfile().map_err(unusable)?,
    };
    Ok(file.insert(made))
}

fn unusable(error: io::Error) -> Error {
    Error::failed("cannot use a temporary file").caused_by(error).with_hint("free space where TMPDIR points")
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::format::segment::Documents;
    use crate::random::Random;

    fn key() -> IdentityKey {
        IdentityKey::random(&Random::seeded(3))
    }

    fn gathered(limits: Limits, count: i32) -> Records {
        let mut records = Records::within(limits, &key(), true);
        for begin in (0..count).step_by(100) {
            let documents: Documents = (begin..count.min(begin + 100)).map(|n| rawdoc! { "_id": n, "n": n }).collect();
            records.add(documents.as_bytes()).unwrap();
        }
        records
    }

    fn all(mut sorted: Sorted) -> Vec<Record> {
        std::iter::from_fn(|| sorted.next().unwrap()).collect()
    }

    #[test]
    fn records_come_back_sorted_however_they_were_gathered() {
        let in_memory = gathered(Limits { run: usize::MAX, merged: 1 }, 5000);
        let digest = *in_memory.digest();
        let expected = all(in_memory.sorted().unwrap().0);
        assert_eq!(expected.len(), 5000);
        assert!(expected.is_sorted());
        for limits in [(1, 1), (7, 3), (100, 100), (4999, 10), (5000, 1)] {
            let records = gathered(Limits { run: limits.0, merged: limits.1 }, 5000);
            assert_eq!(*records.digest(), digest);
            assert_eq!(all(records.sorted().unwrap().0), expected, "{limits:?}");
        }
        assert!(all(gathered(Limits { run: 7, merged: 3 }, 0).sorted().unwrap().0).is_empty());
    }

    #[test]
    fn no_more_are_in_memory_than_the_limits_say_however_many_there_are() {
        let limits = Limits { run: 500, merged: 2000 };
        for count in [500, 5_000, 50_000] {
            let records = gathered(limits, count);
            assert!(records.gathered.capacity() <= 2 * limits.run, "{}", records.gathered.capacity());
            let (Sorted::Merged(mut merge), _) = records.sorted().unwrap() else { panic!("a run is full") };
            while merge.next().unwrap().is_some() {
                let read: usize = merge.runs.iter().map(|(_, read)| read.as_slice().len()).sum();
                assert!(read <= limits.merged && merge.heads.len() <= merge.runs.len());
            }
        }
    }

    #[test]
    fn names_are_found_in_memory_and_in_the_file() {
        let mut names = Names::default();
        let long = "x".repeat(NAMES_BUFFERED / 3);
        let ids: Vec<_> = (0..10).map(|n| rawdoc! { "_id": { "n": n, "long": &*long } }).collect();
        let places: Vec<_> = ids.iter().map(|id| names.add(id).unwrap()).collect();
        assert!(names.written > 0 && !names.gathered.is_empty(), "both must be tried");
        for (id, place) in ids.iter().zip(places) {
            assert_eq!(names.at(place).unwrap(), *id);
        }
        assert!(names.at(u64::MAX / 2).is_err());
    }
}
