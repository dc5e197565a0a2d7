//! Locking an object that is to be replaced.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How often a lock that another process holds is asked for again, and the pause between. They hold it for as long as
/// a rename takes.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Opens the object at `path` and keeps everybody else from replacing it until the file is dropped.
///
/// # Errors
/// `NotFound` when there is none; `TimedOut` when another process does not let it go.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    for _ in 0..ATTEMPTS {
        // Opened for writing because some network file systems lock nothing else.
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        match file.try_lock() {
            // Whoever held the lock before may have put another file into this one's place.
            Ok(()) if is_at(&file, path)? => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "another process keeps it locked"))
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (held, there) = (file.metadata()?, fs::metadata(path)?);
    Ok((held.dev(), held.ino()) == (there.dev(), there.ino()))
}
