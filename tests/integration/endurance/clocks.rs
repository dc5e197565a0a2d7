//! A service whose clock is wrong, or is set while it runs: nothing expires or is lost, nothing is taken twice for one time, and
//! everybody is told.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mongodb::Client;
use serde_json::Value;

use super::hashes;
use crate::capture::Writer;
use crate::damage::every_object::files;
use crate::harness::{self, Options, Run, Running, Workspace};

const DAY: i32 = 24;
const MONTH: i32 = 24 * 30;

/// Longer than anything here takes on a loaded machine.
const LIMIT: Duration = Duration::from_mins(3);

/// A repository, and services on it whose clocks are wrong.
struct Place {
    workspace: Workspace,
}

impl Place {
    fn new(uri: &str) -> Self {
        let mut workspace = Workspace::on_disk(uri);
        workspace.set("oplog.slice_interval", "1s").set("retention.daily", 2).set("retention.oplog", "1h");
        let schedule =
            |job: &str, cron: &str| format!("{job}\ncron = \"{cron}\"\ntimezone = \"UTC\"\ncatch_up = true\n");
        let daily = schedule("job = \"backup\"\nkind = \"daily\"", "0 2 * * *");
        workspace.write("schedules/daily.toml", daily);
        workspace.write("schedules/expire.toml", schedule("job = \"expire\"", "*/3 * * * * *"));
        workspace.run(["init"]).exits(0);
        Self { workspace }
    }

    /// Runs a command on a clock that is so many hours ahead, or behind.
    fn run_at(&self, hours: i32, arguments: &[&str]) -> Run {
        let log = self.workspace.path("operations");
        self.workspace.with_faults(&format!("none,ahead={hours}"), &log, arguments).run()
    }

    /// Starts a service whose clock is right, until [`put_clock`](Self::put_clock) sets it.
    fn lead(&self) -> Running {
        self.put_clock(0);
        let plan = format!("none,hours={}", self.hours().display());
        let mut service = self.workspace.with_faults(&plan, &self.workspace.path("operations"), &["daemon"]).spawn();
        service.wait_until_it_says("this service leads");
        service
    }

    /// Sets the clock of the service that runs.
    fn put_clock(&self, hours: i32) {
        std::fs::write(self.hours(), hours.to_string()).unwrap();
    }

    fn hours(&self) -> PathBuf {
        self.workspace.path("hours")
    }

    /// Starts a service on such a clock, and waits until it leads.
    fn lead_at(&self, hours: i32) -> Running {
        let log = self.workspace.path("operations of the service");
        let mut service = self.workspace.with_faults(&format!("none,ahead={hours}"), &log, &["daemon"]).spawn();
        service.wait_until_it_says("this service leads");
        service
    }

    fn backups(&self) -> BTreeSet<String> {
        let listed: Value = self.workspace.run(["list", "--json"]).exits(0).json();
        let backups = listed["backups"].as_array().unwrap();
        assert!(backups.iter().all(|backup| backup["state"] != "expired"), "{listed}");
        backups.iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
    }

    fn window_begin(&self) -> Value {
        self.window()["begin"].clone()
    }

    fn window_end(&self) -> u64 {
        self.window()["end"]["t"].as_u64().unwrap()
    }

    /// Returns the one range of the recovery window: the moment of a backup that was just taken stands beside it until the
    /// capture has come so far.
    fn window(&self) -> Value {
        let begin = Instant::now();
        loop {
            let listed: Value = self.workspace.run(["list", "--json"]).exits(0).json();
            match &listed["recovery_window"].as_array().unwrap()[..] {
                [window] => return window.clone(),
                _ => assert!(begin.elapsed() < LIMIT, "the window has a hole: {listed}"),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Checks that every moment since `begin` is there, and that the newest restores to what there is now.
    async fn has_lost_nothing(&self, client: &Client, begin: &Value, when: &str) {
        self.workspace.run(["capture", "--once"]).exits(0);
        assert_eq!(self.window_begin(), *begin, "{when}not a moment is lost");
        self.workspace.run(["verify"]).exits(0);
        let restore = ["restore", "--at", "latest", "--ns", "shop", "--map", "shop.*=again.*", "--confirm", "rs0"];
        self.workspace.run(restore).exits(0);
        assert_eq!(hashes(&client.database("again")).await, hashes(&client.database("shop")).await);
    }

    /// Whether somebody whose clock is so many hours ahead is told that a clock is wrong.
    fn is_told(&self, hours: i32) -> bool {
        let status: Value = self.run_at(hours, &["status", "--json"]).exits(0).json();
        status["problems"].as_array().unwrap().iter().any(|problem| problem["key"] == "clock")
    }
}

/// Returns what a service says of an expiry.
fn expiry(is_behind: bool) -> &'static str {
    if is_behind { "nothing expires: the clock is behind" } else { "retention applied" }
}

fn stop(service: Running) -> String {
    service.signal("TERM");
    service.wait().exits(0).stderr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_clock_is_a_day_behind_or_ahead_and_is_put_right_loses_nothing() {
    for hours in [-DAY, DAY] {
        let servers = harness::own(&Options::default());
        let (client, place) = (servers.client().await, Place::new(servers.uri()));
        let writer = Writer::start(&client, "shop");
        let mut service = place.lead_at(0);
        service.wait_until_it_says("backup committed");
        stop(service);
        let (first, begin) = (place.backups(), place.window_begin());

        let mut service = place.lead_at(hours);
        service.wait_until_it_says(expiry(hours < 0));
        if hours > 0 {
            service.wait_until_it_says("backup committed");
        }
        stop(service);
        let then = place.backups();
        assert!(first.is_subset(&then), "{hours} h: {first:?}, {then:?}");
        assert!(then.len() <= first.len() + 1, "{hours} h: one time has passed: {then:?}");
        assert!(place.is_told(hours.min(0)), "{hours} h: whoever is behind what is stored is told");

        let mut service = place.lead_at(0);
        service.wait_until_it_says("capture goes on");
        service.wait_until_it_says(expiry(hours > 0));
        stop(service);
        assert_eq!(place.backups(), then, "{hours} h: none is taken twice for one time");
        writer.stop().await;
        place.has_lost_nothing(&client, &begin, &format!("{hours} h: ")).await;
        println!("{hours} h: {} backups before, {} then, none lost", first.len(), then.len());
    }
}

/// Forth and back, a day and a month, beside a writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_clock_jumps_while_it_runs_goes_on_and_loses_nothing() {
    let servers = harness::own(&Options::default());
    let (client, mut place) = (servers.client().await, Place::new(servers.uri()));
    // More than will be taken: whatever goes, goes by a clock.
    place.workspace.set("retention.daily", 9);
    let writer = Writer::start(&client, "shop");
    let mut service = place.lead();
    service.wait_until_it_says("backup committed");
    service.wait_until_it_says("retention applied");
    let begin = place.window_begin();
    for hours in [DAY, 0, -DAY, 0, MONTH, 0] {
        let (before, said) = (place.backups(), service.stderr().len());
        place.put_clock(hours);
        // An expiry each three seconds, by whichever clock; one that has begun before may say something yet.
        service.wait_until("a later expiry", |service| {
            let since = service.stderr()[said..].to_owned();
            since.matches("retention applied").count() + since.matches("nothing expires").count() >= 3
        });
        if hours > 0 {
            service.wait_until("the backup of the day", |_| place.backups().len() > before.len());
        }
        let (then, end) = (place.backups(), place.window_end());
        assert!(before.is_subset(&then), "{hours} h: {before:?}, {then:?}");
        service.wait_until("capture going on", |_| place.window_end() > end);
    }
    let said = stop(service);
    assert_eq!(said.matches("this service leads").count(), 1, "it led all the time: {said}");
    let begun = said.lines().filter(|line| line.contains("job=\"backup-daily\""));
    let due: Vec<&str> = begun.filter_map(|line| line.split(' ').find(|word| word.starts_with("due="))).collect();
    assert!(due.len() >= 2 && due.iter().collect::<BTreeSet<_>>().len() == due.len(), "none is taken twice: {due:?}");
    writer.stop().await;
    place.has_lost_nothing(&client, &begin, "all jumps: ").await;
}

/// By a clock that is further ahead than what has expired can be brought back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_too_early_by_a_clock_that_is_a_month_ahead() {
    let servers = harness::own(&Options::default());
    let (client, place) = (servers.client().await, Place::new(servers.uri()));
    let writer = Writer::start(&client, "shop");
    for _ in 0..3 {
        place.workspace.run(["backup", "--kind", "daily"]).exits(0);
        place.workspace.run(["capture", "--once"]).exits(0);
    }
    let expired: Value = place.workspace.run(["expire", "--json"]).exits(0).json();
    assert_eq!((&expired["expired"].as_array().unwrap().len(), &expired["held_back_to"]), (&1, &Value::Null));
    let (begin, stored) = (place.window_begin(), files(&place.workspace.repository()));

    let mut service = place.lead_at(0);
    service.wait_until_it_says("retention applied");
    stop(service);
    let by_hand = place.run_at(MONTH, &["expire"]).exits(0);
    assert!(by_hand.stderr.contains("note: ") && by_hand.stderr.contains("more would go"), "{}", by_hand.stderr);
    let mut service = place.lead_at(MONTH);
    service.wait_until_it_says("more would go");
    service.wait_until_it_says("backup committed");
    service.wait_until_it_says("retention applied");
    stop(service);
    writer.stop().await;

    let now = files(&place.workspace.repository());
    let gone = stored.iter().filter(|key| !key.starts_with("control/") && !now.contains(*key));
    assert_eq!(gone.collect::<Vec<_>>(), [""; 0]);
    place.workspace.run(["capture", "--once"]).exits(0);
    assert_eq!(place.window_begin(), begin);
    place.workspace.run(["verify"]).exits(0);
}

/// Its lease then ends a day later, by everybody else's clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_was_killed_while_its_clock_was_ahead_is_succeeded_all_the_same() {
    let servers = harness::own(&Options::default());
    let place = Place::new(servers.uri());
    let mut service = place.lead_at(DAY);
    service.wait_until_it_says("backup committed");
    service.kill();
    service.wait();
    assert!(place.is_told(0), "its clock was wrong");
    let mut service = place.workspace.regrow(["daemon"]).spawn();
    service.wait_until_it_says("standing by");
    service.wait_until("another leader", |service| service.stderr().contains("this service leads"));
    stop(service);
}
