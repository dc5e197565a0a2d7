//! Telling documents apart by their `_id`, as the server does.

use std::hash::{DefaultHasher, Hash, Hasher};

use bson::RawBsonRef;

/// Returns a number that is the same for all ways to write one `_id`: the server holds `1`, `1.0` and
/// `NumberLong(1)` for equal, so a document may be deleted by one and inserted again with another.
///
/// Strings that only a collation holds for equal get different numbers.
#[must_use]
pub fn document_key(id: RawBsonRef<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    add(id, &mut hasher);
    hasher.finish()
}

fn add(value: RawBsonRef<'_>, hasher: &mut DefaultHasher) {
    match value {
        RawBsonRef::Double(number) => add_number(number, hasher),
        RawBsonRef::Int32(number) => add_number(f64::from(number), hasher),
        // Several large integers share a number then; equal ones still do.
        #[allow(clippy::cast_precision_loss)]
        RawBsonRef::Int64(number) => add_number(number as f64, hasher),
        RawBsonRef::Decimal128(number) => add_number(number.to_string().parse().unwrap_or(f64::NAN), hasher),
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => text.hash(hasher),
        RawBsonRef::Document(document) => document.iter().flatten().for_each(|(name, value)| {
            name.as_str().hash(hasher);
            add(value, hasher);
        }),
        RawBsonRef::Array(array) => array.into_iter().flatten().for_each(|value| add(value, hasher)),
        RawBsonRef::ObjectId(id) => id.bytes().hash(hasher),
        RawBsonRef::Binary(binary) => (u8::from(binary.subtype), binary.bytes).hash(hasher),
        RawBsonRef::DateTime(time) => time.timestamp_millis().hash(hasher),
        RawBsonRef::Timestamp(time) => (time.time, time.increment).hash(hasher),
        RawBsonRef::Boolean(truth) => truth.hash(hasher),
        // Rare as an `_id`, and slow together is better than fast and wrong.
        _ => 0_u8.hash(hasher),
    }
}

fn add_number(number: f64, hasher: &mut DefaultHasher) {
    // Zero has two signs and nothing has many forms.
    let canonical = if number == 0.0 {
        0.0
    } else if number.is_nan() {
        f64::NAN
    } else {
        number
    };
    canonical.to_bits().hash(hasher);
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Decimal128, RawDocumentBuf, rawdoc};

    use super::*;

    fn key(document: &RawDocumentBuf) -> u64 {
        document_key(document.get("_id").unwrap().unwrap())
    }

    fn number(value: impl Into<Bson>) -> u64 {
        key(&RawDocumentBuf::try_from(bson::doc! { "_id": value.into() }).unwrap())
    }

    #[test]
    fn equal_numbers_have_one_key() {
        let decimal = |text: &str| number(text.parse::<Decimal128>().unwrap());
        for other in [number(5_i64), number(5.0), decimal("5"), decimal("5.00"), decimal("0.5E1")] {
            assert_eq!(number(5_i32), other);
        }
        assert_eq!(number(0.0), number(-0.0));
        assert_eq!(number(i64::MAX), number(9_223_372_036_854_775_807.0));
        assert_eq!(number(f64::NAN), decimal("NaN"));
        assert_ne!(number(5_i32), number(6_i32));
    }

    #[test]
    fn numbers_within_documents_count_as_well() {
        let (whole, long) = (rawdoc! { "_id": { "a": 1, "b": [2] } }, rawdoc! { "_id": { "a": 1_i64, "b": [2.0] } });
        assert_eq!(key(&whole), key(&long));
        assert_ne!(key(&whole), key(&rawdoc! { "_id": { "a": 1, "c": [2] } }));
    }
}
