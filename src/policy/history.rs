//! What evidence says: which backups are verified or damaged, and how each job has fared.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::Schedule;
use crate::format::evidence::{CheckOutcome, Event, Evidence, Run, ScheduleRecord, Subset, VerificationResult};
use crate::format::increment::ancestors;
use crate::format::manifest::Manifest;
use crate::format::{BackupId, Job, layout};

/// The level of verification at which not every byte was read.
const STRUCTURE: &str = "structure";

/// What the newest verifications say about what is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Soundness {
    /// Backups of which every byte was read and found as recorded, each with when.
    pub verified: BTreeMap<BackupId, Timestamp>,
    /// Backups of which something was not as recorded, each with since when that is known.
    pub damaged: BTreeMap<BackupId, Timestamp>,
    /// What of the captured oplog is known not to be as recorded.
    pub oplog_damage: Option<OplogDamage>,
    /// When everything was read last; of parts that are everything together, when the first of them was.
    pub everything_at: Option<Timestamp>,
}

/// What was read in parts: when each part of so many was read last.
#[derive(Debug, Clone, Default)]
struct Parts {
    /// Of each backup, the parts in which it was found sound.
    backups: BTreeMap<(BackupId, u32), BTreeMap<u32, Timestamp>>,
    everything: BTreeMap<u32, BTreeMap<u32, Timestamp>>,
}

impl Parts {
    /// Takes a part down. Returns since when each backup is verified by that, and since when everything is.
    fn note(&mut self, subset: Subset, result: &VerificationResult, at: Timestamp) -> PartsRead {
        let whole = |parts: &BTreeMap<u32, Timestamp>| {
            let all: Option<Vec<Timestamp>> = (1..=subset.of).map(|part| parts.get(&part).copied()).collect();
            all.and_then(|all| all.into_iter().min())
        };
        let mut verified = Vec::new();
        for id in &result.sound {
            let parts = self.backups.entry((id.clone(), subset.of)).or_default();
            parts.insert(subset.part, at);
            verified.extend(whole(parts).map(|since| (id.clone(), since)));
        }
        self.backups.retain(|(id, _), _| !result.damaged.contains(id));
        let everything = self.everything.entry(subset.of).or_default();
        everything.insert(subset.part, at);
        PartsRead { verified, everything: whole(everything) }
    }
}

struct PartsRead {
    verified: Vec<(BackupId, Timestamp)>,
    everything: Option<Timestamp>,
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
        let (mut known, mut parts) = (Self::default(), Parts::default());
        for evidence in records {
            let Event::Verification { run, result } = &evidence.event else { continue };
            let (at, every_byte) = (run.finished_at, result.level != STRUCTURE);
            for id in &result.damaged {
                known.verified.remove(id);
                known.damaged.entry(id.clone()).or_insert(at);
            }
            match result.subset {
                Some(subset) if every_byte => {
                    let read = parts.note(subset, result, at);
                    for (id, since) in read.verified.into_iter().filter(|(id, _)| !known.damaged.contains_key(id)) {
                        known.verified.insert(id, since);
                    }
                    known.everything_at = known.everything_at.max(read.everything);
                }
                None if every_byte => {
                    for id in &result.sound {
                        known.damaged.remove(id);
                        known.verified.insert(id.clone(), at);
                    }
                    known.everything_at = if result.everything { Some(at) } else { known.everything_at };
                }
                _ => {}
            }
            if result.everything {
                known.note_oplog(result, at, every_byte && result.subset.is_none());
            }
        }
        known
    }

    /// Counts what was built on a damaged backup as damaged, too. `parents` says what each increment was built on.
    #[must_use]
    pub fn spread(mut self, parents: &BTreeMap<BackupId, BackupId>) -> Self {
        for id in parents.keys().filter(|id| !self.damaged.contains_key(*id)).cloned().collect::<Vec<_>>() {
            let since = ancestors(parents, &id).filter_map(|ancestor| self.damaged.get(ancestor)).min().copied();
            if let Some(since) = since {
                self.verified.remove(&id);
                self.damaged.insert(id, since);
            }
        }
        self
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
            Event::Verification { result, .. } if !result.everything || result.level == STRUCTURE => {}
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

/// Returns the backups that are recorded as taken, and not as expired: those may have been removed already, and that not
/// be recorded yet.
#[must_use]
pub fn kept<'a>(records: impl Iterator<Item = &'a Evidence> + Clone) -> BTreeSet<&'a BackupId> {
    let mut kept: BTreeSet<&BackupId> = BTreeSet::new();
    for evidence in records.clone() {
        if let Event::Backup { backup, .. } = &evidence.event {
            kept.insert(backup);
        }
    }
    for evidence in records {
        if let Event::Expiry { expired, removed, .. } = &evidence.event {
            kept.retain(|id| !expired.contains(*id) && !removed.contains(*id));
        }
    }
    kept
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
    fn what_is_read_in_parts_is_verified_when_all_were_since_the_oldest_of_them() {
        let part = |hour, part, of, sound: &[u8], damaged: &[u8]| {
            let mut evidence = verification(hour, "checksum", sound, damaged);
            let Event::Verification { result, .. } = &mut evidence.event else { unreachable!() };
            result.subset = Some(Subset { part, of });
            evidence
        };
        let mut records = vec![part(1, 1, 2, &[1], &[]), part(2, 1, 3, &[1, 2], &[])];
        assert_eq!(Soundness::of(&records), Soundness::default());
        records.push(part(3, 2, 2, &[1, 2], &[]));
        let known = Soundness::of(&records);
        assert_eq!((known.verified.get(&backup(1)), known.verified.get(&backup(2))), (Some(&at(1)), None));
        assert_eq!(known.everything_at, Some(at(1)));
        records.extend([part(4, 1, 2, &[1, 2], &[]), part(5, 2, 2, &[2], &[1])]);
        let known = Soundness::of(&records);
        assert_eq!((known.verified.get(&backup(1)), known.verified.get(&backup(2))), (None, Some(&at(4))));
        assert_eq!((known.damaged.get(&backup(1)), known.everything_at), (Some(&at(5)), Some(at(4))));
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
        records.push(recorded(9, Event::Backup { run: run(at_two.job, 8), backup: backup(1), imported: false }));
        assert_eq!(until(&at_two, &records, 30), Some(at(8)));
        records.push(configured(20, &at_three));
        assert_eq!((until(&at_two, &records, 30), until(&at_three, &records, 30)), (None, Some(at(20))));
        let mut future = vec![configured(1, &at_two)];
        future.push(recorded(100, Event::Backup { run: run(at_two.job, 100), backup: backup(1), imported: false }));
        assert_eq!(until(&at_two, &future, 30), Some(at(1)), "what is dated in the future settles nothing");
    }
}
