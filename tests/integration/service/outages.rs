//! What the service does when what it needs is away, when it is told to stop or to read its configuration again, and
//! what it answers to those who ask.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use serde_json::Value;

use super::{DAILY, lead, on_disk, prepared, problems, schedule, status, stop};
use crate::capture::histories::roll_over;
use crate::capture::{Writer, is_the_oplog, on_disk as repository};
use crate::harness::{self, Options, Running, Topology, Workspace};

/// How long the service takes at most to end.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

fn said_times(service: &Running, text: &str) -> usize {
    service.stderr().matches(text).count()
}

/// Waits until the service has said something more often than before.
fn wait_for_more(service: &mut Running, text: &str, before: usize) {
    let begin = Instant::now();
    while said_times(service, text) <= before {
        assert!(begin.elapsed() < Duration::from_mins(3) && service.is_running(), "{}", service.stderr());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_and_a_server_that_were_away_are_caught_up_with() {
    let servers = harness::own(&Options { s3: true, ..Options::default() });
    let daily = schedule(DAILY, "*/6 * * * * *");
    let workspace = prepared(Workspace::on_s3(servers.uri(), servers.s3()), &[("daily", &daily)]);
    let client = servers.client().await;
    let mut service = lead(&workspace);
    service.wait_until_it_says("backup committed");
    let writer = Writer::start(&client, "shop");

    servers.kill_s3();
    service.wait_until_it_says("capture waits");
    servers.start_s3_again();
    let before = said_times(&service, "backup committed");
    wait_for_more(&mut service, "backup committed", before);

    servers.kill(0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    servers.start_again(0);
    let before = said_times(&service, "backup committed");
    wait_for_more(&mut service, "backup committed", before);
    tokio::time::sleep(Duration::from_secs(2)).await;
    writer.stop().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop(service);
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(listed["gaps"], serde_json::json!([]));
    assert_eq!(listed["recovery_window"].as_array().unwrap().len(), 1, "{listed}");
    workspace.run(["verify", "--all"]).exits(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_gap_a_backup_is_taken_at_once() {
    let servers = harness::own(&Options { oplog_megabytes: 8, checkpoint_seconds: 1, ..Options::default() });
    let workspace = on_disk(&servers, &[("daily", &schedule(DAILY, "0 2 * * *"))]);
    let client = servers.client().await;
    let mut service = lead(&workspace);
    service.wait_until_it_says("taking a backup outside of the schedules");
    service.wait_until_it_says("backup committed");
    stop(service);
    let blocks = client.database("shop").collection::<Document>("blocks");
    roll_over(&client, &blocks).await;
    let mut service = lead(&workspace);
    service.wait_until_it_says("oplog is lost");
    service.wait_until_it_says("taking a backup outside of the schedules");
    service.wait_until_it_says("backup committed");
    blocks.insert_one(doc! { "_id": "after" }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop(service);
    let status = status(&workspace);
    assert_eq!(status["recovery_window"].as_array().unwrap().len(), 2, "{status}");
    assert!(!problems(&status).iter().any(|key| key.starts_with("gap")), "the backup closed it: {status}");
    let evidence = walk(&workspace.repository().join("evidence"));
    assert!(evidence.iter().any(|name| name.contains("-gap-")), "{evidence:?}");
}

/// Capture reads a secondary that makes it wait, and a backup takes its time: one that did not wait for capture would be of a moment
/// from which no oplog leads on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_backup_is_not_ahead_of_a_capture_that_begins_slowly() {
    let parameters = vec!["enableTestCommands=1"];
    let servers =
        harness::own(&Options { topology: Topology::ReplicaSet { nodes: 3 }, parameters, ..Options::default() });
    let mut workspace = on_disk(&servers, &[("daily", &schedule(DAILY, "0 2 * * *"))]);
    workspace.set("source.read_preference", "primary").set("oplog.read_preference", "secondary");
    let (client, primary) = (servers.client().await, servers.primary().await);
    let blocks = client.database("shop").collection::<Document>("blocks");
    blocks.insert_many((0..60).map(|number| doc! { "_id": number, "text": "x".repeat(100_000) })).await.unwrap();
    let mut held = Vec::new();
    for node in 0..3 {
        let member = servers.node_client(node).await;
        // More of a collection than fits into one answer is asked for when the backup's moment has been chosen.
        let (command, seconds) = if node == primary { ("getMore", 6) } else { ("find", 3) };
        harness::fail_point::hold(&member, command, 0, Duration::from_secs(seconds)).await;
        held.push(member);
    }
    let writer = Writer::start(&client, "shop");
    let mut service = lead(&workspace);
    service.wait_until_it_says("backup committed");
    for member in &held {
        harness::fail_point::let_go(member).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop(service);
    writer.stop().await;
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    let [range] = listed["recovery_window"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    let oldest = listed["backups"].as_array().unwrap().last().unwrap();
    assert_eq!(range["begin"], oldest["cluster_time"], "{listed}");
    assert!(range["begin"]["t"].as_u64() < range["end"]["t"].as_u64(), "the oplog leads on from it: {listed}");
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }).collect()
}

/// A record of the captured oplog that is altered is told, and everything else goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_of_the_oplog_stops_nothing_else() {
    let servers = harness::replica_set();
    let workspace = on_disk(servers, &[("daily", &schedule(DAILY, "*/5 * * * * *"))]);
    workspace.run(["backup"]).exits(0);
    workspace.run(["capture", "--once"]).exits(0);
    let timeline = walk(&workspace.repository().join("oplog")).into_iter().find(|name| name.ends_with("timeline.json"));
    let timeline = timeline.expect("a timeline was begun");
    let altered = std::fs::read_to_string(&timeline).unwrap().replace("it is the first one", "it was the first one");
    std::fs::write(&timeline, altered).unwrap();
    assert!(problems(&status(&workspace)).contains(&"damage/oplog".to_owned()));
    let mut service = lead(&workspace);
    service.wait_until_it_says("backup committed");
    service.wait_until_it_says("timeline.json cannot be read");
    stop(service);
    let said = workspace.run(["status", "--check"]).exits(5);
    assert!(said.stdout.contains("altered or forged"), "{}", said.stdout);
}

/// A termination in the middle of a backup: it ends in time, leaves no half backup, and the next service does it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_ends_in_time_and_the_next_one_does_what_was_begun() {
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let workspace = on_disk(&servers, &[("daily", &schedule(DAILY, "*/3 * * * * *"))]);
    let client = servers.client().await;
    let orders = client.database("shop").collection::<Document>("orders");
    orders.insert_many((0..1000).map(|number| doc! { "_id": number })).await.unwrap();
    let mut service = lead(&workspace);
    service.wait_until_it_says("backup committed");
    let before = harness::fail_point::hold(&client, "find", 0, Duration::from_secs(20)).await;
    harness::fail_point::wait_until_held(&client, before).await;
    let begin = Instant::now();
    let said = stop(service);
    assert!(begin.elapsed() < STOPS_WITHIN, "{:?}\n{said}", begin.elapsed());
    harness::fail_point::let_go(&client).await;
    let leftovers: Value = workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(leftovers["leftovers"], serde_json::json!([]), "nothing half is left");
    let mut service = lead(&workspace);
    service.wait_until_it_says("backup committed");
    stop(service);
    assert!(is_the_oplog(&workspace, &client).await > 0);
    assert!(repository(&workspace).await.lease().await.unwrap().unwrap().released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_is_taken_over_when_it_is_right_and_only_then() {
    let servers = harness::replica_set();
    let mut workspace = on_disk(servers, &[("daily", &schedule(DAILY, "0 2 * * *"))]);
    let mut service = lead(&workspace);
    service.wait_until_it_says("backup committed");
    workspace.write("schedules/verify.toml", schedule("job = \"verify\"", "*/61 * * * * *"));
    service.signal("HUP");
    service.wait_until_it_says("the configuration is wrong; the one before stays in force");
    assert!(service.stderr().contains("verify.toml, line 2"), "{}", service.stderr());
    workspace.write("schedules/verify.toml", schedule("job = \"verify\"", "*/2 * * * * *"));
    service.signal("HUP");
    service.wait_until_it_says("the configuration was read again");
    service.wait_until_it_says("everything stored is as it was written");
    workspace.set("repository.url", "file:///elsewhere");
    service.signal("HUP");
    service.wait_until_it_says("what was changed takes effect only after a restart");
    assert!(service.stderr().contains("part=\"[repository]\""), "{}", service.stderr());
    let before = said_times(&service, "everything stored is as it was written");
    wait_for_more(&mut service, "everything stored is as it was written", before);
    stop(service);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_and_health_are_answered_to_those_who_may_ask() {
    let servers = harness::replica_set();
    let mut workspace = on_disk(servers, &[("daily", &schedule(DAILY, "0 2 * * *"))]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    workspace.set("server.listen", format!("127.0.0.1:{port}")).set("server.token", "sesame");
    let mut service = lead(&workspace);
    service.wait_until_it_says("backup committed");
    let client = reqwest::Client::new();
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let get = async |path: &str, token: Option<&str>| {
        let request = client.get(url(path));
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let begin = Instant::now();
    while get("/readyz", None).await.0 != 200 {
        assert!(begin.elapsed() < Duration::from_mins(1), "{}", service.stderr());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(get("/healthz", None).await.0, 200);
    assert_eq!((get("/metrics", None).await.0, get("/metrics", Some("sesam")).await.0), (401, 401));
    assert_eq!((get("/api/v1/status", None).await.0, get("/nowhere", None).await.0), (401, 404));
    // What is stored is counted once somebody has looked.
    for expected in ["regrow_leader 1.0", "regrow_capture_running 1.0", "regrow_backups{kind=\"daily\"} 1.0", "# EOF"] {
        loop {
            let (code, metrics) = get("/metrics", Some("sesame")).await;
            assert_eq!(code, 200);
            if metrics.contains(expected) {
                break;
            }
            assert!(begin.elapsed() < Duration::from_mins(2), "{expected}\n{metrics}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let (code, body) = get("/api/v1/status", Some("sesame")).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &body["backups"]["daily"]["count"]), (200, &Value::from(1)));
    assert_eq!(client.post(url("/metrics")).send().await.unwrap().status().as_u16(), 405);
    assert!(!service.stderr().contains("sesame"), "secrets are in no log");
    // Somebody who captures or expires by hand beside it is told.
    let refused = workspace.run(["capture"]).exits(75).stderr;
    assert!(refused.contains("captures the oplog already"), "{refused}");
    workspace.set("retention.daily", 7);
    workspace.run(["expire"]).exits(75);
    stop(service);
}
