//! From entries to changes: the operations that count, in the order in which they do.
//!
//! A transaction's operations lie in one or several entries and count when it commits, or never. Until then they are
//! kept: the first [`IN_MEMORY`] bytes of all open transactions in memory, the rest in unnamed files, so that memory is
//! bounded whatever the length of a transaction.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use bson::RawDocument;

use super::entry::{Group, Meaning, Operation, TransactionId, Written};
use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::units::MIB;

/// How much of all open transactions stays in memory.
const IN_MEMORY: usize = 32 * MIB;

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is a change that is wanted.
    Wanted,
    /// It is about something that was not chosen.
    NotChosen,
    /// It is about nothing that will be there.
    Gone,
}

/// What is there before the first entry counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Everything as it was at a moment.
    At(ClusterTime),
    /// Everything as it was at a moment or later, each document for itself. Entries say what shall be and not what to
    /// add, so whoever has repeated them all, from that moment to one behind every document's, is at that one.
    Since(ClusterTime),
}

impl Shown {
    /// Returns the moment: only what lies behind it counts.
    #[must_use]
    pub fn moment(self) -> ClusterTime {
        match self {
            Self::At(moment) | Self::Since(moment) => moment,
        }
    }
}

/// Follows entries behind one moment and up to another.
pub struct Changes {
    shown: Shown,
    open: HashMap<TransactionId, Gathered>,
    /// How many bytes of all open transactions are in memory.
    in_memory: usize,
}

/// The wanted operations of an entry that count now.
pub struct Counted<'a> {
    source: Source<'a>,
    /// Whether they belong to a transaction of which a part was not chosen.
    pub is_split: bool,
    /// Whether they are only the end of a transaction that began before the first entry that was taken.
    pub lacks_beginning: bool,
}

enum Source<'a> {
    Nothing,
    One(Option<Operation<'a>>),
    Group(Box<dyn Iterator<Item = Result<Operation<'a>>> + Send + 'a>),
    Gathered(Gathered, usize),
}

impl Changes {
    /// Begins to follow; entries from before may be taken for the transactions that begin in them.
    #[must_use]
    pub fn new(shown: Shown) -> Self {
        Self { shown, open: HashMap::new(), in_memory: 0 }
    }

    /// Takes the next entry, and returns those of its operations, or of the transaction that it ends, that count.
    ///
    /// # Errors
    /// When it is of a kind that is not known, or a long transaction finds no room on disk; whatever `fate` says.
    pub fn take<'a>(
        &mut self,
        entry: &'a RawDocument,
        time: ClusterTime,
        fate: impl Fn(&Operation<'_>) -> Result<Fate> + Send + 'a,
    ) -> Result<Counted<'a>> {
        let is_new = time > self.shown.moment();
        Ok(match Meaning::of(entry)? {
            Meaning::Operation(operation) if is_new && fate(&operation)? == Fate::Wanted => {
                Counted::of(Source::One(Some(operation)))
            }
            Meaning::Group(group) if is_new => Counted::of(wanted(group, fate)),
            Meaning::Transaction { id, operations, continues, written: Written::Committed } => match self.close(&id) {
                Some(mut gathered) => {
                    gathered.add(operations, &fate, IN_MEMORY - self.in_memory)?;
                    gathered.end(is_new)
                }
                None if is_new => Counted {
                    is_split: reaches_outside(operations, &fate)?,
                    lacks_beginning: continues,
                    source: wanted(operations, fate),
                },
                None => Counted::nothing(),
            },
            Meaning::Transaction { id, operations, continues, .. } => {
                self.gather(id, operations, continues, &fate)?;
                Counted::nothing()
            }
            Meaning::Commit { id, at } => {
                let is_new = match self.shown {
                    // A snapshot at that moment has waited for the transaction's end, and shows it.
                    Shown::At(moment) => at > moment,
                    // Other reads have not waited.
                    Shown::Since(moment) => time > moment,
                };
                match self.close(&id) {
                    Some(gathered) => gathered.end(is_new),
                    None => Counted { lacks_beginning: is_new, ..Counted::nothing() },
                }
            }
            Meaning::Abort(id) => {
                drop(self.close(&id));
                Counted::nothing()
            }
            Meaning::Nothing | Meaning::Operation(_) | Meaning::Group(_) => Counted::nothing(),
        })
    }

    fn gather(
        &mut self,
        id: TransactionId,
        operations: Group<'_>,
        continues: bool,
        fate: &impl Fn(&Operation<'_>) -> Result<Fate>,
    ) -> Result<()> {
        if !self.open.contains_key(&id) {
            // A session has one transaction at a time; one that an election cut off ends without an entry.
            let earlier: Vec<_> = self.open.keys().filter(|open| open.session == id.session).cloned().collect();
            for id in &earlier {
                drop(self.close(id));
            }
        }
        let begun = || Gathered { lacks_beginning: continues, ..Gathered::default() };
        let gathered = self.open.entry(id).or_insert_with(begun);
        let before = gathered.memory.len();
        gathered.add(operations, fate, (IN_MEMORY + before).saturating_sub(self.in_memory))?;
        self.in_memory = self.in_memory - before + gathered.memory.len();
        Ok(())
    }

    /// Takes a transaction out of the open ones.
    fn close(&mut self, id: &TransactionId) -> Option<Gathered> {
        let gathered = self.open.remove(id)?;
        self.in_memory -= gathered.memory.len();
        Some(gathered)
    }
}

/// Whether a transaction wants to be replayed and has parts that were not chosen.
fn reaches_outside(operations: Group<'_>, fate: impl Fn(&Operation<'_>) -> Result<Fate>) -> Result<bool> {
    let (mut some_wanted, mut some_not_chosen) = (false, false);
    for operation in operations.operations() {
        let fate = fate(&operation?.1)?;
        some_wanted |= fate == Fate::Wanted;
        some_not_chosen |= fate == Fate::NotChosen;
    }
    Ok(some_wanted && some_not_chosen)
}

fn wanted<'a>(operations: Group<'a>, fate: impl Fn(&Operation<'_>) -> Result<Fate> + Send + 'a) -> Source<'a> {
    let operations = operations.operations().filter_map(move |operation| match operation {
        Ok((_, operation)) => match fate(&operation) {
            Ok(Fate::Wanted) => Some(Ok(operation)),
            Ok(Fate::NotChosen | Fate::Gone) => None,
            Err(error) => Some(Err(error)),
        },
        Err(error) => Some(Err(error)),
    });
    Source::Group(Box::new(operations))
}

/// The operations of a transaction so far: in memory, or all of them in a file.
#[derive(Default)]
struct Gathered {
    memory: Vec<u8>,
    file: Option<File>,
    reader: Option<BufReader<File>>,
    wanted: bool,
    not_chosen: bool,
    lacks_beginning: bool,
}

impl Gathered {
    /// Returns a transaction's operations, if they count.
    fn end<'a>(self, counts: bool) -> Counted<'a> {
        if !counts {
            return Counted::nothing();
        }
        let (is_split, lacks_beginning) = (self.wanted && self.not_chosen, self.lacks_beginning);
        Counted { source: Source::Gathered(self, 0), is_split, lacks_beginning }
    }

    /// Adds the wanted ones, to memory while it has `room`.
    fn add(
        &mut self,
        operations: Group<'_>,
        fate: &impl Fn(&Operation<'_>) -> Result<Fate>,
        room: usize,
    ) -> Result<()> {
        for operation in operations.operations() {
            let (document, operation) = operation?;
            match fate(&operation)? {
                Fate::Wanted => {
                    self.wanted = true;
                    self.push(document.as_bytes(), room).map_err(spilling)?;
                }
                Fate::NotChosen => self.not_chosen = true,
                Fate::Gone => {}
            }
        }
        Ok(())
    }

    fn push(&mut self, operation: &[u8], room: usize) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() + operation.len() > room {
            let mut file = tempfile::tempfile()?;
            file.write_all(&std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(operation)
        } else {
            self.memory.extend_from_slice(operation);
            Ok(())
        }
    }

    /// Reads the operation at `at`, in bytes from the first, into `memory` where it comes from a file; returns where
    /// it lies there.
    fn read(&mut self, at: usize) -> io::Result<Option<std::ops::Range<usize>>> {
        if let Some(mut file) = self.file.take() {
            file.seek(SeekFrom::Start(0))?;
            self.reader = Some(BufReader::new(file));
        }
        let Some(reader) = &mut self.reader else {
            let Some(length) = self.memory.get(at..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
            return Ok(Some(at..at + u32::from_le_bytes(*length) as usize));
        };
        let mut length = [0; 4];
        match reader.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        self.memory.clear();
        self.memory.extend_from_slice(&length);
        self.memory.resize(u32::from_le_bytes(length) as usize, 0);
        reader.read_exact(&mut self.memory[4..])?;
        Ok(Some(0..self.memory.len()))
    }
}

impl<'a> Counted<'a> {
    fn nothing() -> Self {
        Self::of(Source::Nothing)
    }

    /// Of what is no transaction.
    fn of(source: Source<'a>) -> Self {
        Self { source, is_split: false, lacks_beginning: false }
    }

    /// Returns the next operation.
    ///
    /// # Errors
    /// When it is of a kind that is not known, or the file that holds it cannot be read.
    pub fn next_operation(&mut self) -> Result<Option<Operation<'_>>> {
        match &mut self.source {
            Source::Nothing => Ok(None),
            Source::One(operation) => Ok(operation.take()),
            Source::Group(operations) => operations.next().transpose(),
            Source::Gathered(gathered, at) => {
                let Some(place) = gathered.read(*at).map_err(spilling)? else { return Ok(None) };
                *at = place.end;
                let document = RawDocument::from_bytes(&gathered.memory[place]);
                Operation::parse(
                    document.map_err(|error| Error::failed("a transaction cannot be read").caused_by(error))?,
                )
            }
        }
    }
}

fn spilling(error: io::Error) -> Error {
    Error::failed("cannot keep a long transaction in a temporary file")
        .caused_by(error)
        .with_hint("make room in the folder of temporary files, or set TMPDIR to another one")
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, Timestamp, cstr, rawdoc};

    use super::*;

    fn at(t: u32) -> ClusterTime {
        ClusterTime { t, i: 1 }
    }

    fn transaction(number: i64, ids: &[i32], field: Option<&bson::raw::CStr>) -> RawDocumentBuf {
        let mut operations = bson::RawArrayBuf::new();
        for id in ids {
            operations.push(rawdoc! { "op": "i", "ns": "shop.orders", "o": { "_id": *id, "text": "x".repeat(1000) } });
        }
        let mut o = rawdoc! { "applyOps": operations };
        if let Some(field) = field {
            o.append(field, true);
        }
        command(number, o)
    }

    fn command(number: i64, o: RawDocumentBuf) -> RawDocumentBuf {
        rawdoc! { "op": "c", "ns": "admin.$cmd", "lsid": { "id": "s" }, "txnNumber": number, "o": o }
    }

    /// Returns the `_id`s that an entry makes count.
    fn counted(changes: &mut Changes, t: u32, entry: &RawDocument) -> Vec<i32> {
        let mut counted = changes.take(entry, at(t), |_| Ok(Fate::Wanted)).unwrap();
        let mut ids = Vec::new();
        while let Some(operation) = counted.next_operation().unwrap() {
            ids.push(operation.o.get_i32("_id").unwrap());
        }
        ids
    }

    const PARTLY: Option<&bson::raw::CStr> = Some(cstr!("partialTxn"));
    const PREPARED: Option<&bson::raw::CStr> = Some(cstr!("prepare"));

    #[test]
    fn a_transaction_of_several_entries_counts_when_it_commits() {
        let mut changes = Changes::new(Shown::At(at(10)));
        assert_eq!(counted(&mut changes, 9, &transaction(1, &[1, 2], PARTLY)), [0; 0], "begun before the backup");
        assert_eq!(counted(&mut changes, 11, &transaction(1, &[3], PARTLY)), [0; 0]);
        assert_eq!(counted(&mut changes, 12, &transaction(1, &[4], None)), [1, 2, 3, 4]);
        assert_eq!(changes.in_memory, 0);
    }

    #[test]
    fn what_a_backup_shows_is_not_repeated() {
        let mut changes = Changes::new(Shown::At(at(10)));
        counted(&mut changes, 8, &transaction(1, &[1], PARTLY));
        assert_eq!(counted(&mut changes, 9, &transaction(1, &[2], None)), [0; 0]);
        let insert = rawdoc! { "op": "i", "ns": "a.b", "o": { "_id": 1 } };
        assert_eq!(counted(&mut changes, 10, &insert), [0; 0]);
        assert_eq!(counted(&mut changes, 11, &insert), [1]);
    }

    #[test]
    fn a_prepared_transaction_counts_if_it_commits_and_not_if_it_aborts() {
        let mut changes = Changes::new(Shown::At(at(10)));
        let commit =
            |t: u32| rawdoc! { "commitTransaction": 1, "commitTimestamp": Timestamp { time: t, increment: 1 } };
        counted(&mut changes, 9, &transaction(1, &[1], PREPARED));
        assert_eq!(counted(&mut changes, 12, &command(1, commit(11))), [1]);
        counted(&mut changes, 13, &transaction(2, &[2], PREPARED));
        counted(&mut changes, 14, &command(2, rawdoc! { "abortTransaction": 1 }));
        assert!(changes.open.is_empty());
        let mut changes = Changes::new(Shown::At(at(10)));
        counted(&mut changes, 9, &transaction(3, &[3], PREPARED));
        assert_eq!(counted(&mut changes, 11, &command(3, commit(10))), [0; 0], "the backup shows it");
    }

    #[test]
    fn where_documents_are_newer_a_prepared_transaction_counts_by_the_entry_that_commits_it() {
        let commit = |number: i64, t: u32| {
            command(number, rawdoc! { "commitTransaction": 1, "commitTimestamp": Timestamp { time: t, increment: 1 } })
        };
        let mut changes = Changes::new(Shown::Since(at(10)));
        counted(&mut changes, 7, &transaction(1, &[1], PREPARED));
        assert_eq!(counted(&mut changes, 10, &commit(1, 9)), [0; 0], "every read has seen it");
        counted(&mut changes, 9, &transaction(2, &[2], PREPARED));
        assert_eq!(counted(&mut changes, 11, &commit(2, 10)), [2], "a read may have passed it over");
    }

    #[test]
    fn a_transaction_without_its_beginning_says_so_where_it_counts() {
        let lacks_beginning = |entries: &[RawDocumentBuf]| {
            let mut changes = Changes::new(Shown::At(at(10)));
            let taken =
                entries.iter().map(|entry| changes.take(entry, at(12), |_| Ok(Fate::Wanted)).unwrap().lacks_beginning);
            taken.last().unwrap()
        };
        let commit = |t: u32| {
            command(1, rawdoc! { "commitTransaction": 1, "commitTimestamp": Timestamp { time: t, increment: 1 } })
        };
        let continuing = |mut entry: RawDocumentBuf| {
            entry.append(cstr!("prevOpTime"), rawdoc! { "ts": Timestamp { time: 9, increment: 1 }, "t": 1_i64 });
            entry
        };
        assert!(lacks_beginning(&[commit(11)]));
        assert!(!lacks_beginning(&[commit(10)]), "the backup shows it");
        assert!(lacks_beginning(&[continuing(transaction(1, &[1], None))]));
        assert!(lacks_beginning(&[continuing(transaction(1, &[1], PARTLY)), transaction(1, &[2], None)]));
        assert!(!lacks_beginning(&[transaction(1, &[1], PARTLY), continuing(transaction(1, &[2], None))]));
    }

    #[test]
    fn a_transaction_that_was_cut_off_is_forgotten_when_the_next_begins() {
        let mut changes = Changes::new(Shown::At(at(10)));
        counted(&mut changes, 11, &transaction(1, &[1], PARTLY));
        counted(&mut changes, 12, &transaction(2, &[2], PARTLY));
        assert_eq!(changes.open.len(), 1);
        assert_eq!(counted(&mut changes, 13, &transaction(2, &[3], None)), [2, 3]);
    }

    #[test]
    fn a_long_transaction_goes_to_a_file_and_comes_back_in_order() {
        let mut changes = Changes::new(Shown::At(at(10)));
        let all: Vec<i32> = (0..40_000).collect();
        for part in all.chunks(10_000) {
            counted(&mut changes, 11, &transaction(1, part, PARTLY));
            assert!(changes.in_memory <= IN_MEMORY);
        }
        assert_eq!(changes.in_memory, 0, "40 MB are not kept in memory");
        assert_eq!(counted(&mut changes, 12, &transaction(1, &[40_000], None)), (0..=40_000).collect::<Vec<i32>>());
    }

    #[test]
    fn a_transaction_that_reaches_outside_of_what_was_chosen_says_so() {
        let fate = |operation: &Operation<'_>| {
            Ok(if operation.o.get_i32("_id").unwrap() == 1 { Fate::Wanted } else { Fate::NotChosen })
        };
        let mut changes = Changes::new(Shown::At(at(10)));
        let one = |changes: &mut Changes, entry: &RawDocumentBuf| {
            let mut counted = changes.take(entry, at(11), fate).unwrap();
            let mut count = 0;
            while counted.next_operation().unwrap().is_some() {
                count += 1;
            }
            (count, counted.is_split)
        };
        assert_eq!(one(&mut changes, &transaction(1, &[1, 2], None)), (1, true));
        assert_eq!(one(&mut changes, &transaction(2, &[1], None)), (1, false));
        assert_eq!(one(&mut changes, &transaction(3, &[2], None)), (0, false));
        one(&mut changes, &transaction(4, &[1], PARTLY));
        assert_eq!(one(&mut changes, &transaction(4, &[2], None)), (1, true));
    }
}
