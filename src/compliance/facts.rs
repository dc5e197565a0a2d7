//! What a judgement is made from: what there is in a repository, and what evidence remembers of what is gone.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::format::evidence::{BackupSummary, Event, Evidence, RemovedOplog};
use crate::format::oplog::Range;
use crate::format::{BackupId, ClusterTime, TimelineId};

/// Everything that the records of a repository tell.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The repository's id.
    pub repository: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// The configured name of the source.
    pub source: String,
    /// The backups that there are, and those that there were.
    pub backups: Vec<BackupFact>,
    /// The captured oplog, and what there was of it.
    pub timelines: Vec<TimelineFact>,
    /// Evidence, the oldest first.
    pub records: Vec<Recorded>,
    /// What is not as it was recorded, by key, with what is wrong.
    pub problems: BTreeMap<String, String>,
    /// When all of this was read.
    pub taken_at: Timestamp,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFact {
    /// What it is.
    pub summary: BackupSummary,
    /// When it was removed, if it was.
    pub removed_at: Option<Timestamp>,
}

/// One history of a replica set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineFact {
    /// Its id.
    pub id: TimelineId,
    /// The replica set.
    pub replica_set_id: String,
    /// Where it begins.
    pub begin: ClusterTime,
    /// Its slices, by what they hold.
    pub slices: BTreeMap<Range, SliceFact>,
    /// What is known to be missing, in order.
    pub gaps: Vec<Range>,
}

/// A slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceFact {
    /// When it was stored.
    pub stored_at: Timestamp,
    /// How many entries it holds.
    pub entries: u64,
    /// When it was removed, if it was.
    pub removed_at: Option<Timestamp>,
}

/// A record of evidence and where it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its key.
    pub key: String,
    /// The SHA-256 of the object as stored.
    pub sha256: [u8; 32],
    /// What it says.
    pub evidence: Evidence,
}

impl Recorded {
    /// Returns what happened.
    pub(super) fn event(&self) -> &Event {
        &self.evidence.event
    }

    /// Returns when it was recorded.
    pub(super) fn at(&self) -> Timestamp {
        self.evidence.recorded_at
    }

    /// Returns its id.
    pub(super) fn id(&self) -> String {
        self.evidence.id.clone()
    }
}

impl Facts {
    /// Returns the records made up to a moment, the oldest first.
    pub(super) fn up_to(&self, until: Timestamp) -> impl DoubleEndedIterator<Item = &Recorded> {
        self.records.iter().filter(move |record| record.at() <= until)
    }

    /// Returns the records made in a stretch of time, the oldest first.
    pub(super) fn between(&self, begin: Timestamp, until: Timestamp) -> impl DoubleEndedIterator<Item = &Recorded> {
        self.up_to(until).filter(move |record| record.at() >= begin)
    }

    /// Returns the backups that existed at a moment.
    pub(super) fn backups_at(&self, at: Timestamp) -> impl Iterator<Item = &BackupFact> {
        let existed = move |removed_at: Timestamp| removed_at > at;
        self.backups
            .iter()
            .filter(move |backup| backup.summary.finished_at <= at && backup.removed_at.is_none_or(existed))
    }

    /// Returns the backups that are recorded as taken up to a moment, of which nothing else is known: neither that they
    /// are there, nor that they were removed.
    pub(super) fn vanished(&self, until: Timestamp) -> impl Iterator<Item = (&BackupId, &Recorded)> {
        let is_known = |id: &BackupId| self.backups.iter().any(|backup| backup.summary.id == *id);
        let removed = |id: &BackupId| {
            let mut events = self.records.iter().map(Recorded::event);
            events.any(|event| matches!(event, Event::Expiry { removed, .. } if removed.contains(id)))
        };
        self.up_to(until).filter_map(move |record| match record.event() {
            Event::Backup { backup, .. } if !is_known(backup) && !removed(backup) => Some((backup, record)),
            _ => None,
        })
    }
}

impl TimelineFact {
    /// Adds what evidence remembers of slices that were removed at a moment; those that are there stay as they are.
    pub(super) fn remember(&mut self, removed: &RemovedOplog, removed_at: Timestamp) {
        let mut begin = removed.begin;
        for (seconds, increment, late, entries) in &removed.slices {
            let end = ClusterTime { t: begin.t.saturating_add(*seconds), i: *increment };
            let stored_at = end.wall() + SignedDuration::from_secs(*late);
            let slice = SliceFact { stored_at, entries: *entries, removed_at: Some(removed_at) };
            self.slices.entry(Range { begin, end }).or_insert(slice);
            begin = end;
        }
    }
}
