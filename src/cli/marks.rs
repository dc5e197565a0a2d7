//! What is said about backups after they were taken: which are held, and which have expired.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Session;
use super::output::time;
use crate::error::{Error, Result};
use crate::format::BackupId;
use crate::format::mark::{Mark, MarkKind};
use crate::policy::retention::GRACE;
use crate::repository::Repository;

/// The marks of a repository, or of one backup.
pub(super) struct Marks {
    held: BTreeMap<BackupId, Mark>,
    expired: BTreeMap<BackupId, Mark>,
    /// Why some are not known. Backups can be listed and restored all the same.
    problems: Vec<Error>,
}

impl Marks {
    pub(super) async fn read(repository: &Repository) -> Self {
        Self::new(repository.marks(MarkKind::Hold).await, repository.marks(MarkKind::Expired).await)
    }

    /// Reads only what is said about one backup.
    pub(super) async fn about(repository: &Repository, id: &BackupId) -> Self {
        let named = |mark: Option<Mark>| mark.into_iter().map(|mark| (id.clone(), mark)).collect();
        let held = repository.mark(MarkKind::Hold, id).await.map(named);
        Self::new(held, repository.mark(MarkKind::Expired, id).await.map(named))
    }

    fn new(held: Result<BTreeMap<BackupId, Mark>>, expired: Result<BTreeMap<BackupId, Mark>>) -> Self {
        let mut problems = Vec::new();
        let mut known = |marks: Result<_>| marks.map_err(|error| problems.push(error)).unwrap_or_default();
        let (held, expired) = (known(held), known(expired));
        Self { held, expired, problems }
    }

    /// Whether a backup has expired.
    pub(super) fn has_expired(&self, id: &BackupId) -> bool {
        self.expired.contains_key(id)
    }

    /// Adds to a backup's JSON whether it is held or has expired.
    pub(super) fn add_to(&self, backup: &mut Value, id: &BackupId) {
        backup["held"] = self.held.contains_key(id).into();
        if self.has_expired(id) {
            backup["state"] = "expired".into();
        }
    }

    pub(super) fn say(&self, session: &Session) {
        for (id, mark) in &self.held {
            let reason = if mark.reason.is_empty() { String::new() } else { format!(": {}", mark.reason) };
            session.say(format_args!("note: {id} is under hold since {}{reason}", time(mark.placed_at)));
        }
        for (id, mark) in &self.expired {
            let end = time(mark.placed_at + GRACE);
            session.say(format_args!("note: {id} has expired; until {end} 'regrow undelete' brings it back"));
        }
        for problem in &self.problems {
            session.say(format_args!("warning: what is held or has expired is not known: {problem}"));
        }
    }
}
