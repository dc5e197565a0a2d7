//! Accepted keys, and what lies in `control/`: bounds, lease, marks, alerts. What is there must be signed. That one of them is not there says
//! nothing, but for bounds; and nothing in a repository has a name that the format does not know.

use std::collections::BTreeMap;

use super::{Finding, Stored, Verification};
use crate::error::{Kind, Result};
use crate::format::TimelineId;
use crate::format::bounds::{EvidenceBounds, OplogBounds};
use crate::format::layout;
use crate::format::mark::MarkKind;
use crate::repository::Repository;

/// The bounds, as they were before anything else was read.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// None where there are none, or altered ones.
    pub(super) evidence: Option<EvidenceBounds>,
    pub(super) timelines: BTreeMap<TimelineId, OplogBounds>,
    /// Keys of those that are not to be believed.
    pub(super) altered: Vec<String>,
}

impl Bounds {
    pub(super) async fn read(repository: &Repository, verification: &mut Verification) -> Result<Self> {
        let mut bounds = Self::default();
        if !verification.everything {
            return Ok(bounds);
        }
        bounds.evidence = bounds.believed(layout::EVIDENCE_BOUNDS, repository.evidence_bounds().await, verification)?;
        for entry in repository.storage().list(layout::OPLOG_BOUNDS).await? {
            let Some(id) = layout::bounded_timeline(&entry.key) else { continue };
            let read = repository.oplog_bounds(&id).await;
            if let Some(found) = bounds.believed(&entry.key, read, verification)? {
                bounds.timelines.insert(id, found);
            }
        }
        Ok(bounds)
    }

    fn believed<T>(
        &mut self,
        key: &str,
        read: Result<Option<T>>,
        verification: &mut Verification,
    ) -> Result<Option<T>> {
        if read.as_ref().is_err_and(|error| error.kind() == Kind::Damaged) {
            self.altered.push(key.to_owned());
        }
        if let Ok(None) = read {
            return Ok(None);
        }
        Ok(verification.note(key, read)?.flatten())
    }
}

/// Checks what is signed in `control/`, and that nothing anywhere has a name that means nothing.
pub(super) async fn check(repository: &Repository, stored: &Stored, verification: &mut Verification) -> Result<()> {
    if stored.contains_key(layout::LEASE) {
        verification.note(layout::LEASE, repository.lease().await)?;
    }
    for id in stored.keys().filter_map(|key| layout::leased_backup(key)) {
        verification.note(&layout::backup_lease(&id), repository.backup_lease(&id).await)?;
    }
    if stored.contains_key(layout::ALERTS) {
        verification.note(layout::ALERTS, repository.said_alerts().await)?;
    }
    for key in stored.keys().filter(|key| layout::is_accepted_key(key)) {
        verification.note(key, repository.accepted_key(key).await)?;
    }
    for kind in [MarkKind::Hold, MarkKind::Expired] {
        for key in stored.keys() {
            if let Some(id) = layout::marked(kind, key) {
                verification.note(key, repository.mark(kind, &id).await)?;
            }
        }
    }
    for key in stored.keys().filter(|key| !is_known(key)) {
        verification.findings.push(Finding::new(key, "it is foreign: nothing in a repository has such a name"));
    }
    Ok(())
}

/// Whether a key is one that the format knows.
fn is_known(key: &str) -> bool {
    let is_mark = |kind| layout::marked(kind, key).is_some();
    key == layout::DESCRIPTOR
        || layout::backup_of(key).is_some()
        || layout::oplog_object(key).is_some()
        || layout::evidence_time(key).is_some()
        || layout::is_accepted_key(key)
        || key.starts_with(layout::REPORTS)
        || [layout::LEASE, layout::ALERTS, layout::EVIDENCE_BOUNDS].contains(&key)
        || layout::bounded_timeline(key).is_some()
        || layout::leased_backup(key).is_some()
        || key.starts_with(layout::PROBES)
        || is_mark(MarkKind::Hold)
        || is_mark(MarkKind::Expired)
}
