//! Collections with every option, views, and names that only just are names.

use mongodb::bson::{RawDocumentBuf, rawdoc};
use mongodb::{Client, Database};

use super::bytes::{self, Bytes};
use super::{documents, insert, run};

pub async fn options(database: &Database) {
    let schema = rawdoc! { "bsonType": "object", "required": ["b", "a"], "properties": { "b": { "bsonType": "int" } } };
    for command in [
        rawdoc! { "create": "empty" },
        rawdoc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true, "name": "by id" } },
        rawdoc! { "create": "expiring", "clusteredIndex": { "key": { "_id": 1 }, "unique": true }, "expireAfterSeconds": 1 },
        rawdoc! { "create": "swedish", "collation": { "locale": "sv", "strength": 2 } },
        rawdoc! { "create": "strict", "validator": { "$jsonSchema": schema } },
        rawdoc! { "create": "lenient", "validator": { "$or": [{ "b": 1 }, { "a": { "$exists": true } }] },
        "validationLevel": "moderate", "validationAction": "warn" },
        rawdoc! { "create": "unchecked", "validator": { "a": 1 }, "validationLevel": "off" },
        rawdoc! { "create": "images", "changeStreamPreAndPostImages": { "enabled": true } },
        rawdoc! { "create": "compressed", "storageEngine": { "wiredTiger": { "configString": "block_compressor=zlib" } } },
        rawdoc! { "create": "defaults",
        "indexOptionDefaults": { "storageEngine": { "wiredTiger": { "configString": "prefix_compression=false" } } } },
    ] {
        run(database, command).await;
    }
    insert(database, "clustered", &documents::ids()).await;
    let long_ago = (0..20_i64).map(|day| Bytes::with_id(bytes::DATE, (day * 86_400_000).to_le_bytes()).raw());
    insert(database, "expiring", &long_ago.collect::<Vec<_>>()).await;
    let words = ["\u{e5}", "a", "z", "\u{f6}", "\u{c4}pple", "b"]
        .map(|word| Bytes::with_id(bytes::STRING, bytes::string(word)).raw());
    insert(database, "swedish", &words).await;
    let index = rawdoc! { "key": { "word": 1 }, "name": "inherits" };
    let binary = rawdoc! { "key": { "word": 1 }, "name": "does not", "collation": { "locale": "simple" } };
    run(database, rawdoc! { "createIndexes": "swedish", "indexes": [index, binary] }).await;
    for invalid in ["strict", "lenient", "unchecked", "images", "compressed", "defaults"] {
        insert(database, invalid, &numbered(0..30)).await;
    }
    let functions = [
        Bytes::with_id(bytes::STRING, bytes::string("add")).field(
            bytes::CODE,
            "value",
            bytes::string("function(a, b) { return a + b }"),
        ),
        Bytes::with_id(bytes::STRING, bytes::string("scoped")).field(
            bytes::CODE_WITH_SCOPE,
            "value",
            bytes::code_with_scope("function() { return x }", &Bytes::new().int("x", 1)),
        ),
    ];
    insert(database, "system.js", &functions.map(|function| function.raw())).await;
}

/// Collections that have wrapped around, so that their natural order is nothing but their history.
pub async fn capped(database: &Database) {
    run(database, rawdoc! { "create": "capped by number", "capped": true, "size": 1_048_576, "max": 50 }).await;
    run(database, rawdoc! { "create": "capped by size", "capped": true, "size": 10_485_760 }).await;
    run(database, rawdoc! { "create": "capped oddly", "capped": true, "size": 5000.5, "max": 2_000_000_000_i64 }).await;
    // Neither ascending nor descending: only the order of insertion explains it.
    let shuffled = (0..120).map(|at| at * 37 % 120);
    insert(database, "capped by number", &numbered(shuffled)).await;
    for batch in 0..6 {
        let wide = (0..50).map(|at| (batch * 50 + at) * 37 % 300);
        let wide =
            wide.map(|id| Bytes::numbered(id).field(bytes::BINARY, "data", bytes::binary(0, &vec![7; 50_000])).raw());
        insert(database, "capped by size", &wide.collect::<Vec<_>>()).await;
    }
    insert(database, "capped oddly", &numbered((0..200).rev())).await;
}

pub async fn views(database: &Database) {
    insert(database, "base", &numbered(0..100)).await;
    let first = rawdoc! { "$match": { "b": { "$gt": 10 } } };
    let join = rawdoc! { "$lookup": { "from": "base", "localField": "a", "foreignField": "a", "as": "same" } };
    for command in [
        rawdoc! { "create": "on view", "viewOn": "z view", "pipeline": [{ "$sort": { "_id": -1 } }, join] },
        rawdoc! { "create": "z view", "viewOn": "base", "pipeline": [first, { "$project": { "b": 1, "a": 1.0, "_id": 1 } }] },
        rawdoc! { "create": "collated", "viewOn": "base", "pipeline": [], "collation": { "locale": "sv", "strength": 1 } },
        rawdoc! { "create": "of nothing", "viewOn": "never created", "pipeline": [{ "$limit": 5_i64 }] },
        rawdoc! { "create": "v\u{ef}ew.of \u{1f4b0}\n", "viewOn": "on view", "pipeline": [{ "$addFields": { "x": { "$literal": "$a" } } }] },
    ] {
        run(database, command).await;
    }
}

/// Names that the server takes and that paths, shells, patterns and terminals trip over.
pub async fn names(client: &Client) {
    let long = "x".repeat(200);
    let names = [
        "a.b\nc \u{e9}\u{1f4b0}",
        "a=b*c",
        " leading",
        "trailing ",
        "tab\t",
        "\"quoted\"",
        "\u{1}",
        "a..b",
        "a.",
        "sys.tem",
        "A",
        "a",
        "%s",
        "'; drop",
        "up/..",
        "\\",
        "\u{202e}desrever",
        "-rf",
        "null",
        "e\u{301}",
        "\u{e9}",
        &long,
    ];
    for name in names {
        insert(&client.database("odd_names"), name, &numbered(0..3)).await;
    }
    let databases = ["\u{fc}n\u{ef}\u{1f4b0}", "odd=*", "1", "~!@#^&()[]{}+,;", "-odd", &"o".repeat(63)];
    for database in databases {
        insert(&client.database(database), "it's a collection", &numbered(0..3)).await;
    }
}

/// Documents with field b before a.
pub fn numbered(ids: impl Iterator<Item = i32>) -> Vec<RawDocumentBuf> {
    ids.map(|id| Bytes::numbered(id).int("b", id).text("a", format!("document {id}")).raw()).collect()
}
