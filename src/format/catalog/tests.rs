use super::*;

fn catalog() -> Catalog {
    let collection = CollectionRecord {
        db: "shop".into(),
        name: "orders.2026 \u{1f4b0}\n".into(),
        kind: CollectionKind::Collection,
        uuid: Some([7; 16]),
        options: rawdoc! { "collation": { "locale": "sv", "strength": 2 }, "capped": true },
        indexes: vec![rawdoc! { "v": 2, "key": { "b": 1, "a": -1 }, "name": "b_1_a_-1" }],
        documents: 3,
        bytes: 99,
        digest: [9; 32],
        ordered: true,
        in_snapshot: false,
        segments: (1..=25_000).map(segment).collect(),
        changes: None,
    };
    let changed = CollectionRecord {
        changes: Some(ChangesRecord { documents: 700, bytes: 9000, touched: (36_001..=47_000).map(segment).collect() }),
        ..collection.clone()
    };
    let view = CollectionRecord { kind: CollectionKind::View, uuid: None, segments: Vec::new(), ..collection.clone() };
    Catalog {
        source: SourceRecord {
            name: "smartduka".into(),
            replica_set: None,
            server_version: "6.0.5".into(),
            feature_compatibility_version: "6.0".into(),
            host: "127.0.0.1:27017".into(),
        },
        collections: vec![collection, view, changed],
        users: vec![rawdoc! { "_id": "admin.root", "user": "root" }],
        roles: vec![rawdoc! { "_id": "shop.clerk" }],
        oplog: Some(OplogRecord {
            since: ClusterTime { t: 7, i: 2 },
            patterns: vec!["shop.*".into()],
            segments: (25_001..=36_000).map(oplog_segment).collect(),
        }),
        parent: Some("20261123T020000Z-weekly-7f3a".parse().unwrap()),
    }
}

fn segment(n: u64) -> SegmentRef {
    SegmentRef { n, documents: 1, bytes: 33, layer: 0 }
}

fn oplog_segment(n: u64) -> OplogSegment {
    let (begin, end) = (ClusterTime { t: 7, i: 1 }, ClusterTime { t: u32::MAX, i: u32::MAX });
    OplogSegment { n, begin, end, entries: 5, bytes: 500 }
}

#[test]
fn a_catalog_survives_the_way_to_bson_and_back() {
    let run = catalog().encode().unwrap();
    assert_eq!(Catalog::decode(run.as_bytes()).unwrap(), catalog());
}

#[test]
fn a_damaged_catalog_is_refused() {
    let run = catalog().encode().unwrap();
    assert!(Catalog::decode(&run.as_bytes()[..run.as_bytes().len() - 1]).is_err());
    assert!(Catalog::decode(&[]).is_err());
    let unknown: Documents = [rawdoc! { "type": "spell" }].into_iter().collect();
    assert!(Catalog::decode(unknown.as_bytes()).unwrap_err().to_string().contains("spell"));
}
