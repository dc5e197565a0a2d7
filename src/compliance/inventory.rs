//! What there was at the end of a period, and whether it was read again, kept and encrypted as it has to be.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::facts::{BackupFact, Facts, Recorded};
use super::model::{Backup, Encryption, Period, Retention, Verdict, Verification, VerificationRun};
use super::objectives;
use super::reach::Reach;
use crate::format::evidence::Event;
use crate::format::manifest;
use crate::format::{BackupId, BackupKind};
use crate::policy::history::Soundness;
use crate::units::counted;

/// What was read again within this time counts as covered: everything is due each week.
const COVERED_FOR: SignedDuration = SignedDuration::from_hours(35 * 24);

/// What is younger than this may not have been read again yet.
const NEW_FOR: SignedDuration = SignedDuration::from_hours(8 * 24);

/// What the records tell of the state at the end of a period.
pub(super) struct Inventory<'a> {
    facts: &'a Facts,
    until: Timestamp,
    soundness: Soundness,
    /// The backups that existed, the newest first.
    existing: Vec<&'a BackupFact>,
}

impl<'a> Inventory<'a> {
    pub(super) fn of(facts: &'a Facts, until: Timestamp) -> Self {
        let soundness = Soundness::of(facts.up_to(until).map(|record| &record.evidence));
        let mut existing: Vec<&BackupFact> = facts.backups_at(until).collect();
        existing.sort_by_key(|backup| std::cmp::Reverse((backup.summary.finished_at, backup.summary.id.clone())));
        Self { facts, until, soundness, existing }
    }

    pub(super) fn backups(&self) -> Vec<Backup> {
        let drilled = self.drilled();
        let backup = |backup: &&BackupFact| Backup {
            summary: backup.summary.clone(),
            verified_at: self.soundness.verified.get(&backup.summary.id).copied(),
            drilled_at: drilled.get(&backup.summary.id).copied(),
            damaged: self.soundness.damaged.contains_key(&backup.summary.id),
        };
        self.existing.iter().map(backup).collect()
    }

    fn drilled(&self) -> BTreeMap<&'a BackupId, Timestamp> {
        let passed = self.facts.up_to(self.until).filter_map(|record| match record.event() {
            Event::Drill { run, result } if result.passed => Some((&result.backup, run.finished_at)),
            _ => None,
        });
        passed.collect()
    }

    pub(super) fn verification(&self, begin: Timestamp) -> Verification {
        let is_covered = |id: &BackupId| {
            let verified = self.soundness.verified.get(id);
            verified.is_some_and(|at| self.until.duration_since(*at) <= COVERED_FOR)
        };
        let (covered, uncovered): (Vec<&BackupFact>, Vec<&BackupFact>) =
            self.existing.iter().partition(|backup| is_covered(&backup.summary.id));
        let bytes = |backups: &[&BackupFact]| backups.iter().map(|backup| backup.summary.bytes_stored).sum::<u64>();
        let is_overdue = |backup: &&BackupFact| self.until.duration_since(backup.summary.finished_at) > NEW_FOR;
        let is_damaged = self.soundness.oplog_damage.is_some()
            || self.existing.iter().any(|backup| self.soundness.damaged.contains_key(&backup.summary.id));
        let verdict = match (is_damaged, uncovered.iter().any(is_overdue) || self.soundness.everything_at.is_none()) {
            (true, _) => Verdict::Missed,
            (false, true) => Verdict::Unknown,
            (false, false) => Verdict::Met,
        };
        Verification {
            verdict,
            everything_at: self.soundness.everything_at,
            covered_share: share(bytes(&covered), bytes(&covered) + bytes(&uncovered)),
            uncovered: uncovered.iter().map(|backup| backup.summary.id.clone()).collect(),
            runs: self.facts.between(begin, self.until).filter_map(verification_run).collect(),
        }
    }

    pub(super) fn encryption(&self) -> Encryption {
        let is_plain = |backup: &&&BackupFact| backup.summary.encryption == manifest::Encryption::None;
        let plain: Vec<BackupId> =
            self.existing.iter().filter(is_plain).map(|backup| backup.summary.id.clone()).collect();
        let verdict = if plain.is_empty() { Verdict::Met } else { Verdict::Missed };
        Encryption { verdict, encrypted: (self.existing.len() - plain.len()) as u64, plain }
    }

    pub(super) fn retention(&self, begin: Timestamp, reach: &Reach) -> Retention {
        let policy = objectives::retention(self.facts, self.until);
        let removed_in = |backup: &&BackupFact| backup.removed_at.is_some_and(|at| at >= begin && at <= self.until);
        let removed: Vec<&BackupFact> = self.facts.backups.iter().filter(removed_in).collect();
        let is_broken = self.facts.vanished(self.until).next().is_some()
            || policy.is_some() && removed.iter().any(|backup| self.is_too_soon(backup));
        let verdict = match (&policy, is_broken) {
            (_, true) => Verdict::Missed,
            (None, false) => Verdict::Unknown,
            (Some(_), false) => Verdict::Met,
        };
        let window = reach.window.iter().map(|range| Period { begin: range.begin.wall(), end: range.end.wall() });
        Retention {
            policy,
            verdict,
            kept: self.kept(),
            removed: removed.len() as u64,
            recovery_window: window.collect(),
        }
    }

    fn kept(&self) -> Vec<(BackupKind, u64, Option<Timestamp>)> {
        let mut kept: BTreeMap<BackupKind, (u64, Option<Timestamp>)> = BTreeMap::new();
        // The newest comes first, so the last one that is seen is the oldest.
        for BackupFact { summary, .. } in &self.existing {
            let (count, oldest) = kept.entry(summary.kind).or_default();
            *count += 1;
            *oldest = Some(summary.started_at);
        }
        kept.into_iter().map(|(kind, (count, oldest))| (kind, count, oldest)).collect()
    }

    /// Whether a backup was removed while it was one of the newest of its kind that were to be kept then.
    fn is_too_soon(&self, gone: &BackupFact) -> bool {
        let Some(removed_at) = gone.removed_at else { return false };
        let policy = objectives::retention(self.facts, removed_at);
        let wanted = policy.and_then(|policy| match gone.summary.kind {
            BackupKind::Daily => policy.daily,
            BackupKind::Weekly => policy.weekly,
            BackupKind::Monthly => policy.monthly,
            BackupKind::Manual => None,
        });
        let is_newer = |other: &&BackupFact| {
            let (other, gone) = (&other.summary, &gone.summary);
            (other.kind, other.partial) == (gone.kind, gone.partial) && other.started_at > gone.started_at
        };
        let newer = self.facts.backups_at(removed_at).filter(is_newer).count();
        wanted.is_none_or(|wanted| newer < wanted as usize)
    }
}

fn verification_run(record: &Recorded) -> Option<VerificationRun> {
    let Event::Verification { run, result } = record.event() else { return None };
    let scope = match (result.subset, result.everything) {
        (Some(subset), _) => format!("part {} of {}", subset.part, subset.of),
        (None, true) => "everything".into(),
        (None, false) => counted((result.sound.len() + result.damaged.len()) as u64, "backup"),
    };
    Some(VerificationRun {
        evidence: record.id(),
        finished_at: run.finished_at,
        level: result.level.clone(),
        scope,
        objects: result.checked_objects,
        bytes: result.checked_bytes,
        findings: result.findings,
    })
}

#[allow(clippy::cast_precision_loss)] // A share is shown with three digits.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
