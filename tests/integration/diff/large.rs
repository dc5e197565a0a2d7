//! Many documents: each is found, none is found twice, and whoever reads may stop.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use mongodb::bson::doc;
use serde_json::json;

use super::{backed_up, compared, counts, diff, documents, listed, of};
use crate::harness::{self, Workspace};

const DOCUMENTS: i32 = 50_000;

/// A collection of many documents, of which some were then removed, changed and added.
async fn changed() -> (Workspace, String) {
    let client = harness::replica_set().client().await;
    let db = harness::unique_database_name();
    let orders = documents(&client, &db, "orders").await;
    for begin in (0..DOCUMENTS).step_by(10_000) {
        let batch = (begin..begin + 10_000).map(|n| doc! { "_id": n, "text": format!("order {n} ").repeat(10) });
        orders.insert_many(batch).await.unwrap();
    }
    let untouched = documents(&client, &db, "untouched").await;
    untouched.insert_many((0..1000).map(|n| doc! { "_id": n })).await.unwrap();
    let workspace = backed_up(harness::replica_set().uri(), &["--ns", &db]);
    orders.delete_many(doc! { "_id": { "$mod": [1000, 0] } }).await.unwrap();
    orders.update_many(doc! { "_id": { "$mod": [100, 1] } }, doc! { "$set": { "paid": true } }).await.unwrap();
    orders.insert_many((0..1234).map(|n| doc! { "_id": format!("new {n}") })).await.unwrap();
    (workspace, db)
}

#[tokio::test]
async fn of_many_documents_each_is_found() {
    let (workspace, db) = changed().await;
    let namespace = format!("{db}.orders");
    let answer = compared(&workspace, &["--documents"]);
    assert_eq!(answer["same"], false);
    assert_eq!(counts(&answer, &namespace), [49_450, 1234, 50, 500]);
    assert_eq!(counts(&answer, &format!("{db}.untouched")), [1000, 0, 0, 0]);
    let number = |n: i32| json!({ "$numberInt": n.to_string() }).to_string();
    let every = |step: usize, from: i32| (from..DOCUMENTS).step_by(step).map(number).collect::<BTreeSet<_>>();
    assert_eq!(listed(&answer, &namespace, "removed"), every(1000, 0));
    assert_eq!(listed(&answer, &namespace, "changed"), every(100, 1));
    let added: BTreeSet<String> = (0..1234).map(|n| format!("\"new {n}\"")).collect();
    assert_eq!(listed(&answer, &namespace, "added"), added);
    assert_eq!(of(&answer, &namespace)["documents"].as_array().unwrap().len(), 1784, "none twice");
    let counted = compared(&workspace, &[]);
    assert_eq!(counts(&counted, &namespace), [49_450, 1234, 50, 500]);
    assert!(of(&counted, &namespace).get("documents").is_none());
}

#[tokio::test]
async fn lines_name_documents_up_to_a_limit() {
    let (workspace, db) = changed().await;
    let said = diff(&workspace, &["--documents", "--limit", "5"]).exits(0).stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("{db}.orders:"));
    assert!(lines[1..6].iter().all(|line| ["+ ", "- ", "~ "].iter().any(|sign| line.starts_with(sign))), "{said}");
    assert_eq!((lines[6], lines[7]), ("… 1779 more", ""));
    assert!(lines[8].starts_with("NAMESPACE") && lines[8].ends_with("RESULT"), "{said}");
    let row = lines.iter().find(|line| line.starts_with(&format!("{db}.orders  "))).unwrap();
    assert_eq!(row.split_whitespace().skip(1).collect::<Vec<_>>(), ["49450", "1234", "50", "500", "differs"]);
    let row = lines.iter().find(|line| line.starts_with(&format!("{db}.untouched"))).unwrap();
    assert!(row.ends_with("the same"), "{row}");
    let limited = compared(&workspace, &["--documents", "--limit", "5"]);
    assert_eq!(of(&limited, &format!("{db}.orders"))["documents"].as_array().unwrap().len(), 5);
    assert_eq!(counts(&limited, &format!("{db}.orders")), [49_450, 1234, 50, 500], "all of them count");
}

#[tokio::test]
async fn a_reader_that_stops_is_no_failure() {
    let (workspace, _) = changed().await;
    for (more, code) in [("", 0), ("--json", 0), ("--check", 6)] {
        // The reader is gone before anything is written.
        let script = format!(
            "'{}' diff latest --documents {more} | true; exit ${{PIPESTATUS[0]}}",
            env!("CARGO_BIN_EXE_regrow")
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(workspace.path("")).env("HOME", workspace.path(""));
        let ended = bash.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{more}: {said}");
        assert!(!said.contains("panicked") && said.contains("error") == (code != 0), "{more}: {said}");
    }
}
