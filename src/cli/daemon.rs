//! `regrow daemon`: the service.

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::output::{counted, table, time};
use super::record::who;
use super::{Session, stop_requested};
use crate::daemon::{Daemon, Settings};
use crate::error::Result;
use crate::policy::Schedule;

pub(super) const HELP: &str = "\
Captures the oplog, runs what is due by the files in the folder 'schedules' beside the configuration, tells people what is \
wrong ([notify]), and answers for Prometheus ([server]). Several may run for one repository: one leads, and another \
takes over within 40 s when that one is killed.

SIGTERM or Ctrl-C ends it within 30 s; what was begun the next one does. SIGHUP makes it read its configuration again; \
one that is wrong changes nothing.

Examples:
  regrow daemon --check        # is everything right? and what is due when
  regrow daemon";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Check the configuration and the schedules, say what is due when, and end
    #[arg(long)]
    check: bool,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let settings = Settings::load(session.config.as_deref(), &session.clock, &session.random)?;
    if arguments.check {
        return check(session, &settings).await;
    }
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        stop_requested().await;
        stopping.cancel();
    });
    let daemon = Daemon {
        settings,
        path: session.config.clone(),
        clock: session.clock.clone(),
        random: session.random.clone(),
        stores: session.stores.clone(),
        who: who(),
        targets: session.targets,
    };
    Box::pin(daemon.run(stop, hang_ups())).await
}

/// Returns what comes with each SIGHUP.
fn hang_ups() -> mpsc::Receiver<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let Ok(mut hang_up) = signal(SignalKind::hangup()) else { return };
        while hang_up.recv().await.is_some() {
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    receiver
}

async fn check(session: &Session, settings: &Settings) -> Result<()> {
    let repository = session.repository(&settings.config).await?;
    repository.accept_signer(&settings.signing_key)?;
    let now = session.clock.now();
    let next = |schedule: &Schedule| schedule.timetable.next_after(now);
    if session.json {
        let schedules = settings.schedules.iter().map(|schedule| {
            json!({
                "job": schedule.job, "file": format!("{}.toml", schedule.name), "cron": schedule.timetable.cron().to_string(),
                "timezone": schedule.timetable.zone_name(), "next": next(schedule), "catch_up": schedule.catch_up,
            })
        });
        println!("{}", json!({ "ok": true, "schedules": schedules.collect::<Vec<_>>() }));
    } else {
        let mut rows = vec![["JOB", "FILE", "WHEN", "TIME ZONE", "NEXT"].map(str::to_owned)];
        rows.extend(settings.schedules.iter().map(|schedule| row(schedule, next(schedule))));
        table(&rows, [false; 5]);
    }
    if settings.objectives.workloads.is_empty() {
        session.say("note: there are no [[workloads]]: nothing is held against an objective");
    }
    let schedules = counted(settings.schedules.len() as u64, "schedule");
    session.say(format_args!("The configuration and {schedules} are right."));
    Ok(())
}

fn row(schedule: &Schedule, next: Option<Timestamp>) -> [String; 5] {
    [
        schedule.job.as_str().into(),
        format!("{}.toml", schedule.name),
        schedule.timetable.cron().to_string(),
        schedule.timetable.zone_name().into(),
        next.map_or_else(|| "never".into(), time),
    ]
}
