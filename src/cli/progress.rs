//! Progress on a terminal: one line that counts.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Session;
use crate::progress::Progress;
use crate::units::ByteSize;

/// How often the line is drawn.
const REFRESH: Duration = Duration::from_millis(200);

/// Runs an operation and shows its progress meanwhile, if anybody can see it.
pub(super) async fn show<T>(
    session: &Session,
    what: &'static str,
    progress: &Progress,
    operation: impl Future<Output = T>,
) -> T {
    if !session.show_progress {
        return operation.await;
    }
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {percent:>3} %  {msg}  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_prefix(what);
    tokio::pin!(operation);
    let mut ticks = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            outcome = &mut operation => {
                bar.finish_and_clear();
                return outcome;
            }
            _ = ticks.tick() => {
                let now = progress.snapshot();
                // Expected sizes are estimates: never show more than all of it.
                bar.set_length(now.expected_bytes.max(now.bytes).max(1));
                bar.set_position(now.bytes);
                bar.set_message(format!("{} documents, {}", now.documents, ByteSize(now.bytes)));
            }
        }
    }
}
