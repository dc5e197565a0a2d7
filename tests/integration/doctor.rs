//! `regrow doctor`: what is right, what is wrong, and that doing what it says mends it.

use std::fs;

use mongodb::bson::{doc, rawdoc};
use serde_json::Value;

use crate::harness::{self, Servers, Workspace};
use crate::privileges::{add_user, run_command_text, uri_of};

/// Returns the check of this name.
fn check<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let checks = answer["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check is called {name}: {answer:#}"))
}

fn outcome<'a>(answer: &'a Value, name: &str) -> &'a str {
    check(answer, name)["outcome"].as_str().unwrap()
}

/// Returns the names of the checks that found a problem.
fn problems(answer: &Value) -> Vec<&str> {
    let checks = answer["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["outcome"] == "problem").map(|check| check["name"].as_str().unwrap()).collect()
}

fn examined(workspace: &Workspace, arguments: &[&str], code: i32) -> Value {
    let all = ["doctor", "--json"].iter().chain(arguments).copied();
    let answer: Value = workspace.run(all).exits(code).json();
    assert_eq!(answer["ok"], code == 0);
    answer
}

/// A repository with schedules and a backup of one database.
async fn prepared(servers: &Servers, mut workspace: Workspace) -> Workspace {
    let db = harness::unique_database_name();
    servers.client().await.database(&db).collection("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    workspace.set("oplog.slice_interval", "1s");
    let daily = "job = \"backup\"\nkind = \"daily\"\ncron = \"0 2 * * *\"\ntimezone = \"UTC\"\n";
    workspace.write("schedules/daily.toml", daily);
    workspace.run(["init"]).exits(0);
    workspace.run(["backup", "--ns", &db]).exits(0);
    workspace
}

#[tokio::test]
async fn a_marker_is_followed_from_the_source_into_the_repository() {
    let servers = harness::replica_set();
    let workspace = prepared(servers, Workspace::on_s3(servers.uri(), harness::s3())).await;
    let answer = examined(&workspace, &[], 0);
    assert_eq!(outcome(&answer, "capture"), "warning");
    assert!(check(&answer, "capture")["found"].as_str().unwrap().contains("nothing captures now"));

    let mut service = workspace.regrow(["daemon"]).spawn();
    service.wait_until_it_says("this service leads");
    let answer = examined(&workspace, &["--wait", "4m"], 0);
    assert_eq!(outcome(&answer, "capture"), "ok", "{:#}", check(&answer, "capture"));
    for name in
        ["configuration", "identity", "repository", "storage", "signing key", "newest backup", "source", "clocks"]
    {
        assert_eq!(outcome(&answer, name), "ok", "{:#}", check(&answer, name));
    }
    service.signal("TERM");
    service.wait().exits(0);
    // Nothing of the doctor's remains.
    workspace.run(["verify"]).exits(0);
    let said = workspace.run(["doctor", "--wait", "1s"]).exits(0);
    assert!(said.stdout.contains("ok       storage") && !said.stdout.contains('\u{1b}'), "{}", said.stdout);
}

#[tokio::test]
async fn the_line_that_it_asks_for_pins_the_keys_and_an_exchanged_repository_is_refused() {
    let servers = harness::replica_set();
    let workspace = prepared(servers, Workspace::on_disk(servers.uri())).await;
    let second = workspace.run(["keygen", "--signing", "-o", "second.key"]).exits(0).stdout;
    workspace.run(["keys", "--accept", second.trim()]).exits(0);
    let answer = examined(&workspace, &[], 0);
    assert_eq!(outcome(&answer, "trusted keys"), "warning");
    let fix = check(&answer, "trusted keys")["fix"].as_str().unwrap();
    let (_, line) = fix.split_once(": ").unwrap();
    assert!(line.contains(second.trim()), "{line}");
    let config = fs::read_to_string(workspace.config_file()).unwrap();
    workspace.write("regrow.toml", config.replacen("[repository]", &format!("[repository]\n{line}"), 1));
    let answer = examined(&workspace, &[], 0);
    assert_eq!(outcome(&answer, "trusted keys"), "ok", "{:#}", check(&answer, "trusted keys"));

    let other = Workspace::on_disk(servers.uri());
    other.run(["init"]).exits(0);
    let descriptor = "regrow-repository.json";
    fs::copy(other.repository().join(descriptor), workspace.repository().join(descriptor)).unwrap();
    let answer = examined(&workspace, &[], 1);
    assert!(check(&answer, "repository")["found"].as_str().unwrap().contains("was exchanged"));
    assert_eq!(outcome(&answer, "trusted keys"), "skipped");
}

#[tokio::test]
async fn a_capture_in_the_foreground_is_seen_as_well() {
    let servers = harness::replica_set();
    let workspace = prepared(servers, Workspace::on_disk(servers.uri())).await;
    let mut capture = workspace.regrow(["capture"]).spawn();
    capture.wait_until_it_says("captured up to");
    let answer = examined(&workspace, &["--wait", "4m"], 0);
    assert_eq!(outcome(&answer, "capture"), "ok", "{:#}", check(&answer, "capture"));
    // Frozen, it captures nothing, and the marker does not arrive.
    capture.signal("STOP");
    let answer = examined(&workspace, &["--wait", "1s"], 0);
    assert_eq!(outcome(&answer, "capture"), "warning");
    capture.signal("CONT");
    capture.signal("TERM");
    capture.wait().exits(0);
}

#[tokio::test]
async fn what_a_killed_doctor_leaves_is_known_to_verify() {
    let servers = harness::replica_set();
    let workspace = prepared(servers, Workspace::on_disk(servers.uri())).await;
    for name in ["probe-doctor-0123456789abcdef", "probe-doctor-0123456789abcdef-uploaded"] {
        workspace.write(&format!("repository/control/{name}"), "regrow doctor: a marker that is removed again\n");
    }
    workspace.run(["verify"]).exits(0);
    examined(&workspace, &[], 0);
}

#[tokio::test]
async fn every_check_runs_whatever_else_is_wrong() {
    let servers = harness::replica_set();
    let mut workspace = prepared(servers, Workspace::on_disk(servers.uri())).await;
    let other = Workspace::on_disk(servers.uri());
    other.run(["init"]).exits(0);
    fs::copy(other.identity_file(), workspace.identity_file()).unwrap();
    fs::copy(other.path("regrow-signing.key"), workspace.path("regrow-signing.key")).unwrap();
    workspace.write("schedules/daily.toml", "job = \"bakup\"\n");
    workspace.set("drill.mongod", "/nowhere/mongod").set("report.browser", "/nowhere/chromium");
    workspace.set("source.uri", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200");
    let answer = examined(&workspace, &[], 3);
    let expected = ["schedules", "identity", "signing key", "newest backup", "source", "drills", "browser"];
    assert_eq!(problems(&answer), expected);
    assert!(check(&answer, "schedules")["fix"].as_str().unwrap().contains("did you mean 'backup'?"));
    assert_eq!(outcome(&answer, "storage"), "ok");
    assert_eq!(outcome(&answer, "clocks"), "skipped");

    workspace.set("source.urri", "x");
    let answer = examined(&workspace, &[], 3);
    assert_eq!(problems(&answer), ["configuration"]);
    assert!(check(&answer, "configuration")["fix"].as_str().unwrap().contains("did you mean 'uri'?"));
}

#[tokio::test]
async fn a_store_that_is_not_there_is_no_configuration_that_is_wrong_but_one_that_denies_is() {
    let servers = harness::replica_set();
    let mut workspace = prepared(servers, Workspace::on_s3(servers.uri(), harness::s3())).await;
    workspace.set_variable("AWS_SECRET_ACCESS_KEY", "wrong");
    let answer = examined(&workspace, &[], 3);
    assert_eq!(problems(&answer), ["repository", "storage"]);
    workspace.set("repository.endpoint", "http://127.0.0.1:1");
    let answer = examined(&workspace, &[], 1);
    assert_eq!(problems(&answer), ["repository", "storage"]);
}

#[tokio::test]
async fn doing_what_it_says_grants_what_is_missing() {
    let servers = harness::authenticated();
    let client = servers.client().await;
    let (admin, user) = (client.database("admin"), harness::unique_database_name());
    add_user(&admin, &user, rawdoc! { "roles": ["readAnyDatabase"] }).await;
    let uri = uri_of(servers, &user);
    let mut workspace = prepared(servers, Workspace::on_disk(servers.uri())).await;
    workspace.set("source.uri", uri.as_str()).set("drill.target", uri.as_str()).set("drill.allow_source", true);
    let answer = examined(&workspace, &["--to", &uri], 3);
    let names = ["backup privileges", "restore privileges", "drills"];
    // Without a privilege, how far back the oplog reaches is not known either.
    assert_eq!(problems(&answer), ["oplog window", names[0], names[1], names[2]]);
    let found = check(&answer, "backup privileges")["found"].as_str().unwrap();
    assert!(found.contains(&user) && found.contains("getParameter on the cluster"), "{found}");
    for name in names {
        run_command_text(&client, check(&answer, name)["fix"].as_str().unwrap()).await;
    }
    let answer = examined(&workspace, &["--to", &uri], 0);
    for name in names {
        assert_eq!(outcome(&answer, name), "ok");
    }
}

#[tokio::test]
async fn every_kind_of_deployment_is_understood() {
    let standalone = Workspace::on_disk(harness::standalone().uri());
    standalone.run(["init"]).exits(0);
    let answer = examined(&standalone, &[], 0);
    assert!(check(&answer, "source")["found"].as_str().unwrap().contains("it has no oplog"));
    for name in ["replica set", "oplog window"] {
        assert_eq!(outcome(&answer, name), "skipped");
    }

    let mut three = Workspace::on_disk(harness::three_nodes().uri());
    three.set("oplog.slice_interval", "1s");
    three.run(["init"]).exits(0);
    let answer = examined(&three, &[], 0);
    let members = check(&answer, "replica set")["found"].as_str().unwrap();
    assert_eq!((members.matches("PRIMARY").count(), members.matches("SECONDARY").count()), (1, 2), "{members}");
    let clocks = check(&answer, "clocks")["found"].as_str().unwrap();
    assert_eq!(clocks.matches("127.0.0.1").count(), 3, "{clocks}");
}
