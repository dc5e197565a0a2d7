//! Restoring to any moment: what is restored is what the source was then, byte for byte.

mod bases;
mod changing;
mod damaged;
mod moments;
mod runs;
mod search;
mod selected;
mod stress;
mod traps;
pub(crate) mod workload;

use std::fs;
use std::path::PathBuf;

use mongodb::Client;
use mongodb::bson::{Timestamp, doc};
use serde_json::Value;

use crate::harness::{Options, Run, Servers, Workspace};

/// Expiry would go on with its work between two comparisons.
fn without_expiry() -> Options {
    Options { parameters: vec!["ttlMonitorEnabled=false"], ..Options::default() }
}

/// A workspace whose repository holds a backup and captures from before it.
fn begun(servers: &Servers) -> Workspace {
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    capture(&workspace);
    workspace.run(["backup"]).exits(0);
    workspace
}

/// Captures everything up to now.
fn capture(workspace: &Workspace) {
    workspace.run(["capture", "--once"]).exits(0);
}

/// Restores into the source's or another deployment named rs0.
fn restore(workspace: &Workspace, arguments: &[&str]) -> Run {
    workspace.run([&["restore", "--confirm", "rs0", "--json"], arguments].concat())
}

fn listed(workspace: &Workspace) -> Value {
    workspace.run(["list", "--json"]).exits(0).json()
}

/// Returns the files of the captured oplog, by the ending of their names, the oldest first.
fn files(workspace: &Workspace, ending: &str) -> Vec<PathBuf> {
    let timelines = fs::read_dir(workspace.repository().join("oplog")).unwrap();
    let files = timelines.flat_map(|timeline| fs::read_dir(timeline.unwrap().path()).unwrap());
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.to_str().unwrap().ends_with(ending) && !file.ends_with("timeline.json"));
    files.sort();
    files
}

/// Returns the cluster time of the newest operation.
async fn now(client: &Client) -> Timestamp {
    let reply = client.database("admin").run_command(doc! { "ping": 1 }).await.unwrap();
    reply.get_timestamp("operationTime").unwrap()
}

/// Returns a cluster time as the command line takes it.
fn text(time: Timestamp) -> String {
    format!("{},{}", time.time, time.increment)
}
