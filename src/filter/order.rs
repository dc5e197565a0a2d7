//! The server's order of values: by bracket, and inside a bracket by what the values are.

use std::cmp::Ordering;

use bson::RawDocument;
use bson::spec::ElementType;

use super::Value;
use super::number::Number;
use super::value::elements;

/// Types whose values compare with each other, in the server's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bracket {
    MinKey,
    /// Also what is undefined.
    Missing,
    Null,
    Number,
    Text,
    Document,
    Array,
    Binary,
    ObjectId,
    Boolean,
    DateTime,
    Timestamp,
    RegularExpression,
    DbPointer,
    Code,
    CodeWithScope,
    MaxKey,
}

impl Value<'_> {
    pub(super) fn bracket(self) -> Bracket {
        match self.kind {
            ElementType::MinKey => Bracket::MinKey,
            ElementType::Undefined => Bracket::Missing,
            ElementType::Null => Bracket::Null,
            ElementType::Double | ElementType::Int32 | ElementType::Int64 | ElementType::Decimal128 => Bracket::Number,
            ElementType::String | ElementType::Symbol => Bracket::Text,
            ElementType::EmbeddedDocument => Bracket::Document,
            ElementType::Array => Bracket::Array,
            ElementType::Binary => Bracket::Binary,
            ElementType::ObjectId => Bracket::ObjectId,
            ElementType::Boolean => Bracket::Boolean,
            ElementType::DateTime => Bracket::DateTime,
            ElementType::Timestamp => Bracket::Timestamp,
            ElementType::RegularExpression => Bracket::RegularExpression,
            ElementType::DbPointer => Bracket::DbPointer,
            ElementType::JavaScriptCode => Bracket::Code,
            ElementType::JavaScriptCodeWithScope => Bracket::CodeWithScope,
            ElementType::MaxKey => Bracket::MaxKey,
        }
    }

    pub(super) fn is_nan(self) -> bool {
        Number::of(self).is_some_and(Number::is_nan)
    }

    pub(super) fn compare(self, other: Value<'_>) -> Ordering {
        let (bracket, other_bracket) = (self.bracket(), other.bracket());
        if bracket != other_bracket {
            return bracket.cmp(&other_bracket);
        }
        let (a, b) = (self.bytes, other.bytes);
        match bracket {
            Bracket::Number => Number::of(self).cmp(&Number::of(other)),
            Bracket::Text | Bracket::Code => text(a).cmp(text(b)),
            Bracket::Document | Bracket::Array => compare_documents(inner(a), inner(b)),
            // What is shorter comes first; the length stands in front, little-endian.
            Bracket::Binary | Bracket::DbPointer => (a.len(), a.get(4..)).cmp(&(b.len(), b.get(4..))),
            Bracket::DateTime => long(a).cmp(&long(b)),
            Bracket::Timestamp => long(a).cast_unsigned().cmp(&long(b).cast_unsigned()),
            Bracket::CodeWithScope => compare_scoped(a, b),
            Bracket::ObjectId | Bracket::Boolean | Bracket::RegularExpression => a.cmp(b),
            Bracket::MinKey | Bracket::Missing | Bracket::Null | Bracket::MaxKey => Ordering::Equal,
        }
    }
}

/// Compares field by field: the bracket first, then the name, then the value.
fn compare_documents(a: Option<&RawDocument>, b: Option<&RawDocument>) -> Ordering {
    let (Some(a), Some(b)) = (a, b) else { return a.is_some().cmp(&b.is_some()) };
    let (mut a, mut b) = (elements(a), elements(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some((name_a, a)), Some((name_b, b))) => {
                let order = a.bracket().cmp(&b.bracket()).then_with(|| name_a.cmp(name_b)).then_with(|| a.compare(b));
                if order.is_ne() {
                    return order;
                }
            }
        }
    }
}

/// Compares code, then what it sees.
fn compare_scoped(a: &[u8], b: &[u8]) -> Ordering {
    let parts = |value: &'_ [u8]| {
        let code = value.get(4..).unwrap_or_default();
        (text(code).to_owned(), code.get(4 + length(code)..).unwrap_or_default().to_owned())
    };
    let ((code_a, scope_a), (code_b, scope_b)) = (parts(a), parts(b));
    code_a.cmp(&code_b).then_with(|| compare_documents(inner(&scope_a), inner(&scope_b)))
}

fn inner(bytes: &[u8]) -> Option<&RawDocument> {
    RawDocument::from_bytes(bytes).ok()
}

/// Returns a string without the length before it and the zero byte behind it.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.get(4..(4 + length(bytes)).saturating_sub(1)).unwrap_or_default()
}

fn length(bytes: &[u8]) -> usize {
    let length = bytes.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes));
    usize::try_from(length).unwrap_or_default()
}

fn long(bytes: &[u8]) -> i64 {
    bytes.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}
