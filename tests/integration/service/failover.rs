//! Several services for one repository: one leads; when it is killed another goes on, and one that was paused past its
//! time does nothing any more.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use regrow::format::lease::Lease;
use serde_json::Value;

use super::{DAILY, lead, on_disk, schedule, status, stop};
use crate::capture::{Writer, is_the_oplog, on_disk as repository};
use crate::harness::{self, Options, Workspace};

/// How long after the end of a lease another service has it at the latest.
const TAKEN_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// What the names of drafts begin with in a directory.
const DRAFT: &str = ".tmp-";

async fn lease(workspace: &Workspace) -> Lease {
    repository(workspace).await.lease().await.unwrap().unwrap()
}

/// Returns the payloads of all evidence; what is only being written is none yet.
fn recorded(workspace: &Workspace) -> Vec<Value> {
    let mut recorded = Vec::new();
    let mut folders = vec![workspace.repository().join("evidence")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DRAFT)) {
                continue;
            }
            let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            recorded.push(document["payload"].clone());
        }
    }
    recorded
}

/// Returns the backups that a process has recorded.
fn backups_recorded_by(workspace: &Workspace, process: &str) -> BTreeSet<String> {
    let of_process =
        recorded(workspace).into_iter().filter(|payload| payload["recorded_by"].as_str().unwrap().contains(process));
    of_process.filter_map(|payload| Some(payload["details"]["backup"].as_str()?.to_owned())).collect()
}

/// Returns how many records a process has written.
fn records_by(workspace: &Workspace, process: &str) -> usize {
    let is_by = |payload: &&Value| payload["recorded_by"].as_str().unwrap().contains(process);
    recorded(workspace).iter().filter(is_by).count()
}

/// Returns the ids of all backups.
fn backups(workspace: &Workspace) -> BTreeSet<String> {
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    listed["backups"].as_array().unwrap().iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_goes_on_when_the_leader_is_killed_and_one_that_was_paused_writes_nothing() {
    let servers = harness::own(&Options::default());
    let workspace = on_disk(&servers, &[("daily", &schedule(DAILY, "*/5 * * * * *"))]);
    let client = servers.client().await;
    let mut first = lead(&workspace);
    let mut second = workspace.regrow(["daemon"]).spawn();
    second.wait_until_it_says("standing by");
    let writer = Writer::start(&client, "shop");
    first.wait_until_it_says("backup committed");

    let killed = {
        first.kill();
        lease(&workspace).await
    };
    second.wait_until_it_says("this service leads");
    let taken = lease(&workspace).await;
    assert_eq!((killed.generation, taken.generation), (1, 2));
    let late = taken.acquired_at.duration_since(killed.expires_at);
    assert!(late <= TAKEN_WITHIN, "{late} after the lease had ended");
    second.wait_until_it_says("capture goes on");
    second.wait_until_it_says("backup committed");

    let mut third = workspace.regrow(["daemon"]).spawn();
    third.wait_until_it_says("standing by");
    second.signal("STOP");
    third.wait_until_it_says("this service leads");
    let taken = lease(&workspace).await;
    assert_eq!(taken.generation, 3);
    // Stopped, it writes nothing; whatever is new of it from here on was written after it had lost the lease.
    let by_second = format!("process {}", second.pid());
    let (records, committed) = (records_by(&workspace, &by_second), backups(&workspace));
    second.signal("CONT");
    second.wait_until_it_says("this service no longer leads");
    third.wait_until_it_says("backup committed");
    second.wait_until_it_says("standing by");
    assert_eq!(lease(&workspace).await.generation, 3);

    writer.stop().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let by_third = format!("process {}", third.pid());
    // A backup is committed before it is recorded, and the next one may come at any time.
    let (mut new, mut of_third) = (BTreeSet::new(), BTreeSet::new());
    third.wait_until("the record of each new backup", |_| {
        new = backups(&workspace).difference(&committed).cloned().collect();
        of_third = backups_recorded_by(&workspace, &by_third);
        new.is_subset(&of_third)
    });
    stop(third);
    stop(second);
    assert_eq!(records_by(&workspace, &by_second), records);
    assert!(!new.is_empty(), "the third has recorded {of_third:?}");
    let captured = repository(&workspace).await.captured().await.unwrap();
    assert_eq!((captured.len(), &captured[0].gaps), (1, &vec![]), "capture went on without a gap");
    assert!(is_the_oplog(&workspace, &client).await > 100);
    workspace.run(["verify", "--all"]).exits(0);
    assert_eq!(status(&workspace)["recovery_window"].as_array().unwrap().len(), 1);
}
