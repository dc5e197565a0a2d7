//! What a restore will do: settled, and refused if need be, before anything is touched.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::survey::Recovery;
use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::catalog::{Catalog, CollectionKind, CollectionRecord, SegmentRef};
use crate::format::manifest::{Consistency, Manifest};
use crate::mongo::Deployment;
use crate::mongo::accounts::{self, Accounts};
use crate::mongo::error::RESTORE_ROLES;
use crate::mongo::namespaces;
use crate::namespace::BUCKETS_PREFIX;
use crate::operations::CollectionUuid;
use crate::pattern::{NamespaceMap, NamespacePattern};

/// Bytes of documents that are loaded, read back and indexed in a second, as `docs/PERFORMANCE.md` shows.
const LOADED_PER_SECOND: u64 = 35_000_000;

/// Entries of the oplog that are replayed in a second, as `docs/PERFORMANCE.md` shows; their bytes are written as loaded
/// ones are.
const REPLAYED_PER_SECOND: u64 = 18_000;

/// How many namespaces in the way are named in one message.
const MAX_NAMED: usize = 5;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// The namespaces to restore; none means all of them.
    pub patterns: Vec<NamespacePattern>,
    /// New names.
    pub maps: Vec<NamespaceMap>,
    /// Whether users and roles are restored too.
    pub accounts: bool,
}

/// One namespace and where it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreItem {
    /// The target's database.
    pub db: String,
    /// The target's name.
    pub name: String,
    /// What is created: options and indexes.
    pub record: CollectionRecord,
    /// The collection that holds the documents: its own name, or that of its buckets.
    pub data_name: String,
    /// How many documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The content digest.
    pub digest: [u8; 32],
    /// The segments, in reading order.
    pub segments: Vec<SegmentRef>,
    /// The UUID that the collection with the documents has at the source; none for views.
    pub uuid: Option<CollectionUuid>,
}

impl RestoreItem {
    /// Returns `db.name` of the target.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{}.{}", self.db, self.name)
    }

    /// Returns the name that the collection with the documents has at the source.
    #[must_use]
    pub fn source_data_name(&self) -> String {
        let prefix = if self.record.kind == CollectionKind::Timeseries { BUCKETS_PREFIX } else { "" };
        format!("{prefix}{}", self.record.name)
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
}

impl RestorePlan {
    /// Settles what goes where.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when the patterns choose nothing,
    /// [`Kind::Refused`](crate::error::Kind::Refused) when two namespaces would get one name,
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when catalog and manifest disagree.
    pub fn make(
        manifest: Manifest,
        mut catalog: Catalog,
        recovery: Option<Recovery>,
        request: &RestoreRequest,
    ) -> Result<Self> {
        check_agreement(&manifest, &catalog)?;
        if let Some(recovery) = &recovery {
            catalog.collections = recovery.outlook.collections.clone().into_records();
        }
        let accounts = request.accounts.then_some(Accounts { users: catalog.users, roles: catalog.roles });
        let matches = |pattern: &NamespacePattern| {
            catalog.collections.iter().any(|record| pattern.matches(&record.db, &record.name))
        };
        if !request.patterns.iter().all(matches) {
            return Err(Error::not_found(format!("backup {} holds no namespace that matches", manifest.id))
                .with_hint(format!("'regrow show {}' lists what it holds", manifest.id)));
        }
        let mut items = items(catalog.collections, request)?;
        items.sort_by_key(|item| std::cmp::Reverse(item.bytes));
        check_names(&items)?;
        Ok(Self { manifest, recovery, items, accounts })
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

    /// Returns how many documents will be loaded.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.items.iter().map(|item| item.documents).sum()
    }

    /// Returns how many bytes of documents will be loaded.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }

    /// Returns about how long it will take: with indexes, on a machine with two cores that client and server share.
    #[must_use]
    pub fn estimate(&self) -> Duration {
        let (entries, entry_bytes) =
            self.recovery.as_ref().map_or((0, 0), |recovery| (recovery.outlook.entries, recovery.bytes()));
        estimate(self.bytes() + entry_bytes, entries)
    }

    /// Makes sure that nothing is in the way.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::error::Kind::Refused), naming the namespaces that exist already.
    pub async fn check_target(&self, deployment: &Deployment) -> Result<()> {
        if self.accounts.is_some() {
            // Restoring accounts looks at those that exist; whether it may is better known before the data is loaded.
            accounts::read(&deployment.primary(), None).await?;
        }
        let mut existing = Vec::new();
        let databases: HashSet<&str> = self.items.iter().map(|item| item.db.as_str()).collect();
        for db in databases {
            let found = namespaces::collections_for(&deployment.client().database(db), RESTORE_ROLES).await?;
            let found: HashSet<String> = found.into_iter().map(|namespace| namespace.name).collect();
            let in_the_way = self.items.iter().filter(|item| item.db == db);
            existing.extend(
                in_the_way
                    .filter(|item| found.contains(&item.name) || found.contains(&item.data_name))
                    .map(RestoreItem::target),
            );
        }
        if existing.is_empty() {
            return Ok(());
        }
        existing.sort();
        let count = existing.len();
        let more = if count > MAX_NAMED { format!(" and {} more", count - MAX_NAMED) } else { String::new() };
        existing.truncate(MAX_NAMED);
        let noun = if count == 1 { "namespace exists" } else { "namespaces exist" };
        Err(Error::refused(format!("{count} target {noun} already: {}{more}", existing.join(", ")))
            .with_hint("nothing was changed; restore under other names with --map FROM=TO, to another server with --to, or drop them first"))
    }
}

/// Returns about how long it takes to load and index so many bytes and to replay so many entries of the oplog.
#[must_use]
pub fn estimate(bytes: u64, entries: u64) -> Duration {
    Duration::from_secs(1 + bytes / LOADED_PER_SECOND + entries / REPLAYED_PER_SECOND)
}

/// Pairs each time series with its buckets and gives everything its new name.
fn items(records: Vec<CollectionRecord>, request: &RestoreRequest) -> Result<Vec<RestoreItem>> {
    let (buckets, visible): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| record.kind == CollectionKind::Buckets);
    let mut buckets: HashMap<_, _> =
        buckets.into_iter().map(|record| ((record.db.clone(), record.name.clone()), record)).collect();
    let chosen =
        visible.into_iter().filter(|record| NamespacePattern::any(&request.patterns, &record.db, &record.name));
    chosen
        .map(|record| {
            let (db, name) = NamespaceMap::apply_first(&request.maps, &record.db, &record.name);
            if record.kind != CollectionKind::Timeseries {
                return Ok(item(db, name.clone(), name, None, record));
            }
            let source = (record.db.clone(), format!("{BUCKETS_PREFIX}{}", record.name));
            let data = buckets
                .remove(&source)
                .ok_or_else(|| Error::damaged(format!("the catalog lacks the buckets of {}", record.namespace())))?;
            let data_name = format!("{BUCKETS_PREFIX}{name}");
            Ok(item(db, name, data_name, Some(&data), record))
        })
        .collect()
}

fn item(
    db: String,
    name: String,
    data_name: String,
    data: Option<&CollectionRecord>,
    record: CollectionRecord,
) -> RestoreItem {
    let source = data.unwrap_or(&record);
    let (documents, bytes, digest, segments) = (source.documents, source.bytes, source.digest, source.segments.clone());
    let uuid = source.uuid;
    RestoreItem { db, name, record, data_name, documents, bytes, digest, segments, uuid }
}

/// Two namespaces mapped onto one would mix their documents.
fn check_names(items: &[RestoreItem]) -> Result<()> {
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

/// The catalog is authenticated and the manifest signed; together they must describe the same backup.
fn check_agreement(manifest: &Manifest, catalog: &Catalog) -> Result<()> {
    let documents: u64 = catalog.collections.iter().map(|record| record.documents).sum();
    let segments: u64 = catalog.collections.iter().map(|record| record.segments.len() as u64).sum();
    let of_oplog = catalog.oplog.as_ref().map_or(0, |oplog| oplog.segments.len() as u64);
    let stored: u64 = manifest.packs.iter().map(|pack| pack.segments.len() as u64).sum();
    let needs_oplog = manifest.consistency == Consistency::Oplog;
    if documents != manifest.documents || segments + of_oplog != stored || needs_oplog != catalog.oplog.is_some() {
        return Err(Error::damaged(format!("the catalog of {} is not the one its manifest describes", manifest.id)));
    }
    Ok(())
}
