//! The harness's own promises: that the servers are what they claim to be, and end when they should.

use std::path::Path;
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::{Document, doc};

use crate::harness::{self, Options, S3, Topology, Workspace};

async fn command(client: &Client, command: Document) -> mongodb::error::Result<Document> {
    client.database("admin").run_command(command).await
}

#[tokio::test]
async fn a_single_node_is_primary_and_reads_snapshots() {
    let servers = harness::replica_set();
    let client = servers.client().await;
    let hello = command(&client, doc! { "hello": 1 }).await.unwrap();
    assert!(hello.get_bool("isWritablePrimary").unwrap());
    assert_eq!(hello.get_str("setName").unwrap(), "rs0");

    let collection = harness::unique_database_name();
    client.database("test").collection(&collection).insert_one(doc! { "_id": 1 }).await.unwrap();
    let find = doc! { "find": &collection, "readConcern": { "level": "snapshot" } };
    let found = client.database("test").run_command(find).await.unwrap();
    assert!(found.get_document("cursor").unwrap().contains_key("atClusterTime"));
}

#[tokio::test]
async fn three_nodes_are_a_primary_and_two_secondaries() {
    let servers = harness::three_nodes();
    let primary = servers.primary().await;
    for node in 0..3 {
        let hello = command(&servers.node_client(node).await, doc! { "hello": 1 }).await.unwrap();
        assert_eq!(hello.get_bool("isWritablePrimary").unwrap(), node == primary);
        assert_eq!(hello.get_bool("secondary").unwrap(), node != primary);
    }
}

#[tokio::test]
async fn access_control_refuses_the_anonymous() {
    let servers = harness::authenticated();
    let anonymous = Client::with_uri_str(servers.anonymous_uri(0)).await.unwrap();
    let refusal = anonymous.list_database_names().await.unwrap_err();
    assert!(refusal.to_string().contains("requires authentication"), "{refusal}");
    assert!(servers.client().await.list_database_names().await.unwrap().contains(&"admin".to_owned()));
}

#[tokio::test]
async fn a_standalone_server_has_no_oplog() {
    let client = harness::standalone().client().await;
    let hello = command(&client, doc! { "hello": 1 }).await.unwrap();
    assert!(!hello.contains_key("setName"));
    assert!(client.database("local").list_collection_names().await.unwrap().iter().all(|name| name != "oplog.rs"));
}

#[tokio::test]
async fn s3_creates_an_object_once_and_checks_who_asks() {
    let s3 = harness::s3();
    let key = harness::unique_database_name();
    let create = |client: aws_sdk_s3::Client| {
        let request = client.put_object().bucket(&s3.bucket).key(&key).body("content".as_bytes().to_vec().into());
        request.if_none_match("*").send()
    };
    create(s3.client()).await.unwrap();
    assert_eq!(create(s3.client()).await.unwrap_err().raw_response().unwrap().status().as_u16(), 412);

    let get = |client: aws_sdk_s3::Client| client.get_object().bucket(&s3.bucket).key(&key).send();
    let content = get(s3.client()).await.unwrap().body.collect().await.unwrap();
    assert_eq!(content.into_bytes(), "content");
    let stranger = S3 {
        endpoint: s3.endpoint.clone(),
        bucket: s3.bucket.clone(),
        access_key: s3.access_key.clone(),
        secret_key: "wrong".to_owned(),
        directory: None,
    };
    assert_eq!(get(stranger.client()).await.unwrap_err().raw_response().unwrap().status().as_u16(), 403);
}

#[tokio::test]
async fn a_node_can_be_killed_paused_stopped_and_started_again() {
    let servers = harness::own(&Options { parameters: vec!["ttlMonitorSleepSecs=7"], ..Options::default() });
    let client = servers.client().await;
    let parameter = command(&client, doc! { "getParameter": 1, "ttlMonitorSleepSecs": 1 }).await.unwrap();
    assert_eq!(parameter.get_i32("ttlMonitorSleepSecs").unwrap(), 7);

    let collection = client.database("test").collection(&harness::unique_database_name());
    collection.insert_one(doc! { "_id": 1 }).await.unwrap();
    servers.kill(0);
    assert_ne!(servers.start_again(0), servers.hosts()[0].pid);
    servers.stop(0);
    servers.start_again(0);
    servers.pause(0);
    let counted = tokio::time::timeout(Duration::from_millis(300), collection.count_documents(doc! {})).await;
    assert!(counted.is_err(), "a paused server answers nobody");
    servers.resume(0);
    assert_eq!(collection.count_documents(doc! {}).await.unwrap(), 1);
}

#[tokio::test]
async fn another_node_becomes_primary_when_the_primary_is_killed() {
    let servers = harness::own(&Options { topology: Topology::ReplicaSet { nodes: 3 }, ..Options::default() });
    let lost = servers.primary().await;
    servers.kill(lost);
    servers.client().await.database("test").collection("a").insert_one(doc! { "_id": 1 }).await.unwrap();
    assert_ne!(servers.primary().await, lost);
}

#[test]
fn dropping_own_servers_leaves_nothing() {
    let servers = harness::own(&Options { s3: true, ..Options::default() });
    let process = format!("/proc/{}", servers.hosts()[0].pid);
    let folder = servers.hosts()[0].dbpath.parent().unwrap().to_owned();
    let objects = servers.s3().directory.clone().unwrap();
    assert!(Path::new(&process).exists() && objects.starts_with(&folder));

    let begin = Instant::now();
    drop(servers);
    assert!(!Path::new(&process).exists() && !folder.exists());
    assert!(begin.elapsed() < Duration::from_secs(5), "stopping is quick");
}

#[test]
fn what_cannot_be_started_says_why() {
    let start = || harness::own(&Options { parameters: vec!["nonsense=1"], ..Options::default() });
    let panic = std::panic::catch_unwind(start).err().expect("mongod refuses the parameter");
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("Unknown --setParameter 'nonsense'"), "{text}");
}

#[test]
fn a_workspace_runs_the_binary_with_its_configuration() {
    let mut workspace = Workspace::on_disk("mongodb://127.0.0.1");
    workspace.set("oplog.slice_interval", "1s").set("tiers.critical.rpo", "15m");
    let config: toml::Table = std::fs::read_to_string(workspace.config_file()).unwrap().parse().unwrap();
    assert_eq!(config["source"]["uri"].as_str(), Some("mongodb://127.0.0.1"));
    assert_eq!(config["tiers"]["critical"]["rpo"].as_str(), Some("15m"));
    assert_eq!(config["encryption"]["recipients"][0].as_str(), Some(workspace.recipient()));
    assert!(workspace.repository_url().starts_with("file:///"));

    let identities = age::IdentityFile::from_file(workspace.identity_file().to_str().unwrap().to_owned()).unwrap();
    assert_eq!(identities.into_identities().unwrap().len(), 1);
    workspace.regrow(["--help"]).env("NO_COLOR", "1").stdin("y\n").run().exits(0);
}

#[test]
fn a_workspace_on_s3_names_its_own_place() {
    let [first, second] = [(); 2].map(|()| Workspace::on_s3("mongodb://127.0.0.1", harness::s3()));
    assert_ne!(first.repository_url(), second.repository_url());
    let config = std::fs::read_to_string(first.config_file()).unwrap();
    assert!(config.contains(&harness::s3().endpoint) && config.contains(S3::REGION));
    assert!(!config.contains(&harness::s3().secret_key), "credentials come from the environment");
}
