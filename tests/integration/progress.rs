//! How far it has come, for whoever waits: a person at a terminal, a log, a program.

use std::fs;
use std::time::Duration;

use mongodb::bson::doc;
use serde_json::Value;

use crate::harness::{self, Options, Servers, Workspace, fail_point};
use crate::small_backups::fill;

/// Returns a workspace with a backup of one database, and its name.
async fn backed_up(servers: &Servers) -> (Workspace, String) {
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    workspace.run(["backup", "--ns", &db]).exits(0);
    (workspace, db)
}

fn events(stderr: &str) -> Vec<Value> {
    let lines = stderr.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).expect("an event is a line of JSON")).collect()
}

#[tokio::test]
async fn programs_are_told_how_far_it_has_come_and_how_it_ended() {
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let (workspace, db) = backed_up(&servers).await;
    let client = servers.client().await;

    let before = fail_point::hold(&client, "insert", 0, Duration::from_secs(5)).await;
    let map = format!("{db}.*={db}_again.*");
    let restoring = ["restore", "latest", "--confirm", "rs0", "--map", &map, "--json", "--progress", "json"];
    let mut running = workspace.regrow(restoring).spawn();
    fail_point::wait_until_held(&client, before).await;
    running.wait_until_it_says(r#""step":"loading""#);
    running.kill();
    fail_point::let_go(&client).await;
    let told = events(&running.wait().stderr);
    let held = told.last().expect("events have come");
    assert_eq!((&held["event"], &held["operation"]), (&"progress".into(), &"restore".into()), "{held}");
    let names: Vec<_> = held["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with(&format!("{db}_again."))), "{held}");
    assert!(held["bytes"].as_u64() < held["expected_bytes"].as_u64(), "{held}");

    client.database(&format!("{db}_again")).drop().await.unwrap();
    let restored = workspace.run(restoring).exits(0);
    let (answer, told) = (restored.json::<Value>(), events(&restored.stderr));
    let end = told.last().expect("the end is told");
    assert_eq!((&end["event"], &end["succeeded"]), (&"end".into(), &true.into()), "{end}");
    assert_eq!(end["documents"], answer["documents"]);
    assert_eq!(end["bytes"], end["expected_bytes"], "each document is loaded and read back");
    assert_eq!(end["bytes"].as_u64(), answer["bytes"].as_u64().map(|bytes| 2 * bytes));

    let none = workspace.run(["verify", "--progress", "json", "--no-progress"]).exits(0);
    assert!(events(&none.stderr).is_empty(), "{}", none.stderr);
    let quiet = workspace.regrow(["verify", "--quiet"]).env("REGROW_PROGRESS", "auto").run().exits(0);
    assert_eq!(quiet.stderr, "");
    let named = workspace.run(["verify", "--quiet", "--progress", "json"]).exits(0);
    assert_eq!(events(&named.stderr).len(), named.stderr.lines().count(), "nothing else is said: {}", named.stderr);
}

#[tokio::test]
async fn a_failure_is_told_too() {
    let (workspace, _) = backed_up(harness::replica_set()).await;
    for backup in fs::read_dir(workspace.repository().join("backups")).unwrap() {
        fs::remove_dir_all(backup.unwrap().path().join("packs")).unwrap();
    }
    let broken = workspace.run(["export", "latest", "--format", "mongodump", "-o", "dump", "--progress", "json"]);
    assert_eq!(broken.code, 5, "{}", broken.stderr);
    assert_eq!(events(&broken.stderr).last().expect("the end is told")["succeeded"], false);
}

#[tokio::test]
async fn a_log_gets_a_line_now_and_then() {
    let (workspace, db) = backed_up(harness::replica_set()).await;
    workspace.run(["backup", "--ns", &db]).exits(0);
    // The second pack may be read only when the first one has had its time, of more than ten seconds.
    let verified = workspace.regrow(["verify", "--bandwidth", "1KiB"]).env("REGROW_PROGRESS", "auto").run().exits(0);
    let line = verified.stderr.lines().find(|line| line.starts_with("verify since 10 s: "));
    let line = line.unwrap_or_else(|| panic!("no line says how far it is:\n{}", verified.stderr));
    assert!(line.contains(" %, ") && line.contains("iB/s") && line.contains("; reading backups/"), "{line}");
    assert!(!verified.stderr.contains('\u{1b}'), "no terminal is there: {}", verified.stderr);
}

#[tokio::test]
async fn a_person_sees_a_bar_for_each_collection_and_one_for_the_whole() {
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let (workspace, db) = backed_up(&servers).await;
    let client = servers.client().await;
    client.database(&db).run_command(doc! { "dropDatabase": 1 }).await.unwrap();

    let before = fail_point::hold(&client, "insert", 0, Duration::from_secs(5)).await;
    let typed = "script -qefc 'regrow restore latest --confirm rs0' /dev/null";
    let mut running = workspace.bash(typed).env("TERM", "xterm").env("REGROW_PROGRESS", "auto").spawn();
    fail_point::wait_until_held(&client, before).await;
    running.wait_until_it_says("loading, ");
    running.wait_until_it_says("restore [");
    fail_point::let_go(&client).await;
    let restored = running.wait().exits(0);
    assert!(restored.stdout.contains(&format!("  {db}.")), "{}", restored.stdout);
    let answer = restored.stdout.rsplit('\u{1b}').next().unwrap_or_default();
    assert!(answer.contains("Restored "), "the bars are gone when the answer comes: {}", restored.stdout);
}
