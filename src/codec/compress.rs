//! One zstd frame for a run of documents, found at the level's price and no more.

use std::io::{self, Cursor};

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, Strategy, compress_bound};

/// The default zstd level, the one of zstd itself.
pub(super) const DEFAULT_LEVEL: i32 = 3;

/// How much of a run is compressed both ways to see which search serves it.
const SAMPLE: usize = 128 * 1024;

/// Runs below this are searched twofold without a look: the look would cost as much as it saves.
const WORTH_A_LOOK: usize = 16 * SAMPLE;

/// How zstd looks for matches at the default level; see `docs/decisions/0011-compression.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// For long and for short ones, as level 3 does, but in tables of 2^15 entries each. zstd itself takes 2^16
    /// and 2^17, which is 768 KiB; 256 KiB stay in a core's own cache beside everything else that runs.
    Twofold,
    /// For one length only, in a table of 2^15 entries. A third faster; as good for records, which repeat in runs
    /// of similar length, up to a tenth larger for text.
    Single,
}

impl Search {
    /// Returns the one for these bytes: single where it takes at most 2 % more of a sample from the middle.
    fn for_bytes(raw: &[u8]) -> io::Result<Self> {
        if raw.len() < WORTH_A_LOOK {
            return Ok(Self::Twofold);
        }
        let begin = (raw.len() - SAMPLE) / 2;
        let sample = &raw[begin..begin + SAMPLE];
        let size = |search: Self| search.compressor()?.compress(sample).map(|frame| frame.len());
        let (single, twofold) = (size(Self::Single)?, size(Self::Twofold)?);
        Ok(if 100 * single <= 102 * twofold { Self::Single } else { Self::Twofold })
    }

    fn compressor(self) -> io::Result<Compressor<'static>> {
        let mut compressor = compressor(DEFAULT_LEVEL)?;
        let parameters: &[CParameter] = match self {
            Self::Twofold => &[CParameter::HashLog(15), CParameter::ChainLog(15)],
            Self::Single => {
                &[CParameter::Strategy(Strategy::ZSTD_fast), CParameter::HashLog(15), CParameter::MinMatch(5)]
            }
        };
        for parameter in parameters {
            compressor.set_parameter(*parameter)?;
        }
        Ok(compressor)
    }
}

/// Returns `prefix` with the frame of `raw` behind it.
///
/// In one call: over one contiguous buffer zstd takes half the time of its streaming mode, which copies
/// everything through a window of its own.
pub(super) fn compress_behind(prefix: &[u8], raw: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut compressor =
        if level == DEFAULT_LEVEL { Search::for_bytes(raw)?.compressor()? } else { compressor(level)? };
    let mut stream = Vec::with_capacity(prefix.len() + compress_bound(raw.len()));
    stream.extend_from_slice(prefix);
    let mut output = Cursor::new(stream);
    output.set_position(prefix.len() as u64);
    compressor.compress_to_buffer(raw, &mut output)?;
    Ok(output.into_inner())
}

fn compressor(level: i32) -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(level)?;
    compressor.include_checksum(true)?;
    compressor.include_contentsize(true)?;
    Ok(compressor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random, the same ones every time.
    fn noise() -> impl Iterator<Item = u64> {
        std::iter::successors(Some(1_u64), |&last| Some(last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)))
            .map(|number| number >> 33)
    }

    #[test]
    fn records_are_searched_singly_and_prose_twofold() {
        let mut numbers = noise();
        let mut next = |below: u64| numbers.next().unwrap_or(0) % below;
        let mut record = || format!("{{order:{:020},customer:{:020},state:\"paid\"}}", next(1 << 31), next(1 << 31));
        let mut records = String::new();
        while records.len() < WORTH_A_LOOK {
            records.push_str(&record());
        }
        let words = ["the ", "server ", "of ", "restores ", "and ", "backups ", "in ", "oplog ", "is ", "to ", "time "];
        let prose: String = (0..WORTH_A_LOOK).map(|_| words[usize::try_from(next(11)).unwrap()]).collect();
        assert_eq!(Search::for_bytes(records.as_bytes()).unwrap(), Search::Single);
        assert_eq!(Search::for_bytes(prose.as_bytes()).unwrap(), Search::Twofold);
    }

    #[test]
    fn small_runs_are_not_looked_at() {
        assert_eq!(Search::for_bytes(&vec![0; WORTH_A_LOOK - 1]).unwrap(), Search::Twofold);
    }

    #[test]
    fn every_level_gives_a_frame_behind_its_prefix() {
        let raw: Vec<u8> = noise().flat_map(u64::to_le_bytes).take(WORTH_A_LOOK).collect();
        for level in [1, 3, 9] {
            let stream = compress_behind(b"header", &raw, level).unwrap();
            assert!(stream.starts_with(b"header"));
            assert_eq!(zstd::bulk::decompress(&stream[6..], raw.len()).unwrap(), raw, "level {level}");
        }
    }
}
