//! What an auditor gets: records, and a script that checks them with stock tools alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::damage::every_object::files;
use crate::harness::{self, Workspace};
use crate::small_backups::fill;

/// Runs the script of an export; returns whether all is well, and what it says.
fn check(folder: &Path) -> (bool, String) {
    let output = Command::new("sh").arg(folder.join("check.sh")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

async fn recorded() -> Workspace {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let workspace = Workspace::on_disk(servers.uri());
    workspace.run(["init"]).exits(0);
    for _ in 0..2 {
        workspace.run(["backup", "--ns", &db]).exits(0);
        workspace.run(["verify", "--level", "structure"]).exits(0);
    }
    workspace
}

#[tokio::test]
async fn an_export_is_checked_without_regrow_and_every_alteration_shows() {
    let workspace = recorded().await;
    let folder = workspace.path("audit");
    let name = folder.to_str().unwrap();
    workspace.run(["evidence", "export", "-o", name]).exits(0);
    let refused = workspace.run(["evidence", "export", "-o", name]).exits(7);
    assert!(refused.stderr.contains("is not empty"), "{refused:?}");
    let (sound, said) = check(&folder);
    assert!(sound && said.contains("5 records checked, 0 problems"), "{said}");
    let records: Vec<PathBuf> =
        files(&folder).iter().filter(|key| key.starts_with("evidence/")).map(|key| folder.join(key)).collect();
    assert_eq!(records.len(), 5);
    for record in &records {
        let whole = fs::read(record).unwrap();
        for at in [5, whole.len() / 2, whole.len() - 30] {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            fs::write(record, altered).unwrap();
            let (sound, said) = check(&folder);
            assert!(!sound && said.contains("PROBLEM"), "byte {at} of {}: {said}", record.display());
        }
        fs::remove_file(record).unwrap();
        let (sound, said) = check(&folder);
        assert!(!sound && said.contains("it is missing"), "{}: {said}", record.display());
        fs::write(record, whole).unwrap();
    }
    let [one, other] = [&records[1], &records[2]].map(|path| fs::read(path).unwrap());
    fs::write(&records[1], &other).unwrap();
    fs::write(&records[2], &one).unwrap();
    let (sound, said) = check(&folder);
    assert!(!sound && said.contains("it is the record"), "{said}");
}

#[tokio::test]
async fn records_are_listed_and_shown_and_altered_ones_end_in_exit_code_5() {
    let workspace = recorded().await;
    let listed: Value = workspace.run(["evidence", "list", "--json", "--kind", "backup"]).exits(0).json();
    let records = listed["records"].as_array().unwrap();
    assert_eq!(records.len(), 2, "{listed}");
    let id = records[0]["id"].as_str().unwrap();
    let shown: Value = workspace.run(["evidence", "show", id, "--json"]).exits(0).json();
    assert_eq!((&shown["signature"], &shown["record"]["kind"]), (&Value::from("valid"), &Value::from("backup")));
    assert!(shown["named_by"].is_string(), "{shown}");
    let none: Value = workspace.run(["evidence", "list", "--json", "--to", "2020-01-01"]).exits(0).json();
    assert_eq!(none["records"], serde_json::json!([]));
    workspace.run(["evidence", "show", "nothing"]).exits(4);
    workspace.run(["evidence", "list", "--from", "yesterday"]).exits(2);
    let path = workspace.repository().join(records[0]["key"].as_str().unwrap());
    fs::write(&path, "{}").unwrap();
    let run = workspace.run(["evidence", "list"]).exits(5);
    assert!(run.stderr.contains("1 record is not as written: "), "{run:?}");
    workspace.run(["evidence", "show", id]).exits(5);
}
