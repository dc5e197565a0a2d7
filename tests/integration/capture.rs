//! `regrow capture`: entry for entry what the server's oplog holds, whatever happens to anybody meanwhile.

mod faults;
pub mod histories;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{Document, RawDocumentBuf, Timestamp, doc};
use regrow::clock::Clock;
use regrow::codec::Identities;
use regrow::format::oplog::Range;
use regrow::format::segment::Walk;
use regrow::random::Random;
use regrow::repository::{CapturedTimeline, Repository};
use regrow::secret::Secret;
use regrow::storage::{Local, Storage};
use serde_json::Value;

use crate::harness::{self, Running, Servers, Workspace};

/// A workspace with a repository, whose slices are closed every second.
fn workspace(servers: &Servers) -> Workspace {
    quick(Workspace::on_disk(servers.uri()))
}

fn quick(mut workspace: Workspace) -> Workspace {
    workspace.set("oplog.slice_interval", "1s");
    workspace.run(["init"]).exits(0);
    workspace
}

/// Starts a capture and waits until it follows the oplog.
fn start(workspace: &Workspace) -> Running {
    let mut capture = workspace.regrow(["capture"]).spawn();
    capture.wait_until_it_says("captured up to");
    capture
}

fn capture_up_to_now(workspace: &Workspace) {
    workspace.run(["capture", "--once"]).exits(0);
}

/// Writes documents until told to stop; returns how many.
pub struct Writer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<i32>,
}

impl Writer {
    pub fn start(client: &Client, database: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, database) = (Arc::clone(&stop), client.database(database));
        let task = tokio::spawn(async move {
            let (orders, mut number) = (database.collection::<Document>("orders"), 0);
            while !stopping.load(Ordering::Relaxed) {
                // Elections interrupt writers; only what was acknowledged counts.
                if orders.insert_one(doc! { "_id": number, "lines": [{ "sku": number }] }).await.is_ok() {
                    let _ = orders.update_one(doc! { "_id": number }, doc! { "$set": { "lines.0.paid": true } }).await;
                }
                number += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            number
        });
        Self { stop, task }
    }

    pub async fn stop(self) -> i32 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Opens what a workspace's program has stored, as a restore would.
async fn repository(storage: Arc<dyn Storage>) -> Repository {
    Repository::open(storage).await.unwrap()
}

pub async fn on_disk(workspace: &Workspace) -> Repository {
    repository(Arc::new(Local::open(workspace.repository(), Clock::system(), Random::system()))).await
}

/// Returns every captured entry of a timeline, and checks that its slices follow each other.
async fn entries(
    repository: &Repository,
    workspace: &Workspace,
    captured: &CapturedTimeline,
) -> Vec<(Timestamp, RawDocumentBuf)> {
    let identities = std::fs::read_to_string(workspace.identity_file()).unwrap();
    let identities = Identities::parse(&Secret::new(identities)).unwrap();
    let (mut entries, mut end) = (Vec::new(), captured.timeline.begin);
    for slice in &captured.slices {
        assert!(slice.begin == end || captured.gaps.contains(&Range { begin: end, end: slice.begin }), "{slice:?}");
        end = slice.end;
        let record = repository.slice_record(&captured.timeline.id, slice.begin).await.unwrap();
        let opened = repository.slice_entries(&record, Some(identities.clone())).await.unwrap();
        let walked: Vec<_> = Walk::new(&opened).map(|entry| entry.unwrap().to_owned()).collect();
        assert_eq!(walked.len() as u64, record.entries);
        assert_eq!(opened.len() as u64, record.bytes_raw);
        let walked = walked.into_iter().map(|entry| (entry.get_timestamp("ts").unwrap(), entry));
        entries.extend(walked);
        assert_eq!(entries.last().unwrap().0, slice.end.into());
    }
    entries
}

/// Holds everything captured of the newest timeline against the server's own oplog: each entry once, as bytes.
pub async fn is_the_oplog(workspace: &Workspace, client: &Client) -> usize {
    let repository = on_disk(workspace).await;
    agrees(&repository, workspace, client).await
}

pub async fn agrees(repository: &Repository, workspace: &Workspace, client: &Client) -> usize {
    let captured = repository.captured().await.unwrap().pop().unwrap();
    let found = entries(repository, workspace, &captured).await;
    let (first, last) = (found.first().unwrap().0, Timestamp::from(captured.end()));
    let filter = doc! { "ts": { "$gte": first, "$lte": last } };
    let oplog = client.database("local").collection::<RawDocumentBuf>("oplog.rs");
    let real: Vec<RawDocumentBuf> = oplog.find(filter).await.unwrap().try_collect().await.unwrap();
    let times = |entries: &[RawDocumentBuf]| -> Vec<_> {
        entries.iter().map(|entry| entry.get_timestamp("ts").unwrap()).collect()
    };
    let found: Vec<RawDocumentBuf> = found.into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(times(&found), times(&real), "each entry once and in order");
    assert!(found == real, "byte for byte");
    found.len()
}

fn listed(workspace: &Workspace) -> Value {
    workspace.run(["list", "--json"]).exits(0).json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_captured_is_the_oplog_and_the_window_grows_with_it() {
    let (servers, database) = (harness::own(&harness::Options::default()), "shop");
    let (client, workspace) = (servers.client().await, workspace(&servers));
    client.database(database).collection::<Document>("orders").insert_one(doc! { "_id": "first" }).await.unwrap();
    workspace.run(["backup"]).exits(0);
    let capture = start(&workspace);
    let before = listed(&workspace)["recovery_window"].clone();
    let writer = Writer::start(&client, database);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let written = writer.stop().await;
    capture.signal("TERM");
    capture.wait().exits(0);
    capture_up_to_now(&workspace);
    assert!(is_the_oplog(&workspace, &client).await >= usize::try_from(written).unwrap());
    let after = listed(&workspace)["recovery_window"].clone();
    assert_eq!(after.as_array().unwrap().len(), 1, "{after}");
    assert_eq!(after[0]["begin"], before[0]["begin"], "it begins with the backup");
    assert!(after[0]["end"]["t"].as_u64() > before[0]["end"]["t"].as_u64(), "{before} {after}");
    let said = workspace.run(["list"]).exits(0).stdout;
    assert!(said.contains("RECOVERY WINDOW") && said.contains("any second"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_server_is_captured_too() {
    let servers = harness::own(&harness::Options::default());
    let workspace = workspace(&servers);
    capture_up_to_now(&workspace);
    let mut capture = workspace.regrow(["capture"]).spawn();
    // Only the server's own no-ops, one in ten seconds, move time on.
    capture.wait_until_it_says("captured up to");
    capture.signal("INT");
    capture.wait().exits(0);
}
