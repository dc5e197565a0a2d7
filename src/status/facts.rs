//! Reading what a repository says about how things stand.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};

use super::JobStatus;
use super::exposure;
use crate::error::Result;
use crate::format::evidence::{Event, Evidence, ScheduleRecord, WorkloadRecord};
use crate::format::lease::Lease;
use crate::format::manifest::Manifest;
use crate::format::oplog::{Gap, Range};
use crate::format::{BackupId, Job};
use crate::policy::Timetable;
use crate::policy::history::{self, JobHistory, Soundness};
use crate::repository::{CapturedTimeline, EvidenceLog, Listing, Repository, Stretch, route};
use crate::restore;

/// How far back evidence is read at first: two runs of what happens each month.
const HISTORY: SignedDuration = SignedDuration::from_hours(70 * 24);

/// Of how many slices the records are read to tell how long a replay would take.
const SAMPLED_SLICES: usize = 8;

/// Reads a repository again and again; what never changes is read once.
#[derive(Debug)]
pub struct Observer {
    repository: Repository,
    listing: Listing,
    log: EvidenceLog,
}

/// What a repository said at one moment.
#[derive(Debug)]
pub struct Facts {
    /// The moment.
    pub now: Timestamp,
    /// The backups whose manifests are sound, the newest first.
    pub(super) manifests: Vec<Manifest>,
    /// Backups whose manifest is not to be believed, each with why.
    pub(super) damaged_manifests: BTreeMap<BackupId, String>,
    /// What is captured of the oplog.
    pub(super) captured: Vec<CapturedTimeline>,
    /// The gaps behind which no backup has been taken yet.
    pub(super) open_gaps: Vec<Gap>,
    /// Evidence, the oldest first.
    pub(super) evidence: Vec<Evidence>,
    /// Evidence that is not as it was recorded.
    pub(super) evidence_problems: BTreeMap<String, String>,
    /// What the newest verifications say.
    pub(super) soundness: Soundness,
    /// Who may write by itself.
    pub(super) lease: Option<Lease>,
    /// The bytes that backups and oplog have.
    pub(super) stored_bytes: u64,
    /// About how long it takes to restore the newest moment.
    pub(super) restore_time: Duration,
}

impl Observer {
    /// Makes one that has seen nothing yet.
    #[must_use]
    pub fn new(repository: Repository) -> Self {
        Self { repository, listing: Listing::default(), log: EvidenceLog::since(Timestamp::UNIX_EPOCH) }
    }

    /// Returns the evidence that was read.
    pub fn log(&mut self) -> &mut EvidenceLog {
        &mut self.log
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// Whatever the storage says; what is damaged is part of the facts.
    pub async fn observe(&mut self, now: Timestamp) -> Result<Facts> {
        self.listing = self.repository.list_again(std::mem::take(&mut self.listing)).await?;
        self.read_evidence(now).await?;
        let captured = self.repository.captured().await?;
        let mut facts = Facts::of(&self.listing, &self.log, captured, now);
        facts.lease = self.repository.lease().await?;
        facts.open_gaps = self.open_gaps(&facts).await?;
        facts.restore_time = self.restore_time(&facts).await?;
        Ok(facts)
    }

    /// Reads the evidence of the last months; all of it, where that does not tell what the service is to do.
    async fn read_evidence(&mut self, now: Timestamp) -> Result<()> {
        if self.log.records().next().is_none() {
            self.log = EvidenceLog::since(now - HISTORY);
        }
        self.log.refresh(&self.repository, now).await?;
        if history::configuration(self.log.records()).is_none() && !self.log.is_whole() {
            self.log = EvidenceLog::since(Timestamp::UNIX_EPOCH);
            self.log.refresh(&self.repository, now).await?;
        }
        Ok(())
    }

    async fn open_gaps(&self, facts: &Facts) -> Result<Vec<Gap>> {
        let Some(last) = facts.captured.last() else { return Ok(Vec::new()) };
        let leads_on = |range: &&Range| {
            let mut ways = facts.sound_backups().filter_map(Manifest::leads_on);
            !ways.any(|(_, replay_from)| replay_from >= range.end)
        };
        let mut gaps = Vec::new();
        for range in last.gaps.iter().filter(leads_on) {
            gaps.push(self.repository.gap(&last.timeline.id, *range).await?);
        }
        Ok(gaps)
    }

    /// Estimates how long it takes to restore the newest moment; of what is to be replayed a sample tells.
    async fn restore_time(&self, facts: &Facts) -> Result<Duration> {
        let (backups, captured) = (facts.sound_backups().collect::<Vec<_>>(), facts.sound_oplog());
        let Some(end) = exposure::reach(facts).end else { return Ok(Duration::ZERO) };
        let Ok(route) = route(&backups, &captured, end) else { return Ok(Duration::ZERO) };
        let Some(Stretch { timeline, slices }) = route.oplog else {
            return Ok(restore::estimate(route.backup.bytes_raw, 0));
        };
        let step = slices.len().div_ceil(SAMPLED_SLICES).max(1);
        let sampled: Vec<Range> = slices.iter().copied().step_by(step).collect();
        let records = stream::iter(sampled).map(|range| self.repository.slice_record(timeline, range.begin));
        let records: Vec<_> = records.buffered(SAMPLED_SLICES).try_collect().await?;
        let (entries, bytes) = records
            .iter()
            .fold((0, 0), |(entries, bytes), record| (entries + record.entries, bytes + record.bytes_raw));
        let scaled = |sum: u64| sum * slices.len() as u64 / records.len().max(1) as u64;
        Ok(restore::estimate(route.backup.bytes_raw + scaled(bytes), scaled(entries)))
    }
}

impl Facts {
    /// Gathers what is known without asking the store again.
    fn of(listing: &Listing, log: &EvidenceLog, captured: Vec<CapturedTimeline>, now: Timestamp) -> Self {
        let (mut manifests, mut damaged_manifests) = (Vec::new(), BTreeMap::new());
        for backup in &listing.backups {
            match &backup.manifest {
                Ok(manifest) => manifests.push(manifest.clone()),
                Err(error) => drop(damaged_manifests.insert(backup.id.clone(), error.to_string())),
            }
        }
        let of_backups = manifests.iter().map(|manifest| manifest.bytes_stored).sum::<u64>();
        let of_leftovers = listing.leftovers.iter().map(|leftover| leftover.bytes).sum::<u64>();
        let of_oplog = captured.iter().map(|captured| captured.stored_bytes).sum::<u64>();
        Self {
            now,
            manifests,
            damaged_manifests,
            captured,
            open_gaps: Vec::new(),
            evidence: log.records().cloned().collect(),
            evidence_problems: log.problems().clone(),
            soundness: Soundness::of(log.records()),
            lease: None,
            stored_bytes: of_backups + of_leftovers + of_oplog,
            restore_time: Duration::ZERO,
        }
    }

    /// Returns the backups whose manifests are sound, the newest first.
    pub fn backups(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.iter()
    }

    /// Returns the recorded objectives.
    #[must_use]
    pub fn recorded_workloads(&self) -> Vec<WorkloadRecord> {
        match history::configuration(self.evidence.iter()) {
            Some(Event::Configuration { workloads, .. }) => workloads.clone(),
            _ => Vec::new(),
        }
    }

    /// Returns the recorded schedules.
    #[must_use]
    pub fn recorded_schedules(&self) -> Vec<ScheduleRecord> {
        match history::configuration(self.evidence.iter()) {
            Some(Event::Configuration { schedules, .. }) => schedules.clone(),
            _ => Vec::new(),
        }
    }

    /// Returns the newest recorded configuration, and when it was recorded.
    #[must_use]
    pub fn newest_configuration(&self) -> Option<(Timestamp, &Event)> {
        let configurations = self.evidence.iter().rev().map(|evidence| (evidence.recorded_at, &evidence.event));
        configurations.into_iter().find(|(_, event)| matches!(event, Event::Configuration { .. }))
    }

    /// Returns the moment up to which a schedule is settled; none where it is not in force.
    #[must_use]
    pub fn settled(&self, schedule: &ScheduleRecord) -> Option<Timestamp> {
        let taken = self.backups().map(|manifest| (&manifest.id, manifest.started_at));
        history::settled(schedule, &self.evidence, taken)
    }

    /// Returns how each scheduled job fares.
    pub(super) fn jobs(&self) -> Vec<JobStatus> {
        let mut fared: BTreeMap<Job, JobHistory> = history::jobs(&self.evidence);
        let schedules = self.recorded_schedules().into_iter();
        let status = schedules.map(|schedule| {
            let JobHistory { last_success, trouble } = fared.remove(&schedule.job).unwrap_or_default();
            let settled = self.settled(&schedule);
            let timetable = schedule.cron.parse().and_then(|cron| Timetable::new(cron, &schedule.timezone));
            let next_due = timetable.ok().and_then(|timetable| timetable.next_after(settled.unwrap_or(self.now)));
            let problem = trouble.as_ref().map(|trouble| trouble.problem.clone());
            let ScheduleRecord { job, cron, timezone, .. } = schedule;
            JobStatus { job, cron, timezone, last_success, next_due, trouble, problem }
        });
        status.collect()
    }
}
