//! The real binary, stopped in the middle: by a person, a service manager, a power cut, a lost store.
//!
//! The middle is held by the server: a fail point lets the first reads or inserts through and blocks the
//! next, so that every signal comes when something has been done and something has not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Binary, Document, doc, spec::BinarySubtype};
use serde_json::Value;

use crate::harness::{self, Options, Run, Running, Servers, Workspace, fail_point};
use crate::small_backups::{fill, take_into};

const BLOCK_DOCUMENTS: u32 = 36;
const BLOCK_BYTES: usize = 1024 * 1024;

/// Time enough to do something to whoever is held; the server, too, takes as long to stop.
const HELD: Duration = Duration::from_secs(4);

/// A server that can be held, with a database of more than two of its batches (16 MiB).
struct Stage {
    servers: Servers,
    client: Client,
}

impl Stage {
    async fn new(s3: bool) -> Self {
        let servers = harness::own(&Options { s3, parameters: vec!["enableTestCommands=1"], ..Options::default() });
        let client = servers.client().await;
        let blocks = client.database("shop").collection::<Document>("blocks");
        let noise: Vec<u8> =
            (0..BLOCK_BYTES / 32).flat_map(|part| regrow::codec::sha256(&part.to_le_bytes())).collect();
        for number in 0..BLOCK_DOCUMENTS {
            let noise = Binary { subtype: BinarySubtype::Generic, bytes: noise.clone() };
            blocks.insert_one(doc! { "_id": number, "noise": noise }).await.unwrap();
        }
        Self { servers, client }
    }

    fn workspace(&self) -> Workspace {
        let workspace = Workspace::on_disk(self.servers.uri());
        workspace.run(["init"]).exits(0);
        workspace
    }

    /// Starts a backup and returns it when it has read a batch and waits for the next.
    async fn backup_in_the_middle(&self, workspace: &Workspace, held: Duration) -> Running {
        let before = fail_point::hold(&self.client, "getMore", 0, held).await;
        let running = workspace.regrow(["backup", "--ns", "shop"]).spawn();
        fail_point::wait_until_held(&self.client, before).await;
        running
    }

    /// Starts a restore into `target` and returns it when some documents are in and others wait to be.
    async fn restore_in_the_middle(&self, workspace: &Workspace, target: &str, held: Duration) -> Running {
        let before = fail_point::hold(&self.client, "insert", 3, held).await;
        let running = workspace.regrow(restore(target)).spawn();
        fail_point::wait_until_held(&self.client, before).await;
        running
    }

    /// Checks that no backup is there, that nothing is said to be one, and that the next one works.
    async fn next_backup_works(&self, workspace: &Workspace) {
        let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
        assert_eq!(listed["backups"], Value::Array(Vec::new()), "no backup appeared");
        fail_point::let_go(&self.client).await;
        let id = workspace.run(["backup", "--ns", "shop"]).exits(0).stdout;
        workspace.run(["verify"]).exits(0);
        let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
        assert_eq!(listed["backups"].as_array().unwrap().len(), 1);
        assert_eq!(listed["backups"][0]["id"], id.trim());
    }

    async fn collections(&self, db: &str) -> Vec<String> {
        self.client.database(db).list_collection_names().await.unwrap()
    }
}

fn restore(target: &str) -> Vec<String> {
    let map = format!("shop={target}");
    ["restore", "latest", "--map", &map, "--confirm", "rs0"].map(str::to_owned).to_vec()
}

/// Returns the files below `folder` that are unfinished uploads.
fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| if path.is_dir() { unfinished(&path) } else { vec![path] });
    below.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".tmp-")).collect()
}

fn interrupted_with(run: Run, error: &str) {
    let run = run.exits(130);
    assert_eq!(run.stdout, "");
    assert_eq!(run.stderr, format!("stopping cleanly; once more stops at once\nerror: {error}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_in_the_middle_of_a_backup_ends_it_cleanly() {
    let stage = Stage::new(false).await;
    for signal in ["INT", "TERM"] {
        let workspace = stage.workspace();
        let running = stage.backup_in_the_middle(&workspace, HELD).await;
        running.signal(signal);
        interrupted_with(running.wait(), "the backup was interrupted; no backup was made");
        assert!(unfinished(&workspace.repository()).is_empty(), "what was uploaded is removed");
        stage.next_backup_works(&workspace).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_in_the_middle_of_a_backup_costs_only_that_backup() {
    let stage = Stage::new(false).await;
    let workspace = stage.workspace();
    let mut running = stage.backup_in_the_middle(&workspace, HELD).await;
    // Held as it is, it will write what it has read, and no more.
    while unfinished(&workspace.repository()).is_empty() {
        assert!(running.is_running());
        std::thread::yield_now();
    }
    running.kill();
    assert_eq!(running.wait().code, 128 + 9);
    let left = unfinished(&workspace.repository());
    let [left] = &left[..] else { panic!("one unfinished pack: {left:?}") };
    stage.next_backup_works(&workspace).await;
    assert!(left.exists(), "it may belong to a backup that runs now");

    // A day later it cannot.
    let aged = Command::new("touch").args(["-d", "2 days ago"]).arg(left).status();
    assert!(aged.is_ok_and(|status| status.success()));
    workspace.run(["backup", "--ns", "shop"]).exits(0);
    assert!(!left.exists(), "the next backup sweeps");
}

/// Finished packs of a killed backup of which nothing was noted, which in the real size take a gigabyte each, are named until they are gone.
#[tokio::test(flavor = "multi_thread")]
async fn finished_packs_of_a_killed_backup_are_named() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let killed = take_into(&workspace, servers, &db).await;
    let folder = workspace.repository().join(format!("backups/{}", killed.id));
    fs::remove_file(folder.join("manifest.json")).unwrap();
    fs::remove_file(folder.join("catalog.age")).unwrap();
    fs::remove_dir_all(folder.join("checkpoints")).unwrap();

    let bytes: u64 = killed.packs.iter().map(|pack| pack.object.size).sum();
    let (id, objects) = (&killed.id, killed.packs.len());
    let note = format!("note: {id} is no backup: it is being taken now, or was cut off; {objects} objects (");
    let listed = workspace.run(["list"]).exits(0);
    assert!(listed.stderr.contains(&note), "{listed:?}");
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(listed["leftovers"][0]["bytes"], bytes, "{listed}");
    assert_eq!(listed["leftovers"][0]["objects"], killed.packs.len());
    let next = workspace.run(["backup", "--ns", &db]).exits(0);
    assert!(next.stderr.contains(&note), "{next:?}");
    workspace.run(["restore", killed.id.as_str(), "--confirm", "rs0"]).exits(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_dies_in_the_middle_of_a_backup_is_named() {
    let stage = Stage::new(true).await;
    let s3 = stage.servers.s3();
    let workspace = Workspace::on_s3(stage.servers.uri(), s3);
    workspace.run(["init"]).exits(0);
    let running = stage.backup_in_the_middle(&workspace, HELD).await;
    stage.servers.kill_s3();
    fail_point::let_go(&stage.client).await;
    let run = running.wait().exits(1);
    let said: Vec<&str> = run.stderr.lines().filter(|line| !line.contains(" WARN ")).collect();
    assert_eq!(run.stdout, "");
    assert_eq!(said.len(), 2, "{run:?}");
    assert!(said[0].starts_with("error: cannot "), "{run:?}");
    assert!(said[1].starts_with("hint: "), "{run:?}");

    stage.servers.start_s3_again();
    stage.next_backup_works(&workspace).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_in_the_middle_of_a_restore_leaves_nothing() {
    let stage = Stage::new(false).await;
    let workspace = stage.workspace();
    workspace.run(["backup", "--ns", "shop"]).exits(0);
    // Short enough that the held inserts go on behind the program's back when it has dropped the collection.
    let mut running = stage.restore_in_the_middle(&workspace, "target", HELD).await;
    assert_eq!(stage.collections("target").await, ["blocks"], "it is in the middle");
    running.signal("INT");
    running.wait_until_it_says("stopping cleanly");
    let run = running.wait().exits(130);
    assert!(
        run.stderr.ends_with("\nerror: nothing was restored, the target is as it was: the restore was interrupted\n"),
        "{run:?}"
    );
    fail_point::let_go(&stage.client).await;
    let left = stage.collections("target").await;
    assert!(left.is_empty(), "{left:?}");
    workspace.run(restore("target")).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_in_the_middle_of_a_restore_is_not_taken_for_a_restore() {
    let stage = Stage::new(false).await;
    let workspace = stage.workspace();
    workspace.run(["backup", "--ns", "shop"]).exits(0);
    let mut running = stage.restore_in_the_middle(&workspace, "target", HELD).await;
    running.kill();
    assert_eq!(running.wait().code, 128 + 9);
    fail_point::let_go(&stage.client).await;
    let refused = workspace.run(restore("target")).exits(7);
    assert!(refused.stderr.starts_with("error: 1 target namespace exists already: target.blocks\n"), "{refused:?}");
    stage.client.database("target").drop().await.unwrap();
    workspace.run(restore("target")).exits(0);
}
