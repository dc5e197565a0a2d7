//! What is wrong with a configuration or a schedule is said before anything begins.

use super::{DAILY, on_disk, schedule};
use crate::harness;

#[test]
fn each_mistake_is_one_error_that_names_file_line_and_the_nearest_right_thing() {
    let daily = schedule(DAILY, "0 2 * * *");
    let change = |from: &str, to: &str| daily.replace(from, to);
    let workspace = on_disk(harness::replica_set(), &[("daily", &daily)]);
    workspace.run(["daemon", "--check"]).exits(0);
    for (content, said, hint) in [
        (
            change("0 2 *", "0 25 *"),
            "daily.toml, line 3: '0 25 * * *' is no cron expression: the hour '25'",
            "five fields",
        ),
        (
            change("Nairobi", "Nairoby"),
            "daily.toml, line 4: the time zone 'Africa/Nairoby' is not known",
            "'Africa/Nairobi'",
        ),
        (change("catch_up", "catchup"), "daily.toml, line 5: unknown field `catchup`", "did you mean 'catch_up'?"),
        (change("daily", "dayly"), "daily.toml, line 2", "did you mean 'daily'?"),
    ] {
        workspace.write("schedules/daily.toml", &content);
        for arguments in [&["daemon", "--check"][..], &["daemon"]] {
            let refused = workspace.run(arguments).exits(3).stderr;
            assert!(refused.contains(said) && refused.contains(hint), "{refused}");
            assert_eq!(refused.matches("error:").count(), 1, "{refused}");
        }
    }
    workspace.write("schedules/daily.toml", &daily);
    workspace.write("schedules/nightly.toml", &daily);
    let refused = workspace.run(["daemon", "--check"]).exits(3).stderr;
    assert!(refused.contains("nightly.toml: the daily backup is scheduled by daily.toml already"), "{refused}");
    std::fs::remove_dir_all(workspace.path("schedules")).unwrap();
    let refused = workspace.run(["daemon", "--check"]).exits(3).stderr;
    assert!(refused.contains("cannot read") && refused.contains("schedules"), "{refused}");
}

#[test]
fn what_a_service_needs_is_checked_before_it_begins() {
    let mut workspace = on_disk(harness::replica_set(), &[("daily", &schedule(DAILY, "0 2 * * *"))]);
    workspace.write("schedules/expire.toml", schedule("job = \"expire\"", "0 5 * * *"));
    let refused = workspace.run(["daemon", "--check"]).exits(3).stderr;
    assert!(
        refused.contains("expire.toml schedules the expiry, and the configuration has no [retention]"),
        "{refused}"
    );
    workspace.set("retention.daily", 7).set("server.listen", "0.0.0.0:8787");
    let refused = workspace.run(["daemon", "--check"]).exits(3).stderr;
    assert!(refused.contains("server.listen is 0.0.0.0:8787") && refused.contains("server.token"), "{refused}");
    workspace.set("server.token", "env:REGROW_TOKEN");
    let refused = workspace.run(["daemon", "--check"]).exits(3).stderr;
    assert!(refused.contains("server.token names the environment variable REGROW_TOKEN"), "{refused}");
    workspace.set_variable("REGROW_TOKEN", "sesame").set("notify.heartbeat.url", "ftp://example.com");
    let refused = workspace.run(["daemon", "--check"]).exits(3).stderr;
    assert!(refused.contains("notify.heartbeat.url"), "{refused}");
    workspace.set("notify.heartbeat.url", "http://127.0.0.1:9/x");
    let checked = workspace.run(["daemon", "--check"]).exits(0);
    assert!(checked.stdout.contains("backup-daily") && checked.stdout.contains("0 2 * * *"), "{}", checked.stdout);
    assert!(checked.stderr.contains("there are no [[workloads]]"), "{}", checked.stderr);
    let checked: serde_json::Value = workspace.run(["daemon", "--check", "--json"]).exits(0).json();
    assert_eq!(checked["schedules"][1]["job"], "expire");
    std::fs::remove_file(workspace.path("regrow-signing.key")).unwrap();
    workspace.run(["daemon", "--check"]).exits(3);
}
