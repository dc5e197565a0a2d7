//! Does the source's oplog reach back far enough? What it loses before it was captured is lost.

use std::time::Duration;

use super::check::{Check, Doing, doing};
use super::server::{NO_SOURCE, reach};
use super::{Found, Installation};
use crate::capture::CaptureSettings;
use crate::error::Result;
use crate::mongo::health::{self, OplogSize};
use crate::mongo::roles::BACKUP;
use crate::mongo::{Deployment, Node};
use crate::units::{ByteSize, Elapsed, MIB};

/// How far back it should reach: whoever is told at night that nothing is captured may mend it in the morning.
const COMFORTABLE: Duration = Duration::from_hours(24);

/// By how many intervals of capture it must reach back at least; capture itself warns from there on.
const INTERVALS: u32 = 3;

/// From which share of its limit on an oplog counts as full: then its age tells how far back it reaches.
const FULL_PERCENT: u64 = 90;

/// What is known of an oplog.
#[derive(Debug, Clone, Copy)]
struct Known {
    reach: Duration,
    /// None where the user may not ask.
    size: Option<OplogSize>,
    /// The free bytes of the disk that it lies on; none where the user may not ask.
    free: Option<u64>,
}

pub(super) async fn window(installation: &Installation, found: &Found) -> Check {
    let doing = doing("oplog window", "asked how far back the oplog reaches");
    let Some(source) = &found.source else { return doing.skipped(NO_SOURCE) };
    if source.hello.replica_set.is_none() {
        return doing.skipped("a standalone server has no oplog");
    }
    let settings = match &installation.capture {
        Err(error) => return doing.failed(error),
        Ok(None) => return doing.skipped("[oplog] enabled = false switches capture off"),
        Ok(Some(settings)) => settings,
    };
    match known(source, settings).await {
        Err(error) => doing.failed(&error),
        Ok(known) => judge(doing, known, settings, longest_backup(found)),
    }
}

async fn known(source: &Deployment, settings: &CaptureSettings) -> Result<Known> {
    let node: Node = source.node_to_tail(&settings.preference).await?;
    let reach = reach(&node).await?;
    let free = health::free_space(source, BACKUP.name).await.ok().flatten().map(|(_, free)| free);
    Ok(Known { reach, size: health::oplog_size(&node).await.ok(), free })
}

fn longest_backup(found: &Found) -> Duration {
    let newest = found.newest.as_ref();
    let took = newest.map(|newest| newest.finished_at.duration_since(newest.started_at));
    took.and_then(|took| Duration::try_from(took).ok()).unwrap_or_default()
}

fn judge(doing: Doing, known: Known, settings: &CaptureSettings, backup: Duration) -> Check {
    let interval = settings.slice_interval;
    let needed = (interval * INTERVALS).max(backup * 2);
    let reaches = format!("it reaches back {}", Elapsed(known.reach));
    let Some(size) = known.size else {
        let found = format!("{reaches}; the user may not ask whether it is full (collStats on local.oplog.rs)");
        return if known.reach >= COMFORTABLE {
            doing.ok(found)
        } else {
            doing.warning(found, enlarge(known.reach, known))
        };
    };
    let (used, limit) = (ByteSize(size.used), ByteSize(size.limit));
    if size.used * 100 < size.limit * FULL_PERCENT {
        let expected = grown(known.reach, size);
        let found = format!("{reaches} with {used} of {limit}; full, it would reach back about {}", Elapsed(expected));
        // What was measured over moments says little of days.
        let is_measured = known.reach >= Duration::from_hours(1);
        return if is_measured && expected < COMFORTABLE {
            doing.warning(found, enlarge(expected, known))
        } else {
            doing.ok(found)
        };
    }
    let found = format!("{reaches} with {limit}, and a slice is stored every {}", Elapsed(interval));
    if known.reach < needed {
        return doing.problem(format!("{found}: that is too short, entries will be lost"), enlarge(known.reach, known));
    }
    if known.reach < COMFORTABLE {
        let found =
            format!("{found}: a capture that stands still for longer loses entries, and a new backup is needed");
        return doing.warning(found, enlarge(known.reach, known));
    }
    doing.ok(found)
}

/// Returns how far back it would reach if it were full.
fn grown(reach: Duration, size: OplogSize) -> Duration {
    let factor = size.limit / size.used.max(1);
    reach.saturating_mul(u32::try_from(factor).unwrap_or(u32::MAX))
}

/// Returns the command that makes it large enough, or as large as half of what its disk has free allows; the server takes
/// between 990 MB and 1 PB.
fn enlarge(reach: Duration, Known { size, free, .. }: Known) -> String {
    const SMALLEST: u64 = 990;
    let (hours, limit) = (COMFORTABLE.as_secs() / 3600, size.map_or(0, |size| size.limit / MIB as u64));
    let wanted = size.map_or(16 * 1024, |_| {
        let factor = COMFORTABLE.as_secs() / reach.as_secs().max(1) + 1;
        limit.saturating_mul(factor.min(1000))
    });
    let room = free.map_or(u64::MAX, |free| limit + free / 2 / MIB as u64);
    let command = |megabytes: u64, retention: &str| {
        format!("db.adminCommand({{ replSetResizeOplog: 1, size: Double({}){retention} }})", megabytes.max(SMALLEST))
    };
    if wanted <= room {
        return format!("on each member: {}", command(wanted, &format!(", minRetentionHours: {hours}")));
    }
    format!(
        "{hours} h of what is written now would take {}, more than the disk has room for: get a larger disk, or on each member as far \
         as it goes: {}",
        ByteSize(wanted.saturating_mul(MIB as u64)),
        command(room, "")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    fn judged(reach_hours: u64, used: u64, backup_hours: u64) -> Check {
        let size = Some(OplogSize { used: used * MIB as u64, limit: 1000 * MIB as u64 });
        let known = Known { reach: Duration::from_hours(reach_hours), size, free: None };
        judge(doing("oplog window", ""), known, &CaptureSettings::default(), Duration::from_hours(backup_hours))
    }

    #[test]
    fn an_oplog_is_judged_by_what_it_will_hold_when_it_is_full() {
        assert_eq!(judged(0, 1, 0).outcome, Outcome::Ok, "a new one says nothing yet");
        assert_eq!(judged(2, 100, 0).outcome, Outcome::Warning, "20 hours");
        assert_eq!(judged(3, 100, 0).outcome, Outcome::Ok, "30 hours");
        assert_eq!(judged(30, 1000, 0).outcome, Outcome::Ok);
        assert_eq!(judged(30, 1000, 20).outcome, Outcome::Problem, "a backup that takes as long needs more");
        let short = judged(5, 1000, 0);
        assert_eq!(short.outcome, Outcome::Warning);
        assert!(short.fix.unwrap().contains("size: Double(5000), minRetentionHours: 24"));
        assert_eq!(judged(0, 1000, 0).outcome, Outcome::Problem);
    }

    #[test]
    fn an_oplog_is_not_made_larger_than_its_disk() {
        let size = Some(OplogSize { used: 1000 * MIB as u64, limit: 1000 * MIB as u64 });
        let known = Known { reach: Duration::from_hours(1), size, free: Some(4000 * MIB as u64) };
        let fix = enlarge(known.reach, known);
        assert!(fix.contains("would take 24.4 GiB") && fix.contains("size: Double(3000) }"), "{fix}");
    }
}
