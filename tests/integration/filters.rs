//! Filters mean what they mean to a server: the same text, the same documents, the same answers.

use std::collections::BTreeMap;

use mongodb::bson::raw::cstr;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawDocumentBuf, Regex, Timestamp, doc,
    oid::ObjectId, rawdoc,
};
use mongodb::{Client, Collection};
use regrow::filter::Filter;

use crate::contents::all;
use crate::harness;

fn decimal(text: &str) -> Bson {
    text.parse::<Decimal128>().unwrap().into()
}

fn binary(subtype: BinarySubtype, bytes: &[u8]) -> Bson {
    Binary { subtype, bytes: bytes.to_vec() }.into()
}

/// Values of every type, those with traps above all; they are held and asked for.
fn values() -> Vec<Bson> {
    let mut values = numbers();
    let id = |byte| Bson::ObjectId(ObjectId::from_bytes([byte; 12]));
    let code = |code: &str, x: i32| JavaScriptCodeWithScope { code: code.into(), scope: doc! { "x": x } };
    let regex = |pattern: &str| Regex { pattern: pattern.try_into().unwrap(), options: cstr!("i").into() };
    values.extend([
        Bson::Null,
        Bson::MinKey,
        Bson::MaxKey,
        "".into(),
        "a".into(),
        "B".into(),
        "ab".into(),
        "a\0b".into(),
        "é".into(),
        "5".into(),
        Bson::Symbol("a".into()),
        true.into(),
        false.into(),
        DateTime::from_millis(-1).into(),
        DateTime::from_millis(5).into(),
        Timestamp { time: 5, increment: 0 }.into(),
        Timestamp { time: u32::MAX, increment: 1 }.into(),
        id(0),
        id(0xff),
        binary(BinarySubtype::Generic, b"ab"),
        binary(BinarySubtype::Generic, b"z"),
        binary(BinarySubtype::Uuid, &[7; 16]),
        binary(BinarySubtype::BinaryOld, b"ab"),
        Bson::RegularExpression(regex("a")),
        Bson::JavaScriptCode("a".into()),
        code("a", 1).into(),
        code("a", 2).into(),
        doc! {}.into(),
        doc! { "b": 1 }.into(),
        doc! { "b": 1.0, "c": null }.into(),
        doc! { "c": null, "b": 1 }.into(),
        doc! { "a": 2 }.into(),
        doc! { "b": "x" }.into(),
        doc! { "b": f64::NAN }.into(),
        Bson::Array(Vec::new()),
        Bson::Array(vec![Bson::Null]),
        Bson::Array(vec![1.into(), 5.into()]),
        Bson::Array(vec![5.into(), "a".into(), Bson::MaxKey]),
        Bson::Array(vec![Bson::Array(vec![1.into(), 5.into()])]),
        Bson::Array(vec![doc! { "b": 1 }.into(), doc! { "b": [5, null] }.into(), 7.into()]),
        Bson::Array(vec![Bson::Array(vec![doc! { "b": 5 }.into()]), doc! { "0": 5, "1": { "b": 1 } }.into()]),
        doc! { "b": [{ "c": 5 }, { "c": [1, 2] }, []] }.into(),
        doc! { "": { "": 5 }, "0": [5], "01": 1 }.into(),
        doc! { "$ref": "x", "$id": 5 }.into(),
    ]);
    values
}

fn numbers() -> Vec<Bson> {
    let exact = 9_007_199_254_740_992_i64;
    let mut numbers: Vec<Bson> =
        vec![0.into(), 5.into(), 5_i64.into(), 5.5.into(), 0.1.into(), (-0.0).into(), (exact + 1).into()];
    numbers.extend([i64::MAX, i64::MIN, exact].map(Bson::from));
    numbers
        .extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 9.007_199_254_740_992e15, 9.3e18, 5e-324].map(Bson::from));
    numbers.extend(
        ["5", "5.0", "0.1", "-0", "NaN", "Infinity", "1E-6176", "9.3E+18", "0.1000000000000000055511151231257827"]
            .map(decimal),
    );
    numbers
}

/// The same values as a field, as that of a field and of an array's elements; fields that are missing.
fn documents() -> Vec<RawDocumentBuf> {
    let mut documents = vec![doc! {}, doc! { "b": 5 }, doc! { "a": { "b": { "c": 5 } }, "b": [] }];
    for value in values() {
        documents.push(doc! { "a": value.clone() });
        documents.push(doc! { "a": { "b": value.clone() } });
        documents.push(doc! { "a": [{ "b": value.clone() }, value] });
    }
    documents.push(doc! { "a": Bson::Undefined });
    let numbered = documents.into_iter().enumerate().map(|(number, fields)| {
        let mut document = doc! { "_id": i32::try_from(number).unwrap() };
        document.extend(fields);
        RawDocumentBuf::try_from(document).unwrap()
    });
    let mut documents: Vec<_> = numbered.collect();
    documents.push(broken_text());
    documents
}

/// Drivers have written strings that are no UTF-8, and servers keep them.
fn broken_text() -> RawDocumentBuf {
    let mut bytes = rawdoc! { "_id": -1, "a": ["xy"] }.as_bytes().to_vec();
    let at = bytes.iter().position(|byte| *byte == b'x').unwrap();
    bytes[at] = 0xff;
    RawDocumentBuf::from_bytes(bytes).unwrap()
}

/// Each operator with each value, and what is put together of them.
fn filters() -> Vec<Document> {
    let mut filters = Vec::new();
    let operators = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"];
    for value in values() {
        let is_regex = matches!(value, Bson::RegularExpression(_));
        for operator in operators.into_iter().filter(|operator| !is_regex || *operator == "$eq") {
            filters.push(doc! { "a": { operator: value.clone() } });
            filters.push(doc! { "a.b": { operator: value.clone() } });
        }
        if !is_regex {
            filters.push(doc! { "a": value.clone() });
            filters.push(doc! { "a": { "$not": { "$gt": value.clone() } } });
            filters.push(doc! { "a.b": { "$in": [value.clone(), "ab"] } });
            filters.push(doc! { "a": { "$nin": [5, value] } });
        }
    }
    for path in ["a.0", "a.1", "a.0.b", "a.1.b", "a.b.0", "a.b.c", "a.b.1.c", "a.0.0", "a.01", "a.$id", "b", ""] {
        for value in [Bson::from(5), Bson::Null, doc! { "b": 1 }.into(), Bson::Array(vec![1.into(), 5.into()])] {
            filters.extend(["$eq", "$ne", "$lte", "$gt"].map(|operator| doc! { path: { operator: value.clone() } }));
        }
        filters.extend([true, false].map(|exists| doc! { path: { "$exists": exists } }));
    }
    filters.extend(put_together());
    filters
}

fn put_together() -> Vec<Document> {
    vec![
        doc! {},
        doc! { "a": { "$in": [] } },
        doc! { "a": { "$nin": [] } },
        doc! { "a": { "$in": [null, 5] } },
        doc! { "a": { "$gte": 1, "$lt": 6 } },
        doc! { "a": { "$exists": 0 } },
        doc! { "a": { "$exists": decimal("0.0") } },
        doc! { "a": { "$exists": "no" } },
        doc! { "a": { "$exists": null } },
        doc! { "a": { "$not": { "$gte": 1, "$lt": 6 } } },
        doc! { "$or": [{ "a": 5 }, { "a.b": 5 }] },
        doc! { "$nor": [{ "a": 5 }, { "a.b": 5 }] },
        doc! { "$and": [{ "a": { "$gt": 1 } }, {}, { "$or": [{ "a": { "$lt": 6 } }, { "a": { "$gt": 7 } }] }] },
        doc! { "a": { "b": 1 }, "_id": { "$gte": 3 } },
        doc! { "a": { "$eq": 5, "$ne": "a" }, "$nor": [{ "b": 5 }] },
    ]
}

async fn answers(client: &Client, db: &str, filter: &Document) -> Vec<i32> {
    let find = doc! { "find": "c", "filter": filter.clone(), "projection": { "_id": 1 }, "sort": { "_id": 1 } };
    let found = all(&client.database(db), RawDocumentBuf::try_from(find).unwrap()).await;
    found.iter().map(|document| document.get_i32("_id").unwrap()).collect()
}

#[tokio::test]
async fn filters_answer_as_the_server_does() {
    let servers = harness::replica_set();
    let (client, db) = (servers.client().await, harness::unique_database_name());
    let collection: Collection<RawDocumentBuf> = client.database(&db).collection("c");
    collection.insert_many(documents()).await.unwrap();
    let held = all(&client.database(&db), rawdoc! { "find": "c" }).await;
    let held: BTreeMap<i32, _> = held.into_iter().map(|held| (held.get_i32("_id").unwrap(), held)).collect();
    let filters = filters();
    assert!(filters.len() > 500, "{}", filters.len());
    let mut wrong = Vec::new();
    for filter in filters {
        let text = Bson::Document(filter.clone()).into_canonical_extjson().to_string();
        let parsed: Filter = text.parse().unwrap_or_else(|error| panic!("{error}"));
        let ours = held.iter().filter(|(_, held)| parsed.matches(held)).map(|(id, _)| *id).collect::<Vec<_>>();
        let theirs = answers(&client, &db, &filter).await;
        let differs = |id: &&i32| ours.contains(id) != theirs.contains(id);
        wrong.extend(held.keys().filter(differs).map(|id| format!("{text}: {} {:?}", ours.contains(id), held[id])));
    }
    assert!(wrong.is_empty(), "{} differ, ours first:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}
