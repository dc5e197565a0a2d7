//! Many moments of a source under every kind of write, each restored and held against what the source was then.

use std::time::Duration;

use mongodb::bson::{Document, Timestamp, doc};
use mongodb::error::ErrorKind;
use mongodb::{Client, Collection};
use serde_json::Value;

use super::workload::{DATABASES, Random, Workload};
use crate::contents::Contents;
use crate::harness::{self, Options, Running, Servers, Topology, Workspace};

/// How many moments are looked at.
const MOMENTS: usize = 20;

/// The source at one moment.
struct Sample {
    at: Timestamp,
    contents: Contents,
}

/// For how many seconds at most the workload goes on until each kind of entry was there.
const ROUNDS_OF_WAITING: u32 = 180;

/// Expiry would go on with its work between two comparisons, and snapshots must outlive their reading.
fn options(nodes: u8, s3: bool) -> Options {
    Options {
        topology: Topology::ReplicaSet { nodes },
        s3,
        parameters: vec!["ttlMonitorEnabled=false"],
        oplog_megabytes: 1024,
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_moment_is_restored_as_it_was() {
    let (servers, target) = (harness::own(&options(1, false)), harness::own(&options(1, false)));
    let client = servers.client().await;
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.set("oplog.slice_interval", "1s");
    workspace.run(["init"]).exits(0);
    workspace.run(["capture", "--once"]).exits(0);
    let workload = Workload::start(&client, 42).await;
    let capture = workspace.regrow(["capture"]).spawn();
    let (mut samples, mut random) = (Vec::new(), Random(7));
    for moment in 0..MOMENTS {
        if moment % 7 == 0 {
            if moment % 2 == 1 {
                back_up_without_snapshots(&workspace, &servers).await;
            } else {
                back_up(&workspace, &servers, false).await;
            }
        }
        samples.push(Sample::take(&client, &workload, &mut random).await);
    }
    finish(&workspace, &client, workload, capture, &mut samples).await;
    restore_each(&workspace, &target, &samples).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_moment_is_restored_whatever_happened_to_capture_source_and_store() {
    let (servers, target) = (harness::own(&options(3, true)), harness::own(&options(1, false)));
    let client = servers.client().await;
    let mut workspace = Workspace::on_s3(servers.uri(), servers.s3());
    workspace.set("oplog.slice_interval", "1s");
    workspace.run(["init"]).exits(0);
    workspace.run(["capture", "--once"]).exits(0);
    let workload = Workload::start(&client, 4242).await;
    let mut capture = workspace.regrow(["capture"]).spawn();
    let (mut samples, mut random) = (Vec::new(), Random(77));
    for moment in 0..MOMENTS {
        if moment == 0 || moment == 12 {
            back_up(&workspace, &servers, moment == 12).await;
        }
        match moment % 5 {
            1 | 3 => {
                capture.kill();
                capture.wait();
                tokio::time::sleep(Duration::from_millis(random.below(500).unsigned_abs())).await;
                capture = workspace.regrow(["capture"]).spawn();
            }
            2 => {
                let step_down = doc! { "replSetStepDown": 5, "force": true };
                client.database("admin").run_command(step_down).await.unwrap();
                // Long enough for an election; the writers find out by themselves.
                tokio::time::sleep(Duration::from_secs(4)).await;
            }
            4 => {
                servers.kill_s3();
                tokio::time::sleep(Duration::from_millis(500 + random.below(1000).unsigned_abs())).await;
                servers.start_s3_again();
            }
            _ => {}
        }
        samples.push(Sample::take(&client, &workload, &mut random).await);
    }
    finish(&workspace, &client, workload, capture, &mut samples).await;
    restore_each(&workspace, &target, &samples).await;
}

/// Takes backups of a source that forgets its snapshots, until one had to do without. A server forgets when the oldest
/// moment that it shows moves on; a backup may be faster than that.
async fn back_up_without_snapshots(workspace: &Workspace, servers: &Servers) {
    for _ in 0..20 {
        if back_up(workspace, servers, true).await == "oplog" {
            return;
        }
    }
    panic!("the server never forgot a snapshot");
}

/// Takes a backup while everything changes, also of a source that forgets its snapshots at once; returns its consistency.
async fn back_up(workspace: &Workspace, servers: &Servers, forgetful: bool) -> Value {
    let keep_snapshots = async |seconds: i32| {
        for node in 0..servers.hosts().len() {
            let keep = doc! { "setParameter": 1, "minSnapshotHistoryWindowInSeconds": seconds };
            servers.node_client(node).await.database("admin").run_command(keep).await.unwrap();
        }
    };
    keep_snapshots(if forgetful { 0 } else { 300 }).await;
    let backup: Value = tokio::task::block_in_place(|| workspace.run(["backup", "--json"])).exits(0).json();
    keep_snapshots(300).await;
    backup["consistency"].clone()
}

impl Sample {
    /// Looks at the source as it is at the newest moment, while documents go on changing.
    async fn take(client: &Client, workload: &Workload, random: &mut Random) -> Self {
        tokio::time::sleep(Duration::from_millis(200 + random.below(800).unsigned_abs())).await;
        let _collections_stay = workload.collections.read().await;
        Self::now(client).await
    }

    async fn now(client: &Client) -> Self {
        // A build that an election interrupts goes on by itself, and ends when nobody waits for it.
        let builds = client.database("config").collection::<Document>("system.indexBuilds");
        while builds.find_one(doc! {}).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let reply = client.database("admin").run_command(doc! { "ping": 1 }).await.unwrap();
        let at = reply.get_timestamp("operationTime").unwrap();
        let mut contents = Contents::of_database_at(client, DATABASES[0], at).await;
        for database in &DATABASES[1..] {
            contents.extend(Contents::of_database_at(client, database, at).await);
        }
        Self { at, contents }
    }

    fn time(&self) -> String {
        format!("{},{}", self.at.time, self.at.increment)
    }
}

/// Ends everything, and adds the last moment, at which capped collections can be compared too.
async fn finish(
    workspace: &Workspace,
    client: &Client,
    workload: Workload,
    capture: Running,
    samples: &mut Vec<Sample>,
) {
    // On a slow machine the moments may be over before each kind of entry was there.
    for _ in 0..ROUNDS_OF_WAITING {
        if missing(client).await.is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let done = workload.stop().await;
    assert!(done > 500, "{done}");
    samples.push(Sample::now(client).await);
    assert_eq!(missing(client).await, None, "chance has left nothing out");
    capture.signal("TERM");
    capture.wait().exits(0);
    workspace.run(["capture", "--once"]).exits(0);
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(listed["gaps"].as_array().unwrap().len(), 0, "{listed}");
    assert_eq!(listed["recovery_window"].as_array().unwrap().len(), 1, "{listed}");
}

/// Returns a kind of entry that the oplog has not held yet, if there is one.
async fn missing(client: &Client) -> Option<Document> {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let commands = [
        "create",
        "drop",
        "dropDatabase",
        "renameCollection",
        "collMod",
        "createIndexes",
        "commitIndexBuild",
        "dropIndexes",
        "applyOps",
        "partialTxn",
        "dropTarget",
        "timeseries",
        "clusteredIndex",
        "capped",
    ];
    let mut filters: Vec<Document> =
        commands.into_iter().map(|command| doc! { "op": "c", format!("o.{command}"): { "$exists": true } }).collect();
    filters.extend(["i", "u", "d"].map(|op| doc! { "op": op, "ns": { "$regex": "^stress" } }));
    filters.push(doc! { "op": "u", "o.$v": 2 });
    filters.push(doc! { "op": "u", "ns": "stress.system.views" });
    filters.push(doc! { "op": "u", "ns": "stress.system.buckets.series" });
    for filter in filters {
        if find(&oplog, &filter).await.is_none() {
            return Some(filter);
        }
    }
    None
}

/// Finds an entry; looks again from where the oplog begins by now when it rolled over under the search.
async fn find(oplog: &Collection<Document>, filter: &Document) -> Option<Document> {
    const CAPPED_POSITION_LOST: i32 = 136;
    loop {
        match oplog.find_one(filter.clone()).await {
            Err(error) if matches!(&*error.kind, ErrorKind::Command(lost) if lost.code == CAPPED_POSITION_LOST) => {}
            found => return found.unwrap(),
        }
    }
}

async fn restore_each(workspace: &Workspace, target: &Servers, samples: &[Sample]) {
    let (client, mut replayed) = (target.client().await, 0);
    for sample in samples {
        for database in DATABASES {
            client.database(database).drop().await.unwrap();
        }
        let at = sample.time();
        let restored = tokio::task::block_in_place(|| {
            workspace.run(["restore", "--at", &at, "--to", target.uri(), "--confirm", "rs0", "--json"])
        });
        let answer: Value = restored.exits(0).json();
        assert!(answer["recovered_to"]["t"].as_u64().unwrap() <= u64::from(sample.at.time), "{answer}");
        replayed += answer["replayed"].as_u64().unwrap();
        let mut found = Contents::of_database(&client, DATABASES[0]).await;
        for database in &DATABASES[1..] {
            found.extend(Contents::of_database(&client, database).await);
        }
        let found = found.without_capped_documents().without_mended_time_series(&sample.contents);
        found.assert_equals(&sample.contents);
    }
    assert!(replayed > 1000, "{replayed}");
}
