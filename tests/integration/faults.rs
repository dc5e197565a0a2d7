//! Networks, servers and stores that fail under each command.
//!
//! Whatever happens, a command either ends with exit code 0 and a result that is proved, or with an error that names a cause
//! and a remedy, in a time that is bounded; then nothing has changed or it can go on, and the same command succeeds afterwards.
//! With `REGROW_FAULTS=all` each fault strikes at more moments. These depend on a seed, which is printed, and which
//! `REGROW_FAULT_SEED` repeats.
#![allow(clippy::print_stdout)] // It says what it does to whom, and how many of how many survived.

mod network;
mod replica_set;
mod revoked;
mod rolled_back;
mod store;
mod tls;
mod unconfirmed;

use std::time::Duration;

use regrow::random::Random;

use crate::harness::{self, Fault, FaultProxy, Run, Running, Whom};

/// What strikes, and whom. One connection that falls silent is noticed after a minute: that is for those who have the time.
fn all_faults() -> Vec<(Fault, Whom)> {
    let mut faults = vec![
        (Fault::Cut, Whom::One),
        (Fault::Cut, Whom::All),
        (Fault::HalfClose, Whom::One),
        (Fault::Delay, Whom::All),
        (Fault::Dribble, Whom::All),
        (Fault::BlackHole, Whom::All),
    ];
    if harness::takes_long() {
        faults.push((Fault::BlackHole, Whom::One));
        faults.push((Fault::HalfClose, Whom::All));
    }
    faults
}

/// Returns each fault as often as it strikes, each time at another moment.
fn strikes() -> impl Iterator<Item = (Fault, Whom)> {
    let moments = if harness::takes_long() { 6 } else { 1 };
    all_faults().into_iter().flat_map(move |fault| std::iter::repeat_n(fault, moments))
}

/// What became of the faults that were tried.
#[derive(Default)]
struct Tally {
    what: &'static str,
    survived: u32,
    failed: u32,
    unnoticed: u32,
}

impl Tally {
    fn of(what: &'static str) -> Self {
        Self { what, ..Self::default() }
    }

    /// Counts a run whose result has been proved, or whose failure has been made good.
    fn add(&mut self, run: &Run, has_struck: bool) {
        match run.code {
            _ if !has_struck => self.unnoticed += 1,
            0 => self.survived += 1,
            _ => self.failed += 1,
        }
    }

    /// Says what became of all; panics where no fault has struck.
    fn tell(self) {
        let Self { what, survived, failed, unnoticed } = self;
        let tried = survived + failed + unnoticed;
        println!(
            "{what}: {tried} faults tried, {survived} survived, {failed} failed cleanly, {unnoticed} came too late; lost: 0"
        );
        assert!(survived + failed > 0, "{what}: no fault has struck");
    }
}

/// A proxy, and the faults that it strikes with by chance.
struct Striker<'a> {
    proxy: &'a FaultProxy,
    random: Random,
    /// How many bytes pass while nothing happens.
    whole: u64,
    struck_before: u64,
}

impl<'a> Striker<'a> {
    /// Measures how much a run sends and receives.
    fn measure(proxy: &'a FaultProxy, seed: u64, run: impl FnOnce()) -> Self {
        let before = proxy.passed();
        run();
        let whole = proxy.passed() - before;
        Self { proxy, random: Random::seeded(seed), whole, struck_before: 0 }
    }

    /// Strikes a command at some moment, and lets the network be well again where nothing else would end.
    fn strike(&mut self, (fault, whom): (Fault, Whom), start: impl FnOnce() -> Running) -> Run {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        // Any moment does.
        let after = (self.random.fraction() * 0.9 * self.whole as f64) as u64;
        println!("{fault:?} for {whom:?} after {after} of {} bytes", self.whole);
        self.struck_before = self.proxy.struck();
        self.proxy.strike_after(after, fault, whom);
        let mut running = start();
        if whom == Whom::All && matches!(fault, Fault::Cut | Fault::BlackHole | Fault::HalfClose) {
            while running.is_running() && !self.has_struck() {
                std::thread::sleep(Duration::from_millis(5));
            }
            // Long enough for the driver to notice.
            std::thread::sleep(Duration::from_secs(if fault == Fault::BlackHole { 5 } else { 1 }));
            self.proxy.heal();
        }
        let run = running.wait();
        self.proxy.heal();
        if run.code != 0 {
            says_why(&run);
        }
        run
    }

    fn has_struck(&self) -> bool {
        self.proxy.struck() > self.struck_before
    }
}

/// Returns the URI of one node behind a proxy. Its times are shorter than a network's would be, so that tests are.
fn uri_through(proxy: &FaultProxy) -> String {
    format!("mongodb://{}/?directConnection=true&{QUICK}", proxy.address())
}

/// How soon the driver notices that a server is silent, and gives up looking for another.
const QUICK: &str = "connectTimeoutMS=2000&heartbeatFrequencyMS=1000&serverSelectionTimeoutMS=8000";

/// Panics unless a failed run ends with one cause and one remedy.
fn says_why(run: &Run) {
    let lines: Vec<&str> = run.stderr.lines().filter(|line| !line.contains(" WARN ")).collect();
    let errors = lines.iter().filter(|line| line.starts_with("error: ")).count();
    let hints = lines.iter().filter(|line| line.starts_with("hint: ")).count();
    assert!(run.code == 1 && (errors, hints) == (1, 1), "one error, one hint, exit code 1: {run:?}");
}
