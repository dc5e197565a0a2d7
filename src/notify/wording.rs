//! How a notice reads, wherever people read it.

use std::time::Duration;

use super::{Alert, Event, Notice, Severity};
use crate::units::Elapsed;

/// What is wrong where, in one line of any length.
pub(super) fn headline(source: &str, notice: &Notice) -> String {
    let severity = match notice.alert.severity {
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
    };
    let (source, what) = (one_line(source), one_line(&notice.alert.what));
    match notice.event {
        Event::Raised => format!("{severity} {source}: {what}"),
        Event::Worsened | Event::Improved => format!("NOW {severity} {source}: {what}"),
        Event::Repeated => format!("STILL {severity} {source}: {what}"),
        Event::Recovered => format!("RECOVERED {source} (was: {what})"),
    }
}

/// What else there is to say, each with its name; one line each. Of what is gone nobody needs the remedy.
pub(super) fn details(notice: &Notice) -> Vec<(&'static str, String)> {
    let Alert { key, since, meaning, remedy, .. } = &notice.alert;
    let lasted = Elapsed(Duration::try_from(notice.at.duration_since(*since)).unwrap_or_default());
    let about = ("About", one_line(key));
    if notice.event == Event::Recovered {
        return vec![("Since", format!("{since:.0}")), ("Until", format!("{:.0} ({lasted})", notice.at)), about];
    }
    let since = ("Since", format!("{since:.0} ({lasted})"));
    vec![since, ("Meaning", one_line(meaning)), ("Remedy", one_line(remedy)), about]
}

/// Returns the text without what would break its line or turn its direction: names come from databases, and anybody
/// may have made one.
pub(super) fn one_line(text: &str) -> String {
    let is_plain = |c: char| {
        let breaks_or_turns = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        !(c.is_control() || breaks_or_turns)
    };
    text.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect()
}

/// Returns the text, cut to so many characters.
pub(super) fn clip(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a notice about an alert that has lasted for 16 minutes.
    pub(in crate::notify) fn notice(event: Event, what: &str) -> Notice {
        let alert = Alert {
            key: "exposure/orders".into(),
            severity: Severity::Critical,
            what: what.into(),
            since: "2026-11-25T02:00:00.75Z".parse().unwrap(),
            meaning: "16 minutes of orders would be lost".into(),
            remedy: "see 'regrow status'".into(),
        };
        Notice { event, alert, at: "2026-11-25T02:16:00.75Z".parse().unwrap(), audience: Severity::Critical }
    }

    #[test]
    fn headlines_say_what_has_changed() {
        let headline = |event| headline("shop", &notice(event, "orders is late"));
        assert_eq!(headline(Event::Raised), "CRITICAL shop: orders is late");
        assert_eq!(headline(Event::Worsened), "NOW CRITICAL shop: orders is late");
        assert_eq!(headline(Event::Repeated), "STILL CRITICAL shop: orders is late");
        assert_eq!(headline(Event::Recovered), "RECOVERED shop (was: orders is late)");
    }

    #[test]
    fn details_say_for_how_long() {
        let raised = details(&notice(Event::Raised, "x"));
        assert_eq!(raised[0], ("Since", "2026-11-25T02:00:00Z (16 min)".into()));
        assert_eq!(raised[2], ("Remedy", "see 'regrow status'".into()));
        let recovered = details(&notice(Event::Recovered, "x"));
        assert_eq!(recovered[1], ("Until", "2026-11-25T02:16:00Z (16 min)".into()));
    }

    #[test]
    fn lines_stay_lines_and_have_an_end() {
        assert_eq!(one_line("a\r\nBcc: b\u{2028}c\u{202e}d\u{0}é"), "a  Bcc: b c d é");
        assert_eq!((clip("ééé", 3), clip("éééé", 3)), ("ééé".into(), "éé…".into()));
    }
}
