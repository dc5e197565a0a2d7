//! After an incident: a backup that is proved, and what can be shown.

use mongodb::bson::doc;
use serde_json::Value;

use super::book::{Chapter, Shell};
use super::shop::Shop;

#[tokio::test]
async fn the_state_that_was_restored_is_proved_and_the_incident_can_be_shown() {
    let chapter = Chapter::open("After the incident");
    let mut shop = Shop::on_disk().await;
    let mongod = shop.servers.hosts()[0].argv[0].clone();
    let folder = shop.workspace.path("drills").to_str().unwrap().to_owned();
    std::fs::create_dir(&folder).unwrap();
    shop.workspace.set("drill.mongod", mongod).set("drill.folder", folder);
    shop.workspace.run(["hold", &shop.backup]).exits(0);
    shop.orders().delete_one(doc! { "_id": 9 }).await.unwrap();
    shop.workspace.run(["restore", &shop.backup, "--replace", "--keep-old", "--confirm", "rs0"]).exits(0);

    let shell = Shell::open(&shop.workspace, "");
    chapter.follow(&shell, &["Is all as it should be", "Clean up", "What can be shown"]);
    let listed: Value = shop.workspace.run(["list", "--json"]).exits(0).json();
    let backups = listed["backups"].as_array().unwrap();
    assert!(backups.len() == 2 && backups.iter().all(|backup| backup["held"] == false), "{listed}");
    assert!(shop.workspace.path("report.html").exists());
}
