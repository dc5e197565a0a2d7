//! A server with data enough for many packs, and backups of it that are interrupted.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mongodb::bson::{Binary, Document, doc, spec::BinarySubtype};
use mongodb::options::CreateCollectionOptions;
use serde_json::Value;

use crate::contents::Contents;
use crate::harness::{self, Options, Running, Servers, Workspace};

pub const DB: &str = "shop";

/// Little, so that little data makes many segments and packs, and parts of the largest collection.
pub const SMALL: &str = "segment=16384,pack=65536,part=131072";

/// How many documents a server reads besides those that are left: a batch of each reader, passed over up to the last one stored.
pub const PASSED_OVER: u64 = 600;

/// About how many bytes a document has.
pub const DOCUMENT: u64 = 1060;

/// Longer than anything takes on a loaded machine.
const LIMIT: Duration = Duration::from_mins(2);

pub struct Stage {
    pub servers: Servers,
}

/// An operator's place, where backups are taken in small packs.
pub struct Place(Workspace);

/// What a backup that has succeeded says.
pub struct Ended {
    pub answer: Value,
    pub stderr: String,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(Vec::new()).await
    }

    pub async fn with(mut parameters: Vec<&'static str>) -> Self {
        parameters.push("ttlMonitorEnabled=false");
        let servers = harness::own(&Options { parameters, ..Options::default() });
        let database = servers.client().await.database(DB);
        for (name, count) in [("orders", 800_u32), ("customers", 300)] {
            let documents = (0..count).map(|number| doc! { "_id": number, "of": name, "noise": noise(name, number) });
            database.collection::<Document>(name).insert_many(documents).await.unwrap();
        }
        let capped = CreateCollectionOptions::builder().capped(true).size(1 << 20).build();
        database.create_collection("log").with_options(capped).await.unwrap();
        let lines = (0..100_u32).map(|number| doc! { "_id": number, "noise": noise("log", number) });
        database.collection::<Document>("log").insert_many(lines).await.unwrap();
        database.create_collection("empty").await.unwrap();
        Self { servers }
    }

    /// Makes an operator's place with an empty repository.
    pub fn workspace(&self) -> Place {
        Self::initialised(Workspace::on_disk(self.servers.uri()))
    }

    /// Makes one whose repository lies in a bucket.
    pub fn in_a_bucket(&self) -> Place {
        Self::initialised(Workspace::on_s3(self.servers.uri(), harness::s3()))
    }

    /// Makes one whose backups are not encrypted.
    pub fn in_clear(&self) -> Place {
        let mut workspace = Workspace::on_disk(self.servers.uri());
        workspace.unset("encryption").set("encryption", "none");
        Self::initialised(workspace)
    }

    fn initialised(mut workspace: Workspace) -> Place {
        // Batches are as large as a quarter of it, and reading goes on behind a whole one.
        workspace.set("source.max_rate", "1MiB");
        workspace.run(["init"]).exits(0);
        Place(workspace)
    }

    /// Changes, removes and adds documents.
    pub async fn change(&self) {
        let database = self.servers.client().await.database(DB);
        let orders = database.collection::<Document>("orders");
        orders.update_many(doc! { "_id": { "$mod": [3, 0] } }, doc! { "$inc": { "changes": 1 } }).await.unwrap();
        let ids = orders.distinct("_id", doc! {}).await.unwrap();
        orders.delete_many(doc! { "_id": { "$in": &ids[5..12] } }).await.unwrap();
        let new = (0..20_u32).map(|number| doc! { "of": "orders", "noise": noise("new", number) });
        orders.insert_many(new).await.unwrap();
        let customers = database.collection::<Document>("customers");
        customers.update_many(doc! {}, doc! { "$inc": { "changes": 1 } }).await.unwrap();
    }

    /// Returns what there is now.
    pub async fn content(&self) -> Contents {
        Contents::of_database(&self.servers.client().await, DB).await
    }

    /// Returns how many documents the server has read for anybody, of all collections.
    pub async fn documents_read(&self) -> u64 {
        let database = self.servers.client().await.database(DB);
        let mut read = 0;
        for name in database.list_collection_names().await.unwrap() {
            let statistics = database.run_command(doc! { "collStats": name }).await.unwrap();
            let cursors = statistics.get_document("wiredTiger").unwrap().get_document("cursor").unwrap();
            read += u64::try_from(cursors.get_i32("next calls").unwrap()).unwrap();
        }
        read
    }

    /// Checks every stored document of the newest backup, and that it restores to this.
    pub async fn restores(&self, workspace: &Workspace, content: &Contents) {
        workspace.run(["verify", "--level", "content"]).exits(0);
        workspace.run(["restore", "latest", "--map", "shop=copy", "--confirm", "rs0"]).exits(0);
        self.is_restored(content).await;
    }

    /// Checks that what was restored is this, and removes it.
    pub async fn is_restored(&self, content: &Contents) {
        let client = self.servers.client().await;
        let renamed = |_: &str, name: &str| Some((DB.to_owned(), name.to_owned()));
        Contents::of_database(&client, "copy").await.renamed(renamed).assert_equals(&content.renamed(renamed));
        client.database("copy").drop().await.unwrap();
    }
}

impl Place {
    /// Takes a backup, and goes on with an unfinished one.
    pub fn takes(&self, arguments: &[&str]) -> Ended {
        self.takes_anew(&[&["--resume"], arguments].concat())
    }

    /// Takes a backup.
    pub fn takes_anew(&self, arguments: &[&str]) -> Ended {
        let namespaces = if arguments.contains(&"--ns") { &[][..] } else { &["--ns", DB] };
        let arguments = [&["backup", "--json"], namespaces, arguments].concat();
        let run = self.with_faults(&format!("none,{SMALL}"), &self.log(), &arguments).run().exits(0);
        Ended { answer: run.json(), stderr: run.stderr }
    }

    /// Begins a backup, or goes on with an unfinished one, to which something happens at one of its storage operations.
    pub fn begins(&self, plan: &str) -> Running {
        let _ = fs::remove_file(self.log());
        let arguments = ["backup", "--resume", "--ns", DB];
        self.with_faults(&format!("{plan},{SMALL}"), &self.log(), &arguments).spawn()
    }

    /// Removes what the killed run had stored and not noted: as if it had been killed a moment earlier.
    pub fn without_unnoted(&self, id: &str) {
        let folder = folder(self, id);
        for pack in fs::read_dir(folder.join("packs")).unwrap().map(|entry| entry.unwrap().path()) {
            let number = pack.file_stem().unwrap().to_str().unwrap();
            if !folder.join(format!("checkpoints/{number}.json")).exists() {
                fs::remove_file(pack).unwrap();
            }
        }
    }

    /// Kills a backup at one of its storage operations; returns what it had said.
    pub fn killed_at(&self, operation: &str) -> String {
        let mut running = self.begins(&format!("hang@{operation}"));
        self.wait_until_it_hangs(&mut running);
        running.kill();
        running.wait().stderr
    }

    /// Waits until a backup stands still at its fault.
    pub fn wait_until_it_hangs(&self, running: &mut Running) {
        self.wait_until(running, |line| line.ends_with(": hang"));
    }

    /// Waits until a backup has come to a storage operation.
    pub fn wait_until(&self, running: &mut Running, is_it: impl Fn(&str) -> bool) {
        let begin = Instant::now();
        while !self.operations().iter().any(|line| is_it(line)) {
            let goes_on = running.is_running() && begin.elapsed() < LIMIT;
            assert!(goes_on, "it did not come to it: {}", running.stderr());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Returns how many backups are unfinished.
    pub fn leftovers(&self) -> usize {
        let listed: Value = self.run(["list", "--json"]).exits(0).json();
        listed["leftovers"].as_array().unwrap().len()
    }

    /// Returns the id of the only unfinished backup.
    pub fn unfinished(&self) -> String {
        let listed: Value = self.run(["list", "--json"]).exits(0).json();
        let leftovers = listed["leftovers"].as_array().unwrap();
        assert_eq!(leftovers.len(), 1, "{listed}");
        assert_eq!(leftovers[0]["may_be_resumed"], true, "{listed}");
        leftovers[0]["id"].as_str().unwrap().to_owned()
    }

    fn log(&self) -> PathBuf {
        self.path("operations")
    }

    /// Returns the storage operations of what was started last.
    pub fn operations(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }
}

impl Deref for Place {
    type Target = Workspace;

    fn deref(&self) -> &Workspace {
        &self.0
    }
}

impl DerefMut for Place {
    fn deref_mut(&mut self) -> &mut Workspace {
        &mut self.0
    }
}

/// Returns the folder of an unfinished backup.
pub fn folder(workspace: &Workspace, id: &str) -> PathBuf {
    workspace.repository().join("backups").join(id)
}

/// Returns a kilobyte that does not compress.
fn noise(name: &str, number: u32) -> Binary {
    let hash = |part: u32| regrow::codec::sha256(format!("{name} {number} {part}").as_bytes());
    let bytes = (0..32).flat_map(hash).collect();
    Binary { subtype: BinarySubtype::Generic, bytes }
}
