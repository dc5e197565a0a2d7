//! Bounds in the repository: what must be there of evidence and of the captured oplog. See [`crate::format::bounds`].

use bytes::Bytes;

use super::Repository;
use super::writer::signed;
use crate::codec::SigningKey;
use crate::codec::signing::BOUNDS_PURPOSE;
use crate::error::{Error, Result};
use crate::format::bounds::{Bounds, BoundsHead, EvidenceBounds, OplogBounds};
use crate::format::evidence::Predecessor;
use crate::format::{ClusterTime, TimelineId, VERSION, layout};
use crate::storage::StorageError;

/// How often a change is tried that others' changes get ahead of.
const ATTEMPTS: u32 = 20;

impl Repository {
    /// Returns the bounds of evidence; none where nothing was ever recorded.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when they were altered; whatever the storage says.
    pub async fn evidence_bounds(&self) -> Result<Option<EvidenceBounds>> {
        Ok(self.bounds(layout::EVIDENCE_BOUNDS).await?.map(|(bounds, _)| bounds))
    }

    /// Makes sure that there are bounds of evidence, before there is any.
    pub(super) async fn begin_evidence_bounds(&self, key: &SigningKey) -> Result<()> {
        let new = || EvidenceBounds { head: self.new_head::<EvidenceBounds>(), ends: Vec::new() };
        let keep = |found: Option<EvidenceBounds>| Ok(found.is_none().then(new));
        self.change(layout::EVIDENCE_BOUNDS, keep, key).await
    }

    /// Moves the end of evidence on to these records. Others stay beside them that their writer does not know: they were recorded
    /// meanwhile, or are gone, and then they are missed as before.
    pub(super) async fn move_evidence_bounds(
        &self,
        ends: &[Predecessor],
        is_known: impl Fn(&Predecessor) -> bool,
        key: &SigningKey,
    ) -> Result<()> {
        let moved = |found: Option<EvidenceBounds>| {
            let (head, before) = match found {
                Some(EvidenceBounds { head, ends }) => (head, ends),
                None => (self.new_head::<EvidenceBounds>(), Vec::new()),
            };
            let others = before.into_iter().filter(|end| !is_known(end));
            Ok(Some(EvidenceBounds { head, ends: ends.iter().cloned().chain(others).collect() }))
        };
        self.change(layout::EVIDENCE_BOUNDS, moved, key).await
    }

    /// Returns the bounds of a timeline; none where nothing was captured yet.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when they were altered; whatever the storage says.
    pub async fn oplog_bounds(&self, timeline: &TimelineId) -> Result<Option<OplogBounds>> {
        Ok(self.bounds(&layout::oplog_bounds(timeline)).await?.map(|(bounds, _)| bounds))
    }

    /// Makes sure that a timeline has bounds, before anything of it is recorded.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn begin_oplog_bounds(
        &self,
        timeline: &TimelineId,
        begin: ClusterTime,
        end: ClusterTime,
        key: &SigningKey,
    ) -> Result<()> {
        let new = || OplogBounds { head: self.new_head::<OplogBounds>(), timeline: timeline.clone(), begin, end };
        let keep = |found: Option<OplogBounds>| Ok(found.is_none().then(new));
        self.change(&layout::oplog_bounds(timeline), keep, key).await
    }

    /// Moves the end of a timeline on to what was recorded.
    ///
    /// # Errors
    /// Whatever the storage says; then the bounds are those from before, or these.
    pub async fn move_oplog_end(&self, timeline: &TimelineId, end: ClusterTime, key: &SigningKey) -> Result<()> {
        let moved = |found: Option<OplogBounds>| {
            Ok(found.filter(|bounds| bounds.end < end).map(|bounds| OplogBounds { end, ..bounds }))
        };
        self.change(&layout::oplog_bounds(timeline), moved, key).await
    }

    /// Moves the begin of a timeline on to where slices are kept.
    ///
    /// # Errors
    /// As those of [`move_oplog_end`](Self::move_oplog_end); [`Kind::Damaged`](crate::error::Kind::Damaged) when there are no
    /// bounds: what is removed without moving them would be missed for ever.
    pub async fn move_oplog_begin(&self, timeline: &TimelineId, begin: ClusterTime, key: &SigningKey) -> Result<()> {
        let place = layout::oplog_bounds(timeline);
        let moved = |found: Option<OplogBounds>| {
            let bounds = found.ok_or_else(|| is_missing(&place))?;
            Ok((bounds.begin < begin).then_some(OplogBounds { begin, ..bounds }))
        };
        self.change(&place, moved, key).await
    }

    async fn bounds<T: Bounds>(&self, key: &str) -> Result<Option<(T, Bytes)>> {
        let Some(document) = self.find(key).await? else { return Ok(None) };
        let payload = self.keys.verify(key, BOUNDS_PURPOSE, &document)?;
        Ok(Some((T::parse(payload, self.id(), key)?, document)))
    }

    fn new_head<T: Bounds>(&self) -> BoundsHead {
        BoundsHead { format: T::FORMAT.into(), version: VERSION, repository: self.id().clone(), writes: 0 }
    }

    /// Replaces bounds by what `change` makes of them, whoever else changes them meanwhile; nothing where it makes none.
    async fn change<T: Bounds>(
        &self,
        key: &str,
        change: impl Fn(Option<T>) -> Result<Option<T>>,
        signing_key: &SigningKey,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let (found, before) = self.bounds::<T>(key).await?.unzip();
            let Some(mut changed) = change(found)? else { return Ok(()) };
            changed.head_mut().writes += 1;
            let document = signed(key, BOUNDS_PURPOSE, &changed, signing_key)?;
            let written = match before {
                Some(before) => self.storage.replace(key, before, document).await,
                None => self.storage.create(key, document).await.map(drop),
            };
            match written {
                Err(StorageError::Changed { .. } | StorageError::AlreadyExists { .. }) => {}
                written => return Ok(written?),
            }
        }
        Err(Error::failed(format!("{key} is changed by others again and again")).transient())
    }
}

fn is_missing(place: &str) -> Error {
    Error::damaged(format!("{place} is missing"))
        .with_hint("nothing of what it bounds is removed; 'regrow verify' says more")
}
