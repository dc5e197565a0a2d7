//! Whole rounds on a store that fails by chance: either a command succeeds, and what it says is proved, or it fails, and what
//! was safe is safe.

use super::ground::{DB, Ground};
use super::operations::succeeded;
use super::restoring::{self, TARGET, restored};
use super::safe::Safe;
use super::seed;
use super::tally::Tally;
use crate::contents::Contents;
use crate::harness;

/// The share of storage operations that fail: about two in each command.
const RATE: f64 = 0.05;

#[tokio::test(flavor = "multi_thread")]
async fn rounds_on_a_store_that_fails_by_chance_lose_nothing() {
    let (first, mut tally) = (seed(), Tally::default());
    if harness::takes_long() || first % 2 == 0 {
        rounds(Ground::on_disk().await, first, &mut tally).await;
    }
    if harness::takes_long() || first % 2 == 1 {
        rounds(Ground::in_a_bucket().await, first, &mut tally).await;
    }
    tally.settle();
}

async fn rounds(ground: Ground, first: u64, tally: &mut Tally) {
    let begun = ground.state().await;
    for seed in first..first + if harness::takes_long() { 30 } else { 2 } {
        ground.begin_from(&begun).await;
        let safe = Safe::of(&ground.place).await;
        Round { ground: &ground, seed, safe }.run(tally).await;
    }
}

struct Round<'a> {
    ground: &'a Ground,
    seed: u64,
    /// What must be there from now on.
    safe: Safe,
}

impl Round<'_> {
    async fn run(&mut self, tally: &mut Tally) {
        let to = restoring::destination(self.ground);
        let restore: Vec<&str> = ["restore", "latest"].into_iter().chain(to.iter().map(String::as_str)).collect();
        let commands: [(&str, &[&str]); 4] = [
            ("backup", &["backup", "--kind", "daily", "--incremental"]),
            ("capture", &["capture", "--once"]),
            ("verify", &["verify"]),
            ("restore", &restore),
        ];
        for (step, (name, arguments)) in commands.into_iter().enumerate() {
            let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            let plan = format!("seed={},rate={RATE}", self.seed.wrapping_mul(10) + step as u64);
            let run = self.ground.start(&plan, 0, &arguments).wait();
            let met = self.ground.operations().iter().filter(|line| line.contains(": ")).count();
            let judged = self.judge(name, run.code).await;
            let outcome = judged.map_err(|problem| {
                format!("seed {}: {problem}\n  it had ended with {}: {}", self.seed, run.code, run.stderr)
            });
            // What met no fault has stood no trial.
            if met > 0 || outcome.is_err() {
                tally.add(name, &format!("{met} at once"), run.code, outcome);
            }
        }
        let outcome = self.prove_what_was_safe().await;
        let outcome = outcome.map_err(|problem| format!("seed {}: {problem}", self.seed));
        tally.add("what was safe before", "restored", 0, outcome);
    }

    /// Holds what a command says against what is there.
    async fn judge(&mut self, name: &str, exit: i32) -> Result<(), String> {
        let now = self.safe.still_is(&self.ground.place).await?;
        let verified = self.ground.run(0, &["verify", "--level", "content", "--json"]);
        if verified.code != 0 {
            return Err(format!("verify ends with {}: {}{}", verified.code, verified.stdout, verified.stderr));
        }
        match (name, exit) {
            // What is reported as done must stay: the verification has opened every document of it.
            ("backup" | "capture", 0) => self.safe = now,
            ("restore", 0) => self.compare().await?,
            ("restore", _) if !restoring::is_as_it_was(self.ground, false).await => {
                return Err("a restore that failed has left something".into());
            }
            _ => {}
        }
        Ok(())
    }

    async fn compare(&self) -> Result<(), String> {
        let found = self.take_out().await;
        let source = Contents::of_database(&self.ground.source.client().await, DB).await;
        // A backup that failed is not the latest, and a listing that is stale shows the one before.
        let possible = [&source, &self.ground.content].map(restored);
        if possible.contains(&found) { Ok(()) } else { Err("what was restored is no state that was backed up".into()) }
    }

    /// Restores the backup that was there before, without any fault.
    async fn prove_what_was_safe(&self) -> Result<(), String> {
        let to = restoring::destination(self.ground);
        let what = ["restore", self.ground.backup.as_str()];
        let arguments: Vec<&str> = what.into_iter().chain(to.iter().map(String::as_str)).collect();
        succeeded(&self.ground.run(0, &arguments))?;
        if self.take_out().await == restored(&self.ground.content) {
            return Ok(());
        }
        Err("the backup that was there before restores something else".into())
    }

    /// Returns what is in the target, and drops it.
    async fn take_out(&self) -> Contents {
        let client = self.ground.target().client().await;
        let found = Contents::of_database(&client, TARGET).await;
        client.database(TARGET).drop().await.unwrap();
        found
    }
}
