//! `regrow` on a store that fails on purpose: what the tests of faults run and kill.
//!
//! `regrow-with-faults PLAN LOG ARGUMENT…` runs `regrow ARGUMENT…`. PLAN says what happens to the store:
//! `none`, `hang@17` (the fault and the number of the storage operation that meets it) or `seed=7,rate=0.02`. Behind
//! that, `,ahead=74` sets the clock so many hours ahead, `,hours=FILE` as many as the file says at the moment, and `,segment=4096,pack=65536,part=131072` how large
//! segments, packs and parts grow, and `,stop=TEXT` stops the process as SIGSTOP does before the first storage operation whose line has the text, `,panic=TEXT` panics there. LOG is a file that gets a line for each storage operation, before it
//! takes effect, and ends in `: hang` where it met that.
//!
//! A program of its own: in the one that ships no argument, variable or setting leads to a store that fails.
#![allow(clippy::print_stderr, clippy::unwrap_used)] // It talks to tests, and whatever goes wrong here is theirs.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::SignedDuration;
use regrow::backup::Targets;
use regrow::clock::Clock;
use regrow::config::Stores;
use regrow::random::Random;
use regrow::storage::{Fault, Faulty, Met, Seed, Storage};

/// What is to happen to the store.
#[derive(Default)]
struct Plan {
    fault: Option<(Fault, u64)>,
    seed: Option<u64>,
    rate: f64,
    hours_ahead: i64,
    hours_in: Option<PathBuf>,
    stop: Option<String>,
    panic: Option<String>,
    targets: Targets,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap();
    let (Some(plan), Some(log)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: regrow-with-faults PLAN LOG ARGUMENT…: for tests only");
        return ExitCode::from(2);
    };
    let (plan, log) = (Plan::parse(plan.to_str().unwrap()), Arc::new(Mutex::new(File::create(log).unwrap())));
    let clock = Clock::ahead(SignedDuration::from_hours(plan.hours_ahead));
    if let Some(file) = plan.hours_in.clone() {
        let clock = clock.clone();
        std::thread::spawn(move || follow(&clock, &file));
    }
    let targets = plan.targets;
    let stores = Stores::new(clock.clone(), Random::system()).wrapped(move |store| plan.around(store, &log));
    let arguments: Vec<OsString> = std::iter::once(program).chain(arguments).collect();
    regrow::cli::run_on(clock, stores, targets, arguments)
}

/// Sets the clock as the file says, again and again.
fn follow(clock: &Clock, file: &Path) {
    loop {
        // Whoever writes it may be about to.
        if let Some(hours) = fs::read_to_string(file).ok().and_then(|hours| hours.parse().ok()) {
            clock.put_ahead(SignedDuration::from_hours(hours));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Stands still until somebody sends SIGCONT.
fn stop_here() {
    let stopped = Command::new("sh").args(["-c", "kill -STOP $PPID"]).status();
    assert!(stopped.unwrap().success());
}

impl Plan {
    fn parse(text: &str) -> Self {
        let mut plan = Self::default();
        for part in text.split(',').filter(|part| *part != "none") {
            match part.split_once(['@', '=']).unwrap() {
                ("seed", seed) => plan.seed = Some(seed.parse().unwrap()),
                ("rate", rate) => plan.rate = rate.parse().unwrap(),
                ("segment", bytes) => plan.targets.segment_bytes = bytes.parse().unwrap(),
                ("pack", bytes) => plan.targets.pack_bytes = bytes.parse().unwrap(),
                ("hours", file) => plan.hours_in = Some(file.into()),
                ("stop", text) => plan.stop = Some(text.into()),
                ("panic", text) => plan.panic = Some(text.into()),
                ("part", bytes) => plan.targets.part_bytes = bytes.parse().unwrap(),
                ("ahead", hours) => plan.hours_ahead = hours.parse().unwrap(),
                (fault, at) => plan.fault = Some((fault.parse().unwrap(), at.parse().unwrap())),
            }
        }
        plan
    }

    fn around(&self, store: Arc<dyn Storage>, log: &Arc<Mutex<File>>) -> Arc<dyn Storage> {
        let faulty = match (self.fault, self.seed) {
            (Some((fault, at)), _) => Faulty::new(store, fault, at),
            (None, Some(seed)) => Faulty::seeded(store, Seed { seed, rate: self.rate }),
            (None, None) => Faulty::counting(store),
        };
        let (log, stop, panic) = (Arc::clone(log), Mutex::new(self.stop.clone()), Mutex::new(self.panic.clone()));
        Arc::new(faulty.telling(move |met: &Met<'_>| {
            let line = met.to_string();
            writeln!(log.lock().unwrap(), "{line}").unwrap();
            let comes_now = |text: &Mutex<Option<String>>| {
                text.lock().unwrap().take_if(|text| line.contains(text.as_str())).is_some()
            };
            if comes_now(&stop) {
                stop_here();
            }
            let panics = comes_now(&panic);
            assert!(!panics, "as planned");
        }))
    }
}
