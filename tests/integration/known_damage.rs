//! Damage that a verification has found: nothing builds on it, nothing leads over it, everything says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::harness::{self, Options, Workspace};

/// A source with documents in it, and a repository.
async fn begun() -> (harness::Servers, Client, Workspace) {
    let servers = harness::own(&Options { parameters: vec!["ttlMonitorEnabled=false"], ..Options::default() });
    let (client, mut workspace) = (servers.client().await, Workspace::on_disk(servers.uri()));
    workspace.set("backup.largest_increment", 100);
    workspace.run(["init"]).exits(0);
    insert(&client, 0).await;
    (servers, client, workspace)
}

async fn insert(client: &Client, from: i32) {
    let documents = (from..from + 1000).map(|number| doc! { "_id": number, "text": "x".repeat(200) });
    client.database("shop").collection("orders").insert_many(documents).await.unwrap();
}

fn flip(path: &Path, at: impl Fn(usize) -> usize) {
    let mut content = fs::read(path).unwrap();
    let at = at(content.len());
    content[at] ^= 1;
    fs::write(path, content).unwrap();
}

/// Damages each segment of a backup: which collection's comes first depends on which reader is faster.
fn damage(workspace: &Workspace, backup: &str) {
    let folder = workspace.repository().join(format!("backups/{backup}"));
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    for segment in manifest["payload"]["packs"][0]["segments"].as_array().unwrap() {
        let offset = usize::try_from(segment["offset"].as_u64().unwrap()).unwrap();
        flip(&folder.join("packs/0001.tar"), |_| offset + 100);
    }
}

fn take(workspace: &Workspace, arguments: &[&str]) -> String {
    workspace.run([&["backup"], arguments].concat()).exits(0).stdout.trim().to_owned()
}

fn listed(workspace: &Workspace) -> Value {
    workspace.run(["list", "--json"]).exits(0).json()
}

#[tokio::test]
async fn an_increment_falls_with_what_it_builds_on_and_none_is_built_on_damage() {
    let (_servers, client, workspace) = begun().await;
    let full = take(&workspace, &[]);
    insert(&client, 1000).await;
    let increment = take(&workspace, &["--incremental"]);
    damage(&workspace, &full);
    workspace.run(["verify", &full]).exits(5);
    let backups = listed(&workspace);
    for backup in backups["backups"].as_array().unwrap() {
        assert!(backup["damaged_since"].is_string(), "{backup}");
    }
    assert_eq!(backups["recovery_window"], serde_json::json!([]), "{backups}");
    let shown = workspace.run(["show", &increment]).exits(0).stdout;
    assert!(shown.contains("verified     DAMAGED"), "{shown}");
    let plan = workspace.run(["restore", &increment, "--replace", "--dry-run"]).exits(0).stderr;
    assert!(plan.contains(&format!("{full} damaged, which {increment} builds on")), "{plan}");
    assert!(plan.contains("there is no other backup of everything that nothing is known against"), "{plan}");

    let taken = workspace.run(["backup", "--incremental"]).exits(0);
    assert!(
        taken
            .stderr
            .contains(&format!("full backup instead of an increment: a verification found {increment} damaged")),
        "{taken:?}"
    );
    let plan = workspace.run(["restore", "--at", "latest", "--replace", "--dry-run"]).exits(0).stderr;
    assert!(plan.contains(&format!("Restore {} into", taken.stdout.trim())), "{plan}");
    let plan = workspace.run(["restore", &increment, "--replace", "--dry-run"]).exits(0).stderr;
    assert!(plan.contains(&format!("nothing is known against {}", taken.stdout.trim())), "{plan}");
}

/// Nobody has verified anything: what the restore meets is all that is known.
#[tokio::test]
async fn a_restore_that_meets_damage_does_not_send_to_a_backup_that_shares_it() {
    let (_servers, client, workspace) = begun().await;
    // So long ago that the increment has no reason to read the first documents again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.database("shop").collection("other").insert_one(doc! { "_id": 1 }).await.unwrap();
    let full = take(&workspace, &[]);
    insert(&client, 1000).await;
    let increment = take(&workspace, &["--incremental"]);
    damage(&workspace, &full);
    let failed = workspace.run(["restore", &increment, "--replace", "--confirm", "rs0"]).exits(5).stderr;
    assert!(failed.contains("hint: no other backup can take its place"), "{failed}");
    let apart = take(&workspace, &["--full"]);
    let failed = workspace.run(["restore", &increment, "--replace", "--confirm", "rs0"]).exits(5).stderr;
    assert!(failed.contains(&format!("hint: nothing is known against {apart}")), "{failed}");
}

/// Returns the slices of the captured oplog, in order.
fn slices(workspace: &Workspace) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![workspace.repository().join("oplog")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.to_string_lossy().contains(".bson.zst") {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_damaged_slice_breaks_the_window_and_no_way_leads_over_it() {
    let (_servers, client, workspace) = begun().await;
    workspace.run(["capture", "--once"]).exits(0);
    take(&workspace, &[]);
    let orders = client.database("shop").collection::<Document>("orders");
    let mut ends = Vec::new();
    for number in [5000, 6000, 7000] {
        orders.insert_one(doc! { "_id": number }).await.unwrap();
        workspace.run(["capture", "--once"]).exits(0);
        let window = listed(&workspace)["recovery_window"].clone();
        let end = &window.as_array().unwrap().last().unwrap()["end"];
        ends.push(format!("{},{}", end["t"], end["i"]));
    }
    let slices = slices(&workspace);
    flip(&slices[slices.len() - 2], |length| length / 2);
    workspace.run(["verify"]).exits(5);
    let window = listed(&workspace)["recovery_window"].clone();
    let end = &window.as_array().unwrap().last().unwrap()["end"];
    assert_eq!(format!("{},{}", end["t"], end["i"]), ends[0], "{window}");
    let said = workspace.run(["list"]).exits(0).stderr;
    assert!(said.contains("a part of the captured oplog is damaged"), "{said}");
    let lost = workspace.run(["restore", "--at", &ends[1], "--replace", "--dry-run"]).exits(4).stderr;
    assert!(lost.contains("a part of the captured oplog is damaged") && lost.contains(&ends[0]), "{lost}");
    let answer: Value =
        workspace.run(["restore", "--at", "latest", "--replace", "--dry-run", "--json"]).exits(0).json();
    let reached = &answer["recovered_to"];
    assert_eq!(format!("{},{}", reached["t"], reached["i"]), ends[0], "{answer}");
}
