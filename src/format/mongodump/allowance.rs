//! How much a dump may say of its namespaces. Whoever reads it holds all of that in memory before the first document, and a
//! compressed dump says gigabytes in a few kilobytes.

use crate::error::{Error, Result};
use crate::units::MIB;

/// The most namespaces. Each is some files of the server, which is in trouble long before.
pub const MOST_NAMESPACES: usize = 100_000;

/// The most bytes that their names, options and indexes take together.
pub const MAX_BYTES: usize = 256 * MIB;

/// Counts what a dump says of its namespaces.
#[derive(Debug, Default)]
pub struct Allowance {
    namespaces: usize,
    bytes: usize,
}

impl Allowance {
    /// Counts a namespace of which so many bytes tell.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::error::Kind::Refused) when it is one too many.
    pub fn take(&mut self, bytes: usize) -> Result<()> {
        self.namespaces += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.namespaces > MOST_NAMESPACES {
            return Err(too_much(&format!("names more than {MOST_NAMESPACES} namespaces")));
        }
        if self.bytes > MAX_BYTES {
            return Err(too_much(&format!("tells more than {} MiB of its namespaces", MAX_BYTES / MIB)));
        }
        Ok(())
    }
}

fn too_much(what: &str) -> Error {
    Error::refused(format!("the dump {what}, before its documents: there may not be the memory for that"))
        .with_hint("if it is what mongodump wrote, dump and import one database at a time")
}
