//! What a machine remembers of a repository: the one file of the format that does not lie in the repository.
//!
//! Whoever can write to the store can put all of it back to an earlier state, in which every signature is right. Only
//! what is remembered elsewhere tells. Losing this file loses nothing but that.

use serde::{Deserialize, Serialize};

use super::check_version;
use super::descriptor::RepositoryId;
use super::evidence::Predecessor;
use crate::error::{Error, Result};

/// The content of `repository.witness_file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessFile {
    /// Always `regrow-witness`.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository it is about.
    pub repository: RepositoryId,
    /// Objects that must be there for ever, as they were: the descriptor, and what were the newest records of evidence.
    pub objects: Vec<Predecessor>,
}

impl WitnessFile {
    /// The name that its `format` field bears.
    pub const FORMAT: &'static str = "regrow-witness";

    /// Reads the file's content.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when it is none.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let wrong = || Error::configuration("repository.witness_file names a file that is no witness");
        let hint = "name another file, or restore this one; removing it forgets what this machine remembers";
        let file: Self = serde_json::from_slice(json).map_err(|error| wrong().caused_by(error).with_hint(hint))?;
        check_version("the witness file", Self::FORMAT, &file.format, file.version)
            .map_err(|error| wrong().caused_by(error).with_hint(hint))?;
        Ok(file)
    }
}
