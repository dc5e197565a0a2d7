//! How long each kind of step took.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long each kind of step was under way.
#[derive(Default)]
pub(super) struct Phases(Mutex<Vec<Phase>>);

/// A kind of step.
#[derive(Clone)]
struct Phase {
    name: &'static str,
    /// How many of its steps are under way, and since when any is.
    under_way: u32,
    since: Instant,
    /// For how long any was before.
    before: Duration,
}

impl Phases {
    /// Runs a step and counts its time to the phase `name`.
    pub(super) async fn time<T>(&self, name: &'static str, step: impl Future<Output = T>) -> T {
        self.begin(name);
        let outcome = step.await;
        self.end(name);
        outcome
    }

    fn begin(&self, name: &'static str) {
        let mut phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match phases.iter_mut().find(|phase| phase.name == name) {
            Some(phase) => {
                phase.since = if phase.under_way == 0 { now } else { phase.since };
                phase.under_way += 1;
            }
            None => phases.push(Phase { name, under_way: 1, since: now, before: Duration::ZERO }),
        }
    }

    fn end(&self, name: &'static str) {
        let mut phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(phase) = phases.iter_mut().find(|phase| phase.name == name) {
            phase.under_way -= 1;
            phase.before += if phase.under_way == 0 { phase.since.elapsed() } else { Duration::ZERO };
        }
    }

    pub(super) fn list(&self) -> Vec<(&'static str, Duration)> {
        let phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        phases.iter().map(|phase| (phase.name, phase.before)).collect()
    }
}
