//! Retention carried out: what goes, what stays whatever happens, and what an interrupted run leaves.

mod bounds;
mod chains;
mod holds;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use mongodb::bson::doc;
use regrow::clock::Clock;
use regrow::codec::SigningKey;
use regrow::codec::keys::NewIdentity;
use regrow::error::{Kind, Result};
use regrow::expire::{self, Expired, ExpiryContext, ExpiryPlan};
use regrow::format::manifest::Manifest;
use regrow::format::mark::MarkKind;
use regrow::format::{BackupId, BackupKind};
use regrow::policy::Retention;
use regrow::policy::retention::Verdict;
use regrow::random::Random;
use regrow::repository::{Applicant, HeldLease, Repository};
use regrow::storage::{Fault, Faulty, Local, Storage};
use regrow::verify::Level;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{self, Options, Servers, Workspace};
use crate::small_backups::{self, fill, local, verified};

const ONE_DAILY: Retention = Retention { daily: Some(1), weekly: None, monthly: None, oplog: None };

/// A repository with daily backups, and a clock that a test moves.
struct Bench {
    folder: TempDir,
    key: SigningKey,
    clock: Clock,
    /// Newest last.
    backups: Vec<Manifest>,
}

impl Bench {
    async fn with_backups(number: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key, clock) = (SigningKey::generate(&Random::system()), earlier());
        let storage = local(folder.path());
        Repository::init(storage.clone(), &key, &clock, &Random::system()).await.unwrap();
        let db = fill(harness::replica_set()).await;
        let plan = small_backups::plan(harness::replica_set(), &db).await;
        let identity = NewIdentity::generate(clock.now());
        let mut backups = Vec::new();
        for _ in 0..number {
            let (storage, recipients) = (storage.clone(), [identity.recipient.as_str()]);
            clock.advance(Duration::from_secs(1));
            let taken = small_backups::take_at(clock.clone(), BackupKind::Daily, &plan, storage, &key, &recipients);
            backups.push(taken.await.unwrap());
        }
        clock.advance(Duration::from_mins(5));
        backups.sort_by_key(|backup| (backup.started_at, backup.id.clone()));
        Self { folder, key, clock, backups }
    }

    /// Copies the repository, so that each fault meets the same one.
    fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(self.folder.path(), folder.path());
        let clock = Clock::manual(self.clock.now());
        Self { folder, key: self.key.clone(), clock, backups: self.backups.clone() }
    }

    fn store(&self) -> Local {
        Local::open(self.folder.path(), Clock::system(), Random::system())
    }

    async fn repository(&self) -> Repository {
        Repository::open(local(self.folder.path())).await.unwrap()
    }

    async fn plan(&self) -> Result<ExpiryPlan> {
        expire::plan(&self.repository().await, &ONE_DAILY, self.clock.now()).await
    }

    async fn expire(&self) -> Result<Expired> {
        self.expire_through(Arc::new(self.store())).await
    }

    async fn expire_through(&self, storage: Arc<dyn Storage>) -> Result<Expired> {
        let repository = Repository::open(storage).await?;
        run(&repository, &ONE_DAILY, &self.key, &self.clock).await.map(|(_, done)| done)
    }

    /// Checks that every backup that is there is whole; returns them, newest last.
    async fn whole(&self, case: &str) -> Vec<BackupId> {
        let repository = self.repository().await;
        let found = verified(&repository, Level::Checksum).await;
        assert_eq!(found.findings, [], "{case}");
        let mut backups = repository.list().await.unwrap().backups;
        backups.reverse();
        for backup in &backups {
            assert!(backup.manifest.is_ok(), "{case}: {:?}", backup.manifest);
        }
        backups.into_iter().map(|backup| backup.id).collect()
    }

    fn ids(&self) -> Vec<BackupId> {
        self.backups.iter().map(|backup| backup.id.clone()).collect()
    }

    async fn objects(&self) -> Vec<String> {
        let entries = self.store().list("").await.unwrap();
        entries.into_iter().map(|entry| entry.key).filter(|key| !key.starts_with("control/lease")).collect()
    }
}

/// Returns a clock that shows a time some weeks ago. What is stored by it shows moments of today, and so days may pass on it
/// that count.
fn earlier() -> Clock {
    Clock::manual(Clock::system().now() - SignedDuration::from_hours(24 * 40))
}

/// Writes, backs up, writes and captures, three times.
async fn three_rounds(servers: &Servers) -> Workspace {
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.set("oplog.slice_interval", "1s");
    workspace.run(["init"]).exits(0);
    let orders = servers.client().await.database("shop").collection("orders");
    for round in 0..3 {
        orders.insert_one(doc! { "round": round, "phase": "before" }).await.unwrap();
        workspace.run(["backup", "--kind", "daily"]).exits(0);
        orders.insert_one(doc! { "round": round, "phase": "behind" }).await.unwrap();
        workspace.run(["capture", "--once"]).exits(0);
    }
    workspace
}

/// Plans and executes under the lease.
async fn run(
    repository: &Repository,
    retention: &Retention,
    signing_key: &SigningKey,
    clock: &Clock,
) -> Result<(ExpiryPlan, Expired)> {
    let lease = lease(repository, signing_key, clock).await?;
    let plan = expire::plan(repository, retention, clock.now()).await?;
    let context = ExpiryContext { repository, signing_key, lease: &lease, clock, random: &Random::system() };
    let mut done = Expired::default();
    expire::execute(&plan, &context, &mut done).await?;
    lease.release().await?;
    Ok((plan, done))
}

async fn lease(repository: &Repository, signing_key: &SigningKey, clock: &Clock) -> Result<HeldLease> {
    let applicant = Applicant { description: "a test".into(), duration: Duration::from_secs(30), service: false };
    repository.acquire(&applicant, signing_key, clock, &Random::system()).await
}

/// Copies a folder and everything in it.
pub fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

const AFTER_GRACE: Duration = Duration::from_hours(73);

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_stays_for_its_grace_and_then_goes() {
    let bench = Bench::with_backups(3).await;
    let (ids, before) = (bench.ids(), bench.objects().await);
    let done = bench.expire().await.unwrap();
    assert_eq!((sorted(&done.expired), done.removed), (sorted(&ids[..2]), vec![]));
    assert_eq!(bench.whole("within the grace").await, ids, "all bytes are still there");
    assert_eq!(bench.expire().await.unwrap(), Expired::default(), "nothing is left to do");

    bench.clock.advance(AFTER_GRACE);
    let repository = bench.repository().await;
    repository.lift_mark(MarkKind::Expired, &ids[0]).await.unwrap();
    repository.place_mark(MarkKind::Hold, &ids[0], "a lawsuit", bench.clock.now(), &bench.key).await.unwrap();
    let done = bench.expire().await.unwrap();
    assert_eq!((done.expired, done.removed), (vec![], vec![ids[1].clone()]));
    assert_eq!(bench.whole("after the grace").await, [ids[0].clone(), ids[2].clone()]);
    let gone = |key: &&String| key.contains(ids[1].as_str());
    assert_eq!(bench.objects().await.iter().filter(gone).count(), 0);
    assert!(before.iter().filter(gone).count() > 3, "several packs went");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_a_manifest_is_not_told_that_a_newer_regrow_is_needed() {
    let bench = Bench::with_backups(2).await;
    let undisturbed = bench.copy();
    let counting = Faulty::counting(undisturbed.store());
    undisturbed.expire_through(Arc::new(counting.clone())).await.unwrap();
    let mut denied = 0;
    for at in 1..=counting.count() {
        let bench = bench.copy();
        let denying = Faulty::new(bench.store(), Fault::Deny, at);
        let Err(error) = bench.expire_through(Arc::new(denying)).await else { continue };
        assert_eq!(error.kind(), Kind::Configuration, "operation {at}: {error}");
        assert!(!error.hint().unwrap_or_default().contains("newer"), "operation {at}: {error}: {:?}", error.hint());
        denied += usize::from(error.to_string().contains("manifest.json"));
    }
    assert!(denied > 0, "no manifest was denied");
}

/// Every operation of a run that marks, of one that removes, and of one that does both meets a crash and a lost answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_leaves_whole_backups_and_the_next_one_does_the_rest() {
    interrupted_anywhere(&Bench::with_backups(3).await).await;
}

/// Expires all but the last backup, interrupted at every operation: what is there at any time can be restored.
async fn interrupted_anywhere(fresh: &Bench) {
    let marked = fresh.copy();
    marked.expire().await.unwrap();
    marked.clock.advance(AFTER_GRACE);
    let last = fresh.ids().last().unwrap().clone();
    let mut interrupted = 0;
    for (name, bench) in [("marking", fresh), ("removing", &marked)] {
        let undisturbed = bench.copy();
        let counting = Faulty::counting(undisturbed.store());
        undisturbed.expire_through(Arc::new(counting.clone())).await.unwrap();
        for fault in [Fault::Crash, Fault::LostReply] {
            for at in 1..=counting.count() {
                let (case, bench) = (format!("{name}, {fault:?} at operation {at}"), bench.copy());
                let outcome = bench.expire_through(Arc::new(Faulty::new(bench.store(), fault, at))).await;
                interrupted += u32::from(outcome.is_err());
                let left = bench.whole(&case).await;
                assert!(left.contains(&last), "{case}: {left:?}");
                // The lease of the one that was killed runs out, and another run follows; and one after the grace.
                for _ in 0..2 {
                    bench.clock.advance(AFTER_GRACE);
                    bench.expire().await.unwrap_or_else(|error| panic!("{case}: {error}"));
                }
                assert_eq!(bench.whole(&case).await, std::slice::from_ref(&last), "{case}");
                let foreign = |key: &String| key.starts_with("backups/") && !key.contains(last.as_str());
                let objects = bench.objects().await;
                assert!(!objects.iter().any(foreign), "{case}: {objects:?}");
                assert!(!objects.iter().any(|key| key.starts_with("control/")), "{case}: {objects:?}");
            }
        }
    }
    assert!(interrupted > 40, "{interrupted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_may_not_delete_still_mark_and_say_so() {
    let bench = Bench::with_backups(2).await;
    let denying = || Arc::new(Faulty::new(bench.store(), Fault::DenyDeletes, 1));
    let done = bench.expire_through(denying()).await.unwrap();
    assert_eq!((done.expired.len(), done.denied), (1, None));
    bench.clock.advance(AFTER_GRACE);
    let done = bench.expire_through(denying()).await.unwrap();
    assert_eq!(done.removed, []);
    assert!(done.denied.unwrap().contains("denies"));
    assert_eq!(bench.whole("nothing could be deleted").await, bench.ids());
    assert_eq!(bench.expire().await.unwrap().removed.len(), 1, "those that may do the rest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_behind_and_damaged_manifests_let_nothing_go() {
    let bench = Bench::with_backups(3).await;
    let early = Clock::manual(bench.backups[2].finished_at - SignedDuration::from_secs(1));
    let error = expire::plan(&bench.repository().await, &ONE_DAILY, early.now()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("the clock is behind"), "{error}");
    // The newest is damaged: it is no good backup, so the one before must stay, and nobody removes the evidence.
    let manifest = bench.folder.path().join(format!("backups/{}/manifest.json", bench.ids()[2]));
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("daily", "dayly")).unwrap();
    let plan = bench.plan().await.unwrap();
    assert_eq!(plan.damaged, [bench.ids()[2].clone()]);
    let kept: Vec<_> = plan.backups.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Keep(_))).collect();
    assert_eq!(kept.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), [bench.ids()[1].clone()]);
}

fn sorted(ids: &[BackupId]) -> Vec<BackupId> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

/// What is captured stays back to the backup that the recovery window begins with, and can be restored to.
#[tokio::test(flavor = "multi_thread")]
async fn the_oplog_goes_up_to_the_backup_that_the_window_begins_with() {
    let servers = harness::own(&Options::default());
    let workspace = three_rounds(&servers).await;
    let orders = servers.client().await.database("shop").collection("orders");
    let repository = Repository::open(local(&workspace.repository())).await.unwrap();
    let slices = |captured: Vec<regrow::repository::CapturedTimeline>| captured[0].slices.clone();
    let newest = repository.list().await.unwrap().backups.swap_remove(0).manifest.unwrap();
    let key = small_backups::signing_key(&workspace);
    let retention = Retention { oplog: Some(Duration::from_hours(24)), ..ONE_DAILY };
    let clock = Clock::manual(Clock::system().now() + SignedDuration::from_hours(98));
    for (passes, passed) in [(95, "nothing"), (3, "95 hours")] {
        let plan = expire::plan(&repository, &retention, clock.now()).await.unwrap();
        assert_eq!((plan.slice_count(), plan.oplog.len()), (0, 0), "{passed} is less than a day and three of grace");
        assert!(plan.held_back_to.is_some(), "more than {passed} has passed by the clock alone");
        harness::time::pass(&servers.client().await, SignedDuration::from_hours(passes)).await;
        workspace.run(["capture", "--once"]).exits(0);
    }
    let before = slices(repository.captured().await.unwrap());
    let (plan, done) = run(&repository, &retention, &key, &clock).await.unwrap();
    assert_eq!(done.oplog_objects, plan.slice_count() * 2);

    let left = slices(repository.captured().await.unwrap());
    let from = newest.replay_from.unwrap();
    let expected: Vec<_> = before.iter().filter(|slice| slice.end > from).copied().collect();
    assert!(!left.is_empty() && left.len() < before.len(), "{left:?} of {before:?}");
    assert_eq!(left, expected);
    workspace.run(["verify", "--all"]).exits(0);
    let window: Value = workspace.run(["list", "--json"]).exits(0).json();
    let end = &window["recovery_window"].as_array().unwrap().last().unwrap()["end"];
    let at = format!("{},{}", end["t"], end["i"]);
    workspace.run(["restore", "--at", &at, "--map", "shop=again", "--ns", "shop", "--confirm", "rs0"]).exits(0);
    let restored = servers.client().await.database("again").collection::<mongodb::bson::Document>("orders");
    assert_eq!(restored.count_documents(doc! {}).await.unwrap(), 6);
    // Capture goes on where it was.
    orders.insert_one(doc! { "round": 3 }).await.unwrap();
    workspace.run(["capture", "--once"]).exits(0);
    assert!(repository.captured().await.unwrap()[0].gaps.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_command_line_what_goes_is_shown_first_and_can_be_brought_back() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    let refused = workspace.run(["expire"]).exits(3);
    assert!(refused.stderr.contains("the configuration has no [retention]"), "{}", refused.stderr);
    workspace.set("retention.daily", 1);
    let ids: Vec<String> = (0..2)
        .map(|_| workspace.run(["backup", "--kind", "daily", "--ns", &db]).exits(0).stdout.trim().to_owned())
        .collect();
    let fates = |run: Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let backups = run["backups"].as_array().unwrap();
        let mut fates: Vec<_> = backups.iter().map(|backup| (text(&backup["id"]), text(&backup["fate"]))).collect();
        fates.sort();
        fates
    };
    let (old, new) = (ids[0].clone(), ids[1].clone());
    let expected = |of_old: &str| {
        let mut fates = vec![(old.clone(), of_old.to_owned()), (new.clone(), "keep".to_owned())];
        fates.sort();
        fates
    };
    let dry = workspace.run(["expire", "--dry-run", "--json"]).exits(0);
    assert!(dry.stderr.contains("nothing was changed"), "{}", dry.stderr);
    assert_eq!(fates(dry.json()), expected("expire"));
    assert_eq!(fates(workspace.run(["expire", "--dry-run", "--json"]).exits(0).json()), expected("expire"));
    let done = workspace.run(["expire"]).exits(0);
    assert!(done.stderr.contains("1 backup expired; removed: 0 backups, 0 objects of the oplog"), "{}", done.stderr);
    let listed = workspace.run(["list"]).exits(0);
    assert!(listed.stderr.contains(&format!("{old} has expired")), "{}", listed.stderr);
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    let states: Vec<_> = listed["backups"].as_array().unwrap().iter().map(|backup| backup["state"].clone()).collect();
    assert_eq!(states, ["complete", "expired"]);
    assert_eq!(workspace.run(["show", &old, "--json"]).exits(0).json::<Value>()["state"], "expired");

    workspace.run(["undelete", &old]).exits(0);
    workspace.run(["expire"]).exits(0);
    let held = workspace.run(["hold", &old, "--reason", "audit"]).exits(0);
    assert!(held.stderr.contains("back from expiry and under hold"), "{}", held.stderr);
    let listed = workspace.run(["list"]).exits(0);
    assert!(listed.stderr.contains("under hold since") && !listed.stderr.contains("has expired"), "{}", listed.stderr);
    assert_eq!(fates(workspace.run(["expire", "--json"]).exits(0).json()), expected("keep"));
    workspace.run(["hold", &old, "--release"]).exits(0);
    assert_eq!(fates(workspace.run(["expire", "--dry-run", "--json"]).exits(0).json()), expected("expire"));
    workspace.run(["expire"]).exits(0);
    let mark = workspace.repository().join(format!("control/expired/{old}.json"));
    let forged = std::fs::read_to_string(&mark).unwrap().replace("retention", "retentiom");
    std::fs::write(&mark, forged).unwrap();
    let refused = workspace.run(["expire"]).exits(5);
    assert!(refused.stderr.contains("then remove control/expired/"), "{}", refused.stderr);
    let listed = workspace.run(["list"]).exits(0);
    assert!(listed.stderr.contains("what is held or has expired is not known"), "{}", listed.stderr);
    workspace.run(["hold", "20200101T000000Z-daily-0000"]).exits(4);
}

/// While another run holds the lease nothing expires, and who holds it is said.
#[tokio::test(flavor = "multi_thread")]
async fn while_another_run_holds_the_lease_expiry_waits() {
    let servers = harness::replica_set();
    let mut workspace = Workspace::on_disk(servers.uri());
    workspace.set("retention.daily", 1);
    workspace.run(["init"]).exits(0);
    let repository = Repository::open(local(&workspace.repository())).await.unwrap();
    let key = small_backups::signing_key(&workspace);
    let applicant =
        Applicant { description: "the service on alpha".into(), duration: Duration::from_mins(5), service: false };
    let lease = repository.acquire(&applicant, &key, &Clock::system(), &Random::system()).await.unwrap();
    let refused = workspace.run(["expire"]).exits(75);
    assert!(refused.stderr.contains("the service on alpha holds the lease"), "{}", refused.stderr);
    workspace.run(["expire", "--dry-run"]).exits(0);
    lease.release().await.unwrap();
    workspace.run(["expire"]).exits(0);
}
