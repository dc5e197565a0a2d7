//! What has happened, line by line, and what that comes to.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::Record;
use crate::format::ClusterTime;
use crate::restore::exchange::Exchange;
use crate::restore::merge::Merge;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::restore) enum Event {
    /// The restore begins.
    Begun { by: String, record: Box<Record> },
    /// Somebody works on it.
    Beat { by: String },
    /// A namespace is about to be created; what had been loaded of it before is gone.
    Creating { item: usize },
    /// It has been.
    Created { item: usize },
    /// A segment's documents are in.
    Segment { item: usize, segment: u64 },
    /// A collection has been loaded and proved.
    Loaded { item: usize },
    /// Everything up to here has been replayed.
    Replayed { to: ClusterTime },
    /// Everything is loaded, proved, replayed and indexed; from now on, the server may delete documents of it. Not where only some
    /// documents are restored: those pass through.
    Limiting,
    /// From now on, what exists may be exchanged for what was loaded.
    Exchanging { exchanges: Vec<Exchange> },
    /// A live collection is about to be made for an item's documents.
    Making { item: usize },
    /// From now on, documents may be written into live collections.
    Merging { merges: Vec<Merge>, left: u64 },
    /// All of it has been exchanged or merged.
    Exchanged,
    /// From now on, what was replaced may be removed: there is no way back.
    Removing,
    /// The restore is over; what it replaced is still there.
    Done,
    /// It is being undone.
    Undoing,
}

/// How far a restore has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stage {
    /// It loads, replays or builds indexes.
    #[default]
    Loading,
    /// It puts what was loaded in the place of what exists.
    Exchanging,
    /// Everything is in its place.
    Exchanged,
    /// What was replaced is being removed.
    Removing,
    /// It is over, and what it replaced is still there.
    Done,
    /// It is being undone.
    Undoing,
}

/// What a restore has done so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    /// How far it has come.
    pub stage: Stage,
    /// What is known of each namespace, by its place in the plan.
    pub(in crate::restore) items: HashMap<usize, ItemPast>,
    /// Up to where the oplog has been replayed.
    pub(in crate::restore) replayed_to: Option<ClusterTime>,
    /// Whether all of it was loaded, proved, replayed and indexed.
    pub(in crate::restore) is_limiting: bool,
    /// What is exchanged, once that has been settled.
    pub(in crate::restore) exchanges: Vec<Exchange>,
    /// The items for which a live collection was made.
    pub(in crate::restore) made: HashSet<usize>,
    /// What is merged, once that has been settled, and how many documents are not written.
    pub(in crate::restore) merges: Vec<Merge>,
    pub(in crate::restore) left: u64,
}

/// What has become of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::restore) struct ItemPast {
    pub(in crate::restore) created: bool,
    pub(in crate::restore) loaded: bool,
    pub(in crate::restore) segments: HashSet<u64>,
}

impl Past {
    /// Whether a namespace has been created for sure.
    pub(in crate::restore) fn has_created(&self, item: usize) -> bool {
        self.items.get(&item).is_some_and(|item| item.created)
    }

    /// Whether a namespace may have been created.
    pub(in crate::restore) fn may_have_created(&self, item: usize) -> bool {
        self.items.contains_key(&item)
    }

    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Begun { .. } | Event::Beat { .. } => {}
            Event::Creating { item } => {
                self.items.insert(item, ItemPast::default());
            }
            Event::Created { item } => self.items.entry(item).or_default().created = true,
            Event::Segment { item, segment } => {
                self.items.entry(item).or_default().segments.insert(segment);
            }
            Event::Loaded { item } => self.items.entry(item).or_default().loaded = true,
            Event::Replayed { to } => self.replayed_to = Some(to),
            Event::Limiting => {
                self.is_limiting = true;
                // Not every line of what was done is there for sure where the primary has changed, but this one is.
                self.items.values_mut().for_each(|item| (item.created, item.loaded) = (true, true));
            }
            Event::Exchanging { exchanges } => (self.stage, self.exchanges) = (Stage::Exchanging, exchanges),
            Event::Making { item } => {
                self.made.insert(item);
            }
            Event::Merging { merges, left } => {
                (self.stage, self.merges, self.left) = (Stage::Exchanging, merges, left);
            }
            Event::Exchanged => self.stage = Stage::Exchanged,
            Event::Removing => self.stage = Stage::Removing,
            Event::Done => self.stage = Stage::Done,
            Event::Undoing => self.stage = Stage::Undoing,
        }
    }
}
