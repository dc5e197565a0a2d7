//! What the service proves by itself: drills and reports on schedule, and a new backup where one was found damaged.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{DAILY, lead, on_disk, problems, schedule, status, stop};
use crate::damage::every_object::files;
use crate::harness::{self, Options, Workspace};

/// Longer than anything here takes on a loaded machine.
const LIMIT: Duration = Duration::from_mins(3);

/// Waits until something is in the repository, and returns it.
fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(begin.elapsed() < LIMIT, "{what} never came to be");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Returns the first record of a kind, if there is one.
fn record(workspace: &Workspace, kind: &str) -> Option<Value> {
    let root = workspace.repository();
    let key =
        files(&root).into_iter().find(|key| key.starts_with("evidence/") && key.contains(&format!("-{kind}-")))?;
    serde_json::from_slice(&fs::read(root.join(key)).ok()?).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drills_are_carried_out_and_reports_written_by_schedule() {
    let servers = harness::own(&Options::default());
    let schedules = [
        ("daily", schedule(DAILY, "0 2 * * *")),
        ("drill", schedule("job = \"drill\"", "*/6 * * * * *")),
        ("report", schedule("job = \"report\"", "*/8 * * * * *")),
    ];
    let schedules = schedules.each_ref().map(|(name, content)| (*name, content.as_str()));
    let mut workspace = on_disk(&servers, &schedules);
    let refused = workspace.run(["daemon", "--check"]).exits(3);
    assert!(refused.stderr.contains("drill.toml schedules drills: the configuration has no [drill]"), "{refused:?}");
    let folder = workspace.path("drills");
    fs::create_dir(&folder).unwrap();
    let mongod = servers.hosts()[0].argv[0].clone();
    workspace.set("drill.mongod", mongod).set("drill.folder", folder.to_str().unwrap());
    let service = lead(&workspace);
    let drill = wait_for("a drill", || record(&workspace, "drill"));
    assert_eq!(drill["payload"]["details"]["result"]["passed"], true, "{drill}");
    let report = wait_for("a report", || record(&workspace, "report"));
    let stored = report["payload"]["details"]["files"].as_array().unwrap();
    let endings: Vec<&str> = stored.iter().filter_map(|file| file["key"].as_str()?.rsplit('.').next()).collect();
    assert_eq!(endings, ["html", "pdf", "json", "md", "csv"]);
    let said = stop(service);
    assert!(said.contains("a drill was carried out") && said.contains("a report was written"), "{said}");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "a drill left something");
    workspace.run(["verify"]).exits(0);
    let shown = status(&workspace);
    assert_eq!(shown["drills"][0]["passed"], true, "{shown}");
    assert!(shown["backups_kept"][0]["drilled_at"].is_string(), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daily_backup_that_is_found_damaged_is_taken_anew() {
    let servers = harness::own(&Options::default());
    let schedules =
        [("daily", schedule(DAILY, "0 2 * * *")), ("verify", schedule("job = \"verify\"", "*/3 * * * * *"))];
    let schedules = schedules.each_ref().map(|(name, content)| (*name, content.as_str()));
    let workspace = on_disk(&servers, &schedules);
    // An older one, from which the oplog would lead on as well.
    workspace.run(["backup", "--kind", "daily"]).exits(0);
    let newest = workspace.run(["backup", "--kind", "daily"]).exits(0).stdout.trim().to_owned();
    let pack: PathBuf = workspace.repository().join(format!("backups/{newest}/catalog.age"));
    let mut content = fs::read(&pack).unwrap();
    content[30] ^= 1;
    fs::write(&pack, content).unwrap();
    let service = lead(&workspace);
    let backups = || {
        let listed: Value = workspace.run(["list", "--json"]).exits(0).json();
        listed["backups"].as_array().unwrap().len()
    };
    wait_for("a new backup", || (backups() == 3).then_some(()));
    // Once is enough.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(backups(), 3);
    stop(service);
    assert!(problems(&status(&workspace)).contains(&format!("damage/{newest}")), "it is still told");
}
