//! Evidence: one chain, in which what was altered or removed is missed, whatever a crash leaves of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use regrow::clock::Clock;
use regrow::codec::SigningKey;
use regrow::format::evidence::Event;
use regrow::progress::Progress;
use regrow::random::Random;
use regrow::repository::{EvidenceLog, Recorder, Repository};
use regrow::storage::{Fault, Faulty, Fenced, Gate, Local, StorageResult};
use regrow::verify::{Level, VerifyRequest, verify};
use serde_json::Value;

use super::{problems, status};
use crate::harness::{self, Workspace};
use crate::small_backups::{fill, local};

fn objects(workspace: &Workspace) -> Vec<PathBuf> {
    let year = std::fs::read_dir(workspace.repository().join("evidence")).unwrap().next().unwrap().unwrap().path();
    let months = std::fs::read_dir(year).unwrap().map(|month| month.unwrap().path());
    let mut found: Vec<PathBuf> =
        months.flat_map(|month| std::fs::read_dir(month).unwrap().map(|entry| entry.unwrap().path())).collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_record_what_they_did_and_what_is_altered_or_removed_is_missed() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    workspace.run(["backup", "--ns", &db]).exits(0);
    workspace.run(["verify"]).exits(0);
    workspace.run(["backup", "--ns", &db]).exits(0);
    let records = objects(&workspace);
    let kinds: Vec<String> = records
        .iter()
        .map(|path| {
            let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            document["payload"]["kind"].as_str().unwrap().to_owned()
        })
        .collect();
    let mut sorted = kinds.clone();
    sorted.sort();
    assert_eq!(sorted, ["backup", "backup", "creation", "verification"]);
    assert!(!problems(&status(&workspace)).contains(&"evidence".to_owned()));

    let second = records.iter().find(|path| path.to_str().unwrap().contains("verification")).unwrap();
    let original = std::fs::read(second).unwrap();
    let altered = String::from_utf8(original.clone()).unwrap().replace("\"findings\":0", "\"findings\":1");
    std::fs::write(second, altered).unwrap();
    let said = workspace.run(["status", "--check"]).exits(1);
    assert!(said.stdout.contains("1 record of evidence is not as recorded"), "{}", said.stdout);
    assert!(said.stdout.contains("altered or forged"), "{}", said.stdout);
    std::fs::remove_file(second).unwrap();
    let said = workspace.run(["status"]).exits(0).stdout;
    assert!(said.contains("a later record names it, and it is gone"), "{said}");
    std::fs::write(second, original).unwrap();
    assert!(!problems(&status(&workspace)).contains(&"evidence".to_owned()));
}

/// Damage that a verification found is shown until everything was read and found sound.
#[tokio::test(flavor = "multi_thread")]
async fn damage_that_was_found_does_not_count_as_restorable() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let id = workspace.run(["backup"]).exits(0).stdout.trim().to_owned();
    drop(db);
    workspace.run(["verify"]).exits(0);
    let before = status(&workspace);
    assert!(!before["exposure_seconds"].is_null(), "{before}");
    assert!(!before["newest_backup"]["verified_at"].is_null(), "{before}");
    let pack = workspace.repository().join(format!("backups/{id}/packs/0001.tar"));
    let original = std::fs::read(&pack).unwrap();
    let mut damaged = original.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&pack, &damaged).unwrap();
    workspace.run(["verify"]).exits(5);
    let after = status(&workspace);
    assert!(after["exposure_seconds"].is_null() && after["predicted_rto_seconds"].is_null(), "{after}");
    assert!(problems(&after).contains(&format!("damage/{id}")), "{after}");
    let said = workspace.run(["status", "--check"]).exits(5);
    assert!(said.stdout.starts_with("CRITICAL: "), "{}", said.stdout);
    std::fs::write(&pack, &original).unwrap();
    workspace.run(["verify", "--level", "structure"]).exits(0);
    assert!(status(&workspace)["exposure_seconds"].is_null(), "sizes alone prove nothing");
    workspace.run(["verify"]).exits(0);
    assert!(!status(&workspace)["exposure_seconds"].is_null());
    let said = workspace.run(["status", "--check"]).exits(0).stdout;
    assert!(said.starts_with("OK: nothing is wrong\n"), "{said}");
    // Whoever has schedules counts on a service that follows them.
    assert!(workspace.run(["status"]).exits(0).stderr.contains("Nothing is wrong; no objectives"));
    workspace.write("schedules/daily.toml", super::schedule(super::DAILY, "0 2 * * *"));
    let said = workspace.run(["status"]).exits(0).stderr;
    assert!(said.contains("no service is running") && !said.contains("no objectives"), "{said}");
}

/// Lets somebody else record something before its write number `at`.
struct Interposed {
    repository: Repository,
    key: SigningKey,
    at: u64,
    writes: AtomicU64,
    recorded: Mutex<Option<String>>,
}

#[async_trait]
impl Gate for Interposed {
    async fn pass(&self) -> StorageResult<()> {
        if self.writes.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            let (clock, random) = (Clock::system(), Random::system());
            let recorder = Recorder { who: "another", signing_key: &self.key, random: &random };
            let recorded = self.repository.record_one(event(), clock.now(), &recorder).await.unwrap();
            *self.recorded.lock().unwrap() = Some(recorded);
        }
        Ok(())
    }
}

fn event() -> Event {
    Event::Configuration { schedules: Vec::new(), workloads: Vec::new(), retention: None }
}

/// Whichever of two writers is slower, at whichever of its writes: what the other one has recorded is missed once it is gone.
#[tokio::test]
async fn a_slow_writer_does_not_put_the_bounds_back() {
    let (key, clock, random) = (SigningKey::generate(&Random::system()), Clock::system(), Random::system());
    let recorder = Recorder { who: "a test", signing_key: &key, random: &random };
    let mut at = 0;
    loop {
        at += 1;
        let folder = tempfile::tempdir().unwrap();
        let (repository, _) = Repository::init(local(folder.path()), &key, &clock, &random).await.unwrap();
        let gate = Arc::new(Interposed {
            repository: repository.clone(),
            key: key.clone(),
            at,
            writes: AtomicU64::default(),
            recorded: Mutex::default(),
        });
        let fenced = Fenced::new(local(folder.path()), Arc::clone(&gate) as Arc<dyn Gate>);
        let slow = Repository::open(Arc::new(fenced)).await.unwrap();
        slow.record_one(event(), clock.now(), &recorder).await.unwrap();
        let Some(other) = gate.recorded.lock().unwrap().take() else { break };
        std::fs::remove_file(folder.path().join(&other)).unwrap();
        let structure = VerifyRequest::everything(Level::Structure);
        let found = verify(&repository, &structure, clock.now(), &Progress::default()).await.unwrap().findings;
        assert!(found.iter().any(|finding| finding.object == other), "write {at}: {found:?}");
    }
    assert!(at > 2, "{at}");
}

/// Every operation of recording meets each fault: a record is there or not, and the chain goes on.
#[tokio::test]
async fn faults_leave_a_chain_that_goes_on() {
    let (key, clock, random) = (SigningKey::generate(&Random::system()), Clock::system(), Random::system());
    let recorder = Recorder { who: "a test", signing_key: &key, random: &random };
    let mut failures = 0;
    for fault in [Fault::Crash, Fault::FailOnce, Fault::LostReply] {
        for at in 1..=24 {
            let folder = tempfile::tempdir().unwrap();
            Repository::init(local(folder.path()), &key, &clock, &random).await.unwrap();
            let faulty = Faulty::new(Local::open(folder.path(), clock.clone(), random.clone()), fault, at);
            let run = async {
                let repository = Repository::open(Arc::new(faulty)).await?;
                let mut log = EvidenceLog::since(clock.now() - jiff::SignedDuration::from_hours(1));
                for _ in 0..3 {
                    repository.record(&mut log, event(), clock.now(), &recorder).await?;
                }
                Ok::<_, regrow::error::Error>(())
            };
            failures += u32::from(run.await.is_err());
            let repository = Repository::open(local(folder.path())).await.unwrap();
            let structure = VerifyRequest::everything(Level::Structure);
            let left = verify(&repository, &structure, clock.now(), &Progress::default()).await.unwrap();
            assert_eq!(left.findings, [], "{fault:?} at {at}: what a crash leaves does not alarm");
            repository.record_one(event(), clock.now(), &recorder).await.unwrap();
            let mut log = EvidenceLog::since(jiff::Timestamp::UNIX_EPOCH);
            log.refresh(&repository, clock.now()).await.unwrap();
            assert!(log.problems().is_empty(), "{fault:?} at {at}: {:?}", log.problems());
            let named: std::collections::BTreeSet<_> =
                log.records().flat_map(|record| &record.previous).map(|before| before.key.clone()).collect();
            let last: Vec<_> = log.records().filter(|record| !named.contains(&record.key())).collect();
            assert_eq!(last.len(), 1, "{fault:?} at {at}: everything leads to the last record");
        }
    }
    assert!(failures > 20, "{failures}");
}
