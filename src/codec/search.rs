//! How zstd looks for what repeats at the default level; see `docs/decisions/0011-compression.md` and `0033-speed.md`.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, ParamSwitch, Strategy};

use super::level::Level;

/// How much of a run is compressed in each way to see which search serves it.
const SAMPLE: usize = 128 * 1024;

/// Runs below this are searched twofold without a look: the look would cost as much as it saves.
const WORTH_A_LOOK: usize = 16 * SAMPLE;

/// How many runs of a collection one look serves: what it holds may change on its way, but seldom does.
const RUNS_PER_LOOK: u32 = 8;

/// A way of looking for what repeats. Each is faster than the one before, and stores some kinds of bytes in more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// For long and for short ones, as level 3 does, but in tables of 2^15 entries each. zstd itself takes 2^16
    /// and 2^17, which is 768 KiB; 256 KiB stay in a core's own cache beside everything else that runs.
    Twofold,
    /// For one length only, in a table of 2^15 entries. A third faster; as good for records, which repeat in runs
    /// of similar length, up to a tenth larger for text.
    Single,
    /// As [`Single`](Self::Single), and what repeats nowhere is stored as it is. A twelfth faster again; as good where that
    /// is ids, numbers, hashes and times, far larger where it is text.
    Bare,
}

impl Search {
    /// Returns the one for these bytes: the fastest that takes at most 2 % more than twofold of a sample from the middle.
    fn for_bytes(raw: &[u8]) -> io::Result<Self> {
        let begin = (raw.len() - SAMPLE) / 2;
        let sample = &raw[begin..begin + SAMPLE];
        let size = |search: Self| search.compressor()?.compress(sample).map(|frame| frame.len());
        let enough = 102 * size(Self::Twofold)?;
        for search in [Self::Bare, Self::Single] {
            if 100 * size(search)? <= enough {
                return Ok(search);
            }
        }
        Ok(Self::Twofold)
    }

    /// Returns a compressor that looks in this way.
    pub(super) fn compressor(self) -> io::Result<Compressor<'static>> {
        const SINGLE: [CParameter; 3] =
            [CParameter::Strategy(Strategy::ZSTD_fast), CParameter::HashLog(15), CParameter::MinMatch(5)];
        let mut compressor = compressor(Level::DEFAULT)?;
        let parameters: &[CParameter] = match self {
            Self::Twofold => &[CParameter::HashLog(15), CParameter::ChainLog(15)],
            Self::Single | Self::Bare => &SINGLE,
        };
        for parameter in parameters {
            compressor.set_parameter(*parameter)?;
        }
        if self == Self::Bare {
            compressor.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Disable))?;
        }
        Ok(compressor)
    }
}

/// Returns a compressor that looks as zstd does at a level.
pub(super) fn compressor(level: Level) -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(level.number())?;
    compressor.include_checksum(true)?;
    compressor.include_contentsize(true)?;
    Ok(compressor)
}

/// What has served other runs of the same collection; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Precedent(Arc<Mutex<Option<Served>>>);

#[derive(Debug)]
struct Served {
    by: Search,
    /// How many runs it serves before the next look.
    runs_left: u32,
}

impl Precedent {
    /// Returns the search for these bytes: the one of the last look, or that of a new one.
    pub(super) fn search_for(&self, raw: &[u8]) -> io::Result<Search> {
        if raw.len() < WORTH_A_LOOK {
            return Ok(Search::Twofold);
        }
        if let Some(search) = self.take() {
            return Ok(search);
        }
        // Not under the lock: who comes meanwhile looks as well rather than wait.
        let by = Search::for_bytes(raw)?;
        *self.lock() = Some(Served { by, runs_left: RUNS_PER_LOOK - 1 });
        Ok(by)
    }

    fn take(&self) -> Option<Search> {
        let mut served = self.lock();
        let served = served.as_mut()?;
        served.runs_left = served.runs_left.checked_sub(1)?;
        Some(served.by)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Served>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes to be searched.
#[cfg(test)]
mod tests {
    use super::samples::{noise, prose, records};
    use super::*;

    #[test]
    fn what_is_like_records_is_searched_singly_and_prose_twofold() {
        let found = |raw: &[u8]| Precedent::default().search_for(raw).unwrap();
        let ids = |number: u64| format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        assert_eq!(found(&records(ids)), Search::Single);
        let raw: Vec<u8> = noise()
            .flat_map(|number| [&b"{order:"[..], &number.to_le_bytes()[..4], b",paid}"].concat())
            .take(WORTH_A_LOOK)
            .collect();
        assert_eq!(found(&raw), Search::Bare);
        assert_eq!(found(&prose()), Search::Twofold);
    }

    #[test]
    fn small_runs_are_not_looked_at_and_say_nothing_of_others() {
        let precedent = Precedent::default();
        assert_eq!(precedent.search_for(&vec![0; WORTH_A_LOOK - 1]).unwrap(), Search::Twofold);
        assert!(precedent.lock().is_none());
    }

    #[test]
    fn a_look_serves_some_runs_and_then_another_is_taken() {
        let (precedent, records, prose) = (Precedent::default(), records(|number| number.to_string()), prose());
        let first = precedent.search_for(&records).unwrap();
        assert_ne!(first, Search::Twofold);
        for _ in 1..RUNS_PER_LOOK {
            assert_eq!(precedent.clone().search_for(&prose).unwrap(), first);
        }
        assert_eq!(precedent.search_for(&prose).unwrap(), Search::Twofold);
    }
}

/// Bytes to be searched.
#[cfg(test)]
pub(super) mod samples {
    use super::WORTH_A_LOOK;

    /// Numbers that look random, the same ones every time.
    pub fn noise() -> impl Iterator<Item = u64> {
        std::iter::successors(Some(1_u64), |&last| Some(last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)))
            .map(|number| number >> 33)
    }

    /// Fixed words between what repeats nowhere.
    pub fn records(varying: impl Fn(u64) -> String) -> Vec<u8> {
        let record = |number| format!("{{order:{},state:\"paid\",currency:\"KES\"}}", varying(number)).into_bytes();
        noise().flat_map(record).take(WORTH_A_LOOK).collect()
    }

    pub fn prose() -> Vec<u8> {
        let words = ["the ", "server ", "of ", "restores ", "and ", "backups ", "in ", "oplog ", "is ", "to ", "time "];
        let text: String =
            noise().take(WORTH_A_LOOK).map(|number| words[usize::try_from(number % 11).unwrap()]).collect();
        text.into_bytes()
    }
}
