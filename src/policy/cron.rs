//! Cron expressions as people write them.
//!
//! Five fields: minute, hour, day of the month, month, day of the week, where both 0 and 7 are Sunday; a sixth in front
//! of them is the second. The `cron` crate finds the dates; its own dialect has seconds in front and counts days of the week from Sunday = 1, so every field
//! is read here and handed on as a list of numbers.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::{NaiveDate, Timelike, Utc};
use jiff::civil;

use crate::error::{Error, Result};

/// A cron expression.
#[derive(Debug, Clone)]
pub struct CronExpression {
    text: String,
    /// One; or two, of which either will do, where both a day of the month and a day of the week are given.
    schedules: Vec<cron::Schedule>,
    is_hourly: bool,
}

impl CronExpression {
    /// Returns the first time behind `time`, by the clock on the wall; none where the calendar has no more.
    #[must_use]
    pub fn next_after(&self, time: civil::DateTime) -> Option<civil::DateTime> {
        let time = to_chrono(time)?;
        let next = self.schedules.iter().filter_map(|schedule| schedule.after(&time).next()).min()?;
        from_chrono(next)
    }

    /// Whether it is about every hour, or every so many: then it means time that passes and not the clock on the wall.
    #[must_use]
    pub fn is_hourly(&self) -> bool {
        self.is_hourly
    }
}

/// Prints it as it was written.
impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for CronExpression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |reason: &str| {
            Error::configuration(format!("'{text}' is no cron expression: {reason}"))
                .with_hint("write five fields: minute hour day-of-month month day-of-week, such as '0 2 * * *' for 02:00 every day")
        };
        let written = in_fields(text.trim());
        let fields: Vec<&str> = written.split_whitespace().collect();
        let (second, [minute, hour, day, month, weekday]) = match fields[..] {
            [minute, hour, day, month, weekday] => ("0", [minute, hour, day, month, weekday]),
            [second, minute, hour, day, month, weekday] => (second, [minute, hour, day, month, weekday]),
            _ => return Err(wrong(&format!("it has {} fields", fields.len()))),
        };
        let numbers = |field: &Field, text: &str| field.numbers(text).map_err(|reason| wrong(&reason));
        let (seconds, minutes, hours) = (numbers(&SECOND, second)?, numbers(&MINUTE, minute)?, numbers(&HOUR, hour)?);
        let (days, months) = (numbers(&DAY, day)?, numbers(&MONTH, month)?);
        // Sunday is 1 in the crate's dialect.
        let weekdays: BTreeSet<u8> = numbers(&WEEKDAY, weekday)?.into_iter().map(|day| day % 7 + 1).collect();
        let times = format!("{} {} {}", list(&seconds), list(&minutes), list(&hours));
        let months = list(&months);
        let dates = if day.starts_with('*') || weekday.starts_with('*') {
            vec![format!("{} {months} {}", list(&days), list(&weekdays))]
        } else {
            vec![format!("{} {months} *", list(&days)), format!("* {months} {}", list(&weekdays))]
        };
        let schedules = dates.iter().map(|dates| cron::Schedule::from_str(&format!("{times} {dates} *")));
        let schedules = schedules.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error.to_string()))?;
        let expression = Self { text: text.to_owned(), schedules, is_hourly: hour.starts_with('*') };
        // Leap years come back within eight.
        let (from, to) = (civil::date(2096, 1, 1), civil::date(2104, 12, 31));
        match expression.next_after(from.at(0, 0, 0, 0)) {
            Some(next) if next.date() <= to => Ok(expression),
            _ => Err(wrong("there is no such day")),
        }
    }
}

/// Returns the five fields that a short name stands for.
fn in_fields(text: &str) -> &str {
    match text {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        other => other,
    }
}

/// What may stand in a field.
struct Field {
    name: &'static str,
    range: RangeInclusive<u8>,
    /// Names of the numbers, from the first of the range on.
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", range: 0..=59, names: &[] };
const MINUTE: Field = Field { name: "minute", range: 0..=59, names: &[] };
const HOUR: Field = Field { name: "hour", range: 0..=23, names: &[] };
const DAY: Field = Field { name: "day of the month", range: 1..=31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    range: 1..=12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field =
    Field { name: "day of the week", range: 0..=7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Field {
    /// Returns the numbers that a field's text means; what is wrong with it, otherwise.
    fn numbers(&self, text: &str) -> Result<BTreeSet<u8>, String> {
        let mut numbers = BTreeSet::new();
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(self.step(step)?)),
                None => (part, None),
            };
            let range = match range.split_once('-') {
                _ if range == "*" => self.range.clone(),
                Some((first, last)) => self.number(first)?..=self.number(last)?,
                // A step without an end goes on to the last.
                None if step.is_some() => self.number(range)?..=*self.range.end(),
                None => self.number(range)?..=self.number(range)?,
            };
            if range.is_empty() {
                return Err(format!("the {} '{part}' ends before it begins", self.name));
            }
            numbers.extend(range.step_by(usize::from(step.unwrap_or(1))));
        }
        Ok(numbers)
    }

    fn number(&self, text: &str) -> Result<u8, String> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|at| u8::try_from(at).ok()).map(|at| at + self.range.start());
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = named.or_else(|| if is_number { text.parse().ok() } else { None });
        number.filter(|number| self.range.contains(number)).ok_or_else(|| {
            let names = match (self.names.first(), self.names.last()) {
                (Some(first), Some(last)) => format!(", or {first} to {last}"),
                _ => String::new(),
            };
            format!("the {} '{text}' is not from {} to {}{names}", self.name, self.range.start(), self.range.end())
        })
    }

    fn step(&self, text: &str) -> Result<u8, String> {
        let step = text.parse().ok().filter(|step| (1..=*self.range.end()).contains(step));
        step.ok_or_else(|| format!("the step '{text}' of the {} is not from 1 to {}", self.name, self.range.end()))
    }
}

fn list(numbers: &BTreeSet<u8>) -> String {
    numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

/// Returns the same reading of the clock; the crate wants a time zone with it, and gets one without changes.
fn to_chrono(time: civil::DateTime) -> Option<chrono::DateTime<Utc>> {
    let unsigned = |number: i8| u32::try_from(number).ok();
    let date = NaiveDate::from_ymd_opt(time.year().into(), unsigned(time.month())?, unsigned(time.day())?)?;
    let time = date.and_hms_opt(unsigned(time.hour())?, unsigned(time.minute())?, unsigned(time.second())?)?;
    Some(time.and_utc())
}

fn from_chrono(time: chrono::DateTime<Utc>) -> Option<civil::DateTime> {
    use chrono::Datelike;
    let signed = |number: u32| i8::try_from(number).ok();
    let date = civil::Date::new(time.year().try_into().ok()?, signed(time.month())?, signed(time.day())?).ok()?;
    Some(date.at(signed(time.hour())?, signed(time.minute())?, signed(time.second())?, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the next times behind the first of June 2026, a Monday.
    fn next(text: &str, count: usize) -> Vec<String> {
        let cron: CronExpression = text.parse().unwrap();
        let mut time = civil::date(2026, 6, 1).at(0, 0, 0, 0);
        let mut times = Vec::new();
        while times.len() < count {
            time = cron.next_after(time).unwrap();
            times.push(time.strftime("%a %m-%d %H:%M").to_string());
        }
        times
    }

    #[test]
    fn each_day_of_the_week_is_the_one_that_people_mean() {
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        for (number, name) in (0..).zip(days) {
            for written in [number.to_string(), name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                let found = next(&format!("30 5 * * {written}"), 1);
                assert!(found[0].starts_with(name) && found[0].ends_with("05:30"), "{written}: {found:?}");
            }
        }
        let weekend: Vec<String> = next("0 0 * * 5-7", 4);
        assert_eq!(weekend, ["Fri 06-05 00:00", "Sat 06-06 00:00", "Sun 06-07 00:00", "Fri 06-12 00:00"]);
        assert_eq!(next("0 0 * * mon-wed,6", 3), ["Tue 06-02 00:00", "Wed 06-03 00:00", "Sat 06-06 00:00"]);
    }

    #[test]
    fn fields_are_read_as_cron_reads_them() {
        assert_eq!(
            next("*/20 1,3 * * *", 4),
            ["Mon 06-01 01:00", "Mon 06-01 01:20", "Mon 06-01 01:40", "Mon 06-01 03:00"]
        );
        assert_eq!(next("50/5 * * * *", 2), ["Mon 06-01 00:50", "Mon 06-01 00:55"]);
        assert_eq!(next("0 8-18/5 * * *", 3), ["Mon 06-01 08:00", "Mon 06-01 13:00", "Mon 06-01 18:00"]);
        assert_eq!(next("0 0 29 feb *", 1), ["Tue 02-29 00:00"]);
        assert_eq!(next("*/30 59 3 * * *", 3), ["Mon 06-01 03:59", "Mon 06-01 03:59", "Tue 06-02 03:59"]);
        assert_eq!(next("@monthly", 2), ["Wed 07-01 00:00", "Sat 08-01 00:00"]);
        assert_eq!(
            next("0 0 13 * fri", 3),
            ["Fri 06-05 00:00", "Fri 06-12 00:00", "Sat 06-13 00:00"],
            "either will do"
        );
        assert_eq!(next("0 0 */2 * mon", 1), ["Mon 06-15 00:00"], "a star restricts nothing, so both must fit");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, reason) in [
            ("0 2 * *", "it has 4 fields"),
            ("0 0 2 * * * 2026", "it has 7 fields"),
            ("60 0 2 * * *", "the second '60' is not from 0 to 59"),
            ("60 2 * * *", "the minute '60' is not from 0 to 59"),
            ("0 24 * * *", "the hour '24' is not from 0 to 23"),
            ("0 0 0 * *", "the day of the month '0' is not from 1 to 31"),
            ("0 0 * 13 *", "the month '13' is not from 1 to 12, or jan to dec"),
            ("0 0 * * 8", "the day of the week '8' is not from 0 to 7, or sun to sat"),
            ("0 0 * * funday", "the day of the week 'funday'"),
            ("0 5-2 * * *", "the hour '5-2' ends before it begins"),
            ("*/0 * * * *", "the step '0' of the minute"),
            ("0 0 31 2 *", "there is no such day"),
            ("0 +2 * * *", "the hour '+2'"),
            ("0 2, * * *", "the hour ''"),
            ("", "it has 0 fields"),
        ] {
            let error = text.parse::<CronExpression>().unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
            assert_eq!(error.kind(), crate::error::Kind::Configuration);
        }
    }
}
