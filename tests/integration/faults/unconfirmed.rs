//! A write that the majority has not confirmed may be rolled back; the driver hands such an answer on as a success.

use mongodb::Client;
use mongodb::bson::{Document, doc};

use crate::harness::{self, Options, fail_point};
use crate::incident::stage::Stage;

/// The server's code for a primary that stepped down while a write waited for the majority.
const PRIMARY_STEPPED_DOWN: i32 = 189;
/// The server's code for a set that can never confirm it.
const UNSATISFIABLE: i32 = 100;

/// Lets the server carry `command` out and say, so many times, that the majority has not confirmed it.
async fn leave_unconfirmed(client: &Client, command: &str, code: i32, times: i32) {
    let unconfirmed = doc! { "code": code, "errmsg": "the majority is away" };
    let data = doc! { "failCommands": [command], "appName": "regrow", "writeConcernError": unconfirmed };
    let order: Document = doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
    client.database("admin").run_command(order).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_the_majority_has_not_confirmed_is_not_believed() {
    let servers = harness::own(&Options { parameters: vec!["enableTestCommands=1"], ..Options::default() });
    let stage = Stage::new(&servers).await;
    let target = format!("{}_copy", stage.db);
    let map = format!("{}={target}", stage.db);
    let restore = || stage.workspace.run(["restore", &stage.backup, "--map", &map, "--confirm", "rs0"]);
    let database = stage.client.database(&target);
    for command in ["create", "insert", "createIndexes", "collMod"] {
        leave_unconfirmed(&stage.client, command, UNSATISFIABLE, 1000).await;
        let run = restore().exits(1);
        fail_point::let_go(&stage.client).await;
        let said = "the majority has not confirmed it: the majority is away\nhint: check that most members";
        assert!(run.stderr.contains(said), "{command}: {run:?}");
        let mut left = database.list_collection_names().await.unwrap();
        // The server's own, which the last view leaves.
        left.retain(|name| name != "system.views");
        assert!(left.is_empty(), "{command}: {left:?}");
    }
    // An election is over soon, and what can be sent again is.
    for command in ["insert", "createIndexes", "collMod"] {
        leave_unconfirmed(&stage.client, command, PRIMARY_STEPPED_DOWN, 1).await;
        restore().exits(0);
        fail_point::let_go(&stage.client).await;
        database.drop().await.unwrap();
    }
}
