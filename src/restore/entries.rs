//! The entries that a restore replays: those that belong to the backup, then those of captured slices.

use bson::RawDocument;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::catalog::OplogRecord;
use crate::format::oplog::Range;
use crate::format::segment::Walk;
use crate::operations::entry_time;
use crate::repository::{SegmentReader, SliceReader};

/// How many of the backup's segments are fetched and opened ahead of whoever reads them.
const READ_AHEAD: usize = 2;

/// Where the entries come from; clones share everything.
#[derive(Debug, Clone)]
pub struct Entries {
    /// What belongs to the backup.
    own: Option<(SegmentReader, OplogRecord)>,
    captured: Option<SliceReader>,
}

impl Entries {
    /// Returns the entries to replay: those that belong to the backup, and behind them those of the slices. None where
    /// there are neither.
    #[must_use]
    pub fn new(own: Option<&OplogRecord>, segments: &SegmentReader, captured: Option<SliceReader>) -> Option<Self> {
        let own = own.map(|record| (segments.clone(), record.clone()));
        (own.is_some() || captured.is_some()).then_some(Self { own, captured })
    }

    /// Returns how many bytes they have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let own = self.own.iter().flat_map(|(_, record)| &record.segments).map(|segment| segment.bytes);
        let captured = self.captured.iter().flat_map(SliceReader::records).map(|record| record.bytes_raw);
        own.chain(captured).sum()
    }

    /// Returns run after run. Needs memory for those that are read ahead, sealed and opened.
    ///
    /// # Errors
    /// Each item: [`Kind::Damaged`](crate::error::Kind::Damaged), naming the object, when it is missing, not what was
    /// written, or does not follow the one before.
    pub(super) fn read(&self) -> impl Stream<Item = Result<EntryRun>> + Send + use<> {
        let own = stream::iter(self.own.clone()).flat_map(|(segments, record)| own(segments, record));
        let captured = stream::iter(self.captured.as_ref().map(SliceReader::read)).flatten();
        let captured = captured.map_ok(|(record, entries)| {
            let range = Range { begin: record.begin, end: record.end };
            EntryRun { place: record.object.key, range, count: record.entries, entries, is_own: false, known: None }
        });
        let mut end = None;
        own.chain(captured).map(move |run| {
            let mut run = run?;
            run.check(end)?;
            run.known = end.replace(run.range.end);
            Ok(run)
        })
    }
}

/// Returns the entries that belong to a backup, segment after segment.
fn own(segments: SegmentReader, record: OplogRecord) -> impl Stream<Item = Result<EntryRun>> + Send {
    let read = stream::iter(record.segments).map(move |segment| {
        let segments = segments.clone();
        async move {
            let (entries, count) = segments.read(segment.n).await?;
            let range = Range { begin: segment.begin, end: segment.end };
            let place = format!("segment {} of the backup", segment.n);
            Ok(EntryRun { place, range, count, entries, is_own: true, known: None })
        }
    });
    read.buffered(READ_AHEAD)
}

/// Entries that follow each other.
pub(super) struct EntryRun {
    /// What messages call it.
    place: String,
    pub(super) range: Range,
    /// How many there must be.
    count: u64,
    /// The entries, one after the other.
    entries: Vec<u8>,
    /// Up to where the runs before have come.
    known: Option<ClusterTime>,
    /// Whether they belong to the backup.
    pub is_own: bool,
}

impl EntryRun {
    /// Returns each entry that was not in a run before, and its time.
    pub fn walk(&self) -> impl Iterator<Item = Result<(&RawDocument, ClusterTime)>> {
        let known = self.known;
        let is_new = move |time: &ClusterTime| known.is_none_or(|known| *time > known);
        timed(&self.entries).filter(move |entry| entry.as_ref().map_or(true, |(_, time)| is_new(time)))
    }

    /// Returns how many bytes they have.
    pub fn bytes(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Makes sure that it holds what it should, and follows what ended at `end`.
    fn check(&self, end: Option<ClusterTime>) -> Result<()> {
        let wrong = |reason: &str| Error::damaged(format!("{} {reason}", self.place));
        // A slice may begin before the backup's own entries end, never behind.
        if end.is_some_and(|end| self.range.begin > end) {
            return Err(wrong("does not follow the entries before it"));
        }
        let (mut last, mut count) = (self.range.begin, 0);
        for entry in timed(&self.entries) {
            let (_, time) = entry?;
            if time <= last {
                return Err(wrong("holds entries out of order"));
            }
            (last, count) = (time, count + 1);
        }
        if (last, count) == (self.range.end, self.count) {
            return Ok(());
        }
        Err(wrong("does not hold the entries that its record names"))
    }
}

fn timed(entries: &[u8]) -> impl Iterator<Item = Result<(&RawDocument, ClusterTime)>> {
    Walk::new(entries).map(|entry| {
        let entry = entry?;
        Ok((entry, entry_time(entry)?))
    })
}
