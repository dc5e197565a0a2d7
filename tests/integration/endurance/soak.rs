//! A capture that goes on and on beside writers: it takes no more memory than at its beginning, and loses nothing.

use std::time::{Duration, Instant};

use super::memory::{mebibytes, resident};
use super::{hashes, initialised};
use crate::capture::Writer;
use crate::harness::{self, Options};

/// How often memory is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// Until every buffer has been used once.
const WARM_UP: u32 = 4;

/// What is measured by: all of it takes a quarter longer, for the warm-up.
fn duration() -> Duration {
    let minutes = std::env::var("REGROW_SOAK_MINUTES").ok().map(|minutes| minutes.parse().unwrap());
    match minutes.or_else(|| harness::takes_long().then_some(60)) {
        Some(minutes) => Duration::from_mins(minutes),
        None => Duration::from_secs(16),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_takes_no_more_memory_the_longer_it_runs_and_loses_nothing() {
    let servers = harness::own(&Options::default());
    let client = servers.client().await;
    let mut workspace = initialised(servers.uri());
    workspace.set("oplog.slice_interval", "1s");
    workspace.run(["backup"]).exits(0);
    let mut capture = workspace.regrow(["capture"]).spawn();
    let writers = ["north", "south"].map(|db| Writer::start(&client, db));
    capture.wait_until_it_says("captured up to");
    tokio::time::sleep(duration() / WARM_UP).await;
    let [mut first, mut second] = [0; 2];
    let begin = Instant::now();
    while begin.elapsed() < duration() {
        let held = resident(&capture).expect("it captures until it is told to stop");
        let half = if begin.elapsed() < duration() / 2 { &mut first } else { &mut second };
        *half = held.max(*half);
        tokio::time::sleep(PAUSE).await;
    }
    let mut written = 0;
    for writer in writers {
        written += writer.stop().await;
    }
    capture.signal("TERM");
    capture.wait().exits(0);
    println!("{written} documents: peak {} in the first half, {} then", mebibytes(first), mebibytes(second));
    assert!(4 * second <= 5 * first, "{first} bytes at most in the first half, {second} in the second");
    workspace.run(["capture", "--once"]).exits(0);
    workspace.run(["verify"]).exits(0);
    for db in ["north", "south"] {
        let (copy, map) = (format!("{db}_again"), format!("{db}.*={db}_again.*"));
        let restore = ["restore", "--at", "latest", "--ns", db, "--map", &map, "--confirm", "rs0"];
        workspace.run(restore).exits(0);
        let source = hashes(&client.database(db)).await;
        assert!(source.contains_key("orders"));
        assert_eq!(hashes(&client.database(&copy)).await, source);
    }
}
