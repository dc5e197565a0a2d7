//! Every operation that writes, stopped or failed at any of its storage operations, and runs of all of them on a store that
//! fails by chance.
//!
//! The real commands run as a process of their own on a store that fails on purpose
//! (`tests/programs/with_faults.rs`), and are killed where it stops answering. What was safe before must be safe after,
//! byte for byte; the repository must open and verify; and the same command, repeated, must succeed.
//!
//! `REGROW_FAULTS=all` tries every fault at every operation (`scripts/faults.sh`); without it a few are drawn. What is drawn
//! depends on a seed, which is printed, and which `REGROW_FAULT_SEED` repeats.
#![allow(clippy::print_stdout)] // Seeds and counts are for whoever reads a run.

mod chance;
mod ground;
mod matrix;
mod operations;
mod place;
mod restoring;
mod safe;
mod statuses;
mod tally;
mod trial;

use std::env;

use regrow::random::Random;

/// Returns the seed of this run, and prints it.
pub fn seed() -> u64 {
    let given = env::var("REGROW_FAULT_SEED").ok();
    let seed = given
        .map_or_else(|| Random::system().next_u64() >> 32, |seed| seed.parse().expect("REGROW_FAULT_SEED is a number"));
    println!("REGROW_FAULT_SEED={seed}");
    seed
}

fn drawn(of: usize, random: &Random) -> usize {
    usize::try_from(random.next_u64() % of as u64).expect("it is less than another usize")
}
