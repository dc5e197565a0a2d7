//! What an operation says about its document: an oplog holds changes, seldom whole documents.

use bson::RawDocument;

use super::{Operation, OperationKind};
use crate::filter::{Condition, Value, elements};

/// Whether an operation says that a field of its document has a value: an insert by any field, an update by those that
/// it sets and by the `_id`, a delete by the `_id` alone. In a sharded collection both hold the shard key, too.
#[must_use]
pub fn mentions(operation: &Operation<'_>, condition: &Condition) -> bool {
    match operation.kind {
        OperationKind::Insert | OperationKind::Delete => condition.holds_in(operation.o),
        OperationKind::Update => {
            operation.o2.is_some_and(|o2| condition.holds_in(o2))
                || match operation.o.get_document("diff") {
                    Ok(diff) if matches!(operation.o.get("$v"), Ok(Some(_))) => {
                        diff_sets(diff, condition, condition.path())
                    }
                    _ => condition.holds_in(operation.o),
                }
        }
        OperationKind::Command => false,
    }
}

/// Whether a `$v: 2` diff sets what a condition asks for. Of a document it holds the fields that are set (`u`), added
/// (`i`) and removed (`d`), and `s<field>` for what changes inside; of an array (`a: true`) `u<number>` and `s<number>`.
fn diff_sets(diff: &RawDocument, condition: &Condition, path: &[String]) -> bool {
    let Some((name, rest)) = path.split_first() else { return false };
    let is_array = diff.get_bool("a").unwrap_or(false);
    elements(diff).any(|(key, value)| {
        if is_array {
            let Some((kind, number)) = key.split_at_checked(1).filter(|(_, number)| !number.is_empty()) else {
                return false;
            };
            // An array's place may be left out of the path.
            let rest = if number == name.as_str() { rest } else { path };
            return holds(kind, value, condition, rest);
        }
        match key {
            "u" | "i" => value.as_document().is_some() && condition.holds_below(value, path),
            _ if key.strip_prefix('s') == Some(name) => holds("s", value, condition, rest),
            _ => false,
        }
    })
}

/// Whether a part of a diff sets it: `s` is a diff itself, `u` a value.
fn holds(kind: &str, value: Value<'_>, condition: &Condition, path: &[String]) -> bool {
    match kind {
        "s" => value.as_document().is_some_and(|diff| diff_sets(diff, condition, path)),
        "u" => condition.holds_below(value, path),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;
    use crate::filter::Equalities;

    fn mentioned(filter: &str, entry: &RawDocumentBuf) -> bool {
        let filter: Equalities = filter.parse().unwrap();
        let operation = Operation::parse(entry).unwrap().unwrap();
        filter.conditions().iter().all(|condition| mentions(&operation, condition))
    }

    fn update(o: RawDocumentBuf) -> RawDocumentBuf {
        rawdoc! { "op": "u", "ns": "shop.orders", "o": o, "o2": { "_id": 5 } }
    }

    #[test]
    fn inserts_are_known_by_everything_and_deletes_by_their_id() {
        let insert = rawdoc! { "op": "i", "ns": "a.b", "o": { "_id": 5, "state": "new" } };
        assert!(mentioned(r#"{"_id":5,"state":"new"}"#, &insert));
        let delete = rawdoc! { "op": "d", "ns": "a.b", "o": { "_id": 5 } };
        assert!(mentioned(r#"{"_id":5}"#, &delete));
        assert!(!mentioned(r#"{"state":"new"}"#, &delete));
        assert!(!mentioned(r#"{"drop":"b"}"#, &rawdoc! { "op": "c", "ns": "a.$cmd", "o": { "drop": "b" } }));
    }

    #[test]
    fn updates_are_known_by_their_id_and_what_they_set() {
        let diff = rawdoc! { "$v": 2, "diff": {
            "u": { "state": "paid" },
            "i": { "address": { "city": "Oslo" } },
            "d": { "note": false },
            "slines": { "a": true, "u1": { "sku": 7 }, "s0": { "u": { "price": 3 } } },
            "scustomer": { "sname": { "u": { "last": "Lovelace" } } },
        } };
        let update = update(diff);
        for filter in [
            r#"{"_id":5,"state":"paid"}"#,
            r#"{"address.city":"Oslo"}"#,
            r#"{"lines.sku":7}"#,
            r#"{"lines.1.sku":7}"#,
            r#"{"lines.0.price":3}"#,
            r#"{"customer.name.last":"Lovelace"}"#,
        ] {
            assert!(mentioned(filter, &update), "{filter}");
        }
        for filter in [r#"{"_id":6}"#, r#"{"note":false}"#, r#"{"lines.0.sku":7}"#, r#"{"customer.last":"Lovelace"}"#] {
            assert!(!mentioned(filter, &update), "{filter}");
        }
    }

    #[test]
    fn a_replacement_is_known_by_everything() {
        assert!(mentioned(r#"{"diff":1}"#, &update(rawdoc! { "_id": 5, "diff": 1 })));
        assert!(mentioned(r#"{"diff.u.x":1}"#, &update(rawdoc! { "_id": 5, "diff": { "u": { "x": 1 } } })));
    }
}
