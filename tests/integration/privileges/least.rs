//! The documented roles are enough, and none of their privileges is there for nothing.

use mongodb::bson::{doc, rawdoc};
use regrow::mongo::roles::{BACKUP, DRILL, RESTORE, Resource, Role};
use serde_json::Value;

use super::ground::{Ground, change_role};
use super::uri_of;
use crate::contents::Contents;
use crate::harness::{self, Run, Workspace};

/// What nothing fails without, and why a role has it all the same: as the document says.
fn only_told_by_the_doctor(role: &Role, resource: Resource, action: &str) -> bool {
    let is = |db: &'static str, name: &'static str| resource == Resource::Collection { db, name };
    match (role.name, action) {
        // The doctor writes a marker, and says how the members fare and how far back the oplog reaches. A backup that may not
        // ask how busy the server is does not make room for others.
        ("regrowBackup", "appendOplogNote" | "replSetGetStatus" | "serverStatus") | ("regrowRestore", "dbStats") => {
            true
        }
        // Only a time series and stored functions that are exchanged need them: see the tests of replacing.
        ("regrowRestore", "createIndex" | "dropCollection") => resource == Resource::Buckets || is("", "system.js"),
        ("regrowBackup", "collStats") => is("local", "oplog.rs"),
        // A backup without them says less of itself, or no captured oplog leads on from it.
        ("regrowBackup", "find") => is("config", "transactions") || is("admin", "system.version"),
        // Tells the source from another server where the source does not answer.
        ("regrowDrill", "find") => is("local", "system.replset"),
        _ => false,
    }
}

/// Takes one privilege of a role away after the other. Either `attempt` fails then and names it, or the doctor does.
async fn each_is_needed(ground: &Ground, role: &Role, attempt: impl AsyncFn() -> Vec<Run>) {
    let client = if *role.name == *BACKUP.name { ground.source() } else { ground.target() };
    let own: Vec<_> =
        role.grants.iter().flat_map(|grant| grant.actions.iter().map(|action| (grant.resource, *action))).collect();
    for &(resource, action) in &own {
        let what = format!("{action} on {}", resource.describe());
        let rest: Vec<_> = own.iter().filter(|privilege| **privilege != (resource, action)).copied().collect();
        change_role(client, role, &rest).await;
        let runs = attempt().await;
        let refused: Vec<&Run> = runs.iter().filter(|run| run.code != 0).collect();
        if only_told_by_the_doctor(role, resource, action) {
            assert!(refused.is_empty(), "without {what}: {refused:#?}");
            told_by_the_doctor(ground, &what);
            continue;
        }
        let [first, ..] = refused[..] else { panic!("{} works without {what}", role.name) };
        assert_eq!(first.code, 3, "without {what}: {first:#?}");
        let named = first.stderr.contains(&format!("'{action}'"));
        assert!(named, "without {what}: {}", first.stderr);
    }
    change_role(client, role, &own).await;
    assert!(attempt().await.iter().all(|run| run.code == 0), "with everything again");
}

fn told_by_the_doctor(ground: &Ground, what: &str) {
    let to = ground.restore_uri().to_owned();
    let answer: Value = ground.workspace.run(["doctor", "--json", "--to", &to, "--wait", "1s"]).exits(3).json();
    let checks = answer["checks"].as_array().unwrap().iter();
    let found: Vec<&str> =
        checks.filter(|check| check["outcome"] == "problem").map(|check| check["found"].as_str().unwrap()).collect();
    assert!(found.iter().any(|found| found.contains(what)), "{what} is not in {found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_privilege_of_the_backup_role_is_needed() {
    let ground = Ground::new().await;
    let attempt =
        async || vec![ground.workspace.run(["backup", "-q"]), ground.workspace.run(["capture", "--once", "-q"])];
    each_is_needed(&ground, &BACKUP, attempt).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_privilege_of_the_restore_role_is_needed() {
    let ground = Ground::new().await;
    let attempt = async || {
        let plain = ground.restore().await;
        if plain.code == 0 { vec![plain, ground.restore_to_newest().await] } else { vec![plain] }
    };
    each_is_needed(&ground, &RESTORE, attempt).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_privilege_of_the_drill_role_is_needed() {
    let ground = Ground::new().await;
    let attempt = async || vec![ground.workspace.run(["drill", "latest", "-q"])];
    each_is_needed(&ground, &DRILL, attempt).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_roles_are_enough() {
    let ground = Ground::new().await;
    ground.restore_to_newest().await.exits(0);
    let (source, target) = (Contents::of(ground.source()).await, Contents::of(ground.target()).await);
    target.assert_equals(&source);
    let anna = doc! { "usersInfo": { "user": "anna", "db": "shop" } };
    let found = ground.target().database("admin").run_command(anna).await.unwrap();
    assert_eq!(found.get_array("users").unwrap().len(), 1);
    ground.workspace.run(["drill", "--at", "latest", "-q"]).exits(0);
    let taken = ground.workspace.run(["backup", "--incremental", "-q"]).exits(0).stdout;
    let taken: Value = ground.workspace.run(["show", taken.trim(), "--json"]).exits(0).json();
    assert!(taken["parent"].is_string(), "{taken}");
    let to = ground.restore_uri().to_owned();
    let answer: Value = ground.workspace.run(["doctor", "--json", "--to", &to, "--wait", "1s"]).exits(0).json();
    let checks = answer["checks"].as_array().unwrap();
    let privileges = ["backup privileges", "restore privileges", "drills", "replica set", "oplog window"];
    for check in checks.iter().filter(|check| privileges.contains(&check["name"].as_str().unwrap())) {
        assert_eq!(check["outcome"], "ok", "{check:#}");
    }
}

#[tokio::test]
async fn the_built_in_roles_hold_the_documented_ones() {
    let servers = harness::authenticated();
    let admin = servers.client().await.database("admin");
    let (backup, restore) = (harness::unique_database_name(), harness::unique_database_name());
    super::add_user(&admin, &backup, rawdoc! { "roles": ["backup", "clusterMonitor"] }).await;
    super::add_user(&admin, &restore, rawdoc! { "roles": ["restore", "readWriteAnyDatabase", "backup"] }).await;
    let mut workspace = Workspace::on_disk(&uri_of(servers, &backup));
    workspace.set("oplog.slice_interval", "1s");
    workspace.run(["init"]).exits(0);
    let answer: Value = workspace.run(["doctor", "--json", "--to", &uri_of(servers, &restore)]).exits(0).json();
    let checks = answer["checks"].as_array().unwrap().iter();
    let outcomes = checks.filter(|check| check["name"].as_str().unwrap().ends_with("privileges"));
    assert_eq!(outcomes.map(|check| check["outcome"].as_str().unwrap()).collect::<Vec<_>>(), ["ok", "ok"]);
}

#[tokio::test]
async fn what_replacing_a_collection_takes_is_in_the_restore_role() {
    let servers = harness::authenticated();
    let admin = servers.client().await;
    super::make_documented_roles(&admin).await;
    let (db, user) = (harness::unique_database_name(), harness::unique_database_name());
    super::add_user(&admin.database("admin"), &user, rawdoc! { "roles": [RESTORE.name] }).await;
    let restorer = mongodb::Client::with_uri_str(uri_of(servers, &user)).await.unwrap();
    let run = async |command| restorer.database("admin").run_command(command).await;
    for name in ["a", "b", "c", "d"] {
        admin.database(&db).collection(name).insert_one(doc! { "of": name }).await.unwrap();
    }
    let full = |name: &str| format!("{db}.{name}");
    run(doc! { "renameCollection": full("a"), "to": full("z") }).await.unwrap();
    run(doc! { "renameCollection": full("b"), "to": full("z"), "dropTarget": true }).await.unwrap();
    let rename = |from: &str, to: &str| {
        let o = doc! { "renameCollection": full(from), "to": full(to), "dropTarget": true };
        doc! { "op": "c", "ns": format!("{db}.$cmd"), "o": o }
    };
    run(doc! { "applyOps": [rename("c", "z")] }).await.unwrap();
    // Several in one command would be one step; servers let only those do that who may do anything to anything.
    let together = doc! { "applyOps": [rename("d", "y"), rename("z", "x")] };
    run(together.clone()).await.unwrap_err();
    admin.database("admin").run_command(together).await.unwrap_err();
}
