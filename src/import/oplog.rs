//! What a dump with `--oplog` brings along: the entries that were written while it was taken.
//!
//! They become the backup's own oplog, so that a restore leads to one moment. They are followed at once, as that restore
//! will: a backup whose entries nobody could replay is none.

use bson::RawDocument;

use super::listing::Listing;
use crate::error::{Error, Result};
use crate::format::ClusterTime;
use crate::format::mongodump::{OPLOG, damaged};
use crate::format::oplog::{OpenRun, Range};
use crate::format::segment::Documents;
use crate::operations::{Collections, Course, Shown, entry_time};

/// The entries of a dump.
pub(super) struct DumpedOplog {
    /// What was dumped shows this moment, or a later one.
    pub since: ClusterTime,
    /// What each of the segments holds, in order.
    pub ranges: Vec<Range>,
}

pub(super) struct OplogFollower {
    /// None until there is an entry.
    open: Option<OpenRun>,
    since: ClusterTime,
    ranges: Vec<Range>,
    /// None once it has begun.
    collections: Option<Collections>,
    course: Option<Course>,
    /// Collections that the oplog may know by UUIDs that the dump does not tell.
    nameless: Vec<(String, String)>,
}

impl OplogFollower {
    pub fn new(listing: &Listing) -> Result<Self> {
        let collections = Collections::of_backup(listing.records.clone())?;
        Ok(Self {
            open: None,
            since: ClusterTime { t: 0, i: 0 },
            ranges: Vec::new(),
            collections: Some(collections),
            course: None,
            nameless: listing.nameless.clone(),
        })
    }

    /// Takes the next entry; returns the entries of a segment that is full.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is not behind the one before; [`Kind::Refused`](crate::error::Kind::Refused) when no restore
    /// would understand it.
    pub fn take(&mut self, entry: &RawDocument, segment_bytes: usize) -> Result<Option<Documents>> {
        let time = entry_time(entry).map_err(|error| damaged(OPLOG, "holds what is no entry").caused_by(error))?;
        if let Some(collections) = self.collections.take() {
            let before = just_before(time);
            // The first entry was there when the dump began. Half of a transaction could not be replayed; anything else
            // may as well be once more.
            self.since = if entry.get_str("op").is_ok_and(|op| op == "c") { time } else { before };
            self.open = Some(OpenRun::behind(before));
            self.course = Some(Course::new(collections, Shown::Since(self.since)));
        }
        let (Some(open), Some(course)) = (&mut self.open, &mut self.course) else { return Ok(None) };
        if time <= open.end() {
            return Err(damaged(OPLOG, format!("holds entries out of order, at {time}")));
        }
        if let Some(namespace) = concerned(&self.nameless, entry) {
            return Err(refused(&format!("it writes to {namespace}, whose UUID the dump does not tell")));
        }
        course.follow(entry, time).map_err(|error| refused(&error.to_string()))?;
        Ok(open.push(entry, time, segment_bytes).map(|(entries, range)| {
            self.ranges.push(range);
            entries
        }))
    }

    /// Returns what there was, and the entries of the last segment.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when there was none; [`Kind::Refused`](crate::error::Kind::Refused) when they do not belong to what
    /// was dumped.
    pub fn finish(mut self) -> Result<(DumpedOplog, Option<Documents>)> {
        let (Some(mut open), Some(course)) = (self.open, self.course) else {
            return Err(damaged(OPLOG, "holds no entry, and a dump has one at least"));
        };
        course.finish().map_err(|error| refused(&error.to_string()))?;
        let last = open.close().map(|(entries, range)| {
            self.ranges.push(range);
            entries
        });
        Ok((DumpedOplog { since: self.since, ranges: self.ranges }, last))
    }
}

/// Returns the collection among these that an entry may be about: by its name, or by a command in its database.
fn concerned(nameless: &[(String, String)], entry: &RawDocument) -> Option<String> {
    let namespace = entry.get_str("ns").unwrap_or_default();
    let (of, name) = namespace.split_once('.').unwrap_or((namespace, ""));
    let found = nameless.iter().find(|(db, collection)| db == of && (name == collection || name == "$cmd"));
    found.map(|(db, collection)| format!("{db}.{collection}"))
}

fn just_before(time: ClusterTime) -> ClusterTime {
    match time.i {
        0 => ClusterTime { t: time.t.saturating_sub(1), i: u32::MAX },
        i => ClusterTime { i: i - 1, ..time },
    }
}

fn refused(reason: &str) -> Error {
    Error::refused(format!("the oplog of the dump cannot be replayed: {reason}")).with_hint(
        "restore the dump with mongorestore --oplogReplay and back that server up, or remove oplog.bson: then the backup shows no single moment",
    )
}
