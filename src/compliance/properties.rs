//! The judgement over invented histories, held against a simulation that asks at every second what could be restored.

use proptest::prelude::*;

use jiff::Timestamp;

use super::facts::{BackupFact, Facts, Recorded, SliceFact, TimelineFact};
use super::model::{Period, Verdict};
use super::{assess, model};
use crate::format::evidence::{Event, Evidence, Run, VerificationResult, WorkloadRecord};
use crate::format::manifest::Manifest;
use crate::format::oplog::Range;
use crate::format::{BackupId, ClusterTime, Job, RepositoryId, layout};
use crate::repository::recovery_window;
use crate::repository::window_tests::{backup, captured};

const BEGIN: u32 = 1_800_000_000;
const LENGTH: u32 = 1500;
const RPO: i64 = 90;

/// What happens, in seconds from the begin.
#[derive(Debug, Clone)]
struct History {
    /// The length of each slice, how long after its end it is stored, and what becomes of it.
    slices: Vec<(u32, u32, Fate)>,
    /// Of each backup: the moment it shows, how much earlier the oplog is needed, how long it takes, how long it
    /// is kept.
    backups: Vec<(u32, u32, u32, Option<u32>, Fate)>,
    /// When everything is read again.
    verifications: Vec<u32>,
    /// When the objective comes into force.
    configured: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// It was never stored, and that is known.
    Gap,
    /// It was never stored, and nobody knows.
    Lost,
    /// It is of another replica set, or of chosen namespaces.
    Foreign,
    /// The verifications with these numbers find it damaged.
    Damaged(u8),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        20 => Just(Fate::Kept),
        1 => Just(Fate::Gap),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Foreign),
        2 => any::<u8>().prop_map(Fate::Damaged),
    ]
}

fn history() -> impl Strategy<Value = History> {
    let late = prop_oneof![8 => 0_u32..5, 1 => 0_u32..200];
    let slices = proptest::collection::vec((1_u32..60, late, fate()), 0..60);
    let removed = proptest::option::weighted(0.3, 1..LENGTH);
    let backups = proptest::collection::vec((0..LENGTH, 0_u32..40, 0_u32..100, removed, fate()), 0..6);
    let verifications = proptest::collection::vec(0..LENGTH, 0..4);
    (slices, backups, verifications, 0_u32..300).prop_map(|(slices, backups, mut verifications, configured)| {
        verifications.sort_unstable();
        History { slices, backups, verifications, configured }
    })
}

fn at(second: u32) -> Timestamp {
    Timestamp::from_second(i64::from(BEGIN + second)).unwrap()
}

fn time(second: u32) -> ClusterTime {
    ClusterTime { t: BEGIN + second, i: 1 }
}

fn found_damaged(fate: Fate, verification: usize) -> bool {
    matches!(fate, Fate::Damaged(mask) if mask & (1 << verification) != 0)
}

impl History {
    /// Returns every slice with its number, whatever becomes of it.
    fn ranges(&self) -> Vec<(Range, Timestamp, Fate)> {
        let mut begin = 0;
        let slice = |(length, late, fate): &(u32, u32, Fate)| {
            let range = Range { begin: time(begin), end: time(begin + length) };
            begin += length;
            (range, at(begin + late), *fate)
        };
        self.slices.iter().map(slice).collect()
    }

    fn stored(&self) -> impl Iterator<Item = (Range, Timestamp, Fate)> {
        self.ranges().into_iter().filter(|(_, _, fate)| matches!(fate, Fate::Kept | Fate::Damaged(_) | Fate::Foreign))
    }

    fn manifests(&self) -> Vec<(Manifest, Option<Timestamp>, Fate)> {
        let manifest =
            |(number, (shows, before, takes, removed, fate)): (usize, &(u32, u32, u32, Option<u32>, Fate))| {
                let set = if *fate == Fate::Foreign { "b" } else { "a" };
                let mut manifest = backup(time(*shows).t, time(shows.saturating_sub(*before)).t, set);
                manifest.id = format!("20261123T020000Z-daily-{number:04x}").parse().unwrap();
                manifest.started_at = at(*shows);
                manifest.finished_at = at(shows + takes);
                manifest.partial = *fate == Fate::Lost;
                (manifest, removed.map(|kept| at(shows + takes + kept)), *fate)
            };
        self.backups.iter().enumerate().map(manifest).collect()
    }

    fn verification(&self, number: usize) -> VerificationResult {
        let backups = self.manifests();
        let is_damaged = |(_, _, fate): &&(Manifest, Option<Timestamp>, Fate)| found_damaged(*fate, number);
        let ids = |(manifest, _, _): &(Manifest, Option<Timestamp>, Fate)| manifest.id.clone();
        let (damaged, sound): (Vec<_>, Vec<_>) = backups.iter().partition(is_damaged);
        let timeline = captured(&[], &[]).timeline.id;
        let slices = self.stored().filter(|(_, _, fate)| found_damaged(*fate, number));
        let named: Vec<_> = slices
            .map(|(range, _, _)| crate::format::evidence::Finding {
                object: layout::slice_record(&timeline, range.begin),
                problem: String::new(),
            })
            .collect();
        let damaged: Vec<BackupId> = damaged.into_iter().map(ids).collect();
        VerificationResult {
            level: "checksum".into(),
            everything: true,
            subset: None,
            sound: sound.into_iter().map(ids).collect(),
            findings: (damaged.len() + named.len()) as u64,
            damaged,
            checked_objects: 0,
            checked_bytes: 0,
            oplog_findings: named.len() as u64,
            named,
        }
    }

    fn facts(&self) -> Facts {
        let (name, tier) = ("orders".into(), "critical".into());
        let rpo_seconds = RPO.unsigned_abs();
        let workloads = vec![WorkloadRecord { name, tier, rpo_seconds, rto_seconds: 3600 }];
        let configuration = Event::Configuration { schedules: Vec::new(), workloads, retention: None };
        let mut records = vec![recorded(self.configured, configuration)];
        for (number, second) in self.verifications.iter().enumerate() {
            let (started_at, finished_at) = (at(*second), at(*second));
            let run = Run { job: Job::Verify, due: None, started_at, finished_at, attempts: 1 };
            records.push(recorded(*second, Event::Verification { run, result: self.verification(number) }));
        }
        records.sort_by_key(|record| record.evidence.recorded_at);
        let timeline = captured(&[], &[]).timeline;
        let slice = |(range, stored_at, _)| (range, SliceFact { stored_at, entries: 1, removed_at: None });
        // What may have been before is unknown, and another test's affair.
        let begin = self.stored().next().map_or(time(0), |(range, _, _)| range.begin);
        let gaps = self.ranges().into_iter().filter(|(_, _, fate)| *fate == Fate::Gap).map(|(range, _, _)| range);
        Facts {
            repository: "9f0c".into(),
            created_at: at(0),
            source: "shop".into(),
            backups: self
                .manifests()
                .iter()
                .map(|(manifest, removed_at, _)| BackupFact { summary: manifest.into(), removed_at: *removed_at })
                .collect(),
            timelines: vec![TimelineFact {
                id: timeline.id,
                replica_set_id: "a".into(),
                begin,
                slices: self.stored().map(slice).collect(),
                gaps: gaps.collect(),
            }],
            records,
            problems: std::collections::BTreeMap::new(),
            taken_at: at(LENGTH),
        }
    }

    /// Returns what would be lost in a disaster in this second; none when nothing could be restored.
    fn exposure(&self, second: u32) -> Option<i64> {
        let now = at(second);
        let is_damaged = |fate: Fate| {
            let last = self.verifications.iter().rposition(|verified| at(*verified) <= now);
            last.is_some_and(|last| found_damaged(fate, last))
        };
        let backups = self.manifests().into_iter().filter(|(manifest, removed, fate)| {
            manifest.finished_at <= now && removed.is_none_or(|removed| removed > now) && !is_damaged(*fate)
        });
        let backups: Vec<Manifest> = backups.map(|(manifest, _, _)| manifest).collect();
        let mut oplog = captured(&[], &[]);
        let slices = self.stored().filter(|(_, stored, fate)| *stored <= now && !is_damaged(*fate));
        oplog.slices = slices.map(|(range, _, _)| range).collect();
        let window = recovery_window(&backups, std::slice::from_ref(&oplog));
        let newest = window.iter().map(|range| i64::from(range.end.t)).max()?;
        Some(now.as_second() - newest)
    }
}

fn recorded(second: u32, event: Event) -> Recorded {
    let evidence = Evidence {
        format: Evidence::FORMAT.into(),
        version: 1,
        repository: RepositoryId("9f0c".into()),
        id: format!("{second:016x}"),
        recorded_at: at(second),
        recorded_by: String::new(),
        previous: Vec::new(),
        event,
    };
    Recorded { key: evidence.key(), sha256: [0; 32], evidence }
}

/// What asking at every second finds.
#[derive(Debug, PartialEq)]
struct Simulated {
    maximum: Option<i64>,
    p95: Option<i64>,
    within: f64,
    breaches: Vec<(Timestamp, Option<Timestamp>, Option<i64>)>,
}

fn simulate(history: &History) -> Simulated {
    let asked: Vec<Option<i64>> = (history.configured..LENGTH).map(|second| history.exposure(second)).collect();
    // What could not be restored at all sorts last.
    let mut sorted: Vec<i64> = asked.iter().map(|exposure| exposure.unwrap_or(i64::MAX)).collect();
    sorted.sort_unstable();
    let finite = |exposure: i64| (exposure < i64::MAX).then_some(exposure.max(0));
    let is_breach = |exposure: &Option<i64>| exposure.is_none_or(|exposure| exposure > RPO);
    let mut breaches = Vec::new();
    let mut second = history.configured;
    for run in asked.chunk_by(|a, b| is_breach(a) == is_breach(b)) {
        let (begin, end) = (second, second + u32::try_from(run.len()).unwrap());
        if is_breach(&run[0]) {
            let worst: Option<Vec<i64>> = run.iter().copied().collect();
            breaches.push((at(begin), (end < LENGTH).then(|| at(end)), worst.and_then(|all| all.into_iter().max())));
        }
        second = end;
    }
    Simulated {
        maximum: finite(*sorted.last().unwrap()),
        p95: finite(sorted[(sorted.len() * 95).div_ceil(100) - 1]),
        within: number(asked.iter().filter(|exposure| !is_breach(exposure)).count()) / number(asked.len()),
        breaches,
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

fn judged(history: &History) -> model::Rpo {
    let period = Period { begin: at(0), end: at(LENGTH) };
    assess(&history.facts(), period).workloads.remove(0).rpo
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Every figure is the one that asking at every second finds.
    #[test]
    fn the_judgement_is_what_asking_at_every_second_finds(history in history()) {
        let (rpo, simulated) = (judged(&history), simulate(&history));
        let seconds = |known: Option<u64>| known.map(|known| i64::try_from(known).unwrap());
        let found = Simulated {
            maximum: seconds(rpo.maximum_seconds),
            p95: seconds(rpo.p95_seconds),
            within: rpo.within_share.unwrap(),
            breaches: rpo.breaches.iter().map(|breach| (breach.begin, breach.end, seconds(breach.worst_seconds))).collect(),
        };
        prop_assert_eq!(&found, &simulated);
        prop_assert_eq!(rpo.judged_seconds, u64::from(LENGTH - history.configured));
        prop_assert_eq!(rpo.verdict == Verdict::Met, simulated.breaches.is_empty());
        prop_assert!(rpo.breaches.iter().all(|breach| !breach.cause.is_empty()));
    }

    /// Where a slice is missing and no backup comes behind it, the objective is missed, or it is said that nobody knows.
    #[test]
    fn a_hole_in_the_oplog_is_never_met(history in history(), hole in any::<prop::sample::Index>(), told: bool) {
        let mut history = history;
        history.backups = vec![(0, 0, 0, None, Fate::Kept)];
        history.slices.retain(|(_, _, fate)| *fate == Fate::Kept);
        prop_assume!(!history.slices.is_empty());
        let hole = hole.index(history.slices.len());
        history.slices[hole].2 = if told { Fate::Gap } else { Fate::Lost };
        let ends: u32 = history.slices.iter().take(hole).map(|(length, _, _)| length).sum();
        prop_assume!(i64::from(ends) + RPO + 1 < i64::from(LENGTH));
        prop_assert_ne!(judged(&history).verdict, Verdict::Met);
    }

    /// What expired and is remembered changes nothing of what was; what expired and is not remembered makes unknown what
    /// it may have covered, and never worse.
    #[test]
    fn what_expired_is_remembered_or_unknown(history in history(), kept in any::<prop::sample::Index>()) {
        let mut history = history;
        // Where a slice is missing and nobody says so, it may be one that expired and is not remembered.
        for (_, _, fate) in history.slices.iter_mut().filter(|(_, _, fate)| *fate == Fate::Lost) {
            *fate = Fate::Gap;
        }
        let facts = history.facts();
        let period = Period { begin: at(0), end: at(LENGTH) };
        let before = assess(&facts, period).workloads.remove(0).rpo;
        let slices = &facts.timelines[0].slices;
        prop_assume!(!slices.is_empty());
        let kept = *slices.keys().nth(kept.index(slices.len())).unwrap();
        let mut remembered = facts.clone();
        for (range, slice) in &mut remembered.timelines[0].slices {
            slice.removed_at = (*range < kept).then(|| at(LENGTH + 5));
        }
        let after = assess(&remembered, period).workloads.remove(0).rpo;
        prop_assert_eq!(&after.breaches, &before.breaches);
        let mut forgotten = facts;
        forgotten.timelines[0].slices.retain(|range, _| *range >= kept);
        forgotten.timelines[0].gaps.retain(|range| *range >= kept);
        let after = assess(&forgotten, period).workloads.remove(0).rpo;
        let seconds = |rpo: &model::Rpo| {
            let length = |breach: &model::Breach| breach.end.unwrap_or(at(LENGTH)).duration_since(breach.begin).as_secs();
            rpo.breaches.iter().map(length).sum::<i64>()
        };
        prop_assert!(seconds(&after) <= seconds(&before), "{:?} {:?}", after.breaches, before.breaches);
        prop_assert!(after.verdict != Verdict::Met || before.verdict == Verdict::Met);
    }
}
