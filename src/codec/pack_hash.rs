//! SHA-256 of a pack and of each segment in it, in one pass over the segments' bytes.
//!
//! Both hash the same bytes, each from a state of its own. Tar's blocks are a multiple of SHA-256's, so the two
//! keep step, and a processor does both in the time of one (decision 0012).

use super::lanes::{Block, INITIAL, State, compress, compress_both, padded, to_bytes};

/// Hashes a pack that is being written.
#[derive(Debug)]
pub struct PackHasher {
    state: State,
    bytes: u64,
}

impl Default for PackHasher {
    fn default() -> Self {
        Self { state: INITIAL, bytes: 0 }
    }
}

impl PackHasher {
    /// Adds what stands before, between and behind segments.
    ///
    /// # Panics
    /// When these are not whole blocks of 64 bytes, as those of tar are.
    pub fn add(&mut self, blocks: &[u8]) {
        self.bytes += blocks.len() as u64;
        compress(&mut self.state, whole(blocks));
    }

    /// Adds a segment and the padding behind it, and returns the SHA-256 of the segment.
    ///
    /// # Panics
    /// When both together are not whole blocks of 64 bytes.
    pub fn add_segment(&mut self, segment: &[u8], padding: &[u8]) -> [u8; 32] {
        let (body, rest) = segment.as_chunks();
        let mut states = [self.state, INITIAL];
        compress_both(&mut states, [body, body]);
        let [pack, mut alone] = states;
        let (tail, blocks) = padded(rest, segment.len() as u64);
        compress(&mut alone, &tail[..blocks]);
        self.state = pack;
        self.bytes += (segment.len() - rest.len()) as u64;
        self.add(&[rest, padding].concat());
        to_bytes(&alone)
    }

    /// Returns the SHA-256 of everything that was added.
    #[must_use]
    pub fn finish(mut self) -> [u8; 32] {
        let (tail, blocks) = padded(&[], self.bytes);
        compress(&mut self.state, &tail[..blocks]);
        to_bytes(&self.state)
    }
}

fn whole(bytes: &[u8]) -> &[Block] {
    let (blocks, rest) = bytes.as_chunks();
    assert!(rest.is_empty(), "a pack is made of whole blocks");
    blocks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::sha256;
    use crate::format::pack;

    proptest! {
        #[test]
        fn both_hashes_are_those_of_the_bytes(lengths in proptest::collection::vec(0_usize..2000, 0..6)) {
            let (mut hasher, mut written) = (PackHasher::default(), Vec::new());
            for (number, length) in lengths.into_iter().enumerate() {
                let segment: Vec<u8> = (0..=255).cycle().skip(number).take(length).collect();
                let header = pack::member_header("000001.age", segment.len() as u64);
                let padding = pack::padding(segment.len() as u64);
                hasher.add(&header);
                prop_assert_eq!(hasher.add_segment(&segment, padding), sha256(&segment));
                written.extend([&header[..], &segment, padding].concat());
            }
            hasher.add(&pack::END);
            written.extend(pack::END);
            prop_assert_eq!(hasher.finish(), sha256(&written));
        }
    }
}
