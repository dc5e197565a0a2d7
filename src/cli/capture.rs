//! `regrow capture`: continuous oplog capture in the foreground.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::output::{entries, moment};
use super::{Session, stop_requested};
use crate::capture::{self, CaptureContext, CaptureEvent, CaptureSettings};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::units::{ByteSize, Elapsed};

pub(super) const HELP: &str = "\
Every write is in the repository at the latest [oplog] slice_interval after it was committed (60 s by default), so \
that every second can be restored that follows a backup. Stop it with Ctrl-C or SIGTERM: what has been read is stored \
first. Killed, it loses nothing: the next one goes on where the repository's last slice ended. \
With --once it waits three minutes for a source or a store that is away, then ends with exit code 1; interrupted, with 130.

Examples:
  regrow capture
  regrow capture --once        # everything up to now, then end: for cron";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Capture what has been committed up to now, then end
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let settings = settings(&config, arguments)?;
    let (recipients, signing_key) = (config.recipients()?, config.signing_key()?);
    let repository = session.repository(&config).await?;
    repository.accept_signer(&signing_key)?;
    refuse_beside_the_service(session, &repository).await?;
    let deployment = session.connect(&config.source_uri()?).await?;
    let (json, quiet, has_stored) = (session.json, session.quiet, Arc::new(AtomicBool::new(false)));
    let context = CaptureContext {
        deployment,
        repository,
        recipients,
        signing_key,
        source: config.source_name().into(),
        settings,
        clock: session.clock.clone(),
        random: session.random.clone(),
        report: Box::new({
            let has_stored = Arc::clone(&has_stored);
            move |event| {
                has_stored.fetch_or(matches!(event, CaptureEvent::Stored { .. }), Ordering::Relaxed);
                report(event, json, quiet);
            }
        }),
    };
    Box::pin(capture::run(&context, stop_requested())).await?;
    if arguments.once && !has_stored.load(Ordering::Relaxed) {
        session.say("captured up to there already: nothing has been committed since");
    }
    Ok(())
}

fn settings(config: &Config, arguments: &Arguments) -> Result<CaptureSettings> {
    let settings = config.capture()?.ok_or_else(|| {
        Error::configuration("[oplog] enabled = false switches capture off")
            .with_hint("set it to true to capture the oplog")
    })?;
    Ok(CaptureSettings { once: arguments.once, ..settings })
}

/// Two that capture would take turns at failing.
async fn refuse_beside_the_service(session: &Session, repository: &Repository) -> Result<()> {
    let Some(lease) = repository.lease().await? else { return Ok(()) };
    if !lease.service || lease.is_free(session.clock.now()) {
        return Ok(());
    }
    Err(Error::new(Kind::LeaseHeld, format!("{} captures the oplog already", lease.description))
        .with_hint("there is nothing to do; 'regrow status' shows how far it is"))
}

fn report(event: &CaptureEvent, json: bool, quiet: bool) {
    if json && let CaptureEvent::Stored { record, behind } = event {
        let (begin, end) = (record.begin, record.end);
        let answer = json!({
            "timeline": record.timeline, "begin": begin, "end": end, "entries": record.entries,
            "bytes_raw": record.bytes_raw, "bytes_stored": record.object.size, "behind_seconds": behind.as_secs_f64(),
        });
        println!("{answer}");
    }
    if let Some(warning) = warning(event) {
        eprintln!("warning: {warning}");
    } else if !quiet
        && !json
        && let Some(remark) = remark(event)
    {
        eprintln!("{remark}");
    }
    if event.asks_for_backup() {
        eprintln!("take a backup now: only what follows a backup can be restored ('regrow backup')");
    }
}

fn warning(event: &CaptureEvent) -> Option<String> {
    let text = match event {
        CaptureEvent::Resumed(_)
        | CaptureEvent::Overtaken(_)
        | CaptureEvent::NewTimeline { .. }
        | CaptureEvent::Stored { .. }
        | CaptureEvent::Window { .. } => return None,
        CaptureEvent::Gap { range, cause, .. } => {
            format!("a gap: the oplog from {} to {} is lost; {cause}", moment(range.begin), moment(range.end))
        }
        CaptureEvent::SourceAway(reason) => format!("{reason}; trying again"),
        CaptureEvent::RepositoryAway { reason, waiting } => {
            format!("{reason}; {} wait for the repository, trying again", ByteSize(*waiting))
        }
        CaptureEvent::WindowCloses { behind, window } => format!(
            "the repository is {} behind and the server's oplog reaches back only {}: enlarge the oplog or find out what is slow",
            Elapsed(*behind),
            Elapsed(*window)
        ),
    };
    Some(text)
}

fn remark(event: &CaptureEvent) -> Option<String> {
    let text = match event {
        CaptureEvent::Resumed(end) => format!("going on from {}", moment(*end)),
        CaptureEvent::Overtaken(reason) => format!("{reason}; this one goes on behind that"),
        CaptureEvent::NewTimeline { timeline, .. } => {
            format!("beginning timeline {} at {}: {}", timeline.id, moment(timeline.begin), timeline.cause)
        }
        CaptureEvent::Stored { record, behind } => format!(
            "captured up to {}: {}, {}, {} behind",
            moment(record.end),
            entries(record.entries),
            ByteSize(record.object.size),
            Elapsed(*behind)
        ),
        _ => return None,
    };
    Some(text)
}
