//! What the service goes on with by itself.

use super::stage::{DB, SMALL, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_goes_on_with_the_first_backup_of_all() {
    a_service_goes_on_with_what_one_that_was_killed_has_begun(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_goes_on_with_a_backup_that_is_due() {
    a_service_goes_on_with_what_one_that_was_killed_has_begun(true).await;
}

async fn a_service_goes_on_with_what_one_that_was_killed_has_begun(is_due: bool) {
    let stage = Stage::new().await;
    let mut place = stage.workspace();
    place.set("oplog.enabled", false);
    let cron = if is_due { "*/20 * * * * *" } else { "0 0 * * *" };
    let daily = format!("job = \"backup\"\nkind = \"daily\"\ncron = \"{cron}\"\ntimezone = \"UTC\"\ncatch_up = true\n");
    place.write("schedules/daily.toml", daily);
    if is_due {
        // With one that is whole, none is taken out of turn.
        place.run(["backup", "--kind", "weekly"]).exits(0);
    }
    let first = stage.content().await;
    let service = |log: &str| {
        let log = place.path(log);
        place.with_faults(&format!("none,{SMALL}"), &log, &["daemon"]).spawn()
    };
    let mut killed = service("operations");
    place.wait_until(&mut killed, |line| line.contains("read") && line.contains("checkpoints/0003.json"));
    killed.kill();
    let said = killed.wait().stderr;
    assert_eq!(said.contains("outside of the schedules"), !is_due, "{said}");
    let id = place.unfinished();
    place.without_unnoted(&id);
    stage.change().await;

    let mut successor = service("unwatched");
    successor.wait_until_it_says("resuming an interrupted backup");
    successor.wait_until_it_says("backup committed");
    successor.signal("TERM");
    let said = successor.wait().exits(0).stderr;
    assert!(said.contains(&format!("backup committed backup={id}")), "{said}");
    place.run(["verify", "--level", "content"]).exits(0);
    place.run(["restore", &id, "--ns", DB, "--map", "shop=copy", "--confirm", "rs0"]).exits(0);
    stage.is_restored(&first).await;
}
