//! Killed processes, servers and stores.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::doc;
use regrow::clock::Clock;
use regrow::random::Random;
use regrow::secret::Secret;
use regrow::storage::{S3, S3Credentials, S3Options};

use super::{Writer, agrees, capture_up_to_now, is_the_oplog, quick, repository, start, workspace};
use crate::harness::{self, Options, Topology, Workspace};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_loses_and_repeats_nothing() {
    let (servers, database) = (harness::replica_set(), harness::unique_database_name());
    let (client, workspace) = (servers.client().await, workspace(servers));
    capture_up_to_now(&workspace);
    let writer = Writer::start(&client, &database);
    for moment in [300, 700, 1100, 1300, 1700, 1900, 2300, 900] {
        let mut capture = workspace.regrow(["capture"]).spawn();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        capture.kill();
        capture.wait();
    }
    let written = writer.stop().await;
    capture_up_to_now(&workspace);
    assert!(is_the_oplog(&workspace, &client).await >= usize::try_from(written).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_and_lost_members_leave_no_hole() {
    let servers = harness::own(&Options { topology: Topology::ReplicaSet { nodes: 3 }, ..Options::default() });
    let (client, workspace) = (servers.client().await, workspace(&servers));
    capture_up_to_now(&workspace);
    let writer = Writer::start(&client, "shop");
    let capture = start(&workspace);
    let down = client.database("admin").run_command(doc! { "replSetStepDown": 10, "force": true }).await;
    assert!(down.is_ok(), "{down:?}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    // One after the other, so that the one that is read from is among them.
    for node in 0..3 {
        servers.kill(node);
        tokio::time::sleep(Duration::from_secs(2)).await;
        servers.start_again(node);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    writer.stop().await;
    capture.signal("TERM");
    capture.wait().exits(0);
    capture_up_to_now(&workspace);
    let entries = is_the_oplog(&workspace, &client).await;
    assert!(entries > 100, "{entries}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_waited_for() {
    let servers = harness::own(&Options { s3: true, ..Options::default() });
    let s3 = servers.s3();
    let (client, workspace) = (servers.client().await, quick(Workspace::on_s3(servers.uri(), s3)));
    capture_up_to_now(&workspace);
    let writer = Writer::start(&client, "shop");
    let mut capture = start(&workspace);
    servers.kill_s3();
    capture.wait_until_it_says("wait for the repository, trying again");
    servers.start_s3_again();
    writer.stop().await;
    capture.signal("TERM");
    capture.wait().exits(0);
    capture_up_to_now(&workspace);
    let url = workspace.repository_url();
    let prefix = url.rsplit('/').next().unwrap().to_owned();
    let credentials = S3Credentials {
        access_key_id: s3.access_key.clone(),
        secret_access_key: Secret::new(s3.secret_key.clone()),
        session_token: None,
    };
    let options = S3Options {
        bucket: s3.bucket.clone(),
        prefix,
        region: Some("us-east-1".into()),
        endpoint: Some(s3.endpoint.clone()),
        credentials: Some(credentials),
        ..S3Options::default()
    };
    let store = S3::connect(options, Clock::system(), Random::system()).await.unwrap();
    agrees(&repository(Arc::new(store)).await, &workspace, &client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_captures_one_gives_way() {
    let (servers, database) = (harness::replica_set(), harness::unique_database_name());
    let (client, workspace) = (servers.client().await, workspace(servers));
    capture_up_to_now(&workspace);
    let writer = Writer::start(&client, &database);
    let (one, other) = (workspace.regrow(["capture"]).spawn(), workspace.regrow(["capture"]).spawn());
    let (mut one, mut other) = (one, other);
    let loser = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if !one.is_running() {
            break std::mem::replace(&mut one, other);
        }
        if !other.is_running() {
            break other;
        }
    };
    let said = loser.wait().exits(75).stderr;
    assert!(said.contains("another capture has stored the oplog behind"), "{said}");
    writer.stop().await;
    one.signal("TERM");
    one.wait().exits(0);
    is_the_oplog(&workspace, &client).await;
}
