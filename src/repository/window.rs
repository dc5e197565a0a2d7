//! The recovery window: which moments the repository can restore, and the way to each of them.

use super::CapturedTimeline;
use crate::format::layout::{self, OplogObject};
use crate::format::manifest::Manifest;
use crate::format::oplog::Range;
use crate::format::{ClusterTime, TimelineId};
use crate::policy::history::OplogDamage;

/// Returns the ranges of moments that can be restored, in order. Each backup is a range of its own moment at least;
/// where the captured oplog leads on from it, the range goes as far as that does without a hole.
#[must_use]
pub fn recovery_window<'a>(
    backups: impl IntoIterator<Item = &'a Manifest>,
    captured: &[CapturedTimeline],
) -> Vec<Range> {
    merged(backups.into_iter().filter_map(|backup| reach(backup, captured)))
}

/// Returns ranges in order, those that meet or overlap as one.
#[must_use]
pub fn merged(ranges: impl IntoIterator<Item = Range>) -> Vec<Range> {
    let mut ranges: Vec<Range> = ranges.into_iter().collect();
    ranges.sort_unstable();
    let mut window: Vec<Range> = Vec::new();
    for range in ranges {
        match window.last_mut() {
            Some(last) if range.begin <= last.end => last.end = last.end.max(range.end),
            _ => window.push(range),
        }
    }
    window
}

/// Returns what is captured of the oplog, without what is known to be damaged; nothing where it is not known which slices are.
#[must_use]
pub fn sound_oplog(captured: &[CapturedTimeline], damage: Option<&OplogDamage>) -> Vec<CapturedTimeline> {
    let mut captured = captured.to_vec();
    let Some(damage) = damage else { return captured };
    if damage.more {
        return Vec::new();
    }
    for (id, object) in damage.objects.iter().filter_map(|key| layout::oplog_object(key)) {
        let begin = match object {
            OplogObject::Slice(range) => range.begin,
            OplogObject::SliceRecord(begin) => begin,
            // A timeline's own record: nothing of it can be relied on.
            OplogObject::Timeline => {
                captured.retain(|timeline| timeline.timeline.id != id);
                continue;
            }
            OplogObject::Gap(_) => continue,
        };
        for timeline in captured.iter_mut().filter(|timeline| timeline.timeline.id == id) {
            timeline.slices.retain(|slice| slice.begin != begin);
        }
    }
    captured
}

/// How to get to a moment: a backup, and the oplog that leads on from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Route<'a> {
    /// The backup to begin with.
    pub backup: &'a Manifest,
    /// What to read of the oplog; none where the backup shows that very moment.
    pub oplog: Option<Stretch<'a>>,
}

/// Slices of one timeline that follow each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch<'a> {
    /// The timeline.
    pub timeline: &'a TimelineId,
    /// The slices, in order.
    pub slices: Vec<Range>,
}

/// There is no way to a moment; these are the nearest that there is a way to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable {
    /// The last one before it.
    pub before: Option<ClusterTime>,
    /// The first one behind it.
    pub behind: Option<ClusterTime>,
}

/// Returns the ways to a moment, one from each backup from which one leads there, that from the newest backup first.
///
/// # Errors
/// The nearest moments, when there is none.
pub fn routes<'a>(
    backups: &[&'a Manifest],
    captured: &'a [CapturedTimeline],
    to: ClusterTime,
) -> Result<Vec<Route<'a>>, Unreachable> {
    let whole = backups.iter().copied().filter(|backup| !backup.partial);
    let mut before_it: Vec<&'a Manifest> =
        whole.filter(|backup| backup.cluster_time.is_some_and(|at| at <= to)).collect();
    before_it.sort_by_key(|backup| std::cmp::Reverse(backup.cluster_time));
    let found = before_it.into_iter().filter_map(|backup| {
        if backup.cluster_time == Some(to) {
            return Some(Route { backup, oplog: None });
        }
        let (captured, stretch) = stretches(backup, captured).find(|(_, stretch)| to <= stretch.end)?;
        let from = backup.replay_from?;
        // All of them lie on one stretch; those that end before the first needed entry are not.
        let needed = |slice: &&Range| slice.end > from && slice.begin < to && slice.end <= stretch.end;
        let slices = captured.slices.iter().filter(needed).copied().collect();
        Some(Route { backup, oplog: Some(Stretch { timeline: &captured.timeline.id, slices }) })
    });
    let found: Vec<Route<'a>> = found.collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let window = recovery_window(backups.iter().copied(), captured);
    let before = window.iter().map(|range| range.end).filter(|end| *end < to).max();
    let behind = window.iter().map(|range| range.begin).filter(|begin| *begin > to).min();
    Err(Unreachable { before, behind })
}

/// Returns what can be restored from one backup; none without a cluster time, or where it holds only a part.
#[must_use]
pub fn reach(backup: &Manifest, captured: &[CapturedTimeline]) -> Option<Range> {
    let begin = backup.cluster_time.filter(|_| !backup.partial)?;
    let ends = stretches(backup, captured).map(|(_, stretch)| stretch.end);
    Some(Range { begin, end: ends.max().unwrap_or(begin) })
}

/// Returns the stretches of captured oplog that lead on from a backup.
fn stretches<'a>(
    backup: &Manifest,
    captured: &'a [CapturedTimeline],
) -> impl Iterator<Item = (&'a CapturedTimeline, Range)> {
    let leads_on = backup.leads_on();
    let replica_set_id = backup.replica_set_id.clone();
    let same_set = captured
        .iter()
        .filter(move |captured| replica_set_id.as_ref() == Some(&captured.timeline.history.replica_set_id));
    let stretches =
        same_set.flat_map(|captured| captured.stretches().into_iter().map(move |stretch| (captured, stretch)));
    stretches.filter(move |(_, stretch)| leads_on.is_some_and(|(at, from)| stretch.begin <= from && at <= stretch.end))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::ClusterTime;
    use crate::format::oplog::{History, Timeline};

    fn range(begin: u32, end: u32) -> Range {
        Range { begin: ClusterTime { t: begin, i: 1 }, end: ClusterTime { t: end, i: 1 } }
    }

    /// Returns an invented timeline.
    pub(crate) fn captured(slices: &[(u32, u32)], gaps: &[(u32, u32)]) -> CapturedTimeline {
        let history = History {
            replica_set: "rs0".into(),
            replica_set_id: "a".into(),
            feature_compatibility_version: "6.0".into(),
        };
        let timeline = Timeline {
            format: Timeline::FORMAT.into(),
            version: 1,
            repository: serde_json::from_str("\"9f0c0000000000000000000000000000\"").unwrap(),
            id: "20261123T020000Z-7f3a".parse().unwrap(),
            source: "shop".into(),
            history,
            begin: ClusterTime { t: 1, i: 1 },
            started_at: jiff::Timestamp::UNIX_EPOCH,
            cause: String::new(),
        };
        let ranges = |pairs: &[(u32, u32)]| pairs.iter().map(|&(begin, end)| range(begin, end)).collect();
        CapturedTimeline { timeline, slices: ranges(slices), gaps: ranges(gaps), stored_bytes: 0 }
    }

    /// Returns an invented backup.
    pub(crate) fn backup(at: u32, replay_from: u32, replica_set_id: &str) -> Manifest {
        let time = |t: u32| serde_json::json!({ "t": t, "i": 1 });
        let manifest = serde_json::json!({
            "format": "regrow-manifest", "version": 1, "repository": "9f0c0000000000000000000000000000",
            "id": "20261123T020000Z-daily-7f3a", "kind": "daily", "source": "shop", "replica_set": "rs0",
            "replica_set_id": replica_set_id, "started_at": "2026-11-23T02:00:00Z", "finished_at": "2026-11-23T02:00:00Z",
            "cluster_time": time(at), "replay_from": time(replay_from), "consistency": "snapshot",
            "encryption": "none", "recipients": [], "namespaces": 0, "documents": 0, "bytes_raw": 0, "bytes_stored": 0,
            "catalog": { "key": "c", "size": 0, "sha256": "00".repeat(32) }, "packs": [], "regrow_version": "0.1.0",
        });
        serde_json::from_value(manifest).unwrap()
    }

    fn window(backups: &[Manifest], captured: &CapturedTimeline) -> Vec<Range> {
        recovery_window(backups, std::slice::from_ref(captured))
    }

    #[test]
    fn the_oplog_leads_on_from_a_backup_to_its_first_hole() {
        let captured = captured(&[(10, 20), (20, 30), (40, 50)], &[(30, 40)]);
        assert_eq!(window(&[backup(15, 15, "a")], &captured), [range(15, 30)]);
        assert_eq!(window(&[backup(30, 30, "a")], &captured), [range(30, 30)], "a gap begins there");
        assert_eq!(window(&[backup(35, 35, "a")], &captured), [range(35, 35)], "it lies in the gap");
        assert_eq!(window(&[backup(15, 15, "a"), backup(45, 41, "a")], &captured), [range(15, 30), range(45, 50)]);
    }

    #[test]
    fn a_backup_that_the_oplog_does_not_fit_is_a_moment() {
        let captured = captured(&[(10, 20)], &[]);
        assert_eq!(window(&[backup(5, 5, "a")], &captured), [range(5, 5)], "before the oplog");
        assert_eq!(window(&[backup(12, 9, "a")], &captured), [range(12, 12)], "a transaction was open before");
        assert_eq!(window(&[backup(25, 18, "a")], &captured), [range(25, 25)], "not captured so far yet");
        assert_eq!(window(&[backup(15, 15, "b")], &captured), [range(15, 15)], "another replica set's");
        assert_eq!(window(&[], &captured), []);
    }

    #[test]
    fn the_way_begins_with_the_newest_backup_from_which_one_leads() {
        let captured = [captured(&[(10, 20), (20, 30), (40, 50)], &[(30, 40)])];
        let (old, new, lost) = (backup(12, 12, "a"), backup(25, 18, "a"), backup(27, 27, "b"));
        let backups = [&old, &new, &lost];
        let ways = |t: u32| routes(&backups, &captured, ClusterTime { t, i: 1 });
        let way = |t: u32| ways(t).map(|mut ways| ways.swap_remove(0));
        let slices = |t: u32| way(t).unwrap().oplog.unwrap().slices;
        assert_eq!(way(15).unwrap().backup, &old);
        assert_eq!(slices(15), [range(10, 20)]);
        assert_eq!(way(28).unwrap().backup, &new, "no way leads on from the newest");
        assert_eq!(slices(28), [range(10, 20), range(20, 30)], "from where a transaction was open");
        assert_eq!(way(25).unwrap(), Route { backup: &new, oplog: None }, "its own moment");
        assert_eq!(way(27).unwrap(), Route { backup: &lost, oplog: None });
        let all: Vec<_> = ways(28).unwrap().into_iter().map(|route| route.backup).collect();
        assert_eq!(all, [&new, &old], "from an older one as well");
    }

    #[test]
    fn where_no_way_leads_the_nearest_moments_are_named() {
        let captured = [captured(&[(10, 20), (20, 30), (40, 50)], &[(30, 40)])];
        let (old, new) = (backup(12, 12, "a"), backup(45, 45, "a"));
        let nearest = |t: u32| {
            let Unreachable { before, behind } = routes(&[&old, &new], &captured, ClusterTime { t, i: 1 }).unwrap_err();
            (before.map(|time| time.t), behind.map(|time| time.t))
        };
        assert_eq!(nearest(5), (None, Some(12)));
        assert_eq!(nearest(35), (Some(30), Some(45)));
        assert_eq!(nearest(51), (Some(50), None));
    }

    #[test]
    fn a_backup_of_a_part_leads_nowhere() {
        let captured = captured(&[(10, 20)], &[]);
        let part = Manifest { partial: true, ..backup(15, 15, "a") };
        assert_eq!(window(std::slice::from_ref(&part), &captured), []);
        assert!(routes(&[&part], std::slice::from_ref(&captured), ClusterTime { t: 18, i: 1 }).is_err());
    }

    #[test]
    fn ranges_that_meet_are_one() {
        let captured = captured(&[(10, 20), (20, 30)], &[]);
        assert_eq!(window(&[backup(12, 12, "a"), backup(25, 25, "a")], &captured), [range(12, 30)]);
    }
}
