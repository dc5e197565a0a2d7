//! Increments and what they build on, read as one backup.
//!
//! A catalog as it is stored says what a backup holds itself. Composed, that of an increment lists every segment that its
//! documents lie in, of whichever backup, and every segment of `_id`s that were touched since: what of an older segment a
//! newer backup [supersedes](super::Superseded) is left out by whoever reads it.

use std::collections::HashMap;

use super::{Repository, SegmentReader};
use crate::codec::{ContentDigest, Identities};
use crate::error::{Error, Kind, Result};
use crate::format::catalog::{Catalog, CollectionRecord, SegmentRef};
use crate::format::manifest::{Consistency, Manifest};
use crate::format::{BackupId, layout};

/// What somebody has written of a backup's parent, true or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParentAsWritten {
    /// It is a full backup.
    None,
    /// It builds on this one.
    Backup(BackupId),
    /// It cannot be made out.
    Unknown,
}

impl Repository {
    /// Returns a backup and those that it builds on, the newest first. A full one builds on nothing.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when one is missing, was altered, or does not lead to the next; what else keeps one from being read
    /// stays what it is.
    pub async fn chain(&self, manifest: &Manifest) -> Result<Vec<Manifest>> {
        let mut chain = vec![manifest.clone()];
        while let Some((newest, parent)) = chain.last().and_then(|newest| Some((newest, newest.parent()?))) {
            let found = self.manifest(parent).await.map_err(|error| without(manifest, parent, &error))?;
            check_link(newest, &found)?;
            chain.push(found);
        }
        Ok(chain)
    }

    /// Returns what a manifest that cannot be believed says the backup builds on.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn parent_as_written(&self, id: &BackupId) -> Result<ParentAsWritten> {
        let Some(document) = self.find(&layout::manifest(id)).await? else { return Ok(ParentAsWritten::Unknown) };
        let written: serde_json::Value = serde_json::from_slice(&document).unwrap_or_default();
        let parent = match (written.get("payload"), written.pointer("/payload/incremental/parent")) {
            (None, _) => return Ok(ParentAsWritten::Unknown),
            (Some(_), None) => return Ok(ParentAsWritten::None),
            (Some(_), Some(parent)) => parent.as_str().and_then(|parent| parent.parse().ok()),
        };
        Ok(parent.map_or(ParentAsWritten::Unknown, ParentAsWritten::Backup))
    }

    /// Reads and opens a backup's catalog; of an increment, composed with those of the backups that it builds on.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when one is not what its manifest recorded,
    /// [`Kind::Configuration`] when no identity fits.
    pub async fn catalog(&self, manifest: &Manifest, identities: Option<&Identities>) -> Result<Catalog> {
        let newest = self.own_catalog(manifest, identities).await?;
        let mut older = Vec::new();
        for manifest in self.chain(manifest).await?.into_iter().skip(1) {
            let collections = self.own_catalog(&manifest, identities).await?.collections;
            let by_uuid = collections.into_iter().filter_map(|record| Some((record.uuid?, record)));
            older.push((manifest.id, by_uuid.collect()));
        }
        compose(newest, &older)
    }

    /// Makes a reader for the segments of a backup, and of those that it builds on.
    ///
    /// # Errors
    /// [`Kind::Configuration`] when one is encrypted and there is no identity;
    /// [`Kind::Damaged`] when one is missing.
    pub async fn segments(&self, manifest: &Manifest, identities: Option<Identities>) -> Result<SegmentReader> {
        self.reader(&self.chain(manifest).await?, identities.as_ref())
    }
}

/// Makes sure that an increment changes the state of this very backup.
pub(super) fn check_link(child: &Manifest, parent: &Manifest) -> Result<()> {
    let leads = child.increments() == parent.increments() + 1 && parent.cluster_time <= child.cluster_time;
    if leads && parent.replica_set_id == child.replica_set_id && parent.consistency == Consistency::Snapshot {
        return Ok(());
    }
    Err(broken(child, &parent.id, "that one does not lead to it"))
}

/// Says that an increment is of no use, because what it builds on is not there.
pub(super) fn broken(child: &Manifest, parent: &BackupId, reason: &str) -> Error {
    Error::damaged(format!("{} builds on {parent}: {reason}", child.id))
        .with_hint("restore another backup; 'regrow list' shows which can be restored")
}

/// Says why an increment cannot be used without what it builds on. Only what is gone or was altered is damage: a store that
/// did not show it says nothing about it.
pub(super) fn without(child: &Manifest, parent: &BackupId, error: &Error) -> Error {
    match error.kind() {
        Kind::NotFound | Kind::Damaged => broken(child, parent, &error.to_string()),
        _ => error.again().context(format!("cannot read {parent}, which {} builds on", child.id)),
    }
}

/// A catalog's collections, and whose they are.
type Older = (BackupId, HashMap<[u8; 16], CollectionRecord>);

/// Adds to what an increment holds of its collections what the backups behind it hold of them.
fn compose(mut newest: Catalog, older: &[Older]) -> Result<Catalog> {
    for record in newest.collections.iter_mut().filter(|record| record.changes.is_some()) {
        add_older(record, older)?;
    }
    Ok(newest)
}

fn add_older(record: &mut CollectionRecord, older: &[Older]) -> Result<()> {
    let Some(mut changes) = record.changes.take() else { return Ok(()) };
    let mut digest = recorded(record);
    let mut is_whole = false;
    for ((id, collections), layer) in older.iter().zip(1_u8..) {
        let lacks = || Error::damaged(format!("{id} does not hold {}, which is built on it", record.namespace()));
        let held = record.uuid.and_then(|uuid| collections.get(&uuid)).ok_or_else(lacks)?;
        let in_layer = |segment: &SegmentRef| SegmentRef { layer, ..*segment };
        digest.merge(&recorded(held));
        record.segments.extend(held.segments.iter().map(in_layer));
        let Some(further) = &held.changes else {
            is_whole = true;
            break;
        };
        changes.touched.extend(further.touched.iter().map(in_layer));
    }
    if !is_whole {
        return Err(Error::damaged(format!("no full backup holds {}", record.namespace())));
    }
    (record.documents, record.bytes, record.digest) = (digest.documents, digest.bytes, digest.to_bytes());
    // Where nothing was touched, all of it counts.
    record.changes = (!changes.touched.is_empty()).then_some(changes);
    Ok(())
}

fn recorded(record: &CollectionRecord) -> ContentDigest {
    ContentDigest::recorded(record.documents, record.bytes, &record.digest)
}

/// The catalog is authenticated and the manifest signed; together they must describe the same backup.
pub(super) fn check_agreement(manifest: &Manifest, catalog: &Catalog) -> Result<()> {
    let documents: u64 = catalog.collections.iter().map(|record| record.documents).sum();
    let of_collections = catalog
        .collections
        .iter()
        .map(|record| record.segments.len() + record.changes.as_ref().map_or(0, |changes| changes.touched.len()));
    let of_oplog = catalog.oplog.as_ref().map_or(0, |oplog| oplog.segments.len());
    let segments = of_collections.sum::<usize>() + of_oplog;
    let stored: usize = manifest.packs.iter().map(|pack| pack.segments.len()).sum();
    let recorded = manifest.incremental.as_ref().map_or(manifest.documents, |increment| increment.documents);
    let needs_oplog = manifest.consistency == Consistency::Oplog;
    let agree = (documents, segments, needs_oplog, manifest.parent())
        == (recorded, stored, catalog.oplog.is_some(), catalog.parent.as_ref());
    if agree {
        return Ok(());
    }
    Err(Error::damaged(format!("the catalog of {} is not the one its manifest describes", manifest.id)))
}

#[cfg(test)]
mod tests {
    use bson::RawDocumentBuf;

    use super::*;
    use crate::format::catalog::CollectionKind;
    use crate::format::increment::ChangesRecord;

    fn segment(n: u64, layer: u8) -> SegmentRef {
        SegmentRef { n, documents: 2, bytes: 20, layer }
    }

    /// Returns what a backup holds of the collection: segment `n`, and if it is an increment the touched ones of `n + 1`.
    fn record(n: u64, changes: Option<bool>) -> CollectionRecord {
        let touched = |some: bool| if some { vec![segment(n + 1, 0)] } else { Vec::new() };
        CollectionRecord {
            db: "shop".into(),
            name: "orders".into(),
            kind: CollectionKind::Collection,
            uuid: Some([1; 16]),
            options: RawDocumentBuf::new(),
            indexes: Vec::new(),
            documents: 2,
            bytes: 20,
            digest: [u8::try_from(n).unwrap(); 32],
            ordered: false,
            in_snapshot: true,
            segments: vec![segment(n, 0)],
            changes: changes.map(|some| ChangesRecord { documents: 9, bytes: 90, touched: touched(some) }),
        }
    }

    fn composed(newest: CollectionRecord, older: &[CollectionRecord]) -> Result<CollectionRecord> {
        let older: Vec<Older> = older
            .iter()
            .map(|record| ("20261123T020000Z-daily-7f3a".parse().unwrap(), [([1; 16], record.clone())].into()))
            .collect();
        let mut record = newest;
        add_older(&mut record, &older).map(|()| record)
    }

    #[test]
    fn segments_come_from_as_far_back_as_a_whole_collection() {
        let older = [record(3, Some(true)), record(5, None), record(7, None)];
        let found = composed(record(1, Some(true)), &older).unwrap();
        assert_eq!(found.segments, [segment(1, 0), segment(3, 1), segment(5, 2)]);
        assert_eq!(found.changes.unwrap().touched, [segment(2, 0), segment(4, 1)]);
        assert_eq!((found.documents, found.bytes, found.digest), (6, 60, [9; 32]));
    }

    #[test]
    fn what_was_not_touched_is_what_the_full_backup_holds() {
        let mut unchanged = record(1, Some(false));
        (unchanged.segments, unchanged.documents, unchanged.bytes, unchanged.digest) = (Vec::new(), 0, 0, [0; 32]);
        let found = composed(unchanged, &[record(5, None)]).unwrap();
        assert_eq!((found.segments, found.changes), (vec![segment(5, 1)], None));
        assert_eq!((found.documents, found.bytes, found.digest), (2, 20, [5; 32]));
    }

    #[test]
    fn changes_of_nothing_are_damage() {
        assert!(composed(record(1, Some(true)), &[]).is_err());
        assert!(composed(record(1, Some(true)), &[record(3, Some(true))]).is_err());
        let other = CollectionRecord { uuid: Some([2; 16]), ..record(1, Some(true)) };
        assert!(composed(other, &[record(3, None)]).unwrap_err().to_string().contains("shop.orders"));
    }
}
