//! A repository on a disk that is full: what is stored stays, whoever cannot go on says so, and goes on when there is room.
//!
//! Where nobody may mount a file system this cannot be tried, and says so; see [`SmallDisk::mount`].

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::small_disk::SmallDisk;
use super::{MIB, hashes, insert_noise};
use crate::capture::is_the_oplog;
use crate::damage::every_object::files;
use crate::harness::{self, Options, Run, Servers, Workspace};

/// A workspace whose repository is on the disk.
fn on(disk: &SmallDisk, servers: &Servers) -> Workspace {
    let mut workspace = Workspace::on_disk(servers.uri());
    let place = disk.path().join("repository");
    fs::create_dir(&place).unwrap();
    symlink(place, workspace.repository()).unwrap();
    workspace.set("oplog.slice_interval", "1s");
    workspace.run(["init"]).exits(0);
    workspace
}

fn backups(workspace: &Workspace) -> Value {
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(listed["leftovers"], json!([]), "{listed}");
    listed["backups"].clone()
}

/// Checks that it says in one error that there is no room, and what helps.
fn says_that_it_is_full(run: Run) {
    let said = run.exits(1).stderr;
    let lines = |begin: &str| said.lines().filter(|line| line.starts_with(begin)).collect::<Vec<_>>();
    let (errors, hints) = (lines("error: "), lines("hint: "));
    assert!(errors.len() == 1 && errors[0].contains("is full"), "{said}");
    assert!(hints.len() == 1 && hints[0].contains("free space"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_does_not_fit_leaves_everything_as_it_was() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let servers = harness::replica_set();
    let (client, db) = (servers.client().await, harness::unique_database_name());
    let workspace = on(&disk, servers);
    insert_noise(&client, &db, 4 * MIB, MIB / 4).await;
    workspace.run(["backup", "--ns", &db]).exits(0);
    let before = backups(&workspace);
    // In the middle of the data, at its beginning, and where not even a record fits.
    for room in [2 * MIB, 8192, 0] {
        let filler = disk.fill(room);
        let stored = files(disk.path());
        says_that_it_is_full(workspace.run(["backup", "--ns", &db]));
        assert_eq!(files(disk.path()), stored, "what a failed backup has written is gone");
        assert_eq!(backups(&workspace), before);
        workspace.run(["verify"]).exits(0);
        drop(filler);
    }
    workspace.run(["backup", "--ns", &db]).exits(0);
    assert_eq!(backups(&workspace).as_array().unwrap().len(), 2);
    workspace.run(["verify", "--level", "content"]).exits(0);
    for (backup, copy) in [(before[0]["id"].as_str().unwrap(), "first"), ("latest", "second")] {
        let copy = format!("{db}_{copy}");
        let map = format!("{db}.*={copy}.*");
        workspace.run(["restore", backup, "--map", &map, "--confirm", "rs0"]).exits(0);
        let restored = hashes(&client.database(&copy)).await;
        assert_eq!(restored, hashes(&client.database(&db)).await);
        client.database(&copy).drop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_waits_for_room_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let servers = harness::own(&Options::default());
    let (client, workspace) = (servers.client().await, on(&disk, &servers));
    workspace.run(["backup"]).exits(0);
    let mut capture = workspace.regrow(["capture"]).spawn();
    capture.wait_until_it_says("captured up to");
    let filler = disk.fill(0);
    insert_noise(&client, "shop", 2 * MIB, MIB / 4).await;
    capture.wait_until_it_says("is full");
    capture.wait_until_it_says("wait for the repository, trying again");
    workspace.run(["verify"]).exits(0);
    drop(filler);
    insert_noise(&client, "shop", MIB, MIB / 4).await;
    catches_up(&workspace, capture);
    is_the_oplog(&workspace, &client).await;
    restores(&workspace, &client).await;
}

/// What waits has no room on the disk either, and more waits than memory may hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_without_room_for_what_waits_lets_the_servers_oplog_wait() {
    let (Some(disk), Some(spool)) = (SmallDisk::mount(160), SmallDisk::mount(1)) else { return };
    let servers = harness::own(&Options::default());
    let (client, mut workspace) = (servers.client().await, on(&disk, &servers));
    workspace.run(["backup"]).exits(0);
    workspace.set_variable("TMPDIR", spool.path().to_str().unwrap());
    let mut capture = workspace.regrow(["capture"]).spawn();
    capture.wait_until_it_says("captured up to");
    let filler = disk.fill(0);
    insert_noise(&client, "shop", 64 * MIB, MIB / 4).await;
    capture.wait_until_it_says("what waits for the repository stays in memory");
    assert_eq!(files(spool.path()), [""; 0], "what did not fit is gone");
    drop(filler);
    catches_up(&workspace, capture);
    is_the_oplog(&workspace, &client).await;
    restores(&workspace, &client).await;
}

fn catches_up(workspace: &Workspace, capture: harness::Running) {
    capture.signal("TERM");
    capture.wait();
    workspace.run(["capture", "--once"]).exits(0);
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(listed["gaps"], json!([]));
    assert_eq!(listed["recovery_window"].as_array().unwrap().len(), 1, "{listed}");
}

async fn restores(workspace: &Workspace, client: &mongodb::Client) {
    let arguments = ["restore", "--at", "latest", "--ns", "shop", "--map", "shop.*=again.*", "--confirm", "rs0"];
    workspace.run(arguments).exits(0);
    assert_eq!(hashes(&client.database("again")).await, hashes(&client.database("shop")).await);
}
