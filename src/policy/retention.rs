//! Retention: which backups are kept, and how far back the oplog.
//!
//! Whatever is in doubt is kept. A backup counts as good when its manifest is sound; one that is damaged neither
//! counts nor goes: that is for a person to look at.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

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

/// What is known of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// Its id.
    pub id: BackupId,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When it was complete.
    pub finished_at: Timestamp,
    /// The moment that it shows, and from where on the oplog must be read to go on from there; none where no way does.
    pub leads_on: Option<(ClusterTime, ClusterTime)>,
    /// Whether it holds only chosen namespaces.
    pub partial: bool,
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
            leads_on: if manifest.partial { None } else { manifest.cluster_time.zip(manifest.replay_from) },
            partial: manifest.partial,
            verified: false,
            held: false,
            expired_at: None,
        }
    }

    fn is_live(&self) -> bool {
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
        let base = self.window_base(&newest_first, now);
        let kept: Vec<_> = newest_first.iter().map(|backup| self.reasons(backup, &newest_first, base)).collect();
        let verdicts =
            newest_first.iter().zip(kept).map(|(backup, kept)| (backup.id.clone(), verdict(backup, kept, now)));
        // The oplog has no marks: it stays as much longer as what has expired can be brought back.
        let before = now.checked_sub(GRACE).ok().and_then(|before| self.window_base(&newest_first, before));
        let oplog_until = before.and_then(|base| base.leads_on).map(|(_, replay_from)| replay_from);
        Ok(RetentionPlan { backups: verdicts.collect(), oplog_until })
    }

    /// Returns the backup that the recovery window begins with: the newest that is as old as the window is long. None
    /// where there is no such limit, or nothing is that old yet.
    fn window_base<'a>(&self, newest_first: &[&'a BackupFacts], now: Timestamp) -> Option<&'a BackupFacts> {
        let length = SignedDuration::try_from(self.oplog?).ok()?;
        let begin = now.checked_sub(length).ok()?;
        let shown_before = |backup: &BackupFacts| backup.leads_on.is_some_and(|(shows, _)| shows.wall() <= begin);
        newest_first.iter().copied().find(|backup| backup.is_live() && shown_before(backup))
    }

    fn reasons(
        &self,
        backup: &BackupFacts,
        newest_first: &[&BackupFacts],
        base: Option<&BackupFacts>,
    ) -> BTreeSet<Reason> {
        let is = |other: Option<&&BackupFacts>| other.is_some_and(|other| other.id == backup.id);
        let live = || newest_first.iter().filter(|other| other.is_live());
        let mut reasons = BTreeSet::new();
        let mut note = |holds: bool, reason: Reason| {
            if holds {
                reasons.insert(reason);
            }
        };
        note(backup.held, Reason::Held);
        note(is(live().find(|other| !other.partial)), Reason::LastGood);
        note(is(live().find(|other| !other.partial && other.verified)), Reason::LastVerified);
        note(is(base.as_ref()), Reason::Window);
        match self.limit(backup.id.kind()) {
            Limit::Manual => note(true, Reason::Manual),
            Limit::None => note(true, Reason::Unlimited),
            Limit::Of(number, period) => {
                // Backups of a part are counted by themselves: they replace no backup of everything.
                let alike: Vec<_> = live()
                    .filter(|other| other.id.kind() == backup.id.kind() && other.partial == backup.partial)
                    .collect();
                let is_newest = alike.iter().take(number).any(|other| other.id == backup.id);
                note(is_newest, Reason::Newest);
                let mut periods = BTreeSet::new();
                let newest = alike.iter().filter(|other| periods.insert(period(other.started_at))).take(number);
                note(!is_newest && newest.into_iter().any(|other| other.id == backup.id), Reason::Period);
            }
        }
        reasons
    }

    fn limit(&self, kind: BackupKind) -> Limit {
        let (number, period): (_, Period) = match kind {
            BackupKind::Daily => (self.daily, |day| day),
            BackupKind::Weekly => {
                (self.weekly, |day| day.iso_week_date().first_of_week().map_or(day, civil::ISOWeekDate::date))
            }
            BackupKind::Monthly => (self.monthly, |day| day.first_of_month()),
            BackupKind::Manual => return Limit::Manual,
        };
        number.map_or(Limit::None, |number| {
            Limit::Of(number as usize, Box::new(move |time| period(TimeZone::UTC.to_datetime(time).date())))
        })
    }
}

/// Returns the first day of the period that a day lies in.
type Period = fn(civil::Date) -> civil::Date;

/// How many of a kind are kept.
enum Limit {
    Manual,
    None,
    /// So many, and of so many periods.
    Of(usize, Box<dyn Fn(Timestamp) -> civil::Date>),
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
            verified: false,
            held: false,
            expired_at: None,
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
