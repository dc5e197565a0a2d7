//! What is wrong, for people: what, since when, what it means for recovery, and what to do.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Facts, JobStatus, Objectives, Status, WorkloadStatus};
use crate::format::Job;
use crate::format::manifest::Manifest;
use crate::notify::{Alert, Severity};
use crate::policy::history::FUTURE;
use crate::units::counted;
use crate::units::{ByteSize, Elapsed, Moment};

/// How late a run may be before it counts as overdue, where a service is at work: it may be under way.
const LATE_AT_WORK: SignedDuration = SignedDuration::from_hours(6);
/// How long a run may take before that is worth a word.
const LONG: SignedDuration = SignedDuration::from_hours(12);
/// The same where none is.
const LATE: SignedDuration = SignedDuration::from_hours(1);

/// Finds everything that is wrong, the worst first.
pub(super) fn find(facts: &Facts, objectives: &Objectives, status: &Status, end: Option<Timestamp>) -> Vec<Alert> {
    let mut found = Vec::new();
    found.extend(status.workloads.iter().filter_map(|workload| exposure(workload, facts, end)));
    found.extend(status.workloads.iter().filter_map(|workload| recovery_time(workload, facts)));
    if status.workloads.is_empty() && end.is_none() {
        found.push(nothing_to_restore(facts));
    }
    found.extend(status.jobs.iter().filter_map(|job| trouble(job, facts).or_else(|| overdue(job, facts, status))));
    found.extend(damage(facts));
    found.extend(failed_drill(facts, status));
    found.extend(gaps(facts, status));
    found.extend(evidence(facts));
    found.extend(no_service(facts, status));
    found.extend(growth(facts, objectives));
    found.extend(future(facts));
    found.sort_by(|a, b| (b.severity, &a.key).cmp(&(a.severity, &b.key)));
    found
}

fn exposure(workload: &WorkloadStatus, facts: &Facts, end: Option<Timestamp>) -> Option<Alert> {
    let (name, rpo) = (&workload.name, Duration::from_secs(workload.rpo_seconds));
    let key = format!("exposure/{name}");
    let Some(end) = end else {
        return Some(Alert { key, what: format!("nothing of {name} can be restored"), ..nothing_to_restore(facts) });
    };
    let exposure = Duration::from_secs(workload.exposure_seconds?);
    let (severity, limit) = match exposure {
        exposure if exposure > rpo => (Severity::Critical, rpo),
        exposure if exposure > rpo / 2 => (Severity::Warning, rpo / 2),
        _ => return None,
    };
    let since = end + limit;
    Some(Alert {
        key,
        severity,
        what: format!("{name} is {} behind; its RPO is {}", Elapsed(exposure), Elapsed(rpo)),
        since,
        meaning: format!("in a disaster now, what was written to {name} since {} would be lost", Moment(end)),
        remedy: match facts.soundness.oplog_damage {
            Some(_) => {
                "run 'regrow backup' now: a part of the captured oplog is damaged, and no way leads over it".into()
            }
            None => {
                "see that the service captures the oplog (its log says why not); 'regrow backup' takes a backup at once"
                    .into()
            }
        },
    })
}

fn nothing_to_restore(facts: &Facts) -> Alert {
    let damage = facts.backups().filter_map(|manifest| facts.soundness.damaged.get(&manifest.id).copied());
    let since = damage.max().unwrap_or(facts.now);
    Alert {
        key: "exposure".into(),
        severity: Severity::Critical,
        what: "nothing can be restored".into(),
        since,
        meaning: "there is no good backup of everything: a disaster now would lose all of it".into(),
        remedy: "take a backup now ('regrow backup'), and see why there is none".into(),
    }
}

fn recovery_time(workload: &WorkloadStatus, facts: &Facts) -> Option<Alert> {
    let (predicted, rto) = (workload.predicted_rto_seconds?, workload.rto_seconds);
    let name = &workload.name;
    let time = |seconds| Elapsed(Duration::from_secs(seconds));
    (predicted > rto).then(|| Alert {
        key: format!("rto/{name}"),
        severity: Severity::Warning,
        what: format!("restoring {name} would take about {}; its RTO is {}", time(predicted), time(rto)),
        since: facts.now,
        meaning: format!("{name} would be away for longer than was promised"),
        remedy: "take backups more often (less oplog to replay), restore to a faster machine, or change the objective"
            .into(),
    })
}

/// A job whose newest time was no success.
fn trouble(job: &JobStatus, facts: &Facts) -> Option<Alert> {
    let trouble = job.trouble.as_ref()?;
    let what = if trouble.tried {
        format!("{} of {} failed: {}", job.job, Moment(trouble.at), trouble.problem)
    } else {
        format!("{} of {} was missed: {}", job.job, Moment(trouble.at), trouble.problem)
    };
    let severity = if trouble.tried { severity(job.job) } else { Severity::Warning };
    let remedy = match job.job {
        Job::Backup(_) => "mend the cause, then run 'regrow backup' with this kind, or wait for the next run",
        Job::Verify => "mend the cause, then run 'regrow verify', or wait for the next run",
        Job::Expire => "mend the cause; the service tries again at the next time",
        Job::Drill => "run 'regrow drill' and see what it says; where a check fails, take a new backup and drill that",
        Job::Report => "mend the cause, and wait for the next run",
    };
    let key = format!("job/{}", job.job.as_str());
    Some(Alert { key, severity, what, since: trouble.at, meaning: meaning(job, facts), remedy: remedy.into() })
}

/// A job that should have run by now, and of which nothing is recorded.
fn overdue(job: &JobStatus, facts: &Facts, status: &Status) -> Option<Alert> {
    let due = job.next_due?;
    if let Some(since) = facts.running.get(&job.job) {
        return (facts.now.duration_since(*since) > LONG).then(|| Alert {
            key: format!("job/{}", job.job.as_str()),
            severity: Severity::Warning,
            what: format!("{} has been running since {}", job.job, Moment(*since)),
            since: *since,
            meaning: meaning(job, facts),
            remedy: "see in the service's log what it waits for; a schedule's timeout ends what takes too long".into(),
        });
    }
    let patience = if status.service.is_some() { LATE_AT_WORK } else { LATE };
    (facts.now.duration_since(due) > patience).then(|| Alert {
        key: format!("job/{}", job.job.as_str()),
        severity: severity(job.job),
        what: format!("{} was due at {} and has not been done", job.job, Moment(due)),
        since: due,
        meaning: meaning(job, facts),
        remedy: "see that the service runs ('systemctl status regrow') and what its log says".into(),
    })
}

fn severity(job: Job) -> Severity {
    if matches!(job, Job::Backup(_) | Job::Drill) { Severity::Critical } else { Severity::Warning }
}

fn meaning(job: &JobStatus, facts: &Facts) -> String {
    let last = |what: &str| match &job.last_success {
        Some(run) => format!("{what} {}", Moment(run.finished_at)),
        None => format!("{what}: never"),
    };
    match job.job {
        Job::Backup(_) => match facts.sound_backups().find(|manifest| !manifest.partial) {
            Some(Manifest { id, finished_at, .. }) => {
                format!(
                    "the newest backup is {id}, finished {}; restores take longer the older it is",
                    Moment(*finished_at)
                )
            }
            None => "there is no backup to restore".into(),
        },
        Job::Verify => last("whether what is stored is still as it was written is not known; it was verified last"),
        Job::Drill => last("that a restore works is not proved; the last drill was"),
        Job::Report => last("nobody was told how the objectives were met; the last report was"),
        Job::Expire => last("nothing is lost, but storage grows; retention was applied last"),
    }
}

fn damage(facts: &Facts) -> Vec<Alert> {
    let alert = |what: String, meaning: &str, key: String, since: Timestamp| Alert {
        key,
        severity: Severity::Critical,
        what,
        since,
        meaning: meaning.into(),
        remedy: if facts.is_backed_up_behind(since) {
            "a new backup has been taken since; 'regrow verify' names what is damaged: find out what changed it".into()
        } else {
            "take a new backup now, run 'regrow verify' to see what is damaged, and find out what changed it".into()
        },
    };
    let unreadable = facts.damaged_manifests.iter().map(|(id, problem)| {
        (id, format!("backup {id} cannot be restored: {problem}"), facts.soundness.damaged.get(id).copied())
    });
    let exists = |id: &&_| facts.backups().any(|manifest| manifest.id == **id);
    let found = facts.soundness.damaged.iter().filter(|(id, _)| exists(id));
    let found = found.map(|(id, since)| (id, format!("backup {id} is damaged"), Some(*since)));
    let gone = facts.vanished.iter();
    let gone = gone.map(|id| (id, format!("backup {id} is gone: it is recorded as taken, and not as removed"), None));
    let meaning = match facts.sound_backups().find(|manifest| !manifest.partial) {
        Some(sound) => format!("it is not counted among what can be restored; the newest sound backup is {}", sound.id),
        None => "it is not counted among what can be restored, and no other backup can take its place".into(),
    };
    let mut alerts: Vec<Alert> = unreadable
        .chain(found)
        .chain(gone)
        .map(|(id, what, since)| alert(what, &meaning, format!("damage/{id}"), since.unwrap_or(facts.now)))
        .collect();
    if let Some((key, problem)) = facts.damaged_oplog.first_key_value() {
        let meaning = "moments that need the oplog that it belongs to cannot be restored; they are not counted";
        alerts.push(alert(format!("{key} cannot be read: {problem}"), meaning, "damage/oplog".into(), facts.now));
    } else if let Some(damage) = &facts.soundness.oplog_damage {
        let meaning = "moments that need the damaged slices cannot be restored; they are not counted among what can be";
        let objects = counted(damage.objects.len() as u64, "object");
        let what = format!("the captured oplog is damaged: at least {objects} of it");
        alerts.push(alert(what, meaning, "damage/oplog".into(), damage.since));
    }
    alerts
}

/// A drill that somebody ran and that did not pass; one that a schedule asks for is told with its job.
fn failed_drill(facts: &Facts, status: &Status) -> Option<Alert> {
    let (run, result) = facts.drills().next().filter(|(_, result)| !result.passed)?;
    let is_told = status.jobs.iter().any(|job| job.job == Job::Drill && job.trouble.is_some());
    (!is_told).then(|| Alert {
        key: "drill".into(),
        severity: Severity::Critical,
        what: format!("the newest drill, of {}, did not pass", result.backup),
        since: run.finished_at,
        meaning: "that a restore works is not proved".into(),
        remedy: "run 'regrow drill' and see what it says; where a check fails, take a new backup and drill that".into(),
    })
}

fn gaps(facts: &Facts, status: &Status) -> impl Iterator<Item = Alert> {
    let remedy = match status.service {
        Some(_) => "the service takes a backup by itself; if it does not, run 'regrow backup'",
        None => "run 'regrow backup' now: no service is running that would",
    };
    facts.open_gaps.iter().map(|gap| (gap, Moment(gap.begin.wall()))).map(move |(gap, begin)| Alert {
        key: format!("gap/{}-{}", gap.begin.t, gap.end.t),
        severity: Severity::Critical,
        what: format!("the oplog from {begin} to {} is lost: {}", Moment(gap.end.wall()), gap.cause),
        since: gap.found_at,
        meaning: format!("nothing after {begin} can be restored until a new backup is complete"),
        remedy: remedy.into(),
    })
}

fn evidence(facts: &Facts) -> Option<Alert> {
    let (key, problem) = facts.evidence_problems.first_key_value()?;
    let count = facts.evidence_problems.len();
    let objects =
        if count == 1 { "1 record of evidence is".into() } else { format!("{count} records of evidence are") };
    Some(Alert {
        key: "evidence".into(),
        severity: Severity::Critical,
        what: format!("{objects} not as recorded: {key}: {problem}"),
        since: facts.now,
        meaning: "somebody or something changed the repository's history: reports cannot be relied on".into(),
        remedy: "find out who can write to the repository; keep the record if it is altered, and run 'regrow verify'"
            .into(),
    })
}

fn no_service(facts: &Facts, status: &Status) -> Option<Alert> {
    if facts.recorded_schedules().is_empty() || status.service.is_some() {
        return None;
    }
    let since = facts.lease.as_ref().filter(|lease| lease.service).map_or(facts.now, |lease| lease.expires_at);
    Some(Alert {
        key: "service".into(),
        severity: Severity::Critical,
        what: "no service is running".into(),
        since: since.min(facts.now),
        meaning: "nothing captures the oplog and no backup will be taken: what could be lost grows".into(),
        remedy: "start it ('systemctl start regrow') and see in its log why it ended".into(),
    })
}

fn growth(facts: &Facts, objectives: &Objectives) -> Option<Alert> {
    let budget = objectives.budget.filter(|budget| facts.stored_bytes > *budget)?;
    Some(Alert {
        key: "storage".into(),
        severity: Severity::Warning,
        what: format!(
            "the repository holds {}, more than its budget of {}",
            ByteSize(facts.stored_bytes),
            ByteSize(budget)
        ),
        since: facts.now,
        meaning: "nothing is lost; when the store is full, nothing more can be backed up".into(),
        remedy: "see what is kept ('regrow expire --dry-run'), keep less ([retention]), or raise repository.budget"
            .into(),
    })
}

/// What is dated later than now: this machine's clock is behind, or another's was ahead.
fn future(facts: &Facts) -> Option<Alert> {
    let evidence = facts.evidence.iter().map(|evidence| evidence.recorded_at);
    // A service whose clock is wrong may not have stored anything yet.
    let lease = facts.lease.iter().filter(|lease| lease.service && !lease.released).map(|lease| lease.expires_at);
    let newest = facts.backups().map(|manifest| manifest.finished_at).chain(evidence).chain(lease).max()?;
    (newest.duration_since(facts.now) > FUTURE).then(|| Alert {
        key: "clock".into(),
        severity: Severity::Critical,
        what: format!("the repository holds something dated {}, and here it is {}", Moment(newest), Moment(facts.now)),
        since: facts.now,
        meaning: "what is dated in the future counts for no schedule, and nothing expires until then".into(),
        remedy: "set the clocks of all machines right; if this one is, another's was ahead".into(),
    })
}
