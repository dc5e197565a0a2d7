//! Exchanging: what was loaded beside a namespace takes its place, and can be taken back.
//!
//! All namespaces are exchanged by one command, `applyOps`, which works under the server's global lock: nobody sees some
//! exchanged and others not, and no name is without its collection. The same command renames the buckets of a time series,
//! which `renameCollection` does not. A command that was sent is carried out although its sender dies. Under access control
//! the server takes such a command only from users who may do anything; from others it takes one rename after the other.
//! Then a sender that dies between them, as a server that crashes at any time, leaves a part; so what is to do is found, each
//! time anew, by holding what should be against a listing: collections are known by their UUIDs. Nothing is dropped on the
//! way but views, whose definition the journal keeps.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use serde::{Deserialize, Serialize};

use super::journal::{Event, RestoreId};
use super::{Restore, RestoreItem};
use crate::error::{Error, Result};
use crate::format::catalog::CollectionKind;
use crate::mongo::error::RESTORE_ROLES;
use crate::mongo::namespaces::{self, Namespace, NamespaceKind};
use crate::mongo::{Deployment, apply, privileges};
use crate::namespace::{BUCKETS_PREFIX, KEPT_INFIX, buckets_of};
use crate::operations::CollectionUuid;

/// How often what is left to do is done again: a server may crash within it, and come back.
const ATTEMPTS: u32 = 5;

/// The longest namespace that servers take, in bytes, with room for the prefix of buckets.
const LONGEST: usize = 255 - BUCKETS_PREFIX.len();

/// One namespace, what takes its place, and where what was there goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Exchange {
    db: String,
    /// The name that is exchanged.
    name: String,
    /// The name that what takes its place was loaded under; none for views.
    staged: Option<String>,
    /// The name that what was there gets.
    kept: String,
    kind: CollectionKind,
    /// What it will be known by; none for views.
    uuid: Option<CollectionUuid>,
    /// What creates the view or the time series, byte for byte as listed.
    options: RawDocumentBuf,
    /// What was there.
    old: Option<Old>,
}

/// What bore the name before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Old {
    kind: CollectionKind,
    uuid: Option<CollectionUuid>,
    options: RawDocumentBuf,
}

/// What databases hold.
#[derive(Debug, Default)]
pub(super) struct Listing(HashMap<(String, String), Namespace>);

impl Listing {
    /// Lists the databases of `names`.
    pub(super) async fn of(target: &Deployment, databases: impl IntoIterator<Item = &str>) -> Result<Self> {
        let databases: BTreeSet<&str> = databases.into_iter().collect();
        let mut all = HashMap::new();
        for db in databases {
            let found = namespaces::collections_for(&target.primary().database(db), RESTORE_ROLES).await?;
            all.extend(found.into_iter().map(|found| ((found.db.clone(), found.name.clone()), found)));
        }
        Ok(Self(all))
    }

    pub(super) fn get(&self, db: &str, name: &str) -> Option<&Namespace> {
        self.0.get(&(db.to_owned(), name.to_owned()))
    }

    fn has(&self, db: &str, name: &str) -> bool {
        self.get(db, name).is_some()
    }

    /// Returns the name that a collection bears, as the one whose documents it holds.
    fn uuid(&self, db: &str, name: &str) -> Option<CollectionUuid> {
        self.get(db, name)?.uuid
    }
}

/// Returns the name of the collection that holds the documents of a namespace.
pub(super) fn data_name(kind: CollectionKind, name: &str) -> String {
    if kind == CollectionKind::Timeseries { buckets_of(name) } else { name.to_owned() }
}

impl Exchange {
    /// Settles what is exchanged for an item that has been loaded.
    pub(super) fn settle(item: &RestoreItem, listing: &Listing, id: &RestoreId) -> Result<Self> {
        let kind = item.record.kind;
        let staged = (!item.is_view()).then(|| item.loading_name().to_owned());
        let uuid = staged.as_ref().and_then(|staged| listing.uuid(&item.db, &data_name(kind, staged)));
        if uuid.is_none() != item.is_view() {
            return Err(gone(&item.db, item.loading_name()));
        }
        let listed = staged.as_ref().and_then(|staged| listing.get(&item.db, staged));
        let options = match kind {
            CollectionKind::Timeseries => listed.map_or_else(RawDocumentBuf::new, |listed| listed.options.clone()),
            CollectionKind::View => item.record.options.clone(),
            CollectionKind::Collection | CollectionKind::Buckets => RawDocumentBuf::new(),
        };
        let old = listing.get(&item.db, &item.name).map(|found| Old::of(found, listing));
        let kept = kept_name(&item.db, &item.name, id, listing);
        Ok(Self { db: item.db.clone(), name: item.name.clone(), staged, kept, kind, uuid, options, old })
    }

    /// Returns `db.name` of what was replaced and stays; none where nothing was there, or a view.
    pub(super) fn kept_namespace(&self) -> Option<String> {
        self.keeps_documents().then(|| format!("{}.{}", self.db, self.kept))
    }

    /// Returns `db.name` of what is exchanged.
    pub(super) fn namespace(&self) -> String {
        format!("{}.{}", self.db, self.name)
    }

    /// Whether something was there that can be put back.
    pub(super) fn can_be_undone(&self) -> bool {
        self.old.is_some()
    }

    fn keeps_documents(&self) -> bool {
        self.old.as_ref().is_some_and(|old| old.kind != CollectionKind::View)
    }

    /// Returns what is left to do until what was loaded bears the name.
    fn forward(&self, listing: &Listing) -> Result<Vec<RawDocumentBuf>> {
        let Some(staged) = &self.staged else { return Ok(self.forward_view(listing)) };
        let (from, to) = (data_name(self.kind, staged), data_name(self.kind, &self.name));
        if !listing.has(&self.db, &from) {
            return self
                .is_in_place(listing)
                .then(|| self.rest_of_forward(listing))
                .ok_or_else(|| gone(&self.db, staged));
        }
        let mut operations = self.move_away(listing);
        operations.push(rename(&self.db, &from, &to));
        if self.kind == CollectionKind::Timeseries {
            operations.extend(listing.has(&self.db, staged).then(|| drop(&self.db, staged)));
            operations.push(create(&self.db, &self.name, &self.options));
        }
        Ok(operations)
    }

    fn forward_view(&self, listing: &Listing) -> Vec<RawDocumentBuf> {
        let there = listing.get(&self.db, &self.name);
        if there.is_some_and(|there| there.kind == NamespaceKind::View && there.options == self.options) {
            return Vec::new();
        }
        let mut operations = self.move_away(listing);
        operations.push(create(&self.db, &self.name, &self.options));
        operations
    }

    /// Moves whatever bears the name to the name under which it is kept.
    fn move_away(&self, listing: &Listing) -> Vec<RawDocumentBuf> {
        let mut operations = Vec::new();
        match listing.get(&self.db, &self.name).map(|found| found.kind) {
            Some(NamespaceKind::Collection) => operations.push(rename(&self.db, &self.name, &self.kept)),
            Some(_) => operations.push(drop(&self.db, &self.name)),
            None => {}
        }
        if listing.has(&self.db, &buckets_of(&self.name)) {
            operations.push(rename(&self.db, &buckets_of(&self.name), &buckets_of(&self.kept)));
            let options = self.old.as_ref().map_or_else(RawDocumentBuf::new, |old| old.options.clone());
            operations.push(create(&self.db, &self.kept, &options));
        }
        operations
    }

    fn is_in_place(&self, listing: &Listing) -> bool {
        self.uuid.is_some() && listing.uuid(&self.db, &data_name(self.kind, &self.name)) == self.uuid
    }

    /// Returns what a server that crashed has not come to, behind the rename.
    fn rest_of_forward(&self, listing: &Listing) -> Vec<RawDocumentBuf> {
        if self.kind != CollectionKind::Timeseries {
            return Vec::new();
        }
        let mut operations = Vec::new();
        let staged = self.staged.iter().filter(|staged| listing.has(&self.db, staged));
        operations.extend(staged.map(|staged| drop(&self.db, staged)));
        operations.extend((!listing.has(&self.db, &self.name)).then(|| create(&self.db, &self.name, &self.options)));
        operations
    }

    /// Returns what is left to do until everything is as it was. What was loaded goes.
    fn backward(&self, listing: &Listing) -> Result<Vec<RawDocumentBuf>> {
        let mut operations = Vec::new();
        if self.is_in_place(listing) {
            operations.push(self.drop_restored());
        }
        let is_view =
            |name: &str| listing.get(&self.db, name).is_some_and(|found| found.kind != NamespaceKind::Collection);
        let Some(old) = &self.old else {
            operations.extend(is_view(&self.name).then(|| drop(&self.db, &self.name)));
            return Ok(operations);
        };
        let (kept, name) = (data_name(old.kind, &self.kept), data_name(old.kind, &self.name));
        let is_kept = old.kind != CollectionKind::View && listing.has(&self.db, &kept);
        if old.kind != CollectionKind::View && !is_kept && listing.uuid(&self.db, &name) != old.uuid {
            return Err(Error::failed(format!("{}.{} is gone, and so the way back", self.db, self.kept))
                .with_hint("restore the moment before from a backup: 'regrow restore --before'"));
        }
        let has_view = is_view(&self.name);
        let view_is_old =
            !is_kept && has_view && listing.get(&self.db, &self.name).is_some_and(|v| v.options == old.options);
        if has_view && !view_is_old {
            operations.push(drop(&self.db, &self.name));
        }
        if is_kept {
            operations.push(rename(&self.db, &kept, &name));
            operations.extend(is_view(&self.kept).then(|| drop(&self.db, &self.kept)));
        }
        if old.kind != CollectionKind::Collection && !view_is_old {
            operations.push(create(&self.db, &self.name, &old.options));
        }
        Ok(operations)
    }

    /// Drops what was loaded. The server lets nobody drop `system.js`: it is renamed to where nobody reads it, and goes with
    /// everything else that was staged.
    fn drop_restored(&self) -> RawDocumentBuf {
        match &self.staged {
            Some(staged) if self.name.starts_with("system.") => rename(&self.db, &self.name, staged),
            _ => drop(&self.db, &data_name(self.kind, &self.name)),
        }
    }

    /// Returns the collections that are in the way of nothing any more, once there is no way back.
    pub(super) fn to_remove(&self) -> Option<(&str, &str)> {
        self.keeps_documents().then_some((self.db.as_str(), self.kept.as_str()))
    }
}

impl Old {
    fn of(found: &Namespace, listing: &Listing) -> Self {
        let kind = match found.kind {
            NamespaceKind::Collection => CollectionKind::Collection,
            NamespaceKind::View => CollectionKind::View,
            NamespaceKind::Timeseries => CollectionKind::Timeseries,
            NamespaceKind::Buckets => CollectionKind::Buckets,
        };
        let uuid = listing.uuid(&found.db, &data_name(kind, &found.name));
        Self { kind, uuid, options: found.options.clone() }
    }
}

impl Restore<'_> {
    /// Puts everything that was loaded beside in the place of what exists, all at once.
    pub(super) async fn exchange(&self) -> Result<()> {
        let Some(journal) = self.context.journal.clone().filter(|_| self.plan.request.replace) else { return Ok(()) };
        let (deployment, settled) = (self.context.deployment.clone(), Arc::clone(&self.exchanges));
        let items = self.plan.items.clone();
        let exchange = async move {
            let exchanges = if let Some(exchanges) = settled.get() {
                exchanges.clone()
            } else {
                let listing = Listing::of(&deployment, items.iter().map(|item| item.db.as_str())).await?;
                let settle = |item: &RestoreItem| Exchange::settle(item, &listing, journal.id());
                let exchanges = items.iter().map(settle).collect::<Result<Vec<_>>>()?;
                settled.get_or_init(|| exchanges.clone());
                journal.note(Event::Exchanging { exchanges: exchanges.clone() }).await?;
                exchanges
            };
            forward(&deployment, &exchanges).await?;
            journal.note(Event::Exchanged).await
        };
        self.phases.time("exchange", self.writes.run(Box::pin(exchange))).await
    }
}

/// Puts everything in its place.
///
/// # Errors
/// When a collection that was loaded is gone, or the server refuses or stays away.
pub(super) async fn forward(target: &Deployment, exchanges: &[Exchange]) -> Result<()> {
    until_done(target, exchanges, Exchange::forward).await
}

/// Puts everything back as it was.
///
/// # Errors
/// When what was replaced is gone, or the server refuses or stays away.
pub(super) async fn backward(target: &Deployment, exchanges: &[Exchange]) -> Result<()> {
    until_done(target, exchanges, Exchange::backward).await
}

async fn until_done(
    target: &Deployment,
    exchanges: &[Exchange],
    left_to_do: impl Fn(&Exchange, &Listing) -> Result<Vec<RawDocumentBuf>>,
) -> Result<()> {
    let at_once = privileges::read(target).await?.allow_everything();
    for attempt in 1..=ATTEMPTS {
        let listing = Listing::of(target, exchanges.iter().map(|exchange| exchange.db.as_str())).await?;
        let operations: Vec<_> =
            exchanges.iter().map(|exchange| left_to_do(exchange, &listing)).collect::<Result<_>>()?;
        let operations = operations.concat();
        if operations.is_empty() {
            return Ok(());
        }
        match apply::commands(target, &operations, at_once).await {
            Err(error) if !error.is_transient() || attempt == ATTEMPTS => return Err(error),
            Err(error) => tracing::warn!(%error, "the exchange was cut off; looking what is left to do"),
            Ok(()) => {}
        }
    }
    Err(Error::failed("the collections are not where they were put")
        .with_hint("make sure that nobody creates, renames or drops collections of these names meanwhile"))
}

fn gone(db: &str, staged: &str) -> Error {
    Error::failed(format!("{db}.{staged}, which this restore has loaded, is gone"))
        .with_hint("undo the restore, make sure that nobody drops collections meanwhile, and restore again")
}

/// Returns a name that says what it was and when it was replaced, and that nothing bears.
fn kept_name(db: &str, name: &str, id: &RestoreId, listing: &Listing) -> String {
    // Names that begin like those of the server's own are refused.
    let name = &name.replacen("system.", "system_", usize::from(name.starts_with("system.")));
    let room = LONGEST.saturating_sub(db.len() + 1);
    let candidates = (1..).map(|number| {
        let again = if number > 1 { format!("_{number}") } else { String::new() };
        let ending = format!("{KEPT_INFIX}{}{again}", id.date());
        let mut end = name.len().min(room.saturating_sub(ending.len()));
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{ending}", &name[..end])
    });
    let is_free = |candidate: &String| !listing.has(db, candidate) && !listing.has(db, &buckets_of(candidate));
    candidates.into_iter().find(is_free).unwrap_or_default()
}

fn rename(db: &str, from: &str, to: &str) -> RawDocumentBuf {
    // With anything in the way, an operation would move that aside under a name of the server's own choice.
    let command =
        rawdoc! { "renameCollection": format!("{db}.{from}"), "to": format!("{db}.{to}"), "dropTarget": true };
    operation(db, command)
}

fn drop(db: &str, name: &str) -> RawDocumentBuf {
    operation(db, rawdoc! { "drop": name })
}

fn create(db: &str, name: &str, options: &RawDocument) -> RawDocumentBuf {
    let mut command = rawdoc! { "create": name };
    for element in options.iter().flatten() {
        command.append(element.0, bson::RawBson::from(element.1));
    }
    operation(db, command)
}

fn operation(db: &str, command: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "op": "c", "ns": format!("{db}.$cmd"), "o": command }
}
