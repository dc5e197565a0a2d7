//! Bars at the bottom of a terminal: one for the whole, and one for each of the parts under way that has room.

use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::lines::{bytes, documents, pace};
use super::{Display, Shown, in_words};
use crate::progress::PartSnapshot;
use crate::units::{ByteSize, Elapsed};

/// How many parts have a bar.
const MAX_PARTS: usize = 6;

/// How long the shown part of a name may be; the end tells more than the beginning.
const NAME_WIDTH: usize = 32;

const OF_PART: &str = "  {prefix} [{bar:10}] {wide_msg}";
const OF_ALL: &str = "{prefix} [{bar:20}] {wide_msg}";

/// The bars that stand on this program's terminal: there is one stderr.
static TERMINAL: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes something to stderr while bars may stand there.
pub(in super::super) fn beside<T>(write: impl FnOnce() -> T) -> T {
    TERMINAL.suspend(write)
}

pub(super) struct Bars {
    parts: Vec<ProgressBar>,
    in_all: ProgressBar,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self { parts: Vec::new(), in_all: TERMINAL.add(bar(OF_ALL)) }
    }

    /// Makes as many bars as there are parts to show. They belong to places, not to parts: thousands of small ones pass.
    fn fit(&mut self, number: usize) {
        while self.parts.len() > number {
            if let Some(gone) = self.parts.pop() {
                gone.finish_and_clear();
                TERMINAL.remove(&gone);
            }
        }
        while self.parts.len() < number {
            self.parts.push(TERMINAL.insert_before(&self.in_all, bar(OF_PART)));
        }
    }
}

impl Display for Bars {
    const EVERY: Duration = Duration::from_millis(200);

    fn show(&mut self, shown: &Shown<'_>) {
        let visible = &shown.under_way[..shown.under_way.len().min(MAX_PARTS)];
        self.fit(visible.len());
        for (bar, part) in self.parts.iter().zip(visible) {
            let counted = part.counted;
            fill(bar, counted.bytes, counted.expected_bytes);
            bar.set_prefix(format!("{:<NAME_WIDTH$}", shortened(&part.name)));
            bar.set_message(of_part(part));
        }
        fill(&self.in_all, shown.in_all.bytes, shown.in_all.expected_bytes);
        self.in_all.set_prefix(shown.operation);
        let more = shown.under_way.len() - visible.len();
        let more = (more > 0).then(|| format!("{more} more under way"));
        // What does not fit the terminal is left out from the end on.
        let so_far = format!("{} so far", Elapsed(shown.elapsed));
        let said = std::iter::once(bytes(shown)).chain(pace(shown)).chain([so_far]).chain(documents(shown)).chain(more);
        let said: Vec<_> = said.collect();
        self.in_all.set_message(said.join(", "));
        self.in_all.tick();
    }

    fn end(&mut self, _shown: &Shown<'_>, _succeeded: bool) {
        self.fit(0);
        self.in_all.finish_and_clear();
        TERMINAL.remove(&self.in_all);
    }
}

fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("=> "))
}

/// Sizes are estimated before they are counted: never more than all of it is shown.
fn fill(bar: &ProgressBar, bytes: u64, expected_bytes: u64) {
    bar.set_length(expected_bytes.max(bytes).max(1));
    bar.set_position(bytes);
}

fn of_part(part: &PartSnapshot) -> String {
    let (step, counted) = (in_words(part.step), part.counted);
    if counted.bytes >= counted.expected_bytes {
        return step.to_owned();
    }
    format!("{step}, {} of {}", ByteSize(counted.bytes), ByteSize(counted.expected_bytes))
}

fn shortened(name: &str) -> String {
    let length = name.chars().count();
    if length <= NAME_WIDTH {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length - NAME_WIDTH + 1).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_name_is_shown() {
        assert_eq!(shortened("shop.orders"), "shop.orders");
        let long = format!("shop.{}2026", "o".repeat(60));
        assert_eq!(shortened(&long).chars().count(), NAME_WIDTH);
        assert!(shortened(&long).ends_with("oooo2026"));
    }
}
