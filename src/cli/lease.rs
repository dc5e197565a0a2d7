//! Taking the lease for one command.

use std::time::Duration;

use super::Session;
use crate::codec::SigningKey;
use crate::error::Result;
use crate::repository::{Applicant, HeldLease, Repository};

/// How long a command that was killed keeps others waiting.
const DURATION: Duration = Duration::from_secs(30);

/// Takes the lease for `what`.
///
/// # Errors
/// [`Kind::LeaseHeld`](crate::error::Kind::LeaseHeld) when another run has it.
pub(super) async fn take(
    session: &Session,
    repository: &Repository,
    key: &SigningKey,
    what: &str,
) -> Result<HeldLease> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "an unknown host".into());
    let description = format!("{what} on {} (process {})", host.trim(), std::process::id());
    let applicant = Applicant { description, duration: DURATION };
    repository.acquire(&applicant, key, &session.clock, &session.random).await
}

/// Gives the lease back. What was done under it is done: a lease that is not given back runs out.
pub(super) async fn give_back(lease: HeldLease) {
    if let Err(error) = lease.release().await {
        tracing::info!(%error, "the lease was not given back; it runs out by itself");
    }
}
