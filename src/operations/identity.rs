//! When two documents have one `_id`: as the server says, to which `1`, `1.0` and `NumberLong(1)` are equal.
//!
//! An `_id` is written in one way for all values that are equal, then hashed. Strings that only a collation holds for
//! equal stay different. The hash is keyed, so that nobody can choose `_id`s whose hashes collide.

use bson::spec::ElementType;
use bson::{RawDocument, RawDocumentBuf};
use sha2::{Digest, Sha256};

use crate::filter::{Value, canonical_number, elements, fields};
use crate::random::Random;

/// A hash that tells documents apart: 128 bits, of which two are equal by chance in no collection that exists.
pub type Hash = [u8; 16];

/// What ends a document or an array; no type has this number.
const END: u8 = 0x00;

/// The key under which `_id`s are hashed: one for each run.
#[derive(Debug, Clone)]
pub struct IdentityKey([u8; 32]);

impl IdentityKey {
    /// Makes a new one.
    #[must_use]
    pub fn random(random: &Random) -> Self {
        let mut key = [0; 32];
        key.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&random.next_u64().to_le_bytes()));
        Self(key)
    }

    /// Returns the key that these bytes make, which nobody who chooses `_id`s can have known.
    #[must_use]
    pub fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the hash of a document's `_id`.
    #[must_use]
    pub fn hash(&self, id: Option<Element<'_>>) -> Hash {
        first_half(Sha256::new_with_prefix(self.0).chain_update(canonical(id)).finalize().into())
    }
}

/// Returns an `_id` as bytes that are the same for all ways to write it.
#[must_use]
pub fn canonical(id: Option<Element<'_>>) -> Vec<u8> {
    let mut canonical = Vec::with_capacity(64);
    if let Some(Element { value, .. }) = id {
        encode(value, &mut canonical);
    }
    canonical
}

/// Returns as much of a SHA-256 as a record keeps.
#[must_use]
pub fn first_half(hash: [u8; 32]) -> Hash {
    let [first, ..] = hash.as_chunks::<16>().0 else { return [0; 16] };
    *first
}

/// A field as it lies in its document's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    name: &'a str,
    value: Value<'a>,
}

impl<'a> Element<'a> {
    /// Returns a document's `_id`, if it has one.
    #[must_use]
    pub fn id_of(document: &'a RawDocument) -> Option<Self> {
        elements(document).find(|(name, _)| *name == "_id").map(|(name, value)| Self { name, value })
    }

    /// Whether a query for documents with this value means that value: not of what a query takes for something else.
    #[must_use]
    pub fn can_be_asked_for(&self) -> bool {
        match self.value.kind {
            ElementType::Array | ElementType::RegularExpression | ElementType::Undefined => false,
            ElementType::EmbeddedDocument => RawDocument::from_bytes(self.value.bytes).is_ok_and(|document| {
                fields(document).next().is_none_or(|field| field.is_some_and(|(name, _)| !name.starts_with('$')))
            }),
            _ => true,
        }
    }

    /// Returns a document of nothing but this field.
    #[must_use]
    pub fn alone(&self) -> Option<RawDocumentBuf> {
        let value = self.value;
        let bytes = 4 + 1 + self.name.len() + 1 + value.bytes.len() + 1;
        let length = i32::try_from(bytes).ok()?.to_le_bytes();
        let parts = [&length[..], &[value.kind as u8], self.name.as_bytes(), &[0], value.bytes, &[0]];
        RawDocumentBuf::from_bytes(parts.concat()).ok()
    }
}

/// Writes a value so that equal values, and no others, are equal bytes. Each value ends by itself.
fn encode(value: Value<'_>, to: &mut Vec<u8>) {
    match value.kind {
        ElementType::Double | ElementType::Int32 | ElementType::Int64 | ElementType::Decimal128 => {
            encode_number(value, to);
        }
        ElementType::String | ElementType::Symbol => encode_as_is(ElementType::String, value.bytes, to),
        ElementType::EmbeddedDocument | ElementType::Array => {
            let begin = to.len();
            if encode_fields(value, to).is_none() {
                to.truncate(begin);
                encode_as_is(value.kind, value.bytes, to);
            }
        }
        kind => encode_as_is(kind, value.bytes, to),
    }
}

fn encode_as_is(kind: ElementType, bytes: &[u8], to: &mut Vec<u8>) {
    to.push(kind as u8);
    to.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    to.extend_from_slice(bytes);
}

/// Writes the fields of a document, or the items of an array, whose names do not count; none when a name is not UTF-8.
fn encode_fields(value: Value<'_>, to: &mut Vec<u8>) -> Option<()> {
    to.push(value.kind as u8);
    // No length is as large, so that this is never taken for a value written as it is.
    to.extend_from_slice(&u64::MAX.to_le_bytes());
    for field in fields(RawDocument::from_bytes(value.bytes).ok()?) {
        let (name, inner) = field?;
        encode(inner, to);
        if value.kind == ElementType::EmbeddedDocument {
            to.extend_from_slice(name.as_bytes());
            to.push(0);
        }
    }
    to.push(END);
    Some(())
}

fn encode_number(value: Value<'_>, to: &mut Vec<u8>) {
    let Some((negative, digits, exponent)) = canonical_number(value) else {
        return encode_as_is(value.kind, value.bytes, to);
    };
    to.extend_from_slice(&[ElementType::Double as u8, u8::from(negative)]);
    to.extend_from_slice(digits.as_bytes());
    to.push(0);
    to.extend_from_slice(&exponent.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bson::spec::BinarySubtype;
    use bson::{Binary, Bson, DateTime, Decimal128, Timestamp, oid::ObjectId, rawdoc};
    use proptest::prelude::*;

    use super::*;

    fn hash(document: &RawDocument) -> Hash {
        IdentityKey::random(&Random::seeded(7)).hash(Element::id_of(document))
    }

    fn of(id: impl Into<Bson>) -> Hash {
        hash(&RawDocumentBuf::try_from(bson::doc! { "a": 1, "_id": id.into(), "b": 2 }).unwrap())
    }

    fn decimal(text: &str) -> Hash {
        of(text.parse::<Decimal128>().unwrap())
    }

    #[test]
    fn equal_numbers_are_one_id() {
        for other in [of(5_i64), of(5.0), decimal("5"), decimal("5.00"), decimal("0.5E1")] {
            assert_eq!(of(5_i32), other);
        }
        assert_eq!(of(0.0), of(-0.0));
        assert_eq!(of(0), decimal("-0.00"));
        assert_eq!(of(f64::NAN), decimal("NaN"));
        assert_eq!(of(f64::NEG_INFINITY), decimal("-Infinity"));
        assert_eq!(of(0.5), decimal("0.50"));
        assert_eq!(of(1e15), of(1_000_000_000_000_000_i64));
        assert_eq!(of(2_f64.powi(62)), of(1_i64 << 62));
        let large = rawdoc! { "_id": { "a": 1, "b": [2] } };
        assert_eq!(hash(&large), hash(&rawdoc! { "_id": { "a": 1_i64, "b": [2.0] } }));
    }

    #[test]
    fn different_values_are_different_ids() {
        let binary = |subtype| Bson::Binary(Binary { subtype, bytes: vec![1, 2] });
        let ids: Vec<Bson> = vec![
            Bson::Int64(9_007_199_254_740_993),
            Bson::Double(9_007_199_254_740_992.0),
            Bson::Int32(5),
            Bson::Int32(-5),
            Bson::Int32(50),
            Bson::Double(0.1),
            "0.1".parse::<Decimal128>().unwrap().into(),
            Bson::Double(f64::INFINITY),
            "5".into(),
            "".into(),
            Bson::Null,
            Bson::MinKey,
            Bson::MaxKey,
            Bson::Boolean(true),
            Bson::Boolean(false),
            ObjectId::from_bytes([0; 12]).into(),
            ObjectId::from_bytes([1; 12]).into(),
            DateTime::from_millis(5).into(),
            Timestamp { time: 0, increment: 5 }.into(),
            binary(BinarySubtype::Generic),
            binary(BinarySubtype::UserDefined(0x80)),
            bson::doc! {}.into(),
            bson::doc! { "a": 1, "b": 2 }.into(),
            bson::doc! { "b": 2, "a": 1 }.into(),
            bson::doc! { "a": { "b": 2 } }.into(),
            bson::doc! { "a": [1, 2] }.into(),
            bson::doc! { "a": [[1], 2] }.into(),
        ];
        let mut seen = HashMap::new();
        for id in ids {
            if let Some(other) = seen.insert(of(id.clone()), id.clone()) {
                panic!("{other:?} and {id:?} have one hash");
            }
        }
        assert!(!seen.contains_key(&hash(&rawdoc! { "a": 1 })), "no _id is an _id, too");
    }

    #[test]
    fn an_id_that_is_no_text_has_its_bytes() {
        let invalid = |byte: u8| {
            let bytes = [&[16, 0, 0, 0, ElementType::String as u8][..], b"_id\0", &[2, 0, 0, 0, byte, 0, 0]].concat();
            RawDocumentBuf::from_bytes(bytes).unwrap()
        };
        assert_eq!(hash(&invalid(0xff)), hash(&invalid(0xff)));
        assert_ne!(hash(&invalid(0xff)), hash(&invalid(0xfe)));
    }

    #[test]
    fn an_id_alone_is_a_document_again() {
        let alone = Element::id_of(&rawdoc! { "a": 1, "_id": { "b": "c" }, "d": 2 }).unwrap().alone().unwrap();
        assert_eq!(alone, rawdoc! { "_id": { "b": "c" } });
    }

    #[test]
    fn each_run_has_another_key() {
        let random = Random::seeded(1);
        let document = rawdoc! { "_id": 1 };
        let one = IdentityKey::random(&random).hash(Element::id_of(&document));
        assert_ne!(one, IdentityKey::random(&random).hash(Element::id_of(&document)));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 5..200)) {
            let length = i32::try_from(bytes.len()).unwrap().to_le_bytes();
            bytes[..4].copy_from_slice(&length);
            *bytes.last_mut().unwrap() = 0;
            if let Ok(document) = RawDocument::from_bytes(&bytes) {
                let id = Element::id_of(document);
                hash(document);
                id.and_then(|id| id.alone());
            }
            for kind in [ElementType::EmbeddedDocument, ElementType::Array, ElementType::Double, ElementType::Decimal128] {
                encode(Value { kind, bytes: &bytes }, &mut Vec::new());
            }
        }
    }
}
