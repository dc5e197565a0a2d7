//! From documents to sealed bytes and back: zstd, then age; hashes of both; and signatures.
//!
//! Synchronous and without I/O of its own. Memory is bounded by one segment a call. What comes back from
//! [`Opener::open`] has been authenticated twice: by the recorded hash of the stored bytes, and by age.

mod compress;
pub mod digest;
pub mod keys;
mod lanes;
pub mod level;
pub mod pack_hash;
pub mod seal;
mod search;
pub mod signing;

pub use digest::ContentDigest;
pub use keys::{Identities, Recipients};
pub use level::Level;
pub use pack_hash::PackHasher;
pub use seal::{Opener, Sealer};
pub use search::Precedent;
pub use signing::{SigningKey, TrustedKeys};

use sha2::{Digest, Sha256};

/// Returns the SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
