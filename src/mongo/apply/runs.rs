//! Runs of operations on one document: which of them a later one makes needless.
//!
//! Only where the outcome is the same to the byte, whatever the document is before. That an update finds its document missing is
//! noticed no less, unless the document is deleted further on in the run.

use bson::raw::RawBsonRef;
use bson::{RawDocument, RawDocumentBuf};

/// What an operation does to its document.
enum Effect<'a> {
    Insert,
    Replacement,
    /// A `$v: 2` update: it says what changes.
    Diff(&'a RawDocument),
    /// An update in a form that is not looked into.
    OtherUpdate,
    Delete,
}

impl<'a> Effect<'a> {
    fn of(operation: &'a RawDocument) -> Self {
        match (operation.get_str("op"), operation.get_document("o")) {
            (Ok("i"), _) => Self::Insert,
            (Ok("d"), _) => Self::Delete,
            (_, Ok(changes)) => Self::of_update(changes),
            _ => Self::OtherUpdate,
        }
    }

    fn of_update(changes: &'a RawDocument) -> Self {
        match (changes.get("$v"), changes.get_document("diff")) {
            // A document may have these fields of its own; it is told by its `_id`.
            (Ok(Some(RawBsonRef::Int32(2))), Ok(diff)) if matches!(changes.get("_id"), Ok(None)) => Self::Diff(diff),
            _ if is_replacement(changes) => Self::Replacement,
            _ => Self::OtherUpdate,
        }
    }

    fn is_update(&self) -> bool {
        !matches!(self, Self::Insert | Self::Delete)
    }
}

/// Whether two operations are on the same document of the same collection.
pub(super) fn are_of_one_document(one: &RawDocument, other: &RawDocument) -> bool {
    let (of_one, of_other) = (id(one), id(other));
    of_one.is_some() && of_one == of_other && one.get_str("ns").ok() == other.get_str("ns").ok()
}

/// Returns how many of the last operations on a document, of those that count, are needless before `next`.
pub(super) fn needless<'a>(before: impl DoubleEndedIterator<Item = &'a RawDocumentBuf>, next: &RawDocument) -> usize {
    let mut latest_first = before.rev().map(|operation| Effect::of(operation));
    match Effect::of(next) {
        Effect::Delete => latest_first.count(),
        // Not the insert: what it replaces must be there.
        Effect::Replacement => latest_first.take_while(Effect::is_update).count(),
        Effect::Diff(next) => match latest_first.next() {
            Some(Effect::Diff(last)) if set_the_same_fields(last, next) => 1,
            _ => 0,
        },
        Effect::Insert | Effect::OtherUpdate => 0,
    }
}

/// Whether this is the document as a whole: what changes parts of it begins with a dollar sign.
fn is_replacement(changes: &RawDocument) -> bool {
    changes.iter().all(|field| field.is_ok_and(|(name, _)| !name.as_str().starts_with('$')))
}

fn id(operation: &RawDocument) -> Option<RawBsonRef<'_>> {
    let holder = operation.get_document("o2").or_else(|_| operation.get_document("o")).ok()?;
    holder.get("_id").ok().flatten()
}

/// Whether two diffs set the same fields, in the same order, and do nothing else: then the second alone does what both do, where the
/// fields are there and where they are not.
fn set_the_same_fields(one: &RawDocument, other: &RawDocument) -> bool {
    let mut sections = other.iter();
    let agree = one.iter().all(|section| {
        let (Ok((name, of_one)), Some(Ok((other_name, of_other)))) = (section, sections.next()) else { return false };
        let (RawBsonRef::Document(of_one), RawBsonRef::Document(of_other)) = (of_one, of_other) else { return false };
        let name = name.as_str();
        name == other_name.as_str()
            && match name {
                "u" => have_the_same_names(of_one, of_other),
                // What lies in a field: a diff of its own.
                _ if name.starts_with('s') => set_the_same_fields(of_one, of_other),
                _ => false,
            }
    });
    agree && sections.next().is_none()
}

fn have_the_same_names(one: &RawDocument, other: &RawDocument) -> bool {
    let mut names = other.iter();
    let agree = one.iter().all(|field| match (field, names.next()) {
        (Ok((name, _)), Some(Ok((other, _)))) => name == other,
        _ => false,
    });
    agree && names.next().is_none()
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn raw(operation: Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(operation).unwrap()
    }

    fn insert(id: i32) -> RawDocumentBuf {
        raw(doc! { "op": "i", "ns": "a.b", "o": { "_id": id, "n": 0 } })
    }

    fn delete(id: i32) -> RawDocumentBuf {
        raw(doc! { "op": "d", "ns": "a.b", "o": { "_id": id } })
    }

    fn update(o: Document) -> RawDocumentBuf {
        raw(doc! { "op": "u", "ns": "a.b", "o": o, "o2": { "_id": 1 } })
    }

    fn diff_of(sections: Document) -> RawDocumentBuf {
        update(doc! { "$v": 2, "diff": sections })
    }

    fn set(n: i32) -> RawDocumentBuf {
        diff_of(doc! { "u": { "n": n } })
    }

    fn count(before: &[RawDocumentBuf], next: &RawDocumentBuf) -> usize {
        needless(before.iter(), next)
    }

    #[test]
    fn what_is_deleted_need_not_have_been_anything() {
        assert_eq!(count(&[], &delete(1)), 0);
        assert_eq!(count(&[insert(1), set(1), delete(1), insert(1)], &delete(1)), 4);
    }

    #[test]
    fn a_replacement_needs_its_document_and_no_changes_of_it() {
        let (whole, old) = (update(doc! { "_id": 1, "n": 2 }), update(doc! { "$set": { "n": 1 } }));
        assert_eq!(count(&[set(1), old.clone(), whole.clone()], &whole), 3);
        assert_eq!(count(&[insert(1), set(1)], &whole), 1);
        assert_eq!(count(&[delete(1)], &insert(1)), 0, "the document would be in the way");
        assert_eq!(count(&[whole], &old), 0);
    }

    #[test]
    fn a_diff_stands_for_the_one_before_where_it_sets_the_same_fields() {
        assert_eq!(count(&[set(1), set(2)], &set(3)), 1, "that one stands for the first");
        let nested = |n: i32| diff_of(doc! { "u": { "a": n, "b": "x" }, "sc": { "u": { "d": n } } });
        assert_eq!(count(&[nested(1)], &nested(2)), 1);
        assert_eq!(count(&[insert(1)], &set(1)), 0);
        assert_eq!(count(&[update(doc! { "_id": 1, "n": 2 })], &set(1)), 0);
        for other in [
            doc! { "u": { "m": 1 } },
            doc! { "u": { "n": 1, "m": 1 } },
            doc! { "i": { "n": 1 } },
            doc! { "d": { "n": false } },
            doc! { "sn": { "u": { "n": 1 } } },
            doc! { "u": { "n": 1 }, "d": { "m": false } },
            doc! {},
        ] {
            assert_eq!(count(&[set(1)], &diff_of(other.clone())), 0, "{other}");
            assert_eq!(count(&[diff_of(other.clone())], &set(1)), 0, "{other}");
        }
        let document = |n: i32| update(doc! { "_id": 1, "$v": 2, "diff": { "u": { "n": n } }, "n": n, "x": 9 });
        assert_eq!(count(&[document(1)], &set(2)), 0, "a document as a whole, which happens to have such fields");
        let order = |first: &str, second: &str| diff_of(doc! { "u": { first: 1, second: 1 } });
        assert_eq!(count(&[order("a", "b")], &order("b", "a")), 0, "new fields stand in that order");
        let appended = |n: i32| diff_of(doc! { "i": { "n": n } });
        assert_eq!(count(&[appended(1)], &appended(2)), 0, "not looked into");
        let array = |n: i32| diff_of(doc! { "sa": { "a": true, "u0": n } });
        assert_eq!(count(&[array(1)], &array(2)), 0, "not looked into");
    }

    #[test]
    fn documents_are_told_apart_by_collection_and_id() {
        let elsewhere = raw(doc! { "op": "d", "ns": "a.c", "o": { "_id": 1 } });
        assert!(are_of_one_document(&insert(1), &set(1)) && are_of_one_document(&set(1), &delete(1)));
        assert!(!are_of_one_document(&insert(1), &delete(2)));
        assert!(!are_of_one_document(&insert(1), &elsewhere));
        let float = raw(doc! { "op": "d", "ns": "a.b", "o": { "_id": 1.0 } });
        assert!(!are_of_one_document(&insert(1), &float), "the server holds them for one, and that is left to it");
    }
}
