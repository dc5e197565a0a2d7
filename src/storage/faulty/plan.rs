//! Which operation meets which fault, and who is told.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::fault::{Action, Fault};
use crate::random::Random;
use crate::storage::{Entry, StorageResult};

/// How much later what is slow takes effect: longer than anything that was begun beside it takes on a disk.
const LATER: Duration = Duration::from_millis(150);

/// Faults that come by chance, and come again in another run with the same seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seed {
    /// What decides which operations meet which faults. By their number: where operations run beside each other, which is
    /// which may differ from run to run.
    pub seed: u64,
    /// The share of operations that meet one.
    pub rate: f64,
}

/// When something happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    Never,
    /// At the operation of this number; the first is number 1.
    At(Fault, u64),
    ByChance(Seed),
}

/// An operation that was asked for, and what becomes of it.
#[derive(Debug, Clone, Copy)]
pub struct Met<'a> {
    /// Its number; the first is 1.
    pub number: u64,
    /// What befalls it, if anything does.
    pub fault: Option<Fault>,
    action: Action,
    key: &'a str,
}

/// Who is told of each operation before it takes effect.
pub(super) type Observer = dyn Fn(&Met<'_>) + Send + Sync;

/// Counts operations and lets each meet its fate.
pub(super) struct Plan {
    pub(super) when: When,
    pub(super) count: AtomicU64,
    pub(super) observer: Option<Box<Observer>>,
    /// What has been made here, the newest last.
    appeared: Mutex<Vec<String>>,
}

impl Plan {
    pub(super) fn new(when: When) -> Self {
        Self { when, count: AtomicU64::new(0), observer: None, appeared: Mutex::default() }
    }

    /// Counts an operation and says what befalls it.
    pub(super) fn meet<'a>(&self, action: Action, key: &'a str) -> Met<'a> {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = match self.when {
            When::Never => None,
            When::At(fault, at) => (number == at || fault.stays() && number > at).then_some(fault),
            When::ByChance(seed) => seed.draw(number, action),
        };
        let met = Met { number, fault: fault.filter(|fault| fault.befalls(action)), action, key };
        if let Some(observer) = &self.observer {
            observer(&met);
        }
        met
    }

    pub(super) fn has_appeared(&self, key: &str) {
        self.appeared.lock().unwrap_or_else(PoisonError::into_inner).push(key.to_owned());
    }

    /// Takes out of a listing what of it was made here last; where nothing was, the last entry: keys mostly tell times.
    pub(super) fn forget_newest(&self, listed: &mut Vec<Entry>) {
        let appeared = self.appeared.lock().unwrap_or_else(PoisonError::into_inner);
        let is_listed = |key: &&String| listed.iter().any(|entry| entry.key == **key);
        match appeared.iter().rev().find(is_listed) {
            Some(newest) => listed.retain(|entry| entry.key != *newest),
            None => drop(listed.pop()),
        }
    }

    /// Whether it is this fault, and the operation that meets it has come.
    pub(super) fn has_met(&self, fault: Fault) -> bool {
        let count = self.count.load(Ordering::SeqCst);
        matches!(self.when, When::At(planned, at) if planned == fault && count >= at)
    }
}

impl Seed {
    fn draw(self, number: u64, action: Action) -> Option<Fault> {
        let random = Random::seeded(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number));
        let faults = Fault::by_chance(action);
        let chosen = random.next_u64() % faults.len() as u64;
        (random.fraction() < self.rate).then(|| faults[usize::try_from(chosen).expect("there are few faults")])
    }
}

impl Met<'_> {
    /// Lets the operation take effect, as far as what befalls it allows.
    pub(super) async fn run<T>(&self, effect: impl Future<Output = StorageResult<T>>) -> StorageResult<T> {
        match self.fault {
            Some(Fault::Hang) => return std::future::pending().await,
            Some(Fault::Slow) => tokio::time::sleep(LATER).await,
            _ => {}
        }
        let Some((fault, error)) = self.fault.and_then(|fault| Some((fault, fault.error(self.action, self.key)?)))
        else {
            return effect.await;
        };
        if fault.follows_the_effect() {
            effect.await?;
        }
        Err(error)
    }
}

impl fmt::Display for Met<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.number, self.action.verb(), self.key)?;
        self.fault.map_or(Ok(()), |fault| write!(f, ": {fault}"))
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("when", &self.when).field("count", &self.count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(seed: u64) -> Vec<Option<Fault>> {
        let plan = Plan::new(When::ByChance(Seed { seed, rate: 0.25 }));
        (0..400).map(|_| plan.meet(Action::Create, "a/b").fault).collect()
    }

    #[test]
    fn a_seed_repeats_its_faults_and_another_has_others() {
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
        let met = faults(7).into_iter().flatten().count();
        assert!((50..150).contains(&met), "about a quarter of 400: {met}");
    }

    #[test]
    fn what_stays_befalls_whatever_it_can_from_then_on() {
        let plan = Plan::new(When::At(Fault::Full, 2));
        let actions = [Action::Create, Action::Read, Action::Create, Action::Delete, Action::Write];
        let met: Vec<bool> = actions.iter().map(|action| plan.meet(*action, "a").fault.is_some()).collect();
        assert_eq!(met, [false, false, true, false, true]);
    }
}
