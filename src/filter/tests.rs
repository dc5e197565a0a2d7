//! What filters mean; that it is what the server means, the integration tests hold against a server.

use bson::{RawDocument, RawDocumentBuf, rawdoc};

use super::*;
use crate::error::Kind;

fn holds(filter: &str, document: &RawDocument) -> bool {
    filter.parse::<Filter>().unwrap().matches(document)
}

#[test]
fn fields_are_found_wherever_they_lie() {
    let document = rawdoc! { "_id": 7, "a": { "b": [{ "c": 1 }, { "c": [2, 3] }] }, "tags": ["x", "y"], "n": null };
    for filter in [
        r#"{"_id":7,"a.b.c":1}"#,
        r#"{"a.b.1.c":2}"#,
        r#"{"tags":"y"}"#,
        r#"{"tags":["x","y"]}"#,
        r#"{"tags.0":"x"}"#,
        r#"{"n":null}"#,
        r#"{"a.x":null}"#,
        r#"{"missing":{"$exists":false}}"#,
        "{}",
    ] {
        assert!(holds(filter, &document), "{filter}");
    }
    for filter in [r#"{"_id":7,"a.b.c":9}"#, r#"{"a.b.0.c":2}"#, r#"{"tags":["y"]}"#, r#"{"tags.1":"x"}"#] {
        assert!(!holds(filter, &document), "{filter}");
    }
}

#[test]
fn numbers_compare_exactly_whatever_their_type() {
    let decimal = |text: &str| text.parse::<bson::Decimal128>().unwrap();
    for number in [
        rawdoc! { "a": 50 },
        rawdoc! { "a": 50_i64 },
        rawdoc! { "a": 50.0 },
        rawdoc! { "a": decimal("50.00") },
        rawdoc! { "a": decimal("5E1") },
    ] {
        assert!(holds(r#"{"a":50}"#, &number) && holds(r#"{"a":{"$numberLong":"50"}}"#, &number), "{number:?}");
        assert!(holds(r#"{"a":{"$gt":49.9,"$lt":50.1}}"#, &number), "{number:?}");
        assert!(!holds(r#"{"a":5}"#, &number) && !holds(r#"{"a":"50"}"#, &number), "{number:?}");
    }
    let large = rawdoc! { "a": 9_007_199_254_740_993_i64 };
    assert!(holds(r#"{"a":{"$numberLong":"9007199254740993"}}"#, &large));
    assert!(holds(r#"{"a":{"$gt":{"$numberDouble":"9007199254740992"}}}"#, &large));
    assert!(!holds(r#"{"a":{"$numberDouble":"9007199254740992"}}"#, &large));
    assert!(holds(r#"{"a":0.5}"#, &rawdoc! { "a": decimal("0.5") }));
    assert!(holds(r#"{"a":{"$lt":0.1}}"#, &rawdoc! { "a": decimal("0.1") }), "no binary fraction is a tenth");
    assert!(holds(r#"{"a":0}"#, &rawdoc! { "a": -0.0 }));
    assert!(holds(r#"{"a":{"$numberDouble":"Infinity"}}"#, &rawdoc! { "a": decimal("Infinity") }));
    assert!(holds(r#"{"a":{"$numberDecimal":"NaN"}}"#, &rawdoc! { "a": f64::NAN }));
    assert!(!holds(r#"{"a":{"$lt":0}}"#, &rawdoc! { "a": f64::NAN }));
}

#[test]
fn types_are_written_as_extended_json() {
    let id = bson::oid::ObjectId::parse_str("656200000000000000000001").unwrap();
    let document = rawdoc! { "_id": id, "at": bson::DateTime::from_millis(0), "key": { "a": 1, "b": "c" } };
    assert!(holds(r#"{"_id":{"$oid":"656200000000000000000001"}}"#, &document));
    assert!(holds(r#"{"at":{"$lt":{"$date":"1970-01-01T00:00:01Z"}}}"#, &document));
    assert!(!holds(r#"{"at":{"$lt":"1970-01-01T00:00:01Z"}}"#, &document), "a date is no text");
    assert!(holds(r#"{"key":{"a":1.0,"b":"c"}}"#, &document));
    assert!(!holds(r#"{"key":{"b":"c","a":1}}"#, &document), "fields have an order");
}

#[test]
fn operators_are_put_together() {
    let document = rawdoc! { "total": 50, "state": "paid", "tags": ["x", "y"] };
    for filter in [
        r#"{"$or":[{"total":{"$gte":100}},{"state":"paid"}]}"#,
        r#"{"$and":[{"total":{"$gt":10}},{"total":{"$lte":50}}]}"#,
        r#"{"$nor":[{"total":1},{"state":"new"}]}"#,
        r#"{"state":{"$in":["new","paid"],"$ne":"new"}}"#,
        r#"{"tags":{"$nin":["z"],"$not":{"$eq":"z"}}}"#,
    ] {
        assert!(holds(filter, &document), "{filter}");
    }
    for filter in [r#"{"tags":{"$ne":"x"}}"#, r#"{"state":{"$not":{"$in":["paid"]}}}"#, r#"{"tags":{"$nin":["y"]}}"#] {
        assert!(!holds(filter, &document), "{filter}");
    }
}

#[test]
fn text_that_is_none_hides_nothing_else() {
    let mut bytes = rawdoc! { "a": "xy", "b": 1 }.as_bytes().to_vec();
    let at = bytes.iter().position(|byte| *byte == b'x').unwrap();
    bytes[at] = 0xff;
    let document = RawDocumentBuf::from_bytes(bytes).unwrap();
    assert!(holds(r#"{"b":1,"a":{"$gt":"xy"}}"#, &document));
    assert!(!holds(r#"{"a":"xy"}"#, &document));
}

#[test]
fn what_only_a_server_can_answer_is_refused_by_name() {
    for (filter, named) in [
        (r#"{"a":{"$regex":"x"}}"#, "$regex"),
        (r#"{"a":{"$regularExpression":{"pattern":"x","options":""}}}"#, "regular expression"),
        (r#"{"a":{"$in":[{"$regularExpression":{"pattern":"x","options":""}}]}}"#, "regular expression"),
        (r#"{"$expr":{"$gt":["$a","$b"]}}"#, "$expr"),
        (r#"{"a":{"$elemMatch":{"b":1}}}"#, "$elemMatch"),
        (r#"{"a":{"$gt":1,"b":2}}"#, "holds b"),
        (r#"{"a":{"b":{"$gt":1}}}"#, "$gt inside of a value"),
        (r#"{"a":{"$in":1}}"#, "$in needs an array"),
        (r#"{"$or":[]}"#, "$or needs at least one"),
        (r#"{"$and":[1]}"#, "$and needs an array of filters"),
        (r#"{"a":{"$not":1}}"#, "$not needs operators"),
        (r#"{"a.":1}"#, "a dot without a name"),
        (r#"{"a":{"$undefined":true}}"#, "undefined"),
        (r#"{"_id":{"$oid":"x"}}"#, "extended JSON"),
        ("[1]", "JSON object"),
        ("nonsense", "JSON object"),
    ] {
        let error = filter.parse::<Filter>().expect_err(filter);
        assert_eq!(error.kind(), Kind::Usage, "{filter}");
        assert!(error.to_string().contains(named) && error.hint().is_some(), "{error}");
    }
}

#[test]
fn references_are_values() {
    let document = rawdoc! { "a": { "$ref": "orders", "$id": 7 } };
    assert!(holds(r#"{"a":{"$ref":"orders","$id":7}}"#, &document));
    assert!(holds(r#"{"a.$id":7}"#, &document));
}
