//! How far a long operation has come. Operations count; only the command line shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that a running operation moves; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    expected_bytes: AtomicU64,
    bytes: AtomicU64,
    documents: AtomicU64,
    stored_bytes: AtomicU64,
}

/// What the counters show at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Bytes of documents that there are in all, as far as known.
    pub expected_bytes: u64,
    /// Bytes of documents done.
    pub bytes: u64,
    /// Documents done.
    pub documents: u64,
    /// Stored bytes written or read.
    pub stored_bytes: u64,
}

impl Progress {
    /// Sets how many bytes of documents there are in all.
    pub fn expect(&self, bytes: u64) {
        self.0.expected_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts documents that are done.
    pub fn add(&self, documents: u64, bytes: u64, stored_bytes: u64) {
        self.0.documents.fetch_add(documents, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.stored_bytes.fetch_add(stored_bytes, Ordering::Relaxed);
    }

    /// Returns what the counters show now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            expected_bytes: self.0.expected_bytes.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
            documents: self.0.documents.load(Ordering::Relaxed),
            stored_bytes: self.0.stored_bytes.load(Ordering::Relaxed),
        }
    }
}
