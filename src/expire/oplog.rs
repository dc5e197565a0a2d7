//! What of the captured oplog nothing needs any more.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};

use crate::error::{Kind, Result};
use crate::format::evidence::RemovedOplog;
use crate::format::layout::{self, OplogObject};
use crate::format::oplog::{Range, SliceRecord};
use crate::format::{ClusterTime, TimelineId};
use crate::policy::retention::{BackupFacts, CapturedFacts};
use crate::repository::{CapturedTimeline, Repository};

/// How many objects are removed before the lease is renewed.
pub(super) const REMOVED_PER_RENEWAL: usize = 16;

/// How many records are read at once: they are small, and the time is all latency.
const PARALLEL_RECORDS: usize = 8;

/// Returns what retention must know of what is captured.
pub(super) fn facts(captured: &[CapturedTimeline], backups: &[BackupFacts]) -> CapturedFacts {
    let until = captured.iter().filter_map(|captured| captured.slices.last()).map(|slice| slice.end).max();
    CapturedFacts { until, in_gap: in_gap(captured, backups) }
}

/// Whether oplog was lost, or another history began, and no backup has been taken since.
fn in_gap(captured: &[CapturedTimeline], backups: &[BackupFacts]) -> bool {
    let Some(last) = captured.last() else { return false };
    let begin = last.unbroken_from();
    let leads_on = |backup: &BackupFacts| backup.leads_on.is_some_and(|(_, replay_from)| replay_from >= begin);
    !backups.iter().any(|backup| backup.is_live() && leads_on(backup))
}

/// The keys of what goes, and the slices that those are, by timeline.
type Unneeded = (Vec<String>, Vec<(TimelineId, Vec<Range>)>);

/// Returns the keys of what ends up to `until`, in the order in which they may go, and which slices that is: the
/// oldest first, so that no hole appears, and a slice's record before its bytes.
///
/// The newest slice of all stays: capture goes on behind it. Records of timelines and gaps stay, too: they are small,
/// and what was lost is worth knowing.
pub(super) async fn unneeded(
    repository: &Repository,
    captured: &[CapturedTimeline],
    until: ClusterTime,
) -> Result<Unneeded> {
    let mut stored: BTreeMap<TimelineId, BTreeMap<Range, Vec<String>>> = BTreeMap::new();
    for entry in repository.storage().list(layout::OPLOG).await? {
        if let Some((id, OplogObject::Slice(range))) = layout::oplog_object(&entry.key) {
            stored.entry(id).or_default().entry(range).or_default().push(entry.key);
        }
    }
    let newest = captured.last().and_then(|last| Some((&last.timeline.id, last.slices.last()?)));
    let (mut keys, mut slices) = (Vec::new(), Vec::new());
    for CapturedTimeline { timeline, slices: committed, .. } in captured {
        let (mut stored, mut gone) = (stored.remove(&timeline.id).unwrap_or_default(), Vec::new());
        for range in committed {
            let objects = stored.remove(range).unwrap_or_default();
            if range.end <= until && newest != Some((&timeline.id, range)) {
                gone.push(*range);
                keys.push(layout::slice_record(&timeline.id, range.begin));
                keys.extend(objects);
            }
        }
        // What captures that were interrupted, or that came second, have left.
        keys.extend(stored.into_iter().filter(|(range, _)| range.end <= until).flat_map(|(_, objects)| objects));
        slices.push((timeline.id.clone(), gone));
    }
    slices.retain(|(_, gone)| !gone.is_empty());
    Ok((keys, slices))
}

/// Returns what is worth knowing of slices once they are gone. One whose record is not to be believed is passed over.
pub(super) async fn remember(
    repository: &Repository,
    slices: &[(TimelineId, Vec<Range>)],
) -> Result<Vec<RemovedOplog>> {
    let mut removed: Vec<RemovedOplog> = Vec::new();
    for (timeline, ranges) in slices {
        let read = stream::iter(ranges.clone())
            .map(|range| async move { repository.slice_record(timeline, range.begin).await });
        let mut read = std::pin::pin!(read.buffered(PARALLEL_RECORDS));
        while let Some(record) = read.next().await {
            match record {
                Ok(record) => note(&mut removed, &record),
                // Another run may have removed it, or something damaged it.
                Err(error) if matches!(error.kind(), Kind::Damaged | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(removed)
}

fn note(removed: &mut Vec<RemovedOplog>, slice: &SliceRecord) {
    let SliceRecord { timeline, begin, end, entries, stored_at, .. } = slice;
    let late = stored_at.duration_since(end.wall()).as_secs();
    match removed.last_mut().filter(|last| last.timeline == *timeline && last.end == *begin) {
        Some(last) => {
            last.slices.push((end.t - last.end.t, end.i, late, *entries));
            last.end = *end;
        }
        None => removed.push(RemovedOplog {
            timeline: timeline.clone(),
            begin: *begin,
            end: *end,
            slices: vec![(end.t - begin.t, end.i, late, *entries)],
        }),
    }
}
