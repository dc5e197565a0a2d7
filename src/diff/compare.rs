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
