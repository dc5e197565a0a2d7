//! Evidence in the repository: reading it and adding to it.
//!
//! A record is created once, behind all that are known. What a crash leaves is a record or none. Records that were
//! altered, and those that others name but nobody finds, are kept apart as [`problems`](EvidenceLog::problems): what
//! they said is not believed, and that they are not as they were is worth knowing.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Repository;
use crate::codec::signing::EVIDENCE_PURPOSE;
use crate::codec::{SigningKey, sha256};
use crate::error::{Error, Kind, Result};
use crate::format::evidence::{Event, Evidence, Predecessor};
use crate::format::{VERSION, layout};
use crate::policy::history::FUTURE;
use crate::random::Random;

/// How many records are read at once: they are small, and the time is all latency.
const PARALLEL_READS: usize = 8;

/// How far back a writer looks for the records to follow, before it looks at all there are.
const RECENT: SignedDuration = SignedDuration::from_hours(24 * 40);

/// The evidence from a moment on.
#[derive(Debug, Clone)]
pub struct EvidenceLog {
    since: Timestamp,
    records: BTreeMap<String, Record>,
    problems: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
struct Record {
    sha256: [u8; 32],
    evidence: Evidence,
}

/// Who adds a record, and with what.
pub struct Recorder<'a> {
    /// For people: a host and a process.
    pub who: &'a str,
    /// What signs it.
    pub signing_key: &'a SigningKey,
    /// For its id.
    pub random: &'a Random,
}

impl EvidenceLog {
    /// Returns an empty one, that reads what is recorded from `since` on.
    #[must_use]
    pub fn since(since: Timestamp) -> Self {
        // Keys tell the second.
        let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
        Self { since, records: BTreeMap::new(), problems: BTreeMap::new() }
    }

    /// Whether it reads everything there is.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.since == Timestamp::UNIX_EPOCH
    }

    /// Returns the records, the oldest first.
    #[must_use]
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Evidence> + Clone {
        let mut records: Vec<&Evidence> = self.records.values().map(|record| &record.evidence).collect();
        // Keys tell the second; within it, the records know.
        records.sort_by_key(|evidence| evidence.recorded_at);
        records.into_iter()
    }

    /// Returns the records, the oldest first, each with its key and the SHA-256 of the object as stored.
    pub fn stored(&self) -> impl Iterator<Item = (String, [u8; 32], Evidence)> {
        let mut records: Vec<_> = self.records.iter().collect();
        records.sort_by_key(|(_, record)| record.evidence.recorded_at);
        records.into_iter().map(|(key, record)| (key.clone(), record.sha256, record.evidence.clone()))
    }

    /// Returns the SHA-256 of a record's object as stored, if it was read.
    #[must_use]
    pub fn sha256_of(&self, key: &str) -> Option<[u8; 32]> {
        self.records.get(key).map(|record| record.sha256)
    }

    /// Returns the keys of what is not as it was recorded, each with what is wrong.
    #[must_use]
    pub fn problems(&self) -> &BTreeMap<String, String> {
        &self.problems
    }

    /// Reads what has been recorded since the last time.
    ///
    /// # Errors
    /// Whatever the storage says; a damaged record is a problem of the log, not an error.
    pub async fn refresh(&mut self, repository: &Repository, now: Timestamp) -> Result<()> {
        // Before the listing: what others remember later, it does not show.
        let remembered = repository.witness.remembered();
        let stored = stored(repository, self.since, now).await?;
        let new: Vec<String> = stored.iter().filter(|key| !self.records.contains_key(*key)).cloned().collect();
        let mut read = stream::iter(new)
            .map(|key| async move {
                let outcome = read(repository, &key).await;
                Ok::<_, Error>((key, outcome))
            })
            .buffered(PARALLEL_READS);
        self.problems.clear();
        while let Some((key, outcome)) = read.try_next().await? {
            match outcome {
                Ok(record) => drop(self.records.insert(key, record)),
                Err(error) if error.kind() == Kind::Damaged => drop(self.problems.insert(key, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        self.note_what_is_missing(&stored);
        self.note_what_is_remembered(&remembered, repository.descriptor_sha256);
        Ok(())
    }

    /// Notes what was there once, by what this process or machine remembers, and is not any more.
    fn note_what_is_remembered(&mut self, remembered: &BTreeMap<String, [u8; 32]>, descriptor: [u8; 32]) {
        for (key, sha256) in remembered {
            let found = match layout::evidence_time(key) {
                None => Some(descriptor),
                Some(time) if time < self.since => continue,
                Some(_) => self.sha256_of(key),
            };
            if found != Some(*sha256) {
                self.problems.entry(key.clone()).or_insert_with(|| contradiction(found).to_owned());
            }
        }
    }

    /// Notes records that others name, and that are gone or are not what was named.
    fn note_what_is_missing(&mut self, stored: &BTreeSet<String>) {
        let in_sight = |key: &str| layout::evidence_time(key).is_none_or(|time| time >= self.since);
        let mut problems = Vec::new();
        for Predecessor { key, sha256 } in self.records.values().flat_map(|record| &record.evidence.previous) {
            if !stored.contains(key) && in_sight(key) {
                problems.push((key.clone(), "a later record names it, and it is gone".to_owned()));
            } else if self.records.get(key).is_some_and(|record| record.sha256 != *sha256) {
                problems.push((key.clone(), "it is not the record that a later one names".to_owned()));
            }
        }
        self.records.retain(|key, _| stored.contains(key));
        self.problems.extend(problems);
    }

    /// Returns the records that none of the others names.
    fn ends(&self) -> Vec<Predecessor> {
        let named: BTreeSet<&str> = self
            .records
            .values()
            .flat_map(|record| &record.evidence.previous)
            .map(|predecessor| predecessor.key.as_str())
            .collect();
        let ends = self.records.iter().filter(|(key, _)| !named.contains(key.as_str()));
        ends.map(|(key, record)| Predecessor { key: key.clone(), sha256: record.sha256 }).collect()
    }
}

impl Repository {
    /// Records an event behind all that `log` holds, and adds it to `log`, which is read up to now before. Returns the
    /// record's key.
    ///
    /// # Errors
    /// Whatever the storage says. After an error the record may exist, if the store's answer was lost.
    pub async fn record(
        &self,
        log: &mut EvidenceLog,
        event: Event,
        now: Timestamp,
        recorder: &Recorder<'_>,
    ) -> Result<String> {
        log.refresh(self, now).await?;
        // Clocks differ a little; the order of what happened must not.
        let newest = log.records().map(|evidence| evidence.recorded_at).filter(|at| at.duration_since(now) <= FUTURE);
        let now = newest.max().map_or(now, |newest| now.max(newest + SignedDuration::from_nanos(1)));
        let evidence = Evidence {
            format: Evidence::FORMAT.into(),
            version: VERSION,
            repository: self.id().clone(),
            id: format!("{:016x}", recorder.random.next_u64()),
            recorded_at: now,
            recorded_by: recorder.who.into(),
            previous: log.ends(),
            event,
        };
        let key = evidence.key();
        if log.records.is_empty() {
            // Before the first record: then a crash leaves bounds that are true.
            self.begin_evidence_bounds(recorder.signing_key).await?;
        }
        let document = self.create_signed(&key, EVIDENCE_PURPOSE, &evidence, recorder.signing_key).await?;
        log.records.insert(key.clone(), Record { sha256: sha256(&document), evidence });
        if !self.witness.remembered().keys().any(|key| log.problems.contains_key(key)) {
            self.witness.remember(self.id(), &log.ends());
        }
        // It is recorded. Where the bounds could not be moved, those from before are still true.
        let is_known = |end: &Predecessor| log.records.contains_key(&end.key);
        if let Err(error) = self.move_evidence_bounds(&log.ends(), is_known, recorder.signing_key).await {
            tracing::warn!(%error, "the bounds of evidence could not be moved");
        }
        Ok(key)
    }

    /// Returns what of the repository is not as this machine remembers it: keys, each with what is wrong.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn contradictions(&self) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for (key, remembered) in self.witness.remembered() {
            let now = match key.as_str() {
                layout::DESCRIPTOR => Some(self.descriptor_sha256),
                key => self.find(key).await?.map(|document| sha256(&document)),
            };
            if now != Some(remembered) {
                found.insert(key, contradiction(now).to_owned());
            }
        }
        Ok(found)
    }

    /// Records one event, where no log is at hand. Returns the record's key.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub async fn record_one(&self, event: Event, now: Timestamp, recorder: &Recorder<'_>) -> Result<String> {
        let mut log = self.newest_evidence(now).await?;
        self.record(&mut log, event, now, recorder).await
    }

    /// Reads as much evidence as a new record needs to follow.
    ///
    /// # Errors
    /// Whatever the storage says.
    pub async fn newest_evidence(&self, now: Timestamp) -> Result<EvidenceLog> {
        let mut log = EvidenceLog::since(now - RECENT);
        log.refresh(self, now).await?;
        Ok(if log.records.is_empty() { EvidenceLog::since(Timestamp::UNIX_EPOCH) } else { log })
    }
}

/// Says what it means that something remembered is gone, or another.
fn contradiction(found: Option<[u8; 32]>) -> &'static str {
    match found {
        None => "this machine remembers it, and it is gone: the repository was put back to an earlier state",
        Some(_) => "it is not the one that this machine remembers: it was exchanged",
    }
}

/// Returns the keys of what is recorded from `since` on.
async fn stored(repository: &Repository, since: Timestamp, now: Timestamp) -> Result<BTreeSet<String>> {
    let year = |time: Timestamp| TimeZone::UTC.to_datetime(time).year();
    let mut keys = BTreeSet::new();
    if since == Timestamp::UNIX_EPOCH {
        let listed = repository.storage.list(layout::EVIDENCE).await?;
        keys.extend(listed.into_iter().map(|entry| entry.key).filter(|key| layout::evidence_time(key).is_some()));
        return Ok(keys);
    }
    let first = year(since).max(year(repository.descriptor.created_at) - 1);
    // Clocks differ: at the turn of the year somebody else's may show the next one already.
    for year in first..=year(now) + 1 {
        let listed = repository.storage.list(&layout::evidence_of_year(year)).await?;
        let recent = |key: &String| layout::evidence_time(key).is_some_and(|time| time >= since);
        keys.extend(listed.into_iter().map(|entry| entry.key).filter(recent));
    }
    Ok(keys)
}

async fn read(repository: &Repository, key: &str) -> Result<Record> {
    let document = repository.storage.read(key, None).await.map_err(|error| super::missing_is_damage(error, key))?;
    let payload = repository.keys.verify(key, EVIDENCE_PURPOSE, &document)?;
    let evidence = Evidence::parse(payload, repository.id(), key)?;
    Ok(Record { sha256: sha256(&document), evidence })
}
