//! The recovery window: which moments the repository can restore.

use super::CapturedTimeline;
use crate::format::manifest::Manifest;
use crate::format::oplog::Range;

/// Returns the ranges of moments that can be restored, in order. Each backup is a range of its own moment at least;
/// where the captured oplog leads on from it, the range goes as far as that does without a hole.
#[must_use]
pub fn recovery_window<'a>(
    backups: impl IntoIterator<Item = &'a Manifest>,
    captured: &[CapturedTimeline],
) -> Vec<Range> {
    let mut ranges: Vec<Range> = backups.into_iter().filter_map(|backup| reach(backup, captured)).collect();
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

/// Returns what can be restored from one backup; none without a cluster time.
fn reach(backup: &Manifest, captured: &[CapturedTimeline]) -> Option<Range> {
    let begin = backup.cluster_time?;
    let leads_on =
        |stretch: &Range| backup.replay_from.is_some_and(|from| stretch.begin <= from) && begin <= stretch.end;
    let same_set = captured
        .iter()
        .filter(|captured| backup.replica_set_id.as_ref() == Some(&captured.timeline.history.replica_set_id));
    let ends = same_set.flat_map(CapturedTimeline::stretches).filter(leads_on).map(|stretch| stretch.end);
    Some(Range { begin, end: ends.max().unwrap_or(begin) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ClusterTime;
    use crate::format::oplog::{History, Timeline};

    fn range(begin: u32, end: u32) -> Range {
        Range { begin: ClusterTime { t: begin, i: 1 }, end: ClusterTime { t: end, i: 1 } }
    }

    fn captured(slices: &[(u32, u32)], gaps: &[(u32, u32)]) -> CapturedTimeline {
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
        CapturedTimeline { timeline, slices: ranges(slices), gaps: ranges(gaps) }
    }

    fn backup(at: u32, replay_from: u32, replica_set_id: &str) -> Manifest {
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
    fn ranges_that_meet_are_one() {
        let captured = captured(&[(10, 20), (20, 30)], &[]);
        assert_eq!(window(&[backup(12, 12, "a"), backup(25, 25, "a")], &captured), [range(12, 30)]);
    }
}
