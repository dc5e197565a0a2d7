//! The service: what it does by itself, when, and what becomes of it when things fail.

mod configuration;
mod evidence;
mod failover;
mod fence;
mod manager;
mod outages;
mod proof;
mod run;
mod year;

use serde_json::Value;

use crate::harness::{Running, Servers, Workspace};

/// A workspace with a repository on the disk, whose service has these schedules: each a name and a file's content.
fn on_disk(servers: &Servers, schedules: &[(&str, &str)]) -> Workspace {
    prepared(Workspace::on_disk(servers.uri()), schedules)
}

fn prepared(mut workspace: Workspace, schedules: &[(&str, &str)]) -> Workspace {
    workspace.set("oplog.slice_interval", "1s");
    for (name, content) in schedules {
        workspace.write(&format!("schedules/{name}.toml"), content);
    }
    workspace.run(["init"]).exits(0);
    workspace
}

/// Returns the content of a schedule that makes up for what it missed.
fn schedule(job: &str, cron: &str) -> String {
    format!("{job}\ncron = \"{cron}\"\ntimezone = \"Africa/Nairobi\"\ncatch_up = true\n")
}

const DAILY: &str = "job = \"backup\"\nkind = \"daily\"";

/// Starts a service and waits until it leads.
fn lead(workspace: &Workspace) -> Running {
    let mut service = workspace.regrow(["daemon"]).spawn();
    service.wait_until_it_says("this service leads");
    service
}

fn stop(service: Running) -> String {
    service.signal("TERM");
    service.wait().exits(0).stderr
}

fn status(workspace: &Workspace) -> Value {
    workspace.run(["status", "--json"]).exits(0).json()
}

/// Returns the keys of what is wrong.
fn problems(status: &Value) -> Vec<String> {
    let problems = status["problems"].as_array().unwrap();
    problems.iter().map(|alert| alert["key"].as_str().unwrap().to_owned()).collect()
}
