//! A repository with something of everything in it, from which every case begins anew.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use mongodb::bson::{Document, doc};
use regrow::repository::Repository;
use serde_json::Value;

use super::place::{Objects, Place};
use crate::capture::agrees;
use crate::contents::Contents;
use crate::harness::{self, Options, Run, Running, Servers, Workspace};

/// What is backed up.
pub const DB: &str = "shop";

/// Longer than anything takes on a loaded machine: whatever has not come to its fault by then never will.
pub const LIMIT: Duration = Duration::from_mins(5);

/// The file that tells drills where they lead.
const TARGET_URI: &str = "target.uri";

/// What a machine knows of the repository: what it remembers, and the key that signs.
const FILES: [&str; 2] = ["witness.json", "regrow-signing.key"];

/// So small that collections have several segments, and backups several packs.
const SMALL: &str = "none,segment=4096,pack=8192";

/// A server with data, an operator's place, and states of the repository to begin from.
pub struct Ground {
    pub source: Servers,
    target: OnceLock<Servers>,
    pub workspace: Workspace,
    pub place: Place,
    /// The newest backup, an increment, and what it shows.
    pub backup: String,
    pub content: Contents,
    /// The newest full backup, whose largest collection has several segments, and what it shows.
    pub full: String,
    pub full_content: Contents,
}

/// What the repository and the machine hold.
#[derive(Default)]
pub struct State {
    objects: Objects,
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl State {
    pub fn holds(&self, key: &str) -> bool {
        self.objects.contains_key(key)
    }
}

impl Ground {
    /// Makes a repository on the disk with full backups, an increment, captured oplog and evidence, behind which something was
    /// written.
    pub async fn on_disk() -> Self {
        let source = server();
        let place = Place::on_disk(&source);
        Self::prepare(source, place).await
    }

    /// The same in a bucket.
    pub async fn in_a_bucket() -> Self {
        let source = server();
        let place = Place::in_a_bucket(&source).await;
        Self::prepare(source, place).await
    }

    async fn prepare(source: Servers, (mut workspace, place): (Workspace, Place)) -> Self {
        let target_uri = format!("file:{}", workspace.path(TARGET_URI).display());
        workspace.set("backup.largest_increment", 100).set("drill.target", target_uri);
        workspace.set("retention.daily", 1).set("retention.oplog", "1h");
        workspace.run(["init"]).exits(0);
        workspace.set("repository.witness_file", FILES[0]).set("oplog.slice_interval", "1s");
        workspace.set("server.listen", "127.0.0.1:0");
        write(&source, 0).await;
        workspace.run(["capture", "--once"]).exits(0);
        let client = source.client().await;
        let (mut full, mut full_content) = (String::new(), Contents::of_database(&client, DB).await);
        for (from, how) in [(100, "--full"), (200, "--full"), (300, "--incremental")] {
            write(&source, from).await;
            let backup = ["backup", "--kind", "daily", how];
            let run = workspace.with_faults(SMALL, &workspace.path("unwatched"), &backup).run().exits(0);
            if how == "--full" {
                full = run.stdout.trim().to_owned();
                full_content = Contents::of_database(&client, DB).await;
            }
            workspace.run(["capture", "--once"]).exits(0);
        }
        let content = Contents::of_database(&client, DB).await;
        let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
        assert!(!listed["backups"][0]["parent"].is_null(), "the newest is an increment: {listed}");
        let backup = listed["backups"][0]["id"].as_str().unwrap().to_owned();
        workspace.run(["export", &backup, "--format", "mongodump", "-o", "dump"]).exits(0);
        workspace.run(["verify"]).exits(0);
        write(&source, 1000).await;
        Self { source, target: OnceLock::new(), workspace, place, backup, content, full, full_content }
    }

    /// Returns the server where restores and drills lead.
    pub fn target(&self) -> &Servers {
        self.target.get_or_init(|| {
            let target = server();
            self.workspace.write(TARGET_URI, target.uri());
            target
        })
    }

    /// Returns what there is now.
    pub async fn state(&self) -> State {
        let files = FILES.map(|file| (file, fs::read(self.workspace.path(file)).unwrap()));
        State { objects: self.place.objects().await, files: files.into() }
    }

    /// Makes the repository, and what the machine knows of it, what they were in that state.
    pub async fn begin_from(&self, state: &State) {
        self.place.put_back(&state.objects).await;
        for file in FILES {
            let _ = fs::remove_file(self.workspace.path(file));
        }
        for (file, content) in &state.files {
            self.workspace.write(file, content);
        }
        let private = fs::Permissions::from_mode(0o600);
        if state.files.contains_key(FILES[1]) {
            fs::set_permissions(self.workspace.path(FILES[1]), private).unwrap();
        }
    }

    /// Says what is captured, of the newest timeline, and is not the server's oplog.
    pub async fn has_captured_the_oplog(&self) -> Result<(), String> {
        let repository = Repository::open(self.place.store()).await.map_err(|error| error.to_string())?;
        let client = self.source.client().await;
        let holding = AssertUnwindSafe(agrees(&repository, &self.workspace, &client)).catch_unwind();
        holding.await.map(drop).map_err(|_| "what is captured is not the server's oplog: see above".to_owned())
    }

    /// Starts a command on a store to which `plan` happens, at a time so many hours from now.
    pub fn start(&self, plan: &str, hours: i64, arguments: &[String]) -> Running {
        let plan = format!("{plan},ahead={hours}");
        self.workspace.with_faults(&plan, &self.log(), arguments).spawn()
    }

    /// Runs a command on the store as it is, at a time so many hours from now.
    pub fn run(&self, hours: i64, arguments: &[&str]) -> Run {
        if hours == 0 {
            return self.workspace.run(arguments);
        }
        self.workspace.with_faults(&format!("none,ahead={hours}"), &self.workspace.path("unwatched"), arguments).run()
    }

    /// Returns the file that tells each storage operation of what was started last.
    pub fn log(&self) -> PathBuf {
        self.workspace.path("operations")
    }

    /// Returns the storage operations of what was started last.
    pub fn operations(&self) -> Vec<String> {
        lines(&self.log())
    }

    /// Waits until what was started stands still at its fault, and kills it then; where it ends without, returns false.
    pub fn kill_where_it_hangs(&self, running: &mut Running) -> bool {
        let hangs = self.waits_where_it_hangs(running);
        if hangs {
            running.kill();
        }
        hangs
    }

    /// Waits until what was started stands still at its fault; where it ends without, returns false.
    pub fn waits_where_it_hangs(&self, running: &mut Running) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            // In this order: what it wrote before it ended must count.
            let is_running = running.is_running();
            if self.operations().iter().any(|operation| operation.ends_with(": hang")) {
                return true;
            }
            if !is_running {
                return false;
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        panic!("it neither ends nor comes to its fault; it did {:#?}", self.operations());
    }
}

/// A server on which nothing happens by itself.
fn server() -> Servers {
    harness::own(&Options { parameters: vec!["ttlMonitorEnabled=false"], ..Options::default() })
}

/// Returns the whole lines of a file; the last may just be being written.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

/// Writes something new, changes something old, and makes a collection.
async fn write(source: &Servers, from: i64) {
    let database = source.client().await.database(DB);
    let orders = database.collection::<Document>("orders");
    let new = (from..from + 40).map(|number| doc! { "_id": number, "of": "orders", "text": "x".repeat(200) });
    orders.insert_many(new).await.unwrap();
    orders.update_many(doc! { "_id": { "$lt": 20 } }, doc! { "$inc": { "changes": 1 } }).await.unwrap();
    let other = database.collection::<Document>(&format!("written_{from}"));
    other.insert_one(doc! { "_id": "only" }).await.unwrap();
}
