//! Holding the program in the middle of its work: the server lets some of its commands wait.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};

/// Lets `command` through `skip` times from now on and then blocks it; the program's alone. Returns what
/// [`wait_until_held`] wants to know. The server needs the parameter `enableTestCommands=1`.
pub async fn hold(client: &Client, command: &str, skip: i32, duration: Duration) -> i64 {
    let milliseconds = i64::try_from(duration.as_millis()).unwrap();
    let data = doc! {
        "failCommands": [command], "appName": "regrow", "blockConnection": true, "blockTimeMS": milliseconds,
    };
    let mode = if skip == 0 { Bson::from("alwaysOn") } else { Bson::from(doc! { "skip": skip }) };
    let order = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
    let reply = client.database("admin").run_command(order).await.unwrap();
    number(&reply, "count")
}

/// Lets `command` of the program fail, after `skip` times that it does not. The server needs the parameter
/// `enableTestCommands=1`.
pub async fn fail(client: &Client, command: &str, skip: i32) {
    const OPERATION_FAILED: i32 = 96;
    let data = doc! { "failCommands": [command], "appName": "regrow", "errorCode": OPERATION_FAILED };
    let order = doc! { "configureFailPoint": "failCommand", "mode": { "skip": skip }, "data": data };
    client.database("admin").run_command(order).await.unwrap();
}

/// Lets `command` of the program fail with this code, so often. The server needs the parameter `enableTestCommands=1`.
pub async fn fail_with(client: &Client, command: &str, code: i32, times: i32) {
    let data = doc! { "failCommands": [command], "appName": "regrow", "errorCode": code };
    let order = doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
    client.database("admin").run_command(order).await.unwrap();
}

/// Waits until somebody is held.
pub async fn wait_until_held(client: &Client, before: i64) {
    let order = doc! { "waitForFailPoint": "failCommand", "timesEntered": before + 1, "maxTimeMS": 60_000 };
    client.database("admin").run_command(order).await.unwrap();
}

/// Holds nobody any more; waits for those who are held.
pub async fn let_go(client: &Client) {
    let order = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    client.database("admin").run_command(order).await.unwrap();
}

fn number(reply: &Document, key: &str) -> i64 {
    reply.get_i64(key).or_else(|_| reply.get_i32(key).map(i64::from)).unwrap()
}
