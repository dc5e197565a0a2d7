//! Retention: which backups are kept, and how far back the oplog.
//!
//! Whatever is in doubt is kept. A backup counts as good when its manifest is sound; one that is damaged neither
//! counts nor goes: that is for a person to look at. The time, too, is in doubt where only this machine's clock tells it: nothing
//! is older than it was at the newest moment that is stored.

mod facts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

use crate::format::evidence::RetentionRecord;
use crate::format::{BackupId, BackupKind, ClusterTime};

pub use facts::{BackupFacts, CapturedFacts};

/// How long what has expired can still be brought back.
pub const GRACE: Duration = Duration::from_hours(72);

/// How much is kept. What is not limited is kept for good, and so is every backup that was taken by hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Of how many days.
    pub daily: Option<u32>,
    /// Of how many weeks.
    pub weekly: Option<u32>,
    /// Of how many months.
    pub monthly: Option<u32>,
    /// For how long every second can be restored, where the oplog was captured.
    pub oplog: Option<Duration>,
}

impl Retention {
    /// Returns what is recorded of it.
    #[must_use]
    pub fn record(self) -> RetentionRecord {
        let Self { daily, weekly, monthly, oplog } = self;
        RetentionRecord { daily, weekly, monthly, oplog_seconds: oplog.map(|oplog| oplog.as_secs()) }
    }
}

/// Why a backup is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is under legal hold.
    Held,
    /// It was taken by hand.
    Manual,
    /// Its kind is not limited.
    Unlimited,
    /// It is one of so many that are kept of its kind.
    Newest,
    /// It is none of those, but the newest of its day, week or month.
    Period,
    /// There is no newer one of everything.
    LastGood,
    /// There is no newer one that was verified.
    LastVerified,
    /// The oldest moments of the recovery window begin with it.
    Window,
    /// An increment that is kept builds on it.
    Needed,
}

/// What is to become of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for these reasons.
    Keep(BTreeSet<Reason>),
    /// It expires now; its bytes go later.
    Expire,
    /// It has expired and can still be brought back, up to this time.
    Expired(Timestamp),
    /// It has expired, and its bytes go.
    Remove,
}

impl Verdict {
    /// Keeps what an increment builds on, whatever was to become of it.
    pub fn need(&mut self) {
        let reasons = match self {
            Self::Keep(reasons) => std::mem::take(reasons),
            _ => BTreeSet::new(),
        };
        *self = Self::Keep(reasons.into_iter().chain([Reason::Needed]).collect());
    }
}

/// What retention would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPlan {
    /// Each backup's fate, the newest first.
    pub backups: Vec<(BackupId, Verdict)>,
    /// What the oplog holds up to here is not needed any more; none where all of it stays.
    pub oplog_until: Option<ClusterTime>,
    /// The time at which ages were taken: now, or the newest moment that is stored, where that is earlier.
    pub measured_at: Timestamp,
    /// Whether this machine's clock alone would let more go.
    pub keeps_more: bool,
}

impl RetentionPlan {
    /// Whether the other lets something go, or go on its way, that stays here.
    fn lets_go_less_than(&self, other: &Self) -> bool {
        let goes = |verdict: &Verdict| match verdict {
            Verdict::Keep(_) => 0,
            Verdict::Expire | Verdict::Expired(_) => 1,
            Verdict::Remove => 2,
        };
        let mut both = self.backups.iter().zip(&other.backups);
        self.oplog_until < other.oplog_until || both.any(|((_, own), (_, other))| goes(own) < goes(other))
    }
}

/// Why nothing may expire at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The clock shows a time before this one, at which a backup was finished.
    ClockBehind(Timestamp),
    /// Oplog was lost, and no backup has been taken since.
    InGap,
}

impl Retention {
    /// Decides about all good backups.
    ///
    /// # Errors
    /// A [`Refusal`] when now is no time to let anything go.
    pub fn plan(
        &self,
        backups: &[BackupFacts],
        captured: CapturedFacts,
        now: Timestamp,
    ) -> Result<RetentionPlan, Refusal> {
        if let Some(newest) = backups.iter().map(|backup| backup.finished_at).max()
            && now < newest
        {
            return Err(Refusal::ClockBehind(newest));
        }
        if captured.in_gap {
            return Err(Refusal::InGap);
        }
        let measured_at = facts::vouched(backups, captured).min(now);
        let plan = self.plan_at(backups, measured_at);
        let keeps_more = measured_at < now && plan.lets_go_less_than(&self.plan_at(backups, now));
        Ok(RetentionPlan { measured_at, keeps_more, ..plan })
    }

    /// Decides as of this time, whoever tells it.
    fn plan_at(&self, backups: &[BackupFacts], now: Timestamp) -> RetentionPlan {
        let mut newest_first: Vec<&BackupFacts> = backups.iter().collect();
        newest_first.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));
        let mut kept = self.reasons(&newest_first, now);
        let verdicts = newest_first.iter().map(|backup| {
            let kept = kept.remove(&backup.id).unwrap_or_default();
            (backup.id.clone(), verdict(backup, kept, now))
        });
        let mut verdicts: Vec<(BackupId, Verdict)> = verdicts.collect();
        spare_what_others_need(&newest_first, &mut verdicts, now);
        // The oplog has no marks: it stays as much longer as what has expired can be brought back.
        let before = now.checked_sub(GRACE).ok().and_then(|before| self.window_base(&newest_first, before));
        let oplog_until = before.and_then(|base| base.leads_on).map(|(_, replay_from)| replay_from);
        RetentionPlan { backups: verdicts, oplog_until, measured_at: now, keeps_more: false }
    }

    /// Returns the backup that the recovery window begins with: the newest that is as old as the window is long. None
    /// where there is no such limit, or nothing is that old yet.
    fn window_base<'a>(&self, newest_first: &[&'a BackupFacts], now: Timestamp) -> Option<&'a BackupFacts> {
        let length = SignedDuration::try_from(self.oplog?).ok()?;
        let begin = now.checked_sub(length).ok()?;
        let shown_before = |backup: &BackupFacts| backup.leads_on.is_some_and(|(shows, _)| shows.wall() <= begin);
        newest_first.iter().copied().find(|backup| backup.is_live() && shown_before(backup))
    }

    /// Returns why backups are kept, rule by rule; those that no rule keeps are not in it.
    fn reasons<'a>(
        &self,
        newest_first: &[&'a BackupFacts],
        now: Timestamp,
    ) -> BTreeMap<&'a BackupId, BTreeSet<Reason>> {
        let mut reasons: BTreeMap<&BackupId, BTreeSet<Reason>> = BTreeMap::new();
        let mut keep = |reason: Reason, backup: &'a BackupFacts| {
            reasons.entry(&backup.id).or_default().insert(reason);
        };
        let all = || newest_first.iter().copied();
        let live = || all().filter(|backup| backup.is_live());
        for backup in all().filter(|backup| backup.held) {
            keep(Reason::Held, backup);
        }
        let single = [
            (Reason::LastGood, live().find(|backup| !backup.partial)),
            (Reason::LastVerified, live().find(|backup| !backup.partial && backup.verified)),
            (Reason::Window, self.window_base(newest_first, now)),
        ];
        for (reason, backup) in single {
            if let Some(backup) = backup {
                keep(reason, backup);
            }
        }
        for backup in all().filter(|backup| backup.id.kind() == BackupKind::Manual) {
            keep(Reason::Manual, backup);
        }
        let limits =
            [(BackupKind::Daily, self.daily), (BackupKind::Weekly, self.weekly), (BackupKind::Monthly, self.monthly)];
        for (kind, limit) in limits {
            let of_kind = |backup: &&BackupFacts| backup.id.kind() == kind;
            let Some(number) = limit.map(|number| number as usize) else {
                all().filter(of_kind).for_each(|backup| keep(Reason::Unlimited, backup));
                continue;
            };
            // Backups of a part are counted by themselves: they replace no backup of everything.
            for partial in [false, true] {
                let alike: Vec<_> = live().filter(of_kind).filter(|backup| backup.partial == partial).collect();
                let (newest, others) = alike.split_at(number.min(alike.len()));
                for backup in newest {
                    keep(Reason::Newest, backup);
                }
                let mut periods: BTreeSet<_> = newest.iter().map(|backup| period(backup)).collect();
                let of_another =
                    others.iter().filter(|backup| periods.len() < number && periods.insert(period(backup)));
                of_another.for_each(|backup| keep(Reason::Period, backup));
            }
        }
        reasons
    }
}

/// Returns the first day of the day, week or month (UTC) that a backup is of.
fn period(backup: &BackupFacts) -> civil::Date {
    let day = TimeZone::UTC.to_datetime(backup.started_at).date();
    match backup.id.kind() {
        BackupKind::Daily | BackupKind::Manual => day,
        BackupKind::Weekly => day.iso_week_date().first_of_week().map_or(day, civil::ISOWeekDate::date),
        BackupKind::Monthly => day.first_of_month(),
    }
}

fn verdict(backup: &BackupFacts, kept: BTreeSet<Reason>, now: Timestamp) -> Verdict {
    let Some(expired_at) = backup.expired_at else {
        return if kept.is_empty() { Verdict::Expire } else { Verdict::Keep(kept) };
    };
    match expired_at.checked_add(GRACE) {
        // What was brought under hold after it had expired must not go either.
        _ if backup.held => Verdict::Keep(kept),
        Ok(end) if now >= end => Verdict::Remove,
        Ok(end) => Verdict::Expired(end),
        // Beyond the calendar.
        Err(_) => Verdict::Expired(Timestamp::MAX),
    }
}

/// Keeps what an increment that is kept builds on, and the bytes of what one builds on that can still be brought back.
fn spare_what_others_need(backups: &[&BackupFacts], verdicts: &mut [(BackupId, Verdict)], now: Timestamp) {
    let mut farthest_first: Vec<&BackupFacts> =
        backups.iter().copied().filter(|backup| backup.parent.is_some()).collect();
    farthest_first.sort_by_key(|backup| std::cmp::Reverse(backup.increments));
    for backup in farthest_first {
        let of = |id: &BackupId| verdicts.iter().position(|(other, _)| other == id);
        let (Some(child), Some(parent)) = (of(&backup.id), backup.parent.as_ref().and_then(of)) else { continue };
        let until = match &verdicts[child].1 {
            Verdict::Keep(_) => {
                verdicts[parent].1.need();
                continue;
            }
            Verdict::Expire => now.checked_add(GRACE).unwrap_or(Timestamp::MAX),
            Verdict::Expired(until) => *until,
            Verdict::Remove => continue,
        };
        match &mut verdicts[parent].1 {
            verdict @ Verdict::Remove => *verdict = Verdict::Expired(until),
            Verdict::Expired(earlier) => *earlier = until.max(*earlier),
            Verdict::Keep(_) | Verdict::Expire => {}
        }
    }
}

#[cfg(test)]
mod tests;
