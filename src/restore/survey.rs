//! Looking ahead: what the oplog makes of a backup's collections, found out before anything is touched.
//!
//! Every slice is read and opened here once. So what is missing, damaged or not understood stops the restore while the
//! target is as it was, and the plan knows each namespace as it will be.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures_util::TryStreamExt;

use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::catalog::Catalog;
use crate::format::manifest::Manifest;
use crate::format::oplog::SliceRecord;
use crate::format::segment::Walk;
use crate::operations::{
    Changes, CollectionUuid, Collections, Fate, Operation, OperationKind, VIEWS, entry_time, is_restored,
};
use crate::progress::Progress;
use crate::repository::SliceReader;

/// A stretch of the oplog that leads on from a backup to a moment, and what comes of it.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// The moment that was asked for; everything up to it is included.
    pub to: ClusterTime,
    /// The last operation that is included: nothing was written between it and that moment.
    pub reached: ClusterTime,
    /// How many entries lie between the backup and that moment.
    pub entries: u64,
    /// How many changes of users and roles are among them.
    pub account_changes: u64,
    /// The slices to read.
    pub(super) slices: SliceReader,
    /// What lies before it is in the backup.
    pub(super) behind: ClusterTime,
    /// The collections and views at that moment.
    pub(super) collections: Collections,
}

impl Recovery {
    /// Reads the slices and follows what becomes of the collections.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged), naming the slice, when one is missing or not what was written;
    /// when an entry is of a kind that is not known, with its time.
    pub async fn survey(
        slices: SliceReader,
        manifest: &Manifest,
        catalog: &Catalog,
        to: ClusterTime,
        progress: &Progress,
    ) -> Result<Self> {
        let behind = manifest.cluster_time.ok_or_else(|| Error::failed("the backup shows no single moment"))?;
        let collections = Collections::of_backup(catalog.collections.clone())?;
        let mut survey = Survey {
            changes: Changes::new(behind),
            touched: Mutex::default(),
            found: Self { to, reached: behind, entries: 0, account_changes: 0, slices, behind, collections },
        };
        let slices = survey.found.slices.clone();
        progress.expect(survey.found.bytes());
        let mut read = std::pin::pin!(slices.read());
        let mut end = None;
        while let Some((record, entries)) = read.try_next().await? {
            check_contiguous(&record, &entries, end)?;
            end = Some(record.end);
            survey.follow(&entries)?;
            progress.add(record.entries, record.bytes_raw, record.object.size);
        }
        survey.finish()
    }

    /// Returns how many bytes of entries will be read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.slices.records().iter().map(|record| record.bytes_raw).sum()
    }

    /// Returns how many slices they are.
    #[must_use]
    pub fn slices(&self) -> usize {
        self.slices.records().len()
    }
}

struct Survey {
    changes: Changes,
    /// The collections whose documents are changed, and a name that each had.
    touched: Mutex<HashMap<CollectionUuid, String>>,
    found: Recovery,
}

impl Survey {
    fn follow(&mut self, entries: &[u8]) -> Result<()> {
        for entry in Walk::new(entries) {
            let entry = entry?;
            let time = entry_time(entry)?;
            if time > self.found.to {
                return Ok(());
            }
            self.follow_entry(entry, time).map_err(|error| {
                let last_good = format!("a restore to the moment before it is possible: --before {time}");
                error.context(format!("at {time}")).with_hint(last_good)
            })?;
        }
        Ok(())
    }

    fn follow_entry(&mut self, entry: &bson::RawDocument, time: ClusterTime) -> Result<()> {
        let (is_new, touched) = (time > self.found.behind, &self.touched);
        let mut counted =
            self.changes.take(entry, time, move |operation| fate(operation, is_new.then_some(touched)))?;
        if counted.lacks_beginning {
            return Err(Error::failed("the beginning of the transaction that ends here is not in the captured oplog"));
        }
        while let Some(operation) = counted.next_operation()? {
            if is_account(&operation) {
                self.found.account_changes += 1;
            } else {
                self.found.collections.follow(&operation)?;
            }
        }
        if is_new {
            self.found.entries += 1;
            self.found.reached = time;
        }
        Ok(())
    }

    /// Makes sure that every document that is changed has a collection.
    fn finish(self) -> Result<Recovery> {
        let touched = self.touched.into_inner().unwrap_or_else(PoisonError::into_inner);
        let collections = &self.found.collections;
        let unknown = touched.iter().find(|(uuid, _)| !collections.has(uuid) && !collections.was_dropped(uuid));
        match unknown {
            None => Ok(self.found),
            Some((_, name)) => Err(Error::failed(format!(
                "the oplog changes documents of {name}, which neither the backup holds nor the oplog creates"
            ))
            .with_hint("restore from another backup")),
        }
    }
}

/// Only what changes collections, views and accounts is wanted; the documents come later.
fn fate(operation: &Operation<'_>, touched: Option<&Mutex<HashMap<CollectionUuid, String>>>) -> Result<Fate> {
    let (db, name) = operation.names();
    if operation.kind == OperationKind::Command || name == VIEWS || is_account(operation) {
        return Ok(Fate::Wanted);
    }
    if is_restored(db, name)
        && let Some(touched) = touched
    {
        let uuid = operation.collection.ok_or_else(|| {
            Error::failed(format!("a change of a document of {} does not say which collection", operation.namespace))
        })?;
        let mut touched = touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.entry(uuid).or_insert_with(|| operation.namespace.to_owned());
    }
    Ok(Fate::Gone)
}

fn is_account(operation: &Operation<'_>) -> bool {
    matches!(operation.namespace, "admin.system.users" | "admin.system.roles")
}

/// Makes sure that a slice holds what its record says, and follows the one before.
fn check_contiguous(record: &SliceRecord, entries: &[u8], end: Option<ClusterTime>) -> Result<()> {
    let wrong = |reason: &str| Error::damaged(format!("{} {reason}", record.object.key));
    if end.is_some_and(|end| end != record.begin) {
        return Err(wrong("does not follow the slice before it"));
    }
    let (mut last, mut count) = (record.begin, 0);
    for entry in Walk::new(entries) {
        let time = entry_time(entry?)?;
        if time <= last {
            return Err(wrong("holds entries out of order"));
        }
        (last, count) = (time, count + 1);
    }
    if (last, count) == (record.end, record.entries) {
        return Ok(());
    }
    Err(wrong("does not hold the entries that its record names"))
}
