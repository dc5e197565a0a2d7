//! Which keys a store takes: the same for every implementation, so that a repository can be copied from
//! any store to any other.

use super::{StorageError, StorageResult};

/// How the last part of an unfinished object's file name begins; no key has a part that begins so.
pub(super) const UNFINISHED: &str = ".tmp-";

/// Leaves room for a bucket prefix below the 1,024 bytes that S3 allows.
const LONGEST_KEY: usize = 512;

/// Refuses a key that some store could not hold, or that would lead out of the store.
///
/// # Errors
/// [`StorageError::Other`], because such a key is a mistake in the caller and trying again cannot help.
pub(super) fn check(key: &str) -> StorageResult<()> {
    match fault(key) {
        None => Ok(()),
        Some(reason) => {
            Err(StorageError::Other { operation: format!("use the key {key:?}"), reason: reason.to_owned() })
        }
    }
}

/// Whether a key is one that [`check`] accepts.
pub(super) fn is_valid(key: &str) -> bool {
    fault(key).is_none()
}

fn fault(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("it is empty");
    }
    if key.len() > LONGEST_KEY {
        return Some("it is longer than 512 bytes");
    }
    // S3 lists keys in XML, which cannot carry control characters.
    if key.chars().any(char::is_control) {
        return Some("it has a control character");
    }
    key.split('/').find_map(|part| match part {
        "" => Some("it has an empty part"),
        "." | ".." => Some("it has a '.' or '..' part"),
        _ if part.starts_with(UNFINISHED) => Some("names that begin with .tmp- are for unfinished objects"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_inside_the_store() {
        for key in ["a", "a/b.tar", "backups/20261123T020000Z-daily-7f3a/packs/1.tar", "ä b+c%2F", "..a", "a..b", "..."]
        {
            assert!(is_valid(key), "{key}");
        }
        for key in ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\nb", "a/.tmp-1"] {
            assert!(check(key).is_err(), "{key:?}");
        }
        assert!(check(&"k".repeat(513)).is_err());
    }
}
