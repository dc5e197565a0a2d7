//! What a backup costs others: how fast it reads, when it makes room, whom it reads from, how hard it compresses.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::WriteConcern;
use serde_json::Value;

use crate::harness::{self, Options, Servers, Topology, Workspace};

/// Bytes of documents in each of the two collections.
const COLLECTION_BYTES: usize = 512 * 1024;
const DOCUMENT_BYTES: usize = 8 * 1024;

/// Fills a database of the test's own and returns its name.
async fn fill(servers: &Servers) -> String {
    let db = harness::unique_database_name();
    for name in ["orders", "customers"] {
        let documents = (0..COLLECTION_BYTES / DOCUMENT_BYTES).map(|number| doc! { "text": text(number) });
        servers.client().await.database(&db).collection::<Document>(name).insert_many(documents).await.unwrap();
    }
    db
}

/// Returns a text of its own for each number, in which more is found by looking harder.
fn text(number: usize) -> String {
    const WORDS: [&str; 8] = ["orders ", "shop ", "of ", "customer ", "and ", "paid ", "a ", "backup "];
    let mut text = String::new();
    for place in 0_u32.. {
        if text.len() >= DOCUMENT_BYTES {
            break;
        }
        let hash = regrow::codec::sha256(format!("{number} {place}").as_bytes());
        text.extend(hash.iter().map(|byte| WORDS[usize::from(byte % 8)]));
    }
    text
}

fn initialised(uri: &str) -> Workspace {
    let workspace = Workspace::on_disk(uri);
    workspace.run(["init"]).exits(0);
    workspace
}

fn back_up(workspace: &Workspace, arguments: &[&str]) -> Value {
    workspace.run([&["backup", "--json"], arguments].concat()).exits(0).json()
}

#[tokio::test]
async fn no_more_is_read_in_a_second_than_the_source_allows() {
    const RATE: u64 = 256 * 1024;
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let mut workspace = initialised(servers.uri());
    workspace.set("source.max_rate", "256KiB");
    let backup = back_up(&workspace, &["--ns", &db]);
    let time = |key: &str| backup[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let took = time("finished_at").duration_since(time("started_at")).as_millis();
    let bytes = backup["bytes_raw"].as_u64().unwrap();
    assert!(bytes >= 2 * COLLECTION_BYTES as u64);
    // The last batch of each of two readers, a quarter of a second's bytes, need not have had its time.
    let least = u128::from((bytes - 2 * RATE / 4) * 1000 / RATE);
    assert!(took.unsigned_abs() >= least, "{bytes} bytes in {took} ms, and {least} at the least");
    workspace.run(["verify", "--level", "content"]).exits(0);
}

#[tokio::test]
async fn one_reader_reads_everything_as_several_do() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let mut workspace = initialised(servers.uri());
    let documents = 2 * COLLECTION_BYTES / DOCUMENT_BYTES;
    for readers in [1, 16] {
        workspace.set("source.max_parallel", readers);
        assert_eq!(back_up(&workspace, &["--ns", &db])["documents"], documents, "{readers} readers");
    }
}

#[tokio::test]
async fn the_level_decides_how_much_is_stored_and_the_command_line_counts_for_more() {
    let servers = harness::replica_set();
    let db = fill(servers).await;
    let mut workspace = initialised(servers.uri());
    let stored = |workspace: &Workspace, arguments: &[&str]| {
        back_up(workspace, &[&["--ns", &db], arguments].concat())["bytes_stored"].as_u64().unwrap()
    };
    let default = stored(&workspace, &[]);
    workspace.set("compression.level", 19);
    let (small, fast) = (stored(&workspace, &[]), stored(&workspace, &["--level", "1"]));
    assert!(small < default && small < fast, "{small} with 19, {default} with 3, {fast} with 1");
    workspace.run(["verify", "--level", "content"]).exits(0);
}

#[test]
fn costs_that_make_no_sense_are_refused_before_the_server_is_asked() {
    // Nobody listens there.
    let uri = "mongodb://127.0.0.1:1/?replicaSet=rs0";
    for level in ["0", "20", "-5", "fast"] {
        let refused = initialised(uri).run(["backup", "--level", level]).exits(2);
        assert!(refused.stderr.contains("from 1 (fast) to 19 (small)"), "{}", refused.stderr);
    }
    for (key, value) in [
        ("compression.level", toml::Value::from(20)),
        ("source.max_parallel", 0.into()),
        ("source.max_rate", "1KiB".into()),
        ("source.max_lag", "1ms".into()),
    ] {
        let mut workspace = initialised(uri);
        workspace.set(key, value);
        let refused = workspace.run(["backup"]).exits(3);
        assert!(refused.stderr.contains(key), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    }
}

/// Reads for so long that something happens meanwhile on a busy machine, too: eight seconds.
fn slowly(servers: &Servers) -> Workspace {
    let mut workspace = initialised(servers.uri());
    workspace.set("source.max_rate", "128KiB");
    workspace
}

const WAITING: &str = r#""step":"waiting for the server""#;

#[tokio::test(flavor = "multi_thread")]
async fn reading_pauses_while_operations_wait_on_the_server() {
    const WAITERS: usize = 4;
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let db = fill(&servers).await;
    let client = servers.client().await;
    let mut workspace = slowly(&servers);
    workspace.set("source.max_queue", 2);
    let mut running = workspace.regrow(["backup", "--ns", &db, "--json", "--progress", "json", "-v"]).spawn();
    running.wait_until_it_says(r#""step":"reading""#);

    let locked = harness::unique_database_name();
    client.database(&locked).collection("a").insert_one(doc! { "_id": 1 }).await.unwrap();
    let holder = tokio::spawn(lock(client.clone(), locked.clone()));
    wait_until_locked(&client).await;
    let waiters: Vec<_> = (0..WAITERS).map(|_| tokio::spawn(insert(client.clone(), locked.clone()))).collect();
    running.wait_until_it_says("the server has it hard; reading pauses");
    running.wait_until_it_says(WAITING);
    running.wait_until_it_says("operations queued");
    release(&client).await;
    running.wait_until_it_says("reading goes on");
    let backup: Value = running.wait().exits(0).json();
    assert_eq!(backup["documents"], 2 * COLLECTION_BYTES / DOCUMENT_BYTES);
    holder.await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap();
    }
}

/// Holds a collection's lock until [`release`].
async fn lock(client: Client, db: String) {
    let target = format!("{db}.a");
    let order = doc! { "sleep": 1, "millis": 300_000, "lock": "w", "lockTarget": target };
    // It ends by being killed.
    let _ = client.database("admin").run_command(order).await;
}

/// Waits until the lock is held: only then is anybody held up by it.
async fn wait_until_locked(client: &Client) {
    while holders(client).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn insert(client: Client, db: String) {
    client.database(&db).collection::<Document>("a").insert_one(doc! {}).await.unwrap();
}

async fn release(client: &Client) {
    for holder in holders(client).await {
        client.database("admin").run_command(doc! { "killOp": 1, "op": holder }).await.unwrap();
    }
}

/// Returns the operations that [`lock`] has begun.
async fn holders(client: &Client) -> Vec<Bson> {
    let order = doc! { "currentOp": 1, "command.sleep": 1 };
    let reply = client.database("admin").run_command(order).await.unwrap();
    let operations = reply.get_array("inprog").unwrap();
    operations.iter().map(|operation| operation.as_document().unwrap().get("opid").unwrap().clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_pauses_while_the_majority_is_behind_and_chosen_members_are_read() {
    let servers = harness::own(&Options {
        topology: Topology::ReplicaSet { nodes: 3 },
        parameters: vec!["enableTestCommands=1"],
        ..Options::default()
    });
    let db = fill(&servers).await;
    a_chosen_member_is_read(&servers, &db, secondaries(&servers).await[1]).await;
    // As they are now: whoever changes a set may cause an election.
    let secondaries = secondaries(&servers).await;

    let client = servers.client().await;
    let writing = tokio::spawn(async move {
        loop {
            // Who waited for the majority would not write again while it is behind.
            let collection = client.database("noise").collection("a");
            collection.insert_one(doc! {}).write_concern(WriteConcern::nodes(1)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut workspace = slowly(&servers);
    workspace.set("source.max_lag", "1s");
    let mut running = workspace.regrow(["backup", "--ns", &db, "--json", "--progress", "json", "-v"]).spawn();
    running.wait_until_it_says(r#""step":"reading""#);
    hold_replication(&servers, &secondaries, "alwaysOn").await;
    running.wait_until_it_says("the server has it hard; reading pauses");
    running.wait_until_it_says(WAITING);
    hold_replication(&servers, &secondaries, "off").await;
    running.wait_until_it_says("reading goes on");
    writing.abort();
    let backup: Value = running.wait().exits(0).json();
    assert_eq!(backup["documents"], 2 * COLLECTION_BYTES / DOCUMENT_BYTES);
}

async fn secondaries(servers: &Servers) -> Vec<usize> {
    let primary = servers.primary().await;
    (0..servers.hosts().len()).filter(|node| *node != primary).collect()
}

/// Stops secondaries from applying what the primary does, or lets them go on.
async fn hold_replication(servers: &Servers, secondaries: &[usize], mode: &str) {
    for &node in secondaries {
        let order = doc! { "configureFailPoint": "rsSyncApplyStop", "mode": mode };
        servers.node_client(node).await.database("admin").run_command(order).await.unwrap();
    }
}

/// A hidden member by its address, and a visible one by its tags.
async fn a_chosen_member_is_read(servers: &Servers, db: &str, node: usize) {
    let (admin, address) = (servers.client().await.database("admin"), servers.hosts()[node].address());
    let found = admin.run_command(doc! { "replSetGetConfig": 1 }).await.unwrap();
    let plain = found.get_document("config").unwrap();
    let of_node = |change: &Document, version: i32| {
        let mut config = plain.clone();
        config.insert("version", version);
        for member in config.get_array_mut("members").unwrap() {
            let member = member.as_document_mut().unwrap();
            if member.get_str("host").unwrap() == address {
                member.extend(change.clone());
            }
        }
        config
    };
    let tagged = of_node(&doc! { "tags": { "use": "backup" } }, 1000);
    reconfigure(servers, tagged).await;
    let mut workspace = initialised(servers.uri());
    workspace.set("source.read_tags", toml::Table::from_iter([("use".to_owned(), "backup".into())]));
    let folder = workspace.path("drills");
    std::fs::create_dir(&folder).unwrap();
    workspace.set("drill.mongod", servers.hosts()[0].argv[0].clone());
    workspace.set("drill.folder", folder.to_str().unwrap());
    is_read(servers, &workspace, db, node).await;
    workspace.set("source.read_tags.use", "nothing").set("source.read_preference", "secondary");
    workspace.set("source.uri", format!("{}&serverSelectionTimeoutMS=1000", servers.uri()));
    let refused = workspace.run(["backup", "--ns", db]).exits(1);
    assert!(refused.stderr.contains("source.read_tags"), "{}", refused.stderr);
    let found = workspace.run(["doctor"]);
    assert!(found.code != 0 && found.stdout.contains("source.read_tags"), "{}", found.stdout);

    let hidden = of_node(&doc! { "hidden": true, "priority": 0 }, 2000);
    reconfigure(servers, hidden).await;
    workspace.unset("source.read_tags").unset("source.read_preference").set("source.uri", servers.uri());
    workspace.set("source.member", address.as_str());
    is_read(servers, &workspace, db, node).await;
    let found = workspace.run(["doctor"]).stdout;
    assert!(found.contains(&format!("{address} is the member that backups read")), "{found}");
    let other = harness::standalone().hosts()[0].address();
    workspace.set("source.member", other.as_str());
    let refused = workspace.run(["backup", "--ns", db]).exits(1);
    assert!(refused.stderr.contains("hint: check source.member"), "{}", refused.stderr);
    workspace.set("source.uri", format!("mongodb://{address}"));
    let refused = workspace.run(["backup", "--ns", db]).exits(3);
    assert!(refused.stderr.contains("which is no member of a replica set"), "{}", refused.stderr);
    let back = of_node(&doc! {}, 3000);
    reconfigure(servers, back).await;
}

/// Changes the set, and waits until every member knows.
async fn reconfigure(servers: &Servers, config: Document) {
    let version = config.get_i32("version").unwrap();
    servers.client().await.database("admin").run_command(doc! { "replSetReconfig": config }).await.unwrap();
    for node in 0..servers.hosts().len() {
        let admin = servers.node_client(node).await.database("admin");
        let known = async || {
            let found = admin.run_command(doc! { "replSetGetConfig": 1 }).await.unwrap();
            found.get_document("config").unwrap().get_i32("version").unwrap()
        };
        while known().await < version {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Takes a backup, and asks each member what it has been asked for.
async fn is_read(servers: &Servers, workspace: &Workspace, db: &str, node: usize) {
    for command in [vec!["backup", "--ns", db], vec!["drill", "latest"]] {
        let before = finds(servers, db).await;
        workspace.run(&command).exits(0);
        let after = finds(servers, db).await;
        let read: Vec<usize> = (0..before.len()).filter(|&other| after[other] > before[other]).collect();
        assert_eq!(read, [node], "{command:?}: {before:?} {after:?}");
    }
}

/// Returns how many reads of the collections each member has noted so far, and lets it note them from now on.
async fn finds(servers: &Servers, db: &str) -> Vec<u64> {
    let mut counted = Vec::new();
    for node in 0..servers.hosts().len() {
        let database = servers.node_client(node).await.database(db);
        let order = doc! { "profile": 1, "filter": { "appName": "regrow" } };
        database.run_command(order).await.unwrap();
        let read = doc! { "op": "query", "command.find": { "$in": ["orders", "customers"] } };
        counted.push(database.collection::<Document>("system.profile").count_documents(read).await.unwrap());
    }
    counted
}
