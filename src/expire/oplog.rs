//! What of the captured oplog nothing needs any more.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::format::layout::{self, OplogObject};
use crate::format::oplog::Range;
use crate::format::{ClusterTime, TimelineId};
use crate::policy::retention::BackupFacts;
use crate::repository::{CapturedTimeline, Repository};

/// How many objects are removed before the lease is renewed.
pub(super) const REMOVED_PER_RENEWAL: usize = 16;

/// Whether oplog was lost, or another history began, and no backup has been taken since.
pub(super) fn in_gap(captured: &[CapturedTimeline], backups: &[BackupFacts]) -> bool {
    let Some(last) = captured.last() else { return false };
    let begin = last.gaps.iter().map(|gap| gap.end).max().unwrap_or(last.timeline.begin);
    let leads_on = |backup: &BackupFacts| {
        backup.expired_at.is_none() && backup.leads_on.is_some_and(|(_, replay_from)| replay_from >= begin)
    };
    !backups.iter().any(leads_on)
}

/// Returns the keys of what ends up to `until`, in the order in which they may go, and how many slices that is: the
/// oldest first, so that no hole appears, and a slice's record before its bytes.
///
/// The newest slice of all stays: capture goes on behind it. Records of timelines and gaps stay, too: they are small,
/// and what was lost is worth knowing.
pub(super) async fn unneeded(
    repository: &Repository,
    captured: &[CapturedTimeline],
    until: ClusterTime,
) -> Result<(Vec<String>, u64)> {
    let stored = repository.storage().list(layout::OPLOG).await?;
    let stored: Vec<(TimelineId, Range, String)> = stored
        .into_iter()
        .filter_map(|entry| match layout::oplog_object(&entry.key)? {
            (id, OplogObject::Slice(range)) => Some((id, range, entry.key)),
            _ => None,
        })
        .collect();
    let newest = captured.last().and_then(|last| Some((&last.timeline.id, last.slices.last()?)));
    let (mut keys, mut slices) = (Vec::new(), 0);
    for CapturedTimeline { timeline, slices: committed, .. } in captured {
        let of_timeline = || stored.iter().filter(|(id, ..)| *id == timeline.id);
        let goes = |range: &&Range| range.end <= until && newest != Some((&timeline.id, range));
        let stays: BTreeSet<&Range> = committed.iter().filter(|range| !goes(range)).collect();
        for range in committed.iter().filter(goes) {
            slices += 1;
            keys.push(layout::slice_record(&timeline.id, range.begin));
            keys.extend(of_timeline().filter(|(_, stored, _)| stored == range).map(|(.., key)| key.clone()));
        }
        // What captures that were interrupted, or that came second, have left.
        let is_orphan = |range: &Range| range.end <= until && !committed.contains(range) && !stays.contains(range);
        keys.extend(of_timeline().filter(|(_, range, _)| is_orphan(range)).map(|(.., key)| key.clone()));
    }
    Ok((keys, slices))
}
