//! What bytes from outside go into: one function for each kind, the same for the fuzz targets and for the tests.
//!
//! None may panic, hang, or make room for what bytes only claim. What they return does not matter.

use regrow::codec::{Opener, SigningKey, TrustedKeys, sha256};
use regrow::config::File;
use regrow::filter::Filter;
use regrow::format::accepted_key::AcceptedKey;
use regrow::format::alerts::AlertBook;
use regrow::format::bounds::{Bounds, EvidenceBounds, OplogBounds};
use regrow::format::catalog::Catalog;
use regrow::format::checkpoint::{Checkpoint, Contents};
use regrow::format::evidence::Evidence;
use regrow::format::extended_json::{self, Style};
use regrow::format::lease::Lease;
use regrow::format::manifest::{Encryption, Manifest};
use regrow::format::mark::{Mark, MarkKind};
use regrow::format::mongodump::archive::{Blocks, Prelude};
use regrow::format::mongodump::metadata::Metadata;
use regrow::format::oplog::{Gap, Range, SliceRecord, Timeline};
use regrow::format::segment::Walk;
use regrow::format::witness::WitnessFile;
use regrow::format::{BackupId, ClusterTime, Descriptor, Header, RepositoryId, Subject, TimelineId};
use regrow::mongo::parts::Part;
use regrow::operations::{Meaning, entry_time};
use regrow::policy::{CronExpression, Timetable};
use regrow::random::Random;

/// A kind of bytes: its name, as that of its corpus, and what reads them.
pub type Entry = (&'static str, fn(&[u8]));

/// Every kind.
pub const ENTRIES: [Entry; 15] = [
    ("archive", archive),
    ("catalog", catalog),
    ("checkpoint", checkpoint),
    ("configuration", configuration),
    ("cron", cron),
    ("descriptor", descriptor),
    ("document", document),
    ("entry", entry),
    ("evidence", evidence),
    ("filter", filter),
    ("header", header),
    ("manifest", manifest),
    ("record", record),
    ("sealed", sealed),
    ("signed", signed),
];

/// The repository that everything in the corpora belongs to.
pub const REPOSITORY: &str = "0123456789abcdef0123456789abcdef";
/// The backup.
pub const BACKUP: &str = "20261123T020000Z-daily-7f3a";
/// The timeline.
pub const TIMELINE: &str = "20261123T020000Z-7f3a";

pub fn repository() -> RepositoryId {
    RepositoryId(REPOSITORY.into())
}

/// Returns the id of the backup.
pub fn backup() -> BackupId {
    BACKUP.parse().expect("it is one")
}

/// Returns the id of the timeline.
pub fn timeline() -> TimelineId {
    TIMELINE.parse().expect("it is one")
}

/// Returns what the slice of the corpora covers.
pub fn range() -> Range {
    Range { begin: ClusterTime { t: 1, i: 1 }, end: ClusterTime { t: 2, i: 1 } }
}

/// An archive of mongodump, behind its decompression.
fn archive(bytes: &[u8]) {
    let (mut prelude, mut blocks) = (None::<Prelude>, Blocks::default());
    let mut rest = bytes.get(4..).unwrap_or_default();
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix(&[0xff; 4]) {
            rest = behind;
            let _ = blocks.terminator();
            continue;
        }
        let Some(Ok(document)) = Walk::new(rest).next() else { break };
        rest = &rest[document.as_bytes().len()..];
        match &mut prelude {
            None => prelude = Prelude::begin(document).ok(),
            Some(prelude) => {
                let _ = prelude.add(document);
            }
        }
        let _ = blocks.document(document);
    }
    for namespace in prelude.iter().flat_map(|prelude| &prelude.namespaces) {
        let _ = Metadata::parse("an archive", namespace.metadata.as_bytes());
    }
    let _ = blocks.finish();
    let _ = Metadata::parse("a file", bytes);
}

/// A catalog, opened.
fn catalog(bytes: &[u8]) {
    if let Ok(catalog) = Catalog::decode(bytes) {
        let _ = catalog.encode();
    }
}

/// What a checkpoint says of its pack, opened.
fn checkpoint(bytes: &[u8]) {
    let Ok(contents) = Contents::decode(bytes) else { return };
    let _ = contents.encode();
    for part in contents.parts.iter().flat_map(|parts| &parts.parts) {
        let _ = Part::parse(part);
    }
}

/// `regrow.toml`.
fn configuration(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = File::parse(text, "regrow.toml");
    }
}

/// A cron expression, and the times that it means.
fn cron(bytes: &[u8]) {
    let Some(cron) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<CronExpression>().ok()) else {
        return;
    };
    for zone in ["UTC", "Africa/Nairobi", "America/New_York", "Australia/Lord_Howe"] {
        let Ok(timetable) = Timetable::new(cron.clone(), zone) else { return };
        let mut at: jiff::Timestamp = "2026-03-07T00:00:00Z".parse().expect("it is a time");
        for _ in 0..20 {
            let Some(next) = timetable.next_after(at) else { break };
            assert!(next > at, "time goes on");
            at = next;
        }
    }
}

/// `regrow-repository.json`.
fn descriptor(bytes: &[u8]) {
    if let Ok(descriptor) = Descriptor::parse(bytes) {
        let _ = TrustedKeys::parse(&descriptor.signing_keys);
    }
    let _ = WitnessFile::parse(bytes);
}

/// Documents of a collection, as an export writes them.
fn document(bytes: &[u8]) {
    let filter: Filter = r#"{"a.b": {"$gte": 5}, "c": null}"#.parse().expect("it is a filter");
    for document in Walk::new(bytes).map_while(Result::ok) {
        let _ = filter.matches(document);
        for style in [Style::Canonical, Style::Relaxed] {
            let _ = extended_json::write(&mut Vec::new(), document, style);
        }
    }
}

/// Entries of the oplog.
fn entry(bytes: &[u8]) {
    for entry in Walk::new(bytes).map_while(Result::ok) {
        let _ = entry_time(entry);
        match Meaning::of(entry) {
            Ok(Meaning::Operation(operation)) => {
                let _ = (operation.names(), operation.subjects(), operation.document_id());
            }
            Ok(Meaning::Group(group) | Meaning::Transaction { operations: group, .. }) => {
                for (_, operation) in group.operations().map_while(Result::ok) {
                    let _ = (operation.names(), operation.subjects(), operation.document_id());
                }
            }
            _ => {}
        }
    }
}

/// A record of evidence, its signature checked.
fn evidence(bytes: &[u8]) {
    let _ = Evidence::parse(bytes, &repository(), "evidence/2026/11/20261123T020000Z-backup-0011223344556677.json");
}

/// What somebody gives to `--where`.
fn filter(bytes: &[u8]) {
    let Some(filter) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Filter>().ok()) else { return };
    let document = bson::rawdoc! { "a": 5, "b": { "c": [1, "x", { "d": null }] }, "_id": bson::oid::ObjectId::from_bytes([7; 12]) };
    let _ = filter.matches(&document);
}

/// What stands in front of sealed documents.
fn header(bytes: &[u8]) {
    let _ = Header::parse(bytes);
}

/// A manifest, its signature checked.
fn manifest(bytes: &[u8]) {
    let _ = Manifest::parse(bytes, &repository(), &backup());
}

/// Everything else that is signed, its signature checked.
fn record(bytes: &[u8]) {
    let (id, range) = (repository(), range());
    let _ = Lease::parse(bytes, &id);
    let _ = AlertBook::parse(bytes, &id);
    let _ = Checkpoint::parse(bytes, &id, &backup(), 1);
    let _ = Mark::parse(bytes, &id, MarkKind::Hold, &backup());
    let _ = Timeline::parse(bytes, &id, &timeline());
    let _ = SliceRecord::parse(bytes, &id, &timeline(), range.begin);
    let _ = Gap::parse(bytes, &id, &timeline(), range);
    let _ = EvidenceBounds::parse(bytes, &id, "control/evidence.json");
    let _ = OplogBounds::parse(bytes, &id, "control/oplog/a.json");
    let _ = AcceptedKey::parse(bytes, &id, "keys/946ddf1eb0bc92ed.json");
}

/// A segment, a catalog or a slice, unencrypted: its header, its frame, its documents.
fn sealed(bytes: &[u8]) {
    let Ok(opener) = Opener::new(Encryption::None, None, &[]) else { return };
    let Range { begin, end } = range();
    let subjects = [
        Subject::Segment { backup: backup(), number: 1 },
        Subject::Catalog { backup: backup() },
        Subject::Slice { timeline: timeline(), begin, end },
    ];
    for subject in subjects {
        if let Ok((documents, _)) = opener.open(&subject, bytes, &sha256(bytes)) {
            let _ = Walk::new(&documents).count();
        }
    }
}

/// A signed document, before anything is believed.
fn signed(bytes: &[u8]) {
    let key = SigningKey::generate(&Random::seeded(1)).entry();
    if let Ok(keys) = TrustedKeys::parse(&[key]) {
        let _ = keys.verify("it", "regrow-manifest-v1", bytes);
    }
}
