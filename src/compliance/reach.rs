//! Which moments could be restored, at every moment: the course of time, event by event.
//!
//! A moment could be restored when a complete backup and everything that leads on from it were stored, not yet removed,
//! and not known to be damaged. Time is counted in whole seconds, always to the worse: what was stored within a second
//! counts from the next one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::facts::{Facts, TimelineFact};
use crate::format::evidence::{Event, VerificationResult};
use crate::format::layout::{self, OplogObject};
use crate::format::oplog::Range;
use crate::format::{BackupId, ClusterTime, TimelineId};
use crate::repository::merged;

/// What could be restored, as it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    /// From which second on what second was the newest that could be restored; none: nothing could. In order.
    pub(super) steps: Vec<(i64, Option<i64>)>,
    /// What could be restored in the end.
    pub(super) window: Vec<Range>,
}

impl Reach {
    /// Follows the events up to `until`. `guess_holes` assumes that slices of which nothing is known were there, where
    /// they may have been removed: what could have been restored at best.
    pub(super) fn follow(facts: &Facts, until: Timestamp, guess_holes: bool) -> Self {
        let mut state = State::new(facts, guess_holes);
        let mut steps: Vec<(i64, Option<i64>)> = Vec::new();
        for (second, changes) in state.changes(facts) {
            if second > until.as_second() {
                break;
            }
            state.apply(&changes);
            let newest = state.newest();
            if steps.last().map(|(_, newest)| *newest) != Some(newest) {
                steps.push((second, newest));
            }
        }
        Self { steps, window: state.window() }
    }
}

/// Returns the first whole second at or behind a moment.
pub(super) fn ceiling(at: Timestamp) -> i64 {
    at.as_second() + i64::from(at.subsec_nanosecond() > 0)
}

/// Something that changes what can be restored.
#[derive(Debug, Clone)]
enum Change {
    BackupIs(usize, bool),
    SliceIs(usize, usize, bool),
    Verified(Verified),
}

/// What a verification says.
#[derive(Debug, Clone)]
struct Verified {
    damaged: Vec<BackupId>,
    sound: Vec<BackupId>,
    /// What it says about the oplog, and whether that takes back what was said before: every byte was read again.
    oplog: Option<(Damage, bool)>,
}

/// What of the captured oplog is not to be relied on.
#[derive(Debug, Clone, Default)]
struct Damage {
    slices: BTreeSet<(TimelineId, ClusterTime)>,
    timelines: BTreeSet<TimelineId>,
    /// Which slices are meant besides is not known.
    more: bool,
}

struct Base<'a> {
    id: &'a BackupId,
    replica_set_id: Option<&'a str>,
    /// The moment it shows, and from where on oplog is needed.
    leads_on: Option<(ClusterTime, ClusterTime)>,
    end: i64,
    at: Option<ClusterTime>,
    is_there: bool,
    is_damaged: bool,
}

/// A slice, or what may have been one.
#[derive(Debug, Clone, Copy)]
struct Slice {
    range: Range,
    stored: i64,
    removed: Option<i64>,
    is_guess: bool,
    is_there: bool,
}

struct Track<'a> {
    fact: &'a TimelineFact,
    slices: Vec<Slice>,
    /// Slices that follow each other, by where they begin.
    runs: BTreeMap<ClusterTime, ClusterTime>,
    is_stale: bool,
}

struct State<'a> {
    bases: Vec<Base<'a>>,
    tracks: Vec<Track<'a>>,
    damage: Damage,
}

impl<'a> State<'a> {
    fn new(facts: &'a Facts, guess_holes: bool) -> Self {
        let whole = facts.backups.iter().map(|backup| &backup.summary).filter(|backup| !backup.partial);
        let bases = whole.map(|backup| Base {
            id: &backup.id,
            replica_set_id: backup.replica_set_id.as_deref(),
            leads_on: backup.cluster_time.zip(backup.replay_from),
            end: backup.cluster_time.map_or(backup.started_at.as_second(), |at| i64::from(at.t)),
            at: backup.cluster_time,
            is_there: false,
            is_damaged: false,
        });
        let tracks = facts.timelines.iter().map(|timeline| Track::new(timeline, guess_holes));
        Self { bases: bases.collect(), tracks: tracks.collect(), damage: Damage::default() }
    }

    /// Returns what changes, by second.
    fn changes(&self, facts: &Facts) -> BTreeMap<i64, Vec<Change>> {
        let mut changes: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
        let mut add = |second: i64, change: Change| changes.entry(second).or_default().push(change);
        let whole = facts.backups.iter().filter(|backup| !backup.summary.partial);
        for (number, backup) in whole.enumerate() {
            add(ceiling(backup.summary.finished_at), Change::BackupIs(number, true));
            if let Some(removed_at) = backup.removed_at {
                add(removed_at.as_second(), Change::BackupIs(number, false));
            }
        }
        for (track, timeline) in self.tracks.iter().enumerate() {
            for (number, slice) in timeline.slices.iter().enumerate() {
                add(slice.stored, Change::SliceIs(track, number, true));
                if let Some(removed) = slice.removed {
                    add(removed, Change::SliceIs(track, number, false));
                }
            }
        }
        for record in &facts.records {
            if let Event::Verification { run, result } = record.event() {
                add(run.finished_at.as_second(), Change::Verified(Verified::of(result)));
            }
        }
        changes
    }

    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::BackupIs(number, there) => self.bases[*number].is_there = *there,
                Change::SliceIs(track, number, there) => self.tracks[*track].set(*number, *there, &self.damage),
                Change::Verified(verified) => self.verified(verified),
            }
        }
        for track in &mut self.tracks {
            track.refresh(&self.damage);
        }
    }

    fn verified(&mut self, verified: &Verified) {
        for base in &mut self.bases {
            base.is_damaged |= verified.damaged.contains(base.id);
            base.is_damaged &= !verified.sound.contains(base.id);
        }
        if let Some((damage, is_new)) = &verified.oplog {
            if *is_new {
                self.damage = Damage::default();
            }
            self.damage.add(damage);
            for track in &mut self.tracks {
                track.is_stale = true;
            }
        }
    }

    fn sound(&self) -> impl Iterator<Item = &Base<'a>> {
        self.bases.iter().filter(|base| base.is_there && !base.is_damaged)
    }

    /// Returns up to where the oplog leads on from a backup.
    fn reached(&self, base: &Base<'_>) -> Option<ClusterTime> {
        let (at, from) = base.leads_on?;
        let fitting = self.tracks.iter().filter(|track| base.replica_set_id == Some(&track.fact.replica_set_id));
        let ends = fitting.filter_map(|track| {
            let (_, end) = track.runs.range(..=from).next_back()?;
            (from <= *end && at <= *end).then_some(*end)
        });
        ends.max()
    }

    fn newest(&self) -> Option<i64> {
        self.sound().map(|base| self.reached(base).map_or(base.end, |end| i64::from(end.t))).max()
    }

    fn window(&self) -> Vec<Range> {
        merged(self.sound().filter_map(|base| {
            let begin = base.at?;
            Some(Range { begin, end: self.reached(base).unwrap_or(begin) })
        }))
    }
}

impl<'a> Track<'a> {
    fn new(fact: &'a TimelineFact, guess_holes: bool) -> Self {
        let known = fact.slices.iter().map(|(range, slice)| Slice {
            range: *range,
            stored: ceiling(slice.stored_at),
            removed: slice.removed_at.map(Timestamp::as_second),
            is_guess: false,
            is_there: false,
        });
        let mut slices: Vec<Slice> = known.collect();
        if guess_holes {
            slices.extend(fact.holes().into_iter().flat_map(minutes));
        }
        Self { fact, slices, runs: BTreeMap::new(), is_stale: false }
    }

    fn set(&mut self, number: usize, there: bool, damage: &Damage) {
        self.slices[number].is_there = there;
        if there && !self.is_stale && self.counts(number, damage) {
            self.join(self.slices[number].range);
        } else {
            self.is_stale = true;
        }
    }

    /// Whether a slice can be read.
    fn counts(&self, number: usize, damage: &Damage) -> bool {
        let Slice { range, is_guess, is_there, .. } = self.slices[number];
        is_there && (is_guess || !damage.covers(&self.fact.id, range))
    }

    /// Adds a slice to the run that it follows, and that which follows it to both.
    fn join(&mut self, range: Range) {
        let end = self.runs.remove(&range.end).unwrap_or(range.end);
        let before = self.runs.range_mut(..range.begin).next_back().filter(|(_, before)| **before == range.begin);
        match before {
            Some((_, before)) => *before = end,
            None => drop(self.runs.insert(range.begin, end)),
        }
    }

    /// Joins everything anew, where something went.
    fn refresh(&mut self, damage: &Damage) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        self.runs.clear();
        for number in 0..self.slices.len() {
            if self.counts(number, damage) {
                self.join(self.slices[number].range);
            }
        }
    }
}

impl TimelineFact {
    /// Returns where nothing is known: neither slices nor a gap, and slices may have been there and have been removed.
    fn holes(&self) -> Vec<Range> {
        let kept_from = self.slices.iter().find(|(_, slice)| slice.removed_at.is_none()).map(|(range, _)| range.begin);
        let Some(kept_from) = kept_from else { return Vec::new() };
        let mut known: Vec<Range> = self.slices.keys().chain(&self.gaps).copied().collect();
        known.sort();
        let (mut holes, mut end) = (Vec::new(), self.begin);
        for range in known.iter().take_while(|range| range.begin <= kept_from) {
            if range.begin > end {
                holes.push(Range { begin: end, end: range.begin });
            }
            end = end.max(range.end);
        }
        holes
    }
}

/// Returns slices of a minute each, stored at once.
fn minutes(hole: Range) -> Vec<Slice> {
    let (mut slices, mut begin) = (Vec::new(), hole.begin);
    while begin < hole.end {
        let next = ClusterTime { t: begin.t.saturating_add(60), i: 0 };
        let end = if next.t >= hole.end.t { hole.end } else { next };
        let (range, stored) = (Range { begin, end }, i64::from(end.t));
        slices.push(Slice { range, stored, removed: None, is_guess: true, is_there: false });
        begin = end;
    }
    slices
}

impl Verified {
    fn of(result: &VerificationResult) -> Self {
        let every_byte = result.level != "structure";
        let sound = if every_byte && result.subset.is_none() { result.sound.clone() } else { Vec::new() };
        let is_new = every_byte && result.subset.is_none();
        let tells = result.everything && (is_new || result.oplog_findings > 0);
        let oplog = tells.then(|| (Damage::of(result), is_new));
        Self { damaged: result.damaged.clone(), sound, oplog }
    }
}

impl Damage {
    fn of(result: &VerificationResult) -> Self {
        let mut damage = Self::default();
        let named = result.named.iter().filter(|finding| finding.object.starts_with(layout::OPLOG));
        let mut count = 0;
        for finding in named {
            count += 1;
            match layout::oplog_object(&finding.object) {
                Some((id, OplogObject::Slice(Range { begin, .. }) | OplogObject::SliceRecord(begin))) => {
                    damage.slices.insert((id, begin));
                }
                Some((id, OplogObject::Timeline)) => drop(damage.timelines.insert(id)),
                Some((_, OplogObject::Gap(_))) | None => {}
            }
        }
        damage.more |= count < result.oplog_findings;
        damage
    }

    fn add(&mut self, other: &Self) {
        self.slices.extend(other.slices.iter().cloned());
        self.timelines.extend(other.timelines.iter().cloned());
        self.more |= other.more;
    }

    fn covers(&self, timeline: &TimelineId, range: Range) -> bool {
        self.more || self.timelines.contains(timeline) || self.slices.contains(&(timeline.clone(), range.begin))
    }
}
