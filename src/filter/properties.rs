//! What holds for all values: their order is one, and operators agree with each other.

use bson::{Bson, Decimal128, RawDocumentBuf, doc};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn scalar() -> impl Strategy<Value = Bson> {
    let decimals = ["0", "-0", "0.1", "1E+1", "10", "-5E-3", "NaN", "Infinity", "-Infinity", "9.99E+6144", "1E-6176"];
    let doubles = [0.0, -0.0, 0.1, 10.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 9.3e18, -1e300];
    prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        (-3..12).prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<f64>().prop_map(Bson::Double),
        prop::sample::select(doubles.to_vec()).prop_map(Bson::Double),
        prop::sample::select(decimals.to_vec()).prop_map(|text| Bson::from(text.parse::<Decimal128>().unwrap())),
        "[a-c]{0,2}".prop_map(Bson::String),
        "[a-c]{0,2}".prop_map(Bson::Symbol),
        any::<bool>().prop_map(Bson::Boolean),
        (-2..2_i64).prop_map(|millis| Bson::DateTime(bson::DateTime::from_millis(millis))),
        Just(Bson::Null),
        Just(Bson::MinKey),
        Just(Bson::MaxKey),
        any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(bytes.into())),
    ]
}

fn value() -> impl Strategy<Value = Bson> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Bson::Array),
            vec(("[ab]", inner), 0..3).prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

fn document(value: &Bson) -> RawDocumentBuf {
    RawDocumentBuf::try_from(doc! { "a": value.clone() }).unwrap()
}

fn filter(filter: bson::Document) -> Filter {
    Bson::Document(filter).into_canonical_extjson().to_string().parse().unwrap()
}

proptest! {
    #[test]
    fn the_order_is_one(values in (value(), value(), value())) {
        let holders = [document(&values.0), document(&values.1), document(&values.2)];
        let [a, b, c] = holders.each_ref().map(|holder| elements(holder).next().unwrap().1);
        prop_assert!(a.compare(a).is_eq());
        prop_assert_eq!(a.compare(b), b.compare(a).reverse());
        if a.compare(b).is_le() && b.compare(c).is_le() {
            prop_assert!(a.compare(c).is_le());
        }
    }

    #[test]
    fn operators_agree(held in value(), asked in value(), other in value()) {
        let held = document(&held);
        let holds = |condition: bson::Document| filter(condition).matches(&held);
        let one = |operator: &str| holds(doc! { "a": { operator: asked.clone() } });
        prop_assert_eq!(one("$eq"), !one("$ne"));
        let both = vec![asked.clone(), other.clone()];
        let either = one("$eq") || holds(doc! { "a": { "$eq": other.clone() } });
        prop_assert_eq!(holds(doc! { "a": { "$in": both.clone() } }), either);
        prop_assert_eq!(holds(doc! { "a": { "$nin": both } }), !either);
        prop_assert_eq!(one("$gte"), one("$gt") || one("$eq"));
        prop_assert_eq!(one("$lte"), one("$lt") || one("$eq"));
        prop_assert_eq!(holds(doc! { "$nor": [{ "a": { "$gt": asked.clone() } }] }), !one("$gt"));
    }

    /// Integers and doubles against decimals, and against each other where both are exact.
    #[test]
    fn numbers_have_one_order(a in any::<i64>(), b in any::<f64>()) {
        let integer = document(&Bson::Int64(a));
        let double = document(&Bson::Double(b));
        let small = document(&Bson::Int32(i32::try_from(a >> 32).unwrap()));
        let compare = |a: &RawDocumentBuf, b: &RawDocumentBuf| {
            elements(a).next().unwrap().1.compare(elements(b).next().unwrap().1)
        };
        let decimal = document(&Bson::from(a.to_string().parse::<Decimal128>().unwrap()));
        prop_assert!(compare(&integer, &decimal).is_eq());
        prop_assert_eq!(compare(&integer, &double), compare(&decimal, &double));
        prop_assert_eq!(compare(&small, &double), f64::from(i32::try_from(a >> 32).unwrap()).partial_cmp(&b).unwrap());
    }
}
