//! Capture under supervision: it begins again whatever ends it, for as long as this process leads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::desk::Request;
use super::leader::Leader;
use super::settings::Settings;
use crate::capture::{self, CaptureContext, CaptureEvent, CaptureSettings};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::format::evidence::Event;
use crate::mongo::Deployment;
use crate::notify::{Alert, Severity};
use crate::units::{ByteSize, Elapsed};

/// The wait before capture begins again; doubled each time that it ends soon.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// A capture that ran for so long did not end for a reason that was there from its begin.
const HEALTHY: Duration = Duration::from_mins(1);

/// The keys of what may be wrong with it.
const KEYS: [&str; 4] = ["capture", "capture/source", "capture/repository", "capture/window"];

/// The capture of a leader, and the way to end it; clones are the same one.
#[derive(Clone)]
pub(super) struct Capturing {
    leader: Leader,
    requests: mpsc::Sender<Request>,
    running: Arc<Mutex<Running>>,
}

struct Running {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    /// Whether it is to begin no more.
    is_over: bool,
}

impl Capturing {
    /// Begins to capture.
    pub(super) fn start(leader: Leader, requests: mpsc::Sender<Request>) -> Self {
        let running = Running::start(leader.clone(), requests.clone());
        Self { leader, requests, running: Arc::new(Mutex::new(running)) }
    }

    /// Ends it for good; what has been read is stored first.
    pub(super) async fn stop(&self) {
        let mut running = self.running.lock().await;
        running.is_over = true;
        running.end().await;
    }

    /// Ends it and begins again with other settings, unless it was ended for good. Does not wait for that.
    pub(super) fn restart(&self, settings: Arc<Settings>) {
        let capturing = self.clone();
        tokio::spawn(async move {
            let mut running = capturing.running.lock().await;
            if !running.is_over {
                running.end().await;
                let leader = Leader { settings, ..capturing.leader.clone() };
                *running = Running::start(leader, capturing.requests.clone());
            }
        });
    }
}

impl Running {
    fn start(leader: Leader, requests: mpsc::Sender<Request>) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Supervisor { leader, requests }.run(stop.clone()));
        Self { stop, task: Some(task), is_over: false }
    }

    async fn end(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

/// Begins capture again whatever ends it.
#[derive(Clone)]
struct Supervisor {
    leader: Leader,
    requests: mpsc::Sender<Request>,
}

impl Supervisor {
    /// Captures until `stop`; what has been read is stored then.
    async fn run(self, stop: CancellationToken) {
        self.leader.board.captures(self.leader.settings.capture.is_some());
        let Some(capture) = self.leader.settings.capture.clone() else {
            clear(&self.leader.board);
            self.leader.board.notes().oplog_window = None;
            return;
        };
        let mut delay = FIRST_DELAY;
        let mut said = String::new();
        while !stop.is_cancelled() {
            let begun = Instant::now();
            // In a task of its own: a fault in it ends that task and not the supervision.
            let (supervisor, settings, stopping) = (self.clone(), capture.clone(), stop.clone());
            let task = tokio::spawn(async move { Box::pin(supervisor.capture(settings, &stopping)).await });
            let outcome = task
                .await
                .unwrap_or_else(|panic| Err(Error::failed("capture ended by a fault in Regrow").caused_by(panic)));
            self.leader.board.notes().capture_runs = Some(false);
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
            self.leader.board.trouble(self.ended(&error));
            delay = if begun.elapsed() > HEALTHY { FIRST_DELAY } else { (delay * 2).min(LONGEST_DELAY) };
            let _ = tokio::time::timeout(delay, stop.cancelled()).await;
        }
    }

    async fn capture(&self, settings: CaptureSettings, stop: &CancellationToken) -> Result<()> {
        let deployment = tokio::select! {
            deployment = Deployment::connect(&self.leader.settings.source_uri) => deployment?,
            () = stop.cancelled() => return Ok(()),
        };
        let (board, requests, clock) = (self.leader.board.clone(), self.requests.clone(), self.leader.clock.clone());
        let context = CaptureContext {
            deployment,
            repository: self.leader.repository.clone(),
            recipients: self.leader.settings.recipients.clone(),
            signing_key: self.leader.settings.signing_key.clone(),
            source: self.leader.settings.source.clone(),
            settings,
            clock: self.leader.clock.clone(),
            random: self.leader.random.clone(),
            report: Box::new(move |event| note(event, &board, &requests, &clock)),
        };
        // Nothing is stored yet where it only begins; what could not be reached says so by itself.
        let run = capture::run(&context, stop.cancelled());
        self.leader.board.notes().capture_runs = Some(true);
        Box::pin(run).await
    }

    fn ended(&self, error: &Error) -> Alert {
        let remedy = error.hint().unwrap_or("see the service's log; it tries again by itself");
        Alert {
            key: "capture".into(),
            severity: if error.is_transient() { Severity::Warning } else { Severity::Critical },
            what: format!("the oplog is not captured: {error}"),
            since: self.leader.clock.now(),
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
        CaptureEvent::Overtaken(reason) => tracing::warn!(reason, "capture goes on behind another one's"),
        CaptureEvent::NewTimeline { timeline, .. } => {
            tracing::info!(timeline = %timeline.id, begin = %timeline.begin, cause = timeline.cause, "a timeline begins");
        }
        CaptureEvent::Stored { record, behind } => {
            tracing::debug!(end = %record.end, entries = record.entries, behind = %Elapsed(*behind), "slice stored");
            clear(board);
        }
        CaptureEvent::Gap { range, cause, .. } => {
            tracing::error!(begin = %range.begin, end = %range.end, cause, "oplog is lost");
        }
        CaptureEvent::SourceAway(reason) => wait_for(board, "capture/source", reason, clock),
        CaptureEvent::RepositoryAway { reason, waiting } => {
            let what = format!("{reason}; {} wait for the repository", ByteSize(*waiting));
            wait_for(board, "capture/repository", &what, clock);
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
    if matches!(event, CaptureEvent::Resumed(_) | CaptureEvent::NewTimeline { .. }) {
        board.notes().capture_has_begun = true;
    }
    if event.asks_for_backup() {
        ask(requests, Request::Backup(clock.now()));
    }
}

/// Notes that nothing is wrong any more.
fn clear(board: &Board) {
    for key in KEYS {
        board.clear(key);
    }
}

/// Hands a request to the main loop, which is never far behind; one that is lost is found out by what is observed.
fn ask(requests: &mpsc::Sender<Request>, request: Request) {
    if let Err(error) = requests.try_send(request) {
        tracing::warn!(%error, "the main loop takes no more requests");
    }
}

/// Notes that capture waits for something; logged when it begins to.
fn wait_for(board: &Board, key: &str, reason: &str, clock: &Clock) {
    if !board.notes().troubles.contains_key(key) {
        tracing::warn!(reason, "capture waits");
    }
    board.trouble(Alert {
        key: key.into(),
        severity: Severity::Warning,
        what: format!("capture waits: {reason}"),
        since: clock.now(),
        meaning: "what is written meanwhile could be lost in a disaster; it is caught up when this has passed".into(),
        remedy: "bring the server or the store back; capture goes on by itself".into(),
    });
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
