use bson::spec::BinarySubtype;
use bson::{Binary, Bson, RawDocumentBuf, Regex, cstr, doc, rawdoc};

use super::*;

const UUID: CollectionUuid = [1; 16];

fn ui() -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes: UUID.to_vec() }
}

fn operation(op: &str, o: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "op": op, "ns": if op == "c" { "shop.$cmd" } else { "shop.orders" }, "ui": ui(), "o": o }
}

fn update(id: impl Into<Bson>) -> RawDocumentBuf {
    let mut entry = operation("u", rawdoc! { "$v": 2, "diff": { "u": { "a": 1 } } });
    let o2 = RawDocumentBuf::try_from(doc! { "_id": id.into() }).unwrap();
    entry.append(cstr!("o2"), o2);
    entry
}

fn followed(entries: &[RawDocumentBuf]) -> Result<Touched> {
    let mut touched = Touched::new(&Random::seeded(1));
    entries.iter().try_for_each(|entry| touched.follow(entry)).map(|()| touched)
}

/// Returns the `_id`s that are known; none where the collection counts as a whole.
fn ids(entries: &[RawDocumentBuf]) -> Option<Vec<i32>> {
    match followed(entries).unwrap().take(&UUID)? {
        OfCollection::Whole => None,
        OfCollection::Ids(ids) => {
            Some(Walk::new(ids.as_bytes()).map(|id| id.unwrap().get_i32("_id").unwrap()).collect())
        }
    }
}

fn transaction(operations: &[RawDocumentBuf], field: &bson::raw::CStr) -> RawDocumentBuf {
    let operations: bson::RawArrayBuf = operations.iter().cloned().collect();
    let mut o = rawdoc! { "applyOps": operations };
    o.append(field, true);
    rawdoc! { "op": "c", "ns": "admin.$cmd", "lsid": { "id": "s" }, "txnNumber": 1_i64, "o": o }
}

#[test]
fn each_document_counts_once_however_it_was_touched() {
    let entries = [
        operation("i", rawdoc! { "_id": 1, "text": "x" }),
        update(1_i64),
        operation("d", rawdoc! { "_id": 1.0 }),
        update(2),
        transaction(&[operation("i", rawdoc! { "_id": 3 }), update(2)], cstr!("partialTxn")),
        transaction(&[operation("d", rawdoc! { "_id": 4 })], cstr!("prepare")),
    ];
    assert_eq!(ids(&entries), Some(vec![1, 2, 3, 4]));
}

#[test]
fn what_is_new_or_cannot_be_asked_for_counts_as_a_whole() {
    let insert = || operation("i", rawdoc! { "_id": 1 });
    let pattern = Regex { pattern: "a".try_into().unwrap(), options: cstr!("").into() };
    for entry in [
        operation("c", rawdoc! { "create": "orders" }),
        operation("c", rawdoc! { "emptycapped": "orders" }),
        transaction(&[operation("c", rawdoc! { "create": "orders" })], cstr!("count")),
        operation("i", rawdoc! { "text": "no _id" }),
        update(Bson::RegularExpression(pattern)),
        update(doc! { "$where": "1" }),
    ] {
        let touched = followed(&[insert(), entry.clone(), insert()]).unwrap();
        assert_eq!((touched.count, touched.bytes), (0, 0), "{entry:?}");
        assert_eq!(ids(&[insert(), entry.clone(), insert()]), None, "{entry:?}");
    }
}

#[test]
fn what_is_dropped_does_not_count_and_what_is_renamed_goes_on() {
    let insert = operation("i", rawdoc! { "_id": 1 });
    let drop = operation("c", rawdoc! { "drop": "orders" });
    assert_eq!(followed(&[insert.clone(), drop]).unwrap().count, 0);
    let rename = operation("c", rawdoc! { "renameCollection": "shop.orders", "to": "shop.old" });
    assert_eq!(ids(&[insert, rename, update(2)]), Some(vec![1, 2]));
}

#[test]
fn what_is_asked_for_goes_from_page_to_page_whatever_its_types() {
    let entries: Vec<RawDocumentBuf> = [
        rawdoc! { "_id": "b" },
        rawdoc! { "_id": 300_i64 },
        rawdoc! { "_id": "abc" },
        rawdoc! { "_id": 7 },
        rawdoc! { "_id": { "a": 1 } },
        rawdoc! { "_id": null },
        rawdoc! { "_id": -1_i64 },
    ]
    .into_iter()
    .map(|id| operation("d", id))
    .collect();
    let Some(OfCollection::Ids(ids)) = followed(&entries).unwrap().take(&UUID) else { panic!() };
    let sorted = ids.in_order();
    let ids: Vec<String> =
        Walk::new(sorted.as_bytes()).map(|id| format!("{:?}", id.unwrap().get("_id").unwrap().unwrap())).collect();
    assert_eq!(sorted.count(), 7);
    let at = |part: &str| ids.iter().position(|id| id.contains(part)).unwrap();
    assert!(at("abc") < at("\"b\"") && at("-1") < at("7") && at("7") < at("300"), "{ids:?}");
}

#[test]
fn what_takes_too_much_memory_is_too_much() {
    let large = |number: usize| operation("d", rawdoc! { "_id": format!("{number} {}", "x".repeat(MIB)) });
    let entries: Vec<RawDocumentBuf> = (0..64).map(large).collect();
    let error = followed(&entries).unwrap_err();
    assert!(error.to_string().contains("more than 1000000 documents"), "{error}");
    assert_eq!(followed(&entries[..63]).unwrap().count, 63);
}

#[test]
fn what_is_not_understood_is_named() {
    for command in ["truncateRange", "importCollection"] {
        let mut o = RawDocumentBuf::new();
        o.append(<&bson::raw::CStr>::try_from(command).unwrap(), "orders");
        let error = followed(&[operation("c", o)]).unwrap_err();
        assert!(error.to_string().contains(command), "{error}");
    }
    let version = rawdoc! { "op": "u", "ns": "admin.system.version", "ui": ui(), "o": {}, "o2": { "_id": "featureCompatibilityVersion" } };
    assert!(followed(&[version]).is_err());
    assert!(followed(&[rawdoc! { "op": "i", "ns": "shop.orders", "o": { "_id": 1 } }]).is_err(), "no UUID");
    assert_eq!(followed(&[rawdoc! { "op": "i", "ns": "config.x", "o": { "_id": 1 } }]).unwrap().count, 0);
}
