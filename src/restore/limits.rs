//! What lets the server delete documents: it comes last, when everything is checked.
//!
//! An index by which documents expire is built with the others, as an ordinary one, and is made to expire them in the end, which takes
//! the server no time (`collMod`, from MongoDB 5.1 on). Building it in the end would be a scan of the collection with nothing beside it.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use futures_util::FutureExt;

use super::journal::Event;
use super::load::each;
use super::{Restore, RestoreItem};
use crate::error::Result;
use crate::format::catalog::CollectionKind;
use crate::mongo::load;

/// Gives every item that is not a view what lets the server delete documents of it. What only passes through a collection needs
/// no limits there.
pub(super) async fn set(restore: &Restore<'_>) -> Result<()> {
    if restore.plan.request.only.is_some() {
        return Ok(());
    }
    if let Some(journal) = &restore.context.journal {
        // Whoever goes on must not build ordinary indexes again where they expire documents already.
        let journal = journal.clone();
        restore.writes.run(async move { journal.note(Event::Limiting).await }).await?;
    }
    let items: Vec<&RestoreItem> = restore.plan.items.iter().filter(|item| !item.is_view()).collect();
    each(items.len(), |number| items[number], |number| limit(restore, items[number]).boxed()).await
}

async fn limit(restore: &Restore<'_>, item: &RestoreItem) -> Result<()> {
    let database = restore.context.deployment.client().database(&item.db);
    let expiring = item.record.indexes.iter().filter(|index| load::expires(index) && !load::is_id_index(index));
    let (late, built): (Vec<_>, Vec<_>) = expiring.cloned().partition(|index| ordinary(item, index).is_none());
    let (name, options) = (item.loading_name().to_owned(), item.record.options.clone());
    let limit = async move {
        for index in &built {
            load::expire(&database, &name, index).await?;
        }
        load::create_indexes(&database, &name, &options, &late.iter().collect::<Vec<_>>()).await?;
        load::set_limits(&database, &name, &options).await
    };
    restore.writes.run(limit).await
}

/// Returns what an index by which documents expire is built as first; none where it comes last as a whole: the server makes only
/// those expire documents later that have a single field and lie in no capped collection, and writes down another number than it
/// was given, unless that is one of 32 bits.
pub(super) fn ordinary(item: &RestoreItem, index: &RawDocument) -> Option<RawDocumentBuf> {
    let fields = index.get_document("key").map_or(0, |key| key.iter_elements().count());
    let is_plain = item.record.kind == CollectionKind::Collection && !item.record.ordered;
    let after = index.get(load::EXPIRY).ok().flatten();
    let can_change = is_plain && fields == 1 && matches!(after, Some(RawBsonRef::Int32(0..)));
    if can_change { load::without_expiry(index) } else { None }
}
