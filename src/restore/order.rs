//! In which order collections are loaded and indexed, so that all is done soon.
//!
//! Inserts keep every core of a target busy, an index build one of them. What is indexed longest is therefore loaded first, and the
//! rest is loaded beside its index build. (J. R. Jackson, "Scheduling a Production Line to Minimize Maximum Tardiness", 1955.)

use std::cmp::Reverse;

use bson::raw::CStr;
use bson::{RawBsonRef, RawDocument};

use super::{Restore, RestoreItem};

/// What an ordinary index takes, in nanoseconds for each document: reading it, sorting its key, and writing the index.
/// This and what follows was measured with mongod 6.0 on documents of 400 bytes to 1.2 KB; only ratios matter.
const ORDINARY_NS: u64 = 2_000;

/// What an index over all words takes, in nanoseconds for each byte of the documents.
const TEXT_NS: u64 = 55;

/// What an index over all fields takes, in nanoseconds for each byte of the documents.
const WILDCARD_NS: u64 = 30;

/// Returns the items that are no views, each with its number in the plan: by what is needed first, and among equals by how long
/// they are indexed; otherwise in the order of the plan.
pub(super) fn in_order<'a>(restore: &'a Restore<'_>) -> Vec<(usize, &'a RestoreItem)> {
    let mut items: Vec<_> = restore.items().filter(|(_, item)| !item.is_view()).collect();
    items.sort_by_cached_key(|&(_, item)| (restore.plan.request.first.rank(item), Reverse(indexing_ns(item))));
    items
}

/// Returns about how many nanoseconds an item is indexed, by one thread.
fn indexing_ns(item: &RestoreItem) -> u64 {
    let (documents, bytes) = item.size();
    item.indexes().map(|index| index_ns(&index, documents, bytes)).sum()
}

fn index_ns(index: &RawDocument, documents: u64, bytes: u64) -> u64 {
    let keys = index.get_document("key").ok().into_iter().flatten().flatten();
    let of_key = |(field, kind): (&CStr, RawBsonRef<'_>)| match kind {
        RawBsonRef::String("text") => bytes * TEXT_NS,
        _ if field.as_str().ends_with("$**") => bytes * WILDCARD_NS,
        _ => documents * ORDINARY_NS,
    };
    keys.map(of_key).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn words_and_all_fields_take_longer_than_a_key_of_each_document() {
        let of = |key| index_ns(&rawdoc! { "name": "by", "key": key }, 1_000, 1_000_000);
        let ordinary = of(rawdoc! { "tenant": 1, "at": -1.0 });
        assert_eq!(ordinary, of(rawdoc! { "place": "2dsphere" }));
        let all_fields = of(rawdoc! { "$**": 1 });
        assert_eq!(all_fields, of(rawdoc! { "attributes.$**": 1 }));
        let words = of(rawdoc! { "tenant": 1, "_fts": "text", "_ftsx": 1 });
        assert!(ordinary < all_fields && all_fields < words, "{ordinary}, {all_fields}, {words}");
    }
}
