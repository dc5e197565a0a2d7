//! What can go wrong with a store, as far as callers act on it.

use crate::error::{Error, Kind};

/// The result of a storage operation.
pub type StorageResult<T> = Result<T, StorageError>;

/// A failed storage operation. Every variant names the key or place it is about.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such object.
    #[error("{key} does not exist")]
    NotFound {
        /// The object's key.
        key: String,
    },
    /// An object of this key exists already.
    #[error("{key} exists already")]
    AlreadyExists {
        /// The object's key.
        key: String,
    },
    /// An object that was to be replaced is not what it was.
    #[error("{key} was changed by somebody else")]
    Changed {
        /// The object's key.
        key: String,
    },
    /// The bucket or directory itself is missing.
    #[error("{place} does not exist")]
    NoSuchPlace {
        /// The bucket or directory.
        place: String,
    },
    /// Credentials are missing, wrong, or lack a permission.
    #[error("{place} denies {operation}: {reason}")]
    Denied {
        /// The bucket, directory or key.
        place: String,
        /// The operation in the store's own words, such as `s3:PutObject`.
        operation: String,
        /// What the store said.
        reason: String,
    },
    /// Objects are to be locked where none can be.
    #[error("{place} has no Object Lock")]
    NoObjectLock {
        /// The bucket.
        place: String,
    },
    /// No secure connection comes about.
    #[error("cannot {operation}: {reason}")]
    Untrusted {
        /// What was tried.
        operation: String,
        /// What is wrong with the store's certificate.
        reason: &'static str,
        /// What helps.
        remedy: &'static str,
    },
    /// The store's answer does not match what was sent or asked for.
    #[error("{key} is not stored as it was sent: {reason}")]
    Mismatch {
        /// The object's key.
        key: String,
        /// What differs.
        reason: String,
    },
    /// There is no room left.
    #[error("{place} is full")]
    Full {
        /// The place.
        place: String,
    },
    /// Who wanted to write has lost the right to.
    #[error("nothing is written any more: {reason}")]
    LeaseLost {
        /// Who has it now.
        reason: String,
    },
    /// The store did not answer or failed in a way that may pass.
    #[error("cannot {operation}: {reason}")]
    Unavailable {
        /// What was tried: `write backups/x/packs/1.tar`.
        operation: String,
        /// What the store or the network said.
        reason: String,
    },
    /// A failure that trying again will not mend.
    #[error("cannot {operation}: {reason}")]
    Other {
        /// What was tried.
        operation: String,
        /// What the store said.
        reason: String,
    },
}

impl StorageError {
    /// Whether the same call may succeed a moment later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        let (kind, hint) = match &error {
            StorageError::NotFound { .. } => (Kind::NotFound, None),
            StorageError::AlreadyExists { .. } | StorageError::Changed { .. } => (Kind::Refused, None),
            StorageError::NoSuchPlace { place } if place.starts_with("s3://") => {
                (Kind::Configuration, Some("check repository.url; Regrow does not create buckets"))
            }
            StorageError::NoSuchPlace { .. } => (
                Kind::Configuration,
                Some("check repository.url and that its disk is mounted; only 'regrow init' makes directories"),
            ),
            StorageError::Denied { .. } => {
                (Kind::Configuration, Some("check the credentials and grant them this operation on this place"))
            }
            StorageError::NoObjectLock { .. } => (
                Kind::Configuration,
                Some("make another bucket, with Object Lock, or remove repository.object_lock from the configuration"),
            ),
            StorageError::Untrusted { remedy, .. } => (Kind::Configuration, Some(*remedy)),
            StorageError::Mismatch { .. } => (
                Kind::Damaged,
                Some("the store or the network alters data; try again, and check its disks if it repeats"),
            ),
            StorageError::LeaseLost { .. } => (Kind::LeaseHeld, None),
            StorageError::Full { .. } => (Kind::Failed, Some("free space or enlarge the store, then try again")),
            StorageError::Unavailable { .. } => {
                (Kind::Failed, Some("check that the store runs and can be reached, then try again"))
            }
            StorageError::Other { .. } => (Kind::Failed, None),
        };
        let converted = Self::new(kind, error.to_string());
        let converted = if error.is_transient() { converted.transient() } else { converted };
        match hint {
            Some(hint) => converted.with_hint(hint),
            None => converted,
        }
    }
}
