//! Drills that are killed at any moment, and what the next one finds.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use mongodb::bson::{Document, doc};

use super::ground::{Ground, scratch_databases};
use crate::harness;

/// When drills are killed: from before they begin to restore until they are over, on a machine that is busy, too.
const STEP: Duration = Duration::from_millis(90);
const MOMENTS: u32 = 14;
const MOST_MOMENTS: u32 = 140;

#[tokio::test]
async fn what_a_killed_drill_leaves_of_its_own_server_the_next_one_removes() {
    let ground = Ground::new().await;
    let mut left = 0;
    for number in 1..=MOST_MOMENTS {
        if number > MOMENTS && left > 0 {
            break;
        }
        let mut drill = ground.workspace.regrow(["drill", "latest"]).spawn();
        tokio::time::sleep(number * STEP).await;
        drill.kill();
        left += std::fs::read_dir(ground.workspace.path("drills")).unwrap().count();
    }
    assert!(left > 0, "no drill was killed at work");
    // Killed before it could lock what it had made.
    std::fs::create_dir(ground.workspace.path("drills/regrow-drill-unlocked")).unwrap();
    ground.workspace.run(["drill", "latest"]).exits(0);
    ground.is_clean();
}

/// What is encrypted everywhere else lies open in it.
#[tokio::test]
async fn a_drills_own_server_is_reached_by_nobody_else() {
    let ground = Ground::new().await;
    let mut drill = ground.workspace.regrow(["drill", "latest"]).spawn();
    let (mut folder, mut log) = (PathBuf::new(), String::new());
    drill.wait_until("its server", |_| {
        let found = std::fs::read_dir(ground.workspace.path("drills")).unwrap().next();
        folder = found.map(|folder| folder.unwrap().path()).unwrap_or_default();
        log = std::fs::read_to_string(folder.join("mongod.log")).unwrap_or_default();
        log.contains("Waiting for connections")
    });
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let listening: Vec<&str> = log.lines().filter(|line| line.contains("Listening on")).collect();
    assert_eq!(listening.len(), 1, "{listening:?}");
    assert!(listening[0].contains(folder.join("mongod.sock").to_str().unwrap()), "{listening:?}");
    drill.wait().exits(0);
    ground.is_clean();
}

#[tokio::test]
async fn a_place_that_is_too_long_for_a_socket_is_refused() {
    let mut ground = Ground::new().await;
    let folder = ground.workspace.path(&"long/".repeat(20));
    std::fs::create_dir_all(&folder).unwrap();
    ground.workspace.set("drill.folder", folder.to_str().unwrap());
    let said = ground.workspace.run(["drill", "latest"]).exits(3).stderr;
    assert!(said.contains("no server can listen at") && said.contains("give a shorter drill.folder"), "{said}");
}

#[tokio::test]
async fn what_a_killed_drill_leaves_on_a_shared_server_the_next_one_removes_and_no_more() {
    let mut ground = Ground::new().await;
    let target = harness::own(&harness::Options::default());
    ground.restore_to_server(target.uri());
    let client = target.client().await;
    let mut left = 0;
    for number in 1..=MOST_MOMENTS {
        if number > MOMENTS && left > 0 {
            break;
        }
        let mut drill = ground.workspace.regrow(["drill", "latest"]).spawn();
        tokio::time::sleep(number * STEP / 2).await;
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
    let mut drill = ground.workspace.regrow(["drill", "latest"]).spawn();
    drill.wait_until("its folder", |_| std::fs::read_dir(ground.workspace.path("drills")).unwrap().next().is_some());
    drill.signal("INT");
    let run = drill.wait().exits(130);
    assert!(run.stderr.contains("the drill was interrupted"), "{run:?}");
    ground.is_clean();
}
