//! What a crash, a passing failure or a lost answer at any single storage operation leaves behind.
//!
//! Every operation of a whole backup, and of making a repository, meets every fault once. Afterwards the
//! same directory is opened without faults: it must be in order whatever happened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use regrow::backup::BackupPlan;
use regrow::clock::Clock;
use regrow::codec::keys::NewIdentity;
use regrow::codec::{Identities, SigningKey};
use regrow::error::{Kind, Result};
use regrow::format::manifest::Manifest;
use regrow::format::{BackupKind, layout};
use regrow::mongo::Deployment;
use regrow::progress::Progress;
use regrow::random::Random;
use regrow::repository::Repository;
use regrow::restore::{self, Past, RestoreContext, RestorePlan, RestoreRequest};
use regrow::secret::Secret;
use regrow::storage::{Backoff, Fault, Faulty, Local, Retrying, Storage};
use regrow::verify::Level;
use tempfile::TempDir;

use crate::harness;
use crate::small_backups::{self, content, fill, local, verified};

/// A database to back up, planned once: every attempt reads the same state.
struct Bench {
    db: String,
    plan: BackupPlan,
    key: SigningKey,
    identity: NewIdentity,
}

impl Bench {
    async fn new() -> Self {
        let db = fill(harness::replica_set()).await;
        let plan = small_backups::plan(harness::replica_set(), &db).await;
        let identity = NewIdentity::generate(Clock::system().now());
        Self { db, plan, key: SigningKey::generate(&Random::system()), identity }
    }

    /// Makes a repository in a new folder.
    async fn repository(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        init(local(folder.path()), &self.key).await.unwrap();
        folder
    }

    async fn back_up(&self, storage: Arc<dyn Storage>) -> Result<Manifest> {
        small_backups::take(&self.plan, storage, &self.key, &[&self.identity.recipient]).await
    }

    /// Returns how many storage operations a backup takes, and which of them write parts of an upload.
    async fn operations(&self) -> u64 {
        let folder = self.repository().await;
        let counting = Faulty::counting(store(folder.path()));
        self.back_up(Arc::new(counting.clone())).await.unwrap();
        assert!(counting.count() > 20, "several packs: {} operations", counting.count());
        counting.count()
    }

    /// Takes a backup whose operation `at` meets `fault`, without retries, and checks what is there then.
    async fn try_backup(&self, fault: Fault, at: u64) {
        let case = format!("{fault:?} at operation {at}");
        let folder = self.repository().await;
        let outcome = self.back_up(Arc::new(Faulty::new(store(folder.path()), fault, at))).await;
        let listed = self.check(folder.path(), &case).await;
        match outcome {
            // Only the answer, not the object, was lost where the operation's result is not needed.
            Ok(manifest) => assert_eq!(listed, [manifest], "{case}"),
            Err(error) => {
                assert!(error.to_string().contains("(simulated)"), "{case}: {error}");
                let may_exist = error.hint().is_some_and(|hint| hint.contains("'regrow list'"));
                assert!(listed.is_empty() || may_exist, "{case}: a backup appeared unannounced: {error}");
            }
        }
        for manifest in listed {
            self.restores(folder.path(), &manifest, &case).await;
        }
        self.back_up(local(folder.path())).await.unwrap_or_else(|error| panic!("{case}: the next backup: {error}"));
        self.check(folder.path(), &case).await;
    }

    /// Checks that every object is part of a whole backup or a named leftover; returns the backups.
    async fn check(&self, folder: &Path, case: &str) -> Vec<Manifest> {
        let repository = Repository::open(local(folder)).await.unwrap();
        let listing = repository.list().await.unwrap();
        let manifests = listing.backups.into_iter().map(|backup| backup.manifest);
        let manifests: Vec<_> = manifests.collect::<Result<_>>().unwrap_or_else(|error| panic!("{case}: {error}"));
        let found = verified(&repository, Level::Checksum).await;
        assert_eq!(found.findings, [], "{case}");
        assert_eq!(found.backups.len(), manifests.len(), "{case}");
        let named: u64 = listing.leftovers.iter().map(|leftover| leftover.objects).sum();
        let whole: u64 = manifests.iter().map(|manifest| manifest.objects().count() as u64 + 1).sum();
        let stored = repository.storage().list("backups/").await.unwrap();
        // What was noted of a backup while it was taken is nobody's concern once it is one.
        let is_noted = |key: &str| {
            layout::is_checkpoint(key) && manifests.iter().any(|manifest| key.contains(manifest.id.as_str()))
        };
        let stored = stored.iter().filter(|entry| !is_noted(&entry.key)).count() as u64;
        assert_eq!(stored, named + whole, "{case}: every object is a backup's or is named: {:?}", listing.leftovers);
        manifests
    }

    /// Restores a backup beside its source and compares every byte.
    async fn restores(&self, folder: &Path, manifest: &Manifest, case: &str) {
        let servers = harness::replica_set();
        let target = harness::unique_database_name();
        let repository = Repository::open(local(folder)).await.unwrap();
        let identities = Identities::parse(&self.identity.file).unwrap();
        let catalog = repository.catalog(manifest, Some(&identities)).await.unwrap();
        let maps = vec![format!("{}={target}", self.db).parse().unwrap()];
        let request = RestoreRequest { maps, ..RestoreRequest::default() };
        let plan = RestorePlan::make(manifest.clone(), catalog, None, &request).unwrap();
        let deployment = Deployment::connect(&Secret::new(servers.uri().to_owned())).await.unwrap();
        let segments = repository.segments(manifest, Some(identities)).await.unwrap();
        let context = RestoreContext {
            deployment,
            segments,
            progress: Progress::default(),
            journal: None,
            past: Past::default(),
        };
        restore::execute(&plan, &context, std::future::pending()).await.unwrap();
        assert_eq!(content(servers, &target).await, content(servers, &self.db).await, "{case}");
    }
}

async fn init(storage: Arc<dyn Storage>, key: &SigningKey) -> Result<Repository> {
    Repository::init(storage, key, &Clock::system(), &Random::system()).await.map(|(repository, _)| repository)
}

fn store(folder: &Path) -> Local {
    Local::open(folder, Clock::system(), Random::system())
}

/// Returns the store as the program stacks it, above the faults.
fn with_retries(faulty: Faulty<Local>) -> Arc<dyn Storage> {
    Arc::new(Retrying::with_backoff(faulty, Backoff::without_pauses(), Random::system()))
}

async fn every_backup_operation_meets(fault: Fault) {
    let bench = Bench::new().await;
    for at in 1..=bench.operations().await {
        bench.try_backup(fault, at).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_operation_of_a_backup_leaves_all_or_nothing() {
    every_backup_operation_meets(Fault::Crash).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_any_operation_of_a_backup_leaves_all_or_nothing() {
    every_backup_operation_meets(Fault::FailOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_at_any_operation_of_a_backup_leaves_all_or_nothing() {
    every_backup_operation_meets(Fault::LostReply).await;
}

/// As the program runs: only a part of an upload, which no directory loses in passing, is not tried again.
#[tokio::test(flavor = "multi_thread")]
async fn with_retries_a_passing_fault_costs_no_backup() {
    let bench = Bench::new().await;
    let mut succeeded = 0;
    for at in 1..=bench.operations().await {
        for fault in [Fault::FailOnce, Fault::LostReply] {
            let case = format!("{fault:?} at operation {at} with retries");
            let folder = bench.repository().await;
            let outcome = bench.back_up(with_retries(Faulty::new(store(folder.path()), fault, at))).await;
            let listed = bench.check(folder.path(), &case).await;
            match outcome {
                Ok(manifest) => {
                    assert_eq!(listed, [manifest], "{case}");
                    succeeded += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    let passing = text.contains("cannot write backups/") || text.contains("cannot finish backups/");
                    assert!(passing, "{case}: {text}");
                    assert_eq!(listed, [], "{case}");
                }
            }
        }
    }
    assert!(succeeded >= 10, "opening, beginning, committing and reading back are repeated: {succeeded}");
}

/// The id of a backup tells the second; within it the manifests know which is the latest, and each of them counts.
#[tokio::test(flavor = "multi_thread")]
async fn the_latest_backup_is_not_the_one_before_where_its_manifest_cannot_be_read() {
    let bench = Bench::new().await;
    let folder = bench.repository().await;
    let clock = Clock::manual("2026-11-23T02:00:00Z".parse().unwrap());
    let mut taken = Vec::new();
    for _ in 0..3 {
        clock.advance(Duration::from_millis(10));
        let (recipients, store) = ([bench.identity.recipient.as_str()], local(folder.path()));
        let taking =
            small_backups::take_at(clock.clone(), BackupKind::Daily, &bench.plan, store, &bench.key, &recipients);
        taken.push(taking.await.unwrap().id);
    }
    let mut failed = 0;
    for fault in [Fault::Missing, Fault::FailOnce, Fault::Deny, Fault::Truncate] {
        for at in 1.. {
            let faulty = Faulty::new(store(folder.path()), fault, at);
            let counter = faulty.clone();
            let latest = async { Repository::open(Arc::new(faulty)).await?.resolve("latest").await }.await;
            if counter.count() < at {
                break;
            }
            failed += u32::from(latest.is_err());
            assert!(latest.is_err() || latest.ok() == taken.last().cloned(), "{fault} at operation {at}");
        }
    }
    assert!(failed > 12, "each of three manifests, for each fault: {failed}");
}

/// A request that something on the way has made twice is answered as if another's repository had been there.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_was_asked_for_twice_is_ones_own() {
    let bench = Bench::new().await;
    let mut answered_late = 0;
    for at in 1.. {
        let folder = tempfile::tempdir().unwrap();
        let faulty = Faulty::new(store(folder.path()), Fault::Conflict, at);
        init(Arc::new(faulty.clone()), &bench.key).await.unwrap_or_else(|error| panic!("operation {at}: {error}"));
        let error = init(local(folder.path()), &SigningKey::generate(&Random::system())).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "another's is another's");
        if faulty.count() < at {
            break;
        }
        answered_late += 1;
    }
    assert!(answered_late > 1, "{answered_late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn making_a_repository_survives_every_fault() {
    let key = SigningKey::generate(&Random::system());
    let bench = Bench { key, ..Bench::new().await };
    let folder = tempfile::tempdir().unwrap();
    let counting = Faulty::counting(store(folder.path()));
    init(Arc::new(counting.clone()), &bench.key).await.unwrap();
    assert!(counting.count() >= 3, "probe, create, open");
    for fault in [Fault::Crash, Fault::FailOnce, Fault::LostReply] {
        for at in 1..=counting.count() {
            let case = format!("{fault:?} at operation {at} of init");
            let folder = tempfile::tempdir().unwrap();
            let error = init(Arc::new(Faulty::new(store(folder.path()), fault, at)), &bench.key).await.unwrap_err();
            assert!(error.to_string().contains("(simulated)"), "{case}: {error}");
            // Either it is there and says so, or it can be made now.
            if let Err(error) = init(local(folder.path()), &bench.key).await {
                assert_eq!(error.kind(), Kind::Refused, "{case}: {error}");
            }
            bench.back_up(local(folder.path())).await.unwrap_or_else(|error| panic!("{case}: a backup: {error}"));
            assert_eq!(bench.check(folder.path(), &case).await.len(), 1, "{case}");
        }
    }
}
