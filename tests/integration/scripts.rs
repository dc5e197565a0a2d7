//! The scripts around a deployment: they say what `regrow` says, end as it ends, and print what other scripts need.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::harness::{self, Run, Workspace};

const SCRIPTS: [&str; 4] = ["backup-production.sh", "restore-backup.sh", "verify-restoration.sh", "verify-backups.sh"];

/// A shop of a few orders, and a repository without a backup.
async fn shop() -> (mongodb::Collection<Document>, String, Workspace) {
    let client = harness::replica_set().client().await;
    let db = harness::unique_database_name();
    let orders = client.database(&db).collection::<Document>("orders");
    orders.insert_many((0..100).map(|n| doc! { "_id": n })).await.unwrap();
    let workspace = Workspace::on_disk(harness::replica_set().uri());
    workspace.run(["init"]).exits(0);
    (orders, db, workspace)
}

fn script(workspace: &Workspace, name: &str, arguments: &[&str]) -> Run {
    workspace.script(name, arguments).run()
}

/// Takes a backup by the script and returns its id.
fn back_up(workspace: &Workspace, db: &str) -> String {
    let run = script(workspace, "backup-production.sh", &["--ns", db]).exits(0);
    let id = run.stdout.trim_end().to_owned();
    assert_eq!(run.stdout, format!("{id}\n"), "the id and nothing else");
    id
}

/// Writes a program that says that the lease is held, the first `times` times, and is `regrow` from then on.
fn busy(workspace: &Workspace, times: u32) -> String {
    let (count, regrow) = (workspace.write("count", "0"), env!("CARGO_BIN_EXE_regrow"));
    let count = count.display();
    let program = format!(
        "#!/usr/bin/env bash\nn=$(<'{count}')\nif ((n < {times})); then echo $((n + 1)) >'{count}'; exit 75; fi\nexec '{regrow}' \"$@\"\n"
    );
    let path = workspace.write("busy", program);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_backup_before_a_deployment_is_verified_and_its_id_is_all_that_is_printed() {
    let (orders, db, workspace) = shop().await;
    let id = back_up(&workspace, &db);
    let shown: Value = workspace.run(["show", &id, "--json"]).exits(0).json();
    assert_eq!(shown["kind"], "manual");
    assert!(shown["verified_at"].is_string(), "{shown}");
    // What it is for: afterwards it can be told what the deployment did.
    script(&workspace, "verify-restoration.sh", &[&id]).exits(0);
    orders.delete_one(doc! { "_id": 7 }).await.unwrap();
    let said = script(&workspace, "verify-restoration.sh", &[&id, "--documents"]).exits(6);
    assert!(said.stdout.contains("- {\"$numberInt\":\"7\"}"), "{}", said.stdout);
    assert!(said.stderr.contains("1 of 1 namespace differs from"), "{}", said.stderr);
}

#[tokio::test]
async fn a_backup_waits_for_another_run_as_long_as_it_is_told() {
    let (_, db, workspace) = shop().await;
    let waiting = |arguments: &[&str], times| {
        workspace
            .script("backup-production.sh", [&["--ns", &db], arguments].concat())
            .env("REGROW", busy(&workspace, times))
            .run()
    };
    let waited = waiting(&["--wait", "600"], 2).exits(0);
    assert!(waited.stdout.trim_end().contains("-manual-") && waited.stdout.lines().count() == 1, "{}", waited.stdout);
    assert_eq!(waited.stderr.matches("another run is under way").count(), 2, "{}", waited.stderr);
    let gave_up = waiting(&["--wait=0"], 1).exits(75);
    assert_eq!(gave_up.stdout, "");
}

#[tokio::test]
async fn a_backup_that_fails_prints_no_id_and_says_how() {
    let (_, db, mut workspace) = shop().await;
    for (arguments, code, named) in [
        (&["--wait", "soon"][..], 2, "--wait"),
        (&["--wait"], 2, "--wait"),
        (&["--kind", "daily"], 2, "--kind"),
        (&["--ns", "nowhere"], 4, "nowhere"),
    ] {
        let run = script(&workspace, "backup-production.sh", arguments).exits(code);
        assert!(run.stdout.is_empty() && run.stderr.contains(named), "{arguments:?}: {run:?}");
    }
    workspace.set("source.uri", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500");
    let run = script(&workspace, "backup-production.sh", &["--ns", &db]).exits(1);
    assert!(run.stdout.is_empty() && run.stderr.contains("127.0.0.1:1"), "{run:?}");
}

#[tokio::test]
async fn a_restored_copy_is_verified_against_its_backup() {
    let (_, db, workspace) = shop().await;
    let id = back_up(&workspace, &db);
    let copy = harness::unique_database_name();
    let map = format!("{db}={copy}");
    workspace.run(["restore", &id, "--map", &map, "--confirm", "rs0"]).exits(0);
    let run = script(&workspace, "verify-restoration.sh", &[&id, "--map", &map, "--json"]).exits(0);
    assert_eq!(run.json::<Value>()["same"], true);
    script(&workspace, "verify-restoration.sh", &["20200101"]).exits(4);
    script(&workspace, "verify-restoration.sh", &[]).exits(2);
    script(&workspace, "restore-backup.sh", &[]).exits(2);
    script(&workspace, "restore-backup.sh", &["--confirm", "rs0"]).exits(2);
}

#[tokio::test]
async fn a_rollback_ends_with_the_command_that_takes_it_back() {
    let (orders, db, workspace) = shop().await;
    let id = back_up(&workspace, &db);
    orders.delete_many(doc! { "_id": { "$lt": 50 } }).await.unwrap();
    for json in [&[][..], &["--json"]] {
        let arguments = [&[&*id, "--confirm", "rs0"], json].concat();
        let run = script(&workspace, "restore-backup.sh", &arguments).exits(0);
        let (_, undo) = run.stderr.rsplit_once("To go back to it: ").unwrap();
        let undo = undo.lines().next().unwrap();
        assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 100);
        workspace.bash(&format!("{undo} --confirm rs0")).run().exits(0);
        assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 50);
    }
    let copy = format!("{db}={}", harness::unique_database_name());
    let run = script(&workspace, "restore-backup.sh", &[&id, "--map", &copy, "--confirm", "rs0"]).exits(0);
    assert!(run.stderr.contains("Nothing was replaced") && !run.stderr.contains("To go back"), "{run:?}");
    let run = script(&workspace, "restore-backup.sh", &[&id, "--confirm", "another"]).exits(7);
    assert!(!run.stderr.contains("To go back"), "{run:?}");
}

#[tokio::test]
async fn verification_is_silent_until_something_is_damaged() {
    let (_, db, workspace) = shop().await;
    let (damaged, sound) = (back_up(&workspace, &db), back_up(&workspace, &db));
    for arguments in [&[][..], &["--all"], &[&sound], &["--level", "content", &sound]] {
        let run = script(&workspace, "verify-backups.sh", arguments).exits(0);
        assert_eq!((&*run.stdout, &*run.stderr), ("", ""), "{arguments:?}");
    }
    let run = script(&workspace, "verify-backups.sh", &["--verbose"]).exits(0);
    assert!(run.stderr.contains("Checked"), "{}", run.stderr);
    let pack = format!("backups/{damaged}/packs/0001.tar");
    fs::write(workspace.repository().join(&pack), "nonsense").unwrap();
    for arguments in [&[][..], &["--all"], &[&damaged]] {
        let run = script(&workspace, "verify-backups.sh", arguments).exits(5);
        assert!(run.stdout.contains(&pack) && run.stderr.contains(&damaged), "{arguments:?}: {run:?}");
    }
    script(&workspace, "verify-backups.sh", &[&sound]).exits(0);
    script(&workspace, "verify-backups.sh", &["20200101"]).exits(4);
}

#[test]
fn each_explains_itself_and_misses_the_binary_by_name() {
    let workspace = Workspace::on_disk("mongodb://127.0.0.1:1/");
    for name in SCRIPTS {
        for option in ["--help", "-h"] {
            let run = script(&workspace, name, &[option]).exits(0);
            assert!(run.stdout.starts_with(&format!("usage: {name} ")) && run.stdout.contains("Exit codes"), "{run:?}");
        }
        let run = workspace.script(name, ["latest"]).env("REGROW", "no-such-regrow").run().exits(127);
        assert!(run.stderr.contains("no-such-regrow"), "{run:?}");
    }
}
