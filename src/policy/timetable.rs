//! When something is due: a cron expression in a time zone, daylight saving included.

use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, civil};

use super::CronExpression;
use crate::error::{Error, Result};

/// How far back by the clock on the wall to begin around a change of clocks, so that an hour that comes twice is seen
/// twice.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(3);

/// A cron expression, read by the clock on the wall of one time zone.
///
/// A time that daylight saving leaves out is due when the clock is put forward; one that comes twice is due the first
/// time. Only what is meant for every hour, or every so many, is due in the repeated hour as well.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: CronExpression,
    zone: TimeZone,
}

impl Timetable {
    /// Makes one of an expression and a time zone's name, such as `Africa/Nairobi`.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when no such time zone is known.
    pub fn new(cron: CronExpression, zone: &str) -> Result<Self> {
        let found = TimeZone::get(zone).map_err(|_| {
            let likeness = |known: &str| strsim::jaro_winkler(zone, known);
            let known = jiff::tz::db().available().map(|known| known.as_str().to_owned());
            let nearest = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_else(|| "UTC".into());
            Error::configuration(format!("the time zone '{zone}' is not known"))
                .with_hint(format!("did you mean '{nearest}'? write a name of the IANA database"))
        })?;
        Ok(Self { cron, zone: found })
    }

    /// Returns the expression.
    #[must_use]
    pub fn cron(&self) -> &CronExpression {
        &self.cron
    }

    /// Returns the time zone's name.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// Returns when it is due next, behind `after`; none where the calendar has no more.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let mut changes = self.zone.preceding(after).take(1).chain(self.zone.following(after).take(1));
        let is_near = changes.any(|change| after.duration_since(change.timestamp()).abs() <= LOOK_BACK);
        let look_back = if is_near { LOOK_BACK } else { SignedDuration::ZERO };
        let mut time = self.zone.to_datetime(after).checked_sub(look_back).ok()?;
        let mut next: Option<Timestamp> = None;
        loop {
            let Some(found) = self.cron.next_after(time) else { return next };
            time = found;
            let moments = self.moments(time)?;
            // The first moments come in order, so nothing earlier follows.
            if moments[0].zip(next).is_some_and(|(first, next)| first >= next) {
                return next;
            }
            if let Some(moment) = moments.into_iter().flatten().find(|moment| *moment > after) {
                next = Some(next.map_or(moment, |next| next.min(moment)));
            }
        }
    }

    /// Returns each time at which it was due, behind `after` and up to `until`, in order.
    pub fn due(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Timestamp> {
        let next = move |time: &Timestamp| self.next_after(*time);
        std::iter::successors(self.next_after(after), next).take_while(move |time| *time <= until)
    }

    /// Returns when it is due at a time by the clock on the wall, and when again; nothing at the end of the calendar.
    fn moments(&self, time: civil::DateTime) -> Option<[Option<Timestamp>; 2]> {
        Some(match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => [Some(offset.to_timestamp(time).ok()?), None],
            AmbiguousOffset::Fold { before, after } => {
                let again = if self.cron.is_hourly() { Some(after.to_timestamp(time).ok()?) } else { None };
                [Some(before.to_timestamp(time).ok()?), again]
            }
            AmbiguousOffset::Gap { .. } if self.cron.is_hourly() => [None, None],
            AmbiguousOffset::Gap { after, .. } => {
                let before_the_gap = after.to_timestamp(time).ok()?;
                [Some(self.zone.following(before_the_gap).next()?.timestamp()), None]
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is due on a day of a zone, as that zone's clock shows it, with its distance from UTC.
    fn on_day(cron: &str, zone: &str, day: civil::Date) -> Vec<String> {
        let timetable = Timetable::new(cron.parse().unwrap(), zone).unwrap();
        let midnight = |day: civil::Date| day.to_zoned_datetime(timetable.zone.clone()).unwrap().timestamp();
        let (begin, end) = (midnight(day), midnight(day.tomorrow().unwrap()));
        let due = timetable.due(begin - SignedDuration::from_secs(1), end - SignedDuration::from_secs(1));
        due.map(|time| time.to_zoned_datetime(timetable.zone.clone()).strftime("%H:%M%:z").to_string()).collect()
    }

    const FORWARD: civil::Date = civil::date(2026, 3, 29);
    const BACK: civil::Date = civil::date(2026, 10, 25);
    const BERLIN: &str = "Europe/Berlin";

    #[test]
    fn a_job_in_the_night_happens_once_when_clocks_change() {
        for (cron, forward, back) in [
            ("30 2 * * *", "03:00+02:00", "02:30+02:00"),
            ("0 2 * * *", "03:00+02:00", "02:00+02:00"),
            ("59 1 * * *", "01:59+01:00", "01:59+02:00"),
            ("0 3 * * *", "03:00+02:00", "03:00+01:00"),
        ] {
            assert_eq!(on_day(cron, BERLIN, FORWARD), [forward], "{cron}");
            assert_eq!(on_day(cron, BERLIN, BACK), [back], "{cron}");
        }
        assert_eq!(on_day("30 2 * * *", "Africa/Nairobi", FORWARD), ["02:30+03:00"]);
    }

    #[test]
    fn what_is_meant_for_every_hour_follows_the_time_that_passes() {
        for (day, hours) in [(FORWARD, 23), (BACK, 25), (civil::date(2026, 6, 1), 24)] {
            assert_eq!(on_day("15 * * * *", BERLIN, day).len(), hours);
            let quarters = on_day("*/15 * * * *", BERLIN, day);
            assert_eq!(quarters.len(), hours * 4, "{quarters:?}");
        }
        let repeated = on_day("30 * * * *", BERLIN, BACK);
        assert_eq!(repeated[2..4], ["02:30+02:00", "02:30+01:00"]);
    }

    #[test]
    fn odd_zones_are_followed_too() {
        assert_eq!(
            on_day("10 2 * * *", "Australia/Lord_Howe", civil::date(2026, 10, 4)),
            ["02:30+11:00"],
            "half an hour"
        );
        assert_eq!(
            on_day("0 0 * * *", "America/Havana", civil::date(2026, 3, 8)),
            ["01:00-04:00"],
            "there is no midnight"
        );
    }

    #[test]
    fn a_year_of_nights_is_a_year_of_runs() {
        let timetable = Timetable::new("30 2 * * *".parse().unwrap(), BERLIN).unwrap();
        let [begin, end] = ["2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"].map(|time| time.parse().unwrap());
        assert_eq!(timetable.due(begin, end).count(), 365);
    }

    #[test]
    fn unknown_zones_are_named() {
        let error = Timetable::new("0 2 * * *".parse().unwrap(), "Africa/Nairoby").unwrap_err();
        assert!(error.to_string().contains("Africa/Nairoby"), "{error}");
        assert!(error.hint().unwrap().contains("Africa/Nairobi"), "{error:?}");
    }
}
