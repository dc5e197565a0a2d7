//! Finding out what a store that calls itself S3 really does.

use bytes::Bytes;
use sha2::{Digest, Sha256 as Hasher};

use super::bucket::{Bucket, Condition};
use crate::storage::{Abilities, StorageError, StorageResult};

const MARKER: Bytes = Bytes::from_static(b"regrow probe\n");

/// The marker. It stays: credentials that may not delete are good practice, two probes at once must not take it from each other,
/// and with versioning each removal would leave a version.
const KEY: &str = "control/probe-store";

/// An entity tag that the marker does not have: the MD5 of nothing.
const TAG_OF_NOTHING: &str = "\"d41d8cd98f00b204e9800998ecf8427e\"";

impl Bucket {
    /// Tries what a repository would like to rely on.
    pub(super) async fn probe(&self) -> StorageResult<Abilities> {
        self.check_lock().await?;
        // A store may make a bucket for an object that needs one.
        self.check_place().await?;
        let checks_content = self.refuses_wrong_checksum().await?;
        let create_if_absent = self.refuses_second_create().await?;
        let replace_if_unchanged = self.refuses_wrong_tag().await?;
        Ok(Abilities { create_if_absent, checks_content, replace_if_unchanged })
    }

    async fn refuses_second_create(&self) -> StorageResult<bool> {
        match self.create(KEY, MARKER, &Hasher::digest(MARKER).into()).await {
            // Not through `create`, whose own question whether the key is free would hide the store's answer.
            Ok(_) | Err(StorageError::AlreadyExists { .. }) => self.refuses(Condition::Free).await,
            Err(error) => Err(error),
        }
    }

    async fn refuses_wrong_tag(&self) -> StorageResult<bool> {
        match self.refuses(Condition::Unchanged(TAG_OF_NOTHING.to_owned())).await {
            // Who may replace nothing cannot rely on it either.
            Err(StorageError::Denied { .. }) => Ok(false),
            answer => answer,
        }
    }

    /// Whether a write to the marker is refused for a condition that does not hold.
    async fn refuses(&self, condition: Condition) -> StorageResult<bool> {
        match self.put(KEY, MARKER, &Hasher::digest(MARKER).into(), condition).await {
            Err(StorageError::AlreadyExists { .. }) => Ok(true),
            Ok(_) | Err(StorageError::Other { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the marker is refused with another's checksum. A store may keep what it refuses, which does no harm here.
    async fn refuses_wrong_checksum(&self) -> StorageResult<bool> {
        let of_other_content = Hasher::digest(b"something else").into();
        let put = |condition| self.put(KEY, MARKER, &of_other_content, condition);
        let answer = match self.under(Condition::Free, put).await {
            // The marker of an earlier probe: who may replace it sees more.
            Err(StorageError::AlreadyExists { .. }) => put(Condition::Always).await,
            answer => answer,
        };
        match answer {
            Ok(_) | Err(StorageError::Denied { .. }) => Ok(false),
            Err(StorageError::Mismatch { .. } | StorageError::Other { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}
