//! What is kept of an interrupted backup, for how long, and for whom.

use std::fs;

use jiff::SignedDuration;
use serde_json::Value;

use super::stage::{Ended, SMALL, Stage, folder};
use crate::harness::time;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_noted_is_kept_after_ctrl_c_and_after_a_failure() {
    let stage = Stage::new().await;
    for (fault, signal, code) in [("none", Some("INT"), 130), ("refuse@90", None, 1)] {
        let workspace = stage.workspace();
        let first = stage.content().await;
        let mut running = workspace.begins(fault);
        if let Some(signal) = signal {
            let is_noted = |line: &str| line.contains("read") && line.contains("checkpoints/0003.json");
            workspace.wait_until(&mut running, is_noted);
            running.signal(signal);
        }
        let run = running.wait().exits(code);
        assert!(run.stderr.contains("hint: what it has stored is kept for now"), "{run:?}");
        let id = workspace.unfinished();
        stage.change().await;
        let Ended { answer, stderr } = workspace.takes(&[]);
        assert_eq!(answer["id"], id.as_str(), "at once: its lease was given back: {stderr}");
        stage.restores(&workspace, &first).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_would_resume_one_does() {
    let stage = Stage::new().await;
    let mut workspace = stage.workspace();
    // Slow enough that one is still at it when the other begins, however busy the machine is.
    workspace.set("source.max_rate", "100KiB");
    let first = stage.content().await;

    // One is taken; the other finds that it was, or still is.
    let mut one = workspace.begins("none");
    workspace.wait_until(&mut one, |line| line.contains("read") && line.contains("checkpoints/0002.json"));
    let id = workspace.unfinished();
    let Ended { answer, stderr } = workspace.takes(&[]);
    assert_ne!(answer["id"], id.as_str(), "{stderr}");
    assert!(stderr.contains(&format!("{id} is not resumed: ")) && stderr.contains("the lease"), "{stderr}");
    assert_eq!(one.wait().exits(0).stdout.trim(), id);

    // At once: only one may.
    workspace.killed_at("90");
    let id = workspace.unfinished();
    workspace.without_unnoted(&id);
    let runs = [workspace.begins("none"), workspace.begins("none")].map(|run| run.wait().exits(0));
    let resumed: Vec<bool> = runs.iter().map(|run| run.stdout.trim() == id).collect();
    assert_eq!(resumed.iter().filter(|resumed| **resumed).count(), 1, "{runs:#?}");
    workspace.run(["restore", &id, "--map", "shop=copy", "--confirm", "rs0"]).exits(0);
    stage.is_restored(&first).await;
    workspace.run(["verify", "--level", "content"]).exits(0);
}

/// A run that was stopped for longer than its lease, while another went on with its backup, ends without harming it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_slept_while_its_backup_was_resumed_harms_nothing() {
    let stage = Stage::new().await;
    let workspace = stage.workspace();
    let first = stage.content().await;
    let mut sleeper = workspace.begins("none");
    workspace.wait_until(&mut sleeper, |line| line.contains("read") && line.contains("checkpoints/0003.json"));
    sleeper.signal("STOP");
    let id = workspace.unfinished();
    // What it has stored and not noted stands in the way of whoever goes on: as if it had slept a moment earlier.
    workspace.without_unnoted(&id);
    let taken = workspace.takes(&[]);
    assert_eq!(taken.answer["id"], id.as_str(), "{}", taken.stderr);
    sleeper.signal("CONT");
    let run = sleeper.wait();
    assert_ne!(run.code, 0, "{run:?}");
    stage.restores(&workspace, &first).await;
}

/// A run that was stopped directly before its commit, while another gave up what it had stored and removed that, does not say
/// that there is a backup.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_slept_before_its_commit_while_its_packs_were_removed_makes_no_backup() {
    let stage = Stage::new().await;
    let workspace = stage.workspace();
    let first = stage.content().await;
    let mut sleeper = workspace.begins("none,stop=manifest.json");
    workspace.wait_until(&mut sleeper, |line| line.contains("create") && line.ends_with("manifest.json"));
    let id = workspace.unfinished();
    let taken = workspace.takes(&[]);
    assert_ne!(taken.answer["id"], id.as_str(), "its catalog stands in the way: {}", taken.stderr);
    assert!(!folder(&workspace, &id).join("packs/0001.tar").exists(), "nobody can go on with it");
    sleeper.signal("CONT");
    let run = sleeper.wait().exits(75);
    assert!(run.stderr.contains(&format!("no backup {id} was made")), "{run:?}");
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    assert!(listed["backups"].as_array().unwrap().iter().all(|backup| backup["id"] != id.as_str()), "{listed}");
    stage.restores(&workspace, &first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expire_keeps_what_may_be_resumed_for_a_day() {
    let stage = Stage::new().await;
    let mut workspace = stage.workspace();
    workspace.set("retention.daily", 1);
    workspace.killed_at("90");
    let id = workspace.unfinished();
    let expire = |hours: i64| -> Value {
        let plan = format!("none,ahead={hours},{SMALL}");
        workspace.with_faults(&plan, &workspace.path("unwatched"), &["expire", "--json"]).run().exits(0).json()
    };
    assert_eq!(expire(26)["remains"], serde_json::json!([]), "it may be this machine's clock alone that is ahead");
    for (hours, more, remains) in [(23, 23, vec![]), (26, 3, vec![&id])] {
        assert!(folder(&workspace, &id).exists());
        time::pass(&stage.servers.client().await, SignedDuration::from_hours(more)).await;
        // Of another kind: one of the same would take the place of what is unfinished.
        workspace.takes_anew(&["--kind", "weekly"]);
        assert_eq!(expire(hours)["remains"], serde_json::json!(remains));
    }
    assert!(!folder(&workspace, &id).join("packs/0001.tar").exists());
    let leases = workspace.repository().join("control/backups");
    assert_eq!(fs::read_dir(leases).map_or(0, Iterator::count), 0);
    workspace.run(["verify"]).exits(0);
    let Ended { answer, .. } = workspace.takes(&[]);
    assert_ne!(answer["id"], id.as_str());
}
