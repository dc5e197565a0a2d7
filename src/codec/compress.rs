//! One zstd frame for a run of documents, found at the level's price and no more.

use std::io::{self, Cursor};

use zstd::zstd_safe::compress_bound;

use super::level::Level;
use super::search::{Precedent, compressor};

/// Returns `prefix` with the frame of `raw` behind it.
///
/// In one call: over one contiguous buffer zstd takes half the time of its streaming mode, which copies
/// everything through a window of its own.
pub(super) fn compress_behind(prefix: &[u8], raw: &[u8], level: Level, precedent: &Precedent) -> io::Result<Vec<u8>> {
    let mut compressor =
        if level == Level::DEFAULT { precedent.search_for(raw)?.compressor()? } else { compressor(level)? };
    let mut stream = Vec::with_capacity(prefix.len() + compress_bound(raw.len()));
    stream.extend_from_slice(prefix);
    let mut output = Cursor::new(stream);
    output.set_position(prefix.len() as u64);
    compressor.compress_to_buffer(raw, &mut output)?;
    Ok(output.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::codec::search::samples::noise;
    use crate::units::MIB;

    #[test]
    fn every_level_gives_a_frame_behind_its_prefix() {
        let raw: Vec<u8> = noise().flat_map(u64::to_le_bytes).take(2 * MIB).collect();
        for level in [1, 3, 9, 19] {
            let level = Level::new(level).unwrap();
            let stream = compress_behind(b"header", &raw, level, &Precedent::default()).unwrap();
            assert!(stream.starts_with(b"header"));
            assert_eq!(zstd::bulk::decompress(&stream[6..], raw.len()).unwrap(), raw, "{level:?}");
        }
    }
}
