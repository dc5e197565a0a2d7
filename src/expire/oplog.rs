//! What of the captured oplog nothing needs any more.

use std::collections::BTreeMap;

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
    let begin = last.unbroken_from();
    let leads_on = |backup: &BackupFacts| backup.leads_on.is_some_and(|(_, replay_from)| replay_from >= begin);
    !backups.iter().any(|backup| backup.is_live() && leads_on(backup))
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
    let mut stored: BTreeMap<TimelineId, BTreeMap<Range, Vec<String>>> = BTreeMap::new();
    for entry in repository.storage().list(layout::OPLOG).await? {
        if let Some((id, OplogObject::Slice(range))) = layout::oplog_object(&entry.key) {
            stored.entry(id).or_default().entry(range).or_default().push(entry.key);
        }
    }
    let newest = captured.last().and_then(|last| Some((&last.timeline.id, last.slices.last()?)));
    let (mut keys, mut slices) = (Vec::new(), 0);
    for CapturedTimeline { timeline, slices: committed, .. } in captured {
        let mut stored = stored.remove(&timeline.id).unwrap_or_default();
        for range in committed {
            let objects = stored.remove(range).unwrap_or_default();
            if range.end <= until && newest != Some((&timeline.id, range)) {
                slices += 1;
                keys.push(layout::slice_record(&timeline.id, range.begin));
                keys.extend(objects);
            }
        }
        // What captures that were interrupted, or that came second, have left.
        keys.extend(stored.into_iter().filter(|(range, _)| range.end <= until).flat_map(|(_, objects)| objects));
    }
    Ok((keys, slices))
}
