//! The journal: how far a restore has come, written down in its target.
//!
//! Each restore has one collection, [`DATABASE`]`.<id>`, which only grows: so the built-in role `restore` may write it, and a
//! crash leaves it whole. It exists from before the restore touches anything until nothing of it is left to do or to undo.
//! Whoever comes later finds in it what was begun ([`list`]), goes on ([`Journal::reopen`]) or undoes it. That data has been
//! loaded is written only after the majority has it, so that what the journal says is never ahead of the truth.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mongodb::Collection;
use mongodb::options::WriteConcern;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::exchange::Exchange;
use super::merge::Merge;
use super::only::{Mode, Only};
use super::plan::{RestorePlan, RestoreRequest};
use crate::error::{Error, Kind, Result};
use crate::format::catalog::CollectionKind;
use crate::format::{BackupId, ClusterTime};
use crate::mongo::error::{Attempt, RESTORE_ROLES, explain, is_duplicate};
use crate::mongo::{Deployment, load, namespaces, retrying};
use crate::namespace::JOURNALS as DATABASE;
use crate::owner::Owner;
use crate::random::Random;

/// How often a restore says that it is at work, and how long one has been silent that is no more.
const BEAT: Duration = Duration::from_secs(10);
const SILENT: Duration = Duration::from_secs(90);

/// A restore's id: when it began, and four digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestoreId(String);

impl RestoreId {
    /// Makes a new one.
    #[must_use]
    pub fn generate(now: Timestamp, random: &Random) -> Self {
        Self(format!("{}-{:04x}", now.strftime("%Y%m%dT%H%M%SZ"), random.next_u64() & 0xffff))
    }

    /// Returns when it began.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        let date = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", self.date()).ok()?;
        TimeZone::UTC.to_timestamp(date.to_datetime().ok()?).ok()
    }

    /// Returns when it began, as names of collections have it.
    #[must_use]
    pub fn date(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }
}

impl FromStr for RestoreId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_id = text.split_once('-').is_some_and(|(date, digits)| {
            date.len() == 16
                && digits.len() == 4
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
        if is_id {
            return Ok(Self(text.into()));
        }
        Err(Error::new(Kind::Usage, format!("'{text}' is no restore's id"))
            .with_hint("an id looks like 20261123T101500Z-7f3a; 'regrow restore --unfinished' lists what there is"))
    }
}

impl fmt::Display for RestoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a restore set out to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The backup.
    pub backup: BackupId,
    /// The moment, where one was asked for.
    pub moment: Option<ClusterTime>,
    /// The chosen namespaces, as patterns.
    pub patterns: Vec<String>,
    /// The new names, as maps.
    pub maps: Vec<String>,
    /// Whether users and roles are restored.
    pub accounts: bool,
    /// Whether it takes the place of what exists.
    pub replace: bool,
    /// Whether what is replaced stays, under another name.
    pub keep_old: bool,
    /// Which documents alone are restored, as extended JSON.
    #[serde(default)]
    pub filter: Option<String>,
    /// What becomes of those that are there already.
    #[serde(default)]
    pub mode: Mode,
    /// What is made, in the plan's order.
    pub items: Vec<ItemRecord>,
}

impl Record {
    /// Returns what a plan sets out to do: what was asked for, at the moment if one was.
    #[must_use]
    pub fn of(plan: &RestorePlan, moment: Option<ClusterTime>, request: &RestoreRequest) -> Self {
        let RestoreRequest { patterns, maps, accounts, replace, keep_old, only } = request;
        Self {
            backup: plan.manifest.id.clone(),
            moment,
            patterns: patterns.iter().map(ToString::to_string).collect(),
            maps: maps.iter().map(ToString::to_string).collect(),
            accounts: *accounts,
            replace: *replace,
            keep_old: *keep_old,
            filter: only.as_ref().map(|only| only.text().to_owned()),
            mode: only.as_ref().map(Only::mode).unwrap_or_default(),
            items: plan.item_records(),
        }
    }

    /// Returns what was asked for.
    ///
    /// # Errors
    /// When a pattern, a map or the filter makes no sense to this version.
    pub fn request(&self) -> Result<RestoreRequest> {
        Ok(RestoreRequest {
            patterns: self.patterns.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            maps: self.maps.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            accounts: self.accounts,
            replace: self.replace,
            keep_old: self.keep_old,
            only: self.only()?,
        })
    }

    /// Returns which documents alone are restored.
    ///
    /// # Errors
    /// When the filter makes no sense to this version.
    pub fn only(&self) -> Result<Option<Only>> {
        self.filter.as_ref().map(|filter| Only::parse(filter, self.mode)).transpose()
    }
}

/// One namespace that a restore makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// The database.
    pub db: String,
    /// The name in the end.
    pub name: String,
    /// The name that it is loaded under, where that is another one.
    pub staged: Option<String>,
    /// What it is.
    pub kind: CollectionKind,
}

impl ItemRecord {
    /// Returns the name that it is loaded under.
    #[must_use]
    pub fn loading_name(&self) -> &str {
        self.staged.as_deref().unwrap_or(&self.name)
    }
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
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

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    #[serde(rename = "_id")]
    id: i64,
    /// By the server's clock, which puts its time in the place of an empty timestamp.
    at: bson::Timestamp,
    event: Event,
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
    pub(super) items: HashMap<usize, ItemPast>,
    /// Up to where the oplog has been replayed.
    pub(super) replayed_to: Option<ClusterTime>,
    /// What is exchanged, once that has been settled.
    pub(super) exchanges: Vec<Exchange>,
    /// The items for which a live collection was made.
    pub(super) made: HashSet<usize>,
    /// What is merged, once that has been settled, and how many documents are not written.
    pub(super) merges: Vec<Merge>,
    pub(super) left: u64,
}

/// What has become of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ItemPast {
    pub(super) created: bool,
    pub(super) loaded: bool,
    pub(super) segments: HashSet<u64>,
}

impl Past {
    /// Whether a namespace has been created for sure.
    pub(super) fn has_created(&self, item: usize) -> bool {
        self.items.get(&item).is_some_and(|item| item.created)
    }

    /// Whether a namespace may have been created.
    pub(super) fn may_have_created(&self, item: usize) -> bool {
        self.items.contains_key(&item)
    }

    fn take(&mut self, event: Event) {
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

/// A restore that a target knows of.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Its id.
    pub id: RestoreId,
    /// What it set out to do.
    pub record: Record,
    /// What it has done.
    pub past: Past,
    /// Whether somebody works on it now.
    pub is_live: bool,
}

impl Known {
    /// Returns what it has replaced, or may have.
    #[must_use]
    pub fn replaced(&self) -> Vec<String> {
        let exchanged = self.past.exchanges.iter().map(Exchange::namespace);
        exchanged.chain(self.past.merges.iter().map(Merge::namespace)).collect()
    }

    /// Returns what it has replaced and kept, under the names that it bears now.
    #[must_use]
    pub fn kept(&self) -> Vec<String> {
        let exchanged = self.past.exchanges.iter().filter_map(Exchange::kept_namespace);
        exchanged.chain(self.past.merges.iter().map(Merge::old_namespace)).collect()
    }

    /// Whether something is left to do.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.past.stage != Stage::Done
    }
}

/// The journal of a restore under way; clones share it. It says that the restore is at work for as long as one of them lives.
#[derive(Debug, Clone)]
pub struct Journal {
    id: RestoreId,
    lines: Lines,
    beating: Arc<Beating>,
}

#[derive(Debug)]
struct Beating {
    task: AbortHandle,
    /// Held while the beat is being written, and for good once the journal is to go.
    pen: Arc<Mutex<()>>,
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Journal {
    /// Writes down what a restore is about to do.
    ///
    /// # Errors
    /// When the target does not answer or a privilege is missing.
    pub async fn begin(target: &Deployment, id: RestoreId, record: Record, random: &Random) -> Result<Self> {
        let lines = Lines { collection: lines(target, &id), random: random.clone() };
        let by = this_process();
        lines.add(Event::Begun { by: by.clone(), record: Box::new(record) }, WriteConcern::majority()).await?;
        Ok(Self::keep(lines, id, by))
    }

    /// Goes on with the journal of a restore that nobody works on any more.
    ///
    /// # Errors
    /// When the target does not answer or a privilege is missing.
    pub async fn reopen(target: &Deployment, id: RestoreId, random: &Random) -> Result<Self> {
        let (lines, by) = (Lines { collection: lines(target, &id), random: random.clone() }, this_process());
        lines.add(Event::Beat { by: by.clone() }, WriteConcern::majority()).await?;
        Ok(Self::keep(lines, id, by))
    }

    /// Says that the restore is at work, again and again.
    fn keep(lines: Lines, id: RestoreId, by: String) -> Self {
        let (beats, pen) = (lines.clone(), Arc::new(Mutex::new(())));
        let held = Arc::clone(&pen);
        let beating = tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                let _held = held.lock().await;
                if let Err(error) = beats.add(Event::Beat { by: by.clone() }, WriteConcern::nodes(1)).await {
                    tracing::warn!(%error, "the restore's journal could not be kept");
                }
            }
        });
        Self { id, lines, beating: Arc::new(Beating { task: beating.abort_handle(), pen }) }
    }

    /// Returns the restore's id.
    #[must_use]
    pub fn id(&self) -> &RestoreId {
        &self.id
    }

    /// Writes down what has happened, or is about to. Without it, the restore could not go on after a crash.
    pub(super) async fn note(&self, event: Event) -> Result<()> {
        self.lines.add(event, WriteConcern::majority()).await
    }

    /// Writes down progress. If an election loses it, the work is done once more.
    pub(super) async fn note_progress(&self, event: Event) -> Result<()> {
        self.lines.add(event, WriteConcern::nodes(1)).await
    }

    /// Returns what a person can do about what is left.
    pub(super) fn ways_on(&self) -> String {
        let id = &self.id;
        format!("go on with 'regrow restore --resume {id}', or take it back with 'regrow restore --undo {id}'")
    }

    /// Removes the journal: nothing is left to do or to undo.
    pub(super) async fn end(&self) -> Result<()> {
        // A beat that came later would bring the collection back.
        let _no_beat = self.beating.pen.lock().await;
        self.beating.task.abort();
        let lines = &self.lines.collection;
        load::drop_collection(&lines.client().database(DATABASE), lines.name()).await
    }
}

fn this_process() -> String {
    Owner::this_process().map_or_else(|| "unknown".into(), |owner| owner.as_word())
}

fn lines(target: &Deployment, id: &RestoreId) -> Collection<Line> {
    target.client().database(DATABASE).collection(&id.0)
}

/// Where lines are added.
#[derive(Debug, Clone)]
struct Lines {
    collection: Collection<Line>,
    random: Random,
}

impl Lines {
    async fn add(&self, event: Event, concern: WriteConcern) -> Result<()> {
        let doing = "write down how far the restore has come";
        let attempt = Attempt { doing, action: "insert", roles: RESTORE_ROLES };
        let id = self.random.next_u64().cast_signed();
        let line = Line { id, at: bson::Timestamp { time: 0, increment: 0 }, event };
        let insert = || async {
            match self.collection.insert_one(&line).write_concern(concern.clone()).await {
                // The answer to the first attempt was lost.
                Err(error) if is_duplicate(&error) => Ok(()),
                outcome => outcome.map(drop).map_err(|error| explain(&error, attempt)),
            }
        };
        retrying(insert).await
    }
}

/// Returns the restores that a target knows of, the oldest first.
///
/// # Errors
/// When the target does not answer or a privilege is missing.
pub async fn list(target: &Deployment) -> Result<Vec<Known>> {
    let database = target.client().database(DATABASE);
    let mut ids: Vec<RestoreId> = namespaces::collections_for(&database, RESTORE_ROLES)
        .await?
        .into_iter()
        .filter_map(|namespace| namespace.name.parse().ok())
        .collect();
    ids.sort();
    let mut known = Vec::new();
    for id in ids {
        known.extend(read(target, id).await?);
    }
    Ok(known)
}

/// Reads one journal; none where it has not even begun, or is over by now.
async fn read(target: &Deployment, id: RestoreId) -> Result<Option<Known>> {
    let attempt = Attempt { doing: "read how far a restore has come", action: "find", roles: RESTORE_ROLES };
    let explained = |error: mongodb::error::Error| explain(&error, attempt);
    let lines = lines(target, &id);
    let mut found = lines.find(doc! {}).sort(doc! { "at": 1 }).await.map_err(explained)?;
    let (mut record, mut past, mut by) = (None, Past::default(), None);
    while let Some(line) = found.try_next().await.map_err(explained)? {
        match line.event {
            Event::Begun { by: owner, record: begun } => (by, record) = (Some(owner), Some(*begun)),
            Event::Beat { by: owner } => by = Some(owner),
            event => past.take(event),
        }
    }
    let is_gone = by.and_then(|by| Owner::parse(&by)).is_some_and(|owner| owner.is_gone());
    let is_over = is_gone || past.stage == Stage::Done || silence(&lines).await.map_err(explained)? > SILENT;
    Ok(record.map(|record| Known { id, record, past, is_live: !is_over }))
}

/// Returns how long ago the last line was written, by the server's clock.
async fn silence(lines: &Collection<Line>) -> Result<Duration, mongodb::error::Error> {
    let age = doc! { "$project": { "milliseconds": { "$subtract": ["$$NOW", { "$toDate": "$at" }] } } };
    let mut last = lines.aggregate([doc! { "$sort": { "at": -1 } }, doc! { "$limit": 1 }, age]).await?;
    let last: Option<Document> = last.try_next().await?;
    let milliseconds = last.and_then(|last| last.get("milliseconds").and_then(Bson::as_i64));
    Ok(Duration::from_millis(milliseconds.and_then(|age| u64::try_from(age).ok()).unwrap_or_default()))
}
