//! Progress for whoever waits: bars on a terminal, now and then a line elsewhere, events for programs.

mod bars;
mod events;
mod lines;
mod pace;

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::Session;
use crate::error::Result;
use crate::progress::{PartSnapshot, Progress, Snapshot, Step};
use pace::Pace;

pub(super) use bars::beside;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// Bars on a terminal, otherwise lines
    Auto,
    /// Bars for what is under way and for the whole
    Bars,
    /// A line every ten seconds
    Lines,
    /// An event every second, as a line of JSON on stderr
    Json,
    /// Nothing
    None,
}

impl Mode {
    /// Returns how progress is shown where `self` was asked for: what was named counts for more than `--quiet`.
    pub(super) fn settled(self, quiet: bool) -> Self {
        match self {
            Self::Auto if quiet => Self::None,
            Self::Auto if io::stderr().is_terminal() => Self::Bars,
            Self::Auto => Self::Lines,
            named => named,
        }
    }
}

/// What there is to show at one moment.
struct Shown<'a> {
    operation: &'static str,
    in_all: Snapshot,
    under_way: &'a [PartSnapshot],
    elapsed: Duration,
    /// None as long as it is not known.
    bytes_per_second: Option<u64>,
    /// None as long as it is not known.
    left: Option<Duration>,
}

impl Shown<'_> {
    /// Returns how much is done, in whole parts of a hundred; none if nobody knows how much there is. What is known is
    /// estimated before it is counted, so it says 100 only when that is all there was.
    fn percent(&self) -> Option<u64> {
        let Snapshot { bytes, expected_bytes, .. } = self.in_all;
        (bytes.min(expected_bytes) * 100).checked_div(expected_bytes)
    }
}

/// Something that shows progress.
trait Display {
    /// How often it wants to.
    const EVERY: Duration;

    /// Shows where the operation stands.
    fn show(&mut self, shown: &Shown<'_>);

    /// Shows how it ended.
    fn end(&mut self, _shown: &Shown<'_>, _succeeded: bool) {}
}

/// Runs an operation and shows its progress meanwhile, if anybody wants to see it.
pub(super) async fn show<T>(
    session: &Session,
    operation: &'static str,
    progress: &Progress,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match session.progress {
        Mode::None => work.await,
        Mode::Json => show_on(events::Events, operation, progress, work).await,
        Mode::Lines => show_on(lines::Lines, operation, progress, work).await,
        Mode::Auto | Mode::Bars => show_on(bars::Bars::new(), operation, progress, work).await,
    }
}

/// Shows from a thread of its own, so that nothing that the work does holds it up.
async fn show_on<T, D: Display + Send + 'static>(
    display: D,
    operation: &'static str,
    progress: &Progress,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let (ended, end) = mpsc::channel();
    let progress = progress.clone();
    let showing = std::thread::spawn(move || show_until(&end, display, operation, &progress));
    let outcome = work.await;
    // Whoever drops this future ends the thread, too. One that has ended by itself shows nothing any more.
    let _ = ended.send(outcome.is_ok());
    let _ = showing.join();
    outcome
}

fn show_until<D: Display>(end: &Receiver<bool>, mut display: D, operation: &'static str, progress: &Progress) {
    let (begun, mut pace) = (Instant::now(), Pace::default());
    loop {
        let ended = end.recv_timeout(D::EVERY);
        let (in_all, under_way, elapsed) = (progress.snapshot(), progress.under_way(), begun.elapsed());
        pace.note(elapsed, in_all.bytes);
        let (bytes_per_second, left) = (pace.bytes_per_second(), pace.left(in_all));
        let shown = Shown { operation, in_all, under_way: &under_way, elapsed, bytes_per_second, left };
        match ended {
            Err(RecvTimeoutError::Timeout) => display.show(&shown),
            Ok(succeeded) => return display.end(&shown, succeeded),
            Err(RecvTimeoutError::Disconnected) => return display.end(&shown, false),
        }
    }
}

fn in_words(step: Step) -> &'static str {
    match step {
        Step::Reading => "reading",
        Step::Yielding => "waiting for the server",
        Step::Loading => "loading",
        Step::Checking => "reading back",
        Step::Replaying => "replaying",
        Step::Indexing => "building indexes",
    }
}

/// Stderr for whoever writes while bars may stand there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Talk;

impl Write for Talk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        beside(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
