//! `regrow status`: how things stand now.

use std::time::Duration;

use super::Session;
use super::output::{counted, moment, table, time};
use crate::config::{Config, schedules};
use crate::error::{Error, Kind, Result};
use crate::notify::{Alert, Severity};
use crate::status::{JobStatus, Objectives, Observer, Status, WorkloadStatus, assess};
use crate::units::{ByteSize, Elapsed};

pub(super) const HELP: &str = "\
Reads the repository, so it answers on any machine, whether a service runs or not. Objectives are those of the \
configuration; without any there, those that the service recorded.

With --check the first line and the exit code say how things stand: 0 all is well, 6 an objective is missed, 5 something stored is damaged, \
1 anything else is wrong.

Examples:
  regrow status
  regrow status --check --quiet    # from Nagios and the like";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End with an exit code that says how things stand
    #[arg(long)]
    check: bool,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let repository = session.repository(&config).await?;
    let facts = Observer::new(repository.clone()).observe(session.clock.now()).await?;
    let mut objectives: Objectives = config.objectives();
    if objectives.workloads.is_empty() {
        objectives.workloads = facts.recorded_workloads();
    }
    let status = assess(&facts, &objectives);
    if session.json {
        println!("{}", status.to_json(config.source_name(), &repository.location()));
    } else {
        if arguments.check {
            println!("{}", in_one_line(&status));
        }
        print(session, &status, has_schedules(&config, &status));
    }
    if arguments.check { verdict(&status) } else { Ok(()) }
}

/// Whether anything is to happen by itself: what the configuration has, or what a service has recorded.
fn has_schedules(config: &Config, status: &Status) -> bool {
    !status.jobs.is_empty() || schedules::load(&config.schedules_folder()).is_ok_and(|schedules| !schedules.is_empty())
}

/// Returns what monitoring shows of it: its first line.
fn in_one_line(status: &Status) -> String {
    match status.problems.first() {
        None => "OK: nothing is wrong".into(),
        Some(worst) => {
            let word = if worst.severity == Severity::Critical { "CRITICAL" } else { "WARNING" };
            format!("{word}: {}{}", worst.what, and_others(status))
        }
    }
}

fn and_others(status: &Status) -> String {
    match status.problems.len() {
        0 | 1 => String::new(),
        problems => format!(" (and {})", counted(problems as u64 - 1, "other problem")),
    }
}

fn verdict(status: &Status) -> Result<()> {
    let Some(worst) = status.problems.first() else { return Ok(()) };
    let of = |beginning: &str| status.problems.iter().find(|alert| alert.key.starts_with(beginning));
    let missed = status.workloads.iter().find(|workload| !workload.ok);
    let (kind, worst) = match (missed, of("damage")) {
        (Some(workload), _) => (Kind::ObjectiveMissed, of_workload(status, workload).unwrap_or(worst)),
        (None, Some(damage)) => (Kind::Damaged, damage),
        (None, None) => (Kind::Failed, worst),
    };
    Err(Error::new(kind, format!("{}{}", worst.what, and_others(status))).with_hint(worst.remedy.clone()))
}

fn of_workload<'a>(status: &'a Status, workload: &WorkloadStatus) -> Option<&'a Alert> {
    let keys = [format!("exposure/{}", workload.name), format!("rto/{}", workload.name)];
    status.problems.iter().find(|alert| keys.contains(&alert.key))
}

fn print(session: &Session, status: &Status, has_schedules: bool) {
    print_summary(status);
    if !status.workloads.is_empty() {
        println!();
        let mut rows =
            vec![["WORKLOAD", "TIER", "COULD BE LOST", "RPO", "RESTORE TAKES", "RTO", ""].map(str::to_owned)];
        rows.extend(status.workloads.iter().map(workload));
        table(&rows, [false, false, true, true, true, true, false]);
    }
    if !status.jobs.is_empty() {
        println!();
        let mut rows = vec![["JOB", "LAST SUCCESS", "TOOK", "NEXT", ""].map(str::to_owned)];
        rows.extend(status.jobs.iter().map(job));
        table(&rows, [false, false, true, false, false]);
    }
    if status.problems.is_empty() {
        session.say(match (has_schedules && status.service.is_none(), status.workloads.is_empty()) {
            (true, _) => {
                "\nNothing is wrong, but no service is running: what the schedules ask for is not done ('regrow daemon')."
            }
            (false, true) => "\nNothing is wrong; no objectives are configured ([[workloads]]) that it could be held against.",
            (false, false) => "\nAll is well: every objective is met. ('regrow doctor' looks at the servers, too.)",
        });
        return;
    }
    println!("\nPROBLEMS");
    for Alert { severity, what, since, meaning, remedy, .. } in &status.problems {
        let word = if *severity == Severity::Critical { "CRITICAL" } else { "warning" };
        println!("{word}: {what}\n  since {}; {meaning}\n  to do: {remedy}", time(*since));
    }
}

fn print_summary(status: &Status) {
    match &status.service {
        Some(service) => println!("service          {}, leading since {}", service.description, time(service.since)),
        None => println!("service          none is running"),
    }
    match &status.newest_backup {
        Some(backup) => {
            let verified = match (backup.damaged_since, backup.verified_at) {
                (Some(since), _) => format!("DAMAGED, as verified {}", time(since)),
                (None, Some(at)) => format!("verified {}", time(at)),
                (None, None) => "not verified yet".into(),
            };
            println!("newest backup    {}, finished {}, {verified}", backup.id, time(backup.finished_at));
        }
        None => println!("newest backup    there is none"),
    }
    match status.recovery_window.last() {
        Some(window) => println!("restorable up to {}", moment(window.end)),
        None => println!("restorable up to nothing can be restored"),
    }
    match status.capture_lag_seconds {
        Some(seconds) => println!("oplog captured   up to {} ago", Elapsed(Duration::from_secs(seconds))),
        None => println!("oplog captured   never: only the moments of backups can be restored"),
    }
    if let Some(seconds) = status.exposure_seconds {
        println!("could be lost    the last {}", Elapsed(Duration::from_secs(seconds)));
    }
    println!("stored           {}", ByteSize(status.stored_bytes));
}

fn workload(workload: &WorkloadStatus) -> [String; 7] {
    let span = |seconds: u64| Elapsed(Duration::from_secs(seconds)).to_string();
    let known = |seconds: Option<u64>, otherwise: &str| seconds.map_or_else(|| otherwise.to_owned(), span);
    [
        workload.name.clone(),
        workload.tier.clone(),
        known(workload.exposure_seconds, "everything"),
        span(workload.rpo_seconds),
        known(workload.predicted_rto_seconds, "impossible"),
        span(workload.rto_seconds),
        if workload.ok { "ok".into() } else { "MISSED".into() },
    ]
}

fn job(job: &JobStatus) -> [String; 5] {
    let last = job.last_success.as_ref();
    [
        job.job.as_str().into(),
        last.map_or_else(|| "never".into(), |run| time(run.finished_at)),
        last.map_or_else(String::new, |run| Elapsed(run.duration()).to_string()),
        job.next_due.map_or_else(|| "never".into(), time),
        match &job.trouble {
            None => String::new(),
            Some(trouble) if trouble.tried => "FAILED".into(),
            Some(_) => "MISSED".into(),
        },
    ]
}
