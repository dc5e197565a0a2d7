//! Undoing a restore: one that did not end, or one that kept what it has replaced.

use super::exchange::{self, Exchange};
use super::execute::remove;
use super::journal::{Event, ItemRecord, Journal, Known, Stage};
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
    let mut undone = Undone { restored: known.past.exchanges.iter().map(Exchange::namespace).collect(), dropped: 0 };
    for (number, item) in known.record.items.iter().enumerate() {
        if is_ours(target, known, number, item).await? {
            load::drop_collection(&target.client().database(&item.db), item.loading_name()).await?;
            undone.dropped += 1;
        }
    }
    journal.end().await?;
    Ok(undone)
}

/// Drops what a restore has replaced and kept; returns how many namespaces. It cannot be undone any more.
///
/// # Errors
/// Whatever the server says.
pub async fn forget(target: &Deployment, known: &Known, random: &Random) -> Result<u64> {
    let journal = Journal::reopen(target, known.id.clone(), random).await?;
    remove(target, &journal, &known.past.exchanges).await?;
    Ok(known.kept().len() as u64)
}

/// Whether the restore has made what bears the name under which it loads an item.
async fn is_ours(target: &Deployment, known: &Known, number: usize, item: &ItemRecord) -> Result<bool> {
    if item.staged.is_some() || known.past.has_created(number) {
        return Ok(known.past.may_have_created(number));
    }
    if known.record.replace || !known.past.may_have_created(number) {
        return Ok(false);
    }
    // The name was free when the restore began, and it was killed when it was about to create it.
    let database = target.client().database(&item.db);
    Ok(item.kind == CollectionKind::View || !load::has_documents(&database, &item.name).await?)
}
