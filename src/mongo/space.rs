//! How much room a server has left.

use bson::doc;

use super::client::Deployment;
use super::error::{Attempt, RESTORE_ROLES, UNAUTHORIZED, code, explain};
use crate::error::Result;

/// Returns the free bytes of the file system that holds a primary's data; none where the server does not tell, or not this
/// user.
///
/// # Errors
/// When nobody answers.
pub async fn free(deployment: &Deployment) -> Result<Option<u64>> {
    let attempt = Attempt { doing: "ask for the free disk space", action: "dbStats", roles: RESTORE_ROLES };
    let database = deployment.client().database("admin");
    let reply = match database.run_command(doc! { "dbStats": 1 }).await {
        Ok(reply) => reply,
        // A precaution less is no reason to refuse a restore.
        Err(error) if code(&error) == Some(UNAUTHORIZED) => return Ok(None),
        Err(error) => return Err(explain(&error, attempt)),
    };
    let size = |key| reply.get_f64(key).ok().or_else(|| reply.get_i64(key).ok().map(as_f64));
    Ok(match (size("fsTotalSize"), size("fsUsedSize")) {
        (Some(total), Some(used)) if total > used => Some(as_bytes(total - used)),
        _ => None,
    })
}

#[allow(clippy::cast_precision_loss)] // Sizes of disks; the server itself gives them as doubles.
fn as_f64(size: i64) -> f64 {
    size as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Above zero, and far below 2^53.
fn as_bytes(size: f64) -> u64 {
    size as u64
}
