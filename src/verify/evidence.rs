//! Evidence: signatures and the chain, and what is to be there because it is recorded.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::control::Bounds;
use super::{Finding, Stored, ToRead, Verification, wrong_size};
use crate::error::Result;
use crate::format::evidence::{Event, Predecessor};
use crate::format::layout;
use crate::format::manifest::ObjectRecord;
use crate::policy::history;
use crate::repository::{EvidenceLog, Repository};

/// Checks all evidence; adds what it names and remains to be read.
pub(super) async fn check(
    repository: &Repository,
    bounds: &Bounds,
    stored: &Stored,
    now: Timestamp,
    verification: &mut Verification,
    to_read: &mut Vec<ToRead>,
) -> Result<()> {
    let mut log = EvidenceLog::since(Timestamp::UNIX_EPOCH);
    log.refresh(repository, now).await?;
    verification.checked_objects += log.records().count() as u64;
    verification.findings.extend(log.problems().iter().map(|(key, problem)| Finding::new(key, problem.clone())));
    if log.records().next().is_none() && !log.problems().is_empty() {
        // Then it is rather this that was altered, and not all of those.
        let problem = "nothing that is recorded fits what it says: it was altered, or all of evidence was";
        verification.findings.push(Finding::new(layout::DESCRIPTOR, problem));
    }
    ends(bounds, &log, stored, verification);
    let mut known = BTreeSet::new();
    for evidence in log.records() {
        match &evidence.event {
            Event::Creation { descriptor } => check_descriptor(repository, *descriptor, verification).await?,
            Event::Report { files, .. } => {
                for file in files.iter().filter(|file| known.insert(file.key.clone())) {
                    check_report(file, stored, verification, to_read);
                }
            }
            _ => {}
        }
    }
    vanished(repository, &log, stored, verification).await
}

/// The newest records have none that name them: the bounds do.
fn ends(bounds: &Bounds, log: &EvidenceLog, stored: &Stored, verification: &mut Verification) {
    let is_altered = bounds.altered.iter().any(|key| key == layout::EVIDENCE_BOUNDS);
    let Some(found) = &bounds.evidence else {
        if !is_altered && log.records().next().is_some() && !stored.contains_key(layout::EVIDENCE_BOUNDS) {
            let problem = "it is missing: whether the newest records of evidence are there is not known";
            verification.findings.push(Finding::new(layout::EVIDENCE_BOUNDS, problem));
        }
        return;
    };
    for Predecessor { key, sha256 } in &found.ends {
        match log.sha256_of(key) {
            Some(hash) if hash == *sha256 => {}
            Some(_) => verification.findings.push(Finding::new(key, "it is not the record that was written")),
            // What is there and damaged has been found already.
            None if log.problems().contains_key(key) => {}
            None => verification.findings.push(Finding::new(key, "it is missing: it was the newest record")),
        }
    }
}

async fn check_descriptor(repository: &Repository, recorded: [u8; 32], verification: &mut Verification) -> Result<()> {
    verification.checked_objects += 1;
    let (_, found) = repository.hash(layout::DESCRIPTOR, |_| ()).await?;
    if found != recorded {
        let problem = "it is not what it was when the repository was created";
        verification.findings.push(Finding::new(layout::DESCRIPTOR, problem));
    }
    Ok(())
}

fn check_report(file: &ObjectRecord, stored: &Stored, verification: &mut Verification, to_read: &mut Vec<ToRead>) {
    verification.checked_objects += 1;
    match wrong_size(stored, file) {
        Some(problem) => verification.findings.push(Finding::new(&file.key, problem)),
        None => to_read.push(ToRead { backup: None, object: file.clone(), pack: None, slice: None }),
    }
}

/// A backup that is recorded as taken must be there.
async fn vanished(
    repository: &Repository,
    log: &EvidenceLog,
    stored: &Stored,
    verification: &mut Verification,
) -> Result<()> {
    for backup in history::kept(log.records()) {
        let key = layout::manifest(backup);
        // What was recorded while this looked, the listing does not show.
        if stored.contains_key(&key) || repository.has_backup(backup).await? {
            continue;
        }
        let problem = "it is missing: the backup is recorded as taken, and not as removed";
        verification.findings.push(Finding::of_backup(&key, backup, problem));
    }
    Ok(())
}
