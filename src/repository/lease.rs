//! Holding a lease: of all that would write to a repository by themselves, one does.
//!
//! One object, `control/lease.json` or [that of a backup](super::backup_lease), is changed only by replacing what one has read. Whoever was paused past its time
//! finds that out with the first replacement: somebody else's generation stands there. What a crash leaves is a lease
//! that runs out.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Repository;
use super::writer::signed;
use crate::clock::Clock;
use crate::codec::SigningKey;
use crate::codec::signing::LEASE_PURPOSE;
use crate::error::{Context, Error, Kind, Result};
use crate::format::lease::Lease;
use crate::format::{VERSION, layout};
use crate::random::Random;
use crate::storage::{Gate, StorageError, StorageResult};
use crate::units::Moment;

/// What must be left of the lease for a write to begin: the request itself takes its time.
const MARGIN: Duration = Duration::from_secs(5);

/// What someone who would hold the lease brings along.
#[derive(Debug, Clone)]
pub struct Applicant {
    /// Who it is, for people: a host, a process and what it does.
    pub description: String,
    /// How long the lease is held without being renewed.
    pub duration: Duration,
    /// Whether it is the service, and not a single command.
    pub service: bool,
}

/// The lease while it is ours. Dropped without [`release`](Self::release), it runs out.
pub struct HeldLease {
    pub(super) repository: Repository,
    /// The object's key.
    pub(super) place: String,
    signing_key: SigningKey,
    clock: Clock,
    duration: Duration,
    /// What stands in the repository.
    current: Mutex<Current>,
    /// Who has it now, once it is somebody else's.
    lost: OnceLock<String>,
}

struct Current {
    lease: Lease,
    document: Bytes,
    /// Before this was sent; by the process's own clock, which nobody sets.
    renewed_at: Instant,
}

impl Repository {
    /// Reads the lease; none when nobody ever held it.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when it was altered; whatever the storage says.
    pub async fn lease(&self) -> Result<Option<Lease>> {
        Ok(self.stored_lease(layout::LEASE).await?.map(|(lease, _)| lease))
    }

    pub(super) async fn stored_lease(&self, place: &str) -> Result<Option<(Lease, Bytes)>> {
        let Some(document) = self.find(place).await? else { return Ok(None) };
        let payload = self.keys.verify("the lease", LEASE_PURPOSE, &document);
        let lease = payload.and_then(|payload| Lease::parse(payload, &self.descriptor.id)).map_err(|error| {
            if error.is_of_newer() {
                return error;
            }
            error.with_hint(format!("find out who wrote it, then remove {place}: it holds nothing else"))
        })?;
        Ok(Some((lease, document)))
    }

    /// Takes the lease, if it is free.
    ///
    /// # Errors
    /// [`Kind::LeaseHeld`], naming the holder, when it is not; whatever the storage says.
    pub async fn acquire(
        &self,
        applicant: &Applicant,
        signing_key: &SigningKey,
        clock: &Clock,
        random: &Random,
    ) -> Result<HeldLease> {
        let found = self.stored_lease(layout::LEASE).await?;
        match &found {
            Some((lease, _)) if !lease.is_free(clock.now()) => Err(held_by(lease)),
            _ => self.replace_lease((layout::LEASE.into(), found), None, applicant, signing_key, (clock, random)).await,
        }
    }

    /// Takes over the lease of a service that has stood still for longer than a service's lease lasts, by the caller's own
    /// clock: its holder is gone, whatever time it says. It may say a late one, where the holder's clock was ahead.
    ///
    /// # Errors
    /// [`Kind::LeaseHeld`], naming the holder, when it is not that lease any more; whatever the storage says.
    pub async fn take_over(
        &self,
        stood_still: &Lease,
        applicant: &Applicant,
        signing_key: &SigningKey,
        (clock, random): (&Clock, &Random),
    ) -> Result<HeldLease> {
        match self.stored_lease(layout::LEASE).await? {
            Some((lease, _)) if lease != *stood_still => Err(held_by(&lease)),
            found => {
                let found = (layout::LEASE.into(), found);
                self.replace_lease(found, None, applicant, signing_key, (clock, random)).await
            }
        }
    }

    /// Puts a lease in the place of what was found, unless somebody else has done so meanwhile.
    pub(super) async fn replace_lease(
        &self,
        (place, found): (String, Option<(Lease, Bytes)>),
        process: Option<String>,
        applicant: &Applicant,
        signing_key: &SigningKey,
        (clock, random): (&Clock, &Random),
    ) -> Result<HeldLease> {
        let now = clock.now();
        let lease = Lease {
            format: Lease::FORMAT.into(),
            version: VERSION,
            repository: self.descriptor.id.clone(),
            generation: found.as_ref().map_or(0, |(lease, _)| lease.generation) + 1,
            renewals: 0,
            holder: format!("{:016x}", random.next_u64()),
            description: applicant.description.clone(),
            service: applicant.service,
            process,
            acquired_at: now,
            expires_at: now + applicant.duration,
            released: false,
        };
        let (renewed_at, document) = (Instant::now(), sign(&place, &lease, signing_key)?);
        let taken = match found {
            Some((_, before)) => self.storage.replace(&place, before, document.clone()).await,
            None => self.storage.create(&place, document.clone()).await.map(drop),
        };
        match taken {
            Err(StorageError::Changed { .. } | StorageError::AlreadyExists { .. }) => {
                return Err(match self.stored_lease(&place).await? {
                    Some((lease, _)) => held_by(&lease),
                    None => Error::new(Kind::LeaseHeld, "the lease was removed while it was taken"),
                });
            }
            taken => taken.map_err(Error::from).context("cannot take the lease")?,
        }
        let current = Mutex::new(Current { lease, document, renewed_at });
        let (repository, signing_key, clock) = (self.clone(), signing_key.clone(), clock.clone());
        let duration = applicant.duration;
        Ok(HeldLease { repository, place, signing_key, clock, duration, current, lost: OnceLock::new() })
    }
}

impl HeldLease {
    /// Makes sure that the lease is still ours and puts its end off: by replacing it, so that the answer is the
    /// repository's and not a clock's. To be called directly before anything that only the holder may do.
    ///
    /// # Errors
    /// [`Kind::LeaseHeld`] when somebody else has it: nothing may be written any more. Whatever the storage says: it
    /// may be ours still, which a later call finds out.
    pub async fn renew(&self) -> Result<()> {
        let mut current = self.current.lock().await;
        let lease = Lease {
            renewals: current.lease.renewals + 1,
            expires_at: self.clock.now() + self.duration,
            ..current.lease.clone()
        };
        let renewed_at = Instant::now();
        self.replace(&mut current, lease).await?;
        current.renewed_at = renewed_at;
        // The answer may have come late: by now the lease may have run out again.
        if renewed_at.elapsed() >= self.duration {
            return Err(Error::failed("renewing the lease took longer than it lasts").transient());
        }
        Ok(())
    }

    /// Makes sure that the lease stands there as ours, without putting its end off: so nobody has taken it before this was called.
    ///
    /// # Errors
    /// [`Kind::LeaseHeld`] when somebody else has it; whatever the storage says.
    pub async fn check(&self) -> Result<()> {
        let current = self.current.lock().await;
        self.stands_as_ours(&current).await.map(drop)
    }

    /// Gives the lease back, so that the next one need not wait until it runs out.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn release(&self) -> Result<()> {
        let mut current = self.current.lock().await;
        let (expires_at, renewals) = (self.clock.now(), current.lease.renewals + 1);
        let lease = Lease { released: true, renewals, expires_at, ..current.lease.clone() };
        self.replace(&mut current, lease).await?;
        let _ = self.lost.set("the lease was given back".into());
        Ok(())
    }

    async fn replace(&self, current: &mut Current, lease: Lease) -> Result<()> {
        let document = sign(&self.place, &lease, &self.signing_key)?;
        let before = current.document.clone();
        match self.repository.storage.replace(&self.place, before, document.clone()).await {
            Ok(()) => {
                (current.lease, current.document) = (lease, document);
                Ok(())
            }
            Err(StorageError::Changed { .. }) => self.settle(current).await.inspect_err(|error| {
                if error.kind() == Kind::LeaseHeld {
                    let _ = self.lost.set(error.to_string());
                }
            }),
            Err(error) => Err(Error::from(error).context("cannot renew the lease")),
        }
    }

    /// An earlier replacement that seemed to have failed may have taken effect later: that one is ours, too.
    async fn settle(&self, current: &mut Current) -> Result<()> {
        (current.lease, current.document) = self.stands_as_ours(current).await?;
        Err(Error::failed("cannot renew the lease: an earlier renewal has only just taken effect").transient())
    }

    /// Returns what stands in the repository, where that is ours.
    async fn stands_as_ours(&self, current: &Current) -> Result<(Lease, Bytes)> {
        match self.repository.stored_lease(&self.place).await? {
            Some(stored) if stored.0.holder == current.lease.holder => Ok(stored),
            Some((lease, _)) => Err(held_by(&lease)),
            None => Err(Error::new(Kind::LeaseHeld, "the lease was removed while it was held")),
        }
    }

    /// Returns the number of this holder.
    pub async fn generation(&self) -> u64 {
        self.current.lock().await.lease.generation
    }

    /// Returns for how long the lease is surely ours, by the process's own clock.
    pub async fn remaining(&self) -> Duration {
        self.duration.saturating_sub(self.current.lock().await.renewed_at.elapsed())
    }

    /// Returns who has it now, once it is known to be somebody else's or was given back.
    #[must_use]
    pub fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }
}

impl HeldLease {
    /// Whether it is ours for as long as a write may take: by both clocks, because the process's own stands still while
    /// its machine sleeps, and the other may be set.
    async fn is_safely_ours(&self) -> bool {
        let current = self.current.lock().await;
        let own = self.duration.saturating_sub(current.renewed_at.elapsed());
        own > MARGIN && self.clock.now() + MARGIN < current.lease.expires_at
    }
}

/// Lets writes begin while the lease is surely ours; where it may have run out, it is renewed first.
#[async_trait]
impl Gate for HeldLease {
    async fn pass(&self) -> StorageResult<()> {
        let renewed = if self.is_safely_ours().await { Ok(()) } else { self.renew().await };
        match (self.lost(), renewed) {
            (Some(reason), _) => Err(StorageError::LeaseLost { reason: reason.to_owned() }),
            (None, Ok(())) => Ok(()),
            (None, Err(error)) => {
                Err(StorageError::Unavailable { operation: "renew the lease".into(), reason: error.to_string() })
            }
        }
    }
}

fn sign(place: &str, lease: &Lease, key: &SigningKey) -> Result<Bytes> {
    signed(place, LEASE_PURPOSE, lease, key)
}

pub(super) fn held_by(lease: &Lease) -> Error {
    let (holder, acquired, expires) = (&lease.description, Moment(lease.acquired_at), Moment(lease.expires_at));
    Error::new(Kind::LeaseHeld, format!("{holder} holds the lease since {acquired}, at least until {expires}"))
        .with_hint("wait for it to end or stop it; if it was killed, try again when the lease has run out")
}
