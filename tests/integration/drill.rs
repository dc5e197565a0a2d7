//! Drills: on real servers, healthy and broken ones, killed at any moment, and never at the source's expense.

mod altered;
mod ground;
mod killed;

use std::fs;

use mongodb::bson::{DateTime, Document, doc};
use serde_json::Value;

use crate::harness;
use ground::{Ground, scratch_databases};

/// Returns how a check ended.
fn outcome<'a>(drill: &'a Value, name: &str) -> &'a str {
    let checks = drill["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no check {name}: {drill}"))["outcome"].as_str().unwrap()
}

#[tokio::test]
async fn a_healthy_backup_passes_in_a_server_of_the_drills_own_and_the_source_is_only_read() {
    let ground = Ground::new().await;
    let before = ground.writes_at_the_source().await;
    let drill: Value = ground.workspace.run(["drill", "latest", "--json"]).exits(0).json();
    assert_eq!((&drill["passed"], &drill["backup"]), (&Value::Bool(true), &Value::from(ground.backup.as_str())));
    for name in ["namespaces", "options", "indexes", "documents", "source", "validate"] {
        assert_eq!(outcome(&drill, name), "passed", "{drill}");
    }
    assert_eq!(drill["documents"], ground.documents, "{drill}");
    assert!(drill["recovered_to"]["t"].as_u64().unwrap() > 0 && drill["seconds"].as_f64().unwrap() > 0.0, "{drill}");
    for phase in ["find", "fetch", "load", "indexes", "check"] {
        assert!(drill["phases"][phase].is_number(), "{phase}: {drill}");
    }
    assert_eq!(ground.writes_at_the_source().await, before, "the source was written to");
    ground.is_clean();
    let evidence = fs::read_to_string(ground.workspace.repository().join(drill["evidence"].as_str().unwrap())).unwrap();
    assert!(evidence.contains("\"kind\":\"drill\"") && evidence.contains("\"passed\":true"), "{evidence}");
    assert!(!evidence.contains("orders") && !evidence.contains(&ground.db), "names in evidence: {evidence}");
    let shown: Value = ground.workspace.run(["show", "latest", "--json"]).exits(0).json();
    assert!(shown["drilled_at"].is_string(), "{shown}");
}

#[tokio::test]
async fn any_moment_is_restored_and_the_newest_is_held_against_the_source() {
    let ground = Ground::new().await;
    let capture = ground.capture().await;
    let any: Value = ground.workspace.run(["drill", "--json"]).exits(0).json();
    assert_eq!(any["passed"], true, "{any}");
    ground.write_and_wait_for_capture().await;
    let newest: Value = ground.workspace.run(["drill", "--at", "latest", "--json"]).exits(0).json();
    assert_eq!((&newest["passed"], outcome(&newest, "source")), (&Value::Bool(true), "passed"), "{newest}");
    assert!(newest["replay_entries"].as_u64().unwrap() > 0 && newest["phases"]["replay"].is_number(), "{newest}");
    drop(capture);
    ground.is_clean();
}

#[tokio::test]
async fn scratch_databases_of_a_shared_server_come_and_go_and_nothing_that_has_expired_is_deleted_meanwhile() {
    let mut ground = Ground::new().await;
    let target = harness::own(&harness::Options::default());
    let client = target.client().await;
    // The target's own data bears the same names.
    let own = client.database(&ground.db).collection::<Document>("orders");
    own.insert_one(doc! { "_id": "the target's own" }).await.unwrap();
    client.database("admin").run_command(doc! { "setParameter": 1, "ttlMonitorSleepSecs": 1 }).await.unwrap();
    ground.restore_to_server(target.uri());
    let drill: Value = ground.workspace.run(["drill", "latest", "--json"]).exits(0).json();
    assert_eq!((&drill["passed"], outcome(&drill, "documents")), (&Value::Bool(true), "passed"), "{drill}");
    assert_eq!(own.count_documents(doc! {}).await.unwrap(), 1);
    assert_eq!(scratch_databases(&client).await, Vec::<String>::new());
    let status = client.database("admin").run_command(doc! { "serverStatus": 1 }).await.unwrap();
    let deleted = status.get_document("metrics").unwrap().get_document("ttl").unwrap().get_i64("deletedDocuments");
    assert_eq!(deleted.unwrap(), 0, "what had expired was deleted while the drill looked");
}

#[tokio::test]
async fn the_source_is_refused_as_a_target_unless_it_is_allowed() {
    let mut ground = Ground::new().await;
    let uri = ground.source.uri().to_owned();
    ground.restore_to_server(&uri);
    let refused = ground.workspace.run(["drill", "latest"]).exits(7);
    assert!(refused.stderr.contains("is the source of the backup"), "{refused:?}");
    assert!(refused.stderr.contains("hint: point drill.target at another server"), "{refused:?}");
    assert_eq!(scratch_databases(&ground.source.client().await).await, Vec::<String>::new());
    ground.workspace.set("drill.allow_source", true);
    ground.workspace.run(["drill", "latest"]).exits(0);
    assert_eq!(scratch_databases(&ground.source.client().await).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_team_asks_its_own_questions() {
    let mut ground = Ground::new().await;
    let namespace = format!("{}.orders", ground.db);
    let lookup = r#"[{"$lookup": {"from": "customers", "localField": "customer", "foreignField": "_id", "as": "c"}},
                     {"$match": {"c": []}}]"#;
    let checks = [
        ("enough", "", "min = 100", true),
        ("not so many", "", "max = 5", false),
        ("exactly", "filter = '{\"customer\": 1}'", "exactly = 50", true),
        ("none without customer", &format!("pipeline = '''{lookup}'''"), "max = 0", true),
        ("recent", "", "newest = \"at\", within = \"1h\"", true),
        ("very recent", "", "newest = \"old\", within = \"1h\"", false),
    ];
    let text = |(name, query, expect, _): &(&str, &str, &str, bool)| {
        format!("[[drill.checks]]\nname = \"{name}\"\nnamespace = \"{namespace}\"\n{query}\nexpect = {{ {expect} }}\n")
    };
    let text: String = checks.iter().map(text).collect();
    let parsed: toml::Table = text.parse().unwrap();
    ground.workspace.set("drill.checks", parsed["drill"]["checks"].clone());
    let run = ground.workspace.run(["drill", "latest", "--json"]).exits(5);
    assert!(run.stderr.contains("the drill did not pass: 2 of 12 checks (not so many, very recent)"), "{run:?}");
    let drill: Value = run.json();
    for (name, _, _, passes) in checks {
        assert_eq!(outcome(&drill, name) == "passed", passes, "{name}: {drill}");
    }
    ground.workspace.set("drill.checks", toml::Value::Array(Vec::new()));
    ground.workspace.set("drill.target", "mongodb://127.0.0.1:1");
    let both = ground.workspace.run(["drill"]).exits(3);
    assert!(both.stderr.contains("names a target and a mongod"), "{both:?}");
}

#[tokio::test]
async fn a_restore_that_somebody_needed_is_recorded() {
    let ground = Ground::new().await;
    let target = harness::own(&harness::Options::default());
    let restore = ["restore", "latest", "--to", target.uri(), "--confirm", "rs0"];
    ground.workspace.run(restore).exits(0);
    ground.workspace.run(restore).exits(7);
    let records = ground.evidence("restore");
    assert_eq!(records.len(), 1, "what was refused before it began is no restore: {records:?}");
    let result = &records[0]["payload"]["details"]["result"];
    assert_eq!((&result["backup"], &result["problem"]), (&Value::from(ground.backup.as_str()), &Value::Null));
    assert_eq!((&result["everything"], &result["documents"]), (&Value::Bool(true), &Value::from(ground.documents)));
    fs::remove_file(ground.workspace.path("regrow-signing.key")).unwrap();
    let other = harness::own(&harness::Options::default());
    let run = ground.workspace.run(["restore", "latest", "--to", other.uri(), "--confirm", "rs0"]).exits(0);
    assert!(run.stderr.contains("is not recorded as evidence"), "{run:?}");
}

/// Returns a moment that has long passed.
fn long_ago() -> DateTime {
    DateTime::from_millis(1_000_000_000_000)
}

/// A name that is as long as its database lets it be is longer than a scratch database does.
#[tokio::test]
async fn names_that_are_too_long_in_scratch_databases_are_drilled_all_the_same() {
    let source = harness::own(&harness::Options::default());
    let shop = source.client().await.database("s");
    let name = |beginning: &str, bytes: usize| format!("{beginning}={}", "n".repeat(bytes - beginning.len() - 1));
    let (plain, series) = (name("plain", 253), name("series", 238));
    shop.collection(&plain).insert_many((0..50).map(|number| doc! { "_id": number, "a": number })).await.unwrap();
    let index = doc! { "createIndexes": &plain, "indexes": [{ "key": { "a": 1 }, "name": "a" }] };
    shop.run_command(index).await.unwrap();
    shop.run_command(doc! { "create": &series, "timeseries": { "timeField": "at" } }).await.unwrap();
    shop.collection(&series).insert_one(doc! { "at": DateTime::now() }).await.unwrap();
    shop.collection("long_0").insert_one(doc! { "_id": 1 }).await.unwrap();
    let target = harness::own(&harness::Options::default());
    let mut workspace = harness::Workspace::on_disk(source.uri());
    workspace.set("drill.target", target.uri());
    workspace.run(["init"]).exits(0);
    workspace.run(["capture", "--once"]).exits(0);
    workspace.run(["backup"]).exits(0);
    shop.collection(&plain).insert_one(doc! { "_id": "later", "a": 0 }).await.unwrap();
    workspace.run(["capture", "--once"]).exits(0);
    for what in [&["latest"][..], &["--at", "latest"]] {
        let drill: Value = workspace.run([&["drill", "--json"], what].concat()).exits(0).json();
        assert_eq!((&drill["passed"], &drill["namespaces"]), (&Value::Bool(true), &Value::from(3)), "{drill}");
        for check in ["namespaces", "options", "indexes", "documents", "source"] {
            assert_eq!(outcome(&drill, check), "passed", "{drill}");
        }
    }
    assert_eq!(scratch_databases(&target.client().await).await, Vec::<String>::new());
}
