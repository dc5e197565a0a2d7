//! A real run: a real server and a real S3 store, schedules of some seconds, and real receivers of what is said.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use serde_json::Value;

use super::{DAILY, lead, prepared, schedule, status, stop};
use crate::capture::Writer;
use crate::harness::{self, MailServer, Options, Receiver, Workspace};

fn table(entries: &[(&str, toml::Value)]) -> toml::Value {
    let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    toml::Value::Table(entries.collect())
}

/// Returns what the receiver was told of an alert: the events, in order.
fn told(receiver: &Receiver, key: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let notices = receiver.received().into_iter().map(|request| request.json());
    let about = notices.filter(|notice| notice["key"] == key);
    about.map(|notice| (text(&notice["event"]), text(&notice["severity"]))).collect()
}

fn evidence(workspace: &Workspace, kind: &str) -> usize {
    let status = status(workspace);
    let jobs = status["jobs"].as_array().unwrap();
    jobs.iter().filter(|job| job["job"] == kind && !job["last_success"].is_null()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_capture_verification_and_expiry_happen_and_people_are_told() {
    let servers = harness::own(&Options { s3: true, ..Options::default() });
    let (receiver, heart, mails) = (Receiver::start(), Receiver::start(), MailServer::start());
    let schedules = [
        ("daily", schedule(DAILY, "*/4 * * * * *")),
        ("verify", schedule("job = \"verify\"", "*/7 * * * * *")),
        ("expire", schedule("job = \"expire\"", "*/5 * * * * *")),
    ];
    let schedules = schedules.each_ref().map(|(name, content)| (*name, content.as_str()));
    let mut workspace = prepared(Workspace::on_s3(servers.uri(), servers.s3()), &schedules);
    workspace.set("retention.daily", 2).set("retention.oplog", "1h").set("server.listen", "127.0.0.1:0");
    workspace.set("tiers.critical.rpo", "12s").set("tiers.critical.rto", "1h");
    let workload = [("name", "orders".into()), ("namespaces", vec!["shop.orders"].into()), ("tier", "critical".into())];
    workspace.set("workloads", vec![table(&workload)]).set("notify.settle", "1s");
    workspace.set("notify.webhook", vec![table(&[("url", receiver.url("/hook").into())])]);
    let mail =
        [("server", mails.url().into()), ("from", "regrow@example.com".into()), ("to", vec!["ops@example.com"].into())];
    workspace.set("notify.email", vec![table(&mail)]);
    workspace.set("notify.heartbeat.url", heart.url("/ping")).set("notify.heartbeat.interval", "1s");

    let client = servers.client().await;
    let mut service = lead(&workspace);
    let writer = Writer::start(&client, "shop");
    for job in ["backup-daily", "verify", "expire"] {
        service.wait_until(job, |_| evidence(&workspace, job) == 1);
    }
    service.wait_until("a heartbeat", |_| !heart.received().is_empty());
    service.wait_until("an expiry", |_| {
        let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
        listed["backups"].as_array().unwrap().iter().any(|backup| backup["state"] == "expired")
    });
    assert!(heart.received().iter().all(|request| request.path == "/ping"));

    // Nothing can be captured while the server stands still: what could be lost grows past the objective.
    servers.pause(0);
    let is_raised = |told: &[(String, String)]| told.iter().any(|(_, severity)| severity == "critical");
    service.wait_until("a critical alert", |_| is_raised(&told(&receiver, "exposure/orders")));
    let beats = heart.received().len();
    servers.resume(0);
    service.wait_until("its recovery", |_| {
        told(&receiver, "exposure/orders").last().is_some_and(|(event, _)| event == "recovered")
    });
    service.wait_until("the mail about it", |_| {
        mails
            .mails()
            .iter()
            .any(|mail| mail.header("Subject").contains("orders is") && mail.header("Subject").contains("behind"))
    });
    service.wait_until("a heartbeat again", |_| heart.received().len() > beats);

    let written = writer.stop().await;
    // What is written is captured a moment later.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let said = stop(service);
    assert!(said.contains("backup committed") && said.contains("retention applied"), "{said}");
    assert!(!said.contains(servers.s3().secret_key.as_str()), "secrets are in no log");
    workspace.run(["verify", "--all"]).exits(0);
    let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
    let window = listed["recovery_window"].as_array().unwrap();
    assert_eq!(window.len(), 1, "nothing was lost: {window:?}");
    let end = format!("{},{}", window[0]["end"]["t"], window[0]["end"]["i"]);
    workspace.run(["restore", "--at", &end, "--ns", "shop", "--map", "shop=again", "--confirm", "rs0"]).exits(0);
    let count = async |database: &str| {
        client.database(database).collection::<Document>("orders").count_documents(doc! {}).await.unwrap()
    };
    let (source, restored) = (count("shop").await, count("again").await);
    assert!(source > 100 && source <= u64::try_from(written).unwrap(), "{source} of {written}");
    assert_eq!(restored, source, "what is restored is all that was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daily_backups_are_increments_where_the_configuration_says_so() {
    let servers = harness::own(&Options::default());
    let mut workspace = prepared(Workspace::on_disk(servers.uri()), &[("daily", &schedule(DAILY, "*/4 * * * * *"))]);
    workspace.set("backup.incremental", true).set("backup.largest_increment", 100);
    let client = servers.client().await;
    client.database("shop").collection("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    let mut service = lead(&workspace);
    let backups = || workspace.run(["list", "--json"]).exits(0).json::<Value>()["backups"].as_array().unwrap().clone();
    service.wait_until("an increment", |_| backups().iter().any(|backup| backup["parent"].is_string()));
    let said = stop(service);
    assert!(said.contains("a full backup instead of an increment"), "the first builds on nothing: {said}");
    assert_eq!(backups().last().unwrap()["parent"], Value::Null);
}
