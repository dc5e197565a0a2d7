//! What holds for the ledger whatever happens.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const PACE: Pace = Pace { repeat: Duration::from_hours(4), settle: Duration::from_mins(5) };

/// In the time between two repeats an alert can return so often at most: each time it must have stayed away twice
/// as long as before, for 5, 10, 20, 40 and 80 minutes.
const MOST_RAISED: usize = 6;

/// Some time passes, and then this is found: the severity of each of three alerts, if it is there.
type Step = (Duration, [Option<Severity>; 3]);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let severity = proptest::option::of(prop_oneof![Just(Severity::Warning), Just(Severity::Critical)]);
    let pause = prop_oneof![4 => 1_u64..120, 2 => 120_u64..1200, 1 => 1200_u64..20_000];
    let step = (pause.prop_map(Duration::from_secs), proptest::array::uniform3(severity));
    proptest::collection::vec(step, 1..150)
}

/// What one alert's reader knows, from the notices alone.
#[derive(Default)]
struct Reader {
    open: Option<Told>,
    absent_since: Option<Timestamp>,
    raised_at: Vec<Timestamp>,
}

struct Told {
    since: Timestamp,
    severity: Severity,
    at: Timestamp,
}

impl Reader {
    /// Holds one cycle's notice, if any, against what was found at `now`.
    fn check(&mut self, found: Option<Severity>, notice: Option<&Notice>, now: Timestamp) {
        match found {
            Some(_) => self.absent_since = None,
            None => drop(self.absent_since.get_or_insert(now)),
        }
        match (&mut self.open, found, notice) {
            (None, None, None) => {}
            (None, Some(severity), Some(notice)) => {
                assert_eq!((notice.event, notice.at, notice.alert.severity), (Event::Raised, now, severity));
                self.raised_at.push(now);
                self.open = Some(Told { since: notice.alert.since, severity, at: now });
            }
            (Some(told), Some(severity), None) => {
                assert!(severity <= told.severity, "what is worse is said at once");
                assert!(elapsed(told.at, now) < PACE.repeat, "what stays is repeated");
            }
            (Some(told), Some(severity), Some(notice)) => {
                told.check(severity, notice, now);
                told.severity = severity;
                told.at = now;
            }
            (Some(_), None, None) => {
                assert!(elapsed(self.absent_since.unwrap(), now) < PACE.repeat, "what is gone recovers in the end");
            }
            (Some(told), None, Some(notice)) => {
                assert_eq!((notice.event, notice.alert.since), (Event::Recovered, told.since));
                assert_eq!(Some(notice.at), self.absent_since, "it ended when it was first not there");
                assert!(elapsed(notice.at, now) >= PACE.settle, "it has stayed away");
                self.open = None;
            }
            (None, None, Some(notice)) => panic!("nothing is wrong or was: {notice:?}"),
            (None, Some(_), None) => panic!("something new is wrong, and nothing is said"),
        }
    }

    fn most_raised_between_two_repeats(&self) -> usize {
        let raised = &self.raised_at;
        let until =
            |begin: Timestamp| raised.iter().filter(move |at| **at >= begin && elapsed(begin, **at) < PACE.repeat);
        raised.iter().map(|begin| until(*begin).count()).max().unwrap_or(0)
    }
}

impl Told {
    /// Holds a notice about an alert that was open and is there against what was said before.
    fn check(&self, severity: Severity, notice: &Notice, now: Timestamp) {
        let expected = match severity.cmp(&self.severity) {
            std::cmp::Ordering::Less => Event::Improved,
            std::cmp::Ordering::Equal => Event::Repeated,
            std::cmp::Ordering::Greater => Event::Worsened,
        };
        assert_eq!((notice.event, notice.at, notice.alert.since), (expected, now, self.since));
        let is_worse = notice.event == Event::Worsened;
        assert!(is_worse || elapsed(self.at, now) >= PACE.repeat, "said again before its time");
    }
}

fn alerts(found: [Option<Severity>; 3], since: Timestamp) -> Vec<Alert> {
    let alert = |(number, severity): (usize, Option<Severity>)| {
        let (what, meaning, remedy) = ("w".into(), "m".into(), "r".into());
        severity.map(|severity| Alert { key: number.to_string(), severity, what, since, meaning, remedy })
    };
    found.into_iter().enumerate().filter_map(alert).collect()
}

proptest! {
    // A failure prints the steps that lead to it, made as few as possible, and the seed.
    #[test]
    fn nothing_is_left_unsaid_or_said_too_often(mut steps in steps(), store_at in any::<proptest::sample::Index>()) {
        let store_at = store_at.index(steps.len());
        // Silence in the end: whatever is open recovers.
        steps.extend([(PACE.repeat, [None; 3]), (PACE.repeat, [None; 3])]);
        let (mut ledger, mut now) = (Ledger::default(), Timestamp::UNIX_EPOCH);
        let mut readers: [Reader; 3] = Default::default();
        for (number, (pause, found)) in steps.into_iter().enumerate() {
            now += pause;
            let notices = ledger.reconcile(alerts(found, now), now, PACE);
            let said = notices.iter().map(|notice| (notice.alert.key.as_str(), notice));
            let said: BTreeMap<&str, &Notice> = said.collect();
            prop_assert_eq!(said.len(), notices.len(), "one notice for each alert");
            for (key, reader) in readers.iter_mut().enumerate() {
                reader.check(found[key], said.get(key.to_string().as_str()).copied(), now);
            }
            if number == store_at {
                ledger = serde_json::from_str(&serde_json::to_string(&ledger).unwrap()).unwrap();
            }
        }
        for reader in readers {
            prop_assert!(reader.open.is_none(), "each that was raised has recovered");
            let most = reader.most_raised_between_two_repeats();
            prop_assert!(most <= MOST_RAISED, "{} times within the time between two repeats", most);
        }
    }

    #[test]
    fn what_comes_and_goes_is_said_a_few_times_only(
        spells in proptest::collection::vec((1_usize..20, 1_usize..40), 1..60),
    ) {
        let minutes = |there: bool, number| std::iter::repeat_n(there, number);
        let course = spells.into_iter().flat_map(|(there, away)| minutes(true, there).chain(minutes(false, away)));
        let (mut ledger, mut now, mut reader) = (Ledger::default(), Timestamp::UNIX_EPOCH, Reader::default());
        for is_there in course {
            now += Duration::from_mins(1);
            let severity = is_there.then_some(Severity::Critical);
            let notice = ledger.reconcile(alerts([severity, None, None], now), now, PACE).pop();
            reader.check(severity, notice.as_ref(), now);
        }
        let most = reader.most_raised_between_two_repeats();
        prop_assert!(most <= MOST_RAISED, "{} times within the time between two repeats", most);
    }

    #[test]
    fn no_clock_makes_it_panic_or_forget_to_raise(times in proptest::collection::vec(any::<i32>(), 1..60)) {
        let mut ledger = Ledger::default();
        for (number, second) in times.into_iter().enumerate() {
            let now = Timestamp::from_second(second.into()).unwrap();
            let found = [Some(Severity::Warning), (number % 3 == 0).then_some(Severity::Critical), None];
            ledger.reconcile(alerts(found, now), now, PACE);
            prop_assert!(ledger.open().count() >= 1);
        }
    }
}
