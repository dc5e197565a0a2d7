//! Lines for logs: what stands still shows as well as what moves.

use std::time::Duration;

use super::super::output::counted;
use super::{Display, Shown, beside, in_words};
use crate::units::{ByteSize, Elapsed};

/// How many parts a line names.
const MAX_NAMED: usize = 3;

pub(super) struct Lines;

impl Display for Lines {
    const EVERY: Duration = Duration::from_secs(10);

    fn show(&mut self, shown: &Shown<'_>) {
        beside(|| eprintln!("{}", line(shown)));
    }
}

fn line(shown: &Shown<'_>) -> String {
    let said: Vec<_> = std::iter::once(bytes(shown)).chain(documents(shown)).chain(pace(shown)).collect();
    let mut line = format!("{} since {}: {}", shown.operation, Elapsed(shown.elapsed), said.join(", "));
    let parts = shown.under_way.iter().take(MAX_NAMED).map(|part| format!("{} {}", in_words(part.step), part.name));
    let parts: Vec<_> = parts.collect();
    if !parts.is_empty() {
        line = format!("{line}; {}", parts.join(", "));
    }
    match shown.under_way.len().saturating_sub(MAX_NAMED) {
        0 => line,
        more => format!("{line} and {more} more"),
    }
}

/// Returns how many bytes are done, of how many if that is known.
pub(super) fn bytes(shown: &Shown<'_>) -> String {
    let bytes = ByteSize(shown.in_all.bytes);
    match shown.percent() {
        // Estimates may be too low.
        Some(percent) if shown.in_all.bytes <= shown.in_all.expected_bytes => {
            format!("{percent} %, {bytes} of {}", ByteSize(shown.in_all.expected_bytes))
        }
        _ => bytes.to_string(),
    }
}

/// Returns how many documents are done, where documents are counted.
pub(super) fn documents(shown: &Shown<'_>) -> Option<String> {
    Some(shown.in_all.documents).filter(|documents| *documents > 0).map(|documents| counted(documents, "document"))
}

/// Returns how fast it goes and how long it should still take, as far as that is known.
pub(super) fn pace(shown: &Shown<'_>) -> Vec<String> {
    let speed = shown.bytes_per_second.map(|speed| format!("{}/s", ByteSize(speed)));
    let left = shown.left.map(|left| match left.as_secs() {
        // No tenths of a guess.
        seconds @ 0..10 => format!("about {} s left", seconds.max(1)),
        _ => format!("about {} left", Elapsed(left)),
    });
    speed.into_iter().chain(left).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{PartSnapshot, Snapshot, Step};

    fn part(name: &str, step: Step) -> PartSnapshot {
        PartSnapshot { name: name.into(), step, counted: Snapshot::default() }
    }

    fn shown(under_way: &[PartSnapshot]) -> Shown<'_> {
        let in_all = Snapshot { expected_bytes: 10 << 30, bytes: 4 << 30, documents: 1_000_000, stored_bytes: 1 << 30 };
        let (operation, elapsed) = ("restore", Duration::from_secs(100));
        Shown { operation, in_all, under_way, elapsed, bytes_per_second: None, left: None }
    }

    #[test]
    fn a_line_says_what_is_known() {
        let under_way = ["a", "b", "c", "d", "e"].map(|name| part(&format!("shop.{name}"), Step::Loading));
        let fast = Shown { bytes_per_second: Some(40 << 20), left: Some(Duration::from_mins(3)), ..shown(&under_way) };
        assert_eq!(
            line(&fast),
            "restore since 100 s: 40 %, 4.0 GiB of 10.0 GiB, 1000000 documents, 40.0 MiB/s, about 3 min left; \
             loading shop.a, loading shop.b, loading shop.c and 2 more"
        );
        let indexing = [part("shop.orders", Step::Indexing)];
        let mut all_loaded = shown(&indexing);
        all_loaded.in_all.bytes = 10 << 30;
        assert_eq!(
            line(&all_loaded),
            "restore since 100 s: 100 %, 10.0 GiB of 10.0 GiB, 1000000 documents; building indexes shop.orders"
        );
        let mut more_than_expected = shown(&[]);
        more_than_expected.in_all = Snapshot { bytes: 5000, documents: 1, ..Snapshot::default() };
        assert_eq!(line(&more_than_expected), "restore since 100 s: 4.9 KiB, 1 document");
    }
}
