//! What is compared with what: settled before anything is read.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::catalog::{Catalog, CollectionKind};
use crate::format::manifest::{Consistency, Manifest};
use crate::mongo::{Deployment, Namespace, NamespaceKind, Node, namespaces};
use crate::namespace::{buckets_of, kept_by_restore, visible_name};
use crate::pattern::{NamespaceMap, NamespacePattern};
use crate::restore::{RestoreItem, RestorePlan, RestoreRequest, is_staged};

use super::Presence;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct DiffRequest {
    /// The namespaces to compare, by their names in the backup; none means all of them.
    pub patterns: Vec<NamespacePattern>,
    /// Which live names those of the backup have now.
    pub maps: Vec<NamespaceMap>,
    /// How many documents that differ are told of each namespace.
    pub listed: u64,
}

/// What is compared.
#[derive(Debug)]
pub struct DiffPlan {
    /// The backup.
    pub manifest: Manifest,
    /// The moment at which the live database is read; none for a standalone server, which shows no single one.
    pub as_of: Option<ClusterTime>,
    /// The namespaces, sorted by their live names.
    pub pairs: Vec<Pair>,
    /// Live collections that restores have replaced and kept: they are not compared.
    pub kept: Vec<String>,
    /// How many documents that differ are told of each namespace.
    pub listed: u64,
    /// Where the live database is read.
    pub(super) node: Node,
}

/// A namespace of the backup and the live one that bears its name; at least one of them is there.
#[derive(Debug)]
pub struct Pair {
    /// What the backup has.
    pub(super) backup: Option<RestoreItem>,
    /// What is live.
    pub(super) live: Option<Live>,
}

/// A live namespace.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) listed: Namespace,
    /// What holds its documents: itself, or its buckets; none for a view.
    pub(super) data: Option<Namespace>,
    /// Which name the backup would have it under.
    pub(super) source: String,
}

impl DiffPlan {
    /// Looks at the live database and settles everything.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::error::Kind::Refused) when the backup's documents show no state that there ever was;
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when a pattern chooses nothing on either side; whatever the
    /// server says.
    pub async fn make(
        deployment: &Deployment,
        manifest: Manifest,
        catalog: Catalog,
        request: &DiffRequest,
    ) -> Result<Self> {
        refuse_unfinished(&manifest)?;
        let node = deployment.node_to_read().await?;
        let as_of = deployment.committed_time().await?;
        if let Some(time) = as_of {
            node.wait_for(time).await?;
        }
        // Behind that, because a secondary may not have had everything before. What is created meanwhile is listed, too,
        // and read as of a later moment.
        let listed = namespaces::list(&node, request.patterns.is_empty()).await?;
        let holds = |pattern: &NamespacePattern| {
            catalog.collections.iter().any(|record| pattern.matches(&record.db, visible_name(&record.name)))
        };
        let known: Vec<_> = request.patterns.iter().filter(|pattern| holds(pattern)).cloned().collect();
        let items = if known.is_empty() && !request.patterns.is_empty() {
            Vec::new()
        } else {
            let wanted = RestoreRequest { patterns: known, maps: request.maps.clone(), ..RestoreRequest::default() };
            RestorePlan::make(manifest.clone(), catalog, None, &wanted)?.items
        };
        // What a backup of chosen namespaces lacks was not chosen.
        let seeks_additions = !manifest.partial || !request.patterns.is_empty();
        let mut pairs = pairs(items, listed, request, seeks_additions);
        check_patterns(&request.patterns, &pairs)?;
        let kept = set_kept_aside(&mut pairs, &request.patterns);
        Ok(Self { manifest, as_of: as_of.map(Into::into), pairs, kept, listed: request.listed, node })
    }

    /// Returns about how many bytes of documents one side has.
    pub(super) fn bytes(&self) -> u64 {
        self.pairs.iter().filter_map(|pair| pair.backup.as_ref()).map(|item| item.bytes).sum()
    }
}

impl Pair {
    /// Whether the backup shows it as of a moment shortly after its own.
    #[must_use]
    pub fn is_read_later(&self) -> bool {
        self.backup.as_ref().is_some_and(|item| item.record.ordered)
    }

    /// Returns its live name.
    pub(super) fn namespace(&self) -> String {
        match (&self.backup, &self.live) {
            (Some(item), _) => item.target(),
            (None, Some(live)) => live.listed.full_name(),
            (None, None) => String::new(),
        }
    }

    /// Returns its name in the backup.
    pub(super) fn from(&self) -> String {
        match (&self.backup, &self.live) {
            (Some(item), _) => item.record.namespace(),
            (None, Some(live)) => live.source.clone(),
            (None, None) => String::new(),
        }
    }

    pub(super) fn kind(&self) -> CollectionKind {
        let live = self.live.as_ref().map_or(CollectionKind::Collection, |live| kind(live.listed.kind));
        self.backup.as_ref().map_or(live, |item| item.record.kind)
    }

    pub(super) fn presence(&self) -> Presence {
        match (&self.backup, &self.live) {
            (Some(_), None) => Presence::Backup,
            (None, _) => Presence::Live,
            (Some(_), Some(_)) => Presence::Both,
        }
    }
}

/// Documents that need the backup's own oplog are of different moments, and some occur in two versions.
fn refuse_unfinished(manifest: &Manifest) -> Result<()> {
    if manifest.consistency != Consistency::Oplog {
        return Ok(());
    }
    let id = &manifest.id;
    Err(Error::refused(format!(
        "{id} cannot be compared: its documents show one state only once its oplog is replayed"
    ))
    .with_hint("compare a backup of consistency snapshot, as 'regrow show' tells; 'regrow drill' proves this one"))
}

/// Puts together what bears one name.
fn pairs(items: Vec<RestoreItem>, listed: Vec<Namespace>, request: &DiffRequest, seeks_additions: bool) -> Vec<Pair> {
    let (buckets, visible): (Vec<_>, Vec<_>) =
        listed.into_iter().partition(|namespace| namespace.kind == NamespaceKind::Buckets);
    let mut buckets: BTreeMap<String, Namespace> =
        buckets.into_iter().map(|namespace| (namespace.full_name(), namespace)).collect();
    let mut live: BTreeMap<String, Live> = BTreeMap::new();
    for namespace in visible {
        let data = match namespace.kind {
            NamespaceKind::View => None,
            NamespaceKind::Timeseries => buckets.remove(&format!("{}.{}", namespace.db, buckets_of(&namespace.name))),
            NamespaceKind::Collection | NamespaceKind::Buckets => Some(namespace.clone()),
        };
        live.insert(namespace.full_name(), Live { listed: namespace, data, source: String::new() });
    }
    let paired = items.into_iter().map(|item| {
        let live = live.remove(&item.target());
        Pair { backup: Some(item), live }
    });
    let mut pairs: Vec<Pair> = paired.collect();
    if seeks_additions {
        let added = live.into_values().filter_map(|live| {
            let source = source(&live.listed, request)?;
            Some(Pair { backup: None, live: Some(Live { source, ..live }) })
        });
        pairs.extend(added);
    }
    pairs.sort_by_key(Pair::namespace);
    pairs
}

/// Takes out what restores have replaced and kept, which is nobody's change, unless it is asked for by its very name; returns
/// its live names.
fn set_kept_aside(pairs: &mut Vec<Pair>, patterns: &[NamespacePattern]) -> Vec<String> {
    let is_kept = |pair: &Pair| {
        let name = pair.namespace();
        let is_named = patterns.iter().any(|pattern| pattern.to_string() == name);
        let kept = name.split_once('.').is_some_and(|(_, name)| kept_by_restore(name).is_some() || is_staged(name));
        kept && !is_named && pair.backup.is_none()
    };
    let kept = pairs.extract_if(.., |pair| is_kept(pair)).map(|pair| pair.namespace());
    kept.collect()
}

/// Returns the name under which the backup would have a live namespace, if that is one of those asked for.
fn source(live: &Namespace, request: &DiffRequest) -> Option<String> {
    let sources = NamespaceMap::sources(&request.maps, &live.db, &live.name);
    let (db, name) = sources.into_iter().find(|(db, name)| NamespacePattern::any(&request.patterns, db, name))?;
    Some(format!("{db}.{name}"))
}

/// A misspelt pattern must not pass for one that chooses what does not differ.
fn check_patterns(patterns: &[NamespacePattern], pairs: &[Pair]) -> Result<()> {
    let matches = |pattern: &NamespacePattern| {
        pairs.iter().any(|pair| {
            let from = pair.from();
            from.split_once('.').is_some_and(|(db, name)| pattern.matches(db, name))
        })
    };
    match patterns.iter().find(|pattern| !matches(pattern)) {
        Some(pattern) => Err(Error::not_found(format!("neither the backup nor the live database has {pattern}"))
            .with_hint("check the spelling; a pattern is db, db.collection or db.*, by the names in the backup")),
        None => Ok(()),
    }
}

pub(super) fn kind(kind: NamespaceKind) -> CollectionKind {
    match kind {
        NamespaceKind::Collection => CollectionKind::Collection,
        NamespaceKind::View => CollectionKind::View,
        NamespaceKind::Timeseries => CollectionKind::Timeseries,
        NamespaceKind::Buckets => CollectionKind::Buckets,
    }
}
