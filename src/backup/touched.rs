//! Which documents were touched since a moment: what the oplog names, collection by collection.
//!
//! Too much does no harm, because what is named is only read again: operations of transactions that never commit count as
//! well, and so do entries from before the moment that a transaction may have begun in. Where single documents cannot be
//! told, the collection counts as a whole.

use std::collections::{HashMap, HashSet};

use bson::spec::ElementType;
use bson::{RawBsonRef, RawDocument};

use crate::error::{Error, Result};
use crate::format::segment::{Documents, Walk};
use crate::mongo::oplog;
use crate::namespace::is_never_backed_up;
use crate::operations::identity::{Element, Hash, IdentityKey};
use crate::operations::{CollectionUuid, Group, Meaning, Operation, OperationKind};
use crate::random::Random;
use crate::units::MIB;

/// The most `_id`s that an increment names: about 40 bytes each are held in memory for telling them apart.
pub(super) const MOST_TOUCHED: u64 = 1_000_000;

/// The most bytes that they have.
const MOST_BYTES: usize = 64 * MIB;

/// What was touched of one collection.
#[derive(Debug)]
pub(super) enum OfCollection {
    /// It was created, or nobody knows which documents it were.
    Whole,
    /// These documents.
    Ids(TouchedIds),
}

/// The touched `_id`s of one collection, each once.
#[derive(Debug)]
pub struct TouchedIds {
    key: IdentityKey,
    known: HashSet<Hash>,
    ids: Documents,
}

impl TouchedIds {
    fn new(key: IdentityKey) -> Self {
        Self { key, known: HashSet::new(), ids: Documents::default() }
    }

    /// Returns how many there are.
    pub fn count(&self) -> u64 {
        self.ids.count()
    }

    /// Returns them, one after the other: documents with no other field.
    pub fn as_bytes(&self) -> &[u8] {
        self.ids.as_bytes()
    }

    /// Returns the same in about the order in which an index holds them: neighbours lie on one page.
    pub(super) fn in_order(self) -> Self {
        let mut ids: Vec<&RawDocument> = Walk::new(self.ids.as_bytes()).flatten().collect();
        ids.sort_by_key(|id| place(id));
        let mut sorted = Documents::with_capacity(self.ids.as_bytes().len());
        for id in ids {
            sorted.push(id);
        }
        Self { ids: sorted, ..self }
    }

    /// Returns what tells a document from others.
    pub fn identity(&self, document: &RawDocument) -> Hash {
        self.key.hash(Element::id_of(document))
    }

    /// Adds the `_id` of a document, if it is one that can be asked for; returns how many bytes that takes.
    fn add(&mut self, document: &RawDocument) -> Option<usize> {
        let id = Element::id_of(document).filter(Element::can_be_asked_for)?;
        if !self.known.insert(self.key.hash(Some(id))) {
            return Some(0);
        }
        let alone = id.alone()?;
        self.ids.push(&alone);
        Some(alone.as_bytes().len())
    }
}

/// Returns what sorts documents of nothing but an `_id` about as an index does: whole numbers, or else bytes.
fn place(id: &RawDocument) -> (u8, i64, &[u8]) {
    /// What stands before the value: the length, the type, the name with its end.
    const BEFORE: usize = 4 + 1 + 4;
    const OF_STRING: usize = 4;
    match id.get("_id") {
        Ok(Some(RawBsonRef::Int32(number))) => (ElementType::Int32 as u8, number.into(), &[]),
        Ok(Some(RawBsonRef::Int64(number))) => (ElementType::Int32 as u8, number, &[]),
        Ok(Some(value)) => {
            let begin = if value.as_str().is_some() { BEFORE + OF_STRING } else { BEFORE };
            (value.element_type() as u8, 0, id.as_bytes().get(begin..).unwrap_or_default())
        }
        _ => (0, 0, &[]),
    }
}

/// What was touched of everything.
#[derive(Debug)]
pub(super) struct Touched {
    key: IdentityKey,
    collections: HashMap<CollectionUuid, OfCollection>,
    count: u64,
    bytes: usize,
}

impl Touched {
    /// Begins with nothing.
    pub fn new(random: &Random) -> Self {
        Self { key: IdentityKey::random(random), collections: HashMap::new(), count: 0, bytes: 0 }
    }

    /// Returns what was touched of a collection, and forgets it; none where nothing was.
    pub fn take(&mut self, uuid: &CollectionUuid) -> Option<OfCollection> {
        self.collections.remove(uuid)
    }

    /// Returns the empty set of `_id`s.
    pub fn none(&self) -> TouchedIds {
        TouchedIds::new(self.key.clone())
    }

    /// Takes the next entry into account.
    ///
    /// # Errors
    /// When it is of a kind that is not known, changes the feature compatibility version, or names too many documents.
    pub fn follow(&mut self, entry: &RawDocument) -> Result<()> {
        if oplog::changes_compatibility(entry) {
            return Err(Error::failed("the feature compatibility version was changed"));
        }
        match Meaning::of(entry)? {
            Meaning::Operation(operation) => self.operation(&operation)?,
            Meaning::Group(group) | Meaning::Transaction { operations: group, .. } => self.group(group)?,
            Meaning::Nothing | Meaning::Commit { .. } | Meaning::Abort(_) => {}
        }
        if self.count > MOST_TOUCHED || self.bytes > MOST_BYTES {
            return Err(Error::failed(format!("more than {MOST_TOUCHED} documents were changed, or as good as that")));
        }
        Ok(())
    }

    fn group(&mut self, group: Group<'_>) -> Result<()> {
        group.operations().try_for_each(|operation| self.operation(&operation?.1))
    }

    fn operation(&mut self, operation: &Operation<'_>) -> Result<()> {
        if is_never_backed_up(operation.names().0) {
            return Ok(());
        }
        let holder = match operation.kind {
            OperationKind::Insert | OperationKind::Delete => Some(operation.o),
            OperationKind::Update => operation.o2,
            OperationKind::Command => return self.command(operation),
        };
        let uuid = operation.collection.ok_or_else(|| {
            Error::failed("the oplog holds a change of a document that does not say of which collection")
        })?;
        let key = &self.key;
        let touched = self.collections.entry(uuid).or_insert_with(|| OfCollection::Ids(TouchedIds::new(key.clone())));
        let OfCollection::Ids(ids) = touched else { return Ok(()) };
        match holder.and_then(|holder| ids.add(holder)) {
            Some(0) => {}
            Some(bytes) => {
                self.count += 1;
                self.bytes += bytes;
            }
            None => self.whole(uuid),
        }
        Ok(())
    }

    fn command(&mut self, operation: &Operation<'_>) -> Result<()> {
        let command = operation.command()?;
        match (command, operation.collection) {
            ("applyOps", _) => {
                let inner = Group::of(operation.o)?;
                return self.group(inner);
            }
            // Whatever it was made of is in it by then, or named behind it.
            ("create" | "emptycapped", Some(uuid)) => self.whole(uuid),
            ("drop", Some(uuid)) => self.forget(uuid),
            // These change what a listing shows, or nothing.
            (
                "drop"
                | "dropDatabase"
                | "renameCollection"
                | "collMod"
                | "createIndexes"
                | "startIndexBuild"
                | "commitIndexBuild"
                | "abortIndexBuild"
                | "dropIndexes"
                | "deleteIndexes"
                | "setMultikeyMetadata"
                | "dropIdent"
                | "dbCheck",
                _,
            ) => {}
            _ => {
                return Err(Error::failed(format!(
                    "the oplog holds the command '{command}', whose documents it does not name"
                )));
            }
        }
        Ok(())
    }

    fn whole(&mut self, uuid: CollectionUuid) {
        self.forget(uuid);
        self.collections.insert(uuid, OfCollection::Whole);
    }

    /// Forgets what is not needed, so that it does not count.
    fn forget(&mut self, uuid: CollectionUuid) {
        if let Some(OfCollection::Ids(ids)) = self.collections.remove(&uuid) {
            self.count -= ids.count();
            self.bytes -= ids.as_bytes().len();
        }
    }
}

#[cfg(test)]
mod tests;
