//! Capture under supervision: it begins again whatever ends it, for as long as this process leads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::leader::Request;
use super::settings::Settings;
use crate::capture::{self, CaptureContext, CaptureEvent, CaptureSettings};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::format::evidence::Event;
use crate::mongo::Deployment;
use crate::notify::{Alert, Severity};
use crate::random::Random;
use crate::repository::Repository;
use crate::units::{ByteSize, Elapsed};

/// The wait before capture begins again; doubled each time that it ends soon.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// A capture that ran for so long did not end for a reason that was there from its begin.
const HEALTHY: Duration = Duration::from_mins(1);

/// What the supervisor needs.
pub(super) struct Supervisor {
    pub(super) settings: Arc<Settings>,
    pub(super) repository: Repository,
    pub(super) board: Board,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) clock: Clock,
    pub(super) random: Random,
}

impl Supervisor {
    /// Captures until `stop`; what has been read is stored then.
    pub(super) async fn run(self, stop: CancellationToken) {
        let Some(capture) = self.settings.capture.clone() else { return };
        let mut delay = FIRST_DELAY;
        let mut said = String::new();
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let outcome = Box::pin(self.capture(capture.clone(), &stop)).await;
            self.board.notes().capture_runs = false;
            let Err(error) = outcome else { return };
            if stop.is_cancelled() {
                tracing::warn!(%error, "capture was stopped with something in hand; the next one reads it again");
                return;
            }
            // A cause that stays is logged once; the alert goes on telling.
            if said == error.to_string() {
                tracing::debug!(%error, "capture ended; beginning again");
            } else {
                tracing::error!(%error, hint = error.hint(), "capture ended; beginning again");
                said = error.to_string();
            }
            self.board.trouble(self.ended(&error));
            delay = if begun.elapsed() > HEALTHY { FIRST_DELAY } else { (delay * 2).min(LONGEST_DELAY) };
            let _ = tokio::time::timeout(delay, stop.cancelled()).await;
        }
    }

    async fn capture(&self, settings: CaptureSettings, stop: &CancellationToken) -> Result<()> {
        let deployment = tokio::select! {
            deployment = Deployment::connect(&self.settings.source_uri) => deployment?,
            () = stop.cancelled() => return Ok(()),
        };
        let (board, requests, clock) = (self.board.clone(), self.requests.clone(), self.clock.clone());
        let context = CaptureContext {
            deployment,
            repository: self.repository.clone(),
            recipients: self.settings.recipients.clone(),
            signing_key: self.settings.signing_key.clone(),
            source: self.settings.source.clone(),
            settings,
            clock: self.clock.clone(),
            random: self.random.clone(),
            report: Box::new(move |event| note(event, &board, &requests, &clock)),
        };
        // Nothing is stored yet where it only begins; what could not be reached says so by itself.
        let run = capture::run(&context, stop.cancelled());
        self.board.notes().capture_runs = true;
        run.await
    }

    fn ended(&self, error: &Error) -> Alert {
        let remedy = error.hint().unwrap_or("see the service's log; it tries again by itself");
        Alert {
            key: "capture".into(),
            severity: if error.is_transient() { Severity::Warning } else { Severity::Critical },
            what: format!("the oplog is not captured: {error}"),
            since: self.clock.now(),
            meaning: "what is written meanwhile could be lost in a disaster; it is caught up if the oplog reaches back so far"
                .into(),
            remedy: if error.kind() == Kind::LeaseHeld { "let only one capture run for a repository".into() } else { remedy.into() },
        }
    }
}

/// Turns what happens in a capture into a log line, a trouble, evidence and, where only that helps, a backup.
fn note(event: &CaptureEvent, board: &Board, requests: &mpsc::Sender<Request>, clock: &Clock) {
    match event {
        CaptureEvent::Resumed(end) => tracing::info!(%end, "capture goes on"),
        CaptureEvent::NewTimeline { timeline, .. } => {
            tracing::info!(timeline = %timeline.id, begin = %timeline.begin, cause = timeline.cause, "a timeline begins");
        }
        CaptureEvent::Stored { record, behind } => {
            tracing::debug!(end = %record.end, entries = record.entries, behind = %Elapsed(*behind), "slice stored");
            for key in ["capture", "capture/source", "capture/repository", "capture/window"] {
                board.clear(key);
            }
        }
        CaptureEvent::Gap { range, cause, .. } => {
            tracing::error!(begin = %range.begin, end = %range.end, cause, "oplog is lost")
        }
        CaptureEvent::SourceAway(reason) => board.trouble(away("capture/source", reason.clone(), clock)),
        CaptureEvent::RepositoryAway { reason, waiting } => {
            let what = format!("{reason}; {} wait for the repository", ByteSize(*waiting));
            board.trouble(away("capture/repository", what, clock));
        }
        CaptureEvent::Window { reaches_back } => board.notes().oplog_window = Some(reaches_back.as_secs()),
        CaptureEvent::WindowCloses { behind, window } => {
            board.trouble(closing(*behind, *window, clock));
        }
    }
    if let CaptureEvent::Gap { timeline, range, cause, .. } = event {
        let (timeline, range, cause) = (timeline.clone(), *range, cause.clone());
        ask(requests, Request::Record(Event::Gap { timeline, range, cause }));
    }
    if event.asks_for_backup() {
        ask(requests, Request::Backup);
    }
}

/// Hands a request to the main loop, which is never far behind; one that is lost is found out by what is observed.
fn ask(requests: &mpsc::Sender<Request>, request: Request) {
    if let Err(error) = requests.try_send(request) {
        tracing::warn!(%error, "the main loop takes no more requests");
    }
}

fn away(key: &str, reason: String, clock: &Clock) -> Alert {
    Alert {
        key: key.into(),
        severity: Severity::Warning,
        what: format!("capture waits: {reason}"),
        since: clock.now(),
        meaning: "what is written meanwhile could be lost in a disaster; it is caught up when this has passed".into(),
        remedy: "bring the server or the store back; capture goes on by itself".into(),
    }
}

fn closing(behind: Duration, window: Duration, clock: &Clock) -> Alert {
    Alert {
        key: "capture/window".into(),
        severity: Severity::Critical,
        what: format!(
            "capture is {} behind, and the server's oplog reaches back only {}",
            Elapsed(behind),
            Elapsed(window)
        ),
        since: clock.now(),
        meaning: "when the oplog rolls over before it is captured, the time in between cannot be restored".into(),
        remedy: "enlarge the oplog now (replSetResizeOplog), and find out why capture lags".into(),
    }
}
