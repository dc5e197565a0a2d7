//! The captured oplog: signatures, sizes, and that slices follow each other, or a gap says why not, from the begin of their
//! bounds to the end.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};

use super::control::Bounds;
use super::{Finding, Stored, ToRead, Verification, wrong_size};
use crate::error::{Kind, Result};
use crate::format::bounds::OplogBounds;
use crate::format::layout::{self, OplogObject};
use crate::format::oplog::{Range, SliceRecord};
use crate::format::{ClusterTime, TimelineId};
use crate::repository::Repository;

/// How many records are read at once: they are small, and the time is all latency.
const PARALLEL_RECORDS: usize = 8;

/// What a listing shows of one timeline.
#[derive(Default)]
struct Listed {
    records: BTreeSet<ClusterTime>,
    /// Slices, recorded or not.
    bytes: BTreeSet<Range>,
    gaps: BTreeSet<Range>,
}

/// Checks the structure of everything captured; returns the slices whose bytes remain to be checked.
pub(super) async fn check(
    repository: &Repository,
    bounds: &Bounds,
    stored: &Stored,
    verification: &mut Verification,
) -> Result<Vec<SliceRecord>> {
    let mut timelines: BTreeMap<TimelineId, Listed> = BTreeMap::new();
    for (id, object) in stored.keys().filter_map(|key| layout::oplog_object(key)) {
        let listed = timelines.entry(id).or_default();
        match object {
            OplogObject::SliceRecord(begin) => drop(listed.records.insert(begin)),
            OplogObject::Slice(range) => drop(listed.bytes.insert(range)),
            OplogObject::Gap(range) => drop(listed.gaps.insert(range)),
            OplogObject::Timeline => {}
        }
    }
    for id in bounds.timelines.keys() {
        timelines.entry(id.clone()).or_default();
    }
    let mut sound = Vec::new();
    for (id, listed) in timelines {
        let checker = Checker { repository, id: &id, listed: &listed };
        sound.extend(checker.check(bounds, stored, verification).await?);
    }
    Ok(sound)
}

/// Returns what remains to be read of a slice.
pub(super) fn to_read(record: &SliceRecord) -> ToRead {
    let range = Range { begin: record.begin, end: record.end };
    ToRead { backup: None, object: record.object.clone(), pack: None, slice: Some((record.timeline.clone(), range)) }
}

/// Checks one timeline.
struct Checker<'a> {
    repository: &'a Repository,
    id: &'a TimelineId,
    listed: &'a Listed,
}

impl Checker<'_> {
    async fn check(
        &self,
        bounds: &Bounds,
        stored: &Stored,
        verification: &mut Verification,
    ) -> Result<Vec<SliceRecord>> {
        let record = self.repository.timeline_record(self.id).await;
        // A slice without a record, of a timeline without one, is what nobody ever began.
        if record.is_ok() || !self.listed.records.is_empty() || bounds.timelines.contains_key(self.id) {
            verification.note(&layout::timeline(self.id), record)?;
        }
        for range in &self.listed.gaps {
            verification.note(&layout::gap(self.id, *range), self.repository.gap(self.id, *range).await)?;
        }
        let records = self.records(verification).await?;
        let mut sound = Vec::new();
        for record in records.values().flatten() {
            verification.checked_objects += 1;
            match wrong_size(stored, &record.object) {
                Some(problem) if self.has_expired(record.end).await? => drop(problem),
                Some(problem) => {
                    let range = Range { begin: record.begin, end: record.end };
                    verification.findings.push(Finding::of_slice(&record.object.key, self.id, range, problem));
                }
                None => sound.push(record.clone()),
            }
        }
        let key = layout::oplog_bounds(self.id);
        match bounds.timelines.get(self.id) {
            Some(bounds) => self.check_whole(bounds, &records, verification).await?,
            None if bounds.altered.contains(&key) || records.is_empty() && self.listed.gaps.is_empty() => {}
            None if self.repository.oplog_bounds(self.id).await?.is_some() => {}
            None => {
                let problem = "it is missing: whether the first and the last slices are there is not known";
                verification.findings.push(Finding::new(&key, problem));
            }
        }
        Ok(sound)
    }

    /// Reads the records of slices: none where one is damaged.
    async fn records(&self, verification: &mut Verification) -> Result<BTreeMap<ClusterTime, Option<SliceRecord>>> {
        let read = stream::iter(self.listed.records.clone())
            .map(|begin| async move { (begin, self.repository.slice_record(self.id, begin).await) });
        let read: Vec<_> = read.buffered(PARALLEL_RECORDS).collect().await;
        let mut records = BTreeMap::new();
        for (begin, record) in read {
            verification.checked_objects += 1;
            match record {
                Ok(record) => drop(records.insert(begin, Some(record))),
                Err(error) if error.kind() == Kind::Damaged => {
                    let end = self.end_of_bytes(begin).unwrap_or(begin);
                    let key = layout::slice_record(self.id, begin);
                    let range = Range { begin, end };
                    verification.findings.push(Finding::of_slice(&key, self.id, range, error.to_string()));
                    records.insert(begin, None);
                }
                // It has expired since it was listed; where it has not, it is missed below.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    fn end_of_bytes(&self, begin: ClusterTime) -> Option<ClusterTime> {
        self.listed.bytes.iter().filter(|range| range.begin == begin).map(|range| range.end).max()
    }

    async fn has_expired(&self, end: ClusterTime) -> Result<bool> {
        Ok(self.repository.oplog_bounds(self.id).await?.is_some_and(|bounds| end <= bounds.begin))
    }

    /// Goes from the begin to the end: where a slice or a gap ends, another one begins.
    async fn check_whole(
        &self,
        bounds: &OplogBounds,
        records: &BTreeMap<ClusterTime, Option<SliceRecord>>,
        verification: &mut Verification,
    ) -> Result<()> {
        let mut at = bounds.begin;
        while at < bounds.end {
            let next = match records.get(&at) {
                Some(Some(record)) => Some(record.end),
                // What it holds is known no more, and that has been told.
                Some(None) => Some(self.begin_behind(at, records, bounds.end)),
                None => self.listed.gaps.iter().find(|gap| gap.begin == at).map(|gap| gap.end),
            };
            let end = next.unwrap_or_else(|| self.begin_behind(at, records, bounds.end));
            if next.is_none() && !self.has_expired(end).await? {
                verification.findings.push(self.missing(Range { begin: at, end }));
            }
            at = end;
        }
        Ok(())
    }

    /// Returns where something begins behind a moment, or the end.
    fn begin_behind(
        &self,
        at: ClusterTime,
        records: &BTreeMap<ClusterTime, Option<SliceRecord>>,
        end: ClusterTime,
    ) -> ClusterTime {
        let slices = records.keys().copied().filter(|begin| *begin > at);
        let gaps = self.listed.gaps.iter().map(|gap| gap.begin).filter(|begin| *begin > at);
        slices.chain(gaps).min().unwrap_or(end).min(end)
    }

    /// Names what is missing. Of a slice bytes and record are two objects: where one of them is taken away, the other tells
    /// which it was. So where neither is left, it was the record of a gap, or more than one object is missing.
    fn missing(&self, range: Range) -> Finding {
        let Some(end) = self.end_of_bytes(range.begin) else {
            let problem = "it is missing, or slices there and their records are: no gap explains it";
            return Finding::of_slice(&layout::gap(self.id, range), self.id, range, problem);
        };
        let key = layout::slice_record(self.id, range.begin);
        let problem = format!("it is missing: entries up to {end} are lost and no gap explains it");
        Finding::of_slice(&key, self.id, Range { end, ..range }, problem)
    }
}
