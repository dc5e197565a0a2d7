//! How far a long operation has come, in all and by part. Operations count; only the command line shows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What the oplog is called among the parts.
pub const OPLOG: &str = "oplog";

/// Counters that a running operation moves; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    in_all: Counters,
    /// By their numbers; those that nobody holds any more are over. There may be tens of thousands.
    parts: Mutex<BTreeMap<u64, Weak<Part>>>,
    /// How many parts there have been.
    parts_made: AtomicU64,
}

#[derive(Debug, Default)]
struct Counters {
    expected_bytes: AtomicU64,
    bytes: AtomicU64,
    documents: AtomicU64,
    stored_bytes: AtomicU64,
}

impl Counters {
    fn add(&self, documents: u64, bytes: u64, stored_bytes: u64) {
        self.documents.fetch_add(documents, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.stored_bytes.fetch_add(stored_bytes, Ordering::Relaxed);
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            expected_bytes: self.expected_bytes.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            documents: self.documents.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
        }
    }
}

/// What counters show at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Bytes of documents to go through in all, as far as known. Whoever goes through them twice counts them twice.
    pub expected_bytes: u64,
    /// Bytes of documents gone through.
    pub bytes: u64,
    /// Documents gone through.
    pub documents: u64,
    /// Stored bytes written or read.
    pub stored_bytes: u64,
}

/// What is being done with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its documents are read.
    Reading,
    /// They would be, if the server had not so much to do for others.
    Yielding,
    /// Its documents are written into the target.
    Loading,
    /// What was written is read back.
    Checking,
    /// Its changes are applied.
    Replaying,
    /// Its indexes are built, which moves no bytes that can be counted.
    Indexing,
}

/// A collection, or something else that has a progress of its own; clones share it, and it is over when none is left.
#[derive(Debug, Clone)]
pub struct PartProgress(Arc<Part>);

#[derive(Debug)]
struct Part {
    number: u64,
    name: String,
    /// None as long as nothing is done with it.
    step: Mutex<Option<Step>>,
    counters: Counters,
    of: Progress,
}

/// What a part under way shows at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSnapshot {
    /// The name, such as `db.collection`.
    pub name: String,
    /// What is being done with it.
    pub step: Step,
    /// Its counters.
    pub counted: Snapshot,
}

impl Progress {
    /// Sets how many bytes of documents there are to go through in all.
    pub fn expect(&self, bytes: u64) {
        self.0.in_all.expected_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Adds to how many there are to go through.
    pub fn expect_more(&self, bytes: u64) {
        self.0.in_all.expected_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts documents that are done.
    pub fn add(&self, documents: u64, bytes: u64, stored_bytes: u64) {
        self.0.in_all.add(documents, bytes, stored_bytes);
    }

    /// Begins to count a part, of which `expected_bytes` are to be gone through.
    #[must_use]
    pub fn part(&self, name: String, expected_bytes: u64) -> PartProgress {
        let counters = Counters { expected_bytes: AtomicU64::new(expected_bytes), ..Counters::default() };
        let number = self.0.parts_made.fetch_add(1, Ordering::Relaxed);
        let part = Arc::new(Part { number, name, step: Mutex::default(), counters, of: self.clone() });
        self.parts().insert(number, Arc::downgrade(&part));
        PartProgress(part)
    }

    /// Returns what the counters show now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.in_all.snapshot()
    }

    /// Returns the parts with which something is being done, in the order in which they were made.
    #[must_use]
    pub fn under_way(&self) -> Vec<PartSnapshot> {
        let alive: Vec<_> = self.parts().values().filter_map(Weak::upgrade).collect();
        alive.iter().filter_map(|part| part.snapshot()).collect()
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Weak<Part>>> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartProgress {
    /// Says what is being done with it from now on.
    pub fn step(&self, step: Step) {
        *self.0.step.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
    }

    /// Counts documents that are done, here and in all.
    pub fn add(&self, documents: u64, bytes: u64, stored_bytes: u64) {
        self.0.counters.add(documents, bytes, stored_bytes);
        self.0.of.add(documents, bytes, stored_bytes);
    }
}

impl Part {
    fn snapshot(&self) -> Option<PartSnapshot> {
        let step = (*self.step.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(PartSnapshot { name: self.name.clone(), step, counted: self.counters.snapshot() })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.of.parts().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_for_themselves_and_for_the_whole_until_nobody_holds_them() {
        let progress = Progress::default();
        progress.expect(300);
        let (first, second) = (progress.part("shop.orders".into(), 200), progress.part("shop.users".into(), 100));
        assert!(progress.under_way().is_empty(), "nothing has begun");

        first.step(Step::Loading);
        first.clone().add(2, 120, 30);
        second.add(1, 100, 20);
        let counted = Snapshot { expected_bytes: 200, bytes: 120, documents: 2, stored_bytes: 30 };
        assert_eq!(progress.under_way(), [PartSnapshot { name: "shop.orders".into(), step: Step::Loading, counted }]);
        assert_eq!(progress.snapshot(), Snapshot { expected_bytes: 300, bytes: 220, documents: 3, stored_bytes: 50 });

        drop(first);
        assert!(progress.under_way().is_empty(), "it is over");
        drop(second);
        assert!(progress.parts().is_empty(), "nothing is kept of what is over");
        assert_eq!(progress.snapshot().documents, 3);
    }
}
