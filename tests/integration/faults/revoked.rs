//! A user that loses its rights in the middle.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Binary, Document, doc, spec::BinarySubtype};

use crate::harness::{self, Options, Run, Servers, Workspace, fail_point};

/// Time enough to take rights away.
const HELD: Duration = Duration::from_secs(2);

const USER: &str = "team";

/// A server with access control, a user who may do what Regrow does, and some data.
struct Ground {
    servers: Servers,
    client: Client,
    workspace: Workspace,
}

impl Ground {
    async fn new() -> Self {
        let options = Options { authentication: true, parameters: vec!["enableTestCommands=1"], ..Options::default() };
        let servers = harness::own(&options);
        let client = servers.client().await;
        let orders = client.database("shop").collection::<Document>("orders");
        let noise = Binary { subtype: BinarySubtype::Generic, bytes: vec![7; 40_000] };
        for batch in 0..6 {
            let documents = (0..100).map(|number| doc! { "_id": batch * 100 + number, "noise": noise.clone() });
            orders.insert_many(documents).await.unwrap();
        }
        let uri = servers.anonymous_uri(0).replace("mongodb://", &format!("mongodb://{USER}:secret@"));
        let mut workspace = Workspace::on_disk(&uri);
        workspace.set("oplog.slice_interval", "1s");
        let ground = Self { servers, client, workspace };
        ground.grant().await;
        ground.workspace.run(["init"]).exits(0);
        ground
    }

    async fn grant(&self) {
        let roles = vec!["backup", "restore", "clusterMonitor", "readWriteAnyDatabase"];
        let create = doc! { "createUser": USER, "pwd": "secret", "roles": roles };
        self.client.database("admin").run_command(create).await.unwrap();
    }

    async fn revoke(&self) {
        self.client.database("admin").run_command(doc! { "dropUser": USER }).await.unwrap();
    }

    /// Runs the program until the server holds one of its commands, takes its rights away, and lets it go on.
    async fn revoked_in_the_middle(&self, arguments: &[&str], command: &str, skip: i32) -> Run {
        let before = fail_point::hold(&self.client, command, skip, HELD).await;
        let running = self.workspace.regrow(arguments).spawn();
        fail_point::wait_until_held(&self.client, before).await;
        self.revoke().await;
        fail_point::let_go(&self.client).await;
        let run = tokio::task::spawn_blocking(|| running.wait()).await.unwrap();
        let lines: Vec<&str> = run.stderr.lines().filter(|line| !line.contains(" WARN ")).collect();
        assert!(run.code == 3 && lines.iter().any(|line| line.starts_with("hint: ")), "{run:?}");
        self.grant().await;
        run
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_are_lost_in_the_middle_are_named_and_nothing_is_half_done() {
    let ground = Ground::new().await;
    let run = ground.revoked_in_the_middle(&["backup", "--ns", "shop"], "getMore", 0).await;
    assert!(run.stderr.contains("error: cannot "), "{run:?}");
    let listed: serde_json::Value = ground.workspace.run(["list", "--json"]).exits(0).json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 0);
    ground.workspace.run(["backup", "--ns", "shop"]).exits(0);

    ground.workspace.run(["capture", "--once"]).exits(0);
    ground.revoked_in_the_middle(&["capture"], "getMore", 3).await;
    ground.workspace.run(["capture", "--once"]).exits(0);

    let restore = ["restore", "latest", "--map", "shop=copy", "--confirm", "rs0"];
    let run = ground.revoked_in_the_middle(&restore, "insert", 3).await;
    // What was begun cannot be taken back without rights either; it is when they are there again.
    let unfinished: serde_json::Value = ground.workspace.run(["restore", "--unfinished", "--json"]).exits(0).json();
    let unfinished = unfinished["restores"].as_array().unwrap().clone();
    assert_eq!(unfinished.len(), 1, "{run:?}");
    let id = unfinished[0]["restore"].as_str().unwrap();
    assert!(run.stderr.contains(&format!("--undo {id}")), "{run:?}");
    ground.workspace.run(["restore", "--undo", id, "--confirm", "rs0"]).exits(0);
    let left = ground.client.database("copy").list_collection_names().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    ground.workspace.run(restore).exits(0);
    ground.workspace.run(["diff", "latest", "--map", "shop=copy", "--check"]).exits(0);
    drop(ground.servers);
}
