//! Increments: backups of what has changed, restored with what they build on.

mod chain;
mod history;
mod interrupted;
mod random_histories;
mod taking;

use mongodb::bson::Timestamp;
use serde_json::Value;

use crate::harness::{Options, Servers, Workspace};

/// Expiry would go on with its work between two comparisons.
fn options() -> Options {
    Options { parameters: vec!["ttlMonitorEnabled=false"], ..Options::default() }
}

/// A workspace with a repository, in which whatever has changed may make an increment.
fn begun(servers: &Servers) -> Workspace {
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.set("backup.largest_increment", 100);
    workspace.run(["init"]).exits(0);
    workspace
}

/// Takes a backup and returns what is said of it.
fn back_up(workspace: &Workspace, arguments: &[&str]) -> Value {
    let run = tokio::task::block_in_place(|| workspace.run([&["backup", "--json"], arguments].concat()));
    run.exits(0).json()
}

fn id(backup: &Value) -> &str {
    backup["id"].as_str().unwrap()
}

/// Returns the moment that a backup shows.
fn cluster_time(backup: &Value) -> Timestamp {
    let part = |name: &str| u32::try_from(backup["cluster_time"][name].as_u64().unwrap()).unwrap();
    Timestamp { time: part("t"), increment: part("i") }
}

/// Restores into a deployment named rs0.
fn restore(workspace: &Workspace, target: &Servers, arguments: &[&str]) -> Value {
    let to = ["restore", "--to", target.uri(), "--confirm", "rs0", "--json"];
    tokio::task::block_in_place(|| workspace.run([&to[..], arguments].concat())).exits(0).json()
}
