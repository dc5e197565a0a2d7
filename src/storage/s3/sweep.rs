//! Removing what unfinished uploads left in a bucket.

use std::time::Duration;

use aws_sdk_s3::types::MultipartUpload;
use jiff::Timestamp;
use tracing::debug;

use super::bucket::{Bucket, is_not_implemented};
use crate::storage::{StorageError, StorageResult};

impl Bucket {
    /// Aborts the uploads below `prefix` that began before `now - age`, by the store's clock.
    pub(super) async fn sweep(&self, prefix: &str, now: Timestamp, age: Duration) -> StorageResult<usize> {
        let uploads = match self.uploads(prefix).await {
            Err(StorageError::Other { reason, .. }) if is_not_implemented(&reason) => {
                debug!(location = self.location(), "the store cannot list unfinished uploads, nothing swept");
                return Ok(0);
            }
            uploads => uploads?,
        };
        let mut removed = 0;
        for upload in uploads {
            let key = upload.key().and_then(|full| self.relative(full));
            if let (Some(key), Some(id), true) = (key, upload.upload_id(), is_older(&upload, now, age)) {
                self.abort(key, id).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn uploads(&self, prefix: &str) -> StorageResult<Vec<MultipartUpload>> {
        let request = self.request(prefix, "list the unfinished uploads of", "s3:ListBucketMultipartUploads");
        let mut uploads = Vec::new();
        let mut from = (None, None);
        loop {
            let list = self.client.list_multipart_uploads().bucket(&self.name).prefix(self.full(prefix));
            let list = list.set_key_marker(from.0.clone()).set_upload_id_marker(from.1.clone());
            let page = request.send(0, list.send()).await?;
            uploads.extend(page.uploads.unwrap_or_default());
            let next = (page.next_key_marker, page.next_upload_id_marker);
            // A store that repeats itself is not asked again: what is left waits for the next sweep.
            if page.is_truncated != Some(true) || next.0.is_none() || next == from {
                return Ok(uploads);
            }
            from = next;
        }
    }
}

/// Whether an upload is old enough; one that does not tell its age is not.
fn is_older(upload: &MultipartUpload, now: Timestamp, age: Duration) -> bool {
    let begun = upload.initiated().and_then(|time| Timestamp::from_second(time.secs()).ok());
    begun.is_some_and(|begun| {
        let elapsed = now.duration_since(begun);
        elapsed.is_positive() && elapsed.unsigned_abs() > age
    })
}
