//! Dumps that are not what was written: refused with the place, and no backup is left.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, RawDocumentBuf, Timestamp, rawdoc};
use regrow::format::mongodump::archive::{Frame, MAGIC};

use super::golden::PLAIN;
use super::{compressed, import, initialised, no_backup_is_left, run_of};
use crate::harness::Workspace;

fn workspace() -> Workspace {
    initialised("mongodb://127.0.0.1:1/")
}

#[tokio::test]
async fn an_archive_that_ends_anywhere_is_cut_off() {
    let workspace = workspace();
    let zipped = compressed(PLAIN);
    let cut =
        |bytes: &[u8], parts: usize| (1..parts).map(|part| bytes[..bytes.len() * part / parts].to_vec()).collect();
    let cuts: [Vec<Vec<u8>>; 2] = [cut(PLAIN, 23), cut(&zipped, 7)];
    let ends = [PLAIN.len() - 1, PLAIN.len() - 4, PLAIN.len() - 5].map(|end| PLAIN[..end].to_vec());
    for (number, bytes) in cuts.into_iter().flatten().chain(ends).enumerate() {
        workspace.write("archive", bytes);
        let refused = import(&workspace, "archive").exits(5);
        assert!(refused.stderr.contains("cut off") || refused.stderr.contains("gzip"), "{number}: {}", refused.stderr);
    }
    no_backup_is_left(&workspace);
}

#[tokio::test]
async fn a_flipped_byte_of_the_data_is_found_by_the_checksum() {
    let workspace = workspace();
    let documents: Vec<_> = (0..9).map(|id| rawdoc! { "_id": id, "text": "as it was written" }).collect();
    let (mut frame, header) = Frame::begin("shop", "orders");
    let data = run_of(&documents);
    frame.add(&data);
    let prelude = regrow::format::mongodump::archive::Prelude {
        server_version: "6.0.5".into(),
        tool_version: "by hand".into(),
        namespaces: vec![regrow::format::mongodump::archive::PreludeNamespace {
            db: "shop".into(),
            collection: "orders".into(),
            metadata: String::new(),
            kind: String::new(),
        }],
    };
    let prelude = prelude.to_bytes();
    assert!(prelude.starts_with(&MAGIC));
    let whole = [&prelude[..], &header, &data, &frame.end()].concat();
    let text = whole.windows(2).position(|two| two == b"as").unwrap();
    for at in [text, text + 5, whole.len() - 10] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        workspace.write("archive", &bytes);
        let refused = import(&workspace, "archive").exits(5);
        assert!(refused.stderr.contains("CRC") && refused.stderr.contains("shop.orders"), "{}", refused.stderr);
    }
    no_backup_is_left(&workspace);
    workspace.write("archive", &whole);
    import(&workspace, "archive").exits(0);
}

#[tokio::test]
async fn a_folder_says_which_file_and_where() {
    let documents: Vec<_> = (0..3).map(|id| rawdoc! { "_id": id }).collect();
    let whole = run_of(&documents);
    let metadata = br#"{"indexes":[],"collectionName":"orders","type":"collection"}"#;
    let mut too_long = whole.clone();
    too_long[17] = 0x7f;
    let zipped = compressed(&whole);
    let cases: &[(&str, &[u8], &str)] = &[
        ("orders.bson", &whole[..whole.len() - 1], "orders.bson, byte 41 is cut off"),
        ("orders.bson", &whole[..16], "orders.bson, byte 16 is cut off"),
        ("orders.bson", &too_long, "orders.bson, byte 18"),
        ("orders.bson", b"\xff\xff\xff\xff", "holds no document"),
        ("orders.bson.gz", &zipped[..zipped.len() - 9], "gzip"),
        ("other.bson", &whole, "orders.metadata.json describes a collection whose documents are missing"),
    ];
    for (file, bytes, named) in cases {
        let workspace = workspace();
        workspace.write("dump/shop/orders.metadata.json", metadata);
        workspace.write(&format!("dump/shop/{file}"), bytes);
        let refused = import(&workspace, "dump").exits(5);
        assert!(refused.stderr.contains(named), "{named}: {}", refused.stderr);
        no_backup_is_left(&workspace);
    }
    let workspace = workspace();
    workspace.write("dump/shop/orders.bson", &whole);
    workspace.write("dump/shop/orders.metadata.json", "{");
    assert!(import(&workspace, "dump").exits(5).stderr.contains("orders.metadata.json"));
    workspace.write("dump/shop/orders.metadata.json", "");
    import(&workspace, "dump").exits(0);
}

/// Returns an entry that inserts a document.
fn insert(time: u32, uuid: u8, id: i32) -> RawDocumentBuf {
    let ui = Binary { subtype: BinarySubtype::Uuid, bytes: vec![uuid; 16] };
    let ts = Timestamp { time, increment: 1 };
    rawdoc! { "op": "i", "ns": "shop.orders", "ui": ui, "o": { "_id": id }, "ts": ts, "v": 2_i64 }
}

#[tokio::test]
async fn an_oplog_that_no_restore_could_replay_is_refused() {
    let known = format!(r#"{{"indexes":[],"uuid":"{}","collectionName":"orders"}}"#, "01".repeat(16));
    let nameless = r#"{"indexes":[],"collectionName":"orders"}"#;
    let drop_other = rawdoc! { "op": "c", "ns": "shop.$cmd", "o": { "convertToCapped": "orders" }, "ts": Timestamp { time: 9, increment: 1 } };
    let cases = [
        (&known[..], vec![insert(5, 2, 1)], 7, "changes documents of shop.orders"),
        (nameless, vec![insert(5, 1, 1)], 7, "UUID"),
        (&known, vec![insert(5, 1, 1), drop_other], 7, "convertToCapped"),
        (&known, vec![insert(5, 1, 1), insert(5, 1, 2)], 5, "out of order"),
        (&known, vec![rawdoc! { "_id": 1 }], 5, "no entry"),
        (&known, vec![], 5, "holds no entry"),
    ];
    for (metadata, entries, code, named) in cases {
        let workspace = workspace();
        workspace.write("dump/shop/orders.bson", run_of(&[rawdoc! { "_id": 0 }]));
        workspace.write("dump/shop/orders.metadata.json", metadata);
        workspace.write("dump/oplog.bson", run_of(&entries));
        let refused = import(&workspace, "dump").exits(code);
        assert!(refused.stderr.contains(named) && refused.stderr.contains("hint:"), "{named}: {}", refused.stderr);
        no_backup_is_left(&workspace);
    }
    let workspace = workspace();
    workspace.write("dump/shop/orders.bson", run_of(&[rawdoc! { "_id": 0 }]));
    workspace.write("dump/shop/orders.metadata.json", &known);
    workspace.write("dump/oplog.bson", run_of(&[insert(5, 1, 1), insert(6, 1, 2)]));
    let imported: serde_json::Value = import(&workspace, "dump").exits(0).json();
    assert_eq!(imported["cluster_time"]["t"], 6);
}
