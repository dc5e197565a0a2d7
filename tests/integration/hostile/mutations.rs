//! The corpora of `fuzz/`, and seeded mutations of them, through the functions that the fuzz targets call: no panic, no stack
//! that overflows, no memory for what is only claimed. What hangs is ended, and named.
//!
//! The work is done in a process of its own that has little memory, so that what would end a process ends that one.
#![allow(clippy::print_stdout)] // It says what it is at, and with which seed.

#[path = "../../../fuzz/entries.rs"]
mod entries;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mongodb::bson::{RawDocumentBuf, Timestamp, rawdoc};
use regrow::format::catalog::{
    Catalog, CollectionKind, CollectionRecord, OplogRecord, OplogSegment, SegmentRef, SourceRecord,
};
use regrow::format::checkpoint::{Contents, Parts, Position, StoredPart, Undertaking, binary};
use regrow::format::increment::ChangesRecord;
use regrow::format::manifest::Manifest;
use regrow::format::{ClusterTime, Header, Subject};
use regrow::random::Random;

use self::entries::ENTRIES;

/// Tells the process that does the work, and with which seed.
const SEED: &str = "REGROW_MUTATIONS_SEED";

/// What the process may have, in KiB of address space: the program, its threads' stacks, and a few segments of 32 MiB.
const ADDRESS_SPACE: u64 = 2 * 1024 * 1024;

/// Longer than all of it takes on a loaded machine, in seconds: what is still running then hangs.
const LIMIT: u64 = 20 * 60;

/// How many mutations of each member of a corpus are tried.
const ROUNDS: u32 = 1500;

/// How deeply the hostile documents are nested: enough for any stack, if each level takes some of it.
const DEPTH: usize = 200_000;

/// Lengths and counts that have surprised somebody before.
const NUMBERS: [i64; 9] = [0, 1, -1, 4, 5, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];

#[test]
fn no_mutation_of_any_corpus_does_harm() {
    if let Ok(seed) = std::env::var(SEED) {
        return in_the_cage(seed.parse().unwrap());
    }
    if std::env::var_os("REGROW_BLESS").is_some() {
        write_binary_seeds();
    }
    let seed = Random::system().next_u64();
    let test = "hostile::mutations::no_mutation_of_any_corpus_does_harm";
    let script = format!("ulimit -v {ADDRESS_SPACE}; exec timeout -s KILL {LIMIT} \"$0\" --exact {test} --nocapture");
    let program = std::env::current_exe().unwrap();
    let ended = Command::new("sh").arg("-c").arg(script).arg(program).env(SEED, seed.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let tail =
        |text: &str| text.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{SEED}={seed}: {} at '{}'\n{}\n{}",
        ended.status,
        said.lines().last().unwrap_or_default(),
        tail(&said),
        tail(&String::from_utf8_lossy(&ended.stderr))
    );
    print!("{}", said.lines().filter(|line| line.starts_with("seed ")).collect::<String>());
}

/// Tries everything; prints what it is at, so that the last line names what did the harm.
fn in_the_cage(seed: u64) {
    let mut tried = 0_u64;
    for (name, read) in ENTRIES {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        println!("{name}: nested deeply");
        for bytes in nested() {
            read(&bytes);
        }
        for (file, bytes) in &corpus {
            println!("{name}: {}", file.display());
            read(bytes);
            let random = Random::seeded(seed);
            let others: Vec<&[u8]> = corpus.iter().map(|(_, bytes)| &bytes[..]).collect();
            let mut mutated = bytes.clone();
            for round in 0..ROUNDS {
                // A few steps away from what is well-formed, then back.
                if round % 8 == 0 {
                    mutated.clone_from(bytes);
                }
                mutate(&mut mutated, &others, &random);
                read(&mutated);
                tried += 1;
            }
        }
    }
    println!("seed {seed}: {tried} mutations of {} corpora", ENTRIES.len());
}

fn corpus_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name)
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(corpus_folder(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Returns documents that are nested so deeply that whoever follows them by calling itself runs out of stack.
fn nested() -> [Vec<u8>; 6] {
    let mut bson = Vec::with_capacity(DEPTH * 8);
    for level in 0..DEPTH {
        let length = i32::try_from((DEPTH - level) * 8 + 5).unwrap();
        bson.extend(length.to_le_bytes());
        bson.extend(*b"\x03o\0");
    }
    bson.extend(5_i32.to_le_bytes());
    bson.extend(vec![0; DEPTH + 1]);
    let json = |open: &str, close: &str| [open.repeat(DEPTH), "1".into(), close.repeat(DEPTH)].concat().into_bytes();
    // Code with a scope: its length, an empty text, the scope.
    let scope_length = i32::try_from(4 + 5 + bson.len()).unwrap().to_le_bytes();
    let scoped = [&b"\x0fc\0"[..], &scope_length, b"\x01\0\0\0\0", &bson, b"\0"].concat();
    let length = i32::try_from(scoped.len() + 4).unwrap().to_le_bytes();
    let scoped = [&length[..], &scoped].concat();
    // Where a parser looks for other fields.
    let inner = RawDocumentBuf::from_bytes(bson.clone()).unwrap();
    let around =
        rawdoc! { "type": "source", "name": inner.clone(), "op": "i", "ns": "a.b", "o": inner.clone(), "x": inner };
    [
        bson,
        scoped,
        json("[", "]"),
        json("{\"a\":", "}"),
        [b"a = ".to_vec(), json("[", "]")].concat(),
        around.into_bytes(),
    ]
}

fn mutate(bytes: &mut Vec<u8>, others: &[&[u8]], random: &Random) {
    let below = |limit: usize| usize::try_from(random.next_u64() % limit.max(1) as u64).unwrap();
    let at = below(bytes.len());
    let end = bytes.len().min(at + 1 + below(32));
    match random.next_u64() % 8 {
        0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
        1 if at < bytes.len() => bytes[at] = random.next_u64().to_le_bytes()[0],
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at.min(end)..end)),
        4 => {
            let copied = bytes[at.min(end)..end].to_vec();
            bytes.splice(at..at, copied);
        }
        5 => {
            // Little-endian, as BSON and frames have it.
            let number = NUMBERS[below(NUMBERS.len())].to_le_bytes();
            let width = if below(2) == 0 { 4 } else { 8 };
            let end = bytes.len().min(at + width);
            bytes.splice(at..end, number[..width].iter().copied());
        }
        6 => {
            let text = NUMBERS[below(NUMBERS.len())].to_string();
            bytes.splice(at..end, text.into_bytes());
        }
        _ => {
            let other = others[below(others.len())];
            let from = below(other.len());
            bytes.splice(at..end, other[from..other.len().min(from + 64)].iter().copied());
        }
    }
}

/// Writes the members of corpora that no editor can.
fn write_binary_seeds() {
    let put = |entry: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus_folder(entry)).unwrap();
        fs::write(corpus_folder(entry).join(name), bytes).unwrap();
    };
    let catalog = catalog().encode().unwrap();
    put("catalog", "two-collections", catalog.as_bytes());
    put("catalog", "increment", increment().encode().unwrap().as_bytes());
    put("checkpoint", "first", checkpoint().encode().unwrap().as_bytes());
    let documents: Vec<u8> = documents().iter().flat_map(|document| document.as_bytes().to_vec()).collect();
    put("document", "types", &documents);
    let entries: Vec<u8> = oplog().iter().flat_map(|entry| entry.as_bytes().to_vec()).collect();
    put("entry", "kinds", &entries);
    let range = entries::range();
    let subjects = [
        ("segment", Subject::Segment { backup: entries::backup(), number: 1 }, &documents),
        ("catalog", Subject::Catalog { backup: entries::backup() }, &catalog.as_bytes().to_vec()),
        ("slice", Subject::Slice { timeline: entries::timeline(), begin: range.begin, end: range.end }, &entries),
    ];
    for (name, subject, raw) in subjects {
        let header = Header { subject, documents: 1, bytes: raw.len() as u64 }.to_frame();
        put("header", name, &header);
        put("sealed", name, &[header, zstd::bulk::compress(raw, 3).unwrap()].concat());
    }
}

/// Returns what the first checkpoint of a backup says.
fn checkpoint() -> Contents {
    let time = ClusterTime { t: 7, i: 1 };
    let undertaking = Undertaking {
        source: catalog().source,
        replica_set_id: "0123456789abcdef01234567".into(),
        started_at: jiff::Timestamp::UNIX_EPOCH,
        cluster_time: time,
        replay_from: time,
        patterns: vec!["shop.*".into()],
        recipients: Vec::new(),
        level: 3,
        listing: binary(&[1; 32]),
    };
    let token = rawdoc! { "$recordId": 5_i64 };
    let until = rawdoc! { "record": 9_i64, "id": { "_id": 7 } };
    let parts = Parts { collection: 0, parts: vec![rawdoc! { "until": until }, rawdoc! { "after": token.clone() }] };
    let end = Position { is_end: false, after: Some(token), passed: 3, last: binary(&[3; 32]) };
    let segments = vec![SegmentRef { n: 1, documents: 2, bytes: 99, layer: 0 }];
    let stored = StoredPart { collection: 0, part: 1, first: 0, digest: binary(&[2; 32]), segments, end };
    Contents { undertaking: Some(undertaking), parts: vec![parts], stored: vec![stored] }
}

fn catalog() -> Catalog {
    let collection = |name: &str, kind| CollectionRecord {
        db: "shop".into(),
        name: name.into(),
        kind,
        uuid: Some([7; 16]),
        options: rawdoc! { "validator": { "a": { "$exists": true } } },
        indexes: vec![rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }],
        documents: 3,
        bytes: 99,
        digest: [9; 32],
        ordered: false,
        in_snapshot: true,
        segments: vec![SegmentRef { n: 1, documents: 3, bytes: 99, layer: 0 }],
        changes: None,
    };
    Catalog {
        source: SourceRecord {
            name: "shop".into(),
            replica_set: Some("rs0".into()),
            server_version: "6.0.5".into(),
            feature_compatibility_version: "6.0".into(),
            host: "127.0.0.1:27017".into(),
        },
        collections: vec![collection("orders", CollectionKind::Collection), collection("recent", CollectionKind::View)],
        users: vec![rawdoc! { "_id": "admin.root", "user": "root" }],
        roles: vec![rawdoc! { "_id": "shop.clerk" }],
        oplog: None,
        parent: None,
    }
}

/// Returns the catalog of an increment: changes of the one collection, and oplog of its own.
fn increment() -> Catalog {
    let mut catalog = catalog();
    let segment = |n| SegmentRef { n, documents: 2, bytes: 44, layer: 0 };
    let touched = vec![segment(2), segment(3)];
    catalog.collections[0].changes = Some(ChangesRecord { documents: 700, bytes: 9000, touched });
    catalog.parent = Some(entries::backup());
    let (begin, end) = (ClusterTime { t: 7, i: 1 }, ClusterTime { t: 7, i: 9 });
    let segments = vec![OplogSegment { n: 4, begin, end, entries: 5, bytes: 500 }];
    catalog.oplog = Some(OplogRecord { since: ClusterTime { t: 7, i: 2 }, patterns: vec!["shop.*".into()], segments });
    catalog
}

#[test]
fn the_corpora_know_increments() {
    let seed = |entry: &str, name: &str| fs::read(corpus_folder(entry).join(name)).unwrap();
    assert_eq!(Catalog::decode(&seed("catalog", "increment")).unwrap(), increment());
    let manifest = Manifest::parse(&seed("manifest", "increment.json"), &entries::repository(), &entries::backup());
    assert_eq!(manifest.unwrap().increments(), 2);
}

fn documents() -> Vec<RawDocumentBuf> {
    vec![
        rawdoc! { "_id": 1, "a": { "b": [1, 2.5, "x", true, null] }, "t": Timestamp { time: 1, increment: 2 } },
        rawdoc! { "_id": 2_i64, "binary": mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Uuid, bytes: vec![7; 16] } },
    ]
}

fn oplog() -> Vec<RawDocumentBuf> {
    let ts = |increment| Timestamp { time: 1, increment };
    vec![
        rawdoc! { "ts": ts(1), "v": 2_i64, "op": "i", "ns": "shop.orders", "o": { "_id": 1 } },
        rawdoc! { "ts": ts(2), "v": 2_i64, "op": "u", "ns": "shop.orders", "o": { "$v": 2, "diff": { "u": { "a": 1 } } }, "o2": { "_id": 1 } },
        rawdoc! { "ts": ts(3), "v": 2_i64, "op": "c", "ns": "shop.$cmd", "o": { "create": "orders", "idIndex": { "v": 2 } } },
        rawdoc! { "ts": ts(4), "v": 2_i64, "op": "c", "ns": "admin.$cmd", "o": { "applyOps": [{ "op": "d", "ns": "shop.orders", "o": { "_id": 1 } }] } },
        rawdoc! { "ts": ts(5), "v": 2_i64, "op": "n", "ns": "", "o": { "msg": "x" } },
    ]
}
