//! A repository that somebody has put back to an earlier state: all of it is signed, and only what is remembered tells.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{self, Workspace};
use crate::small_backups::fill;

/// Copies a folder, in the place of what is there.
fn put_back(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            put_back(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

/// Returns a place with two backups, and in `before` the repository as it was after the first.
async fn ground(witness: bool) -> (Workspace, String) {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let mut workspace = Workspace::on_disk(servers.uri());
    if witness {
        workspace.set("repository.witness_file", "witness.json");
    }
    workspace.run(["init"]).exits(0);
    workspace.run(["backup", "--ns", &db]).exits(0);
    put_back(&workspace.repository(), &workspace.path("before"));
    let second = workspace.run(["backup", "--ns", &db]).exits(0).stdout.trim().to_owned();
    (workspace, second)
}

#[tokio::test]
async fn a_bucket_that_was_put_back_is_told_by_what_the_machine_remembers() {
    let (workspace, _) = ground(true).await;
    workspace.run(["verify"]).exits(0);
    let witness: Value = serde_json::from_slice(&fs::read(workspace.path("witness.json")).unwrap()).unwrap();
    let mut newest = witness["objects"].as_array().unwrap().iter().filter_map(|object| object["key"].as_str());
    let newest = newest.rfind(|key| key.starts_with("evidence/")).unwrap().to_owned();
    put_back(&workspace.path("before"), &workspace.repository());
    let problem = format!("{newest}: this machine remembers it, and it is gone: the repository was put back");
    let run = workspace.run(["list"]).exits(0);
    assert!(run.stderr.contains(&format!("warning: {problem}")), "{run:?}");
    let run = workspace.run(["status", "--check"]).exits(1);
    assert!(run.stdout.contains(&problem), "{run:?}");
    for _ in 0..2 {
        // It stays a finding, whatever is recorded meanwhile.
        let run = workspace.run(["verify", "--level", "structure"]).exits(5);
        assert!(run.stdout.contains(&problem), "{run:?}");
        workspace.run(["backup", "--ns", "none_such"]).exits(4);
    }
    // Who has looked, and is content, begins anew.
    fs::remove_file(workspace.path("witness.json")).unwrap();
    let run = workspace.run(["verify"]).exits(0);
    assert!(!run.stderr.contains("warning"), "{run:?}");
}

#[tokio::test]
async fn without_a_memory_elsewhere_a_bucket_that_was_put_back_looks_right() {
    let (workspace, _) = ground(false).await;
    put_back(&workspace.path("before"), &workspace.repository());
    workspace.run(["verify"]).exits(0);
}

#[tokio::test]
async fn an_exchanged_descriptor_and_another_repository_are_told_by_the_witness() {
    let (workspace, _) = ground(true).await;
    let path = workspace.repository().join("regrow-repository.json");
    let content = fs::read_to_string(&path).unwrap();
    fs::write(&path, content.replace("\"created_at\": \"2", "\"created_at\":  \"2")).unwrap();
    let run = workspace.run(["list"]).exits(0);
    let said = "warning: regrow-repository.json: it is not the one that this machine remembers: it was exchanged";
    assert!(run.stderr.contains(said), "{run:?}");
    let id = serde_json::from_str::<Value>(&content).unwrap()["id"].as_str().unwrap().to_owned();
    fs::write(&path, content.replace(&id, &"0".repeat(32))).unwrap();
    let run = workspace.run(["list"]).exits(3);
    assert!(run.stderr.starts_with(&format!("error: the repository is {}, and repository", "0".repeat(32))), "{run:?}");
    fs::write(&path, content).unwrap();
    fs::write(workspace.path("witness.json"), "nonsense").unwrap();
    let run = workspace.run(["list"]).exits(3);
    assert!(run.stderr.starts_with("error: repository.witness_file names a file that is no witness"), "{run:?}");
}

#[tokio::test]
async fn a_backup_that_was_deleted_is_missed_because_evidence_says_it_was_there() {
    let (workspace, second) = ground(false).await;
    fs::remove_dir_all(workspace.repository().join(format!("backups/{second}"))).unwrap();
    let run = workspace.run(["verify", "--level", "structure"]).exits(5);
    assert!(run.stdout.contains(&format!("backups/{second}/manifest.json")), "{run:?}");
    assert!(run.stdout.contains("the backup is recorded as taken, and not as removed"), "{run:?}");
    let run = workspace.run(["status", "--check"]);
    assert!(run.stdout.contains(&format!("backup {second} is gone")), "{run:?}");
}

#[tokio::test]
async fn evidence_that_was_cut_off_is_missed() {
    let (workspace, _) = ground(false).await;
    let bounds: Value =
        serde_json::from_slice(&fs::read(workspace.repository().join("control/evidence.json")).unwrap()).unwrap();
    let newest = bounds["payload"]["ends"][0]["key"].as_str().unwrap().to_owned();
    fs::remove_file(workspace.repository().join(&newest)).unwrap();
    let run = workspace.run(["verify", "--level", "structure"]).exits(5);
    assert!(run.stdout.contains(&newest) && run.stdout.contains("it was the newest record"), "{run:?}");
}
