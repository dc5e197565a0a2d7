//! Drills that are killed at any moment, and what the next one finds.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use super::ground::{Ground, scratch_databases};
use crate::harness;

/// When drills are killed: from before they begin to restore until they are over.
fn moments() -> impl Iterator<Item = Duration> {
    (1..=14).map(|number| Duration::from_millis(number * 90))
}

#[tokio::test]
async fn what_a_killed_drill_leaves_of_its_own_server_the_next_one_removes() {
    let ground = Ground::new().await;
    let mut left = 0;
    for moment in moments() {
        let mut drill = ground.workspace.regrow(["drill", "latest"]).spawn();
        tokio::time::sleep(moment).await;
        drill.kill();
        left += std::fs::read_dir(ground.workspace.path("drills")).unwrap().count();
    }
    assert!(left > 0, "no drill was killed at work");
    // Killed before it could lock what it had made.
    std::fs::create_dir(ground.workspace.path("drills/regrow-drill-unlocked")).unwrap();
    ground.workspace.run(["drill", "latest"]).exits(0);
    ground.is_clean();
}

#[tokio::test]
async fn what_a_killed_drill_leaves_on_a_shared_server_the_next_one_removes_and_no_more() {
    let mut ground = Ground::new().await;
    let target = harness::own(&harness::Options::default());
    ground.restore_to_server(target.uri());
    let client = target.client().await;
    let mut left = 0;
    for moment in moments() {
        let mut drill = ground.workspace.regrow(["drill", "latest"]).spawn();
        tokio::time::sleep(moment / 2).await;
        drill.kill();
        left += scratch_databases(&client).await.len();
    }
    assert!(left > 0, "no drill was killed at work");
    // Somebody else's, on another machine: its beat is young, then old.
    let beat = client.database("regrow_drill_00000001").collection::<Document>("beat");
    beat.insert_one(doc! { "_id": "beat", "by": "elsewhere/1/1", "at": mongodb::bson::DateTime::now() }).await.unwrap();
    client.database("regrow_drill_00000001_shop").collection("a").insert_one(doc! { "_id": 1 }).await.unwrap();
    client.database("regrow_drills").collection("a").insert_one(doc! { "_id": 1 }).await.unwrap();
    ground.workspace.run(["drill", "latest"]).exits(0);
    let mut remain = scratch_databases(&client).await;
    remain.sort();
    assert_eq!(remain, ["regrow_drill_00000001", "regrow_drill_00000001_shop"]);
    let old = mongodb::bson::DateTime::from_millis(mongodb::bson::DateTime::now().timestamp_millis() - 120_000);
    beat.update_one(doc! {}, doc! { "$set": { "at": old } }).await.unwrap();
    ground.workspace.run(["drill", "latest"]).exits(0);
    assert_eq!(scratch_databases(&client).await, Vec::<String>::new());
    assert!(client.list_database_names().await.unwrap().contains(&"regrow_drills".to_owned()), "not a drill's");
}

#[tokio::test]
async fn a_drill_that_is_interrupted_cleans_up_and_says_so() {
    let ground = Ground::new().await;
    let drill = ground.workspace.regrow(["drill", "latest"]).spawn();
    tokio::time::sleep(Duration::from_millis(300)).await;
    drill.signal("INT");
    let run = drill.wait().exits(130);
    assert!(run.stderr.contains("the drill was interrupted"), "{run:?}");
    ground.is_clean();
}
