//! The captured oplog: signatures, sizes, and that slices follow each other or a gap says why not.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Finding, ToRead, Verification};
use crate::error::{Error, Kind, Result};
use crate::format::layout::{self, OplogObject};
use crate::format::oplog::{Range, SliceRecord};
use crate::format::{ClusterTime, TimelineId};
use crate::repository::Repository;

/// How many records are read at once: they are small, and the time is all latency.
const PARALLEL_RECORDS: usize = 8;

/// What a listing shows of one timeline.
#[derive(Default)]
struct Listed {
    slices: BTreeSet<ClusterTime>,
    gaps: BTreeSet<Range>,
}

/// Checks the structure of everything captured; returns the slices whose bytes remain to be checked.
pub(super) async fn check(repository: &Repository, verification: &mut Verification) -> Result<Vec<ToRead>> {
    let listed = repository.storage().list(layout::OPLOG).await?;
    let sizes: BTreeMap<String, u64> = listed.into_iter().map(|entry| (entry.key, entry.size)).collect();
    let mut timelines: BTreeMap<TimelineId, Listed> = BTreeMap::new();
    for key in sizes.keys() {
        match layout::oplog_object(key) {
            Some((id, OplogObject::SliceRecord(begin))) => {
                timelines.entry(id).or_default().slices.insert(begin);
            }
            Some((id, OplogObject::Gap(range))) => {
                timelines.entry(id).or_default().gaps.insert(range);
            }
            Some((id, OplogObject::Timeline)) => {
                timelines.entry(id).or_default();
            }
            // A slice counts when a record names it; what is nobody's harms nobody.
            Some((_, OplogObject::Slice(_))) | None => {}
        }
    }
    let mut to_read = Vec::new();
    for (id, listed) in timelines {
        verification.checked_objects += 1;
        let timeline = repository.timeline_record(&id).await.map(drop);
        note(verification, &layout::timeline(&id), timeline)?;
        for range in &listed.gaps {
            verification.checked_objects += 1;
            let gap = repository.gap(&id, *range).await.map(drop);
            note(verification, &layout::gap(&id, *range), gap)?;
        }
        let records = records(repository, &id, &listed.slices).await?;
        check_contiguous(&id, &records, &listed.gaps, verification);
        for (begin, record) in records {
            verification.checked_objects += 2;
            match record {
                Ok(record) => to_read.extend(check_slice(record, &sizes, verification)),
                Err(error) => {
                    note(verification, &layout::slice_record(&id, begin), Err(lost_behind(&error, begin)))?;
                }
            }
        }
    }
    Ok(to_read)
}

type Records = Vec<(ClusterTime, Result<SliceRecord>)>;

async fn records(repository: &Repository, id: &TimelineId, begins: &BTreeSet<ClusterTime>) -> Result<Records> {
    let read = stream::iter(begins.clone()).map(|begin| async move {
        match repository.slice_record(id, begin).await {
            Err(error) if error.kind() != Kind::Damaged => Err(error),
            record => Ok((begin, record)),
        }
    });
    read.buffered(PARALLEL_RECORDS).try_collect().await
}

/// Turns damage into a finding; whatever else is wrong prevents the check.
fn note(verification: &mut Verification, object: &str, checked: Result<()>) -> Result<()> {
    match checked {
        Err(error) if error.kind() == Kind::Damaged => {
            verification.findings.push(Finding::of_oplog(object, error.to_string()));
            Ok(())
        }
        checked => checked,
    }
}

fn lost_behind(error: &Error, begin: ClusterTime) -> Error {
    Error::damaged(format!("{error}; what was written behind {begin} cannot be restored"))
}

/// Where a slice ends the next begins, or a gap does.
fn check_contiguous(id: &TimelineId, records: &Records, gaps: &BTreeSet<Range>, verification: &mut Verification) {
    let mut end: Option<ClusterTime> = None;
    for (begin, record) in records {
        if let Some(end) = end.filter(|end| end != begin)
            && !gaps.iter().any(|gap| gap.begin == end && gap.end <= *begin)
        {
            let object = layout::slice_record(id, end);
            let problem = format!("it is missing: entries up to {begin} are lost and no gap explains it");
            verification.findings.push(Finding::of_oplog(&object, problem));
        }
        end = record.as_ref().ok().map(|record| record.end);
    }
}

fn check_slice(record: SliceRecord, sizes: &BTreeMap<String, u64>, verification: &mut Verification) -> Option<ToRead> {
    let problem = match sizes.get(&record.object.key) {
        Some(size) if *size == record.object.size => {
            return Some(ToRead { backup: None, pack: None, lost: lost(&record), object: record.object });
        }
        Some(size) => format!("it has {size} bytes instead of {}", record.object.size),
        None => "it is missing".into(),
    };
    let problem = format!("{problem}; {}", lost(&record));
    verification.findings.push(Finding::of_oplog(&record.object.key, problem));
    None
}

/// Returns what a damaged slice costs.
fn lost(record: &SliceRecord) -> String {
    format!("what was written behind {} and up to {} cannot be restored", record.begin, record.end)
}
