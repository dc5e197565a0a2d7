//! The journal: how far a restore has come, written down in its target.
//!
//! Each restore has one collection, [`DATABASE`]`.<id>`, which only grows: so the built-in role `restore` may write it, and a
//! crash leaves it whole. It exists from before the restore touches anything until nothing of it is left to do or to undo.
//! Whoever comes later finds in it what was begun ([`list`]), goes on ([`Journal::reopen`]) or undoes it. That data has been
//! loaded is written only after the majority has it, so that what the journal says is never ahead of the truth.

mod id;
mod past;
mod record;

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::error::ErrorKind;
use mongodb::options::WriteConcern;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

pub use id::RestoreId;
pub(super) use past::{Event, ItemPast};
pub use past::{Past, Stage};
pub use record::{ItemRecord, Record};

use super::exchange::Exchange;
use super::merge::Merge;
use crate::error::{Error, Result};
use crate::mongo::answer::soon;
use crate::mongo::error::{Attempt, RESTORE_ROLES, explain, is_changed_meanwhile, is_duplicate};
use crate::mongo::{Deployment, load, namespaces, retrying};
use crate::namespace::JOURNALS as DATABASE;
use crate::owner::Owner;
use crate::random::Random;

/// How often a restore says that it is at work, and how long one has been silent that is no more.
const BEAT: Duration = Duration::from_secs(10);
const SILENT: Duration = Duration::from_secs(90);

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

    /// Whether it has written single documents into collections that others go on using.
    #[must_use]
    pub fn is_merged(&self) -> bool {
        !self.past.merges.is_empty()
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
    target.client().database(DATABASE).collection(&id.to_string())
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    #[serde(rename = "_id")]
    id: i64,
    /// By the server's clock, which puts its time in the place of an empty timestamp.
    at: bson::Timestamp,
    event: Event,
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
            match soon(self.collection.insert_one(&line).write_concern(concern.clone())).await {
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
        known.extend(retrying(|| read(target, id.clone())).await?);
    }
    Ok(known)
}

/// Reads one journal; none where it has not even begun, or is over by now.
async fn read(target: &Deployment, id: RestoreId) -> Result<Option<Known>> {
    let attempt = Attempt { doing: "read how far a restore has come", action: "find", roles: RESTORE_ROLES };
    let explained = |error: mongodb::error::Error| match *error.kind {
        ErrorKind::Bson(_) => {
            Error::of_newer(format!("what {DATABASE}.{id} says of a restore was written by a newer Regrow"))
        }
        // A restore that begins or ends meanwhile makes or drops its journal.
        _ if is_changed_meanwhile(&error) => explain(&error, attempt).transient(),
        _ => explain(&error, attempt),
    };
    let lines = lines(target, &id);
    let mut found = soon(lines.find(doc! {}).sort(doc! { "at": 1 })).await.map_err(explained)?;
    let (mut record, mut past, mut by) = (None, Past::default(), None);
    while let Some(line) = soon(found.try_next()).await.map_err(explained)? {
        match line.event {
            Event::Begun { by: owner, record: begun } => (by, record) = (Some(owner), Some(*begun)),
            Event::Beat { by: owner } => by = Some(owner),
            event => past.take(event),
        }
    }
    let is_gone = by.and_then(|by| Owner::parse(&by)).is_some_and(|owner| owner.is_gone());
    let is_over = is_gone || past.stage == Stage::Done || {
        let Some(silence) = silence(&lines).await.map_err(explained)? else { return Ok(None) };
        silence > SILENT
    };
    Ok(record.map(|record| Known { id: id.clone(), record, past, is_live: !is_over }))
}

/// Returns how long ago the last line was written, by the server's clock; none where there is no line any more.
async fn silence(lines: &Collection<Line>) -> Result<Option<Duration>, mongodb::error::Error> {
    let age = doc! { "$project": { "milliseconds": { "$subtract": ["$$NOW", { "$toDate": "$at" }] } } };
    let newest = [doc! { "$sort": { "at": -1 } }, doc! { "$limit": 1 }, age];
    let mut last = soon(lines.aggregate(newest)).await?;
    let last: Option<Document> = soon(last.try_next()).await?;
    let age = |last: Document| last.get("milliseconds").and_then(Bson::as_i64).and_then(|age| u64::try_from(age).ok());
    Ok(last.map(|last| Duration::from_millis(age(last).unwrap_or_default())))
}
