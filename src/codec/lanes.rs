//! SHA-256 of two messages at a time.
//!
//! A processor with SHA instructions spends most of a round waiting for the round before it. A second message
//! fills the wait: two take hardly longer than one. Elsewhere they are hashed one after the other.

use sha2::block_api::compress256;

/// What SHA-256 works on at once.
pub(super) type Block = [u8; 64];

/// SHA-256 between two blocks; after the last one, the hash as eight big-endian words.
pub(super) type State = [u32; 8];

/// The state before the first block: FIPS 180-4, section 5.3.3.
pub(super) const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Calls `take` with the hash of each message, in whatever order they are done.
pub(super) fn for_each_hash<'a>(messages: impl IntoIterator<Item = &'a [u8]>, mut take: impl FnMut(&State)) {
    let mut messages = messages.into_iter().fuse();
    let (mut one, mut other) = (messages.next().map(Message::new), messages.next().map(Message::new));
    while let (Some(left), Some(right)) = (&mut one, &mut other) {
        advance_both(left, right);
        for lane in [&mut one, &mut other] {
            if let Some(done) = lane.take_if(|message| message.pending().is_empty()) {
                take(&done.state);
                *lane = messages.next().map(Message::new);
            }
        }
    }
    for mut last in one.into_iter().chain(other) {
        while !last.pending().is_empty() {
            last.advance();
        }
        take(&last.state);
    }
}

/// A message being hashed.
struct Message<'a> {
    state: State,
    /// Whole blocks that are still to come.
    body: &'a [Block],
    /// The last bytes with their padding, of which the blocks `tail_at..tail_end` are still to come.
    tail: [Block; 2],
    tail_at: usize,
    tail_end: usize,
}

impl<'a> Message<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let (body, rest) = bytes.as_chunks();
        let (tail, tail_end) = padded(rest, bytes.len() as u64);
        Self { state: INITIAL, body, tail, tail_at: 0, tail_end }
    }

    /// Returns blocks that come next, if not all of them; none when the hash is done.
    fn pending(&self) -> &[Block] {
        if self.body.is_empty() { &self.tail[self.tail_at..self.tail_end] } else { self.body }
    }

    fn advance(&mut self) {
        let mut state = self.state;
        let blocks = self.pending();
        let count = blocks.len();
        compress(&mut state, blocks);
        self.passed(state, count);
    }

    fn passed(&mut self, state: State, blocks: usize) {
        self.state = state;
        if self.body.is_empty() {
            self.tail_at += blocks;
        } else {
            self.body = &self.body[blocks..];
        }
    }
}

/// Returns the end of a message of `length` bytes, padded as FIPS 180-4, section 5.1.1, says, and its blocks.
pub(super) fn padded(rest: &[u8], length: u64) -> ([Block; 2], usize) {
    const LENGTH_AT: usize = 56;
    let mut tail = [[0; 64]; 2];
    let blocks = if rest.len() < LENGTH_AT { 1 } else { 2 };
    tail[0][..rest.len()].copy_from_slice(rest);
    tail[0][rest.len()] = 0x80;
    tail[blocks - 1][LENGTH_AT..].copy_from_slice(&(8 * length).to_be_bytes());
    (tail, blocks)
}

/// Takes both messages as far as the shorter run of blocks goes.
fn advance_both(left: &mut Message, right: &mut Message) {
    let blocks = left.pending().len().min(right.pending().len());
    let mut states = [left.state, right.state];
    compress_both(&mut states, [&left.pending()[..blocks], &right.pending()[..blocks]]);
    left.passed(states[0], blocks);
    right.passed(states[1], blocks);
}

/// Compresses blocks into a state.
pub(super) fn compress(state: &mut State, blocks: &[Block]) {
    compress256(state, blocks);
}

/// Returns a finished state as the hash that it is.
pub(super) fn to_bytes(state: &State) -> [u8; 32] {
    let mut hash = [0; 32];
    for (bytes, word) in hash.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

/// Compresses two runs of equally many blocks.
pub(super) fn compress_both(states: &mut [State; 2], blocks: [&[Block]; 2]) {
    #[cfg(target_arch = "x86_64")]
    if x86::is_available() {
        // SAFETY: the processor has the instructions that the function is compiled for.
        #[allow(unsafe_code)]
        unsafe {
            x86::compress_both(states, blocks);
        }
        return;
    }
    compress_each(states, blocks);
}

fn compress_each(states: &mut [State; 2], blocks: [&[Block]; 2]) {
    for (state, blocks) in states.iter_mut().zip(blocks) {
        compress(state, blocks);
    }
}

/// The SHA instructions of x86-64, two independent chains of them. The order of the words in a register is the
/// one of Intel's "New Instructions Supporting the Secure Hash Algorithm", 2013.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::many_single_char_names)] // As the standard calls its words.
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi8, _mm_set_epi32, _mm_set_epi64x,
        _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
    };

    use super::{Block, State};

    /// The round constants, four to a register: FIPS 180-4, section 4.2.2.
    const K: [[u32; 4]; 16] = [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ];

    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")
    }

    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(super) fn compress_both(states: &mut [State; 2], [left, right]: [&[Block]; 2]) {
        let [mut one, mut other] = states.map(|state| load_state(state));
        for (left, right) in left.iter().zip(right) {
            let (one_before, other_before) = (one, other);
            let (mut left, mut right) = (load_block(left), load_block(right));
            // Laid out one by one, so that everything stays in registers.
            macro_rules! rounds {
                ($($round:literal)*) => { $(
                    four_rounds::<$round>(&mut one, &mut left);
                    four_rounds::<$round>(&mut other, &mut right);
                )* };
            }
            rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
            one = [_mm_add_epi32(one[0], one_before[0]), _mm_add_epi32(one[1], one_before[1])];
            other = [_mm_add_epi32(other[0], other_before[0]), _mm_add_epi32(other[1], other_before[1])];
        }
        *states = [store_state(one), store_state(other)];
    }

    /// Does four rounds. `words` holds the next sixteen words of the message schedule, the next four in front.
    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn four_rounds<const ROUND: usize>(state: &mut [__m128i; 2], words: &mut [__m128i; 4]) {
        /// Brings the upper two sums of constant and word down.
        const UPPER: i32 = 0x0e;
        let [first, second, third, fourth] = *words;
        let k = K[ROUND].map(u32::cast_signed);
        let sum = _mm_add_epi32(first, _mm_set_epi32(k[3], k[2], k[1], k[0]));
        state[1] = _mm_sha256rnds2_epu32(state[1], state[0], sum);
        state[0] = _mm_sha256rnds2_epu32(state[0], state[1], _mm_shuffle_epi32::<UPPER>(sum));
        let partial = _mm_add_epi32(_mm_sha256msg1_epu32(first, second), _mm_alignr_epi8::<4>(fourth, third));
        *words = [second, third, fourth, _mm_sha256msg2_epu32(partial, fourth)];
    }

    /// The instructions want the words as (a, b, e, f) and (c, d, g, h), the first one highest.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn load_state(state: State) -> [__m128i; 2] {
        let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
        [_mm_set_epi32(a, b, e, f), _mm_set_epi32(c, d, g, h)]
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    fn store_state([abef, cdgh]: [__m128i; 2]) -> State {
        let (a, b) = (_mm_extract_epi32::<3>(abef), _mm_extract_epi32::<2>(abef));
        let (e, f) = (_mm_extract_epi32::<1>(abef), _mm_extract_epi32::<0>(abef));
        let (c, d) = (_mm_extract_epi32::<3>(cdgh), _mm_extract_epi32::<2>(cdgh));
        let (g, h) = (_mm_extract_epi32::<1>(cdgh), _mm_extract_epi32::<0>(cdgh));
        [a, b, c, d, e, f, g, h].map(i32::cast_unsigned)
    }

    /// Returns a block's sixteen big-endian words, four to a register.
    #[inline]
    #[target_feature(enable = "sse2,ssse3")]
    fn load_block(block: &Block) -> [__m128i; 4] {
        let swapped = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
        let (eights, _) = block.as_chunks();
        let half = |at: usize| i64::from_le_bytes(eights[at]);
        let four = |at: usize| _mm_shuffle_epi8(_mm_set_epi64x(half(at + 1), half(at)), swapped);
        [four(0), four(2), four(4), four(6)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    fn hashes(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut hashes = Vec::new();
        for_each_hash(messages.iter().map(Vec::as_slice), |state| {
            hashes.push(state.iter().flat_map(|word| word.to_be_bytes()).collect());
        });
        hashes.sort();
        hashes
    }

    fn expected(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut hashes: Vec<_> = messages.iter().map(|message| Sha256::digest(message).to_vec()).collect();
        hashes.sort();
        hashes
    }

    #[test]
    fn every_length_around_the_blocks_is_padded_right() {
        let messages: Vec<Vec<u8>> = (0..300).map(|length| (0..=255).cycle().take(length).collect()).collect();
        assert_eq!(hashes(&messages), expected(&messages));
    }

    #[test]
    fn with_and_without_special_instructions_the_states_are_the_same() {
        let blocks: [[Block; 3]; 2] = [[[1; 64], [2; 64], [3; 64]], [[4; 64], [5; 64], [6; 64]]];
        let (mut both, mut each) = ([INITIAL; 2], [INITIAL; 2]);
        compress_both(&mut both, [&blocks[0], &blocks[1]]);
        compress_each(&mut each, [&blocks[0], &blocks[1]]);
        assert_eq!(both, each);
    }

    proptest! {
        #[test]
        fn hashes_are_those_of_one_message_at_a_time(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 0..9),
        ) {
            prop_assert_eq!(hashes(&messages), expected(&messages));
        }
    }
}
