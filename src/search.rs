//! Searching the captured oplog: when exactly did it happen. Needs no server.
//!
//! An operation is found at the moment at which a replay makes it count: that of a transaction when it commits. So the
//! moment that is found is the one to restore to the state before.

use futures_util::TryStreamExt;

use crate::codec::Identities;
use crate::error::Result;
use crate::filter::Equalities;
use crate::format::ClusterTime;
use crate::format::oplog::{Gap, Range};
use crate::format::segment::Walk;
use crate::namespace;
use crate::operations::{Changes, Fate, Operation, OperationKind, Shown, entry_time, mentions};
use crate::pattern::NamespacePattern;
use crate::progress::Progress;
use crate::repository::{CapturedTimeline, Repository, SliceReader};

/// How far back from the first moment a transaction may have begun, in seconds: a server ends longer ones
/// (`transactionLifetimeLimitSeconds`), unless a coordinator keeps them prepared.
const LOOK_BACK: u32 = 60;

/// What is searched for.
#[derive(Debug, Clone)]
pub struct Criteria {
    /// The moments: behind `begin`, up to and with `end`.
    pub range: Range,
    /// The namespaces; none for all but the server's own.
    pub patterns: Vec<NamespacePattern>,
    /// The kinds of operations; none for all.
    pub kinds: Vec<OperationKind>,
    /// What the operation must say about its document.
    pub filter: Equalities,
}

/// What was searched, and what was not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Searched {
    /// Entries of the oplog.
    pub entries: u64,
    /// Operations found.
    pub found: u64,
    /// When transactions ended whose beginning was not captured or lies too far back: it was not searched.
    pub cut_off: Vec<ClusterTime>,
}

/// The slices to search, oldest timeline first, and what is missing between them.
pub struct Searchable {
    slices: Vec<SliceReader>,
    /// What was captured of the range in question, without holes.
    pub stretches: Vec<Range>,
    /// What is known to be lost of it.
    pub gaps: Vec<Gap>,
}

impl Searchable {
    /// Finds what the repository holds of a range of moments.
    ///
    /// # Errors
    /// Whatever the storage says; [`Kind::Damaged`](crate::error::Kind::Damaged) when a record was altered or is missing.
    pub async fn find(repository: &Repository, identities: Option<&Identities>, range: Range) -> Result<Self> {
        let mut searchable = Self { slices: Vec::new(), stretches: Vec::new(), gaps: Vec::new() };
        for captured in repository.captured().await? {
            let CapturedTimeline { timeline, slices, gaps, .. } = &captured;
            let overlaps = |other: &Range| other.end > range.begin && other.begin < range.end;
            for gap in gaps.iter().filter(|gap| overlaps(gap)) {
                searchable.gaps.push(repository.gap(&timeline.id, *gap).await?);
            }
            if !slices.iter().any(overlaps) {
                continue;
            }
            searchable.stretches.extend(captured.stretches().into_iter().filter(overlaps));
            let from = ClusterTime { t: range.begin.t.saturating_sub(LOOK_BACK), i: 0 };
            let needed = |slice: &&Range| slice.end > from && slice.begin < range.end;
            let needed: Vec<Range> = slices.iter().filter(needed).copied().collect();
            searchable.slices.push(repository.slices(&timeline.id, &needed, identities.cloned()).await?);
        }
        Ok(searchable)
    }

    /// Searches; `found` gets each operation in order, with the moment at which it counts. Needs memory for the slices
    /// that are read ahead and for what [`Changes`] keeps.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged), naming the slice, when one is missing or not what was written;
    /// when an entry is of a kind that is not known, with its time; whatever `found` says.
    pub async fn search(
        &self,
        criteria: &Criteria,
        progress: &Progress,
        mut found: impl FnMut(ClusterTime, &Operation<'_>) -> Result<()>,
    ) -> Result<Searched> {
        let records = self.slices.iter().flat_map(SliceReader::records);
        progress.expect(records.map(|record| record.bytes_raw).sum());
        let mut searched = Searched::default();
        for slices in &self.slices {
            let mut changes = Changes::new(Shown::At(ClusterTime { t: 0, i: 0 }));
            let mut read = std::pin::pin!(slices.read());
            while let Some((record, entries)) = read.try_next().await? {
                for entry in Walk::new(&entries) {
                    let entry = entry?;
                    let time = entry_time(entry)?;
                    if time > criteria.range.end {
                        break;
                    }
                    searched
                        .take(criteria, &mut changes, entry, time, &mut found)
                        .map_err(|error| error.context(format!("at {time}")))?;
                }
                progress.add(record.entries, record.bytes_raw, record.object.size);
            }
        }
        Ok(searched)
    }
}

impl Searched {
    fn take(
        &mut self,
        criteria: &Criteria,
        changes: &mut Changes,
        entry: &bson::RawDocument,
        time: ClusterTime,
        found: &mut impl FnMut(ClusterTime, &Operation<'_>) -> Result<()>,
    ) -> Result<()> {
        let wanted = |operation: &Operation<'_>| Ok(if criteria.fits(operation)? { Fate::Wanted } else { Fate::Gone });
        let mut counted = changes.take(entry, time, wanted)?;
        if time <= criteria.range.begin {
            return Ok(());
        }
        self.entries += 1;
        if counted.lacks_beginning {
            self.cut_off.push(time);
        }
        while let Some(operation) = counted.next_operation()? {
            self.found += 1;
            found(time, &operation)?;
        }
        Ok(())
    }
}

impl Criteria {
    fn fits(&self, operation: &Operation<'_>) -> Result<bool> {
        Ok((self.kinds.is_empty() || self.kinds.contains(&operation.kind))
            && self.concerns(operation)?
            && self.filter.conditions().iter().all(|condition| mentions(operation, condition)))
    }

    /// Whether an operation is about a namespace that was asked for; what drops a database is about all of it.
    fn concerns(&self, operation: &Operation<'_>) -> Result<bool> {
        let (db, _) = operation.names();
        if self.patterns.is_empty() {
            return Ok(!namespace::is_never_backed_up(db));
        }
        let subjects = operation.subjects()?;
        Ok(subjects.iter().any(|(db, collection)| {
            self.patterns.iter().any(|pattern| match collection {
                Some(collection) => pattern.matches(db, collection),
                None => pattern.reaches_into(db),
            })
        }))
    }
}
