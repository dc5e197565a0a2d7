//! The way to what is to be restored: which backup, and what of the captured oplog on top of it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Entries, Recovery};
use crate::codec::Identities;
use crate::error::{Error, Result};
use crate::format::catalog::Catalog;
use crate::format::increment::ancestors;
use crate::format::manifest::Manifest;
use crate::format::oplog::Range;
use crate::format::{BackupId, ClusterTime};
use crate::policy::history::{OplogDamage, Soundness};
use crate::progress::Progress;
use crate::repository::{
    CapturedTimeline, Listing, Repository, Route, SegmentReader, SliceReader, Stretch, Unreachable, reach,
    recovery_window, routes, sound_oplog,
};
use crate::units::Moment;

/// A backup to restore, the captured oplog to replay on top of it, and the moment to get to.
#[derive(Debug, Clone)]
pub struct Way {
    /// The backup.
    pub manifest: Manifest,
    /// What is replayed on top of it; none where the backup itself is asked for, or shows the moment.
    pub captured: Option<SliceReader>,
    /// The moment; none where the backup shows no single one.
    pub to: Option<ClusterTime>,
    /// What people should hear of it.
    pub remarks: Remarks,
}

/// What people should hear of a way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Backups whose manifests are not to be believed, each with why.
    pub unreadable: Vec<(BackupId, String)>,
    /// Newer backups that are known to be damaged and were passed over for it, each with since when that is known.
    pub passed_over: Vec<(BackupId, Timestamp)>,
    /// Since when the backup itself is known to be damaged.
    pub damaged_since: Option<Timestamp>,
    /// What of it: a backup that it builds on; none where it is damaged itself.
    pub damaged_ancestor: Option<BackupId>,
    /// Another backup, not known to be damaged, from which a way leads to the same moment.
    pub other: Option<BackupId>,
    /// The newest other backup of everything that nothing is known against.
    pub sound: Option<BackupId>,
    /// How far the captured oplog leads on from a backup that is restored alone, if it does.
    pub leads_on: Option<LeadsOn>,
}

/// How far the captured oplog leads on from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeadsOn {
    /// Up to here.
    pub to: ClusterTime,
    /// Whether no other moment that can be restored is newer.
    pub is_newest: bool,
}

/// The ways that lead through a repository.
pub struct Ways<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// What opens the captured oplog.
    pub identities: Option<Identities>,
    /// What verifications have found: no way leads over damaged slices, and none begins at a damaged backup while another one
    /// leads there.
    pub soundness: Soundness,
    /// The time.
    pub now: Timestamp,
}

impl Ways<'_> {
    /// Finds the way to a backup: the moment that it shows.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when there is no such backup, [`Kind::Damaged`](crate::error::Kind::Damaged) when its manifest
    /// was altered.
    pub async fn to_backup(&self, name: &str) -> Result<Way> {
        let manifest = self.repository.manifest(&self.repository.resolve(name).await?).await?;
        // What else there is makes only remarks: where it cannot be read, the backup can.
        let remarks = match self.known().await {
            Ok(known) => {
                let against = known.against(&manifest);
                // To replay on top of what is damaged takes what is damaged, too.
                let leads_on = Some(&known).filter(|_| against.damaged_since.is_none());
                Remarks { leads_on: leads_on.and_then(|known| known.leads_on_from(&manifest)), ..against }
            }
            Err(_) => {
                Remarks { damaged_since: self.soundness.damaged.get(&manifest.id).copied(), ..Remarks::default() }
            }
        };
        Ok(Way { to: manifest.cluster_time, manifest, captured: None, remarks })
    }

    /// Finds the way to a moment: from the newest backup that leads there and is not known to be damaged, or from the one
    /// that `from` names.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when there is none; it says which moments there is a way to.
    pub async fn to_moment(&self, to: ClusterTime, from: Option<&str>) -> Result<Way> {
        self.lead(&self.known().await?, to, from).await
    }

    /// Finds the way to the newest moment that can be restored; to the newest backup, where none shows a moment.
    ///
    /// # Errors
    /// As those of the others.
    pub async fn to_newest(&self, from: Option<&str>) -> Result<Way> {
        let known = self.known().await?;
        let base = match from {
            Some(name) => Some(self.repository.resolve(name).await?),
            None => None,
        };
        let all = known.manifests().filter(|manifest| base.as_ref().is_none_or(|base| *base == manifest.id));
        let (damaged, sound): (Vec<_>, Vec<_>) = all.partition(|manifest| known.is_damaged(&manifest.id));
        let end = |backups: &[&Manifest]| known.window_of(backups).last().map(|range| range.end);
        let Some(to) = end(&sound).or_else(|| end(&damaged)) else {
            return self.to_backup(from.unwrap_or("latest")).await;
        };
        let mut way = self.lead(&known, to, from).await?;
        let is_behind = |manifest: &&&Manifest| !manifest.partial && manifest.cluster_time > Some(to);
        way.remarks
            .passed_over
            .splice(0..0, damaged.iter().filter(is_behind).filter_map(|manifest| known.found(&manifest.id)));
        Ok(way)
    }

    /// Returns the moments to which ways lead that nothing is known against.
    ///
    /// # Errors
    /// Whatever the storage says; [`Kind::Damaged`](crate::error::Kind::Damaged) when a record of the oplog was altered.
    pub async fn window(&self) -> Result<Vec<Range>> {
        let known = self.known().await?;
        let sound: Vec<&Manifest> = known.manifests().filter(|manifest| !known.is_damaged(&manifest.id)).collect();
        Ok(known.window_of(&sound))
    }

    async fn lead(&self, known: &Known, to: ClusterTime, from: Option<&str>) -> Result<Way> {
        let readable: Vec<&Manifest> = known.manifests().collect();
        let routes = routes(&readable, &known.captured, to)
            .map_err(|nearest| no_way_to(to, nearest, self.now, known.soundness.oplog_damage.as_ref()))?;
        let is_sound = |route: &&Route<'_>| !known.is_damaged(&route.backup.id);
        let best = routes.iter().find(is_sound).or(routes.first());
        let chosen = match from {
            Some(name) => {
                let base = self.repository.manifest(&self.repository.resolve(name).await?).await?;
                let found = routes.iter().find(|route| route.backup.id == base.id);
                Some(found.ok_or_else(|| leads_elsewhere(&base, to, best))?)
            }
            None => best,
        };
        let route = chosen.ok_or_else(|| Error::not_found(format!("no backup leads to {to}")))?;
        let newer = routes.iter().take_while(|other| other.backup.id != route.backup.id);
        let others = routes.iter().filter(is_sound).map(|other| &other.backup.id);
        let remarks = Remarks {
            unreadable: known.unreadable(),
            passed_over: newer.filter(|_| from.is_none()).filter_map(|other| known.found(&other.backup.id)).collect(),
            other: others.into_iter().find(|id| known.are_apart(id, &route.backup.id)).cloned(),
            ..known.against(route.backup)
        };
        let captured = match &route.oplog {
            Some(Stretch { timeline, slices }) => {
                Some(self.repository.slices(timeline, slices, self.identities.clone()).await?)
            }
            None => None,
        };
        Ok(Way { manifest: route.backup.clone(), captured, to: Some(to), remarks })
    }

    async fn known(&self) -> Result<Known> {
        let (listing, captured) = (self.repository.list().await?, self.repository.captured().await?);
        let parents = listing.parents();
        let soundness = self.soundness.clone().spread(&parents);
        let captured = sound_oplog(&captured, soundness.oplog_damage.as_ref());
        Ok(Known { listing, parents, captured, soundness })
    }
}

/// What a repository holds, and what is known against it.
struct Known {
    listing: Listing,
    parents: BTreeMap<BackupId, BackupId>,
    /// Without what is known to be damaged.
    captured: Vec<CapturedTimeline>,
    soundness: Soundness,
}

impl Known {
    /// Returns the manifests that can be believed, the newest first.
    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.listing.manifests()
    }

    fn unreadable(&self) -> Vec<(BackupId, String)> {
        let unreadable =
            self.listing.backups.iter().filter_map(|backup| Some((backup, backup.manifest.as_ref().err()?)));
        unreadable.map(|(backup, error)| (backup.id.clone(), error.to_string())).collect()
    }

    fn is_damaged(&self, id: &BackupId) -> bool {
        self.soundness.damaged.contains_key(id)
    }

    /// Returns a backup that is known to be damaged, and since when.
    fn found(&self, id: &BackupId) -> Option<(BackupId, Timestamp)> {
        self.soundness.damaged.get(id).map(|since| (id.clone(), *since))
    }

    /// Says what is known against a backup, and which one nothing is known against.
    fn against(&self, manifest: &Manifest) -> Remarks {
        let is_sound = |other: &&Manifest| {
            !other.partial && !self.is_damaged(&other.id) && self.are_apart(&other.id, &manifest.id)
        };
        let damaged = ancestors(&self.parents, &manifest.id).filter(|id| self.is_damaged(id));
        Remarks {
            damaged_since: self.soundness.damaged.get(&manifest.id).copied(),
            damaged_ancestor: damaged.last().cloned(),
            sound: self.manifests().find(is_sound).map(|other| other.id.clone()),
            ..Remarks::default()
        }
    }

    /// Whether two backups have nothing in common: what damages one does not damage the other.
    fn are_apart(&self, one: &BackupId, other: &BackupId) -> bool {
        let chain = |id| std::iter::once(id).chain(ancestors(&self.parents, id));
        let of_one: Vec<&BackupId> = chain(one).collect();
        chain(other).all(|id| !of_one.contains(&id))
    }

    fn window_of(&self, backups: &[&Manifest]) -> Vec<Range> {
        recovery_window(backups.iter().copied(), &self.captured)
    }

    fn leads_on_from(&self, backup: &Manifest) -> Option<LeadsOn> {
        let to = reach(backup, &self.captured).filter(|range| range.end > range.begin)?.end;
        let all: Vec<&Manifest> = self.manifests().collect();
        let is_newest = self.window_of(&all).last().is_none_or(|range| range.end <= to);
        Some(LeadsOn { to, is_newest })
    }
}

impl Way {
    /// Reads ahead what is replayed; none where nothing is.
    ///
    /// # Errors
    /// As those of [`Recovery::survey`].
    pub async fn survey(
        &self,
        segments: &SegmentReader,
        catalog: &Catalog,
        progress: &Progress,
    ) -> Result<Option<Recovery>> {
        match (Entries::new(catalog.oplog.as_ref(), segments, self.captured.clone()), self.to) {
            (Some(entries), Some(to)) => {
                Recovery::survey(entries, &self.manifest, catalog, to, progress).await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Says why the backup that was named leads not to a moment, and which one does.
fn leads_elsewhere(base: &Manifest, to: ClusterTime, best: Option<&Route<'_>>) -> Error {
    let reason = match base.cluster_time {
        _ if base.partial => "it holds only a part of the data",
        None => "it shows no single moment",
        Some(at) if at > to => "it shows a later moment",
        Some(_) => "the captured oplog does not lead on from it up to there",
    };
    let hint = best.map_or_else(
        || "'regrow list' shows what can be restored".to_owned(),
        |best| format!("leave out --from, or begin with {}, which leads there", best.backup.id),
    );
    Error::not_found(format!("cannot restore {} from {}: {reason}", in_words(to), base.id)).with_hint(hint)
}

/// Returns a moment as people ask for it.
fn in_words(to: ClusterTime) -> String {
    if to.i == u32::MAX {
        format!("all of {}", Moment(to.wall()))
    } else {
        format!("{} (cluster time {to})", Moment(to.wall()))
    }
}

fn no_way_to(to: ClusterTime, nearest: Unreachable, now: Timestamp, damage: Option<&OplogDamage>) -> Error {
    let asked = in_words(to);
    let found = damage.map(|damage| {
        format!("a part of the captured oplog is damaged, as the verification of {} found", Moment(damage.since))
    });
    let reason = match nearest {
        _ if to.wall() > now => "it lies in the future",
        Unreachable { before: Some(_), .. } if found.is_some() => found.as_deref().unwrap_or_default(),
        Unreachable { before: None, behind: None } => "there is no backup that shows one moment",
        Unreachable { before: None, .. } => "it lies before the first backup",
        Unreachable { behind: None, .. } => "the oplog has not been captured up to there",
        Unreachable { .. } => "the oplog behind the backup before it is not whole up to there",
    };
    let exact = |at: ClusterTime| format!("--at {at} ({})", Moment(at.wall()));
    let hint = match (nearest.before.map(exact), nearest.behind.map(exact)) {
        (Some(before), Some(behind)) => format!("the nearest moments that can be restored: {before} and {behind}"),
        (Some(only), None) | (None, Some(only)) => format!("the nearest moment that can be restored: {only}"),
        (None, None) => "take one with 'regrow backup'".into(),
    };
    Error::not_found(format!("cannot restore {asked}: {reason}")).with_hint(hint)
}
