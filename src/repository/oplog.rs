//! The captured oplog in the repository: which stretches there are, and storing more.
//!
//! A slice exists exactly when its record does. The record's key names only where the slice begins, so that the
//! store itself lets only one slice follow another. What a crash leaves is at most a slice without a record,
//! which nothing reads.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::Timestamp;

use super::Repository;
use crate::codec::signing::{GAP_PURPOSE, SLICE_PURPOSE, TIMELINE_PURPOSE};
use crate::codec::{SigningKey, sha256};
use crate::error::{Context, Error, Kind, Result};
use crate::format::layout::OplogObject;
use crate::format::manifest::Encryption;
use crate::format::oplog::{Gap, History, Range, SliceRecord, Timeline};
use crate::format::{ClusterTime, TimelineId, VERSION, layout};
use crate::random::Random;

/// One timeline and what has been captured of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CapturedTimeline {
    /// The timeline.
    pub timeline: Timeline,
    /// The slices, each beginning where the one before ended or behind a gap.
    pub slices: Vec<Range>,
    /// The ranges known to be missing.
    pub gaps: Vec<Range>,
}

impl CapturedTimeline {
    /// Returns up to where it has been captured, gaps included: where capture goes on.
    #[must_use]
    pub fn end(&self) -> ClusterTime {
        let last = self.slices.iter().chain(&self.gaps).map(|range| range.end).max();
        last.unwrap_or(self.timeline.begin)
    }

    /// Returns the stretches without a hole, in order.
    #[must_use]
    pub fn stretches(&self) -> Vec<Range> {
        let mut stretches: Vec<Range> = Vec::new();
        for slice in &self.slices {
            match stretches.last_mut() {
                Some(last) if last.end == slice.begin => last.end = slice.end,
                _ => stretches.push(*slice),
            }
        }
        stretches
    }
}

/// A sealed slice on its way to the store.
#[derive(Debug, Clone)]
pub struct SealedSlice {
    /// What it covers.
    pub range: Range,
    /// How many entries it holds.
    pub entries: u64,
    /// Their bytes as BSON.
    pub bytes_raw: u64,
    /// Whether they are encrypted.
    pub encryption: Encryption,
    /// The recipients they are encrypted to.
    pub recipients: Vec<String>,
}

impl Repository {
    /// Lists what has been captured, the oldest timeline first.
    ///
    /// # Errors
    /// Whatever the storage says; [`Kind::Damaged`] when a record was altered.
    pub async fn captured(&self) -> Result<Vec<CapturedTimeline>> {
        let mut found: BTreeMap<TimelineId, Found> = BTreeMap::new();
        for entry in self.storage.list(layout::OPLOG).await? {
            let Some((id, object)) = layout::oplog_object(&entry.key) else { continue };
            found.entry(id).or_default().add(object);
        }
        let mut timelines = Vec::new();
        for (id, found) in found {
            // Without its record a timeline was never begun.
            if found.begun {
                timelines.push(self.timeline(&id, found).await?);
            }
        }
        timelines.sort_by_key(|captured| captured.timeline.started_at);
        Ok(timelines)
    }

    async fn timeline(&self, id: &TimelineId, found: Found) -> Result<CapturedTimeline> {
        let document = self.storage.read(&layout::timeline(id), None).await?;
        let payload = self.keys.verify(&format!("the record of timeline {id}"), TIMELINE_PURPOSE, &document)?;
        let timeline = Timeline::parse(payload, &self.descriptor.id, id)?;
        let mut slices = Vec::new();
        for begin in found.committed {
            // Which of several is the committed one, only the record knows.
            let end = match found.stored.get(&begin).map(Vec::as_slice) {
                Some([end]) => *end,
                _ => self.slice_record(id, begin).await?.end,
            };
            slices.push(Range { begin, end });
        }
        Ok(CapturedTimeline { timeline, slices, gaps: found.gaps.into_iter().collect() })
    }

    /// Reads a slice's record and checks its signature.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none, [`Kind::Damaged`] when it was altered.
    pub async fn slice_record(&self, timeline: &TimelineId, begin: ClusterTime) -> Result<SliceRecord> {
        let key = layout::slice_record(timeline, begin);
        let document = self.storage.read(&key, None).await?;
        let payload = self.keys.verify(&key, SLICE_PURPOSE, &document)?;
        SliceRecord::parse(payload, &self.descriptor.id, timeline, begin)
    }

    /// Begins a timeline at `begin`.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn begin_timeline(&self, draft: TimelineDraft, random: &Random, key: &SigningKey) -> Result<Timeline> {
        let TimelineDraft { source, history, begin, cause, now } = draft;
        let timeline = Timeline {
            format: Timeline::FORMAT.into(),
            version: VERSION,
            repository: self.descriptor.id.clone(),
            id: TimelineId::generate(now, random),
            source,
            history,
            begin,
            started_at: now,
            cause,
        };
        self.create_signed(&layout::timeline(&timeline.id), TIMELINE_PURPOSE, &timeline, key).await?;
        Ok(timeline)
    }

    /// Stores a slice and its record; when it returns, the slice can be restored.
    ///
    /// # Errors
    /// [`Kind::LeaseHeld`] when another capture has stored a slice behind the same entry; whatever the storage says.
    pub async fn store_slice(
        &self,
        timeline: &TimelineId,
        slice: SealedSlice,
        sealed: Bytes,
        now: Timestamp,
        signer: (&SigningKey, &Random),
    ) -> Result<SliceRecord> {
        let SealedSlice { range, entries, bytes_raw, encryption, recipients } = slice;
        let (signing_key, random) = signer;
        let key = layout::slice(timeline, range, random.next_u64(), encryption);
        let hash = sha256(&sealed);
        let mut upload = self.storage.upload(&key).await?;
        upload.write(sealed).await?;
        let stored = upload.finish(&hash).await?;
        let object = self.confirm(key, &stored, hash).await?;
        let record = SliceRecord {
            format: SliceRecord::FORMAT.into(),
            version: VERSION,
            repository: self.descriptor.id.clone(),
            timeline: timeline.clone(),
            begin: range.begin,
            end: range.end,
            entries,
            bytes_raw,
            object,
            encryption,
            recipients,
            stored_at: now,
            regrow_version: env!("CARGO_PKG_VERSION").into(),
        };
        let place = layout::slice_record(timeline, range.begin);
        match self.create_signed(&place, SLICE_PURPOSE, &record, signing_key).await {
            Ok(()) => Ok(record),
            Err(error) if error.kind() == Kind::Refused => {
                // Nobody will ever read it; where it cannot be deleted it only wastes space.
                let _ = self.storage.delete(&record.object.key).await;
                Err(Error::new(Kind::LeaseHeld, format!("another capture has stored the oplog behind {}", range.begin))
                    .with_hint("let only one capture run for a repository"))
            }
            Err(error) => Err(error).context("cannot store a slice"),
        }
    }

    /// Records that a range of a timeline is missing.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn store_gap(
        &self,
        timeline: &TimelineId,
        range: Range,
        cause: &str,
        now: Timestamp,
        key: &SigningKey,
    ) -> Result<()> {
        let gap = Gap {
            format: Gap::FORMAT.into(),
            version: VERSION,
            repository: self.descriptor.id.clone(),
            timeline: timeline.clone(),
            begin: range.begin,
            end: range.end,
            cause: cause.into(),
            found_at: now,
        };
        self.create_signed(&layout::gap(timeline, range), GAP_PURPOSE, &gap, key).await
    }

    /// Reads a gap's record and checks its signature.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when it was altered; whatever the storage says.
    pub async fn gap(&self, timeline: &TimelineId, range: Range) -> Result<Gap> {
        let key = layout::gap(timeline, range);
        let document = self.storage.read(&key, None).await?;
        Gap::parse(self.keys.verify(&key, GAP_PURPOSE, &document)?, &self.descriptor.id, timeline, range)
    }
}

/// What a new timeline is made of.
#[derive(Debug, Clone)]
pub struct TimelineDraft {
    /// The configured name of the source.
    pub source: String,
    /// Whose oplog it is.
    pub history: History,
    /// Where it begins.
    pub begin: ClusterTime,
    /// Why it is not the one before.
    pub cause: String,
    /// The time.
    pub now: Timestamp,
}

/// What a listing shows of one timeline.
#[derive(Default)]
struct Found {
    begun: bool,
    committed: BTreeSet<ClusterTime>,
    /// The ends of the slices that begin there, committed or not.
    stored: BTreeMap<ClusterTime, Vec<ClusterTime>>,
    gaps: BTreeSet<Range>,
}

impl Found {
    fn add(&mut self, object: OplogObject) {
        match object {
            OplogObject::Timeline => self.begun = true,
            OplogObject::Slice(range) => self.stored.entry(range.begin).or_default().push(range.end),
            OplogObject::SliceRecord(begin) => {
                self.committed.insert(begin);
            }
            OplogObject::Gap(range) => {
                self.gaps.insert(range);
            }
        }
    }
}
