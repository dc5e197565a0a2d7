//! Retention: which backups are kept, and how far back the oplog.
//!
//! Whatever is in doubt is kept. A backup counts as good when its manifest is sound; one that is damaged neither
//! counts nor goes: that is for a person to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

use crate::format::evidence::RetentionRecord;
use crate::format::manifest::Manifest;
use crate::format::{BackupId, BackupKind, ClusterTime};

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

/// What is known of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// Its id.
    pub id: BackupId,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When it was complete.
    pub finished_at: Timestamp,
    /// What [`Manifest::leads_on`] tells.
    pub leads_on: Option<(ClusterTime, ClusterTime)>,
    /// Whether it holds only chosen namespaces.
    pub partial: bool,
    /// What it builds on, where it is an increment.
    pub parent: Option<BackupId>,
    /// How many increments it takes from a full backup to it.
    pub increments: u32,
    /// Whether a verification found every byte of it as recorded.
    pub verified: bool,
    /// Whether somebody said that it must not go.
    pub held: bool,
    /// Since when it has expired, if it has.
    pub expired_at: Option<Timestamp>,
}

impl BackupFacts {
    /// Returns what a manifest tells; the rest is to be found out elsewhere.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            id: manifest.id.clone(),
            started_at: manifest.started_at,
            finished_at: manifest.finished_at,
            leads_on: manifest.leads_on(),
            partial: manifest.partial,
            parent: manifest.parent().cloned(),
            increments: manifest.increments(),
            verified: false,
            held: false,
            expired_at: None,
        }
    }

    /// Whether it has not expired.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.expired_at.is_none()
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
    /// Decides about all good backups. `in_gap` tells that oplog was lost and no backup leads on behind the loss.
    ///
    /// # Errors
    /// A [`Refusal`] when now is no time to let anything go.
    pub fn plan(&self, backups: &[BackupFacts], in_gap: bool, now: Timestamp) -> Result<RetentionPlan, Refusal> {
        if let Some(newest) = backups.iter().map(|backup| backup.finished_at).max()
            && now < newest
        {
            return Err(Refusal::ClockBehind(newest));
        }
        if in_gap {
            return Err(Refusal::InGap);
        }
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
        Ok(RetentionPlan { backups: verdicts, oplog_until })
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
mod tests {
    use super::*;
    use crate::policy::Timetable;
    use crate::random::Random;

    const POLICY: Retention =
        Retention { daily: Some(7), weekly: Some(5), monthly: Some(12), oplog: Some(Duration::from_hours(7 * 24)) };

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn backup(kind: BackupKind, started_at: Timestamp) -> BackupFacts {
        let shows = ClusterTime { t: u32::try_from(started_at.as_second()).unwrap(), i: 1 };
        BackupFacts {
            id: BackupId::generate(started_at, kind, &Random::seeded(started_at.as_second().unsigned_abs())),
            started_at,
            finished_at: started_at + SignedDuration::from_mins(10),
            leads_on: Some((shows, shows)),
            partial: false,
            parent: None,
            increments: 0,
            verified: false,
            held: false,
            expired_at: None,
        }
    }

    /// Lets each backup build on the one before, as far as a chain may go.
    fn chained(mut backups: Vec<BackupFacts>, longest: u32) -> Vec<BackupFacts> {
        for number in 1..backups.len() {
            let before = &backups[number - 1];
            let (parent, increments) = (before.id.clone(), before.increments + 1);
            if increments <= longest {
                (backups[number].parent, backups[number].increments) = (Some(parent), increments);
            }
        }
        backups
    }

    #[test]
    fn what_an_increment_builds_on_stays_as_long_as_it_does() {
        let only_daily = Retention { daily: Some(2), ..Retention::default() };
        let backups = chained(days(BackupKind::Daily, 8), 3);
        let plan = only_daily.plan(&backups, false, at("2026-06-08T12:00:00Z")).unwrap();
        assert_eq!(expiring(&plan), ["01", "02", "03", "04"]);
        assert_eq!(reasons(&plan, &backups[4]), [&Reason::Needed]);
        assert_eq!(reasons(&plan, &backups[5]), [&Reason::Needed]);
        assert_eq!(reasons(&plan, &backups[6]), [&Reason::Newest, &Reason::Needed]);
    }

    #[test]
    fn a_held_increment_holds_what_it_builds_on_even_where_that_has_expired() {
        let only_daily = Retention { daily: Some(1), ..Retention::default() };
        let mut backups = chained(days(BackupKind::Daily, 6), 3);
        for backup in &mut backups[..4] {
            backup.expired_at = Some(at("2026-06-02T00:00:00Z"));
        }
        backups[2].held = true;
        let plan = only_daily.plan(&backups, false, at("2026-06-08T12:00:00Z")).unwrap();
        assert_eq!(reasons(&plan, &backups[0]), [&Reason::Needed]);
        assert_eq!(reasons(&plan, &backups[1]), [&Reason::Needed]);
        let of_last = plan.backups.iter().find(|(id, _)| *id == backups[3].id).map(|(_, verdict)| verdict);
        assert_eq!(of_last, Some(&Verdict::Remove));
    }

    #[test]
    fn what_can_be_brought_back_can_still_be_restored() {
        let only_daily = Retention { daily: Some(1), ..Retention::default() };
        let mut backups = chained(days(BackupKind::Daily, 4), 2);
        backups[0].expired_at = Some(at("2026-06-02T00:00:00Z"));
        backups[1].expired_at = Some(at("2026-06-03T00:00:00Z"));
        backups[2].expired_at = Some(at("2026-06-07T00:00:00Z"));
        let plan = only_daily.plan(&backups, false, at("2026-06-08T12:00:00Z")).unwrap();
        let verdicts: Vec<&Verdict> = plan.backups.iter().rev().map(|(_, verdict)| verdict).take(3).collect();
        assert_eq!(verdicts, [&Verdict::Expired(at("2026-06-10T00:00:00Z")); 3]);
    }

    /// A year of daily increments behind weekly backups, with retention applied each morning.
    #[test]
    fn on_no_day_of_a_year_is_there_an_increment_without_what_it_builds_on() {
        let (mut backups, first): (Vec<BackupFacts>, _) = (Vec::new(), at("2026-01-04T02:00:00Z"));
        for day in 0..370 {
            let started_at = first + SignedDuration::from_hours(24 * day);
            let mut taken = backup(if day % 7 == 0 { BackupKind::Weekly } else { BackupKind::Daily }, started_at);
            if let Some(before) = backups.iter().max_by_key(|backup| backup.started_at).filter(|_| day % 7 != 0) {
                (taken.parent, taken.increments) = (Some(before.id.clone()), before.increments + 1);
            }
            backups.push(taken);
            let now = started_at + SignedDuration::from_hours(3);
            let plan = POLICY.plan(&backups, false, now).unwrap();
            for (id, verdict) in &plan.backups {
                let at = backups.iter().position(|backup| backup.id == *id).unwrap();
                match verdict {
                    Verdict::Expire => backups[at].expired_at = Some(now),
                    Verdict::Remove => drop(backups.remove(at)),
                    Verdict::Keep(_) | Verdict::Expired(_) => {}
                }
            }
            let exists = |id: &BackupId| backups.iter().any(|backup| backup.id == *id);
            assert!(backups.iter().filter_map(|backup| backup.parent.as_ref()).all(exists), "day {day}");
            assert!(backups.len() < 40, "{} on day {day}: what nothing needs goes", backups.len());
        }
    }

    fn days(kind: BackupKind, number: i64) -> Vec<BackupFacts> {
        let first = at("2026-06-01T02:00:00Z");
        (0..number).map(|day| backup(kind, first + SignedDuration::from_hours(24 * day))).collect()
    }

    fn expiring(plan: &RetentionPlan) -> Vec<String> {
        let expiring = plan.backups.iter().filter(|(_, verdict)| *verdict == Verdict::Expire);
        let mut days: Vec<String> = expiring.map(|(id, _)| id.as_str()[6..8].to_owned()).collect();
        days.sort();
        days
    }

    fn reasons<'a>(plan: &'a RetentionPlan, of: &BackupFacts) -> Vec<&'a Reason> {
        let found = plan.backups.iter().find(|(id, _)| *id == of.id).map(|(_, verdict)| verdict);
        let Some(Verdict::Keep(reasons)) = found else { panic!("{} is not kept: {found:?}", of.id) };
        reasons.iter().collect()
    }

    #[test]
    fn so_many_are_kept_and_no_more() {
        let backups = days(BackupKind::Daily, 10);
        let only_daily = Retention { daily: Some(7), ..Retention::default() };
        let plan = only_daily.plan(&backups, false, at("2026-06-10T12:00:00Z")).unwrap();
        assert_eq!(expiring(&plan), ["01", "02", "03"]);
        assert_eq!(plan.oplog_until, None, "nothing limits the oplog");
        let unlimited = Retention::default().plan(&backups, false, at("2026-06-10T12:00:00Z")).unwrap();
        assert_eq!(expiring(&unlimited), [""; 0]);
    }

    #[test]
    fn many_backups_of_one_day_push_no_other_day_out() {
        let mut backups = days(BackupKind::Daily, 7);
        let hour = |hour| backup(BackupKind::Daily, at("2026-06-07T03:00:00Z") + SignedDuration::from_hours(hour));
        backups.extend((0..20).map(hour));
        let plan = POLICY.plan(&backups, false, at("2026-06-07T23:30:00Z")).unwrap();
        assert!(expiring(&plan).iter().all(|day| day == "07"), "{:?}", expiring(&plan));
        assert_eq!(expiring(&plan).len(), 14, "seven are kept as the newest");
    }

    #[test]
    fn what_must_stay_stays_and_says_why() {
        let mut backups = days(BackupKind::Daily, 5);
        backups[0].held = true;
        backups[1].verified = true;
        backups[2] = BackupFacts { id: backup(BackupKind::Manual, backups[2].started_at).id, ..backups[2].clone() };
        let none = Retention { daily: Some(0), oplog: Some(Duration::from_hours(36)), ..Retention::default() };
        let now = at("2026-06-05T18:00:00Z");
        let plan = none.plan(&backups, false, now).unwrap();
        assert_eq!(reasons(&plan, &backups[0]), [&Reason::Held]);
        assert_eq!(reasons(&plan, &backups[1]), [&Reason::LastVerified]);
        assert_eq!(reasons(&plan, &backups[2]), [&Reason::Manual]);
        assert_eq!(reasons(&plan, &backups[3]), [&Reason::Window], "36 hours ago it was the newest");
        assert_eq!(reasons(&plan, &backups[4]), [&Reason::LastGood]);
        assert_eq!(plan.oplog_until, backups[0].leads_on.map(|(_, replay_from)| replay_from), "three days earlier");
    }

    #[test]
    fn a_backup_of_a_part_is_no_good_backup_and_pushes_none_out() {
        let mut backups = days(BackupKind::Daily, 4);
        for part in &mut backups[1..] {
            (part.partial, part.leads_on, part.verified) = (true, None, true);
        }
        let one = Retention { daily: Some(1), ..Retention::default() };
        let plan = one.plan(&backups, false, at("2026-06-05T00:00:00Z")).unwrap();
        assert_eq!(reasons(&plan, &backups[0]), [&Reason::Newest, &Reason::LastGood]);
        assert_eq!(expiring(&plan), ["02", "03"]);
    }

    #[test]
    fn nothing_goes_when_time_or_oplog_are_in_doubt() {
        let backups = days(BackupKind::Daily, 20);
        let plan = |in_gap, now| POLICY.plan(&backups, in_gap, at(now));
        let newest = at("2026-06-20T02:10:00Z");
        assert_eq!(plan(false, "2026-06-20T02:09:59Z"), Err(Refusal::ClockBehind(newest)));
        assert_eq!(plan(true, "2026-06-20T12:00:00Z"), Err(Refusal::InGap));
        assert!(plan(false, "2026-06-20T12:00:00Z").is_ok());
    }

    #[test]
    fn what_has_expired_goes_after_its_grace_and_never_under_hold() {
        let mut backups = days(BackupKind::Daily, 2);
        let now = at("2026-06-10T00:00:00Z");
        let mut after = |expired_at: &str, held| {
            (backups[0].expired_at, backups[0].held) = (Some(at(expired_at)), held);
            POLICY.plan(&backups, false, now).unwrap().backups.pop().unwrap().1
        };
        assert_eq!(after("2026-06-07T00:00:00Z", false), Verdict::Remove);
        assert_eq!(after("2026-06-07T00:00:01Z", false), Verdict::Expired(at("2026-06-10T00:00:01Z")));
        assert!(matches!(after("2026-06-01T00:00:00Z", true), Verdict::Keep(_)));
    }

    /// A year of all three kinds, with retention applied each morning; what it says is carried out.
    #[test]
    fn on_every_day_of_a_year_there_is_what_the_policy_says() {
        let schedules =
            [(BackupKind::Daily, "0 2 * * *"), (BackupKind::Weekly, "0 3 * * 0"), (BackupKind::Monthly, "0 4 1 * *")];
        let timetable = |cron: &str| Timetable::new(cron.parse().unwrap(), "Europe/Berlin").unwrap();
        let (begin, end) = (at("2026-01-01T00:00:00Z"), at("2028-01-01T00:00:00Z"));
        let (mut backups, mut taken, mut upto): (Vec<BackupFacts>, Vec<BackupFacts>, _) =
            (Vec::new(), Vec::new(), begin);
        for now in timetable("30 5 * * *").due(begin, end) {
            for (kind, cron) in schedules {
                taken.extend(timetable(cron).due(upto, now).map(|time| backup(kind, time)));
            }
            backups.extend(taken.iter().filter(|backup| backup.started_at > upto).cloned());
            // On the night when clocks go forward a daily and a weekly backup begin together.
            taken.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));
            upto = now;
            let plan = POLICY.plan(&backups, false, now).unwrap();
            for (id, verdict) in &plan.backups {
                let at = backups.iter().position(|backup| backup.id == *id).unwrap();
                match verdict {
                    Verdict::Expire => backups[at].expired_at = Some(now),
                    Verdict::Remove => drop(backups.remove(at)),
                    Verdict::Keep(_) | Verdict::Expired(_) => {}
                }
            }
            let live = backups.iter().filter(|backup| backup.is_live()).map(|backup| &backup.id);
            let (expected, window) = expected(&taken, now);
            assert_eq!(live.collect::<BTreeSet<_>>(), expected, "{now}");
            assert_eq!(plan.oplog_until, window, "{now}: every second of the last week can be restored");
            let grace = SignedDuration::try_from(GRACE).unwrap();
            let is_due = |backup: &BackupFacts| backup.expired_at.is_some_and(|expired| now - grace >= expired);
            assert!(!backups.iter().any(is_due), "{now}: bytes are still there");
        }
    }

    /// Returns the policy's own words about all that was ever taken: 7 of the one kind, 5 and 12 of the others, and the
    /// one that the last week begins with.
    fn expected(newest_first: &[BackupFacts], now: Timestamp) -> (BTreeSet<&BackupId>, Option<ClusterTime>) {
        let newest = |kind, number| {
            newest_first.iter().filter(move |backup| backup.id.kind() == kind).take(number).map(|backup| &backup.id)
        };
        let aged = |backup: &BackupFacts, days: i64| now.duration_since(backup.started_at).as_hours() >= 24 * days;
        let week = newest_first.iter().find(|backup| aged(backup, 7));
        let kept =
            newest(BackupKind::Daily, 7).chain(newest(BackupKind::Weekly, 5)).chain(newest(BackupKind::Monthly, 12));
        let kept: BTreeSet<&BackupId> = kept.chain(week.map(|backup| &backup.id)).collect();
        let window = newest_first.iter().find(|backup| aged(backup, 7 + 3) && kept.contains(&backup.id));
        let window = window.and_then(|backup| backup.leads_on).map(|(_, replay_from)| replay_from);
        (kept, window)
    }
}
