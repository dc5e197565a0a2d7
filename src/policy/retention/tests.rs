use super::*;
use crate::policy::Timetable;
use crate::random::Random;

const POLICY: Retention =
    Retention { daily: Some(7), weekly: Some(5), monthly: Some(12), oplog: Some(Duration::from_hours(7 * 24)) };

const NOTHING_CAPTURED: CapturedFacts = CapturedFacts { until: None, in_gap: false };

fn captured_until(time: Timestamp) -> CapturedFacts {
    CapturedFacts { until: Some(ClusterTime { t: u32::try_from(time.as_second()).unwrap(), i: 1 }), in_gap: false }
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn backup(kind: BackupKind, started_at: Timestamp) -> BackupFacts {
    let shows = ClusterTime { t: u32::try_from(started_at.as_second()).unwrap(), i: 1 };
    BackupFacts {
        id: BackupId::generate(started_at, kind, &Random::seeded(started_at.as_second().unsigned_abs())),
        started_at,
        finished_at: started_at + SignedDuration::from_mins(10),
        shows: started_at,
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
    let plan = only_daily.plan(&backups, NOTHING_CAPTURED, at("2026-06-08T12:00:00Z")).unwrap();
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
    let plan = only_daily.plan(&backups, NOTHING_CAPTURED, at("2026-06-08T12:00:00Z")).unwrap();
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
    let plan = only_daily.plan(&backups, NOTHING_CAPTURED, at("2026-06-08T12:00:00Z")).unwrap();
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
        let plan = POLICY.plan(&backups, NOTHING_CAPTURED, now).unwrap();
        carry_out(&plan, &mut backups, now);
        let exists = |id: &BackupId| backups.iter().any(|backup| backup.id == *id);
        assert!(backups.iter().filter_map(|backup| backup.parent.as_ref()).all(exists), "day {day}");
        assert!(backups.len() < 40, "{} on day {day}: what nothing needs goes", backups.len());
    }
}

fn carry_out(plan: &RetentionPlan, backups: &mut Vec<BackupFacts>, now: Timestamp) {
    for (id, verdict) in &plan.backups {
        let at = backups.iter().position(|backup| backup.id == *id).unwrap();
        match verdict {
            Verdict::Expire => backups[at].expired_at = Some(now),
            Verdict::Remove => drop(backups.remove(at)),
            Verdict::Keep(_) | Verdict::Expired(_) => {}
        }
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
    let plan = only_daily.plan(&backups, NOTHING_CAPTURED, at("2026-06-10T12:00:00Z")).unwrap();
    assert_eq!(expiring(&plan), ["01", "02", "03"]);
    assert_eq!(plan.oplog_until, None, "nothing limits the oplog");
    let unlimited = Retention::default().plan(&backups, NOTHING_CAPTURED, at("2026-06-10T12:00:00Z")).unwrap();
    assert_eq!(expiring(&unlimited), [""; 0]);
}

#[test]
fn many_backups_of_one_day_push_no_other_day_out() {
    let mut backups = days(BackupKind::Daily, 7);
    let hour = |hour| backup(BackupKind::Daily, at("2026-06-07T03:00:00Z") + SignedDuration::from_hours(hour));
    backups.extend((0..20).map(hour));
    let plan = POLICY.plan(&backups, NOTHING_CAPTURED, at("2026-06-07T23:30:00Z")).unwrap();
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
    let plan = none.plan(&backups, captured_until(now), now).unwrap();
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
    let plan = one.plan(&backups, NOTHING_CAPTURED, at("2026-06-05T00:00:00Z")).unwrap();
    assert_eq!(reasons(&plan, &backups[0]), [&Reason::Newest, &Reason::LastGood]);
    assert_eq!(expiring(&plan), ["02", "03"]);
}

#[test]
fn nothing_goes_when_time_or_oplog_are_in_doubt() {
    let backups = days(BackupKind::Daily, 20);
    let plan = |in_gap, now| POLICY.plan(&backups, CapturedFacts { in_gap, until: None }, at(now));
    let newest = at("2026-06-20T02:10:00Z");
    assert_eq!(plan(false, "2026-06-20T02:09:59Z"), Err(Refusal::ClockBehind(newest)));
    assert_eq!(plan(true, "2026-06-20T12:00:00Z"), Err(Refusal::InGap));
    assert!(plan(false, "2026-06-20T12:00:00Z").is_ok());
}

/// Whatever it says, and whether the oplog is captured or only the backups tell the time.
#[test]
fn a_clock_that_is_ahead_lets_no_more_go_than_the_right_one() {
    let mut backups = days(BackupKind::Daily, 20);
    backups[3].expired_at = Some(at("2026-06-17T04:30:00Z"));
    backups[4].expired_at = Some(at("2026-06-18T04:30:00Z"));
    let newest = backups[19].shows;
    for (captured, right) in [(captured_until(newest + GRACE), newest + GRACE), (NOTHING_CAPTURED, newest)] {
        let expected = POLICY.plan_at(&backups, right);
        let removed = expected.backups.iter().filter(|(_, verdict)| *verdict == Verdict::Remove).count();
        for (ahead, more) in [(1, false), (24 * 9, true), (24 * 365 * 30, true)] {
            let now = right + SignedDuration::from_hours(ahead);
            let plan = POLICY.plan(&backups, captured, now).unwrap();
            assert_eq!(plan, RetentionPlan { keeps_more: more, ..expected.clone() }, "{ahead} h ahead, {removed} go");
        }
    }
    let nothing = POLICY.plan(&[], NOTHING_CAPTURED, newest).unwrap();
    assert_eq!((nothing.measured_at, nothing.keeps_more), (Timestamp::UNIX_EPOCH, false), "nothing is old");
}

#[test]
fn what_has_expired_goes_after_its_grace_and_never_under_hold() {
    let mut backups = days(BackupKind::Daily, 2);
    let now = at("2026-06-10T00:00:00Z");
    let mut after = |expired_at: &str, held| {
        (backups[0].expired_at, backups[0].held) = (Some(at(expired_at)), held);
        POLICY.plan(&backups, captured_until(now), now).unwrap().backups.pop().unwrap().1
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
    let (mut backups, mut taken, mut upto): (Vec<BackupFacts>, Vec<BackupFacts>, _) = (Vec::new(), Vec::new(), begin);
    for now in timetable("30 5 * * *").due(begin, end) {
        for (kind, cron) in schedules {
            taken.extend(timetable(cron).due(upto, now).map(|time| backup(kind, time)));
        }
        backups.extend(taken.iter().filter(|backup| backup.started_at > upto).cloned());
        // On the night when clocks go forward a daily and a weekly backup begin together.
        taken.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));
        upto = now;
        let plan = POLICY.plan(&backups, captured_until(now), now).unwrap();
        carry_out(&plan, &mut backups, now);
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
    let kept = newest(BackupKind::Daily, 7).chain(newest(BackupKind::Weekly, 5)).chain(newest(BackupKind::Monthly, 12));
    let kept: BTreeSet<&BackupId> = kept.chain(week.map(|backup| &backup.id)).collect();
    let window = newest_first.iter().find(|backup| aged(backup, 7 + 3) && kept.contains(&backup.id));
    let window = window.and_then(|backup| backup.leads_on).map(|(_, replay_from)| replay_from);
    (kept, window)
}
