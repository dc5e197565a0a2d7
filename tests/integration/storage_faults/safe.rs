//! What is safe in a repository, and whether it still is.

use regrow::format::layout;
use regrow::repository::Repository;

use super::place::{Objects, Place};

/// Every object of a repository that nothing may change: outside of `control/` nothing ever changes.
#[derive(Clone, Default)]
pub struct Safe(Objects);

impl Safe {
    pub async fn of(place: &Place) -> Self {
        let mut objects = place.objects().await;
        objects.retain(|key, _| !key.starts_with("control/"));
        Self(objects)
    }

    /// Keeps only what is in the other, too.
    pub fn retain(&mut self, other: &Self) {
        self.0.retain(|key, _| other.0.contains_key(key));
    }

    /// Returns what is there now, or says what is gone or changed, or why the repository cannot be used.
    pub async fn still_is(&self, place: &Place) -> Result<Self, String> {
        let now = Self::of(place).await;
        for (key, content) in &self.0 {
            match now.0.get(key) {
                Some(found) if found == content => {}
                Some(_) => return Err(format!("{key} was changed")),
                None => return Err(format!("{key} is gone")),
            }
        }
        let opened = Repository::open(place.store()).await.map_err(|error| format!("cannot be opened: {error}"))?;
        let listing = opened.list().await.map_err(|error| format!("cannot be listed: {error}"))?;
        opened.captured().await.map_err(|error| format!("the captured oplog cannot be told: {error}"))?;
        let damaged = listing.backups.into_iter().find_map(|backup| Some((backup.id, backup.manifest.err()?)));
        damaged.map_or(Ok(now), |(id, error)| Err(format!("{id}: {error}")))
    }

    /// Returns the ids of backups that have objects and no manifest.
    pub fn unfinished(&self) -> Vec<String> {
        let ids = self.0.keys().filter_map(|key| layout::backup_of(key));
        let mut unfinished: Vec<String> =
            ids.filter(|id| !self.0.contains_key(&layout::manifest(id))).map(|id| id.to_string()).collect();
        unfinished.dedup();
        unfinished
    }
}
