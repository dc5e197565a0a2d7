//! Following the oplog from a backup on: what becomes of its collections, and whether every entry is understood.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bson::RawDocument;

use super::changes::{Changes, Fate, Shown};
use super::collections::Collections;
use super::entry::{Operation, OperationKind};
use super::{CollectionUuid, VIEWS, is_restored};
use crate::error::{Error, Result};
use crate::format::ClusterTime;

/// What comes of a backup's collections, entry by entry.
pub struct Course {
    changes: Changes,
    shown: Shown,
    /// The collections whose documents are changed, and a name that each had.
    touched: Mutex<HashMap<CollectionUuid, String>>,
    outlook: Outlook,
}

/// What has come of them.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// The collections and views at the end.
    pub collections: Collections,
    /// The last entry; where there was none, the moment that was begun with.
    pub reached: ClusterTime,
    /// How many entries there were behind that.
    pub entries: u64,
    /// How many changes of users and roles are among them.
    pub account_changes: u64,
}

impl Course {
    /// Begins with the collections of a backup.
    #[must_use]
    pub fn new(collections: Collections, shown: Shown) -> Self {
        let outlook = Outlook { collections, reached: shown.moment(), entries: 0, account_changes: 0 };
        Self { changes: Changes::new(shown), shown, touched: Mutex::default(), outlook }
    }

    /// Takes the next entry into account.
    ///
    /// # Errors
    /// When it is of a kind that is not known, or does not fit what was before, with its time.
    pub fn follow(&mut self, entry: &RawDocument, time: ClusterTime) -> Result<()> {
        self.follow_entry(entry, time).map_err(|error| error.context(format!("at {time}")))
    }

    fn follow_entry(&mut self, entry: &RawDocument, time: ClusterTime) -> Result<()> {
        let (is_new, touched) = (time > self.shown.moment(), &self.touched);
        let mut counted =
            self.changes.take(entry, time, move |operation| fate(operation, is_new.then_some(touched)))?;
        if counted.lacks_beginning {
            return Err(Error::failed(
                "the beginning of the transaction that ends here is not in the oplog that was read",
            ));
        }
        while let Some(operation) = counted.next_operation()? {
            if is_account(&operation) {
                self.outlook.account_changes += 1;
            } else {
                self.outlook.collections.follow(&operation)?;
            }
        }
        if is_new {
            self.outlook.entries += 1;
            self.outlook.reached = time;
        }
        Ok(())
    }

    /// Makes sure that every document that was changed has a collection, and returns what has come of it all.
    ///
    /// # Errors
    /// When one has none.
    pub fn finish(mut self) -> Result<Outlook> {
        let touched = self.touched.into_inner().unwrap_or_else(PoisonError::into_inner);
        let collections = &mut self.outlook.collections;
        if let Some((_, name)) = touched.iter().find(|(uuid, name)| collections.lacks(uuid, name)) {
            return Err(Error::failed(format!(
                "the oplog changes documents of {name}, which neither the backup holds nor the oplog creates"
            ))
            .with_hint("another backup, taken later, does not need that part of the oplog"));
        }
        collections.forget_what_was_not_chosen();
        Ok(self.outlook)
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
