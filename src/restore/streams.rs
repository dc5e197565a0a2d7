//! So many segments at once, and those of what matters most before all others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Turns that are taken and given back.
pub(super) struct Streams(Arc<Mutex<Turns>>);

struct Turns {
    free: usize,
    /// Who waits, by rank and then by when they came.
    waiting: BTreeMap<(usize, u64), oneshot::Sender<Turn>>,
    came: u64,
}

/// What those of one rank take their turns from.
#[derive(Clone, Copy)]
pub(super) struct Ranked<'a> {
    streams: &'a Streams,
    rank: usize,
}

impl Ranked<'_> {
    /// Waits for a turn, as [`Streams::turn`] does.
    pub async fn turn(&self) -> Turn {
        self.streams.turn(self.rank).await
    }
}

/// Somebody's turn, until it is dropped.
pub(super) struct Turn(Arc<Mutex<Turns>>);

impl Streams {
    /// Returns `free` turns.
    pub fn new(free: usize) -> Self {
        Self(Arc::new(Mutex::new(Turns { free, waiting: BTreeMap::new(), came: 0 })))
    }

    /// Returns the turns of those who have this rank.
    pub fn ranked(&self, rank: usize) -> Ranked<'_> {
        Ranked { streams: self, rank }
    }

    /// Waits for a turn: the lowest `rank` is served first, and of equals who came first.
    pub async fn turn(&self, rank: usize) -> Turn {
        let turn = {
            let mut turns = lock(&self.0);
            if turns.free > 0 {
                turns.free -= 1;
                return Turn(Arc::clone(&self.0));
            }
            let (sender, turn) = oneshot::channel();
            let came = turns.came;
            turns.came += 1;
            turns.waiting.insert((rank, came), sender);
            turn
        };
        turn.await.expect("turns are handed on as long as somebody waits for one")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut turns = lock(&self.0);
            let next = turns.waiting.pop_first();
            if next.is_none() {
                turns.free += 1;
            }
            next
        };
        if let Some((_, sender)) = next {
            // Who waits no longer lets it fall, and so it goes to the one behind.
            drop(sender.send(Turn(Arc::clone(&self.0))));
        }
    }
}

fn lock(turns: &Mutex<Turns>) -> MutexGuard<'_, Turns> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_lowest_rank_is_served_first_and_who_has_gone_is_passed_over() {
        let streams = Streams::new(1);
        let first = streams.turn(7).now_or_never().expect("it is free");
        let mut late = Box::pin(streams.turn(2));
        let mut gone = Box::pin(streams.turn(0));
        let mut early = Box::pin(streams.turn(1));
        for waiting in [&mut late, &mut gone, &mut early] {
            assert!(waiting.now_or_never().is_none(), "there is one turn");
        }
        drop(gone);
        drop(first);
        assert!((&mut late).now_or_never().is_none());
        drop((&mut early).now_or_never().expect("it ranks first"));
        // Handed over, and then not taken.
        drop(late);
        assert!(streams.turn(9).now_or_never().is_some(), "no turn is lost");
    }
}
