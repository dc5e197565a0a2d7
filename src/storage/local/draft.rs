//! An object while it is written: a temporary file that removes itself unless it is committed.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use sha2::{Digest, Sha256 as Hasher};
use tempfile::NamedTempFile;

use crate::storage::{Sha256, Stored, key};

/// How much of a file is held at once while it is read again.
const READ_AT_ONCE: usize = 256 * 1024;

/// A temporary file beside the place of the object that it will become.
#[derive(Debug)]
pub(super) struct Draft {
    file: NamedTempFile,
    hasher: Hasher,
    size: u64,
}

impl Draft {
    /// Makes an empty draft in `directory`; `number` tells it from others. Only its owner may read it.
    pub(super) fn begin(directory: &Path, number: u64) -> io::Result<Self> {
        let name = format!("{}{number:016x}", key::UNFINISHED);
        let file = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempfile_in(directory)?;
        Ok(Self { file, hasher: Hasher::new(), size: 0 })
    }

    pub(super) fn append(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.as_file_mut().write_all(content)?;
        self.hasher.update(content);
        self.size += content.len() as u64;
        Ok(())
    }

    /// Makes the draft durable, reads it again and moves it to `target`.
    ///
    /// # Errors
    /// [`Refused::Mismatch`] when the file is not what was written; `AlreadyExists` when there is a file at
    /// `target`. The draft is removed.
    pub(super) fn commit(mut self, target: &Path) -> Result<Stored, Refused> {
        let file = self.file.as_file_mut();
        file.sync_all()?;
        let sha256 = self.hasher.finalize().into();
        if read_again(file)? != (self.size, sha256) {
            return Err(Refused::Mismatch);
        }
        self.file.persist_noclobber(target).map_err(|refused| refused.error)?;
        Ok(Stored { size: self.size, sha256, confirmed: true })
    }
}

/// Why a draft did not become an object.
#[derive(Debug)]
pub(super) enum Refused {
    Io(io::Error),
    Mismatch,
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Returns the size and the hash of what the file really holds.
fn read_again(file: &mut File) -> io::Result<(u64, Sha256)> {
    file.rewind()?;
    let mut hasher = Hasher::new();
    let mut size = 0;
    let mut buffer = vec![0; READ_AT_ONCE];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((size, hasher.finalize().into())),
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_under_us_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut draft = Draft::begin(directory.path(), 1).unwrap();
        draft.append(b"backup").unwrap();
        std::fs::write(draft.file.path(), b"bitrot").unwrap();
        let target = directory.path().join("object");
        assert!(matches!(draft.commit(&target), Err(Refused::Mismatch)));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
