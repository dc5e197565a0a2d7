//! Every object of a repository that has everything, each damaged in each way: found by the level that promises it, by its
//! name. And a repository that others work in does not alarm.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use regrow::clock::Clock;
use regrow::codec::{Identities, SigningKey};
use regrow::error::Kind;
use regrow::format::evidence::{Event, Subset};
use regrow::format::mark::MarkKind;
use regrow::format::oplog::{Range, Timeline};
use regrow::format::{ClusterTime, TimelineId};
use regrow::progress::Progress;
use regrow::random::Random;
use regrow::repository::{Recorder, Repository};
use regrow::secret::Secret;
use regrow::verify::{Level, Verification, VerifyRequest, verify};

use crate::harness::{self, Options, Servers, Workspace};
use crate::small_backups::{fill, local, signing_key};

/// A repository with backups, oplog, a gap, a second timeline, evidence, marks, a lease, a report.
struct Everything {
    servers: Servers,
    workspace: Workspace,
    key: SigningKey,
    repository: Repository,
}

impl Everything {
    async fn new() -> Self {
        let servers = harness::own(&Options::default());
        let db = fill(&servers).await;
        let mut workspace = Workspace::on_disk(servers.uri());
        workspace.set("oplog.slice_interval", "1s").set("retention.daily", 7);
        workspace.run(["init"]).exits(0);
        workspace.run(["backup", "--ns", &db]).exits(0);
        workspace.run(["backup"]).exits(0);
        let capture = workspace.regrow(["capture"]).spawn();
        let orders = servers.client().await.database(&db).collection::<Document>("orders");
        for _ in 0..5 {
            orders.insert_one(doc! {}).await.unwrap();
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        capture.signal("INT");
        capture.wait().exits(0);
        workspace.run(["hold", "latest"]).exits(0);
        workspace.run(["expire"]).exits(0);
        let (key, repository) =
            (signing_key(&workspace), Repository::open(local(&workspace.repository())).await.unwrap());
        let everything = Self { servers, workspace, key, repository };
        everything.add_what_is_rare().await;
        everything
    }

    /// A gap behind the captured oplog, another timeline, an expired mark and a report.
    async fn add_what_is_rare(&self) {
        let now = Clock::system().now();
        let captured = self.repository.captured().await.unwrap().remove(0);
        let (id, begin) = (captured.timeline.id.clone(), captured.end());
        let range = Range { begin, end: ClusterTime { t: begin.t + 60, i: 1 } };
        self.repository.store_gap(&id, range, "a test", now, &self.key).await.unwrap();
        let other =
            Timeline { id: TimelineId::generate(now, &Random::system()), begin: range.end, ..captured.timeline };
        self.repository.begin_timeline(&other, &self.key).await.unwrap();
        let behind = Range { begin: range.end, end: ClusterTime { t: range.end.t + 60, i: 1 } };
        self.repository.store_gap(&other.id, behind, "a test", now, &self.key).await.unwrap();
        let backups = self.repository.list().await.unwrap().backups;
        let oldest = &backups.last().unwrap().id;
        self.repository.place_mark(MarkKind::Expired, oldest, "a test", now, &self.key).await.unwrap();
        let file =
            self.repository.store_report("reports/2026-10/a/report.json", b"{}".as_slice().into()).await.unwrap();
        let run = serde_json::from_value(serde_json::json!({
            "job": "report", "due": null, "started_at": now, "finished_at": now, "attempts": 1,
        }));
        self.record(Event::Report { run: run.unwrap(), begin: now, end: now, files: vec![file] }).await;
    }

    async fn record(&self, event: Event) {
        let recorder = Recorder { who: "a test", signing_key: &self.key, random: &Random::system() };
        self.repository.record_one(event, Clock::system().now(), &recorder).await.unwrap();
    }

    fn identities(&self) -> Identities {
        let file = fs::read_to_string(self.workspace.identity_file()).unwrap();
        Identities::parse(&Secret::new(file)).unwrap()
    }

    /// Opens the repository anew and verifies it; none where opening it says already what is damaged.
    async fn verify(&self, level: Level) -> Option<Verification> {
        let repository = match Repository::open(local(&self.workspace.repository())).await {
            Err(error) => {
                assert_eq!(error.kind(), Kind::Damaged, "{error}");
                assert!(error.to_string().contains("regrow-repository.json"), "{error}");
                return None;
            }
            Ok(repository) => repository,
        };
        let request = VerifyRequest { identities: Some(self.identities()), ..VerifyRequest::everything(level) };
        Some(verify(&repository, &request, Clock::system().now(), &Progress::default()).await.unwrap())
    }

    async fn finds(&self, level: Level, key: &str, case: &str) {
        let Some(found) = self.verify(level).await else { return assert_eq!(key, "regrow-repository.json", "{case}") };
        let named: Vec<&str> = found.findings.iter().map(|finding| finding.object.as_str()).collect();
        assert!(named.contains(&key), "{key} {case} at level {}: {:?}", level.as_str(), found.findings);
    }
}

/// Returns the keys of all files of a repository.
pub fn files(root: &Path) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(root, &mut found);
    let key = |path: &PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let mut keys: Vec<String> = found.iter().map(key).collect();
    keys.sort();
    keys
}

/// Whether an object may go at any time: a lease and a mark are given back, and alerts are only a help.
fn may_be_absent(key: &str) -> bool {
    ["control/lease.json", "control/alerts.json", "control/holds/", "control/expired/"]
        .iter()
        .any(|some| key.starts_with(some))
}

/// Returns the level that promises to find an altered byte of an object.
fn promised(key: &str) -> Level {
    let is_sealed = [".tar", ".age"].iter().any(|ending| key.ends_with(ending));
    if is_sealed || key.starts_with("reports/") { Level::Checksum } else { Level::Structure }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_found_whichever_way_it_is_damaged() {
    let everything = Everything::new().await;
    let root = everything.workspace.repository();
    for level in [Level::Structure, Level::Checksum, Level::Content] {
        let found = everything.verify(level).await.unwrap();
        assert_eq!(found.findings, [], "it was left alone, at level {}", level.as_str());
    }
    let keys = files(&root);
    for folder in
        ["backups/", "oplog/", "evidence/", "control/holds/", "control/expired/", "control/oplog/", "reports/"]
    {
        assert!(keys.iter().any(|key| key.starts_with(folder)), "{folder}: {keys:?}");
    }
    assert!(keys.iter().any(|key| key.ends_with(".gap.json")) && keys.iter().any(|key| key == "control/evidence.json"));
    for key in &keys {
        let path = root.join(key);
        let whole = fs::read(&path).unwrap();
        let put = |content: &[u8]| {
            let _ = fs::remove_file(&path);
            fs::write(&path, content).unwrap();
        };
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            put(&altered);
            everything.finds(promised(key), key, &format!("altered at byte {at}")).await;
        }
        for length in [whole.len() - 1, 0] {
            put(&whole[..length]);
            everything.finds(Level::Structure, key, &format!("truncated to {length} bytes")).await;
        }
        fs::remove_file(&path).unwrap();
        if !may_be_absent(key) {
            everything.finds(Level::Structure, key, "deleted").await;
        }
        put(&whole);
    }
    for key in ["notes.txt", "backups/mine/a", "oplog/a", "evidence/2026/11/a.json", "control/a"] {
        let path = root.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "foreign").unwrap();
        everything.finds(Level::Structure, key, "foreign").await;
        fs::remove_file(&path).unwrap();
    }
    let found = everything.verify(Level::Content).await.unwrap();
    assert_eq!(found.findings, [], "everything was put back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_parts_together_read_every_byte_once() {
    let everything = Everything::new().await;
    let whole = everything.verify(Level::Checksum).await.unwrap();
    let mut bytes = 0;
    for part in 1..=3 {
        let request =
            VerifyRequest { subset: Some(Subset { part, of: 3 }), ..VerifyRequest::everything(Level::Checksum) };
        let now = Clock::system().now();
        let found = verify(&everything.repository, &request, now, &Progress::default()).await.unwrap();
        assert_eq!((found.findings.len(), found.subset), (0, request.subset));
        bytes += found.checked_bytes;
    }
    assert_eq!(bytes, whole.checked_bytes);
    let run = everything.workspace.run(["verify", "--subset", "4/3"]).exits(2);
    assert!(run.stderr.contains("'4/3' is no part"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_others_work_in_does_not_alarm() {
    let everything = Everything::new().await;
    let mut capture = everything.workspace.regrow(["capture"]).spawn();
    let orders = everything.servers.client().await.database("busy").collection::<Document>("orders");
    for round in 0..40_u32 {
        orders.insert_one(doc! { "round": round }).await.unwrap();
        if round % 8 == 3 {
            everything
                .record(Event::Configuration { schedules: Vec::new(), workloads: Vec::new(), retention: None })
                .await;
        }
        let level = if round % 2 == 0 { Level::Structure } else { Level::Checksum };
        let found = everything.verify(level).await.unwrap();
        assert_eq!(found.findings, [], "round {round}");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    capture.kill();
    let found = everything.verify(Level::Content).await.unwrap();
    assert_eq!(found.findings, [], "a capture that was killed is no damage");
}
