//! Whether the restored namespaces are the ones that were backed up: no more, no fewer, with their options and indexes.

use std::collections::{BTreeMap, BTreeSet};

use bson::{RawDocument, RawDocumentBuf};

use super::finding::Finding;
use crate::error::Result;
use crate::format::catalog::CollectionKind;
use crate::mongo::scratch::differences;
use crate::mongo::{Deployment, Namespace, NamespaceKind, namespaces};
use crate::restore::{RestoreItem, RestorePlan};

/// Lists what there is and holds it against the plan.
pub(super) async fn check(deployment: &Deployment, plan: &RestorePlan) -> Result<Vec<Finding>> {
    let databases: BTreeSet<&str> = plan.items.iter().map(|item| item.db.as_str()).collect();
    let mut found: BTreeMap<String, Namespace> = BTreeMap::new();
    for db in databases {
        let listed = namespaces::collections(&deployment.client().database(db)).await?;
        let visible = listed.into_iter().filter(|namespace| namespace.kind != NamespaceKind::Buckets);
        found.extend(visible.map(|namespace| (namespace.full_name(), namespace)));
    }
    let mut names = Finding::about("namespaces", "exactly those that were backed up");
    let (mut options, mut indexes) = (
        Finding::about("options", "those that were backed up"),
        Finding::about("indexes", "those that were backed up"),
    );
    for item in &plan.items {
        let source = item.record.namespace();
        names.count();
        let Some(namespace) = found.remove(&item.target()) else {
            names.fail(format!("{source} is missing"));
            continue;
        };
        if kind(item.record.kind) != namespace.kind {
            names.fail(format!("{source} is of another kind"));
        }
        options.count();
        let different = differences(&item.record.options, &namespace.options);
        if !different.is_empty() {
            options.fail(format!("{source} differs in {}", different.join(", ")));
        }
        if !item.is_view() {
            let listed = namespaces::indexes(&deployment.client().database(&item.db), &item.name).await?;
            compare_indexes(item, &listed, &mut indexes);
        }
    }
    for name in found.keys() {
        names.fail(format!("{name} is there and was not backed up"));
    }
    Ok(vec![names, options, indexes])
}

fn kind(kind: CollectionKind) -> NamespaceKind {
    match kind {
        CollectionKind::Collection => NamespaceKind::Collection,
        CollectionKind::View => NamespaceKind::View,
        CollectionKind::Timeseries => NamespaceKind::Timeseries,
        CollectionKind::Buckets => NamespaceKind::Buckets,
    }
}

fn compare_indexes(item: &RestoreItem, found: &[RawDocumentBuf], finding: &mut Finding) {
    let by_name = |indexes: &[RawDocumentBuf]| -> BTreeMap<String, RawDocumentBuf> {
        indexes.iter().map(|index| (name(index), index.clone())).collect()
    };
    let (expected, mut found) = (by_name(&item.record.indexes), by_name(found));
    for (name, expected) in &expected {
        finding.count();
        match found.remove(name) {
            None => finding.fail(format!("{} lacks {name}", item.record.namespace())),
            Some(index) => {
                let different = differences(expected, &index);
                if !different.is_empty() {
                    let different = different.join(", ");
                    finding.fail(format!("{name} of {} differs in {different}", item.record.namespace()));
                }
            }
        }
    }
    for name in found.keys() {
        finding.fail(format!("{} has {name}, which was not backed up", item.record.namespace()));
    }
}

fn name(index: &RawDocument) -> String {
    index.get_str("name").unwrap_or_default().to_owned()
}
