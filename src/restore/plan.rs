//! What a restore will do: settled, and refused if need be, before anything is touched.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bson::RawDocumentBuf;

use super::exchange::data_name;
use super::journal::{ItemRecord, RestoreId};
use super::limits;
use super::only::Only;
use super::survey::Recovery;
use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::catalog::{Catalog, CollectionKind, CollectionRecord, SegmentRef, SourceRecord};
use crate::format::increment::ChangesRecord;
use crate::format::manifest::{Consistency, Manifest};
use crate::mongo::accounts::Accounts;
use crate::mongo::load;
use crate::namespace::{self, buckets_of};
use crate::operations::CollectionUuid;
use crate::pattern::{NamespaceMap, NamespacePattern};
use crate::units::Moment;

/// Bytes of documents that are loaded, read back and indexed in a second, as `docs/PERFORMANCE.md` shows.
const LOADED_PER_SECOND: u64 = 35_000_000;

/// Entries of the oplog that are replayed in a second, as `docs/PERFORMANCE.md` shows; their bytes are written as loaded
/// ones are.
const REPLAYED_PER_SECOND: u64 = 18_000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// The namespaces to restore; none means all of them.
    pub patterns: Vec<NamespacePattern>,
    /// Those of them that are left out.
    pub except: Vec<NamespacePattern>,
    /// New names.
    pub maps: Vec<NamespaceMap>,
    /// Whether users and roles are restored too.
    pub accounts: bool,
    /// Whether what exists is replaced.
    pub replace: bool,
    /// Whether what is replaced stays, under another name.
    pub keep_old: bool,
    /// Which documents alone are restored, into collections that stay as they are otherwise.
    pub only: Option<Only>,
    /// What of it is needed first.
    pub first: First,
}

impl RestoreRequest {
    /// Whether a namespace is to be restored, by the name that it has at the source.
    fn chooses(&self, db: &str, name: &str) -> bool {
        let is_left_out = self.except.iter().any(|pattern| pattern.matches(db, name));
        NamespacePattern::any(&self.patterns, db, name) && !is_left_out
    }

    /// Whether a pattern of what is left out is about a namespace that would be restored without it: nobody can name buckets, and
    /// what an earlier restore has kept aside is not restored.
    fn leaves_out(&self, pattern: &NamespacePattern, record: &CollectionRecord) -> bool {
        let (db, name) = (&record.db, &record.name);
        let is_visible = record.kind != CollectionKind::Buckets && !is_staged(name);
        is_visible && NamespacePattern::any(&self.patterns, db, name) && pattern.matches(db, name)
    }
}

/// Which of the backup's namespaces are loaded, read back and indexed before others.
#[derive(Debug, Clone, Default)]
pub struct First {
    /// Those that somebody has named for this restore, each before the next.
    pub named: Vec<NamespacePattern>,
    /// Behind them the namespaces of each workload, the shortest recovery time objective first.
    pub workloads: Vec<Vec<NamespacePattern>>,
}

impl First {
    /// Returns by how many kinds of namespaces this one is preceded.
    #[must_use]
    pub fn rank(&self, item: &RestoreItem) -> usize {
        let groups = self.named.iter().map(std::slice::from_ref).chain(self.workloads.iter().map(Vec::as_slice));
        let is_among = |group: &[NamespacePattern]| group.iter().any(|pattern| item.was(pattern));
        groups.clone().position(is_among).unwrap_or_else(|| groups.count())
    }
}

/// One namespace and where it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreItem {
    /// The target's database.
    pub db: String,
    /// The target's name.
    pub name: String,
    /// The name that it is loaded under, to be exchanged for the other in the end; none where it is loaded at its place.
    pub staged: Option<String>,
    /// What is created: options and indexes.
    pub record: CollectionRecord,
    /// How many documents its segments hold.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their content digest.
    pub digest: [u8; 32],
    /// The segments, in reading order.
    pub segments: Vec<SegmentRef>,
    /// The UUID that the collection with the documents has at the source; none for views.
    pub uuid: Option<CollectionUuid>,
    /// Where documents come from several backups: what of the older ones is superseded.
    pub changes: Option<ChangesRecord>,
}

impl RestoreItem {
    /// Returns `db.name` of the target.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{}.{}", self.db, self.name)
    }

    /// Returns the name that it is loaded under.
    #[must_use]
    pub fn loading_name(&self) -> &str {
        self.staged.as_deref().unwrap_or(&self.name)
    }

    /// Returns the name of the collection that its documents are loaded into: its own, or that of its buckets.
    #[must_use]
    pub fn data_name(&self) -> String {
        data_name(self.record.kind, self.loading_name())
    }

    /// Returns the name that the collection with the documents has at the source.
    #[must_use]
    pub fn source_data_name(&self) -> String {
        data_name(self.record.kind, &self.record.name)
    }

    /// Returns how many documents it will have, and their bytes: about, where they come from several backups.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        self.changes.as_ref().map_or((self.documents, self.bytes), |changes| (changes.documents, changes.bytes))
    }

    /// Returns the indexes that are built as soon as its documents are there, as they are built then: not the one over `_id`,
    /// which it has by itself, nor those that let the server delete documents and that it cannot be kept from until the end.
    pub(super) fn indexes(&self) -> impl Iterator<Item = RawDocumentBuf> {
        let others = self.record.indexes.iter().filter(|index| !load::is_id_index(index));
        others
            .filter_map(|index| if load::expires(index) { limits::ordinary(self, index) } else { Some(index.clone()) })
    }

    /// Returns the segments that say what of older backups is superseded.
    #[must_use]
    pub fn touched(&self) -> &[SegmentRef] {
        self.changes.as_ref().map_or(&[], |changes| &changes.touched)
    }

    /// Returns what the journal says of it.
    pub(super) fn to_record(&self) -> ItemRecord {
        let (db, name, staged) = (self.db.clone(), self.name.clone(), self.staged.clone());
        ItemRecord { db, name, staged, kind: self.record.kind }
    }

    /// Whether a pattern chooses the name that it has at the source.
    fn was(&self, pattern: &NamespacePattern) -> bool {
        pattern.matches(&self.record.db, &self.record.name)
    }

    /// Whether it has no documents of its own.
    #[must_use]
    pub fn is_view(&self) -> bool {
        self.record.kind == CollectionKind::View
    }
}

/// What goes where.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// The backup.
    pub manifest: Manifest,
    /// What is replayed on top of the backup's documents, if anything.
    pub recovery: Option<Recovery>,
    /// The namespaces, the largest first.
    pub items: Vec<RestoreItem>,
    /// Users and roles, if they are to be restored.
    pub accounts: Option<Accounts>,
    /// Where the backup was taken.
    pub source: SourceRecord,
    /// What was asked for.
    pub request: RestoreRequest,
    /// The chosen namespaces whose documents cannot be restored one by one.
    pub left_out: Vec<String>,
}

impl RestorePlan {
    /// Settles what goes where.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when the patterns choose nothing,
    /// [`Kind::Refused`](crate::error::Kind::Refused) when two namespaces would get one name,
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when the catalog is not whole.
    pub fn make(
        manifest: Manifest,
        mut catalog: Catalog,
        recovery: Option<Recovery>,
        request: &RestoreRequest,
    ) -> Result<Self> {
        if let Some(recovery) = &recovery {
            catalog.collections = recovery.outlook.collections.clone().into_records();
        }
        let accounts = request.accounts.then_some(Accounts { users: catalog.users, roles: catalog.roles });
        let matches = |pattern: &NamespacePattern| {
            catalog.collections.iter().any(|record| pattern.matches(&record.db, &record.name))
        };
        if let Some(pattern) = request.patterns.iter().find(|pattern| !matches(pattern)) {
            return Err(nothing_matches(pattern, &manifest, recovery.as_ref()));
        }
        // What somebody believes to be left out must not be replaced.
        let without =
            |pattern: &NamespacePattern| catalog.collections.iter().any(|record| request.leaves_out(pattern, record));
        if let Some(pattern) = request.except.iter().find(|pattern| !without(pattern)) {
            return Err(Error::not_found(format!("--except {pattern} leaves out nothing that would be restored"))
                .with_hint("nothing was changed; correct the name, or leave the option out"));
        }
        let mut items = items(catalog.collections, request)?;
        if items.is_empty() && !request.except.is_empty() {
            return Err(Error::not_found("--except leaves nothing to restore")
                .with_hint("nothing was changed; leave out less, or choose more with --ns"));
        }
        items.sort_by_key(|item| std::cmp::Reverse(item.bytes));
        let left_out = if request.only.is_some() { leave_out(&mut items)? } else { Vec::new() };
        check_names(&items)?;
        Ok(Self { manifest, recovery, items, accounts, source: catalog.source, request: request.clone(), left_out })
    }

    /// Returns a map that is about none of the namespaces: whoever wrote it would be surprised by where they go.
    #[must_use]
    pub fn unused_map(&self) -> Option<&NamespaceMap> {
        let is_used =
            |map: &&NamespaceMap| self.items.iter().any(|item| map.apply(&item.record.db, &item.record.name).is_some());
        self.request.maps.iter().find(|map| !is_used(map))
    }

    /// Returns the pattern of what is wanted first that none of the namespaces matches.
    #[must_use]
    pub fn unused_first(&self) -> Option<&NamespacePattern> {
        let is_used = |pattern: &NamespacePattern| self.items.iter().any(|item| item.was(pattern));
        self.request.first.named.iter().find(|pattern| !is_used(pattern))
    }

    /// Whether all of the backup is restored.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let RestoreRequest { patterns, except, only, .. } = &self.request;
        patterns.is_empty() && except.is_empty() && only.is_none()
    }

    /// Returns the moment whose state will be restored; none where the backup shows no single one.
    #[must_use]
    pub fn recovered_to(&self) -> Option<ClusterTime> {
        self.recovery.as_ref().map(|recovery| recovery.outlook.reached).or(self.manifest.cluster_time)
    }

    /// Whether the backup may hold two versions of one document: it was read while documents went on changing.
    #[must_use]
    pub fn may_repeat_documents(&self) -> bool {
        self.manifest.consistency == Consistency::Oplog
    }

    /// Returns how many documents will be loaded; about, of an increment.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.items.iter().map(|item| item.size().0).sum()
    }

    /// Returns how many bytes of documents will be loaded; about, of an increment.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.size().1).sum()
    }

    /// Returns how many bytes of documents will be read, those that are superseded among them.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }

    /// Returns about how long it will take: with indexes, on a machine with two cores that client and server share.
    #[must_use]
    pub fn estimate(&self) -> Duration {
        let (entries, entry_bytes) =
            self.recovery.as_ref().map_or((0, 0), |recovery| (recovery.outlook.entries, recovery.bytes()));
        estimate(self.bytes() + entry_bytes, entries)
    }

    /// Returns the least number of bytes that the target needs: what it keeps is less dense than a backup.
    #[must_use]
    pub fn least_space(&self) -> u64 {
        let (raw, stored) = (self.manifest.bytes_raw.max(1), self.manifest.chain_bytes_stored());
        let stored = stored.min(self.manifest.bytes_raw);
        let share = u128::from(self.bytes()) * u128::from(stored) / u128::from(raw);
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Lets everything but views be loaded under names of the restore's own, to be exchanged when all is there.
    #[must_use]
    pub fn beside(mut self, id: &RestoreId) -> Self {
        for (number, item) in self.items.iter_mut().enumerate().filter(|(_, item)| !item.is_view()) {
            item.staged = Some(staged_name(id, number));
        }
        self
    }

    /// Whether everything is loaded beside what exists.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        self.request.replace || self.request.only.is_some()
    }

    /// Returns what the journal says of the items.
    #[must_use]
    pub fn item_records(&self) -> Vec<ItemRecord> {
        self.items.iter().map(RestoreItem::to_record).collect()
    }
}

/// What the names begin with under which collections are loaded.
const STAGED_PREFIX: &str = "regrow.";

fn staged_name(id: &RestoreId, number: usize) -> String {
    format!("{STAGED_PREFIX}{id}.{number}")
}

/// Whether a collection of this name is a restore's own, which loads beside what exists.
#[must_use]
pub fn is_staged(name: &str) -> bool {
    let id = name.strip_prefix(STAGED_PREFIX).and_then(|rest| rest.split_once('.'));
    id.is_some_and(|(id, _)| id.parse::<RestoreId>().is_ok())
}

/// Returns about how long it takes to load and index so many bytes and to replay so many entries of the oplog.
#[must_use]
pub fn estimate(bytes: u64, entries: u64) -> Duration {
    Duration::from_secs(1 + bytes / LOADED_PER_SECOND + entries / REPLAYED_PER_SECOND)
}

fn nothing_matches(pattern: &NamespacePattern, manifest: &Manifest, recovery: Option<&Recovery>) -> Error {
    match recovery {
        Some(recovery) => {
            let (at, time) = (Moment(recovery.to.wall()), recovery.to);
            Error::not_found(format!("at {at} (cluster time {time}) there was no namespace that matches {pattern}")).with_hint(
                "it may have been dropped by then: 'regrow oplog --op c' names the moment of each drop and rename, to give \
                 to --before",
            )
        }
        None => Error::not_found(format!("backup {} holds no namespace that matches {pattern}", manifest.id))
            .with_hint(format!("'regrow show {}' lists what it holds", manifest.id)),
    }
}

/// Pairs each time series with its buckets and gives everything its new name.
fn items(records: Vec<CollectionRecord>, request: &RestoreRequest) -> Result<Vec<RestoreItem>> {
    let (buckets, visible): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| record.kind == CollectionKind::Buckets);
    let mut buckets: HashMap<_, _> =
        buckets.into_iter().map(|record| ((record.db.clone(), record.name.clone()), record)).collect();
    let chosen = visible.into_iter().filter(|record| request.chooses(&record.db, &record.name));
    let chosen = chosen.filter(|record| !is_staged(&record.name));
    chosen
        .map(|record| {
            let (db, name) = NamespaceMap::apply_first(&request.maps, &record.db, &record.name);
            if record.kind != CollectionKind::Timeseries {
                return Ok(item(db, name, None, record));
            }
            let source = (record.db.clone(), buckets_of(&record.name));
            let data = buckets
                .remove(&source)
                .ok_or_else(|| Error::damaged(format!("the catalog lacks the buckets of {}", record.namespace())))?;
            Ok(item(db, name, Some(&data), record))
        })
        .collect()
}

fn item(db: String, name: String, data: Option<&CollectionRecord>, record: CollectionRecord) -> RestoreItem {
    let source = data.unwrap_or(&record);
    let (documents, bytes, digest, segments) = (source.documents, source.bytes, source.digest, source.segments.clone());
    let (uuid, changes) = (source.uuid, source.changes.clone());
    RestoreItem { db, name, staged: None, record, documents, bytes, digest, segments, uuid, changes }
}

/// Keeps the items whose documents go into a live collection one by one; returns the names of the others. Views have no
/// documents, a time series packs several into one, the order of a capped collection counts, and a collation tells `_id`s apart
/// in its own way.
fn leave_out(items: &mut Vec<RestoreItem>) -> Result<Vec<String>> {
    let is_plain = |item: &RestoreItem| {
        let is_collated = matches!(item.record.options.get("collation"), Ok(Some(_)));
        item.record.kind == CollectionKind::Collection && !item.record.ordered && !is_collated
    };
    let left_out: Vec<String> =
        items.iter().filter(|item| !is_plain(item)).map(|item| item.record.namespace()).collect();
    items.retain(is_plain);
    if items.is_empty() {
        return Err(Error::refused(format!("no single documents can be restored of {}", left_out.join(", "))).with_hint(
            "--where is for plain collections: restore views, time series, capped collections and those with a collation whole",
        ));
    }
    Ok(left_out)
}

/// Two namespaces mapped onto one would mix their documents; one mapped to a name that none has would fail half way, or go
/// where no backup's documents belong.
fn check_names(items: &[RestoreItem]) -> Result<()> {
    let misfit = |item: &RestoreItem| namespace::misfit(&item.db, &item.name);
    if let Some((item, reason)) = items.iter().find_map(|item| Some((item, misfit(item)?))) {
        return Err(Error::refused(format!("{} cannot become {}: {reason}", item.record.namespace(), item.target()))
            .with_hint("give it another name with --map"));
    }
    let mut targets: BTreeMap<String, String> = BTreeMap::new();
    for item in items {
        if let Some(other) = targets.insert(item.target(), item.record.namespace()) {
            return Err(Error::refused(format!(
                "{other} and {} would both become {}",
                item.record.namespace(),
                item.target()
            ))
            .with_hint("change the --map options"));
        }
    }
    Ok(())
}
