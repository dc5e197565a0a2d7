//! The oplog that belongs to a backup: read when something could be read only later than at the backup's moment.
//!
//! It begins where the oldest transaction that was open at that moment does, and ends behind everything that was read.
//! What it leads to is followed at once, as a restore will: a backup whose entries nobody could replay is none.

use std::time::Duration;

use bson::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::BackupContext;
use super::plan::BackupPlan;
use super::store::Filled;
use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::checkpoint::Position;
use crate::format::oplog::{OpenRun, Range};
use crate::format::segment::Documents;
use crate::mongo::oplog::{self, EntryBatch, Tail, Tailed};
use crate::operations::Course;
use crate::progress::{OPLOG, PartProgress, Step};

/// How often following the oplog is begun anew after a lost connection; a success resets it.
const MAX_RESUMES: u32 = 5;

/// The wait before a lost connection is tried again; doubled each time.
const RESUME_DELAY: Duration = Duration::from_millis(200);

/// How long the majority is waited for at the end.
const PATIENCE: Duration = Duration::from_mins(1);

/// Follows the oplog and sends its entries to be stored.
pub(super) struct Follower<'a> {
    plan: &'a BackupPlan,
    /// Where to end, once that is known.
    target: watch::Receiver<Option<ClusterTime>>,
    course: Course,
    filled: mpsc::Sender<Filled>,
    segment_bytes: usize,
    /// The open segment.
    open: OpenRun,
    /// What was sent.
    ranges: Vec<Range>,
    progress: PartProgress,
}

/// What was followed.
pub(super) struct Followed {
    /// What each of the segments holds, in order.
    pub ranges: Vec<Range>,
    /// What the entries lead to.
    pub course: Course,
}

impl<'a> Follower<'a> {
    /// Prepares to follow the oplog behind `from`.
    pub fn new(
        plan: &'a BackupPlan,
        from: Timestamp,
        course: Course,
        target: watch::Receiver<Option<ClusterTime>>,
        filled: mpsc::Sender<Filled>,
        context: &BackupContext,
    ) -> Self {
        let (segment_bytes, open) = (context.targets.segment_bytes, OpenRun::behind(from.into()));
        let progress = context.progress.part(OPLOG.into(), 0);
        progress.step(Step::Reading);
        Self { plan, target, course, filled, segment_bytes, open, ranges: Vec::new(), progress }
    }

    /// Follows the oplog until the target is reached.
    ///
    /// # Errors
    /// When the oplog has lost what is needed, holds what no restore would understand, or the node stays away.
    pub async fn follow(mut self) -> Result<Followed> {
        let (mut delay, mut attempts) = (RESUME_DELAY, 0);
        loop {
            let before = self.open.end();
            match self.follow_cursor().await {
                Err(error) if error.is_transient() => {
                    if self.open.end() > before {
                        (delay, attempts) = (RESUME_DELAY, 0);
                    }
                    if attempts == MAX_RESUMES {
                        return Err(error);
                    }
                    tracing::warn!(%error, "interrupted; following the oplog again");
                    attempts += 1;
                    tokio::time::sleep(delay).await;
                    delay *= 2;
                }
                outcome => {
                    outcome?;
                    if let Some(last) = self.open.close() {
                        self.send(last).await;
                    }
                    return Ok(Followed { ranges: self.ranges, course: self.course });
                }
            }
        }
    }

    async fn follow_cursor(&mut self) -> Result<()> {
        let mut tail = Tail::open(&self.plan.node, self.open.end().into()).await?;
        let (mut last, mut progress_at) = (self.open.end(), Instant::now());
        while !self.is_done() {
            if self.open.end() > last || self.target.borrow().is_none() {
                (last, progress_at) = (self.open.end(), Instant::now());
            } else if progress_at.elapsed() > PATIENCE {
                return Err(Error::failed(
                    "the majority of the replica set commits nothing, so the backup finds no end",
                )
                .with_hint("check the replication of the secondaries, then run the backup again"));
            }
            match tail.next().await? {
                Tailed::Batch(batch) => self.take(&batch).await?,
                Tailed::RolledOver => {
                    return Err(Error::failed(
                        "the oplog rolled over while the collections were read, so they cannot be brought to one moment",
                    )
                    .with_hint("make the oplog larger with replSetResizeOplog, then run the backup again"));
                }
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        // Not equal: an election may have undone the very entry. What lies behind is as good an end.
        self.target.borrow().is_some_and(|target| self.open.end() >= target)
    }

    /// Takes a batch into the open segment, sending segments that are full.
    async fn take(&mut self, batch: &EntryBatch) -> Result<()> {
        let (mut full, mut outcome) = (Vec::new(), Ok(()));
        batch.for_each(|entry, time| {
            if outcome.is_err() {
                return;
            }
            full.extend(self.open.push(entry, time.into(), self.segment_bytes));
            outcome = if oplog::changes_compatibility(entry) {
                Err(Error::failed("the feature compatibility version was changed while the backup ran"))
            } else {
                self.course.follow(entry, time.into())
            };
        })?;
        outcome.map_err(|error| error.with_hint("run the backup again when that is over"))?;
        for segment in full {
            self.send(segment).await;
        }
        Ok(())
    }

    /// Sends a segment. When nobody takes it, somebody else has failed.
    async fn send(&mut self, (documents, range): (Documents, Range)) {
        let position = (0, self.ranges.len());
        self.ranges.push(range);
        let (collection, progress) = (self.plan.oplog_number(), self.progress.clone());
        let _ = self.filled.send(Filled { collection, position, documents, end: Position::default(), progress }).await;
    }
}
