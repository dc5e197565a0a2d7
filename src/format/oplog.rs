//! The captured oplog: timelines, the records of their slices, and gaps.

use std::fmt;
use std::str::FromStr;

use bson::RawDocument;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::descriptor::RepositoryId;
use super::layout::{self, OplogObject};
use super::manifest::{Encryption, ObjectRecord};
use super::segment::{self, Documents};
use super::time::ClusterTime;
use super::{check_version, malformed};
use crate::error::{Error, Result};
use crate::random::Random;

/// How many bytes of entries a slice holds at most, unless one entry alone is larger.
pub const MAX_SLICE_BYTES: usize = 16 * crate::units::MIB;

/// The id of a timeline, such as `20261123T020000Z-7f3a`: when its capture began, and four random digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimelineId(String);

impl TimelineId {
    /// Makes the id of a timeline that begins `now`.
    #[must_use]
    pub fn generate(now: Timestamp, random: &Random) -> Self {
        Self(format!("{}-{:04x}", now.strftime("%Y%m%dT%H%M%SZ"), random.next_u64() & 0xffff))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TimelineId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // A backup's id without its kind.
        let (time, digits) = text.split_once('-').unwrap_or((text, ""));
        let as_backup = format!("{time}-manual-{digits}").parse::<super::BackupId>();
        as_backup.map_err(|_| malformed("a timeline's id", format!("'{text}'")))?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TimelineId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<TimelineId> for String {
    fn from(id: TimelineId) -> Self {
        id.0
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What makes an oplog one history: entries of two histories never follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The replica set's name.
    pub replica_set: String,
    /// `settings.replicaSetId` of its configuration, in hex: a set that is initiated anew gets another one.
    pub replica_set_id: String,
    /// The server's feature compatibility version: entries mean what it says.
    pub feature_compatibility_version: String,
}

/// The payload of `timeline.json`: one history, captured from one moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Always `regrow-timeline`.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// Its id.
    pub id: TimelineId,
    /// The configured name of the source.
    pub source: String,
    /// Whose oplog it is.
    pub history: History,
    /// Where it begins: slices hold what comes behind.
    pub begin: ClusterTime,
    /// When capture began.
    pub started_at: Timestamp,
    /// Why it is not the one before: for people.
    pub cause: String,
}

impl Timeline {
    /// The name that its `format` field bears.
    pub const FORMAT: &'static str = "regrow-timeline";

    /// Reads a payload whose signature has been checked, and holds it against its place.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none, or another's.
    pub fn parse(payload: &[u8], repository: &RepositoryId, id: &TimelineId) -> Result<Self> {
        let what = format!("the record of timeline {id}");
        let timeline: Self = serde_json::from_slice(payload).map_err(|error| malformed(&what, error))?;
        check_version(&what, Self::FORMAT, &timeline.format, timeline.version)?;
        if timeline.id != *id || timeline.repository != *repository {
            return Err(malformed(&what, "it belongs elsewhere"));
        }
        Ok(timeline)
    }
}

/// The payload of a slice's record: its commit point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRecord {
    /// Always `regrow-slice`.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// The timeline it belongs to.
    pub timeline: TimelineId,
    /// The entry before the first one: the end of the slice before.
    pub begin: ClusterTime,
    /// The last entry.
    pub end: ClusterTime,
    /// How many entries it holds.
    pub entries: u64,
    /// Their bytes as BSON.
    pub bytes_raw: u64,
    /// The entries, sealed.
    pub object: ObjectRecord,
    /// Whether they are encrypted.
    pub encryption: Encryption,
    /// The recipients they are encrypted to.
    pub recipients: Vec<String>,
    /// When they were stored: from then on `end` could be restored.
    pub stored_at: Timestamp,
    /// The version that wrote it.
    pub regrow_version: String,
}

impl SliceRecord {
    /// The name that its `format` field bears.
    pub const FORMAT: &'static str = "regrow-slice";

    /// Reads a payload whose signature has been checked, and holds it against its place.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none, or another's.
    pub fn parse(payload: &[u8], repository: &RepositoryId, timeline: &TimelineId, begin: ClusterTime) -> Result<Self> {
        let what = format!("the record of the slice behind {begin}");
        let record: Self = serde_json::from_slice(payload).map_err(|error| malformed(&what, error))?;
        check_version(&what, Self::FORMAT, &record.format, record.version)?;
        if record.timeline != *timeline || record.begin != begin || record.repository != *repository {
            return Err(malformed(&what, "it belongs elsewhere"));
        }
        if record.end <= record.begin {
            return Err(malformed(&what, "it ends before it begins"));
        }
        let (object, range) = (&record.object, Range { begin, end: record.end });
        let place = layout::oplog_object(&object.key);
        if place != Some((timeline.clone(), OplogObject::Slice(range))) || object.size > segment::MAX_STORED_BYTES {
            return Err(malformed(&what, format!("its slice is {:?} with {} bytes", object.key, object.size)));
        }
        Ok(record)
    }
}

/// The payload of a gap's record: a range of a timeline that is known to be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Always `regrow-gap`.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// The timeline it lies in.
    pub timeline: TimelineId,
    /// The last entry before it.
    pub begin: ClusterTime,
    /// The first entry that is known again.
    pub end: ClusterTime,
    /// What happened: for people.
    pub cause: String,
    /// When it was found out.
    pub found_at: Timestamp,
}

impl Gap {
    /// The name that its `format` field bears.
    pub const FORMAT: &'static str = "regrow-gap";

    /// Reads a payload whose signature has been checked, and holds it against its place.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is none, or another's.
    pub fn parse(payload: &[u8], repository: &RepositoryId, timeline: &TimelineId, range: Range) -> Result<Self> {
        let what = format!("the record of the gap behind {}", range.begin);
        let gap: Self = serde_json::from_slice(payload).map_err(|error| malformed(&what, error))?;
        check_version(&what, Self::FORMAT, &gap.format, gap.version)?;
        let found = Range { begin: gap.begin, end: gap.end };
        if gap.timeline != *timeline || found != range || gap.repository != *repository {
            return Err(malformed(&what, "it belongs elsewhere"));
        }
        Ok(gap)
    }
}

/// A stretch of cluster time: behind `begin`, up to and with `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Range {
    /// The moment before the first.
    pub begin: ClusterTime,
    /// The last one.
    pub end: ClusterTime,
}

/// Entries that are gathered one after the other, and what stretch of time they are.
#[derive(Debug)]
pub struct OpenRun {
    entries: Documents,
    range: Range,
}

impl OpenRun {
    /// Begins behind an entry.
    #[must_use]
    pub fn behind(begin: ClusterTime) -> Self {
        Self { entries: Documents::default(), range: Range { begin, end: begin } }
    }

    /// Returns the last entry's time; that of the one before the first while there is none.
    #[must_use]
    pub fn end(&self) -> ClusterTime {
        self.range.end
    }

    /// Adds an entry. Where it has no room below `bytes`, those before it are returned and it begins the next run.
    pub fn push(&mut self, entry: &RawDocument, time: ClusterTime, bytes: usize) -> Option<(Documents, Range)> {
        let full = if self.entries.is_full_for(entry, bytes) { self.close() } else { None };
        self.entries.push(entry);
        self.range.end = time;
        full
    }

    /// Returns the entries, if there are any, and begins the next run behind them.
    pub fn close(&mut self) -> Option<(Documents, Range)> {
        if self.entries.is_empty() {
            return None;
        }
        let next = Self::behind(self.range.end);
        let Self { entries, range } = std::mem::replace(self, next);
        Some((entries, range))
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn timeline_ids_are_checked() {
        let id: TimelineId = "20261123T020000Z-7f3a".parse().unwrap();
        assert_eq!(id.to_string(), "20261123T020000Z-7f3a");
        for wrong in ["", "20261123T020000Z", "20261123T020000Z-7f3", "../../etc", "20261123T020000Z-daily-7f3a"] {
            assert!(wrong.parse::<TimelineId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn runs_follow_each_other() {
        let at = |t: u32| ClusterTime { t, i: 1 };
        let (entry, mut open) = (rawdoc! { "n": 1 }, OpenRun::behind(at(1)));
        assert!(open.close().is_none());
        let bytes = entry.as_bytes().len() * 2;
        let mut full: Vec<_> = (2..7).filter_map(|t| open.push(&entry, at(t), bytes)).collect();
        full.extend(open.close());
        let found = full.iter().map(|(entries, range)| (entries.count(), range.begin.t, range.end.t));
        assert_eq!(found.collect::<Vec<_>>(), [(2, 1, 3), (2, 3, 5), (1, 5, 6)]);
        assert_eq!((open.end(), open.close().is_none()), (at(6), true));
    }

    #[test]
    fn generated_ids_parse() {
        let random = Random::seeded(1);
        let id = TimelineId::generate(Timestamp::UNIX_EPOCH, &random);
        assert_eq!(id.as_str().parse::<TimelineId>().unwrap(), id);
    }
}
