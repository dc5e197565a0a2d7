//! What the segment size and the zstd level cost, on real documents.
//!
//! `cargo bench --bench sealing -- FILE.bson` seals the documents of a file that `mongodump` wrote, on one
//! thread, and prints a table: how much each choice stores, and how fast it
//! seals and opens. Also what each step costs by itself, what content digests cost, and how large a catalog of 5,000 collections is as BSON and
//! as JSON, sealed.
#![allow(clippy::print_stdout, clippy::cast_precision_loss)] // A table of rounded numbers.

#[path = "sealing/budget.rs"]
mod budget;

use std::time::{Duration, Instant};

use bson::RawDocument;
use regrow::codec::keys::NewIdentity;
use regrow::codec::{ContentDigest, Identities, Level, Opener, Recipients, Sealer, sha256};
use regrow::format::catalog::{Catalog, CollectionKind, CollectionRecord, SegmentRef, SourceRecord};
use regrow::format::manifest::Encryption;
use regrow::format::segment::{Documents, Walk};
use regrow::format::{BackupId, Subject};
use regrow::units::MIB;

/// At most this much of the file is used, so that a run takes a minute.
const SAMPLE: usize = 256 * MIB;

/// What digests are taken of at once: a segment, which is in the processor's cache.
const SEGMENT: usize = 8 * MIB;

const SIZES: [usize; 5] = [1, 2, 4, 8, 16];
const LEVELS: [i32; 7] = [1, 2, 3, 4, 5, 9, 19];

fn main() {
    let file = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let Some(file) = file else {
        println!("usage: cargo bench --bench sealing -- FILE.bson");
        return;
    };
    let bytes = std::fs::read(&file).expect("the file can be read");
    println!("| segment | level | stored | ratio | seal MB/s | open MB/s |\n|---|---|---|---|---|---|");
    for size in SIZES {
        measure(&bytes, size * MIB, 3);
    }
    for level in LEVELS {
        measure(&bytes, 8 * MIB, level);
    }
    let new = NewIdentity::generate(jiff::Timestamp::UNIX_EPOCH);
    budget::measure(&bytes, Recipients::parse(&[new.recipient]).expect("it is a recipient"));
    measure_digest(&bytes);
    measure_catalog();
}

fn subject() -> Subject {
    let backup: BackupId = "20261123T020000Z-manual-7f3a".parse().expect("it is an id");
    Subject::Segment { backup, number: 1 }
}

/// Does what a backup does with a segment.
fn seal(sealer: &Sealer, run: &Documents) -> bytes::Bytes {
    std::hint::black_box(ContentDigest::of(run.as_bytes()).expect("they are documents"));
    sealer.seal(subject(), run).expect("it seals")
}

fn measure(bytes: &[u8], target: usize, level: i32) {
    let new = NewIdentity::generate(jiff::Timestamp::UNIX_EPOCH);
    let recipients = Recipients::parse(&[new.recipient]).expect("it is a recipient");
    let identities = Identities::parse(&new.file).expect("it is an identity");
    let sealer = Sealer::new(Some(recipients)).with_level(Level::new(level).expect("there is such a level"));
    let opener = Opener::new(Encryption::Age, Some(identities), &[]).expect("there is an identity");
    let runs = runs(bytes, target);
    let raw: usize = runs.iter().map(|run| run.as_bytes().len()).sum();
    let (sealed, sealing): (Vec<_>, _) = timed(|| runs.iter().map(|run| seal(&sealer, run)).collect());
    let ((), opening) = timed(|| {
        for sealed in &sealed {
            opener.open(&subject(), sealed, &sha256(sealed)).expect("it opens");
        }
    });
    let stored: usize = sealed.iter().map(bytes::Bytes::len).sum();
    let speed = |time: Duration| raw as f64 / 1e6 / time.as_secs_f64();
    let (ratio, sealing, opening) = (raw as f64 / stored as f64, speed(sealing), speed(opening));
    println!("| {} MiB | {level} | {stored} | {ratio:.2} | {sealing:.0} | {opening:.0} |", target / MIB);
}

/// Compares hashing documents in pairs with hashing one after the other.
fn measure_digest(bytes: &[u8]) {
    let documents: Vec<&[u8]> = sampled(bytes).collect();
    let raw: usize = documents.iter().map(|document| document.len()).sum();
    let pairs = best(|| ContentDigest::default().add(documents.iter().copied()));
    let singly = best(|| {
        std::hint::black_box(documents.iter().map(|document| u64::from(sha256(document)[0])).sum::<u64>());
    });
    let speed = |time: Duration| raw as f64 / 1e6 / time.as_secs_f64();
    println!("\ncontent digest of {} documents, {} bytes each:", documents.len(), raw / documents.len().max(1));
    println!("in pairs {:.0} MB/s, one by one {:.0} MB/s", speed(pairs), speed(singly));
}

fn sampled(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = Walk::new(&bytes[..bytes.len().min(SEGMENT)]).map_while(Result::ok);
    whole.map(RawDocument::as_bytes)
}

fn runs(bytes: &[u8], target: usize) -> Vec<Documents> {
    let (mut runs, mut run, mut used) = (Vec::new(), Documents::default(), 0);
    for document in Walk::new(bytes) {
        let Ok(document) = document else { break };
        if run.is_full_for(document, target) {
            runs.push(std::mem::take(&mut run));
        }
        used += document.as_bytes().len();
        run.push(document);
        if used > SAMPLE {
            break;
        }
    }
    runs.push(run);
    runs
}

fn measure_catalog() {
    let collection = |number: u64| CollectionRecord {
        db: "shop_small".into(),
        name: format!("collection_{number:05}"),
        kind: CollectionKind::Collection,
        uuid: Some([number.to_le_bytes()[0]; 16]),
        options: bson::rawdoc! {},
        indexes: vec![bson::rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }],
        documents: number,
        bytes: number * 300,
        digest: sha256(&number.to_le_bytes()),
        ordered: false,
        in_snapshot: true,
        segments: vec![SegmentRef { n: number, documents: number, bytes: number * 300, layer: 0 }],
        changes: None,
    };
    let source = SourceRecord {
        name: "shop".into(),
        replica_set: Some("rs0".into()),
        server_version: "6.0.5".into(),
        feature_compatibility_version: "6.0".into(),
        host: "127.0.0.1:27017".into(),
    };
    let catalog = Catalog {
        source,
        collections: (1..=5000).map(collection).collect(),
        users: Vec::new(),
        roles: Vec::new(),
        oplog: None,
        parent: None,
    };
    let (run, encoding) = timed(|| catalog.encode().expect("it encodes"));
    let (_, decoding) = timed(|| Catalog::decode(run.as_bytes()).expect("it decodes"));
    let json: String = Walk::new(run.as_bytes())
        .map(|entry| {
            let entry: bson::Document = entry.expect("it is whole").try_into().expect("it is BSON");
            serde_json::to_string(&entry).expect("BSON has a JSON form") + "\n"
        })
        .collect();
    let sealed = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).expect("it compresses").len();
    println!("\ncatalog of 5,000 collections, encoded in {encoding:.1?}, decoded in {decoding:.1?}:");
    println!("BSON {} bytes, compressed {}", run.as_bytes().len(), sealed(run.as_bytes()));
    println!("JSON {} bytes, compressed {}", json.len(), sealed(json.as_bytes()));
}

/// Returns the shortest time of several runs: what the machine can do when nothing else runs.
fn best(work: impl Fn()) -> Duration {
    (0..7).map(|_| timed(&work).1).min().expect("there are several")
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    (work(), begin.elapsed())
}
