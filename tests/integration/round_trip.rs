//! The exact round trip: what is restored is what was backed up, byte for byte.

mod accounts;
mod consistent;
pub mod odd;
mod parts;
mod places;
mod selected;
mod without_regrow;

use serde_json::Value;

use crate::contents::Contents;
use crate::harness::{self, Options, Run, Workspace};

/// Creates the repository that a workspace configures.
fn initialised(workspace: Workspace) -> Workspace {
    workspace.run(["init"]).exits(0);
    workspace
}

/// Takes a backup and returns what `--json` says about it.
fn back_up(workspace: &Workspace, arguments: &[&str]) -> Value {
    workspace.run([&["backup", "--json"], arguments].concat()).exits(0).json()
}

/// Restores the newest backup.
fn restore(workspace: &Workspace, arguments: &[&str]) -> Run {
    workspace.run([&["restore", "latest", "--json"], arguments].concat())
}

/// The servers' own expiry would go on with its work between two comparisons.
fn without_expiry() -> Options {
    Options { parameters: vec!["ttlMonitorEnabled=false"], ..Options::default() }
}

#[tokio::test]
async fn everything_odd_survives_the_loss_of_every_database() {
    let servers = harness::own(&without_expiry());
    let client = servers.client().await;
    odd::fill(&client).await;
    odd::fill_large(&client).await;
    odd::fill_empty_timestamps(&client).await;
    let before = Contents::of(&client).await;
    assert_eq!(before.count("odd_options", "capped by number"), Some(50));
    assert_eq!(before.count("odd_series", "weather"), Some(400));

    let workspace = initialised(Workspace::on_disk(servers.uri()));
    let backup = back_up(&workspace, &[]);
    for db in client.list_database_names().await.unwrap() {
        if !["admin", "config", "local"].contains(&db.as_str()) {
            client.database(&db).drop().await.unwrap();
        }
    }
    assert_eq!(Contents::of(&client).await.names(), [""; 0]);
    let restored: Value = restore(&workspace, &["--confirm", "rs0"]).exits(0).json();

    Contents::of(&client).await.assert_equals(&before);
    assert_eq!(restored["documents"], backup["documents"]);
    assert_eq!(restored["namespaces"], backup["namespaces"]);
    let verified: Value = workspace.run(["verify", "--json"]).exits(0).json();
    assert_eq!(verified["ok"], true);
}
