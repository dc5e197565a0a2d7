//! Indexes of every kind, over documents that have something to index.

use mongodb::Database;
use mongodb::bson::{DateTime, RawArrayBuf, RawDocumentBuf, cstr, rawdoc};

use super::{insert, run};

pub async fn fill(database: &Database) {
    insert(database, "many", &documents()).await;
    create(database, "many", orders()).await;
    create(database, "many", options()).await;
    create(database, "many", geometry()).await;
    insert(database, "texts", &documents()).await;
    let weights = rawdoc! { "title": 10, "body": 1 };
    let text = rawdoc! {
        "key": { "kind": 1, "title": "text", "body": "text", "last": -1 }, "name": "words", "weights": weights,
        "default_language": "swedish", "language_override": "idioma",
    };
    create(database, "texts", vec![text]).await;
    insert(database, "all texts", &documents()).await;
    create(database, "all texts", vec![rawdoc! { "key": { "$**": "text" }, "name": "every word" }]).await;
    // A unique index in the making, as a conversion leaves it when it stops half way.
    insert(database, "converting", &documents()).await;
    create(database, "converting", vec![rawdoc! { "key": { "n": 1 }, "name": "n" }]).await;
    run(database, rawdoc! { "collMod": "converting", "index": { "name": "n", "prepareUnique": true } }).await;
    // Documents that expired long ago stay for as long as nobody lets the server delete them.
    insert(database, "expired", &documents()).await;
    let partial = rawdoc! { "n": { "$lt": 10 } };
    create(database, "expired", vec![
        rawdoc! { "key": { "at": 1 }, "name": "at", "expireAfterSeconds": 1 },
        rawdoc! { "key": { "at": -1 }, "name": "later", "expireAfterSeconds": 3600.0 },
        rawdoc! { "key": { "at": 1, }, "name": "some", "expireAfterSeconds": 60_i64, "partialFilterExpression": partial },
    ]).await;
}

fn orders() -> Vec<RawDocumentBuf> {
    vec![
        rawdoc! { "key": { "b": 1, "a": -1, "c": 1 }, "name": "b then a" },
        rawdoc! { "key": { "a": -1, "b": 1, "c": 1 }, "name": "a then b" },
        rawdoc! { "key": { "i": 1 }, "name": "int" },
        rawdoc! { "key": { "d": 1.0 }, "name": "double" },
        rawdoc! { "key": { "l": 1_i64 }, "name": "long" },
        rawdoc! { "key": { "x": -0.5, "y": 7, "z": -9_i64 }, "name": "any number is a direction" },
        rawdoc! { "key": { "list": 1, "n": 1 }, "name": "multikey" },
        rawdoc! { "key": { "list.0.x": 1 }, "name": "path" },
        rawdoc! { "key": { "_id": -1, "n": 1 }, "name": "backwards" },
        rawdoc! { "key": { "_id": "hashed" }, "name": "hashed id" },
        rawdoc! { "key": { "n": 1, "title": "hashed", "b": -1 }, "name": "hashed compound" },
    ]
}

fn options() -> Vec<RawDocumentBuf> {
    let collation = rawdoc! { "locale": "fr", "caseLevel": true, "strength": 2, "backwards": true };
    vec![
        rawdoc! { "name": "name first", "unique": true, "key": { "n": -1 } },
        rawdoc! { "key": { "maybe": 1 }, "name": "sparse", "sparse": true, "unique": true },
        rawdoc! { "key": { "p": 1 }, "partialFilterExpression": { "n": { "$gt": 5 }, "b": { "$exists": true } }, "name": "partial" },
        rawdoc! { "key": { "h": 1 }, "name": "hidden", "hidden": true },
        rawdoc! { "key": { "title": 1 }, "name": "french", "collation": collation },
        rawdoc! { "key": { "title": 1 }, "name": "simple" },
        rawdoc! { "key": { "$**": 1 }, "name": "wild", "wildcardProjection": { "title": 0, "list.x": 0 } },
        rawdoc! { "key": { "list.$**": 1 }, "name": "wild below" },
        rawdoc! { "key": { "bg": 1 }, "name": "background", "background": true, "unique": false, "sparse": false },
        rawdoc! { "key": { "old": 1 }, "name": "version 1", "v": 1 },
        rawdoc! { "key": { "engine": 1 }, "name": "engine",
        "storageEngine": { "wiredTiger": { "configString": "prefix_compression=false" } } },
        rawdoc! { "key": { "odd": 1 }, "name": "o\u{308}dd.name\n\u{1f4b0} $*" },
    ]
}

fn geometry() -> Vec<RawDocumentBuf> {
    vec![
        rawdoc! { "key": { "place": "2dsphere", "n": 1 }, "name": "sphere" },
        rawdoc! { "key": { "plane": "2d", "n": 1 }, "name": "plane", "bits": 20, "min": -500, "max": 500.5 },
    ]
}

async fn create(database: &Database, collection: &str, indexes: Vec<RawDocumentBuf>) {
    let indexes: RawArrayBuf = indexes.into_iter().collect();
    run(database, rawdoc! { "createIndexes": collection, "indexes": indexes }).await;
}

fn documents() -> Vec<RawDocumentBuf> {
    let document = |n: i32| {
        let mut document = rawdoc! {
            "_id": n, "n": n, "b": n % 7, "a": n % 3, "p": n, "title": format!("Orden {n} h\u{e4}r"), "kind": n % 2,
            "body": "Det var en g\u{e5}ng", "list": [{ "x": n }, n, [n]], "at": DateTime::from_millis(i64::from(n) * 1000),
            "place": { "type": "Point", "coordinates": [f64::from(n), 5.5] }, "plane": [n, -n],
        };
        if n % 4 == 0 {
            document.append(cstr!("maybe"), n);
        }
        document
    };
    (0..40).map(document).collect()
}
