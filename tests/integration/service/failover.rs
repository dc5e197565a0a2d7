//! Several services for one repository: one leads; when it is killed another goes on, and one that was paused past its
//! time does nothing any more.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use regrow::format::lease::Lease;
use serde_json::Value;

use super::{DAILY, lead, on_disk, schedule, status, stop};
use crate::capture::{Writer, is_the_oplog, on_disk as repository};
use crate::harness::{self, Options, Workspace};

/// How long after the end of a lease another service has it at the latest.
const TAKEN_WITHIN: SignedDuration = SignedDuration::from_secs(10);

async fn lease(workspace: &Workspace) -> Lease {
    repository(workspace).await.lease().await.unwrap().unwrap()
}

/// Returns who recorded each backup, and when.
fn recorded(workspace: &Workspace) -> Vec<(String, Timestamp)> {
    let mut recorded = Vec::new();
    let mut folders = vec![workspace.repository().join("evidence")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            let payload = &document["payload"];
            let text = |field: &str| payload[field].as_str().unwrap().to_owned();
            recorded.push((text("recorded_by"), text("recorded_at").parse().unwrap()));
        }
    }
    recorded
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
    second.signal("CONT");
    second.wait_until_it_says("this service no longer leads");
    third.wait_until_it_says("backup committed");
    let by_second = format!("process {}", second.pid());
    let later: Vec<_> = recorded(&workspace)
        .into_iter()
        .filter(|(who, at)| who.contains(&by_second) && *at >= taken.acquired_at)
        .collect();
    assert!(later.is_empty(), "{later:?}");
    second.wait_until_it_says("standing by");
    assert_eq!(lease(&workspace).await.generation, 3);

    writer.stop().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop(third);
    stop(second);
    let captured = repository(&workspace).await.captured().await.unwrap();
    assert_eq!((captured.len(), &captured[0].gaps), (1, &vec![]), "capture went on without a gap");
    assert!(is_the_oplog(&workspace, &client).await > 100);
    workspace.run(["verify", "--all"]).exits(0);
    assert_eq!(status(&workspace)["recovery_window"].as_array().unwrap().len(), 1);
}
