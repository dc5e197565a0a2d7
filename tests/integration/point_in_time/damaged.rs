//! Captured oplog that is not what was captured, or not what can be replayed: nothing is restored.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use mongodb::Client;
use mongodb::bson::{Document, RawDocumentBuf, Timestamp, doc, rawdoc};
use regrow::clock::Clock;
use regrow::codec::{Recipients, Sealer, SigningKey};
use regrow::format::Subject;
use regrow::format::oplog::Range;
use regrow::format::segment::Documents;
use regrow::random::Random;
use regrow::repository::{Repository, SealedSlice};
use regrow::secret::Secret;
use regrow::storage::Local;
use serde_json::Value;

use super::{begun, capture, files, now, restore, text, without_expiry};
use crate::harness::{self, Workspace};

/// A workspace with a backup and three slices behind it, and the last moment they hold.
async fn with_slices(client: &Client, workspace: &Workspace) -> Timestamp {
    let orders = client.database("shop").collection::<Document>("orders");
    for number in 0..3 {
        orders.insert_one(doc! { "_id": number }).await.unwrap();
        capture(workspace);
    }
    now(client).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_that_is_missing_truncated_or_altered_is_named_and_nothing_is_restored() {
    let servers = harness::own(&without_expiry());
    let client = servers.client().await;
    let workspace = begun(&servers);
    let at = text(with_slices(&client, &workspace).await);
    capture(&workspace);
    let arguments = ["--at", &at, "--map", "shop=copy"];
    // The second of them lies between the backup and the moment.
    let (slices, records) = (files(&workspace, ".bson.zst.age"), files(&workspace, ".json"));
    let (slice, other, record) = (&slices[slices.len() - 3], &slices[slices.len() - 2], &records[records.len() - 3]);
    let whole = fs::read(slice).unwrap();
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let damages: Vec<(&str, &PathBuf, Option<Vec<u8>>)> = vec![
        ("missing", slice, None),
        ("truncated", slice, Some(whole[..whole.len() - 10].to_vec())),
        ("altered", slice, Some(flipped(&whole, whole.len() / 2))),
        ("another's", slice, Some(fs::read(other).unwrap())),
        ("an altered record", record, Some(flipped(&fs::read(record).unwrap(), 200))),
    ];
    for (case, path, content) in damages {
        let original = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        if let Some(content) = &content {
            fs::write(path, content).unwrap();
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let said = restore(&workspace, &arguments).exits(5).stderr;
        assert!(said.contains(name), "{case}: {said}");
        let verified: Value = workspace.run(["verify", "--json"]).exits(5).json();
        let findings = verified["findings"].as_array().unwrap();
        assert_eq!(findings.len(), 1, "{case}: {verified}");
        assert!(findings[0]["object"].as_str().unwrap().ends_with(name), "{case}: {verified}");
        let costs = findings[0]["costs"]["recovery_points"].as_array().unwrap();
        assert!(!costs.is_empty(), "{case}: what it costs is told: {verified}");
        let _ = fs::remove_file(path);
        fs::write(path, original).unwrap();
        workspace.run(["verify"]).exits(0);
    }
    assert!(!client.list_database_names().await.unwrap().contains(&"copy".to_owned()), "nothing was touched");
    restore(&workspace, &arguments).exits(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_missing_ends_the_window_before_it() {
    let servers = harness::own(&without_expiry());
    let client = servers.client().await;
    let workspace = begun(&servers);
    let at = text(with_slices(&client, &workspace).await);
    capture(&workspace);
    let records = files(&workspace, ".json");
    fs::remove_file(&records[records.len() - 2]).unwrap();
    let said = restore(&workspace, &["--at", &at, "--map", "shop=copy"]).exits(4).stderr;
    assert!(said.contains("the nearest moment that can be restored"), "{said}");
    let verified: Value = workspace.run(["verify", "--level", "structure", "--json"]).exits(5).json();
    assert!(verified["findings"][0]["problem"].as_str().unwrap().contains("no gap explains"), "{verified}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_an_unknown_kind_is_named_with_the_last_good_moment() {
    let servers = harness::own(&without_expiry());
    let client = servers.client().await;
    let workspace = begun(&servers);
    let last = with_slices(&client, &workspace).await;
    capture(&workspace);
    let good = Timestamp { time: last.time + 100, increment: 1 };
    let unknown = Timestamp { time: last.time + 100, increment: 2 };
    let entries = [
        rawdoc! { "op": "n", "ns": "", "ts": good, "o": {} },
        rawdoc! { "op": "c", "ns": "shop.$cmd", "ts": unknown, "o": { "frobnicate": "orders" } },
    ];
    forge_slice(&workspace, &entries, unknown).await;
    // As the fleet's clock will be by then.
    let said = restore(&workspace, &["--at", &text(unknown), "--map", "shop=copy"]).exits(1).stderr;
    assert!(said.contains("'frobnicate'") && said.contains(&text(unknown)), "{said}");
    assert!(said.contains(&format!("--before {}", text(unknown))), "{said}");
    assert!(!client.list_database_names().await.unwrap().contains(&"copy".to_owned()), "nothing was touched");
    restore(&workspace, &["--before", &text(unknown), "--map", "shop=copy"]).exits(0);
}

/// Stores a slice with entries of our own behind the last one, as a newer server's would be.
async fn forge_slice(workspace: &Workspace, entries: &[RawDocumentBuf], end: Timestamp) {
    let storage = Arc::new(Local::open(workspace.repository(), Clock::system(), Random::system()));
    let repository = Repository::open(storage).await.unwrap();
    let captured = repository.captured().await.unwrap().pop().unwrap();
    let range = Range { begin: captured.end(), end: end.into() };
    let sealer = Sealer::new(Some(Recipients::parse(&[workspace.recipient()]).unwrap()));
    let documents: Documents = entries.iter().cloned().collect();
    let slice = SealedSlice {
        range,
        entries: documents.count(),
        bytes_raw: documents.as_bytes().len() as u64,
        encryption: sealer.encryption(),
        recipients: sealer.recipients(),
        nonce: 7,
    };
    let timeline = captured.timeline.id;
    let subject = Subject::Slice { timeline: timeline.clone(), begin: range.begin, end: range.end };
    let sealed = sealer.seal(subject, &documents).unwrap();
    let key = fs::read_to_string(workspace.path("regrow-signing.key")).unwrap();
    let key = SigningKey::parse(&Secret::new(key)).unwrap();
    repository.store_slice(&timeline, &slice, sealed, &Clock::system(), &key).await.unwrap();
}
