//! The captured oplog in the repository: which stretches there are, and storing more.
//!
//! A slice exists exactly when its record does. The record's key names only where the slice begins, so that the
//! store itself lets only one slice follow another. What a crash leaves is at most a slice without a record,
//! which nothing reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::Repository;
use crate::clock::Clock;
use crate::codec::signing::{GAP_PURPOSE, SLICE_PURPOSE, TIMELINE_PURPOSE};
use crate::codec::{Identities, Opener, SigningKey, sha256};
use crate::error::{Context, Error, Kind, Result};
use crate::format::layout::OplogObject;
use crate::format::manifest::{Encryption, ObjectRecord};
use crate::format::oplog::{Gap, Range, SliceRecord, Timeline};
use crate::format::{ClusterTime, Subject, TimelineId, VERSION, layout};
use crate::storage::{StorageError, Stored};

/// How many slices are fetched and opened ahead of whoever reads them.
const READ_AHEAD: usize = 2;

/// How many slices' records are read at once: they are small, and the time is all latency.
const PARALLEL_RECORDS: usize = 8;

/// One timeline and what has been captured of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CapturedTimeline {
    /// The timeline.
    pub timeline: Timeline,
    /// The slices, each beginning where the one before ended or behind a gap.
    pub slices: Vec<Range>,
    /// The ranges known to be missing.
    pub gaps: Vec<Range>,
    /// The stored bytes of all its objects.
    pub stored_bytes: u64,
}

impl CapturedTimeline {
    /// Returns up to where it has been captured, gaps included: where capture goes on.
    #[must_use]
    pub fn end(&self) -> ClusterTime {
        let last = self.slices.iter().chain(&self.gaps).map(|range| range.end).max();
        last.unwrap_or(self.timeline.begin)
    }

    /// Returns from where on nothing is missing, as far as is known: the end of its last gap, or where it begins.
    #[must_use]
    pub fn unbroken_from(&self) -> ClusterTime {
        self.gaps.iter().map(|gap| gap.end).max().unwrap_or(self.timeline.begin)
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
    /// Keeps it apart from what an interrupted capture may have left.
    pub nonce: u64,
}

impl Repository {
    /// Lists what has been captured, the oldest timeline first.
    ///
    /// # Errors
    /// Whatever the storage says; [`Kind::Damaged`] when a record was altered.
    pub async fn captured(&self) -> Result<Vec<CapturedTimeline>> {
        let (timelines, damaged) = self.captured_as_it_is().await?;
        damaged.into_iter().next().map_or(Ok(timelines), |(_, error)| Err(error))
    }

    /// Lists what has been captured, and the timelines of which that cannot be told, each with why.
    ///
    /// # Errors
    /// Whatever the storage says; what is damaged is no error.
    pub async fn captured_as_it_is(&self) -> Result<(Vec<CapturedTimeline>, Vec<(TimelineId, Error)>)> {
        let mut found: BTreeMap<TimelineId, Found> = BTreeMap::new();
        for entry in self.storage.list(layout::OPLOG).await? {
            let Some((id, object)) = layout::oplog_object(&entry.key) else { continue };
            let found = found.entry(id).or_default();
            found.add(object);
            found.bytes += entry.size;
        }
        let (mut timelines, mut damaged) = (Vec::new(), Vec::new());
        for (id, found) in found {
            // Without its record a timeline was never begun.
            if !found.begun {
                continue;
            }
            match self.timeline(&id, found).await {
                Ok(timeline) => timelines.push(timeline),
                Err(error) if error.kind() == Kind::Damaged => damaged.push((id, error)),
                Err(error) => return Err(error),
            }
        }
        timelines.sort_by_key(|captured| captured.timeline.started_at);
        Ok((timelines, damaged))
    }

    /// Reads a timeline's record and checks its signature.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when it was altered or is missing; whatever the storage says.
    pub async fn timeline_record(&self, id: &TimelineId) -> Result<Timeline> {
        let key = layout::timeline(id);
        let document = self.storage.read(&key, None).await.map_err(|error| super::missing_is_damage(error, &key))?;
        let payload = self.keys.verify(&format!("the record of timeline {id}"), TIMELINE_PURPOSE, &document)?;
        Timeline::parse(payload, &self.descriptor.id, id)
    }

    async fn timeline(&self, id: &TimelineId, found: Found) -> Result<CapturedTimeline> {
        let timeline = self.timeline_record(id).await?;
        let mut slices = Vec::new();
        for begin in found.committed {
            // Which of several is the committed one, only the record knows.
            let end = match found.stored.get(&begin).map(Vec::as_slice) {
                Some([end]) => *end,
                _ => self.slice_record(id, begin).await?.end,
            };
            slices.push(Range { begin, end });
        }
        let gaps = found.gaps.into_iter().collect();
        Ok(CapturedTimeline { timeline, slices, gaps, stored_bytes: found.bytes })
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

    /// Reads and opens a slice, and returns its entries, one after the other. Needs memory for one slice.
    ///
    /// # Errors
    /// [`Kind::Damaged`], naming the slice, when it is missing or not what was written; [`Kind::Configuration`] when
    /// no identity fits.
    pub async fn slice_entries(&self, record: &SliceRecord, identities: Option<Identities>) -> Result<Vec<u8>> {
        let place = || format!("cannot open {}", record.object.key);
        let opener = Opener::new(record.encryption, identities, &record.recipients).context(place())?;
        let sealed = self.read_whole(&record.object).await?;
        let SliceRecord { timeline, begin, end, .. } = record;
        let subject = Subject::Slice { timeline: timeline.clone(), begin: *begin, end: *end };
        let hash = record.object.sha256;
        let opened = tokio::task::spawn_blocking(move || opener.open(&subject, &sealed, &hash)).await;
        let opened = opened.map_err(|error| Error::failed(place()).caused_by(error))?;
        opened.map(|(entries, _)| entries).context(place()).map_err(super::with_remedy)
    }

    /// Makes a reader for a stretch of the oplog; reads the slices' records.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when a record is missing, was altered, or does not follow the one before.
    pub async fn slices(
        &self,
        timeline: &TimelineId,
        ranges: &[Range],
        identities: Option<Identities>,
    ) -> Result<SliceReader> {
        let records = stream::iter(ranges.to_vec()).map(|range| async move {
            let record = self.slice_record(timeline, range.begin).await?;
            if record.end == range.end {
                return Ok(record);
            }
            Err(Error::damaged(format!("the record of the slice behind {} does not fit the slice", range.begin)))
        });
        let records: Vec<SliceRecord> = records.buffered(PARALLEL_RECORDS).try_collect().await?;
        Ok(SliceReader { repository: self.clone(), records: records.into(), identities })
    }

    /// Begins a timeline. May be repeated after an error.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn begin_timeline(&self, timeline: &Timeline, key: &SigningKey) -> Result<()> {
        match self.create_signed(&layout::timeline(&timeline.id), TIMELINE_PURPOSE, timeline, key).await {
            // Begun by an earlier attempt.
            Err(error) if error.kind() == Kind::Refused && self.timeline_record(&timeline.id).await? == *timeline => {}
            created => drop(created?),
        }
        self.begin_oplog_bounds(&timeline.id, timeline.begin, timeline.begin, key).await
    }

    /// Stores a slice and its record; when it returns, the slice can be restored. May be repeated after an error.
    ///
    /// # Errors
    /// [`Kind::LeaseHeld`] when another capture has stored a slice behind the same entry; whatever the storage says.
    pub async fn store_slice(
        &self,
        timeline: &TimelineId,
        slice: &SealedSlice,
        sealed: Bytes,
        clock: &Clock,
        signing_key: &SigningKey,
    ) -> Result<SliceRecord> {
        let object =
            self.store_sealed(layout::slice(timeline, slice.range, slice.nonce, slice.encryption), sealed).await?;
        let record = SliceRecord {
            format: SliceRecord::FORMAT.into(),
            version: VERSION,
            repository: self.descriptor.id.clone(),
            timeline: timeline.clone(),
            begin: slice.range.begin,
            end: slice.range.end,
            entries: slice.entries,
            bytes_raw: slice.bytes_raw,
            object,
            encryption: slice.encryption,
            recipients: slice.recipients.clone(),
            stored_at: clock.now(),
            regrow_version: env!("CARGO_PKG_VERSION").into(),
        };
        let place = layout::slice_record(timeline, record.begin);
        let record = match self.create_signed(&place, SLICE_PURPOSE, &record, signing_key).await {
            Ok(_) => record,
            Err(error) if error.kind() == Kind::Refused => self.settle_slice(record).await?,
            Err(error) => return Err(error),
        };
        // It can be restored by now. Where the bounds could not be moved, those from before are still true.
        if let Err(error) = self.move_oplog_end(timeline, record.end, signing_key).await {
            tracing::warn!(%timeline, %error, "the bounds of a timeline could not be moved");
        }
        Ok(record)
    }

    /// Stores a file of a report. May be repeated after an error.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn store_report(&self, key: &str, content: Bytes) -> Result<ObjectRecord> {
        self.store_sealed(key.to_owned(), content).await
    }

    /// Stores sealed bytes; what an earlier attempt has left under the same key must be the same bytes.
    async fn store_sealed(&self, key: String, sealed: Bytes) -> Result<ObjectRecord> {
        let (hash, size) = (sha256(&sealed), sealed.len() as u64);
        let mut upload = self.storage.upload(&key).await?;
        upload.write(sealed).await?;
        let stored = match upload.finish(&hash).await {
            Err(StorageError::AlreadyExists { .. }) => Stored { size, confirmed: false },
            finished => finished?,
        };
        self.confirm(key, &stored, hash).await
    }

    /// Tells one's own record, whose answer was lost, from that of another capture.
    async fn settle_slice(&self, record: SliceRecord) -> Result<SliceRecord> {
        let existing = self.slice_record(&record.timeline, record.begin).await?;
        if existing.object == record.object {
            return Ok(existing);
        }
        // Nobody will ever read it; where it cannot be deleted it only wastes space.
        if let Err(error) = self.storage.delete(&record.object.key).await {
            tracing::debug!(key = record.object.key, %error, "cannot delete");
        }
        Err(Error::new(Kind::LeaseHeld, format!("another capture has stored the oplog behind {}", record.begin))
            .with_hint("let only one capture run for a repository"))
    }

    /// Records that a range of a timeline is missing. May be repeated after an error.
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
        match self.create_signed(&layout::gap(timeline, range), GAP_PURPOSE, &gap, key).await {
            // Recorded by an earlier attempt.
            Err(error) if error.kind() == Kind::Refused => drop(self.gap(timeline, range).await?),
            created => drop(created?),
        }
        self.move_oplog_end(timeline, range.end, key).await
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

/// Reads slices that follow each other; clones share everything.
#[derive(Debug, Clone)]
pub struct SliceReader {
    repository: Repository,
    records: Arc<[SliceRecord]>,
    identities: Option<Identities>,
}

impl SliceReader {
    /// Returns the records of the slices, in order.
    #[must_use]
    pub fn records(&self) -> &[SliceRecord] {
        &self.records
    }

    /// Returns the entries of slice after slice. Needs memory for [`READ_AHEAD`] slices, sealed and opened.
    ///
    /// # Errors
    /// Each item: [`Kind::Damaged`], naming the slice, when it is missing or not what was written.
    pub fn read(&self) -> impl Stream<Item = Result<(SliceRecord, Vec<u8>)>> + Send + use<> {
        let reader = self.clone();
        stream::iter(0..self.records.len())
            .map(move |number| {
                let reader = reader.clone();
                async move {
                    let record = &reader.records[number];
                    let entries = reader.repository.slice_entries(record, reader.identities.clone()).await?;
                    Ok((record.clone(), entries))
                }
            })
            .buffered(READ_AHEAD)
    }
}

/// What a listing shows of one timeline.
#[derive(Default)]
struct Found {
    begun: bool,
    committed: BTreeSet<ClusterTime>,
    /// The ends of the slices that begin there, committed or not.
    stored: BTreeMap<ClusterTime, Vec<ClusterTime>>,
    gaps: BTreeSet<Range>,
    bytes: u64,
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
