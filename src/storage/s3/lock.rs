//! Object Lock: nobody removes what was written once before its time, whoever's credentials they have.
//!
//! What is replaced and removed all the time, such as the lease, is not locked. In a bucket with Object Lock every object has
//! versions: a delete only hides the newest one, and to remove the mark that hides it brings it back.

use std::time::Duration;

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockEnabled, ObjectLockMode};
use serde::Deserialize;

use super::bucket::{Bucket, is_not_implemented};
use crate::clock::Clock;
use crate::storage::{StorageError, StorageResult};

/// Who may remove a locked object before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Only who has a permission of its own for that, `BypassGovernanceRetention`.
    Governance,
    /// Nobody, not even the owner of the account.
    Compliance,
}

/// How long objects are locked, and against whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLock {
    /// Against whom.
    pub mode: LockMode,
    /// From when they are written.
    pub retain_for: Duration,
    /// What the keys begin with of objects that are replaced and removed: they are not locked.
    pub except: &'static str,
}

/// What a request to write says of the lock.
#[derive(Debug, Clone, Default)]
pub(super) struct Retention {
    pub(super) mode: Option<ObjectLockMode>,
    pub(super) until: Option<DateTime>,
}

impl Retention {
    /// Returns what it takes to write like that.
    pub(super) fn right(&self) -> &'static str {
        if self.mode.is_some() { "s3:PutObject and s3:PutObjectRetention" } else { "s3:PutObject" }
    }
}

impl ObjectLock {
    /// Returns what a request says that writes `key`: nothing where it may be replaced.
    pub(super) fn of(lock: Option<Self>, key: &str, clock: &Clock) -> Retention {
        let Some(lock) = lock.filter(|lock| !key.starts_with(lock.except)) else { return Retention::default() };
        let mode = match lock.mode {
            LockMode::Governance => ObjectLockMode::Governance,
            LockMode::Compliance => ObjectLockMode::Compliance,
        };
        let seconds = clock.now().as_second().saturating_add_unsigned(lock.retain_for.as_secs());
        Retention { mode: Some(mode), until: Some(DateTime::from_secs(seconds)) }
    }
}

impl Bucket {
    /// Makes sure that the bucket has Object Lock, where it is to be used.
    pub(super) async fn check_lock(&self) -> StorageResult<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        let request = self.request(&self.name, "ask for the Object Lock of", "s3:GetBucketObjectLockConfiguration");
        let asked = self.client.get_object_lock_configuration().bucket(&self.name).send();
        let missing = || StorageError::NoObjectLock { place: self.location() };
        match request.send(0, asked).await {
            Ok(answer) => {
                let configured = answer.object_lock_configuration.and_then(|lock| lock.object_lock_enabled);
                if configured == Some(ObjectLockEnabled::Enabled) { Ok(()) } else { Err(missing()) }
            }
            Err(StorageError::NotFound { .. }) => Err(missing()),
            Err(StorageError::Other { reason, .. }) if is_not_implemented(&reason) => Err(missing()),
            // Whoever may not ask finds out with the first object.
            Err(StorageError::Denied { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
