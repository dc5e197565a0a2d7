//! Each operation, with each fault at each of its storage operations.

use std::time::{Duration, Instant};

use regrow::random::Random;

use super::ground::{Ground, LIMIT};
use super::operations::Operation;
use super::safe::Safe;
use super::tally::Tally;
use super::trial::Trial;
use super::{drawn, seed};
use crate::harness;

/// The process is killed there.
const KILL: &str = "hang";

/// What happens at a storage operation, and the verbs by which the log tells of those to which it can; none: to all.
type Trouble = (&'static str, &'static [&'static str]);

const FAULTS: [Trouble; 11] = [
    (KILL, &[]),
    ("refuse", &[]),
    ("refuse-after", &WRITING),
    ("deny", &[]),
    ("fail-once", &[]),
    ("lost-reply", &WRITING),
    ("full", &["create", "replace", "begin", "write", "finish"]),
    ("conflict", &["create", "replace", "finish"]),
    ("missing", &["read", "find"]),
    ("truncate", &["read"]),
    ("stale", &["list"]),
];

/// Where everything is tried, in a bucket only this is: dying, giving up and not knowing, at every operation. The program does not see
/// which store it is that fails, and single requests to a bucket fail in [`statuses`](super::statuses).
const IN_A_BUCKET: [&str; 3] = [KILL, "refuse", "lost-reply"];

/// The verbs of what changes something.
const WRITING: [&str; 7] = ["create", "replace", "begin", "write", "finish", "abort", "delete"];

/// How many faults beside being killed are drawn for each operation where not all are tried.
const DRAWN: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn what_stores_data_survives_every_fault() {
    let (ground, seed) = (Ground::on_disk().await, seed());
    every_fault(&ground, &Operation::storing(&ground).await, &FAULTS, seed).await;
}

/// What a process leaves in a bucket where it dies or gives up is not what it leaves on a disk.
#[tokio::test(flavor = "multi_thread")]
async fn what_stores_data_in_a_bucket_survives_every_fault() {
    let (ground, seed) = (Ground::in_a_bucket().await, seed());
    every_fault(&ground, &Operation::storing(&ground).await, &FAULTS, seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_proves_and_restores_survives_every_fault() {
    let seed = seed();
    for ground in grounds(seed).await {
        every_fault(&ground, &Operation::proving(&ground).await, &FAULTS, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lets_go_and_holds_survives_every_fault() {
    let seed = seed();
    for ground in grounds(seed).await {
        every_fault(&ground, &Operation::keeping(&ground).await, &FAULTS, seed).await;
    }
}

/// Every other fault it bears, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_loses_nothing() {
    let seed = seed();
    for ground in grounds(seed).await {
        every_fault(&ground, &Operation::services(&ground).await, &FAULTS[..1], seed).await;
    }
}

/// Returns a repository on the disk and one in a bucket, or one of the two where not everything is tried.
async fn grounds(seed: u64) -> Vec<Ground> {
    let mut grounds = Vec::new();
    if harness::takes_long() || seed.is_multiple_of(2) {
        grounds.push(Ground::on_disk().await);
    }
    if harness::takes_long() || !seed.is_multiple_of(2) {
        grounds.push(Ground::in_a_bucket().await);
    }
    grounds
}

async fn every_fault(ground: &Ground, operations: &[Operation], faults: &[Trouble], seed: u64) {
    let (random, mut tally) = (Random::seeded(seed), Tally::default());
    for operation in operations {
        let undisturbed = Undisturbed::run(ground, operation).await;
        println!("{}: {} storage operations", operation.name, undisturbed.operations.len());
        for (fault, verbs) in some(faults, ground, &random) {
            for at in undisturbed.places(verbs, &random) {
                let case = Case { ground, operation, fault, at };
                match case.try_it(&undisturbed.safe).await {
                    Some((exit, outcome)) => {
                        let outcome = outcome.map_err(|problem| format!("at {at}: {problem}"));
                        tally.add(operation.name, fault, exit, outcome);
                    }
                    None => tally.miss(),
                }
            }
        }
    }
    tally.settle();
}

/// Returns all faults that a store is tried with, or the first and some that are drawn.
fn some(faults: &[Trouble], ground: &Ground, random: &Random) -> Vec<Trouble> {
    let mut others = faults[1..].to_vec();
    if harness::takes_long() {
        others.retain(|(fault, _)| !ground.place.is_a_bucket() || IN_A_BUCKET.contains(fault));
    }
    while !harness::takes_long() && others.len() > DRAWN {
        others.swap_remove(drawn(others.len(), random));
    }
    std::iter::once(faults[0]).chain(others).collect()
}

/// What an operation does that nothing disturbs.
struct Undisturbed {
    /// Its storage operations, as the log has them.
    operations: Vec<String>,
    /// What is there before and after.
    safe: Safe,
}

impl Undisturbed {
    async fn run(ground: &Ground, operation: &Operation) -> Self {
        ground.begin_from(&operation.state).await;
        let arguments = operation.prepare(ground).await;
        let mut safe = Safe::of(&ground.place).await;
        let mut running = ground.start(&format!("none{}", operation.sizes), operation.hours, &arguments);
        if operation.is_endless {
            let begin = Instant::now();
            while !operation.has_done_enough(&ground.operations()) {
                assert!(running.is_running(), "{}", running.stderr());
                assert!(begin.elapsed() < LIMIT, "it never does all of it: {:#?}", ground.operations());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            running.kill();
            running.wait();
        } else {
            running.wait().exits(0);
        }
        safe.retain(&Safe::of(&ground.place).await);
        Self { operations: ground.operations(), safe }
    }

    /// Returns the numbers of the storage operations that a fault is tried at: of those that begin with one of these words
    /// (none: of all) each, or one that is drawn.
    fn places(&self, verbs: &[&str], random: &Random) -> Vec<usize> {
        let verb = |line: &String| line.split(' ').nth(1).unwrap_or_default().to_owned();
        let meant = self.operations.iter().enumerate();
        let meant = meant.filter(|(_, line)| verbs.is_empty() || verbs.contains(&verb(line).as_str()));
        let places: Vec<usize> = meant.map(|(index, _)| index + 1).collect();
        if harness::takes_long() || places.is_empty() { places } else { vec![places[drawn(places.len(), random)]] }
    }
}

struct Case<'a> {
    ground: &'a Ground,
    operation: &'a Operation,
    fault: &'a str,
    at: usize,
}

impl Case<'_> {
    /// Runs the operation into its fault; returns how it ended and what came of it, or nothing where it never met the fault.
    async fn try_it(&self, safe: &Safe) -> Option<(i32, Result<(), String>)> {
        let Self { ground, operation, fault, at } = self;
        ground.begin_from(&operation.state).await;
        let arguments = operation.prepare(ground).await;
        let mut running = ground.start(&format!("{fault}@{at}{}", operation.sizes), operation.hours, &arguments);
        if *fault == KILL && !ground.kill_where_it_hangs(&mut running) {
            return None;
        }
        let run = running.wait();
        let met = format!(": {fault}");
        if !ground.operations().iter().any(|line| line.ends_with(&met)) {
            return None;
        }
        let trial = Trial { ground, operation, safe, fault };
        Some((run.code, trial.judge(&run).await))
    }
}
