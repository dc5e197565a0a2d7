//! Finding out what a store that calls itself S3 really does.

use bytes::Bytes;
use sha2::{Digest, Sha256 as Hasher};

use super::bucket::{Bucket, Condition};
use crate::storage::{Abilities, StorageError, StorageResult};

const MARKER: Bytes = Bytes::from_static(b"regrow probe\n");

/// An entity tag that the marker does not have: the MD5 of nothing.
const TAG_OF_NOTHING: &str = "\"d41d8cd98f00b204e9800998ecf8427e\"";

impl Bucket {
    /// Tries what a repository would like to rely on, with markers whose names end in `number`.
    pub(super) async fn probe(&self, number: u64) -> StorageResult<Abilities> {
        self.check_lock().await?;
        let marker = format!("control/probe-{number:016x}");
        let altered = format!("control/probe-{number:016x}-altered");
        let create_if_absent = self.refuses_second_create(&marker).await;
        let replace_if_unchanged = self.refuses(&marker, Condition::Unchanged(TAG_OF_NOTHING.to_owned())).await;
        let checks_content = self.refuses_wrong_checksum(&altered).await;
        // A store may keep what it refused, so both markers go, whatever the answers were.
        self.delete(&marker).await?;
        self.delete(&altered).await?;
        Ok(Abilities {
            create_if_absent: create_if_absent?,
            checks_content: checks_content?,
            replace_if_unchanged: replace_if_unchanged?,
        })
    }

    async fn refuses_second_create(&self, marker: &str) -> StorageResult<bool> {
        let sha256 = Hasher::digest(MARKER).into();
        self.create(marker, MARKER, &sha256).await?;
        // Not through `create`, whose own question whether the key is free would hide the store's answer.
        self.refuses(marker, Condition::Free).await
    }

    /// Whether a write to the marker is refused for a condition that does not hold.
    async fn refuses(&self, marker: &str, condition: Condition) -> StorageResult<bool> {
        match self.put(marker, MARKER, &Hasher::digest(MARKER).into(), condition).await {
            Err(StorageError::AlreadyExists { .. }) => Ok(true),
            Ok(_) | Err(StorageError::Other { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn refuses_wrong_checksum(&self, marker: &str) -> StorageResult<bool> {
        let of_other_content = Hasher::digest(b"something else").into();
        match self.put(marker, MARKER, &of_other_content, Condition::Always).await {
            Ok(_) => Ok(false),
            Err(StorageError::Mismatch { .. } | StorageError::Other { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}
