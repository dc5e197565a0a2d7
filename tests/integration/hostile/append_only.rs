//! Credentials that may only create and read, as of a bucket under Object Lock: backups and their evidence need no more.
//!
//! Once through the library, on a store that refuses the rest, and once as an operator meets it: every command, and a real S3
//! server with a policy in front of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use regrow::clock::Clock;
use regrow::format::evidence::Event;
use regrow::random::Random;
use regrow::repository::{Recorder, Repository};
use regrow::storage::{Abilities, Entry, Key, S3, S3Options, Storage, StorageError, StorageResult, Stored, Upload};
use regrow::verify::Level;

use crate::harness::{self, HttpProxy, Options, Refusal, Request, Run, Verdict, Workspace};
use crate::small_backups::{fill, local, plan, signing_key, take, verified};

/// A store that lets nothing be replaced or removed, not even in `control/`.
#[derive(Debug)]
struct CreateOnly(Arc<dyn Storage>);

fn denied(operation: &str, key: &str) -> StorageError {
    StorageError::Denied {
        place: key.to_owned(),
        operation: operation.to_owned(),
        reason: "create and read only".into(),
    }
}

#[async_trait]
impl Storage for CreateOnly {
    fn location(&self) -> String {
        self.0.location()
    }

    async fn create(&self, key: &Key, content: Bytes) -> StorageResult<Stored> {
        self.0.create(key, content).await
    }

    async fn replace(&self, key: &Key, _old: Bytes, _new: Bytes) -> StorageResult<()> {
        Err(denied("replace", key))
    }

    async fn upload(&self, key: &Key) -> StorageResult<Box<dyn Upload>> {
        self.0.upload(key).await
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> StorageResult<Bytes> {
        self.0.read(key, range).await
    }

    async fn size(&self, key: &Key) -> StorageResult<u64> {
        self.0.size(key).await
    }

    async fn list(&self, prefix: &str) -> StorageResult<Vec<Entry>> {
        self.0.list(prefix).await
    }

    async fn delete(&self, key: &Key) -> StorageResult<()> {
        Err(denied("delete", key))
    }

    async fn sweep(&self, _prefix: &str, _age: Duration) -> StorageResult<usize> {
        Ok(0)
    }

    async fn probe(&self) -> StorageResult<Abilities> {
        self.0.probe().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_and_evidence_need_no_more_than_creating_and_reading() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let store: Arc<dyn Storage> = Arc::new(CreateOnly(local(&workspace.repository())));
    let (key, plan) = (signing_key(&workspace), plan(servers, &db).await);
    let mut repository = Repository::open(Arc::clone(&store)).await.unwrap();
    for _ in 0..2 {
        let backup = take(&plan, Arc::clone(&store), &key, &[workspace.recipient()]).await.unwrap();
        let now = Clock::system().now();
        let run = serde_json::json!({
            "job": "backup-manual", "due": null, "started_at": now, "finished_at": now, "attempts": 1,
        });
        let event = Event::Backup { run: serde_json::from_value(run).unwrap(), backup: backup.id, imported: false };
        let recorder = Recorder { who: "a test", signing_key: &key, random: &Random::system() };
        repository.record_one(event, now, &recorder).await.unwrap();
    }
    let second = regrow::codec::SigningKey::generate(&Random::system()).entry();
    assert!(repository.accept_key(&second, &key, Clock::system().now()).await.unwrap());
    let found = verified(&repository, Level::Checksum).await;
    assert_eq!((found.findings.len(), found.backups.len()), (0, 2), "{:?}", found.findings);
    let denied = store.delete("regrow-repository.json").await.unwrap_err();
    assert!(matches!(denied, StorageError::Denied { .. }), "{denied}");
    workspace.run(["verify"]).exits(0);
}

/// What is denied beside deleting and overwriting what is written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    /// Nothing: what changes in `control/` may be replaced, if it is still what was read.
    MayChange,
    /// Replacing anything in `control/`, too.
    MayNotChange,
}

/// Says what a policy does with a request that lets objects be created and read. Parts of uploads are no objects yet, and come
/// and go.
fn append_only(control: Control, request: &Request) -> Verdict {
    let is_part = request.asks("uploadId") || request.asks("uploads");
    let is_create = request.header("if-none-match") == Some("*");
    let is_change = request.header("if-match").is_some() && request.path().contains("/control/");
    let is_allowed = match request.method() {
        "GET" | "HEAD" => true,
        "POST" if request.asks("uploadId") => is_create,
        "PUT" if !is_part => is_create || is_change && control == Control::MayChange,
        // An upload begins, grows or is given up; or something is removed.
        _ => is_part,
    };
    if is_allowed { Verdict::Pass } else { Verdict::RefuseBefore(Refusal { status: 403, code: "AccessDenied" }) }
}

/// Says in one error what is denied, and what to do about it.
fn is_denied(run: &Run, right: &str) {
    let count = |what: &str| run.stderr.lines().filter(|line| line.starts_with(what)).count();
    assert_eq!((run.code, count("error: "), count("hint: ")), (3, 1, 1), "{run:?}");
    assert!(run.stderr.contains(right), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_on_an_s3_server_that_lets_nothing_be_removed_or_says_what_it_lacks() {
    let servers = harness::own(&Options::default());
    let db = fill(&servers).await;
    for control in [Control::MayChange, Control::MayNotChange] {
        let proxy = HttpProxy::start(&harness::s3().endpoint, move |request| append_only(control, request));
        let mut workspace = Workspace::on_s3(servers.uri(), harness::s3());
        workspace.set("repository.endpoint", proxy.endpoint());
        workspace.set("drill.target", servers.uri()).set("drill.allow_source", true);
        let prefix = workspace.repository_url().rsplit('/').next().unwrap().to_owned();
        let options = S3Options { prefix, ..harness::s3().options() };
        let store = S3::connect(options, Clock::system(), Random::system()).await.unwrap();

        workspace.run(["keygen", "-o", "second.txt"]).exits(0);
        workspace.run(["init"]).exits(0);
        for _ in 0..3 {
            // Small packs: what was stored is noted after each of them.
            let small = workspace.path("operations");
            workspace.with_faults("none,segment=4096,pack=8192", &small, &["backup", "--full"]).run().exits(0);
        }
        let probes = store.list("control/probe-").await.unwrap();
        assert_eq!(probes.len(), 1, "they do not become more: {probes:?}");
        for _ in 0..2 {
            workspace.run(["capture", "--once"]).exits(0);
        }
        workspace.run(["verify", "--level", "content"]).exits(0);
        let map = format!("{db}={db}_{control:?}");
        workspace.run(["restore", "latest", "--ns", &db, "--map", &map, "--confirm", "rs0"]).exits(0);
        workspace.run(["drill", "latest"]).exits(0);
        workspace.run(["doctor", "--wait", "0s"]).exits(0);
        workspace.run(["hold", "latest", "--reason", "an audit"]).exits(0);
        is_denied(&workspace.run(["hold", "latest", "--release"]), "s3:DeleteObject");
        workspace.run(["verify"]).exits(0);
        let listed: serde_json::Value = workspace.run(["list", "--json"]).exits(0).json();
        assert_eq!(listed["backups"].as_array().unwrap().len(), 3, "{listed}");
    }
}
