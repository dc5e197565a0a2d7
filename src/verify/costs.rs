//! What damage costs: the moments that could be restored if it were not.

use std::collections::BTreeMap;

use super::{Finding, Stored, Verification};
use crate::error::Result;
use crate::format::BackupId;
use crate::format::increment::MOST_INCREMENTS;
use crate::format::layout::{self, OplogObject};
use crate::format::manifest::Manifest;
use crate::format::oplog::Range;
use crate::repository::{CapturedTimeline, Repository, recovery_window};

/// What cannot be restored because of a finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Costs {
    /// Backups.
    pub backups: Vec<BackupId>,
    /// Moments that nothing else leads to.
    pub recovery_points: Vec<Range>,
}

/// Tells what each finding costs, by itself.
pub(super) async fn tell(
    repository: &Repository,
    stored: &Stored,
    manifests: &[Manifest],
    verification: &mut Verification,
) -> Result<()> {
    if verification.findings.is_empty() {
        return Ok(());
    }
    let listed = repository.list().await?;
    listed.check_answered()?;
    let mut all: Vec<Manifest> = listed.backups.into_iter().filter_map(|backup| backup.manifest.ok()).collect();
    all.extend(
        manifests
            .iter()
            .filter(|known| !all.iter().any(|manifest| manifest.id == known.id))
            .cloned()
            .collect::<Vec<_>>(),
    );
    let (mut captured, _) = repository.captured_as_it_is().await?;
    with_unrecorded(&mut captured, stored);
    let whole = recovery_window(&all, &captured);
    for finding in &mut verification.findings {
        finding.costs = cost(finding, &all, &captured, &whole);
    }
    Ok(())
}

/// Adds slices of which only the record is missing: they count for what could be restored if it were there.
fn with_unrecorded(captured: &mut [CapturedTimeline], stored: &Stored) {
    let mut slices: BTreeMap<_, Vec<Range>> = BTreeMap::new();
    for (id, object) in stored.keys().filter_map(|key| layout::oplog_object(key)) {
        if let OplogObject::Slice(range) = object {
            slices.entry(id).or_default().push(range);
        }
    }
    for timeline in captured {
        let known = &mut timeline.slices;
        let found = slices.remove(&timeline.timeline.id).unwrap_or_default();
        let unrecorded: Vec<Range> =
            found.into_iter().filter(|range| !known.iter().any(|slice| slice.begin == range.begin)).collect();
        known.extend(unrecorded);
        known.sort();
    }
}

fn cost(finding: &Finding, all: &[Manifest], captured: &[CapturedTimeline], whole: &[Range]) -> Costs {
    let mut backups: Vec<BackupId> = finding.backup.iter().cloned().collect();
    // With a backup goes what builds on it; no chain is longer than that.
    for _ in 0..MOST_INCREMENTS {
        let lost = all.iter().filter(|manifest| manifest.parent().is_some_and(|parent| backups.contains(parent)));
        let more: Vec<BackupId> = lost.map(|manifest| manifest.id.clone()).filter(|id| !backups.contains(id)).collect();
        backups.extend(more);
    }
    let remaining: Vec<&Manifest> = all.iter().filter(|manifest| !backups.contains(&manifest.id)).collect();
    let mut without = captured.to_vec();
    if let Some((id, range)) = &finding.slice {
        for timeline in without.iter_mut().filter(|timeline| timeline.timeline.id == *id) {
            timeline.slices.retain(|slice| slice.begin != range.begin);
        }
    }
    let recovery_points = less(whole, &recovery_window(remaining, &without));
    Costs { backups, recovery_points }
}

/// Returns what `whole` has and `part` has not. Where a range of `part` begins or ends, that very moment remains.
fn less(whole: &[Range], part: &[Range]) -> Vec<Range> {
    let mut lost = Vec::new();
    for range in whole {
        let mut begin = range.begin;
        for kept in part.iter().filter(|kept| kept.end >= range.begin && kept.begin <= range.end) {
            if kept.begin > begin {
                lost.push(Range { begin, end: kept.begin });
            }
            begin = begin.max(kept.end);
        }
        let is_kept = part.iter().any(|kept| kept.begin <= range.begin && range.end <= kept.end);
        if begin < range.end || (range.begin == range.end && !is_kept) {
            lost.push(Range { begin, end: range.end });
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ClusterTime;

    fn ranges(pairs: &[(u32, u32)]) -> Vec<Range> {
        let time = |t| ClusterTime { t, i: 1 };
        pairs.iter().map(|&(begin, end)| Range { begin: time(begin), end: time(end) }).collect()
    }

    #[test]
    fn what_is_lost_is_what_nothing_else_leads_to() {
        let lost = |whole: &[(u32, u32)], part: &[(u32, u32)]| less(&ranges(whole), &ranges(part));
        assert_eq!(lost(&[(10, 50)], &[(10, 50)]), []);
        assert_eq!(lost(&[(10, 50)], &[(10, 20), (40, 50)]), ranges(&[(20, 40)]));
        assert_eq!(lost(&[(10, 50)], &[(30, 50)]), ranges(&[(10, 30)]));
        assert_eq!(lost(&[(10, 50), (60, 60)], &[(10, 20)]), ranges(&[(20, 50), (60, 60)]));
        assert_eq!(lost(&[(10, 50)], &[]), ranges(&[(10, 50)]));
    }
}
