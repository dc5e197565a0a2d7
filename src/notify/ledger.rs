//! What has been said about what: decides which notices go out, without any I/O.
//!
//! - What is new, or worse than was said, is said at once. What stays is said again after a while.
//! - What is gone is called recovered once it has stayed away for a while; until then it counts as if it were there,
//!   so that what comes and goes is one alert.
//! - The while doubles each time that an alert returns soon after its recovery, up to the time between repeats. So
//!   even what comes and goes by the hour falls silent but for a few notices.
//! - What matters less than before is not worth a notice of its own: the next repeat says it. What becomes worse
//!   again before that has been said already.
//!
//! The ledger is to be stored after its notices were delivered, and not while no channel takes any: a crash then says
//! something twice, and never leaves it unsaid.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Alert, Event, Notice, Severity};

/// An alert that stays is repeated after this, unless configured: about twice in a working day.
const REPEAT: Duration = Duration::from_hours(4);

/// An alert must have stayed away for this long, unless configured: some intervals of the oplog's slices, by which
/// an exposure at the edge of its objective comes and goes.
const SETTLE: Duration = Duration::from_mins(5);

/// Of so many recovered alerts it is remembered that they may return; of more, the oldest are forgotten.
const REMEMBERED: usize = 1000;

/// How often something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// What stays is said again after this.
    pub repeat: Duration,
    /// What is gone for this long has recovered.
    pub settle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { repeat: REPEAT, settle: SETTLE }
    }
}

impl Pace {
    /// Returns how long an alert that returned so many times must stay away.
    fn settle_after(self, returns: u32) -> Duration {
        let doubled = self.settle.saturating_mul(2_u32.saturating_pow(returns));
        doubled.min(self.repeat.max(self.settle))
    }
}

/// What has been said, and is not over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    open: BTreeMap<String, Open>,
    /// What has recovered lately and may return.
    recovered: BTreeMap<String, Recovery>,
}

/// An alert that people were told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    alert: Alert,
    /// The severity that was said last.
    said: Severity,
    said_at: Timestamp,
    /// The highest that was ever said.
    worst: Severity,
    /// Since when it has not been seen, if it is not there now.
    gone_at: Option<Timestamp>,
    /// How often it came back soon after it had recovered.
    returns: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Recovery {
    at: Timestamp,
    returns: u32,
}

impl Ledger {
    /// Takes down everything that is wrong at `now` and returns what to say about it, the most severe first and
    /// recoveries last. Of two alerts with one key the more severe counts.
    pub fn reconcile(&mut self, current: Vec<Alert>, now: Timestamp, pace: Pace) -> Vec<Notice> {
        let mut current = by_key(current);
        let update = |(key, open): (&String, &mut Open)| match current.remove(key) {
            Some(alert) => open.seen(alert, now, pace),
            None => open.missed(now, pace),
        };
        let mut notices: Vec<Notice> = self.open.iter_mut().filter_map(update).collect();
        for notice in notices.iter().filter(|notice| notice.event == Event::Recovered) {
            self.close(&notice.alert.key, now);
        }
        self.forget(now, pace);
        notices.extend(current.into_values().map(|alert| self.raise(alert, now)));
        notices.sort_by_key(|notice| (notice.event == Event::Recovered, Reverse(notice.alert.severity)));
        notices
    }

    /// Returns the alerts that are open, by key; one that has just gone is among them until it counts as recovered.
    pub fn open(&self) -> impl Iterator<Item = &Alert> {
        self.open.values().map(|open| &open.alert)
    }

    fn raise(&mut self, alert: Alert, now: Timestamp) -> Notice {
        let returns = self.recovered.remove(&alert.key).map_or(0, |recovery| recovery.returns.saturating_add(1));
        let severity = alert.severity;
        let notice = Notice { event: Event::Raised, alert: alert.clone(), at: now, audience: severity };
        let open = Open { alert, said: severity, said_at: now, worst: severity, gone_at: None, returns };
        self.open.insert(notice.alert.key.clone(), open);
        notice
    }

    fn close(&mut self, key: &str, now: Timestamp) {
        if let Some(Open { returns, .. }) = self.open.remove(key) {
            self.recovered.insert(key.to_owned(), Recovery { at: now, returns });
        }
    }

    /// Forgets what recovered so long ago that its return would be news.
    fn forget(&mut self, now: Timestamp, pace: Pace) {
        self.recovered.retain(|_, recovery| elapsed(recovery.at, now) < pace.repeat);
        while self.recovered.len() > REMEMBERED {
            let oldest = self.recovered.iter().min_by_key(|(_, recovery)| recovery.at).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.recovered.remove(&key));
        }
    }
}

impl Open {
    /// Returns what to say about an alert that is there.
    fn seen(&mut self, alert: Alert, now: Timestamp, pace: Pace) -> Option<Notice> {
        self.alert = Alert { since: self.alert.since, ..alert };
        self.gone_at = None;
        // A clock that was set back must not silence an alert until it is where it was.
        self.said_at = self.said_at.min(now);
        let severity = self.alert.severity;
        let is_due = elapsed(self.said_at, now) >= pace.repeat;
        let event = match severity.cmp(&self.said) {
            std::cmp::Ordering::Greater => Event::Worsened,
            std::cmp::Ordering::Less if is_due => Event::Improved,
            std::cmp::Ordering::Equal if is_due => Event::Repeated,
            _ => return None,
        };
        let audience = severity.max(self.said);
        (self.said, self.said_at, self.worst) = (severity, now, self.worst.max(severity));
        Some(Notice { event, alert: self.alert.clone(), at: now, audience })
    }

    /// Returns what to say about an alert that is not there.
    fn missed(&mut self, now: Timestamp, pace: Pace) -> Option<Notice> {
        let gone_at = self.gone_at.map_or(now, |gone_at| gone_at.min(now));
        self.gone_at = Some(gone_at);
        let has_settled = elapsed(gone_at, now) >= pace.settle_after(self.returns);
        let (alert, audience) = (self.alert.clone(), self.worst);
        has_settled.then_some(Notice { event: Event::Recovered, alert, at: gone_at, audience })
    }
}

fn by_key(alerts: Vec<Alert>) -> BTreeMap<String, Alert> {
    let mut by_key: BTreeMap<String, Alert> = BTreeMap::new();
    for alert in alerts {
        if by_key.get(&alert.key).is_none_or(|other| other.severity < alert.severity) {
            by_key.insert(alert.key.clone(), alert);
        }
    }
    by_key
}

/// Returns the time between, none if the clock went back.
fn elapsed(begin: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(begin)).unwrap_or_default()
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const PACE: Pace = Pace { repeat: Duration::from_hours(4), settle: Duration::from_mins(5) };

    fn minute(minute: i64) -> Timestamp {
        "2026-11-25T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minute)
    }

    fn alert(severity: Severity, what: &str, since: Timestamp) -> Alert {
        let (key, meaning, remedy) = ("exposure/orders".into(), "m".into(), "r".into());
        Alert { key, severity, what: what.into(), since, meaning, remedy }
    }

    /// Plays `course`, the severity at each minute at which something is known; returns each notice with its minute.
    fn play(course: impl IntoIterator<Item = (i64, Option<Severity>)>) -> Vec<(i64, Event)> {
        let mut ledger = Ledger::default();
        let mut said = Vec::new();
        for (at, severity) in course {
            let current = severity.map(|severity| alert(severity, "late", minute(at))).into_iter().collect();
            said.extend(ledger.reconcile(current, minute(at), PACE).into_iter().map(|notice| (at, notice.event)));
        }
        said
    }

    use Event::{Improved, Raised, Recovered, Repeated, Worsened};
    const WARNING: Option<Severity> = Some(Severity::Warning);
    const CRITICAL: Option<Severity> = Some(Severity::Critical);

    #[test]
    fn what_stays_is_said_at_once_and_then_at_the_pace() {
        let course = (0..=490).map(|at| (at, WARNING));
        assert_eq!(play(course), [(0, Raised), (240, Repeated), (480, Repeated)]);
    }

    #[test]
    fn a_repeat_says_what_is_wrong_now_and_since_when_it_has_been() {
        let mut ledger = Ledger::default();
        ledger.reconcile(vec![alert(Severity::Warning, "16 min", minute(-1))], minute(0), PACE);
        let notices = ledger.reconcile(vec![alert(Severity::Critical, "60 min", minute(44))], minute(44), PACE);
        let expected = alert(Severity::Critical, "60 min", minute(-1));
        assert_eq!(ledger.open().collect::<Vec<_>>(), [&expected]);
        let audience = Severity::Critical;
        assert_eq!(notices, [Notice { event: Worsened, alert: expected, at: minute(44), audience }]);
    }

    #[test]
    fn what_is_gone_has_recovered_once_it_stays_away() {
        assert_eq!(play([(0, WARNING), (1, None), (5, None), (6, None), (7, None)]), [(0, Raised), (6, Recovered)]);
        let blinking = (0..=245).map(|at| (at, if at % 2 == 0 { WARNING } else { None }));
        assert_eq!(play(blinking), [(0, Raised), (240, Repeated)], "it never stays away");
    }

    #[test]
    fn what_becomes_worse_is_said_at_once_and_what_improves_with_the_next_repeat() {
        let up_and_down = (0..=245).map(|at| (at, if at % 2 == 1 { CRITICAL } else { WARNING }));
        assert_eq!(play(up_and_down), [(0, Raised), (1, Worsened), (241, Repeated)]);
        let better = (0..=485).map(|at| (at, if at < 10 || at == 300 { CRITICAL } else { WARNING }));
        assert_eq!(play(better), [(0, Raised), (240, Improved), (300, Worsened)]);
    }

    #[test]
    fn who_was_told_that_it_is_critical_is_told_when_it_no_longer_is() {
        let mut ledger = Ledger::default();
        let mut audience = |at: i64, severity: Option<Severity>| {
            let current = severity.map(|severity| alert(severity, "late", minute(at))).into_iter().collect();
            ledger.reconcile(current, minute(at), PACE).pop().map(|notice| (notice.event, notice.audience))
        };
        assert_eq!(audience(0, CRITICAL), Some((Raised, Severity::Critical)));
        assert_eq!(audience(240, WARNING), Some((Improved, Severity::Critical)));
        assert_eq!(audience(480, WARNING), Some((Repeated, Severity::Warning)));
        assert_eq!(audience(481, None), None);
        assert_eq!(audience(486, None), Some((Recovered, Severity::Critical)));
    }

    #[test]
    fn what_returns_again_and_again_must_stay_away_ever_longer() {
        let hourly = (0..3000).map(|at| (at, if at % 60 < 20 { WARNING } else { None }));
        let said = play(hourly);
        assert_eq!(said[..4], [(0, Raised), (25, Recovered), (60, Raised), (90, Recovered)]);
        let raised = said.iter().filter(|(_, event)| *event == Raised).count();
        assert_eq!(raised, 4, "40 minutes are too short after the third return: {said:?}");
    }

    #[test]
    fn of_one_key_the_more_severe_counts_and_the_most_severe_is_said_first() {
        let mut ledger = Ledger::default();
        let other = Alert { key: "job/verify".into(), ..alert(Severity::Critical, "failed", minute(0)) };
        let twice = [Severity::Warning, Severity::Critical, Severity::Warning];
        let mut current: Vec<Alert> = twice.map(|severity| alert(severity, "late", minute(0))).into();
        current.insert(0, Alert { key: "a".into(), ..alert(Severity::Warning, "small", minute(0)) });
        current.push(other);
        let notices = ledger.reconcile(current, minute(0), PACE);
        let keys: Vec<&str> = notices.iter().map(|notice| notice.alert.key.as_str()).collect();
        assert_eq!(keys, ["exposure/orders", "job/verify", "a"]);
    }

    #[test]
    fn a_clock_that_was_set_back_silences_nothing_for_long() {
        let course = [(5000, WARNING), (0, WARNING), (239, WARNING), (240, WARNING), (241, None), (246, None)];
        assert_eq!(play(course), [(5000, Raised), (240, Repeated), (246, Recovered)]);
    }
}
