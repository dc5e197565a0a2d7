//! What could be restored if everything but the repository were lost now.

use std::time::Duration;

use jiff::Timestamp;

use super::Facts;
use crate::format::TimelineId;
use crate::format::manifest::Manifest;
use crate::format::oplog::Range;
use crate::repository::{CapturedTimeline, recovery_window, routes, sound_oplog};

/// What can be restored.
pub(super) struct Reach {
    /// The moments.
    pub(super) window: Vec<Range>,
    /// When the newest of them was; of a standalone server's backup, when it was begun.
    pub(super) end: Option<Timestamp>,
    /// The backup from which the way to it begins.
    pub(super) base: Option<Manifest>,
    /// The slices that are replayed on top of it, if any are.
    pub(super) oplog: Option<(TimelineId, Vec<Range>)>,
}

/// Finds out what can be restored from what is not known to be damaged.
pub(super) fn reach(facts: &Facts) -> Reach {
    let backups: Vec<&Manifest> = facts.sound_backups().collect();
    let captured = facts.sound_oplog();
    let window = recovery_window(backups.iter().copied(), &captured);
    let newest = window.iter().map(|range| range.end).max();
    if let Some(newest) = newest {
        let way = routes(&backups, &captured, newest).ok().and_then(|ways| ways.into_iter().next());
        let base = way.as_ref().map(|way| way.backup.clone());
        let oplog = way.and_then(|way| way.oplog).map(|stretch| (stretch.timeline.clone(), stretch.slices));
        return Reach { window, end: Some(newest.wall()), base, oplog };
    }
    let standalone = backups.into_iter().find(|backup| backup.cluster_time.is_none() && !backup.partial);
    let end = standalone.map(|backup| backup.started_at);
    Reach { window, end, base: standalone.cloned(), oplog: None }
}

/// Returns how long ago something was.
pub(super) fn since(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time)).unwrap_or_default()
}

impl Facts {
    /// Returns the backups that nothing is known against, the newest first.
    pub(super) fn sound_backups(&self) -> impl Iterator<Item = &Manifest> {
        self.backups().filter(|manifest| !self.soundness.damaged.contains_key(&manifest.id))
    }

    /// Returns what is captured of the oplog, without the slices that are known to be damaged.
    pub(super) fn sound_oplog(&self) -> Vec<CapturedTimeline> {
        sound_oplog(&self.captured, self.soundness.oplog_damage.as_ref())
    }
}
