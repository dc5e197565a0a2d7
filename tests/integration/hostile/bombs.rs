//! What claims to be large, or becomes it: bounded before there is memory for it.

use std::fs::{self, File};
use std::io::Write;
use std::sync::Arc;

use mongodb::bson::rawdoc;
use regrow::clock::Clock;
use regrow::codec::{Opener, sha256};
use regrow::error::Kind;
use regrow::format::manifest::Encryption;
use regrow::format::mongodump::archive::{Prelude, TERMINATOR};
use regrow::format::{Header, Subject};
use regrow::random::Random;
use regrow::storage::{LARGEST_WHOLE, Local, S3, Storage, StorageError};

use crate::harness::{self, Workspace};

/// Returns something unencrypted that claims what `header` says, in front of what `raw` compresses to.
fn framed(subject: Subject, claimed: u64, raw: &[u8]) -> Vec<u8> {
    let mut stream = Header { subject, documents: 1, bytes: claimed }.to_frame();
    stream.extend(zstd::bulk::compress(raw, 19).unwrap());
    stream
}

#[test]
fn zstd_bombs_and_headers_that_claim_too_much_are_refused_before_there_is_memory_for_them() {
    let backup: regrow::format::BackupId = "20261123T020000Z-daily-7f3a".parse().unwrap();
    let opener = Opener::new(Encryption::None, None, &[]).unwrap();
    let bomb = vec![0; 256 << 20];
    let slice = Subject::Slice {
        timeline: "20261123T020000Z-7f3a".parse().unwrap(),
        begin: regrow::format::ClusterTime { t: 1, i: 1 },
        end: regrow::format::ClusterTime { t: 2, i: 1 },
    };
    for subject in [Subject::Segment { backup: backup.clone(), number: 1 }, Subject::Catalog { backup }, slice] {
        for (claimed, raw) in
            [(bomb.len() as u64, &bomb[..]), (100, &bomb), (1 << 62, &bomb[..100]), (30 << 20, &bomb[..100])]
        {
            let sealed = framed(subject.clone(), claimed, raw);
            let error = opener.open(&subject, &sealed, &sha256(&sealed)).unwrap_err();
            assert_eq!(error.kind(), Kind::Damaged, "{subject} {claimed}: {error}");
            // Both are said before there is memory for what they claim.
            let said = error.to_string();
            assert!(said.contains("its header claims") || said.contains("its frame does not claim"), "{said}");
        }
    }
}

#[tokio::test]
async fn objects_that_grew_are_not_read_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let local: Arc<dyn Storage> = Arc::new(Local::open(folder.path(), Clock::system(), Random::system()));
    // A file of a terabyte that has no blocks.
    File::create(folder.path().join("manifest.json")).unwrap().set_len(1 << 40).unwrap();
    let error = local.read("manifest.json", None).await.unwrap_err();
    assert!(matches!(error, StorageError::Mismatch { .. }), "{error}");
    let s3 = harness::s3();
    let options = regrow::storage::S3Options { prefix: "grown".into(), ..s3.options() };
    let store = S3::connect(options, Clock::system(), Random::system()).await.unwrap();
    let mut upload = store.upload("manifest.json").await.unwrap();
    let chunk = bytes::Bytes::from(vec![7_u8; 8 << 20]);
    let mut written = Vec::new();
    while written.len() as u64 <= LARGEST_WHOLE {
        upload.write(chunk.clone()).await.unwrap();
        written.extend_from_slice(&chunk);
    }
    upload.finish(&sha256(&written)).await.unwrap();
    let error = store.read("manifest.json", None).await.unwrap_err();
    assert!(matches!(error, StorageError::Mismatch { .. }), "{error}");
    assert_eq!(store.read("manifest.json", Some(5..9)).await.unwrap().len(), 4);
}

/// A server that answers every request for an object with more than was asked for.
#[tokio::test]
async fn a_store_that_answers_with_more_than_was_asked_for_is_not_listened_to() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut buffer = [0; 8192];
                while std::io::Read::read(&mut stream, &mut buffer).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 206 Partial Content\r\ntransfer-encoding: chunked\r\n\r\n");
                    // It never ends by itself.
                    while stream.write_all(b"10000\r\n").and_then(|()| stream.write_all(&vec![0; 0x10000])).is_ok() {
                        if stream.write_all(b"\r\n").is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    let options = regrow::storage::S3Options { endpoint: Some(endpoint), ..harness::s3().options() };
    let store = S3::connect(options, Clock::system(), Random::system()).await.unwrap();
    for range in [Some(0..10), None] {
        let error = store.read("backups/a", range).await.unwrap_err();
        assert!(matches!(error, StorageError::Mismatch { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_that_grew_is_damage_of_that_backup_alone() {
    let servers = harness::replica_set();
    let db = crate::small_backups::fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let [first, second] = [(); 2].map(|()| workspace.run(["backup", "--ns", &db]).exits(0).stdout.trim().to_owned());
    let place = workspace.repository().join(format!("backups/{first}/manifest.json"));
    fs::remove_file(&place).unwrap();
    File::create(&place).unwrap().set_len(1 << 40).unwrap();
    let run = workspace.run(["list"]).exits(0);
    assert!(run.stdout.contains(&first) && run.stdout.contains(&second), "{run:?}");
    workspace.run(["show", &second]).exits(0);
    workspace.run(["show", &first]).exits(5);
    workspace.run(["verify", "--level", "structure"]).exits(5);
}

/// The process has so little memory that it would end by what it was told, if it kept that.
#[test]
fn dumps_that_tell_of_more_namespaces_than_there_is_memory_for_are_refused() {
    let workspace = Workspace::on_disk("mongodb://127.0.0.1:1/");
    workspace.run(["init"]).exits(0);
    let gzip = |content: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    let prelude = Prelude { server_version: "6.0.5".into(), tool_version: "by hand".into(), namespaces: Vec::new() };
    let begun = prelude.to_bytes();
    let open = &begun[..begun.len() - TERMINATOR.len()];
    let named = |number: usize, metadata: &str| {
        let collection = format!("{number:0>200}");
        rawdoc! { "db": "shop", "collection": collection, "metadata": metadata, "size": 0, "type": "collection" }
    };
    let ended = |number: usize| {
        let header = rawdoc! { "db": "shop", "collection": format!("{number:0>200}"), "EOF": true, "CRC": 0_i64 };
        [header.as_bytes(), &TERMINATOR].concat()
    };
    let whole = [open, named(0, "").as_bytes(), &TERMINATOR].concat();
    let some: Vec<u8> = (0..10_000).flat_map(|number| named(number, "").into_bytes()).collect();
    let ends: Vec<u8> = (0..100_001).flat_map(ended).collect();
    let long = gzip(named(0, &" ".repeat(16 << 20)).as_bytes());
    for (archive, said) in [
        ([gzip(open), gzip(&some).repeat(300)].concat(), "names more than 100000 namespaces"),
        ([gzip(open), long.repeat(256)].concat(), "tells more than 256 MiB of its namespaces"),
        ([gzip(&whole), gzip(&ends)].concat(), "names more than 100000 namespaces"),
    ] {
        workspace.write("archive.gz", archive);
        let run = workspace.bash("ulimit -v 1500000; exec regrow import archive.gz").run().exits(7);
        assert!(run.stderr.contains(said), "{run:?}");
    }
    let metadata = [&br#"{"options":{},"indexes":[]}"#[..], &vec![b' '; 16 << 20]].concat();
    let metadata = gzip(&metadata);
    for number in 0..17 {
        workspace.write(&format!("dump/shop/c{number}.metadata.json.gz"), &metadata);
        workspace.write(&format!("dump/shop/c{number}.bson.gz"), gzip(&[]));
    }
    let run = workspace.run(["import", "dump"]).exits(7);
    assert!(run.stderr.contains("tells more than 256 MiB of its namespaces"), "{run:?}");
}

#[test]
fn a_gzip_bomb_in_a_dump_is_refused() {
    let servers = harness::replica_set();
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let gzip = |content: &[u8], times: usize| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        (0..times).for_each(|_| encoder.write_all(content).unwrap());
        encoder.finish().unwrap()
    };
    let zeros = vec![b' '; 16 << 20];
    workspace.write("dump/shop/orders.metadata.json.gz", gzip(&zeros, 64));
    workspace.write("dump/shop/orders.bson.gz", gzip(&[], 0));
    let run = workspace.run(["import", "dump"]).exits(5);
    assert!(run.stderr.contains("orders.metadata.json.gz"), "{run:?}");
    workspace.write("dump/shop/orders.metadata.json.gz", gzip(br#"{"options":{},"indexes":[]}"#, 1));
    // A document of 2 GiB, as its length says.
    workspace.write("dump/shop/orders.bson.gz", gzip(&0x7fff_ffff_i32.to_le_bytes(), 1));
    let run = workspace.run(["import", "dump"]).exits(5);
    assert!(run.stderr.contains("begins a document of 2147483647 bytes"), "{run:?}");
}
