//! What the configuration promises: settings, schedules, objectives, and whom the service tells.

use std::time::Duration;

use super::Installation;
use super::check::{Check, doing};
use super::notes::Notes;
use crate::format::Job;
use crate::policy::Schedule;
use crate::units::{Elapsed, Moment};

/// Checks what has no check of its own: one for each setting that is wrong, or one for all.
pub(super) fn settings(installation: &Installation) -> Vec<Check> {
    let doing = doing("configuration", "read it");
    if installation.settings.is_empty() {
        return vec![doing.ok("every key is known, and every secret that it names is there")];
    }
    let wrong = installation.settings.iter();
    wrong.map(|(name, error)| Check { name, ..doing.clone().failed(error) }).collect()
}

pub(super) fn schedules(installation: &Installation) -> Check {
    let doing = doing("schedules", "read the folder of schedules");
    let schedules = match &installation.schedules {
        None => {
            return doing.warning(
                "there is none: 'regrow daemon' needs it; without the service, something else must run backups",
                "copy the folder schedules/ that comes with Regrow beside the configuration, or let cron run 'regrow backup'",
            );
        }
        Some(Err(error)) => return doing.failed(error),
        Some(Ok(schedules)) => schedules,
    };
    let mut notes = Notes::default();
    notes.well(next_runs(schedules, installation));
    let has = |wanted: fn(&Job) -> bool| schedules.iter().any(|schedule| wanted(&schedule.job));
    if !has(|job| matches!(job, Job::Backup(_))) {
        notes.warning("no backup is scheduled", "add schedules/daily.toml");
    }
    if !has(|job| *job == Job::Verify) {
        notes.warning("no verification is scheduled", "add schedules/verify.toml: damage is found while there is time");
    }
    if !has(|job| *job == Job::Drill) {
        notes.warning("no drill is scheduled", "add schedules/drill.toml and [drill]: only a restore proves a backup");
    } else if installation.drill.is_none() {
        notes.misconfigured("drills are scheduled, and there is no [drill]", "add [drill] with mongod = \"mongod\"");
    }
    if has(|job| *job == Job::Expire) && installation.retention.is_none() {
        notes.misconfigured(
            "the expiry is scheduled, and there is no [retention]",
            "add [retention] with daily, weekly, monthly and oplog, or remove the file to keep everything",
        );
    }
    notes.end(doing)
}

fn next_runs(schedules: &[Schedule], installation: &Installation) -> String {
    let now = installation.clock.now();
    let next = |schedule: &Schedule| schedule.timetable.next_after(now).map(|at| (at, schedule.job));
    match schedules.iter().filter_map(next).min() {
        Some((at, job)) => format!("{} jobs; next {} at {}", schedules.len(), job.as_str(), Moment(at)),
        None => format!("{} jobs, none of which ever runs again", schedules.len()),
    }
}

/// Holds capture against what is to be reached.
pub(super) fn objectives(installation: &Installation) -> Check {
    let doing = doing("objectives", "held oplog.slice_interval against the objectives of [[workloads]]");
    let workloads = &installation.objectives.workloads;
    if workloads.is_empty() {
        return doing.warning(
            "there are none: nothing is held against an objective, and no alert says that one is missed",
            "add [tiers.critical] with rpo and rto, and [[workloads]] with name, namespaces and tier",
        );
    }
    let interval = match &installation.capture {
        Err(error) => return doing.failed(error),
        Ok(settings) => settings.as_ref().map(|settings| settings.slice_interval),
    };
    let mut notes = Notes::default();
    for workload in workloads {
        let rpo = Duration::from_secs(workload.rpo_seconds);
        let (name, rpo_text) = (&workload.name, Elapsed(rpo));
        match interval {
            None => notes.misconfigured(
                format!("{name} may lose {rpo_text}, and nothing is captured between backups"),
                "set oplog.enabled = true",
            ),
            Some(interval) if interval >= rpo => notes.misconfigured(
                format!(
                    "{name} may lose {rpo_text}, and what is written waits {} until it is stored",
                    Elapsed(interval)
                ),
                "make oplog.slice_interval a quarter of the shortest rpo",
            ),
            Some(interval) if interval * 2 > rpo => notes.warning(
                format!(
                    "{name} may lose {rpo_text}, and what is written waits {} until it is stored",
                    Elapsed(interval)
                ),
                "make oplog.slice_interval a quarter of the shortest rpo: one slice that is late must not miss it",
            ),
            Some(_) => notes.well(format!("{name} may lose {rpo_text}")),
        }
    }
    notes.end(doing)
}

pub(super) fn channels(installation: &Installation) -> Check {
    let doing = doing("notifications", "read [notify]; nobody was told anything");
    match &installation.channels {
        Err(error) => doing.failed(error),
        Ok(0) => doing.warning(
            "nobody is told when something is wrong",
            "add [[notify.slack]], [[notify.email]], [[notify.pagerduty]] or [[notify.webhook]], and [notify.heartbeat]",
        ),
        Ok(channels) => doing.ok(format!("{channels} are told what is wrong")),
    }
}
