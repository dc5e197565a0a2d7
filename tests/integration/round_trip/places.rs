//! The same way there and back where a repository or a source is of another kind.

use mongodb::Client;
use serde_json::Value;

use super::odd::{documents, insert};
use super::{back_up, initialised, restore};
use crate::contents::Contents;
use crate::harness::{self, Servers, Workspace};

/// A database to lose.
struct Lost {
    client: Client,
    db: String,
    before: Contents,
}

impl Lost {
    async fn fill(servers: &Servers) -> Self {
        let (client, db) = (servers.client().await, harness::unique_database_name());
        insert(&client.database(&db), "everything", &documents::everything()).await;
        insert(&client.database(&db), "ids", &documents::ids()).await;
        let before = Contents::of_database(&client, &db).await;
        Self { client, db, before }
    }

    async fn drop(&self) {
        self.client.database(&self.db).drop().await.unwrap();
    }

    async fn assert_is_back(&self) {
        Contents::of_database(&self.client, &self.db).await.assert_equals(&self.before);
    }
}

#[tokio::test]
async fn a_standalone_server_is_backed_up_without_consistency_and_everything_says_so() {
    let lost = Lost::fill(harness::standalone()).await;
    let workspace = initialised(Workspace::on_disk(harness::standalone().uri()));
    let run = workspace.run(["backup", "--ns", &lost.db]).exits(0);
    assert!(run.stderr.contains("warning") && run.stderr.contains("consistency = none"), "{}", run.stderr);
    let id = run.stdout.trim();
    let line = |text: &str, with: &str| text.lines().find(|line| line.contains(with)).unwrap_or_default().to_owned();
    let listed = workspace.run(["list"]).exits(0);
    assert!(line(&listed.stdout, id).contains("  partial, inconsistent  "), "{}", listed.stdout);
    let shown = workspace.run(["show", "latest"]).exits(0);
    assert!(line(&shown.stdout, "consistency").ends_with(" none"), "{}", shown.stdout);
    assert!(line(&shown.stdout, "state as of").contains("standalone"), "{}", shown.stdout);
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    let shown: Value = workspace.run(["show", "latest", "--json"]).exits(0).json();
    for backup in [&listed["backups"][0], &shown] {
        assert_eq!((&backup["consistency"], &backup["cluster_time"]), (&"none".into(), &Value::Null));
    }
    assert_eq!(listed["recovery_window"], Value::Array(Vec::new()), "it is nobody's recovery point");

    lost.drop().await;
    restore(&workspace, &["--confirm", "rs0"]).exits(7);
    restore(&workspace, &["--confirm", "standalone"]).exits(0);
    lost.assert_is_back().await;
}

#[tokio::test]
async fn a_repository_in_s3_lists_verifies_and_restores() {
    let lost = Lost::fill(harness::replica_set()).await;
    let workspace = initialised(Workspace::on_s3(harness::replica_set().uri(), harness::s3()));
    let backup = back_up(&workspace, &["--ns", &lost.db]);
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(listed["backups"][0]["id"], backup["id"]);
    assert_eq!(listed["backups"][0]["consistency"], "snapshot");
    let verified: Value = workspace.run(["verify", "--json", "--level", "checksum"]).exits(0).json();
    assert_eq!((&verified["ok"], &verified["findings"]), (&true.into(), &Value::Array(Vec::new())));
    assert!(verified["checked_bytes"].as_u64() >= backup["bytes_stored"].as_u64(), "{verified}");

    lost.drop().await;
    restore(&workspace, &["--confirm", "rs0"]).exits(0);
    lost.assert_is_back().await;
}

#[tokio::test]
async fn without_encryption_everything_is_loud_and_works() {
    let lost = Lost::fill(harness::replica_set()).await;
    let mut workspace = Workspace::on_disk(harness::replica_set().uri());
    workspace.set("encryption", "none");
    let said = workspace.run(["init"]).exits(0).stderr;
    assert!(said.contains("NOT ENCRYPTED"), "{said}");
    let run = workspace.run(["backup", "--ns", &lost.db]).exits(0);
    assert!(run.stderr.contains("NOT ENCRYPTED"), "{}", run.stderr);
    let listed = workspace.run(["list"]).exits(0);
    assert!(listed.stdout.contains("NOT ENCRYPTED") && listed.stderr.contains("NOT ENCRYPTED"), "{listed:?}");
    let shown = workspace.run(["show", "latest"]).exits(0);
    assert!(shown.stdout.lines().any(|line| line.starts_with("encryption") && line.ends_with("NONE")), "{shown:?}");
    let shown: Value = workspace.run(["show", "latest", "--json"]).exits(0).json();
    assert_eq!((&shown["encryption"], &shown["recipients"]), (&"none".into(), &Value::Array(Vec::new())));
    workspace.run(["verify", "--level", "checksum"]).exits(0);

    lost.drop().await;
    restore(&workspace, &["--confirm", "rs0"]).exits(0);
    lost.assert_is_back().await;
}

#[tokio::test]
async fn the_latest_backup_is_the_one_taken_last() {
    let lost = Lost::fill(harness::replica_set()).await;
    let workspace = initialised(Workspace::on_disk(harness::replica_set().uri()));
    // Several begin within one second, which is all that their ids tell.
    let mut taken = Vec::new();
    for kind in ["weekly", "manual", "monthly", "daily", "daily"] {
        taken.insert(0, back_up(&workspace, &["--ns", &lost.db, "--kind", kind])["id"].clone());
        let shown: Value = workspace.run(["show", "latest", "--json"]).exits(0).json();
        assert_eq!(shown["id"], taken[0]);
    }
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    let listed: Vec<_> = listed["backups"].as_array().unwrap().iter().map(|backup| backup["id"].clone()).collect();
    assert_eq!(listed, taken);
}
