//! Noting what a backup has stored, pack by pack, so that another run can go on with it.
//!
//! The first note takes the backup's lease, which says that somebody still takes it. That one alone goes on with a backup
//! rests on something else: packs are created once and in order, so that of two runs one makes the next pack, and the other
//! ends there ([0035](../../docs/decisions/0035-resuming.md)).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::task::JoinSet;

use super::BackupContext;
use super::plan::BackupPlan;
use super::resume::Resumption;
use super::run::Begin;
use super::store::Tally;
use crate::codec::{ContentDigest, Sealer};
use crate::error::{Error, Kind, Result};
use crate::format::catalog::SegmentRef;
use crate::format::checkpoint::{self, Checkpoint, Contents, Parts, Position, StoredPart, binary};
use crate::format::lease::Lease;
use crate::format::{BackupId, Subject, VERSION};
use crate::mongo::parts::Part;
use crate::mongo::read::SnapshotLoss;
use crate::repository::{Applicant, BackupWriter, ClosedPack, HeldLease};

/// How long a backup's lease lasts without being renewed.
const LEASE: Duration = Duration::from_secs(20);

/// How often the lease is renewed: several times while it lasts, so that one late answer costs nothing.
const RENEWAL: Duration = Duration::from_secs(5);

/// The first wait before the lease is renewed again directly before the commit; doubled each time.
const RENEWED_AGAIN: Duration = Duration::from_secs(1);

/// The last one.
const RENEWED_AT_LAST: Duration = Duration::from_secs(16);

/// How long somebody else's lease is watched: whoever has not renewed it by then is gone, whatever any clock says.
pub(super) const STANDS_STILL: Duration = LEASE.saturating_add(RENEWAL);

/// What is stored, by collection and part.
pub(super) type Stored = BTreeMap<(usize, usize), StoredPart>;

/// What is noted while a backup is taken.
#[derive(Default)]
pub(crate) struct Checkpoints {
    /// None where nothing is noted.
    notes: Option<Notes>,
    lease: Option<Held>,
    /// What another run has stored.
    resumed: Resumed,
}

/// A lease that is renewed as long as this lives.
pub(super) struct Held {
    lease: Arc<HeldLease>,
    _renewing: JoinSet<()>,
}

/// What another run has stored.
#[derive(Default)]
pub(super) struct Resumed {
    pub stored: Stored,
    pub parts: BTreeMap<usize, Vec<Part>>,
    /// The number of the last segment.
    pub last: u64,
}

/// What is needed to write notes, and what of the open pack is not written yet.
struct Notes {
    context: BackupContext,
    backup: BackupId,
    sealer: Sealer,
    loss: Option<SnapshotLoss>,
    /// What the first note says besides, until it is written.
    first: Contents,
    written: u32,
    open: Stored,
}

impl Checkpoints {
    /// Notes nothing.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Notes what is stored of a planned backup, where another run could go on with that; behind what another has stored.
    pub(super) fn of(plan: &BackupPlan, context: &BackupContext, resumption: Option<Resumption>) -> Self {
        let Some(undertaking) = plan.undertaking(context) else { return Self::none() };
        let (recipients, _) = context.signing_key.checkpoint_keys();
        let sealer = Sealer::new(context.recipients.as_ref().map(|_| recipients));
        let first = Contents { undertaking: Some(undertaking), ..Contents::default() };
        let (context, backup) = (context.clone(), plan.id.clone());
        let notes = Notes { context, backup, sealer, loss: None, first, written: 0, open: Stored::new() };
        let Some(Resumption { lease, packs, resumed, .. }) = resumption else {
            return Self { notes: Some(notes), ..Self::none() };
        };
        let written = u32::try_from(packs.len()).unwrap_or(u32::MAX);
        let notes = Some(Notes { first: Contents::default(), written, ..notes });
        Self { notes, lease: Some(lease), resumed }
    }

    /// Says in which parts collections are read, and who tells when something is read later than planned: that is not noted.
    pub(super) fn begin(&mut self, parts: Vec<Parts>, loss: Option<&SnapshotLoss>) {
        if let Some(notes) = &mut self.notes {
            notes.loss = loss.cloned();
            if notes.written == 0 {
                notes.first.parts = parts;
            }
        }
    }

    /// Whether something was noted.
    pub(crate) fn have_begun(&self) -> bool {
        self.lease.is_some()
    }

    /// Returns the number of the next segment, and what is stored of each of so many collections.
    pub(crate) fn stored(&self, collections: usize) -> (u64, Vec<Tally>) {
        let mut tallies: Vec<Tally> = std::iter::repeat_with(Tally::default).take(collections).collect();
        for (&(collection, part), stored) in &self.resumed.stored {
            let Some(tally) = tallies.get_mut(collection) else { continue };
            let segments = stored.segments.iter().enumerate().map(|(at, segment)| ((part, at), *segment));
            tally.add(&digest_of(stored), segments);
        }
        (self.resumed.last + 1, tallies)
    }

    /// Returns the parts in which another run has read a collection; none where there was none.
    pub(super) fn parts(&self, collection: usize) -> Option<Vec<Part>> {
        let resumed = self.resumed.last > 0;
        resumed.then(|| self.resumed.parts.get(&collection).cloned().unwrap_or_else(|| vec![Part::default()]))
    }

    /// Returns what another run has stored of a part.
    pub(super) fn of_part(&self, collection: usize, part: usize) -> Option<&StoredPart> {
        self.resumed.stored.get(&(collection, part))
    }

    /// Takes down a segment that goes into the open pack.
    pub(crate) fn note(
        &mut self,
        collection: usize,
        (part, at): (usize, usize),
        segment: SegmentRef,
        digest: &ContentDigest,
        end: Position,
    ) {
        let Some(notes) = &mut self.notes else { return };
        let new = || StoredPart {
            collection: number(collection),
            part: number(part),
            first: number(at),
            digest: binary(&[0; 32]),
            segments: Vec::new(),
            end: Position::default(),
        };
        let stored = notes.open.entry((collection, part)).or_insert_with(new);
        let mut sum = digest_of(stored);
        sum.merge(digest);
        stored.digest = binary(&sum.to_bytes());
        stored.segments.push(segment);
        stored.end = end;
    }

    /// Notes a pack that was closed. From then on it is kept, whatever happens. Where that cannot be, nothing is noted any more: a
    /// backup does not fail for want of notes.
    ///
    /// # Errors
    /// [`Kind::LeaseHeld`](crate::error::Kind::LeaseHeld) or [`Kind::Refused`](crate::error::Kind::Refused) when another run goes on
    /// with the backup.
    pub(crate) async fn write(&mut self, closed: ClosedPack, writer: &mut BackupWriter) -> Result<()> {
        let Self { notes: Some(notes), lease, .. } = self else { return Ok(()) };
        match notes.write(closed, lease, writer).await {
            Ok(true) => {}
            // What lies behind could not be found again, so it is not noted either.
            Ok(false) => self.notes = None,
            Err(error) if matches!(error.kind(), Kind::LeaseHeld | Kind::Refused) => {
                return Err(error.context("another run goes on with this backup"));
            }
            // Such as credentials that may not replace objects in `control/`: with the same ones nobody could go on either.
            Err(error) => {
                tracing::info!(%error, "nothing is noted any more of what this backup stores");
                self.notes = None;
            }
        }
        Ok(())
    }

    /// Makes sure that nobody else goes on with the backup. Whether that is certain, it returns: where the credentials may not
    /// replace objects, nobody with the same ones could.
    ///
    /// # Errors
    /// As those of [`HeldLease::renew`].
    pub(super) async fn are_still_ours(&self) -> Result<bool> {
        match &self.lease {
            Some(held) => held.is_ours().await,
            None => Ok(true),
        }
    }

    /// Makes sure of that before the commit, and has patience: hours of work must not fail for one late answer.
    ///
    /// # Errors
    /// As those of [`are_still_ours`](Self::are_still_ours).
    pub(super) async fn are_surely_ours(&self) -> Result<()> {
        let mut delay = RENEWED_AGAIN;
        loop {
            match self.are_still_ours().await {
                // Such as one that took longer than the lease lasts: nobody may have taken it all the same.
                Err(error) if error.is_transient() && delay <= RENEWED_AT_LAST => {
                    tracing::info!(%error, "the backup's lease was not renewed; trying again");
                    tokio::time::sleep(delay).await;
                    delay *= 2;
                }
                certain => return certain.map(drop),
            }
        }
    }

    /// Makes sure that nobody had taken the backup over by the time that its manifest was there.
    ///
    /// # Errors
    /// As those of [`HeldLease::check`].
    pub(super) async fn were_ours(&self) -> Result<()> {
        match &self.lease {
            Some(held) => held.lease.check().await.map_err(taken_over),
            None => Ok(()),
        }
    }

    /// The backup is made: nobody goes on with it any more.
    pub(super) async fn are_done(self) {
        if let Some(Held { lease, .. }) = self.lease {
            lease.remove().await;
        }
    }

    /// The backup is not made: somebody may go on with it at once.
    pub(super) async fn are_left(self) {
        if let Some(held) = self.lease {
            held.end().await;
        }
    }
}

impl Held {
    pub(super) fn new(lease: HeldLease) -> Self {
        let lease = Arc::new(lease);
        let (mut renewing, renewed) = (JoinSet::new(), Arc::clone(&lease));
        renewing.spawn(async move {
            while renewed.lost().is_none() {
                tokio::time::sleep(RENEWAL).await;
                match renewed.renew().await {
                    Ok(()) => {}
                    Err(error) if error.kind() == Kind::Configuration => break,
                    Err(error) => tracing::info!(%error, "the backup's lease was not renewed"),
                }
            }
        });
        Self { lease, _renewing: renewing }
    }

    async fn is_ours(&self) -> Result<bool> {
        match self.lease.renew().await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Kind::Configuration => Ok(false),
            Err(error) => Err(taken_over(error)),
        }
    }

    /// Gives the lease back; where that fails, it runs out.
    pub(super) async fn end(self) {
        self.lease.end().await;
    }
}

/// Says what it means that somebody else holds a backup's lease.
fn taken_over(error: Error) -> Error {
    if error.kind() == Kind::LeaseHeld { error.context("another run goes on with this backup") } else { error }
}

impl Notes {
    /// Notes a pack; the first time, the backup's lease is taken. Returns whether it was noted.
    async fn write(&mut self, closed: ClosedPack, held: &mut Option<Held>, writer: &mut BackupWriter) -> Result<bool> {
        let Some(checkpoint) = self.checkpoint(closed)? else { return Ok(false) };
        match held {
            Some(held) => held.lease.renew().await?,
            None => *held = Some(Held::new(lease(&self.context, &self.backup, None).await?)),
        }
        // Before it is noted: whoever is interrupted in between must not remove what a checkpoint names.
        writer.keep().await;
        self.context.repository.store_checkpoint(&checkpoint, &self.context.signing_key).await?;
        self.written += 1;
        Ok(true)
    }

    /// Returns what is to be noted of a pack; none where nobody could go on from there.
    fn checkpoint(&mut self, closed: ClosedPack) -> Result<Option<Checkpoint>> {
        // Noted before anything is read later than planned, so whatever is in the pack was read as of the backup's moment.
        let is_later = self.loss.as_ref().is_some_and(SnapshotLoss::is_noted);
        let number = self.written + 1;
        if is_later || closed.number != number as usize {
            return Ok(None);
        }
        let stored = std::mem::take(&mut self.open).into_values().collect();
        let contents = Contents { stored, ..std::mem::take(&mut self.first) };
        let documents = contents.encode()?;
        if documents.as_bytes().len() > checkpoint::MAX_BYTES {
            return Ok(None);
        }
        let sealed = self.sealer.seal(Subject::Checkpoint { backup: self.backup.clone(), number }, &documents)?;
        Ok(Some(Checkpoint {
            format: checkpoint::FORMAT.into(),
            version: VERSION,
            repository: self.context.repository.id().clone(),
            id: self.backup.clone(),
            number,
            pack: closed.record,
            sealed: BASE64.encode(sealed),
        }))
    }
}

/// Takes the lease of a backup, as it was seen.
///
/// # Errors
/// As those of [`Repository::acquire_backup`](crate::repository::Repository::acquire_backup).
pub(super) async fn lease(context: &BackupContext, id: &BackupId, seen: Option<&Lease>) -> Result<HeldLease> {
    let with = (&context.clock, &context.random);
    context.repository.acquire_backup(id, seen, &applicant(context), &context.signing_key, with).await
}

/// Returns who wants the lease of a backup.
pub(super) fn applicant(context: &BackupContext) -> Applicant {
    Applicant { description: format!("regrow backup, {}", context.who), duration: LEASE, service: false }
}

/// Returns where a part begins of which another run has stored something.
pub(super) fn begin_behind(stored: &StoredPart) -> Begin {
    Begin { stored: stored.segments.len(), position: stored.end.clone() }
}

/// Returns the content digest of what is stored of a part.
pub(super) fn digest_of(stored: &StoredPart) -> ContentDigest {
    let documents = stored.segments.iter().map(|segment| segment.documents).sum();
    let bytes = stored.segments.iter().map(|segment| segment.bytes).sum();
    let digest = <[u8; 32]>::try_from(&stored.digest.bytes[..]).unwrap_or_default();
    ContentDigest::recorded(documents, bytes, &digest)
}

/// Numbers of what is held in memory are small.
fn number(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
