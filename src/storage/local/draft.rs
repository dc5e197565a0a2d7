//! An object while it is written: a temporary file that removes itself unless it is committed.
//!
//! What has been written is made durable and read again in stretches while the rest still arrives: the end
//! of a large object does not wait for all of it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crc_fast::CrcAlgorithm;
use tempfile::NamedTempFile;

use crate::storage::{Stored, key};

/// How much is made durable and read again at once: little enough that the last stretch is soon done, enough
/// that disks are not asked to sync all the time.
const STRETCH: u64 = 32 * 1024 * 1024;

/// How much of a file is held at once while it is read again.
const READ_AT_ONCE: usize = 256 * 1024;

/// A temporary file beside the place of the object that it will become.
#[derive(Debug)]
pub(super) struct Draft {
    file: NamedTempFile,
    size: u64,
    /// How many of its bytes are durable and were read as they were written.
    proved: u64,
    /// Checks the bytes behind those.
    check: Check,
}

impl Draft {
    /// Makes an empty draft in `directory`; `number` tells it from others. Only its owner may read it.
    pub(super) fn begin(directory: &Path, number: u64) -> io::Result<Self> {
        let name = format!("{}{number:016x}", key::UNFINISHED);
        let file = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempfile_in(directory)?;
        Ok(Self { file, size: 0, proved: 0, check: Check::new() })
    }

    /// Writes more; now and then that includes a stretch being made durable and read again.
    ///
    /// # Errors
    /// [`Refused::Mismatch`] when the file is not what was written.
    pub(super) fn append(&mut self, content: &[u8]) -> Result<(), Refused> {
        self.file.as_file_mut().write_all(content)?;
        self.check.update(content);
        self.size += content.len() as u64;
        if self.size - self.proved >= STRETCH { self.prove() } else { Ok(()) }
    }

    /// Makes the draft durable, reads again what has not been, and moves it to `target`.
    ///
    /// # Errors
    /// [`Refused::Mismatch`] when the file is not what was written; `AlreadyExists` when there is a file at
    /// `target`. The draft is removed.
    pub(super) fn commit(mut self, target: &Path) -> Result<Stored, Refused> {
        self.prove()?;
        self.file.persist_noclobber(target).map_err(|refused| refused.error)?;
        Ok(Stored { size: self.size, confirmed: true })
    }

    /// Makes the draft durable, and ready to take the place of an object.
    ///
    /// # Errors
    /// [`Refused::Mismatch`] when the file is not what was written. The draft is removed.
    pub(super) fn ready(mut self) -> Result<NamedTempFile, Refused> {
        self.prove()?;
        Ok(self.file)
    }

    fn prove(&mut self) -> Result<(), Refused> {
        self.file.as_file().sync_data()?;
        let written = std::mem::replace(&mut self.check, Check::new());
        if read_again(self.file.as_file(), self.proved)? != (self.size, written.finish()) {
            return Err(Refused::Mismatch);
        }
        self.proved = self.size;
        Ok(())
    }
}

/// Tells an accident from what was written: CRC-64, a tenth of the work of SHA-256.
#[derive(Debug)]
struct Check(crc_fast::Digest);

impl Check {
    fn new() -> Self {
        Self(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme))
    }

    fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    fn finish(&self) -> u64 {
        self.0.finalize()
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

/// Returns where the file really ends, and the check of what it holds from `begin` on.
fn read_again(file: &File, begin: u64) -> io::Result<(u64, u64)> {
    let mut check = Check::new();
    let mut at = begin;
    let mut buffer = vec![0; READ_AT_ONCE];
    loop {
        match file.read_at(&mut buffer, at)? {
            0 => return Ok((at, check.finish())),
            count => {
                check.update(&buffer[..count]);
                at += count as u64;
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

    #[test]
    fn a_stretch_that_changed_is_refused_before_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let mut draft = Draft::begin(directory.path(), 1).unwrap();
        let almost = vec![7; usize::try_from(STRETCH - 1).unwrap()];
        draft.append(&almost).unwrap();
        draft.file.as_file().write_at(b"!", STRETCH / 2).unwrap();
        assert!(matches!(draft.append(b"."), Err(Refused::Mismatch)));
    }
}
