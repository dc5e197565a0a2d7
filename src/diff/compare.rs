//! Comparing the records of both sides, in the order of their hashes.

use std::cmp::Ordering;

use bson::RawDocumentBuf;

use super::records::{Names, Record, Records, Sorted};
use super::{Change, Counts};
use crate::error::Result;
use crate::units::MIB;

/// How many documents that differ are told at once.
const TOLD: usize = 1000;

/// How many bytes their `_id`s have, or one more.
const TOLD_BYTES: usize = 4 * MIB;

/// A comparison under way.
pub(super) struct Comparison {
    backup: Side,
    live: Side,
    counts: Counts,
    /// How many documents are still to be told.
    listed: u64,
}

struct Side {
    records: Sorted,
    next: Option<Record>,
    names: Option<Names>,
}

impl Side {
    fn new(records: Records) -> Result<Self> {
        let (mut records, names) = records.sorted()?;
        Ok(Self { next: records.next()?, records, names })
    }

    /// Returns the next record and goes on to the one behind it.
    fn take(&mut self) -> Result<Option<Record>> {
        let taken = self.next;
        self.next = self.records.next()?;
        Ok(taken)
    }

    fn name(&self, record: &Record) -> Result<Option<RawDocumentBuf>> {
        self.names.as_ref().map(|names| names.at(record.place)).transpose()
    }
}

impl Comparison {
    /// Begins one that tells up to `listed` documents.
    pub(super) fn new(backup: Records, live: Records, listed: u64) -> Result<Self> {
        Ok(Self { backup: Side::new(backup)?, live: Side::new(live)?, counts: Counts::default(), listed })
    }

    /// Goes on until there are some documents to tell, and returns them; none at the end.
    pub(super) fn advance(&mut self) -> Result<Vec<(Change, RawDocumentBuf)>> {
        let (mut told, mut bytes) = (Vec::new(), 0);
        while told.len() < TOLD && bytes < TOLD_BYTES && !self.is_done() {
            if let Some((change, name)) = self.step()? {
                bytes += name.as_bytes().len();
                told.push((change, name));
            }
        }
        Ok(told)
    }

    /// Returns how many there were of each kind, once nothing is left to tell.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn is_done(&self) -> bool {
        self.backup.next.is_none() && self.live.next.is_none()
    }

    /// Compares one `_id`. Returns what became of it, and its name, where that is to be told.
    fn step(&mut self) -> Result<Option<(Change, RawDocumentBuf)>> {
        let order = match (&self.backup.next, &self.live.next) {
            (Some(backup), Some(live)) => backup.id.cmp(&live.id),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let backup = if order.is_le() { self.backup.take()? } else { None };
        let live = if order.is_ge() { self.live.take()? } else { None };
        let change = match (&backup, &live) {
            (Some(backup), Some(live)) if backup.content == live.content => {
                self.counts.same += 1;
                return Ok(None);
            }
            (Some(_), Some(_)) => Change::Changed,
            (Some(_), None) => Change::Removed,
            (None, _) => Change::Added,
        };
        *self.counts.of(change) += 1;
        if self.listed == 0 {
            return Ok(None);
        }
        self.listed -= 1;
        let name = match (backup, live) {
            (Some(backup), _) => self.backup.name(&backup)?,
            (None, Some(live)) => self.live.name(&live)?,
            (None, None) => None,
        };
        Ok(name.map(|name| (change, name)))
    }
}

impl Counts {
    fn of(&mut self, change: Change) -> &mut u64 {
        match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Changed => &mut self.changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bson::rawdoc;
    use proptest::prelude::*;

    use super::*;
    use crate::diff::records::Limits;
    use crate::format::segment::Documents;
    use crate::operations::identity::IdentityKey;
    use crate::random::Random;

    /// Documents by their `_id`, each with what it holds.
    type Model = BTreeMap<i32, i32>;

    fn records(model: &Model, limits: Limits) -> Records {
        let mut records = Records::within(limits, &IdentityKey::random(&Random::seeded(1)), true);
        let documents: Documents = model.iter().map(|(id, n)| rawdoc! { "_id": *id, "n": *n }).collect();
        records.add(documents.as_bytes()).unwrap();
        records
    }

    fn all(mut comparison: Comparison) -> (Counts, BTreeSet<(char, i32)>) {
        let mut told = BTreeSet::new();
        loop {
            let found = comparison.advance().unwrap();
            if found.is_empty() {
                return (comparison.counts(), told);
            }
            for (change, id) in found {
                let sign = format!("{change:?}").chars().next().unwrap();
                assert!(told.insert((sign, id.get_i32("_id").unwrap())), "{id:?} was told twice");
            }
        }
    }

    fn expected(backup: &Model, live: &Model) -> (Counts, BTreeSet<(char, i32)>) {
        let (mut counts, mut told) = (Counts::default(), BTreeSet::new());
        for id in backup.keys().chain(live.keys()).collect::<BTreeSet<_>>() {
            let change = match (backup.get(id), live.get(id)) {
                (Some(one), Some(other)) if one == other => {
                    counts.same += 1;
                    continue;
                }
                (Some(_), Some(_)) => Change::Changed,
                (Some(_), None) => Change::Removed,
                (None, _) => Change::Added,
            };
            *counts.of(change) += 1;
            told.insert((format!("{change:?}").chars().next().unwrap(), *id));
        }
        (counts, told)
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_map_would_find(
            backup in proptest::collection::btree_map(0..60, 0..3, 0..60),
            live in proptest::collection::btree_map(0..60, 0..3, 0..60),
            run in 1_usize..40,
            merged in 1_usize..40,
        ) {
            let limits = Limits { run, merged };
            let side = |model| records(model, limits);
            let comparison = Comparison::new(side(&backup), side(&live), u64::MAX).unwrap();
            prop_assert_eq!(all(comparison), expected(&backup, &live));
        }
    }

    #[test]
    fn a_limit_ends_the_telling_and_not_the_counting() {
        let (backup, live): (Model, Model) = ((0..5000).map(|id| (id, 0)).collect(), Model::new());
        let limits = Limits { run: 700, merged: 100 };
        for (limit, told) in [(0, 0), (7, 7), (3000, 3000), (u64::MAX, 5000)] {
            let comparison = Comparison::new(records(&backup, limits), records(&live, limits), limit).unwrap();
            let (counts, found) = all(comparison);
            assert_eq!((counts.removed, found.len()), (5000, told));
        }
    }
}
