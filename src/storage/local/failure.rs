//! What an operating system's error means for a store.

use std::io;

use super::directory::Directory;
use super::draft::Refused;
use crate::storage::StorageError;

impl Directory {
    /// Returns the storage error for a draft of the object `key` that was refused.
    pub(super) fn explain_refused(&self, refused: Refused, key: &str) -> StorageError {
        match refused {
            Refused::Io(error) => self.explain(&error, "write", key),
            Refused::Mismatch => StorageError::Mismatch {
                key: key.to_owned(),
                reason: "the file reads differently from what was written to it".to_owned(),
            },
        }
    }

    /// Returns the storage error for `error`, met while trying to `verb` the object `key`.
    pub(super) fn explain(&self, error: &io::Error, verb: &str, key: &str) -> StorageError {
        let place = self.root().display().to_string();
        let operation = format!("{verb} {}", if key.is_empty() { &place } else { key });
        match error.kind() {
            // A missing parent, or a parent that is a file, means as much as a missing file.
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
                if self.root().is_dir() {
                    StorageError::NotFound { key: key.to_owned() }
                } else {
                    StorageError::NoSuchPlace { place }
                }
            }
            io::ErrorKind::AlreadyExists => StorageError::AlreadyExists { key: key.to_owned() },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StorageError::Denied { place, operation: verb.to_owned(), reason: plain(error) }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full { place },
            // What a mounted network file system answers while its server is away.
            io::ErrorKind::TimedOut
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::ResourceBusy => StorageError::Unavailable { operation, reason: plain(error) },
            _ => StorageError::Other { operation, reason: plain(error) },
        }
    }
}

/// Returns the system's words without Rust's "(os error 13)" behind them.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Error numbers of Linux: `ENOSPC`, `EDQUOT`, `EACCES`, `EROFS`, `ESTALE`, `EIO`.
    #[test]
    fn system_errors_become_what_callers_act_on() {
        let directory = Directory::new(std::env::temp_dir(), Random::seeded(1));
        let explain = |number| directory.explain(&io::Error::from_raw_os_error(number), "write", "k");
        assert!(matches!(explain(28), StorageError::Full { .. }));
        assert!(matches!(explain(122), StorageError::Full { .. }));
        assert!(matches!(explain(13), StorageError::Denied { .. }));
        assert!(matches!(explain(30), StorageError::Denied { .. }));
        assert!(explain(116).is_transient());
        assert_eq!(explain(5).to_string(), "cannot write k: Input/output error");
    }
}
