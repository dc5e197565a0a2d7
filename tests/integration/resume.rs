//! Backups that were interrupted and are resumed: what was stored is not read again, and what is restored is the state of the
//! first run's moment, whatever has changed since.

mod kept;
mod refused;
mod service;
mod stage;

use serde_json::Value;

use self::stage::{DOCUMENT, Ended, PASSED_OVER, Stage};

/// Killed at one operation of each kind, early and late.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backup_is_resumed_with_its_moment() {
    let stage = Stage::new().await;
    let whole = stage.workspace();
    whole.takes(&[]);
    let operations = whole.operations();
    let at = |what: &str, nth: usize| {
        let found = operations.iter().filter(|line| line.contains(what)).nth(nth);
        found.unwrap_or_else(|| panic!("no operation {nth} is a {what}: {operations:#?}")).split(' ').next().unwrap()
    };
    let packs = operations.iter().filter(|line| line.contains("begin") && line.contains("/packs/")).count();
    for (operation, what) in [
        (at("/packs/0003.tar", 0), "before a pack"),
        (at("/packs/0004.tar", 1), "in a pack"),
        (at("/packs/0008.tar", 0), "behind a whole collection"),
        (at(&format!("/packs/{packs:04}.tar"), 0), "before the last pack"),
        (at("catalog", 0), "before the catalog"),
    ] {
        let workspace = stage.workspace();
        let first = stage.content().await;
        workspace.killed_at(operation);
        let id = workspace.unfinished();
        // The lease is renewed as time goes by, so that it may be another operation, just behind a pack.
        workspace.without_unnoted(&id);
        stage.change().await;
        let before = stage.documents_read().await;
        let Ended { answer, stderr } = workspace.takes(&[]);
        let read_again = stage.documents_read().await - before;
        assert_eq!(answer["id"], id.as_str(), "{what}: {stderr}");
        assert!(stderr.contains(&format!("resumes {id}: ")), "{what}: {stderr}");
        let (stored, all) = (answer["resumed_bytes"].as_u64().unwrap(), answer["bytes_raw"].as_u64().unwrap());
        assert!(stored > 0 && stored <= all, "{what}: {answer}");
        // The server reads a batch ahead of what it sends. It tells most where little is left.
        let left = (all - stored) / DOCUMENT;
        assert!(read_again < 2 * left + PASSED_OVER, "{what}: {read_again} where {left} were left");
        assert_eq!(answer["consistency"], "snapshot", "{what}");
        stage.restores(&workspace, &first).await;
        let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
        assert_eq!(listed["leftovers"], Value::Array(Vec::new()), "{what}: {listed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_bucket_and_without_encryption_a_killed_backup_is_resumed_too() {
    let stage = Stage::new().await;
    for place in [Stage::in_a_bucket, Stage::in_clear] {
        loop {
            let (workspace, first) = (place(&stage), stage.content().await);
            let mut running = workspace.begins("none");
            workspace.wait_until(&mut running, |line| line.contains("read") && line.contains("checkpoints/0003.json"));
            running.kill();
            running.wait();
            let id = workspace.unfinished();
            stage.change().await;
            let Ended { answer, stderr } = workspace.takes(&[]);
            if stderr.contains("which it had not noted yet") {
                // Killed between a pack and its note: nobody resumes that.
                assert_eq!(workspace.leftovers(), 0, "{stderr}");
                continue;
            }
            assert_eq!(answer["id"], id.as_str(), "{stderr}");
            stage.restores(&workspace, &first).await;
            break;
        }
    }
}

/// Killed again and again, until nothing is left to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_resumed_as_often_as_it_is_killed() {
    let stage = Stage::new().await;
    let workspace = stage.workspace();
    let first = stage.content().await;
    let mut stored = Vec::new();
    workspace.killed_at("60");
    let id = workspace.unfinished();
    for operation in ["90", "120", "150"] {
        workspace.without_unnoted(&id);
        stage.change().await;
        let stderr = workspace.killed_at(operation);
        stored.push(stderr.lines().find(|line| line.starts_with("resumes ")).expect(&stderr).to_owned());
    }
    workspace.without_unnoted(&id);
    stored.dedup();
    assert_eq!(stored.len(), 3, "each goes further: {stored:#?}");
    let Ended { answer, .. } = workspace.takes(&[]);
    assert_eq!(answer["id"], id.as_str());
    stage.restores(&workspace, &first).await;
}
