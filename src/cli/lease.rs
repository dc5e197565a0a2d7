//! Taking the lease for one command.

use std::time::Duration;

use super::Session;
use super::record::who;
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
    let description = format!("{what} on {}", who());
    let applicant = Applicant { description, duration: DURATION, service: false };
    repository.acquire(&applicant, key, &session.clock, &session.random).await
}

/// Gives the lease back. What was done under it is done: a lease that is not given back runs out.
pub(super) async fn give_back(lease: &HeldLease) {
    if let Err(error) = lease.release().await {
        tracing::info!(%error, "the lease was not given back; it runs out by itself");
    }
}
