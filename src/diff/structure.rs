//! Whether what holds the documents is the same: options and indexes.

use std::collections::BTreeMap;

use bson::{RawDocument, RawDocumentBuf};
use serde::Serialize;

use super::plan::{Pair, kind};
use super::{Change, Presence};
use crate::mongo::scratch::differences;

/// An index that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexDifference {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: Change,
    /// In what it differs, where both sides have it.
    pub fields: Vec<String>,
}

/// Returns the options that differ between two that bear one name; `kind` when one is a view, say, and the other is not.
pub(super) fn options(pair: &Pair) -> Vec<String> {
    let (Some(item), Some(live)) = (&pair.backup, &pair.live) else { return Vec::new() };
    let mut different = differences(&item.record.options, &live.listed.options);
    if item.record.kind != kind(live.listed.kind) {
        different.insert(0, "kind".into());
    }
    different
}

/// Returns the indexes that differ between two that bear one name.
pub(super) fn indexes(pair: &Pair) -> Vec<IndexDifference> {
    match (&pair.backup, &pair.live) {
        (Some(item), Some(live)) if pair.presence() == Presence::Both => {
            compare(&item.record.indexes, &live.listed.indexes)
        }
        _ => Vec::new(),
    }
}

fn compare(backup: &[RawDocumentBuf], live: &[RawDocumentBuf]) -> Vec<IndexDifference> {
    let (backup, mut live) = (by_name(backup), by_name(live));
    let mut found = Vec::new();
    for (name, expected) in backup {
        let (change, fields) = match live.remove(name) {
            None => (Change::Removed, Vec::new()),
            Some(index) => (Change::Changed, differences(expected, index)),
        };
        if change == Change::Removed || !fields.is_empty() {
            found.push(IndexDifference { name: name.to_owned(), change, fields });
        }
    }
    let added = |name: &str| IndexDifference { name: name.to_owned(), change: Change::Added, fields: Vec::new() };
    found.extend(live.into_keys().map(added));
    found
}

fn by_name(indexes: &[RawDocumentBuf]) -> BTreeMap<&str, &RawDocument> {
    indexes.iter().map(|index| (index.get_str("name").unwrap_or_default(), &**index)).collect()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn indexes_are_told_apart_by_their_names() {
        let index = |name: &str, field: &str| {
            let mut key = RawDocumentBuf::new();
            key.append(bson::raw::CString::try_from(field.to_owned()).unwrap(), 1);
            rawdoc! { "v": 2, "key": key, "name": name }
        };
        let backup = [index("_id_", "_id"), index("one", "a"), index("gone", "b")];
        let live = [index("new", "c"), index("one", "d"), index("_id_", "_id")];
        let found: Vec<_> =
            compare(&backup, &live).into_iter().map(|found| (found.name, found.change, found.fields)).collect();
        let expected = [
            ("gone".to_owned(), Change::Removed, vec![]),
            ("one".to_owned(), Change::Changed, vec!["key".to_owned()]),
            ("new".to_owned(), Change::Added, vec![]),
        ];
        assert_eq!(found, expected);
        assert_eq!(compare(&backup, &backup), []);
    }
}
