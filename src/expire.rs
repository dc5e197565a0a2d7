//! Applying retention: what expires is marked first; its bytes go after a grace period.
//!
//! What a crash leaves: marks that the next run finds, whole backups, and objects without a manifest or a record, which
//! nothing reads and the next run removes. Credentials that may not delete are no error: what could not be removed is
//! told, and a lifecycle rule or another account may do it.

mod doubt;
mod oplog;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};

use crate::clock::Clock;
use crate::codec::SigningKey;
use crate::error::{Error, Kind, Result};
use crate::format::evidence::{BackupSummary, Event, RemovedOplog, Run};
use crate::format::increment::ancestors;
use crate::format::lease::Lease;
use crate::format::mark::{Fate, Mark, MarkKind};
use crate::format::oplog::Range;
use crate::format::{BackupId, TimelineId};
use crate::policy::Retention;
use crate::policy::history::Soundness;
use crate::policy::retention::{BackupFacts, Refusal, RetentionPlan, Verdict};
use crate::random::Random;
use crate::repository::{Applicant, EvidenceLog, HeldLease, Listing, Repository};
use crate::storage::{StorageError, StorageResult};

/// What an interrupted backup has left belongs to none that still runs when it is this old.
const ABANDONED_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long after its lease an interrupted backup is kept, so that it can be resumed: no server keeps a moment readable for
/// longer.
const RESUMED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// How long the lease of such a backup is held while it is removed.
const REMOVAL: Duration = Duration::from_mins(10);

/// How far back evidence of verifications is looked for at first: everything is verified each week.
const VERIFIED_WITHIN: SignedDuration = SignedDuration::from_hours(100 * 24);

/// What retention would do to a repository.
#[derive(Debug, Clone)]
pub struct ExpiryPlan {
    /// Each good backup's fate, the newest first.
    pub backups: Vec<(BackupId, Verdict)>,
    /// Backups whose manifest cannot be believed: they are left alone.
    pub damaged: Vec<BackupId>,
    /// Backups whose removal was interrupted before it removed anything, and which stay after all.
    pub given_up: Vec<BackupId>,
    /// Removals that were interrupted, and what interrupted backups have left.
    pub remains: Vec<BackupId>,
    /// The leases of backups that are or were being taken, as they were seen.
    pub leases: BTreeMap<BackupId, Lease>,
    /// Keys of the oplog's objects that nothing needs any more, in the order in which they may go.
    pub oplog: Vec<String>,
    /// The slices that those are, by timeline, in order.
    pub slices: Vec<(TimelineId, Vec<Range>)>,
    /// What each increment builds on.
    pub parents: BTreeMap<BackupId, BackupId>,
    /// What is known of each good backup.
    pub summaries: BTreeMap<BackupId, BackupSummary>,
    /// The newest moment that is stored, where ages were taken at it and this machine's clock alone would let more go.
    pub held_back_to: Option<Timestamp>,
}

impl ExpiryPlan {
    /// Returns the increments that build on a backup and are kept.
    pub fn kept_children<'a>(&'a self, id: &'a BackupId) -> impl Iterator<Item = &'a BackupId> {
        let kept = self.backups.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Keep(_)));
        kept.map(|(child, _)| child).filter(move |child| self.parents.get(child) == Some(id))
    }

    /// Returns what goes, each increment before what it builds on: what a crash leaves can still be restored.
    fn removals(&self) -> Vec<&BackupId> {
        let removed = self.backups.iter().filter(|(_, verdict)| *verdict == Verdict::Remove);
        let mut removed: Vec<&BackupId> = removed.map(|(id, _)| id).collect();
        removed.sort_by_key(|id| std::cmp::Reverse(ancestors(&self.parents, id).count()));
        removed
    }

    /// Returns how many slices go.
    #[must_use]
    pub fn slice_count(&self) -> u64 {
        self.slices.iter().map(|(_, slices)| slices.len() as u64).sum()
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// Backups that have expired now.
    pub expired: Vec<BackupId>,
    /// Backups whose bytes are gone now.
    pub removed: Vec<BackupId>,
    /// Objects of the oplog that are gone now.
    pub oplog_objects: u64,
    /// Why the rest was not removed: the credentials may not delete.
    pub denied: Option<String>,
    /// What the removed backups were.
    pub removed_backups: Vec<BackupSummary>,
    /// What of the oplog is gone, or may be.
    pub removed_oplog: Vec<RemovedOplog>,
}

impl Expired {
    /// Returns what is recorded of it as evidence; `ended_early` tells that it ended before it had done everything.
    #[must_use]
    pub fn event(&self, run: Run, ended_early: bool) -> Event {
        let Self { expired, removed, oplog_objects, denied, removed_backups, removed_oplog } = self.clone();
        Event::Expiry { run, expired, removed, oplog_objects, denied, ended_early, removed_backups, removed_oplog }
    }

    /// Whether anything was done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expired.is_empty() && self.removed.is_empty() && self.oplog_objects == 0
    }
}

/// What executing a plan needs.
pub struct ExpiryContext<'a> {
    /// The repository that the plan is about.
    pub repository: &'a Repository,
    /// What signs marks.
    pub signing_key: &'a SigningKey,
    /// Makes sure that nobody else does the same.
    pub lease: &'a HeldLease,
    /// The time.
    pub clock: &'a Clock,
    /// Randomness.
    pub random: &'a Random,
}

/// Finds out what retention would do now. Changes nothing.
///
/// # Errors
/// [`Kind::Refused`](crate::error::Kind::Refused) when now is no time to let anything go, or a newer Regrow took one of the
/// backups; whatever the storage says.
pub async fn plan(repository: &Repository, retention: &Retention, now: Timestamp) -> Result<ExpiryPlan> {
    let (listing, captured) = (repository.list().await?, repository.captured().await?);
    let verified = verified(repository, &listing, now).await?;
    let holds = repository.marks(MarkKind::Hold).await?;
    let expired = repository.marks(MarkKind::Expired).await?;
    let sound = listing.backups.iter().filter_map(|backup| backup.manifest.as_ref().ok());
    let facts: Vec<BackupFacts> = sound
        .map(|manifest| BackupFacts {
            verified: verified.contains_key(&manifest.id),
            held: holds.contains_key(&manifest.id),
            expired_at: expired.get(&manifest.id).map(|mark| mark.placed_at),
            ..BackupFacts::of(manifest)
        })
        .collect();
    let doubts = doubt::find(repository, &listing).await?;
    let decided = retention.plan(&facts, oplog::facts(&captured, &facts), now).map_err(refused)?;
    let RetentionPlan { mut backups, oplog_until, measured_at, keeps_more } = decided;
    let (oplog, slices) = match oplog_until {
        Some(until) => oplog::unneeded(repository, &captured, until).await?,
        None => (Vec::new(), Vec::new()),
    };
    let parents = facts.iter().filter_map(|backup| Some((backup.id.clone(), backup.parent.clone()?))).collect();
    doubt::spare(&mut backups, &parents, &doubts, measured_at);
    let summaries = listing.backups.iter().filter_map(|backup| backup.manifest.as_ref().ok());
    let summaries = summaries.map(|manifest| (manifest.id.clone(), manifest.into())).collect();
    let damaged = listing.backups.iter().filter(|backup| backup.manifest.is_err()).map(|backup| backup.id.clone());
    let leases = repository.backup_leases().await?;
    let (damaged, [remains, by_clock]) =
        (damaged.collect(), [measured_at, now].map(|at| remains(&listing, &expired, &leases, at)));
    let held_back_to = (keeps_more || remains.len() < by_clock.len()).then_some(measured_at);
    let given_up = backups.iter().filter(|(id, verdict)| {
        let fate = expired.get(id).and_then(|mark| mark.fate);
        *verdict != Verdict::Remove && fate == Some(Fate::Removal)
    });
    let given_up = given_up.map(|(id, _)| id.clone()).collect();
    Ok(ExpiryPlan { backups, damaged, given_up, remains, leases, oplog, slices, parents, summaries, held_back_to })
}

/// Returns which backups are verified: as far as the last months tell, and all the evidence where those tell of none.
async fn verified(repository: &Repository, listing: &Listing, now: Timestamp) -> Result<BTreeMap<BackupId, Timestamp>> {
    let exists = |id: &BackupId| listing.backups.iter().any(|backup| backup.id == *id);
    let mut verified = BTreeMap::new();
    for since in [now - VERIFIED_WITHIN, Timestamp::UNIX_EPOCH] {
        let mut evidence = EvidenceLog::since(since);
        evidence.refresh(repository, now).await?;
        verified = Soundness::of(evidence.records()).verified;
        if verified.keys().any(exists) {
            break;
        }
    }
    Ok(verified)
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::ClockBehind(newest) => Error::refused(format!(
            "nothing expires: the clock is behind the newest backup, which was finished {newest}"
        ))
        .with_hint("set this machine's clock right"),
        Refusal::InGap => Error::refused("nothing expires: oplog was lost, and no backup leads on behind the loss")
            .with_hint("take a backup first ('regrow backup')"),
    }
}

/// Returns what is no backup any more, or never was.
fn remains(
    listing: &Listing,
    expired: &BTreeMap<BackupId, Mark>,
    leases: &BTreeMap<BackupId, Lease>,
    now: Timestamp,
) -> Vec<BackupId> {
    let begun = |id: &BackupId| civil::DateTime::strptime("%Y%m%dT%H%M%SZ", id.second()).ok();
    let is_abandoned = |id: &BackupId| {
        let begun = begun(id).and_then(|begun| TimeZone::UTC.to_timestamp(begun).ok());
        begun.is_some_and(|begun| now.duration_since(begun) > ABANDONED_AFTER)
    };
    let leftovers = listing.leftovers.iter().map(|leftover| &leftover.id);
    let leftovers = leftovers.filter(|id| expired.contains_key(id) || (is_abandoned(id) && !leases.contains_key(id)));
    // Somebody has taken it, or may still go on with it.
    let is_over = |lease: &Lease| lease.is_free(now) && now.duration_since(lease.expires_at) > RESUMED_WITHIN;
    let leased = leases.iter().filter(|(_, lease)| is_over(lease)).map(|(id, _)| id);
    let exists = |id: &&BackupId| listing.backups.iter().any(|backup| backup.id == **id);
    let gone = expired.keys().chain(leased).filter(|id| !exists(id));
    let mut remains: Vec<BackupId> = leftovers.chain(gone).cloned().collect();
    remains.sort();
    remains.dedup();
    remains
}

/// Carries a plan out: marks everything that expires, then removes what may go. `done` tells what was done, also when it
/// ends early.
///
/// # Errors
/// [`Kind::LeaseHeld`](crate::error::Kind::LeaseHeld) when the lease is lost; whatever the storage says. What has been
/// done stays done, and the next run does the rest.
pub async fn execute(plan: &ExpiryPlan, context: &ExpiryContext<'_>, done: &mut Expired) -> Result<()> {
    let with = |wanted: Verdict| plan.backups.iter().filter(move |(_, verdict)| *verdict == wanted).map(|(id, _)| id);
    for id in &plan.given_up {
        context.lease.renew().await?;
        context.repository.give_up_removal(id, context.signing_key).await?;
    }
    for id in with(Verdict::Expire) {
        context.lease.renew().await?;
        let now = context.clock.now();
        context.repository.place_mark(MarkKind::Expired, id, "retention", now, context.signing_key).await?;
        done.expired.push(id.clone());
    }
    let mut spared: BTreeSet<&BackupId> = BTreeSet::new();
    for id in plan.removals().into_iter().chain(&plan.remains) {
        context.lease.renew().await?;
        if spared.contains(id) || !may_go(id, plan, context).await? {
            spared.extend(ancestors(&plan.parents, id));
            continue;
        }
        if plan.remains.contains(id) && !is_ours_to_remove(id, plan.leases.get(id), context).await? {
            continue;
        }
        if !removed(context.repository.remove_backup(id).await, done)? {
            // It may still be brought back, as before.
            if context.repository.has_backup(id).await? {
                context.repository.give_up_removal(id, context.signing_key).await?;
            }
            return Ok(());
        }
        done.removed.push(id.clone());
        done.removed_backups.extend(plan.summaries.get(id).cloned());
    }
    // What is known of slices goes with their records; so it is taken down before.
    done.removed_oplog = oplog::remember(context.repository, &plan.slices).await?;
    for (timeline, slices) in &plan.slices {
        if let Some(last) = slices.last() {
            context.lease.renew().await?;
            context.repository.move_oplog_begin(timeline, last.end, context.signing_key).await?;
        }
    }
    for (number, key) in plan.oplog.iter().enumerate() {
        if number % oplog::REMOVED_PER_RENEWAL == 0 {
            context.lease.renew().await?;
        }
        if !removed(context.repository.storage().delete(key).await, done)? {
            return Ok(());
        }
        done.oplog_objects += 1;
    }
    Ok(())
}

/// Whether nobody keeps it; then nobody can any more. Somebody may have said so only just now, of it or of what builds on it.
///
/// Who holds a backup, or brings it back, replaces the mark of its expiry, and so does a removal, before it deletes anything.
/// Either they are faster, and it stays; or they are told that it is being removed.
async fn may_go(id: &BackupId, plan: &ExpiryPlan, context: &ExpiryContext<'_>) -> Result<bool> {
    if context.repository.mark(MarkKind::Hold, id).await?.is_some() {
        return Ok(false);
    }
    Ok(plan.remains.contains(id) || context.repository.begin_removal(id, context.signing_key).await?)
}

/// Takes the lease of what an interrupted backup has left, where there was one, so that nobody goes on with it; it is removed with
/// everything else. Then nothing is removed of what somebody has gone on with, and made a backup of, since it was looked at.
async fn is_ours_to_remove(id: &BackupId, seen: Option<&Lease>, context: &ExpiryContext<'_>) -> Result<bool> {
    let Some(seen) = seen else { return Ok(!context.repository.has_backup(id).await?) };
    let applicant = Applicant { description: "regrow expire".into(), duration: REMOVAL, service: false };
    let with = (context.clock, context.random);
    match context.repository.acquire_remains(id, seen, &applicant, context.signing_key, with).await {
        Ok(lease) => Ok(lease.is_some()),
        Err(error) if error.kind() == Kind::LeaseHeld => Ok(false),
        // The store cannot do it, or these credentials may not: then nobody knows whether somebody goes on with it.
        Err(error) if error.kind() == Kind::Configuration => {
            tracing::warn!(%id, %error, "what an interrupted backup has left stays: it cannot be made sure that nobody goes on with it");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether a removal succeeded; one that is not allowed is noted.
fn removed(outcome: StorageResult<()>, done: &mut Expired) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error @ StorageError::Denied { .. }) => {
            done.denied = Some(error.to_string());
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
