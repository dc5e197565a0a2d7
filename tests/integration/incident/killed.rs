//! Restores that are killed at any moment, or fail at any step: the target is wholly as it was, or wholly restored, and what
//! was begun can be finished or taken back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use mongodb::bson::{Document, Timestamp, doc};
use mongodb::{Database, IndexModel};
use regrow::clock::Clock;
use regrow::codec::Identities;
use regrow::error::Result;
use regrow::mongo::Deployment;
use regrow::progress::Progress;
use regrow::random::Random;
use regrow::repository::Repository;
use regrow::restore::{self, Journal, Past, Record, RestoreContext, RestoreId, RestorePlan, RestoreRequest};
use regrow::secret::Secret;
use regrow::storage::{Fault, Faulty, Storage};
use serde_json::Value;

use super::stage::Stage;
use crate::contents::Contents;
use crate::harness::{self, Options};
use crate::small_backups::local;

/// How many namespaces of a [`Stage`] are no views.
const COLLECTIONS: i32 = 4;

/// What a target is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    AsItWas,
    Restored,
}

impl Stage {
    /// Returns which of both the database is, leaving out what restores have under names of their own.
    async fn is_whole(&self, case: &str) -> Whole {
        let mut now = self.now().await;
        let own = |name: &str| name.contains(".regrow.") || name.contains("_replaced_");
        let names: Vec<_> = now.names().into_iter().filter(|name| !own(name)).collect();
        now.keep(&names);
        if now == self.spoilt {
            return Whole::AsItWas;
        }
        now.keep(&self.good.names());
        assert!(now == self.good, "{case}: neither as it was nor restored: {names:?}");
        Whole::Restored
    }

    async fn if_restored_spoil(&self, state: Whole) {
        if state == Whole::Restored {
            self.spoil_again().await;
        }
    }
}

/// Returns the command that restores what was good.
fn restore(stage: &Stage) -> Vec<&str> {
    vec!["restore", &stage.backup, "--replace", "--confirm", "rs0"]
}

/// Spawns a restore, kills it after a while, and returns whether it had ended by then.
async fn kill(stage: &Stage, after: Duration, keep: bool) -> bool {
    let mut arguments = restore(stage);
    arguments.extend(keep.then_some("--keep-old"));
    let mut running = stage.workspace.regrow(arguments).spawn();
    tokio::time::sleep(after).await;
    let has_ended = !running.is_running();
    running.kill();
    running.wait();
    has_ended
}

/// How long a restore takes that nobody kills.
fn whole_time(stage: &Stage) -> Duration {
    let begun = Instant::now();
    let answer: Value = stage.restore(&[&stage.backup, "--replace", "--keep-old", "--json"]).exits(0).json();
    let taken = begun.elapsed();
    stage.restore(&["--undo", answer["restore"].as_str().unwrap()]).exits(0);
    taken
}

#[tokio::test]
async fn killed_at_twenty_moments_it_is_finished_or_taken_back() {
    let servers = harness::own(&Options::default());
    let stage = Stage::new(&servers).await;
    let mut whole = whole_time(&stage);
    let (mut resumed, mut undone) = (0, 0);
    for number in 0..60_u32 {
        if number >= 20 && resumed >= 3 && undone >= 3 {
            break;
        }
        // Most of them close to the end, where everything is exchanged.
        let place = number % 20;
        let share = if place < 8 { f64::from(place) / 8.0 } else { 0.7 + f64::from(place - 8) * 0.03 };
        let after = whole.mul_f64(share);
        let keep = number % 2 == 0;
        let case = format!("killed after {after:?} of {whole:?}");
        let ended = kill(&stage, after, keep).await;
        if ended {
            // The first one took longer than they do now.
            whole = whole.min(after);
        }
        let state = stage.is_whole(&case).await;
        let known = stage.unfinished();
        let Some(id) = known.first().map(|known| known["restore"].as_str().unwrap().to_owned()) else {
            // Before it wrote anything down, or when nothing was left to do.
            assert!(ended || state == Whole::AsItWas || !keep, "{case}: {state:?}");
            stage.if_restored_spoil(state).await;
            continue;
        };
        let stage_name = known[0]["stage"].as_str().unwrap().to_owned();
        if number % 4 < 2 && !stage_name.starts_with("over") {
            let plan: Value = stage.restore(&["--resume", &id, "--dry-run", "--json"]).exits(0).json();
            assert_eq!((&plan["restore"], &plan["dry_run"]), (&Value::from(id.as_str()), &Value::Bool(true)), "{plan}");
            stage.restore(&["--resume", &id]).exits(0);
            assert_eq!(stage.is_whole(&case).await, Whole::Restored, "{case}, resumed");
            resumed += 1;
        }
        if let Some(known) = stage.unfinished().first() {
            let run = stage.restore(&["--undo", &id]);
            if known["stage"].as_str().unwrap().starts_with("restored") {
                run.exits(7);
                stage.restore(&["--resume", &id]).exits(0);
            } else {
                run.exits(0);
                stage.now().await.assert_equals(&stage.spoilt);
                undone += 1;
            }
        }
        let state = stage.is_whole(&case).await;
        stage.if_restored_spoil(state).await;
        stage.is_clean().await;
    }
    assert!(resumed >= 3 && undone >= 3, "{resumed} resumed, {undone} undone");
}

/// Another one makes or drops its journal meanwhile.
#[tokio::test]
async fn restores_are_listed_while_another_one_begins_or_ends() {
    const QUERY_PLAN_KILLED: i32 = 175;
    const SNAPSHOT_UNAVAILABLE: i32 = 246;
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let stage = Stage::new(&servers).await;
    stage.restore(&[&stage.backup, "--replace", "--keep-old"]).exits(0);
    for code in [QUERY_PLAN_KILLED, SNAPSHOT_UNAVAILABLE] {
        harness::fail_point::fail_with(&stage.client, "find", code, 2).await;
        assert_eq!(stage.unfinished().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_journal_of_a_newer_regrow_is_told_from_a_broken_one() {
    let servers = harness::own(&Options::default());
    let stage = Stage::new(&servers).await;
    stage.restore(&[&stage.backup, "--replace", "--keep-old"]).exits(0);
    let id = stage.unfinished()[0]["restore"].as_str().unwrap().to_owned();
    let journal = stage.client.database("regrow_restore").collection::<Document>(&id);
    journal
        .insert_one(doc! { "_id": 1_i64, "at": Timestamp { time: 1, increment: 1 }, "event": "sparkling" })
        .await
        .unwrap();
    let run = stage.restore(&["--undo", &id]).exits(3);
    assert!(run.stderr.contains("was written by a newer Regrow\nhint: install a newer Regrow"), "{run:?}");
    journal.delete_one(doc! { "_id": 1_i64 }).await.unwrap();
    stage.restore(&["--undo", &id]).exits(0);
}

#[tokio::test]
async fn what_is_left_out_stays_left_out_when_a_restore_is_gone_on_with() {
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let stage = Stage::new(&servers).await;
    let (copy, db) = (format!("{}_copy", stage.db), &stage.db);
    let (map, log, readings) = (format!("{db}={copy}"), format!("{db}.log"), format!("{db}.r*"));
    let restore =
        ["restore", &stage.backup, "--except", &log, "--except", &readings, "--map", &map, "--confirm", "rs0"];
    // Nobody would see that the time series is restored all the same.
    let buckets = stage.restore(&[&stage.backup, "--except", &format!("{db}.system.*"), "--map", &map]).exits(4);
    assert!(buckets.stderr.contains("leaves out nothing that would be restored"), "{buckets:?}");
    killed_creating(&stage, &restore, 0).await;
    let id = stage.unfinished()[0]["restore"].as_str().unwrap().to_owned();
    stage.restore(&["--resume", &id]).exits(0);
    let is_left_out = |name: &str| ["log", "readings", "system.buckets.readings"].contains(&name);
    let expected = stage.good.renamed(|_, name| (!is_left_out(name)).then(|| (copy.clone(), name.to_owned())));
    Contents::of_database(&stage.client, &copy).await.assert_equals(&expected);
}

/// What a run that was killed had sent arrives when the next one is about to do the same.
#[tokio::test]
async fn a_collection_that_a_killed_run_creates_late_is_in_nobodys_way() {
    const OPERATION_FAILED: i32 = 96;
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let stage = Stage::new(&servers).await;
    let (admin, copy) = (stage.client.database("admin"), format!("{}_copy", stage.db));
    let database = stage.client.database(&copy);
    let map = format!("{}={copy}", stage.db);
    let restore =
        ["restore", &stage.backup, "--ns", &format!("{}.orders", stage.db), "--map", &map, "--confirm", "rs0"];
    for (error, exit) in [(None, 0), (Some(OPERATION_FAILED), 1)] {
        killed_creating(&stage, &restore, 0).await;
        let id = stage.unfinished()[0]["restore"].as_str().unwrap().to_owned();
        database.drop().await.unwrap();
        let mut data =
            doc! { "failCommands": ["create"], "appName": "regrow", "blockConnection": true, "blockTimeMS": 3000 };
        data.extend(error.map(|code| ("errorCode".to_owned(), code.into())));
        let order = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
        let before = admin.run_command(order).await.unwrap();
        let resuming = stage.workspace.regrow(["restore", "--resume", &id, "--confirm", "rs0"]).spawn();
        harness::fail_point::wait_until_held(&stage.client, before.get_i64("count").unwrap_or_default()).await;
        database.create_collection("orders").await.unwrap();
        let run = resuming.wait().exits(exit);
        let names = database.list_collection_names().await.unwrap();
        if exit == 0 {
            assert_eq!(names, ["orders"]);
            stage.workspace.run(["diff", &stage.backup, "--ns", restore[3], "--map", &map, "--check"]).exits(0);
            database.drop().await.unwrap();
        } else {
            assert!(run.stderr.contains("nothing was restored, the target is as it was"), "{run:?}");
            assert!(names.is_empty(), "{names:?}");
        }
        assert!(stage.unfinished().is_empty());
    }
}

/// Views are created last, and not beside what exists.
#[tokio::test]
async fn killed_while_it_creates_a_view_it_is_finished() {
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let stage = Stage::new(&servers).await;
    let map = format!("{0}={0}_copy", stage.db);
    let restore = ["restore", &stage.backup, "--map", &map, "--confirm", "rs0"];
    killed_creating(&stage, &restore, COLLECTIONS).await;
    let id = stage.unfinished()[0]["restore"].as_str().unwrap().to_owned();
    let names = stage.client.database(&format!("{}_copy", stage.db)).list_collection_names().await.unwrap();
    assert!(names.contains(&"large".to_owned()), "the view is there: {names:?}");
    stage.restore(&["--resume", &id]).exits(0);
    stage.workspace.run(["diff", &stage.backup, "--map", &map, "--check"]).exits(0);
}

/// Begins a restore and kills it when it is about to create something, once it has created `skip` others; the server creates that.
async fn killed_creating(stage: &Stage, restore: &[&str], skip: i32) {
    let before = harness::fail_point::hold(&stage.client, "create", skip, Duration::from_secs(2)).await;
    let mut running = stage.workspace.regrow(restore).spawn();
    harness::fail_point::wait_until_held(&stage.client, before).await;
    running.kill();
    running.wait();
    harness::fail_point::let_go(&stage.client).await;
}

/// One of two indexes expires documents then, and the other one not yet.
#[tokio::test]
async fn killed_where_documents_begin_to_expire_it_is_finished() {
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let stage = Stage::new(&servers).await;
    let before = harness::fail_point::hold(&stage.client, "collMod", 0, Duration::from_secs(4)).await;
    let mut running = stage.workspace.regrow(restore(&stage)).spawn();
    harness::fail_point::wait_until_held(&stage.client, before).await;
    running.kill();
    running.wait();
    // The server does what it was asked for, although nobody waits for it any more.
    harness::fail_point::let_go(&stage.client).await;
    let database = stage.client.database(&stage.db);
    let begun = Instant::now();
    loop {
        match expiring(&database).await {
            0 => assert!(begun.elapsed() < Duration::from_mins(1), "nothing ever expires"),
            some => break assert_eq!(some, 1, "of two indexes"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stage.is_whole("killed").await, Whole::AsItWas);
    let known = stage.unfinished();
    stage.restore(&["--resume", known[0]["restore"].as_str().unwrap()]).exits(0);
    assert_eq!(stage.is_whole("resumed").await, Whole::Restored);
    stage.is_clean().await;
}

/// Returns how many indexes of what a restore is loading let the server delete documents.
async fn expiring(database: &Database) -> usize {
    let mut expiring = 0;
    for name in database.list_collection_names().await.unwrap().iter().filter(|name| name.starts_with("regrow.")) {
        let indexes = database.collection::<Document>(name).list_indexes().await.unwrap();
        let indexes: Vec<IndexModel> = indexes.try_collect().await.unwrap();
        let options = indexes.into_iter().filter_map(|index| index.options);
        expiring += options.filter(|options| options.expire_after.is_some()).count();
    }
    expiring
}

/// The commands that a restore sends, and with each of them failing at any time.
#[tokio::test]
async fn failing_at_any_command_it_leaves_the_target_as_it_was() {
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let stage = Stage::new(&servers).await;
    let mut failures = 0;
    for command in
        ["create", "insert", "createIndexes", "collMod", "find", "listCollections", "applyOps", "aggregate", "drop"]
    {
        for skip in 0.. {
            let case = format!("{command} fails the {}. time", skip + 1);
            crate::harness::fail_point::fail(&stage.client, command, skip).await;
            let run = stage.workspace.run(restore(&stage));
            crate::harness::fail_point::let_go(&stage.client).await;
            let state = stage.is_whole(&case).await;
            if run.code == 0 {
                assert_eq!(state, Whole::Restored, "{case}");
                stage.if_restored_spoil(state).await;
                break;
            }
            failures += 1;
            let is_restored = run.stderr.contains("everything is restored, but");
            if !run.stderr.contains("wholly as it was, or wholly restored") {
                assert_eq!(state, if is_restored { Whole::Restored } else { Whole::AsItWas }, "{case}: {run:?}");
            }
            if let Some(known) = stage.unfinished().first() {
                let id = known["restore"].as_str().unwrap();
                if known["stage"].as_str().unwrap().contains("--undo") {
                    stage.restore(&["--undo", id]).exits(0);
                } else {
                    stage.restore(&["--resume", id]).exits(0);
                    stage.spoil_again().await;
                }
            }
            stage.is_clean().await;
            stage.now().await.assert_equals(&stage.spoilt);
        }
    }
    assert!(failures > 40, "{failures}");
}

#[tokio::test]
async fn a_target_that_is_killed_leaves_a_restore_that_can_go_on() {
    let servers = harness::own(&Options::default());
    let mut stage = Stage::new(&servers).await;
    let whole = whole_time(&stage);
    for share in [0.5, 0.9, 0.97] {
        let mut running = stage.workspace.regrow(restore(&stage)).spawn();
        tokio::time::sleep(whole.mul_f64(share)).await;
        servers.kill(0);
        running.kill();
        running.wait();
        servers.start_again(0);
        stage.client = servers.client().await;
        let known = stage.unfinished();
        if let Some(known) = known.first() {
            stage.restore(&["--resume", known["restore"].as_str().unwrap()]).exits(0);
            assert_eq!(stage.is_whole("resumed").await, Whole::Restored);
        }
        let state = stage.is_whole("after the server").await;
        stage.if_restored_spoil(state).await;
    }
}

#[tokio::test]
async fn a_restore_at_work_keeps_others_away() {
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let stage = Stage::new(&servers).await;
    let before = harness::fail_point::hold(&stage.client, "insert", 4, Duration::from_secs(4)).await;
    let running = stage.workspace.regrow(restore(&stage)).spawn();
    harness::fail_point::wait_until_held(&stage.client, before).await;
    let refused = stage.workspace.run(restore(&stage)).exits(7);
    assert!(refused.stderr.contains("is at work on the same namespaces"), "{refused:?}");
    let id = stage.unfinished()[0]["restore"].as_str().unwrap().to_owned();
    let refused = stage.restore(&["--undo", &id]).exits(7);
    assert!(refused.stderr.contains("is at work"), "{refused:?}");
    running.signal("INT");
    harness::fail_point::let_go(&stage.client).await;
    let run = running.wait().exits(130);
    assert!(run.stderr.contains("nothing was restored, the target is as it was"), "{run:?}");
    stage.now().await.assert_equals(&stage.spoilt);
    stage.is_clean().await;
}

/// The store goes away at any of the reads that a restore does, and stays away.
#[tokio::test]
async fn a_store_that_fails_at_any_read_leaves_the_target_as_it_was() {
    let servers = harness::own(&Options::default());
    let stage = Stage::new(&servers).await;
    let mut failures = 0;
    for at in 0.. {
        let storage = Faulty::new(local(&stage.workspace.repository()), Fault::Crash, at);
        let outcome = replace_from(&stage, &servers, Arc::new(storage)).await;
        let state = stage.is_whole(&format!("read {at}")).await;
        if outcome.is_ok() {
            assert_eq!(state, Whole::Restored);
            break;
        }
        failures += 1;
        assert_eq!(state, Whole::AsItWas, "{outcome:?}");
        if let Some(known) = stage.unfinished().first() {
            stage.restore(&["--undo", known["restore"].as_str().unwrap()]).exits(0);
        }
        stage.is_clean().await;
    }
    assert!(failures > 5, "{failures}");
}

async fn replace_from(stage: &Stage, servers: &harness::Servers, storage: Arc<dyn Storage>) -> Result<()> {
    let repository = Repository::open(storage).await?;
    let identity = Secret::new(std::fs::read_to_string(stage.workspace.identity_file()).unwrap());
    let identities = Identities::parse(&identity)?;
    let manifest = repository.manifest(&repository.resolve(&stage.backup).await?).await?;
    let catalog = repository.catalog(&manifest, Some(&identities)).await?;
    let segments = repository.segments(&manifest, Some(identities)).await?;
    let request = RestoreRequest { replace: true, ..RestoreRequest::default() };
    let id = RestoreId::generate(Clock::system().now(), &Random::system());
    let plan = RestorePlan::make(manifest, catalog, None, &request)?.beside(&id);
    let deployment = Deployment::connect(&Secret::new(servers.uri().to_owned())).await?;
    let record = Record::of(&plan, None);
    let journal = Some(Journal::begin(&deployment, id, record, &Random::system()).await?);
    let context =
        RestoreContext { deployment, segments, progress: Progress::default(), journal, past: Past::default() };
    restore::execute(&plan, &context, std::future::pending()).await.map(drop)
}
