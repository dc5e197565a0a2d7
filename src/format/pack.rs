//! Packs: segments in a plain ustar archive, written front to back.
//!
//! The few header fields a pack needs are written here rather than by a tar library, so that the same
//! segments always give the same bytes and every segment's offset is known before it is sent.

use super::manifest::Encryption;

/// Stored bytes after which a pack is closed: few objects, yet a damaged or lost one costs little to
/// find, and 8 MiB parts stay far below S3's limit of 10,000.
pub const TARGET_BYTES: u64 = 1024 * 1024 * 1024;

/// The most segments of a pack: what is noted of it stays small where segments are.
pub const MOST_SEGMENTS: usize = 20_000;

/// The unit of tar: headers and padding.
const BLOCK: usize = 512;

/// What ends an archive: two zero blocks.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Returns the name of a segment in its pack.
#[must_use]
pub fn member_name(number: u64, encryption: Encryption) -> String {
    format!("{number:06}.{}", encryption.extension())
}

/// Returns the header block that stands before a member of `size` bytes.
///
/// # Panics
/// When the size needs more than 11 octal digits (8 GiB); a segment has at most a few MiB.
#[must_use]
pub fn member_header(name: &str, size: u64) -> [u8; BLOCK] {
    assert!(size < 1 << 33, "a segment fits a ustar member");
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000400\0"); // mode: the owner may read
    put(108, b"0000000\0"); // owner
    put(116, b"0000000\0"); // group
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0"); // time
    put(148, b"        "); // the checksum counts itself as spaces
    put(156, b"0"); // a regular file
    put(257, b"ustar\x0000");
    let checksum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{checksum:06o}\0 ").as_bytes());
    block
}

/// Returns how many zero bytes follow a member of `size` bytes.
#[must_use]
pub fn padding(size: u64) -> &'static [u8] {
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    let over = usize::try_from(size % BLOCK as u64).expect("less than a block");
    &ZEROS[..(BLOCK - over) % BLOCK]
}
