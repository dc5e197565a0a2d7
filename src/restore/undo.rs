//! Undoing a restore: one that did not end, or one that kept what it has replaced.

use super::exchange;
use super::execute::remove;
use super::journal::{Event, ItemRecord, Journal, Known, Past, Stage};
use super::merge::{self, ChangedSince};
use crate::error::{Error, Result};
use crate::format::catalog::CollectionKind;
use crate::mongo::{Deployment, load};
use crate::random::Random;

/// What was undone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// The namespaces that are what they were before again.
    pub restored: Vec<String>,
    /// How many collections that the restore had loaded were dropped.
    pub dropped: usize,
    /// What others have changed since the restore wrote single documents.
    pub changed_since: ChangedSince,
}

/// Tells what undoing a restore of single documents does to what others have written since. Changes nothing.
///
/// # Errors
/// Whatever the server says.
pub async fn changed_since(target: &Deployment, known: &Known) -> Result<ChangedSince> {
    match known.record.only()? {
        Some(only) => merge::look_ahead(target, &only, &known.past.merges).await,
        None => Ok(ChangedSince::default()),
    }
}

/// Takes a restore back: what it has replaced bears its name again, what it has loaded is dropped. Done twice, or again after a
/// crash, it comes to the same.
///
/// # Errors
/// [`Kind::Refused`](crate::error::Kind::Refused) when there is no way back any more; whatever the server says.
pub async fn undo(target: &Deployment, known: &Known, random: &Random) -> Result<Undone> {
    if known.past.stage == Stage::Removing {
        return Err(Error::refused(format!(
            "{} has restored everything, and has begun to remove what it replaced",
            known.id
        ))
        .with_hint(format!("finish it with --resume {}; the moment before can be restored with --before", known.id)));
    }
    let journal = Journal::reopen(target, known.id.clone(), random).await?;
    journal.note(Event::Undoing).await?;
    exchange::backward(target, &known.past.exchanges).await?;
    let changed_since = match known.record.only()? {
        Some(only) => merge::backward(target, &only, &known.past.merges).await?,
        None => ChangedSince::default(),
    };
    let mut undone = Undone { restored: known.replaced(), dropped: 0, changed_since };
    drop_made(target, known).await?;
    for (number, item) in known.record.items.iter().enumerate() {
        let is_dropped = drop_if_ours(target, &known.past, known.record.replace, (number, item)).await?;
        undone.dropped += usize::from(is_dropped);
    }
    journal.end().await?;
    Ok(undone)
}

/// Drops what a restore has made for single documents, besides what it has loaded.
async fn drop_made(target: &Deployment, known: &Known) -> Result<()> {
    let items = known.record.items.iter().enumerate().filter(|_| known.record.filter.is_some());
    for (number, item) in items {
        let database = target.client().database(&item.db);
        // It was made when the name was free, and nothing was written to it but by this restore.
        if known.past.made.contains(&number) && known.past.merges.is_empty() {
            merge::drop_unused(target, &item.db, &item.name).await?;
        }
        load::drop_collection(&database, &format!("{}.old", item.loading_name())).await?;
    }
    Ok(())
}

/// Drops what a restore has replaced and kept; returns how many namespaces. It cannot be undone any more.
///
/// # Errors
/// Whatever the server says.
pub async fn forget(target: &Deployment, known: &Known, random: &Random) -> Result<u64> {
    let journal = Journal::reopen(target, known.id.clone(), random).await?;
    remove(target, &journal, &known.past.exchanges, &known.past.merges).await?;
    Ok(known.kept().len() as u64)
}

/// Drops what bears the name under which a restore with this past loads an item, if it has made that; returns whether it has.
pub(super) async fn drop_if_ours(
    target: &Deployment,
    past: &Past,
    replaces: bool,
    (number, item): (usize, &ItemRecord),
) -> Result<bool> {
    let is_ours = is_ours(target, past, replaces, (number, item)).await?;
    if is_ours {
        load::drop_collection(&target.client().database(&item.db), item.loading_name()).await?;
    }
    Ok(is_ours)
}

/// Whether a restore with this past has made what bears the name under which it loads an item.
pub(super) async fn is_ours(
    target: &Deployment,
    past: &Past,
    replaces: bool,
    (number, item): (usize, &ItemRecord),
) -> Result<bool> {
    if item.staged.is_some() || past.has_created(number) {
        return Ok(past.may_have_created(number));
    }
    if replaces || !past.may_have_created(number) {
        return Ok(false);
    }
    // The name was free when the restore began, and it was killed when it was about to create it.
    let database = target.client().database(&item.db);
    Ok(item.kind == CollectionKind::View || !load::has_documents(&database, &item.name).await?)
}
