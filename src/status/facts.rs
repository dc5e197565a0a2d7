//! Reading what a repository says about how things stand.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::JobStatus;
use super::exposure;
use crate::compliance;
use crate::error::{Error, Kind, Result};
use crate::format::evidence::{DrillResult, Event, Evidence, Run, ScheduleRecord, WorkloadRecord};
use crate::format::lease::Lease;
use crate::format::manifest::Manifest;
use crate::format::oplog::Gap;
use crate::format::{BackupId, ClusterTime, Job, layout};
use crate::policy::Timetable;
use crate::policy::history::{self, JobHistory, Settled, Soundness};
use crate::repository::{CapturedTimeline, EvidenceLog, Listing, Repository};
use crate::restore;

/// How far back evidence is read at first: three runs of what happens each month.
const HISTORY: SignedDuration = SignedDuration::from_hours(100 * 24);

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
    /// Backups that are recorded as taken, not as let go, and are not there.
    pub(super) vanished: Vec<BackupId>,
    /// What is captured of the oplog.
    pub(super) captured: Vec<CapturedTimeline>,
    /// The gaps behind which no backup has been taken yet.
    pub(super) open_gaps: Vec<Gap>,
    /// Evidence, the oldest first.
    pub(super) evidence: Vec<Evidence>,
    /// Evidence that is not as it was recorded.
    pub(super) evidence_problems: BTreeMap<String, String>,
    /// Records of the captured oplog that are not to be believed, each with why.
    pub(super) damaged_oplog: BTreeMap<String, String>,
    /// What runs just now, as far as this process knows.
    pub(super) running: BTreeMap<Job, Timestamp>,
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
        self.repository.list_again(&mut self.listing).await?;
        self.listing.check_answered()?;
        self.read_evidence(now).await?;
        let (captured, damaged) = self.repository.captured_as_it_is().await?;
        let mut facts = Facts::of(&self.listing, &self.log, captured, now);
        let problems = damaged.into_iter().map(|(id, error)| (layout::timeline(&id), error.to_string()));
        facts.damaged_oplog.extend(problems);
        facts.lease = self.repository.lease().await?;
        facts.vanished = self.vanished().await?;
        self.read_gaps(&mut facts).await?;
        facts.restore_time = self.restore_time(&mut facts).await?;
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

    /// Returns the backups that are recorded as taken and are not there, whether or not something of them is left.
    async fn vanished(&self) -> Result<Vec<BackupId>> {
        let is_listed = |id: &BackupId| self.listing.backups.iter().any(|backup| backup.id == *id);
        let mut vanished = Vec::new();
        for id in history::kept(self.log.records()).into_iter().filter(|id| !is_listed(id)) {
            // What was recorded since the listing, it does not show.
            match self.repository.manifest(id).await {
                Err(error) if error.kind() == Kind::NotFound => vanished.push(id.clone()),
                Ok(_) => {}
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(vanished)
    }

    /// Reads the records of the gaps behind which no backup leads on.
    async fn read_gaps(&self, facts: &mut Facts) -> Result<()> {
        let Some(last) = facts.captured.last().cloned() else { return Ok(()) };
        for range in last.gaps {
            if facts.leads_on_behind(range.end) {
                continue;
            }
            match self.repository.gap(&last.timeline.id, range).await {
                Ok(gap) => facts.open_gaps.push(gap),
                Err(error) if is_damage(&error) => facts.note_damage(layout::gap(&last.timeline.id, range), &error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Estimates how long it takes to restore the newest moment; of what is to be replayed a sample tells.
    async fn restore_time(&self, facts: &mut Facts) -> Result<Duration> {
        let exposure::Reach { base: Some(base), oplog, .. } = exposure::reach(facts) else {
            return Ok(Duration::ZERO);
        };
        let Some((timeline, slices)) = oplog else { return Ok(facts.takes(base.bytes_raw, 0, 0)) };
        let step = slices.len().div_ceil(SAMPLED_SLICES).max(1);
        let (mut records, mut entries, mut bytes) = (0, 0, 0);
        for range in slices.iter().step_by(step) {
            match self.repository.slice_record(&timeline, range.begin).await {
                Ok(record) => {
                    (records, entries, bytes) = (records + 1, entries + record.entries, bytes + record.bytes_raw);
                }
                Err(error) if is_damage(&error) => {
                    facts.note_damage(layout::slice_record(&timeline, range.begin), &error);
                }
                Err(error) => return Err(error),
            }
        }
        let scaled = |sum: u64| sum * slices.len() as u64 / u64::max(records, 1);
        Ok(facts.takes(base.bytes_raw, scaled(bytes), scaled(entries)))
    }
}

/// Whether a record that should be there is not to be believed, or is gone.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), Kind::Damaged | Kind::NotFound)
}

impl Facts {
    /// Returns about how long restoring takes: at the rates of the newest drill that passed, or at those of this program's
    /// own measurements as long as there is none.
    fn takes(&self, bytes: u64, entry_bytes: u64, entries: u64) -> Duration {
        let measured = self.drills().find(|(_, result)| result.passed);
        measured.map_or_else(
            || restore::estimate(bytes + entry_bytes, entries),
            |(_, result)| compliance::restore_time(result, bytes, entries),
        )
    }

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
            vanished: Vec::new(),
            captured,
            open_gaps: Vec::new(),
            evidence: log.records().cloned().collect(),
            evidence_problems: log.problems().clone(),
            damaged_oplog: BTreeMap::new(),
            running: BTreeMap::new(),
            soundness: listing.soundness(log),
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

    /// Returns up to where a schedule is settled; none where it is not in force.
    #[must_use]
    pub fn settled(&self, schedule: &ScheduleRecord) -> Option<Settled> {
        history::settled(schedule, &self.evidence, self.backups(), self.now)
    }

    /// Whether a backup is needed now: there is none of everything, none from which the oplog that is captured now leads on,
    /// or one was found damaged and none has been taken since.
    #[must_use]
    pub fn needs_backup(&self) -> bool {
        if self.soundness.damaged.values().any(|since| !self.is_backed_up_behind(*since)) {
            return true;
        }
        let Some(last) = self.captured.last() else {
            return !self.sound_backups().any(|manifest| !manifest.partial);
        };
        !self.leads_on_behind(last.unbroken_from())
    }

    /// Whether a sound backup of everything was begun behind a moment.
    pub(super) fn is_backed_up_behind(&self, moment: Timestamp) -> bool {
        self.sound_backups().any(|manifest| !manifest.partial && manifest.started_at > moment)
    }

    /// Whether the oplog behind a moment leads on from a backup.
    fn leads_on_behind(&self, moment: ClusterTime) -> bool {
        self.sound_backups().filter_map(Manifest::leads_on).any(|(_, replay_from)| replay_from >= moment)
    }

    /// Returns the drills that are recorded, the newest first.
    pub(super) fn drills(&self) -> impl Iterator<Item = (&Run, &DrillResult)> {
        self.evidence.iter().rev().filter_map(|evidence| match &evidence.event {
            Event::Drill { run, result } => Some((run, result)),
            _ => None,
        })
    }

    /// Tells what runs, so that it is not taken for what was not done.
    pub fn set_running(&mut self, running: BTreeMap<Job, Timestamp>) {
        self.running = running;
    }

    /// Notes a record that is not to be believed.
    fn note_damage(&mut self, key: String, error: &Error) {
        self.damaged_oplog.insert(key, error.to_string());
    }

    /// Returns how each scheduled job fares.
    pub(super) fn jobs(&self) -> Vec<JobStatus> {
        let mut fared: BTreeMap<Job, JobHistory> = history::jobs(&self.evidence);
        let schedules = self.recorded_schedules().into_iter();
        let status = schedules.map(|schedule| {
            let JobHistory { last_success, trouble } = fared.remove(&schedule.job).unwrap_or_default();
            let settled = self.settled(&schedule);
            let timetable = schedule.cron.parse().and_then(|cron| Timetable::new(cron, &schedule.timezone));
            let ScheduleRecord { job, cron, timezone, .. } = schedule;
            let settled = settled.map_or(self.now, |settled| settled.achieved.last().copied().unwrap_or(settled.until));
            let next_due = timetable.ok().and_then(|timetable| timetable.next_after(settled));
            let problem = trouble.as_ref().map(|trouble| trouble.problem.clone());
            JobStatus { job, cron, timezone, last_success, next_due, trouble, problem }
        });
        status.collect()
    }
}
