//! Reading everything that a judgement is made from. Needs only the repository, and no key.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};

use super::facts::{BackupFact, Facts, Recorded, SliceFact, TimelineFact};
use super::model::Period;
use crate::error::{Error, Kind, Result};
use crate::format::evidence::Event;
use crate::format::layout;
use crate::format::oplog::Range;
use crate::progress::Progress;
use crate::repository::{CapturedTimeline, EvidenceLog, Repository};

/// How many records are read at once: they are small, and the time is all latency.
const PARALLEL_READS: usize = 16;

/// Slices that end as long before the period were stored before it, and when exactly does not matter: no capture holds
/// back what it has read for so long.
const STORED_WITHIN: SignedDuration = SignedDuration::from_hours(8 * 24);

impl Facts {
    /// Reads what counts for a period. What is damaged is one of the facts, no error.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn gather(repository: &Repository, period: Period, now: Timestamp, progress: &Progress) -> Result<Self> {
        let listing = repository.list().await?;
        listing.check_answered()?;
        let (captured, damaged) = repository.captured_as_it_is().await?;
        let mut log = EvidenceLog::since(Timestamp::UNIX_EPOCH);
        log.refresh(repository, now).await?;
        let mut facts = Self {
            repository: repository.id().to_string(),
            created_at: repository.created_at(),
            source: "unnamed".into(),
            backups: Vec::new(),
            timelines: Vec::new(),
            records: log.stored().map(|(key, sha256, evidence)| Recorded { key, sha256, evidence }).collect(),
            problems: log.problems().clone(),
            taken_at: now,
        };
        facts.problems.extend(damaged.iter().map(|(id, error)| (layout::timeline(id), error.to_string())));
        if let Some(newest) = captured.last() {
            facts.source.clone_from(&newest.timeline.source);
        }
        for backup in listing.backups.iter().rev() {
            match &backup.manifest {
                Ok(manifest) => {
                    facts.source.clone_from(&manifest.source);
                    facts.backups.push(BackupFact { summary: manifest.into(), removed_at: None });
                }
                Err(error) => drop(facts.problems.insert(layout::manifest(&backup.id), error.to_string())),
            }
        }
        for captured in &captured {
            let timeline = timeline(repository, captured, period, progress, &mut facts.problems).await?;
            facts.timelines.push(timeline);
        }
        facts.remember();
        Ok(facts)
    }

    /// Adds what evidence remembers of what is gone.
    fn remember(&mut self) {
        for record in &self.records {
            let Event::Expiry { removed_backups, removed_oplog, .. } = record.event() else { continue };
            for summary in removed_backups {
                if !self.backups.iter().any(|backup| backup.summary.id == summary.id) {
                    self.backups.push(BackupFact { summary: summary.clone(), removed_at: Some(record.at()) });
                }
            }
            for removed in removed_oplog {
                if let Some(timeline) = self.timelines.iter_mut().find(|timeline| timeline.id == removed.timeline) {
                    timeline.remember(removed, record.at());
                }
            }
        }
    }
}

async fn timeline(
    repository: &Repository,
    captured: &CapturedTimeline,
    period: Period,
    progress: &Progress,
    problems: &mut BTreeMap<String, String>,
) -> Result<TimelineFact> {
    let id = &captured.timeline.id;
    let long_before = period.begin.checked_sub(STORED_WITHIN).unwrap_or(Timestamp::MIN);
    let counts = captured.slices.iter().filter(|range| range.begin.wall() < period.end);
    let (old, new): (Vec<Range>, Vec<Range>) = counts.partition(|range| range.end.wall() < long_before);
    let assumed = |range: Range| (range, SliceFact { stored_at: range.end.wall(), entries: 0, removed_at: None });
    let mut slices: BTreeMap<Range, SliceFact> = old.into_iter().map(assumed).collect();
    let read = stream::iter(new).map(|range| async move {
        match repository.slice_record(id, range.begin).await {
            // It expired a moment ago.
            Err(error) if error.kind() == Kind::NotFound => Ok((range, None)),
            Err(error) if error.kind() == Kind::Damaged => Ok((range, Some(Err(error)))),
            Err(error) => Err(error),
            Ok(record) => Ok::<_, Error>((range, Some(Ok(record)))),
        }
    });
    let mut read = read.buffered(PARALLEL_READS);
    while let Some((range, record)) = read.try_next().await? {
        progress.add(1, 0, 0);
        match record {
            Some(Ok(record)) => {
                let (stored_at, entries) = (record.stored_at, record.entries);
                slices.insert(range, SliceFact { stored_at, entries, removed_at: None });
            }
            Some(Err(error)) => drop(problems.insert(layout::slice_record(id, range.begin), error.to_string())),
            None => {}
        }
    }
    let (replica_set_id, begin) = (captured.timeline.history.replica_set_id.clone(), captured.timeline.begin);
    Ok(TimelineFact { id: id.clone(), replica_set_id, begin, slices, gaps: captured.gaps.clone() })
}
