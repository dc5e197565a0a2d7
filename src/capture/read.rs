//! The reading half: follows the oplog from node to node, closes slices, seals them.

use std::time::Duration;

use bson::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::spool::{Order, Spool};
use super::start::{self, Beginning, Start};
use super::{CaptureContext, CaptureEvent};
use crate::codec::Sealer;
use crate::error::{Error, Result};
use crate::format::oplog::{OpenRun, Range, Timeline};
use crate::format::segment::Documents;
use crate::format::{ClusterTime, Subject};
use crate::mongo::oplog::{self, EntryBatch, Tail, Tailed};
use crate::mongo::{Node, oplog::has_entry};
use crate::repository::SealedSlice;
use crate::units::{Elapsed, MIB};

/// The wait before a lost source is tried again; doubled each time.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// How long entries gather at the server while there are few of them. A tail that is answered after every write slows
/// the writers of a busy server down by a tenth.
const PAUSE: Duration = Duration::from_millis(250);

/// From this size on of what came, in bytes, more is asked for without a pause.
const MUCH: usize = MIB;

/// How long a node may send nothing until it is asked for: each replica set writes to its oplog all ten seconds, at least.
const STANDS_STILL: Duration = Duration::from_secs(20);

/// How long members are waited for that do not answer and may have what the others have lost. One that has crashed may come back;
/// one that was taken away never does.
const MAY_COME_BACK: Duration = Duration::from_mins(5);

/// What is being read.
struct Reader<'a> {
    context: &'a CaptureContext,
    spool: Spool,
    sealer: Sealer,
    timeline: Timeline,
    /// The slice that is open.
    open: OpenRun,
    /// Whether a slice has left the open one and is not on the spool yet.
    has_slice_in_hand: bool,
    opened_at: Instant,
    compatibility_changed: bool,
    /// With `once`: where to end.
    target: Option<ClusterTime>,
    /// Since when the entry to go on from has been looked for among members of which some do not answer.
    unanswered_since: Option<Instant>,
}

/// Why following one node ended without an error.
enum Ended {
    /// Somebody asked for it, or everything asked for has been read.
    Done,
    /// This node's oplog no longer has the entry to go on from.
    RolledOver,
}

/// Reads until `stopping`, and closes the last slice.
pub(super) async fn read(
    context: &CaptureContext,
    start: Start,
    spool: Spool,
    mut stopping: watch::Receiver<bool>,
) -> Result<()> {
    let Start { timeline, is_new, behind_backup, after } = start;
    let mut reader = Reader {
        context,
        spool,
        sealer: Sealer::new(context.recipients.clone()),
        timeline,
        open: OpenRun::behind(after),
        has_slice_in_hand: false,
        opened_at: Instant::now(),
        compatibility_changed: false,
        target: None,
        unanswered_since: None,
    };
    if is_new {
        reader.announce(behind_backup).await?;
    }
    if context.settings.once {
        reader.target = context.deployment.committed_time().await?.map(Into::into);
    }
    tokio::select! {
        outcome = reader.follow() => outcome?,
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    if reader.has_slice_in_hand {
        // Reading was broken off with it, and what follows must not be stored without it: the next capture reads both.
        return Ok(());
    }
    reader.close().await
}

impl Reader<'_> {
    /// Follows the oplog from one node to the next.
    async fn follow(&mut self) -> Result<()> {
        let (mut delay, mut since) = (FIRST_DELAY, Instant::now());
        let mut avoid_shorter = false;
        loop {
            let before = self.open.end();
            match self.follow_node(avoid_shorter).await {
                Ok(Ended::Done) => return Ok(()),
                // Another member's oplog may reach further back.
                Ok(Ended::RolledOver) if !avoid_shorter => avoid_shorter = true,
                Ok(Ended::RolledOver) => avoid_shorter = !self.record_gap().await?,
                Err(error) if error.is_transient() => {
                    if self.open.end() > before {
                        (delay, since) = (FIRST_DELAY, Instant::now());
                    }
                    if self.context.settings.once && since.elapsed() >= self.context.settings.patience {
                        return Err(error);
                    }
                    (self.context.report)(&CaptureEvent::SourceAway(error.to_string()));
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(LONGEST_DELAY);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn follow_node(&mut self, search: bool) -> Result<Ended> {
        let preference = &self.context.settings.preference;
        let mut node = self.context.deployment.node_to_tail(preference).await?;
        if search {
            match self.member_that_has_it().await? {
                Some(member) => node = member,
                None => return Ok(Ended::RolledOver),
            }
        }
        self.check_history(&node).await?;
        let mut tail = Tail::open(&node, self.open.end().into()).await?;
        let mut heard_at = Instant::now();
        loop {
            let Tailed::Batch(batch) = tail.next().await? else { return Ok(Ended::RolledOver) };
            let before = self.open.end();
            self.take(&batch).await?;
            if self.open.end() > before {
                heard_at = Instant::now();
            } else if heard_at.elapsed() >= STANDS_STILL {
                self.check_follows(&node).await?;
                heard_at = Instant::now();
            }
            if self.target.is_some_and(|target| self.open.end() >= target) {
                return Ok(Ended::Done);
            }
            if self.opened_at.elapsed() >= self.context.settings.slice_interval {
                self.close().await?;
            }
            if self.compatibility_changed {
                self.close().await?;
                self.check_history(&node).await?;
            }
            if batch.bytes() < MUCH && self.target.is_none() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Makes sure that a node that sends nothing has nothing to send: its replication may stand still, and it would never say so.
    async fn check_follows(&self, node: &Node) -> Result<()> {
        let committed = self.context.deployment.committed_time().await?.map_or(0, |committed| committed.time);
        let behind = Duration::from_secs(committed.saturating_sub(self.open.end().t).into());
        if behind < STANDS_STILL {
            return Ok(());
        }
        let (address, behind) = (&node.address, Elapsed(behind));
        Err(Error::failed(format!(
            "{address} does not follow its replica set: its oplog ends {behind} before the others'"
        ))
        .transient())
    }

    /// Returns a member whose oplog has the entry to go on from; none where no member has it.
    ///
    /// # Errors
    /// When one that may have it does not answer, and has not for a short while only.
    async fn member_that_has_it(&mut self) -> Result<Option<Node>> {
        let mut unanswered = None;
        for member in self.context.deployment.members().await? {
            match has_entry(&member, self.open.end().into()).await {
                Ok(true) => {
                    self.unanswered_since = None;
                    return Ok(Some(member));
                }
                Ok(false) => {}
                Err(error) => {
                    let what =
                        format!("{} may have the oplog that the others have lost, and does not tell", member.address);
                    unanswered = Some(error.context(what).transient());
                }
            }
        }
        let Some(error) = unanswered else {
            self.unanswered_since = None;
            return Ok(None);
        };
        let since = *self.unanswered_since.get_or_insert_with(Instant::now);
        if since.elapsed() < MAY_COME_BACK { Err(error) } else { Ok(None) }
    }

    /// Takes a batch into the open slice, closing slices that are full.
    async fn take(&mut self, batch: &EntryBatch) -> Result<()> {
        let mut full = Vec::new();
        batch.for_each(|entry, time: Timestamp| {
            full.extend(self.open.push(entry, time.into(), self.context.settings.slice_bytes));
            self.compatibility_changed |= oplog::changes_compatibility(entry);
        })?;
        for slice in full {
            self.seal(slice).await?;
        }
        Ok(())
    }

    /// Closes the open slice, if anything is in it.
    async fn close(&mut self) -> Result<()> {
        match self.open.close() {
            Some(slice) => self.seal(slice).await,
            None => Ok(()),
        }
    }

    async fn seal(&mut self, (entries, range): (Documents, Range)) -> Result<()> {
        self.has_slice_in_hand = true;
        let (encryption, recipients) = (self.sealer.encryption(), self.sealer.recipients());
        let (count, bytes_raw) = (entries.count(), entries.as_bytes().len() as u64);
        let nonce = self.context.random.next_u64();
        let slice = SealedSlice { range, entries: count, bytes_raw, encryption, recipients, nonce };
        let timeline = self.timeline.id.clone();
        let subject = Subject::Slice { timeline: timeline.clone(), begin: range.begin, end: range.end };
        let sealer = self.sealer.clone();
        let sealed = tokio::task::spawn_blocking(move || sealer.seal(subject, &entries)).await;
        let sealed = sealed.map_err(|error| Error::failed("cannot seal a slice").caused_by(error))??;
        self.opened_at = Instant::now();
        self.order(Order::Slice { timeline, slice, sealed }).await?;
        self.has_slice_in_hand = false;
        Ok(())
    }

    async fn order(&self, order: Order) -> Result<()> {
        // Nobody takes orders any more when storing has failed; that failure is the one to report.
        if self.spool.add(order).await? { Ok(()) } else { std::future::pending().await }
    }

    /// Makes sure that the node's history is the timeline's; begins another where it is not.
    async fn check_history(&mut self, node: &Node) -> Result<()> {
        let found = oplog::history(&self.context.deployment, node).await?;
        self.compatibility_changed = found.feature_compatibility_version.is_none();
        let Some(cause) = start::difference(&self.timeline.history, &found) else { return Ok(()) };
        self.close().await?;
        let before = Some((self.timeline.clone(), self.open.end()));
        let Start { timeline, after, behind_backup, .. } =
            start::begin(self.context, node, found, cause, before).await?;
        (self.timeline, self.open) = (timeline, OpenRun::behind(after));
        self.announce(behind_backup).await
    }

    async fn announce(&self, behind_backup: bool) -> Result<()> {
        (self.context.report)(&CaptureEvent::NewTimeline { timeline: self.timeline.clone(), behind_backup });
        self.order(Order::Timeline(self.timeline.clone())).await
    }

    /// Records that entries are lost and goes on behind them. Returns whether it did: an entry may have been there
    /// after all.
    async fn record_gap(&mut self) -> Result<bool> {
        self.close().await?;
        let node = self.context.deployment.node_to_tail(&self.context.settings.preference).await?;
        let replica_set_id = self.timeline.history.replica_set_id.clone();
        let Beginning { at: goes_on, behind_backup } =
            start::useful_beginning(self.context, &node, &replica_set_id, Some(self.open.end())).await?;
        if goes_on <= self.open.end() {
            return Ok(false);
        }
        let range = Range { begin: self.open.end(), end: goes_on };
        let first = oplog::window(&node).await?.first;
        let cause = format!(
            "the oplog rolled over before it was captured: it begins at {},{} now",
            first.time, first.increment
        );
        let timeline = self.timeline.id.clone();
        (self.context.report)(&CaptureEvent::Gap { timeline, range, cause: cause.clone(), behind_backup });
        self.order(Order::Gap { timeline: self.timeline.id.clone(), range, cause }).await?;
        self.open = OpenRun::behind(goes_on);
        Ok(true)
    }
}
