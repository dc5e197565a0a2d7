//! Random histories: at each increment, what is restored is what the source was, byte for byte.

use mongodb::Client;
use mongodb::bson::Timestamp;
use serde_json::Value;

use super::history::{self, History};
use super::{back_up, begun, cluster_time, id, options, restore};
use crate::contents::Contents;
use crate::harness;
use crate::point_in_time::workload::{self, Random, Workload};

/// As many increments as there may be behind one full backup.
const INCREMENTS: usize = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_increment_of_a_random_history_is_restored_as_the_source_was() {
    every_increment_is_restored(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_increment_of_another_history_is_restored_as_the_source_was() {
    every_increment_is_restored(20_261_126).await;
}

async fn every_increment_is_restored(seed: u64) {
    let (servers, target) = (harness::own(&options()), harness::own(&options()));
    let (client, workspace, mut random) = (servers.client().await, begun(&servers), Random(seed));
    let mut history = History::begin(&client, seed).await;
    let mut taken = vec![sample(&client, back_up(&workspace, &["--kind", "weekly"])).await];
    for number in 0..INCREMENTS {
        history.go_on(u32::try_from(random.below(120)).unwrap()).await;
        // Begun before one backup, and committed behind it.
        match number {
            1 | 4 => history.open().await,
            2 | 5 => history.close().await,
            _ => {}
        }
        let backup = back_up(&workspace, &["--incremental"]);
        assert_eq!(backup["parent"], taken.last().unwrap().backup["id"], "{backup}");
        taken.push(sample(&client, backup).await);
    }
    let last = back_up(&workspace, &["--incremental"]);
    assert_eq!(last["parent"], Value::Null, "the chain is long enough");
    restore_each(&workspace, &target, &taken).await;
    let number = |taken: &Sample, name: &str| taken.backup["incremental"][name].as_u64().unwrap_or_default();
    let held: u64 = taken.iter().map(|taken| number(taken, "documents")).sum();
    let touched: u64 = taken.iter().map(|taken| number(taken, "touched")).sum();
    let all: u64 = taken.iter().skip(1).map(|taken| taken.backup["documents"].as_u64().unwrap()).sum();
    assert!(touched > 100 && held * 2 < all, "of {all} documents increments hold {held}, and touched are {touched}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_taken_while_everything_changes_are_restored_as_the_source_was() {
    let (servers, target) = (harness::own(&options()), harness::own(&options()));
    let (client, workspace) = (servers.client().await, begun(&servers));
    let writers = Workload::start(&client, 4711).await;
    let mut history = History::begin(&client, 4711).await;
    let mut taken = Vec::new();
    for _ in 0..6 {
        history.go_on(60).await;
        // Collections are not changed while the source is looked at; documents are, all the time.
        let _collections_stay = writers.collections.read().await;
        let kind: &[&str] = if taken.is_empty() { &[] } else { &["--incremental"] };
        taken.push(sample(&client, back_up(&workspace, kind)).await);
    }
    assert!(writers.stop().await > 100);
    let increments = taken.iter().filter(|taken| taken.backup["parent"].is_string()).count();
    assert_eq!(increments, 5);
    restore_each(&workspace, &target, &taken).await;
}

/// A backup, and the source as it was at its moment.
struct Sample {
    backup: Value,
    contents: Contents,
}

async fn sample(client: &Client, backup: Value) -> Sample {
    let contents = contents(client, Some(cluster_time(&backup))).await;
    Sample { backup, contents }
}

async fn contents(client: &Client, at: Option<Timestamp>) -> Contents {
    let mut contents: Option<Contents> = None;
    for database in history::DATABASES.into_iter().chain(workload::DATABASES) {
        let found = match at {
            Some(at) => Contents::of_database_at(client, database, at).await,
            None => Contents::of_database(client, database).await.without_capped_documents(),
        };
        match &mut contents {
            Some(contents) => contents.extend(found),
            None => contents = Some(found),
        }
    }
    contents.unwrap()
}

async fn restore_each(workspace: &harness::Workspace, target: &harness::Servers, taken: &[Sample]) {
    let client = target.client().await;
    for Sample { backup, contents: expected } in taken {
        for database in history::DATABASES.into_iter().chain(workload::DATABASES) {
            client.database(database).drop().await.unwrap();
        }
        let restored = restore(workspace, target, &[id(backup)]);
        assert_eq!(restored["backup"], backup["id"], "{restored}");
        contents(&client, None).await.assert_equals(expected);
    }
}
