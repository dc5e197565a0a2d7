//! Without Regrow: `scripts/recover-without-regrow.sh` makes of the oddest backup a folder that mongorestore takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mongodb::Client;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, JavaScriptCodeWithScope, RawDocument, RawDocumentBuf, Regex, Timestamp, doc,
    rawdoc,
};
use serde_json::Value;

use super::odd::{self, run};
use super::{back_up, initialised};
use crate::contents::all;
use crate::harness::{self, Workspace};
use crate::stock_tools::{documents, recover};

/// What a folder for mongorestore holds of one collection.
struct Recovered {
    metadata: Value,
    documents: Vec<RawDocumentBuf>,
}

/// Reads such a folder as mongorestore does: names are percent-encoded, and those that are too long are in the metadata.
fn recovered(folder: &Path) -> BTreeMap<(String, String), Recovered> {
    let mut found = BTreeMap::new();
    for database in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let db = database.file_name().unwrap().to_str().unwrap().to_owned();
        let files = fs::read_dir(&database).unwrap().map(|entry| entry.unwrap().path());
        for file in files.filter(|file| file.to_str().unwrap().ends_with(".metadata.json")) {
            let metadata: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let base = file.file_name().unwrap().to_str().unwrap().strip_suffix(".metadata.json").unwrap().to_owned();
            let is_cut = base.len() == 238 && base.contains("%24");
            let name = decoded(if is_cut { metadata["collectionName"].as_str().unwrap() } else { &base });
            if !is_cut {
                assert_eq!(metadata["collectionName"], name.as_str());
            }
            let is_series = metadata["type"] == "timeseries";
            let data = database.join(format!("{}{base}.bson", if is_series { "system.buckets." } else { "" }));
            assert_eq!(data.exists(), metadata["type"] != "view", "{}", data.display());
            let documents = if data.exists() { documents(&fs::read(&data).unwrap()) } else { Vec::new() };
            found.insert((db.clone(), name), Recovered { metadata, documents });
        }
    }
    found
}

fn decoded(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        let hex = |rest: &mut std::str::Bytes<'_>| [rest.next().unwrap(), rest.next().unwrap()];
        bytes.push(if byte == b'%' { hex::decode(hex(&mut rest)).unwrap()[0] } else { byte });
    }
    String::from_utf8(bytes).unwrap()
}

/// Returns extended JSON as BSON.
fn bson(json: &Value) -> RawDocumentBuf {
    let Bson::Document(document) = Bson::try_from(json.clone()).unwrap() else { panic!("{json} is no document") };
    RawDocumentBuf::try_from(&document).unwrap()
}

/// Holds everything against the source.
async fn assert_is_of(client: &Client, mut found: BTreeMap<(String, String), Recovered>) {
    for db in client.list_database_names().await.unwrap() {
        let database = client.database(&db);
        if ["local", "config"].contains(&db.as_str()) {
            continue;
        }
        for entry in all(&database, rawdoc! { "listCollections": 1, "cursor": {} }).await {
            let name = entry.get_str("name").unwrap();
            if db == "admin" || name.starts_with("system.") && name != "system.js" {
                continue;
            }
            let what = format!("{db}.{name:?}");
            let here = found.remove(&(db.clone(), name.to_owned())).unwrap_or_else(|| panic!("{what} is missing"));
            let kind = entry.get_str("type").unwrap();
            assert_eq!(here.metadata["type"], kind, "{what}");
            assert_eq!(
                bson(&here.metadata["options"]).as_bytes(),
                entry.get_document("options").unwrap().as_bytes(),
                "{what}"
            );
            let wanted_indexes = if kind == "view" {
                Vec::new()
            } else {
                all(&database, rawdoc! { "listIndexes": name, "cursor": {} }).await
            };
            let indexes: Vec<_> = here.metadata["indexes"].as_array().unwrap().iter().map(bson).collect();
            assert_eq!(indexes, wanted_indexes, "{what}");
            let uuid = entry.get_document("info").unwrap().get_binary("uuid");
            let uuid = uuid.map(|uuid| hex::encode(uuid.bytes)).unwrap_or_default();
            assert_eq!(here.metadata["uuid"], uuid.as_str(), "{what}");
            assert_documents(&database, name, &entry, here.documents).await;
        }
    }
    assert!(found.is_empty(), "not in the source: {:?}", found.keys());
}

async fn assert_documents(
    database: &mongodb::Database,
    name: &str,
    entry: &RawDocument,
    mut documents: Vec<RawDocumentBuf>,
) {
    let source = match entry.get_str("type").unwrap() {
        "view" => return,
        "timeseries" => format!("system.buckets.{name}"),
        _ => name.to_owned(),
    };
    let mut wanted = all(database, rawdoc! { "find": source, "hint": { "$natural": 1 } }).await;
    if !entry.get_document("options").unwrap().get_bool("capped").unwrap_or(false) {
        let bytes = |document: &RawDocumentBuf| document.as_bytes().to_vec();
        documents.sort_by_key(bytes);
        wanted.sort_by_key(bytes);
    }
    assert!(documents == wanted, "{}.{name:?}: the documents differ", database.name());
}

/// Values of every kind, those that tools get wrong among them.
fn values() -> Vec<Bson> {
    let binary = |subtype: BinarySubtype, length: u8| Binary { subtype, bytes: (250 - length..250).collect() }.into();
    let decimal = |text: &str| text.parse::<Decimal128>().unwrap().into();
    let regex = |pattern: &str, options: &str| -> Bson {
        Regex { pattern: pattern.try_into().unwrap(), options: options.try_into().unwrap() }.into()
    };
    let mut values: Vec<Bson> = [
        0.0,
        -0.0,
        0.1,
        -1.0 / 3.0,
        3600.0,
        1e15,
        1e17,
        1e300,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        f64::INFINITY,
        f64::NAN,
    ]
    .map(Bson::from)
    .to_vec();
    values.extend([i32::MIN, -1, 0, i32::MAX].map(Bson::from));
    values.extend([i64::MIN, -1, -4_294_967_296, (1 << 53) + 1, 1_000_000, i64::MAX].map(Bson::from));
    values.extend((0..5).map(|length| binary(BinarySubtype::Generic, length)));
    values.extend([
        binary(BinarySubtype::BinaryOld, 4),
        binary(BinarySubtype::Uuid, 16),
        binary(BinarySubtype::UserDefined(200), 9),
    ]);
    let numbers = [
        "1.5",
        "-0.001",
        "0E-6176",
        "9.999999999999999999999999999999999E+6144",
        "-12345678901234567890",
        "NaN",
        "-Infinity",
    ];
    values.extend(numbers.map(decimal));
    values.extend([regex("a\"/\\", "im"), regex("", "")]);
    values.extend(["", "\u{0}\u{7f}\u{e9}\u{20ac}\u{1f4b0}\n\t\"\\", "{\"$oid\": 1}"].map(Bson::from));
    values.extend([Bson::Undefined, Bson::Null, Bson::MinKey, Bson::MaxKey, true.into(), false.into()]);
    values.extend([DateTime::MIN, DateTime::from_millis(-1), DateTime::MAX].map(Bson::from));
    values.push(Timestamp { time: u32::MAX, increment: 7 }.into());
    values.push(ObjectId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 254, 255, 128]).into());
    values.extend([Bson::JavaScriptCode("f()".into()), Bson::Symbol("s".into())]);
    values.push(JavaScriptCodeWithScope { code: "x".into(), scope: doc! { "b": 1, "a": [] } }.into());
    values.push(doc! { "b": [[], [[1]], {}], "a": { "": { "a.b": 1 } } }.into());
    values
}

#[tokio::test]
async fn the_oddest_backup_becomes_a_folder_for_mongorestore() {
    let servers = harness::own(&super::without_expiry());
    let client = servers.client().await;
    odd::fill(&client).await;
    odd::fill_empty_timestamps(&client).await;
    let shop = client.database("odd_values");
    // What options and indexes can hold is what expressions can.
    let literals = values();
    let pipeline = vec![doc! { "$addFields": { "all": { "$literal": literals } } }];
    run(
        &shop,
        RawDocumentBuf::try_from(&doc! { "create": "every value", "viewOn": "x", "pipeline": pipeline }).unwrap(),
    )
    .await;
    odd::insert(&shop, &"\u{1f4b0}".repeat(55), &[rawdoc! { "_id": 1 }]).await;
    for (user, db) in [("o'dd@:/%\\n", "admin"), ("anna", "odd")] {
        run(&client.database(db), rawdoc! { "createUser": user, "pwd": "%s%n", "roles": ["read"] }).await;
    }
    run(&client.database("admin"), rawdoc! { "createRole": "au.ditor \u{e9}", "privileges": [], "roles": ["read"] })
        .await;

    let workspace = initialised(Workspace::on_disk(servers.uri()));
    let backup = back_up(&workspace, &[]);
    let folder = recover(&workspace, backup["id"].as_str().unwrap(), "recovered");
    assert_accounts(&client, &folder).await;
    fs::remove_dir_all(folder.join("admin")).unwrap();
    assert_is_of(&client, recovered(&folder)).await;
}

async fn assert_accounts(client: &Client, folder: &Path) {
    let admin = client.database("admin");
    for collection in ["system.users", "system.roles", "system.version"] {
        let file: PathBuf = folder.join("admin").join(format!("{collection}.bson"));
        let mut found = documents(&fs::read(file).unwrap());
        let mut wanted =
            all(&admin, rawdoc! { "find": collection, "filter": { "_id": { "$ne": "featureCompatibilityVersion" } } })
                .await;
        found.sort_by_key(|document| document.as_bytes().to_vec());
        wanted.sort_by_key(|document| document.as_bytes().to_vec());
        assert_eq!(found, wanted, "{collection}");
    }
}
