//! What evidence says: which backups are verified or damaged, and how each job has fared.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::Schedule;
use crate::format::evidence::{CheckOutcome, Event, Evidence, Run, ScheduleRecord, VerificationResult};
use crate::format::manifest::Manifest;
use crate::format::{BackupId, Job, layout};

/// The level of verification at which every byte was read.
const EVERY_BYTE: &str = "checksum";

/// What the newest verifications say about what is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Soundness {
    /// Backups of which every byte was read and found as recorded, each with when.
    pub verified: BTreeMap<BackupId, Timestamp>,
    /// Backups of which something was not as recorded, each with since when that is known.
    pub damaged: BTreeMap<BackupId, Timestamp>,
    /// What of the captured oplog is known not to be as recorded.
    pub oplog_damage: Option<OplogDamage>,
    /// When everything was read last.
    pub everything_at: Option<Timestamp>,
}

/// Objects of the captured oplog that are not as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OplogDamage {
    /// Since when that is known.
    pub since: Timestamp,
    /// Their keys.
    pub objects: BTreeSet<String>,
    /// Whether there are more of them.
    pub more: bool,
}

impl Soundness {
    /// Reads it out of records, the oldest first.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Evidence>) -> Self {
        let mut known = Self::default();
        for evidence in records {
            let Event::Verification { run, result } = &evidence.event else { continue };
            let (at, every_byte) = (run.finished_at, result.level == EVERY_BYTE);
            for id in &result.damaged {
                known.verified.remove(id);
                known.damaged.entry(id.clone()).or_insert(at);
            }
            if every_byte {
                for id in &result.sound {
                    known.damaged.remove(id);
                    known.verified.insert(id.clone(), at);
                }
            }
            if result.everything {
                known.everything_at = if every_byte { Some(at) } else { known.everything_at };
                known.note_oplog(result, at, every_byte);
            }
        }
        known
    }

    /// What was found before stands until every byte was read again.
    fn note_oplog(&mut self, result: &VerificationResult, at: Timestamp, every_byte: bool) {
        let keys = result.named.iter().map(|finding| &finding.object);
        let mut objects: BTreeSet<String> = keys.filter(|key| key.starts_with(layout::OPLOG)).cloned().collect();
        let mut more = (objects.len() as u64) < result.oplog_findings;
        let before = self.oplog_damage.take();
        let since = before.as_ref().map_or(at, |damage| damage.since);
        if let Some(before) = before.filter(|_| !every_byte) {
            objects.extend(before.objects);
            more |= before.more;
        }
        self.oplog_damage = (more || !objects.is_empty()).then_some(OplogDamage { since, objects, more });
    }
}

/// How a job has fared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobHistory {
    /// Its newest run that achieved what it was for.
    pub last_success: Option<Run>,
    /// What became of the newest time at which it was due or was run, where that is no success.
    pub trouble: Option<Trouble>,
}

/// A run that was due and did not achieve what it was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Whether it was tried.
    pub tried: bool,
    /// When it was due, or begun.
    pub at: Timestamp,
    /// What went wrong.
    pub problem: String,
}

/// Returns how each job has fared, from records in order, the oldest first.
pub fn jobs<'a>(records: impl IntoIterator<Item = &'a Evidence>) -> BTreeMap<Job, JobHistory> {
    let mut jobs: BTreeMap<Job, JobHistory> = BTreeMap::new();
    for evidence in records {
        match &evidence.event {
            Event::Failure { run, problem } => {
                let at = run.due.unwrap_or(run.started_at);
                let trouble = Trouble { tried: true, at, problem: problem.clone() };
                jobs.entry(run.job).or_default().trouble = Some(trouble);
            }
            Event::Missed { job, last_due, cause, .. } => {
                let trouble = Trouble { tried: false, at: *last_due, problem: cause.clone() };
                jobs.entry(*job).or_default().trouble = Some(trouble);
            }
            Event::Drill { run, result } if !result.passed => {
                let failed = result.checks.iter().filter(|check| check.outcome == CheckOutcome::Failed);
                let failed: Vec<&str> = failed.map(|check| check.name.as_str()).collect();
                let problem = format!("{} did not restore to what it should ({})", result.backup, failed.join(", "));
                let trouble = Trouble { tried: true, at: run.due.unwrap_or(run.started_at), problem };
                jobs.entry(run.job).or_default().trouble = Some(trouble);
            }
            // What was not of everything does not achieve what the job is for.
            Event::Verification { result, .. } if !result.everything || result.level != EVERY_BYTE => {}
            event => {
                if let Some(run) = event.run() {
                    *jobs.entry(run.job).or_default() = JobHistory { last_success: Some(run.clone()), trouble: None };
                }
            }
        }
    }
    jobs
}

/// By how much the clocks of two machines may differ. What is dated later than that was written by one that was wrong.
pub const FUTURE: SignedDuration = SignedDuration::from_mins(5);

/// Up to where a schedule is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Every time up to here is recorded as run, failed or missed, or was before the schedule was in force.
    pub until: Timestamp,
    /// When something was begun behind that achieves what the schedule is for, whoever did it; in order.
    pub achieved: Vec<Timestamp>,
}

/// Returns up to where a schedule is settled. None for one that no recorded configuration holds as it is now.
///
/// A schedule begins to count when it is first recorded; one that was changed begins anew. A whole backup of its kind
/// achieves what was due before it began, whoever took it. What is dated in the future settles nothing.
#[must_use]
pub fn settled<'a>(
    own: &ScheduleRecord,
    records: impl IntoIterator<Item = &'a Evidence>,
    backups: impl IntoIterator<Item = &'a Manifest>,
    now: Timestamp,
) -> Option<Settled> {
    let (mut since, mut until) = (None, None);
    let is_past = |at: &Timestamp| at.duration_since(now) <= FUTURE;
    for evidence in records.into_iter().filter(|evidence| is_past(&evidence.recorded_at)) {
        match &evidence.event {
            Event::Configuration { schedules, .. } => {
                let is_in_force = schedules.iter().any(|recorded| recorded.is_alike(own));
                since = if is_in_force { since.or(Some(evidence.recorded_at)) } else { None };
            }
            Event::Missed { job, last_due, .. } if *job == own.job => until = until.max(Some(*last_due)),
            event => {
                let of_job = event.run().filter(|run| run.job == own.job);
                until = until.max(of_job.and_then(|run| run.due));
            }
        }
    }
    let serves = |manifest: &&Manifest| Job::Backup(manifest.kind) == own.job && !manifest.partial;
    let begun = backups.into_iter().filter(serves).map(|manifest| manifest.started_at);
    let since = since?;
    let until = until.filter(is_past).map_or(since, |until| until.max(since));
    let mut achieved: Vec<Timestamp> = begun.filter(|at| is_past(at) && *at > until).collect();
    achieved.sort();
    Some(Settled { until, achieved })
}

impl Schedule {
    /// Returns what is recorded of it.
    #[must_use]
    pub fn record(&self) -> ScheduleRecord {
        ScheduleRecord {
            job: self.job,
            cron: self.timetable.cron().to_string(),
            timezone: self.timetable.zone_name().to_owned(),
            catch_up: self.catch_up,
        }
    }
}

impl ScheduleRecord {
    /// Whether two schedules have the same job at the same times.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        (self.job, &self.cron, &self.timezone) == (other.job, &other.cron, &other.timezone)
    }
}

/// Returns the newest recorded configuration.
#[must_use]
pub fn configuration<'a>(records: impl DoubleEndedIterator<Item = &'a Evidence>) -> Option<&'a Event> {
    records.rev().map(|evidence| &evidence.event).find(|event| matches!(event, Event::Configuration { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::RepositoryId;
    use crate::policy::Timetable;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
    }

    fn recorded(hour: i64, event: Event) -> Evidence {
        Evidence {
            format: Evidence::FORMAT.into(),
            version: 1,
            repository: RepositoryId("9f0c".into()),
            id: "0".into(),
            recorded_at: at(hour),
            recorded_by: String::new(),
            previous: Vec::new(),
            event,
        }
    }

    fn run(job: Job, due: i64) -> Run {
        Run { job, due: Some(at(due)), started_at: at(due), finished_at: at(due), attempts: 1 }
    }

    fn backup(number: u8) -> BackupId {
        format!("20261123T020000Z-daily-000{number}").parse().unwrap()
    }

    fn verification(hour: i64, level: &str, sound: &[u8], damaged: &[u8]) -> Evidence {
        let ids = |numbers: &[u8]| numbers.iter().copied().map(backup).collect();
        let result = VerificationResult {
            level: level.into(),
            everything: true,
            subset: None,
            sound: ids(sound),
            damaged: ids(damaged),
            checked_objects: 1,
            checked_bytes: 1,
            findings: damaged.len() as u64,
            oplog_findings: 0,
            named: Vec::new(),
        };
        recorded(hour, Event::Verification { run: run(Job::Verify, hour), result })
    }

    #[test]
    fn only_a_reading_of_every_byte_makes_a_backup_verified_and_takes_damage_back() {
        let mut records = vec![verification(1, "checksum", &[1, 2], &[]), verification(2, "structure", &[1], &[2])];
        let known = Soundness::of(&records);
        assert_eq!((known.verified.get(&backup(1)), known.damaged.get(&backup(2))), (Some(&at(1)), Some(&at(2))));
        assert!(!known.verified.contains_key(&backup(2)));
        records.push(verification(3, "structure", &[2], &[]));
        assert!(Soundness::of(&records).damaged.contains_key(&backup(2)), "its bytes were not read");
        records.push(verification(4, "checksum", &[2], &[]));
        let known = Soundness::of(&records);
        assert_eq!((known.damaged.len(), known.verified.get(&backup(2))), (0, Some(&at(4))));
        assert_eq!(known.everything_at, Some(at(4)));
    }

    #[test]
    fn trouble_lasts_until_the_next_success() {
        let failure = |hour| Event::Failure { run: run(Job::Expire, hour), problem: "the store is full".into() };
        let (job, cause) = (Job::Expire, "the service was down".to_owned());
        let missed = Event::Missed { job, first_due: at(2), last_due: at(3), times: 2, cause };
        let mut records = vec![recorded(1, failure(1)), recorded(3, missed)];
        let trouble = jobs(&records)[&job].trouble.clone().unwrap();
        assert_eq!((trouble.tried, trouble.at, trouble.problem.as_str()), (false, at(3), "the service was down"));
        let expiry = serde_json::json!({ "kind": "expiry", "details": {
            "run": run(job, 4), "expired": [], "removed": [], "oplog_objects": 0, "denied": null,
        }});
        records.push(recorded(4, serde_json::from_value(expiry).unwrap()));
        assert_eq!(jobs(&records)[&job].trouble, None);
    }

    #[test]
    fn a_schedule_counts_from_when_it_is_in_force_as_it_is() {
        let schedule = |cron: &str| Schedule {
            name: "daily".into(),
            job: Job::Backup(crate::format::BackupKind::Daily),
            timetable: Timetable::new(cron.parse().unwrap(), "UTC").unwrap(),
            catch_up: true,
            jitter: std::time::Duration::ZERO,
            timeout: None,
            retries: 3,
        };
        let (at_two, at_three) = (schedule("0 2 * * *"), schedule("0 3 * * *"));
        let configured = |hour, schedule: &Schedule| {
            recorded(
                hour,
                Event::Configuration { schedules: vec![schedule.record()], workloads: Vec::new(), retention: None },
            )
        };
        let until = |schedule: &Schedule, records: &[Evidence], now: i64| {
            settled(&schedule.record(), records, &[], at(now)).map(|settled| settled.until)
        };
        assert_eq!(until(&at_two, &[], 30), None);
        let mut records = vec![configured(1, &at_two), configured(5, &at_two)];
        assert_eq!(until(&at_two, &records, 30), Some(at(1)), "it was in force all the time");
        records.push(recorded(9, Event::Backup { run: run(at_two.job, 8), backup: backup(1) }));
        assert_eq!(until(&at_two, &records, 30), Some(at(8)));
        records.push(configured(20, &at_three));
        assert_eq!((until(&at_two, &records, 30), until(&at_three, &records, 30)), (None, Some(at(20))));
        let mut future = vec![configured(1, &at_two)];
        future.push(recorded(100, Event::Backup { run: run(at_two.job, 100), backup: backup(1) }));
        assert_eq!(until(&at_two, &future, 30), Some(at(1)), "what is dated in the future settles nothing");
    }
}
