//! Where things lie in a repository: the only place that spells keys.

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;

use super::backup_id::BackupId;
use super::manifest::Encryption;
use super::mark::MarkKind;
use super::oplog::{Range, TimelineId};
use super::time::ClusterTime;

/// The descriptor's key.
pub const DESCRIPTOR: &str = "regrow-repository.json";

/// The lease's key.
pub const LEASE: &str = "control/lease.json";

/// The folder of the leases of backups that are being taken.
pub const BACKUP_LEASES: &str = "control/backups/";

/// Returns the key of the lease of a backup that is being taken.
#[must_use]
pub fn backup_lease(id: &BackupId) -> String {
    format!("{BACKUP_LEASES}{id}.json")
}

/// Returns the id of the backup whose lease a key is that of, if it is that of any.
#[must_use]
pub fn leased_backup(key: &str) -> Option<BackupId> {
    key.strip_prefix(BACKUP_LEASES)?.strip_suffix(".json")?.parse().ok()
}

/// Returns the folder of all marks of a kind.
#[must_use]
pub fn marks(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Hold => "control/holds/",
        MarkKind::Expired => "control/expired/",
    }
}

/// Returns the key of a backup's mark.
#[must_use]
pub fn mark(kind: MarkKind, id: &BackupId) -> String {
    format!("{}{id}.json", marks(kind))
}

/// Returns the id of the backup that a key marks, if it is the key of such a mark.
#[must_use]
pub fn marked(kind: MarkKind, key: &str) -> Option<BackupId> {
    key.strip_prefix(marks(kind))?.strip_suffix(".json")?.parse().ok()
}

/// The folder of the keys that have been accepted.
pub const KEYS: &str = "keys/";

/// Returns the key of an accepted key's record.
#[must_use]
pub fn accepted_key(id: &str) -> String {
    format!("{KEYS}{id}.json")
}

/// Whether a key is that of an accepted key's record.
#[must_use]
pub fn is_accepted_key(key: &str) -> bool {
    let id = key.strip_prefix(KEYS).and_then(|name| name.strip_suffix(".json"));
    id.is_some_and(|id| id.len() == 16 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// The folder of all evidence.
pub const EVIDENCE: &str = "evidence/";

/// Returns the key of a record of evidence.
#[must_use]
pub fn evidence(recorded_at: Timestamp, kind: &str, id: &str) -> String {
    format!("{EVIDENCE}{}-{kind}-{id}.json", recorded_at.strftime("%Y/%m/%Y%m%dT%H%M%SZ"))
}

/// The bounds of evidence; see [`super::bounds`].
pub const EVIDENCE_BOUNDS: &str = "control/evidence.json";

/// The folder of the bounds of all timelines.
pub const OPLOG_BOUNDS: &str = "control/oplog/";

/// Returns the key of a timeline's bounds.
#[must_use]
pub fn oplog_bounds(timeline: &TimelineId) -> String {
    format!("{OPLOG_BOUNDS}{timeline}.json")
}

/// Returns the timeline that a key holds the bounds of, if it is the key of any.
#[must_use]
pub fn bounded_timeline(key: &str) -> Option<TimelineId> {
    key.strip_prefix(OPLOG_BOUNDS)?.strip_suffix(".json")?.parse().ok()
}

/// The folder of what may be replaced and removed.
pub const CONTROL: &str = "control/";

/// What the markers begin with by which Regrow finds out what a store does.
pub const PROBES: &str = "control/probe-";

/// The folder of all reports.
pub const REPORTS: &str = "reports/";

/// Returns the folder of the reports about a period, made at one moment.
#[must_use]
pub fn report(begin: Timestamp, made_at: Timestamp) -> String {
    format!("{REPORTS}{}/{}/", begin.strftime("%Y-%m"), made_at.strftime("%Y%m%dT%H%M%SZ"))
}

/// Returns the folder of a year's evidence.
#[must_use]
pub fn evidence_of_year(year: i16) -> String {
    format!("{EVIDENCE}{year:04}/")
}

/// Returns when the evidence of a key was recorded, to the second, if it is the key of any.
#[must_use]
pub fn evidence_time(key: &str) -> Option<Timestamp> {
    let (_, name) = key.strip_prefix(EVIDENCE)?.strip_suffix(".json")?.rsplit_once('/')?;
    let (time, _) = name.split_once('-')?;
    let time = civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// What of alerts is open and has been said; see [`super::alerts`].
pub const ALERTS: &str = "control/alerts.json";

/// The folder of all backups.
pub const BACKUPS: &str = "backups/";

/// Returns the folder of one backup.
#[must_use]
pub fn backup(id: &BackupId) -> String {
    format!("{BACKUPS}{id}/")
}

/// Returns the key of a backup's pack; packs are numbered from 1.
#[must_use]
pub fn pack(id: &BackupId, number: u32) -> String {
    format!("{BACKUPS}{id}/packs/{number:04}.tar")
}

/// Returns the key of the checkpoint that names a pack.
#[must_use]
pub fn checkpoint(id: &BackupId, number: u32) -> String {
    format!("{BACKUPS}{id}/checkpoints/{number:04}.json")
}

/// Whether a key is that of a checkpoint.
#[must_use]
pub fn is_checkpoint(key: &str) -> bool {
    let name = backup_of(key).and_then(|id| key.strip_prefix(&backup(&id)));
    name.is_some_and(|name| name.starts_with("checkpoints/"))
}

/// Returns the key of a backup's catalog.
#[must_use]
pub fn catalog(id: &BackupId, encryption: Encryption) -> String {
    format!("{BACKUPS}{id}/catalog.{}", encryption.extension())
}

/// Returns the key of a backup's manifest.
#[must_use]
pub fn manifest(id: &BackupId) -> String {
    format!("{BACKUPS}{id}/manifest.json")
}

/// Returns the id of the backup whose folder `key` lies in, if it lies in one.
#[must_use]
pub fn backup_of(key: &str) -> Option<BackupId> {
    key.strip_prefix(BACKUPS)?.split_once('/')?.0.parse().ok()
}

/// The folder of the captured oplog.
pub const OPLOG: &str = "oplog/";

/// Returns the key of a timeline's record.
#[must_use]
pub fn timeline(id: &TimelineId) -> String {
    format!("{OPLOG}{id}/timeline.json")
}

/// Returns the key of a slice. `nonce` keeps it apart from what an interrupted capture may have left; the slice's
/// record says which one counts.
#[must_use]
pub fn slice(id: &TimelineId, range: Range, nonce: u64, encryption: Encryption) -> String {
    let ending = match encryption {
        Encryption::Age => ".age",
        Encryption::None => "",
    };
    let nonce = nonce & 0xffff_ffff;
    format!("{OPLOG}{id}/{}-{}-{nonce:08x}.bson.zst{ending}", padded(range.begin), padded(range.end))
}

/// Returns the key of a slice's record. It names only where the slice begins, so that of two captures that go on
/// from one point only one can commit.
#[must_use]
pub fn slice_record(id: &TimelineId, begin: ClusterTime) -> String {
    format!("{OPLOG}{id}/{}.json", padded(begin))
}

/// Returns the key of a gap's record.
#[must_use]
pub fn gap(id: &TimelineId, range: Range) -> String {
    format!("{OPLOG}{id}/{}-{}.gap.json", padded(range.begin), padded(range.end))
}

/// What a key below [`OPLOG`] is the key of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OplogObject {
    /// A timeline's record.
    Timeline,
    /// A slice, committed or not.
    Slice(Range),
    /// The record that commits the slice behind this moment.
    SliceRecord(ClusterTime),
    /// A gap's record.
    Gap(Range),
}

/// Returns the timeline that `key` belongs to and what it is, if it is anything of the oplog.
#[must_use]
pub fn oplog_object(key: &str) -> Option<(TimelineId, OplogObject)> {
    let (timeline, name) = key.strip_prefix(OPLOG)?.split_once('/')?;
    let timeline = timeline.parse().ok()?;
    let object = if name == "timeline.json" {
        OplogObject::Timeline
    } else if let Some(range) = name.strip_suffix(".gap.json") {
        OplogObject::Gap(parse_range(range)?)
    } else if let Some(begin) = name.strip_suffix(".json") {
        OplogObject::SliceRecord(parse_padded(begin)?)
    } else {
        let name = name.strip_suffix(".age").unwrap_or(name);
        let (range, _nonce) = name.strip_suffix(".bson.zst")?.rsplit_once('-')?;
        OplogObject::Slice(parse_range(range)?)
    };
    Some((timeline, object))
}

/// Returns a cluster time as names hold it, so that they sort as it does.
fn padded(time: ClusterTime) -> String {
    format!("{:010}.{:010}", time.t, time.i)
}

fn parse_padded(text: &str) -> Option<ClusterTime> {
    let (t, i) = text.split_once('.')?;
    let time = ClusterTime { t: t.parse().ok()?, i: i.parse().ok()? };
    (padded(time) == text).then_some(time)
}

fn parse_range(text: &str) -> Option<Range> {
    let (begin, end) = text.split_once('-')?;
    let range = Range { begin: parse_padded(begin)?, end: parse_padded(end)? };
    (range.begin < range.end).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_oplog_are_understood() {
        let id: TimelineId = "20261123T020000Z-7f3a".parse().unwrap();
        let (begin, end) = (ClusterTime { t: 1_764_032_400, i: 12 }, ClusterTime { t: u32::MAX, i: u32::MAX });
        let range = Range { begin, end };
        for (key, object) in [
            (timeline(&id), OplogObject::Timeline),
            (slice(&id, range, 7, Encryption::Age), OplogObject::Slice(range)),
            (slice(&id, range, u64::MAX, Encryption::None), OplogObject::Slice(range)),
            (slice_record(&id, begin), OplogObject::SliceRecord(begin)),
            (gap(&id, range), OplogObject::Gap(range)),
        ] {
            assert_eq!(oplog_object(&key), Some((id.clone(), object)), "{key}");
        }
        for key in [
            "oplog/x/timeline.json",
            "oplog/20261123T020000Z-7f3a/5.json",
            "backups/a",
            "oplog/20261123T020000Z-7f3a/note",
        ] {
            assert_eq!(oplog_object(key), None, "{key}");
        }
    }
}
