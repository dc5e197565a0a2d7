//! Re-reading what is stored and holding it against what was recorded. Needs no key.
//!
//! Level `structure` asks only for listings, manifests and the records of the oplog; level `checksum` reads every byte.
//! Everything that is wrong becomes a [`Finding`] with the object's name; a check that could not be made is an error,
//! never a pass. Memory is bounded by [`PARALLEL_READS`] chunks.

mod oplog;

use std::collections::BTreeMap;
use std::str::FromStr;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::error::{Error, Kind, Result};
use crate::format::evidence::{self, Event, MAX_NAMED, Run, VerificationResult};
use crate::format::manifest::{Manifest, ObjectRecord, PackRecord};
use crate::format::{BackupId, layout};
use crate::progress::Progress;
use crate::repository::Repository;

/// How many objects are read at once.
const PARALLEL_READS: usize = 2;

/// How many damaged segments one finding names.
const MAX_NAMED_SEGMENTS: usize = 10;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every object exists with the recorded size; every manifest is signed.
    Structure,
    /// And every byte hashes to what was recorded.
    Checksum,
}

impl Level {
    /// Returns the word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Checksum => "checksum",
        }
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "structure" => Ok(Self::Structure),
            "checksum" => Ok(Self::Checksum),
            _ => Err(Error::new(Kind::Usage, format!("'{text}' is no level of verification"))
                .with_hint("use structure or checksum")),
        }
    }
}

/// Something that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object's key.
    pub object: String,
    /// The backup that needs it; none for what belongs to the captured oplog.
    pub backup: Option<BackupId>,
    /// What is wrong.
    pub problem: String,
}

impl Finding {
    fn of_oplog(object: &str, problem: String) -> Self {
        Self { object: object.to_owned(), backup: None, problem }
    }
}

/// The outcome of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// The backups that were checked.
    pub backups: Vec<BackupId>,
    /// Whether that is everything, the captured oplog too.
    pub everything: bool,
    /// How many objects.
    pub checked_objects: u64,
    /// How many bytes were read; 0 at level `structure`.
    pub checked_bytes: u64,
    /// What is wrong; empty when everything is as recorded.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// Returns what is recorded of it as evidence.
    #[must_use]
    pub fn event(&self, run: Run, level: Level) -> Event {
        let is_damaged = |id: &BackupId| self.findings.iter().any(|finding| finding.backup.as_ref() == Some(id));
        let (damaged, sound) = self.backups.iter().cloned().partition(is_damaged);
        let of_oplog = self.findings.iter().filter(|finding| finding.backup.is_none());
        let named = self.findings.iter().take(MAX_NAMED);
        let result = VerificationResult {
            level: level.as_str().into(),
            everything: self.everything,
            subset: None,
            sound,
            damaged,
            checked_objects: self.checked_objects,
            checked_bytes: self.checked_bytes,
            findings: self.findings.len() as u64,
            oplog_findings: of_oplog.count() as u64,
            named: named
                .map(|finding| evidence::Finding { object: finding.object.clone(), problem: finding.problem.clone() })
                .collect(),
        };
        Event::Verification { run, result }
    }
}

/// Checks `backups`, or all of them and the captured oplog when none is named.
///
/// # Errors
/// Whatever the storage says: a check that could not be made is no result.
pub async fn verify(
    repository: &Repository,
    backups: &[BackupId],
    level: Level,
    progress: &Progress,
) -> Result<Verification> {
    let stored = repository.storage().list(layout::BACKUPS).await?;
    let stored: BTreeMap<String, u64> = stored.into_iter().map(|entry| (entry.key, entry.size)).collect();
    let mut verification = Verification { everything: backups.is_empty(), ..Verification::default() };
    let mut to_read = Vec::new();
    for id in chosen(&stored, backups) {
        verification.backups.push(id.clone());
        verification.checked_objects += 1;
        match repository.manifest(&id).await {
            Ok(manifest) => to_read.extend(check_structure(&manifest, &stored, &mut verification)),
            Err(error) if error.kind() == Kind::Damaged => {
                verification.findings.push(Finding {
                    object: layout::manifest(&id),
                    backup: Some(id),
                    problem: error.to_string(),
                });
            }
            Err(error) => return Err(error),
        }
    }
    if backups.is_empty() {
        to_read.extend(oplog::check(repository, &mut verification).await?);
    }
    if level == Level::Checksum {
        check_bytes(repository, to_read, progress, &mut verification).await?;
    }
    verification.findings.sort_by(|a, b| a.object.cmp(&b.object));
    Ok(verification)
}

/// Returns the backups to check: the named ones, or all that are committed.
fn chosen(stored: &BTreeMap<String, u64>, backups: &[BackupId]) -> Vec<BackupId> {
    if !backups.is_empty() {
        return backups.to_vec();
    }
    let committed = stored.keys().filter_map(|key| layout::backup_of(key).filter(|id| *key == layout::manifest(id)));
    committed.collect()
}

/// An object that is there with the right size and whose bytes remain to be checked.
struct ToRead {
    backup: Option<BackupId>,
    object: ObjectRecord,
    pack: Option<PackRecord>,
    /// What its damage costs, where that is not the backup.
    lost: String,
}

/// Checks existence and size of everything a manifest names, and that nothing else lies in its folder.
fn check_structure(
    manifest: &Manifest,
    stored: &BTreeMap<String, u64>,
    verification: &mut Verification,
) -> Vec<ToRead> {
    let mut to_read = Vec::new();
    let mut find = |object: &str, problem: String| {
        verification.findings.push(Finding { object: object.to_owned(), backup: Some(manifest.id.clone()), problem });
    };
    let packs = manifest.packs.iter().map(|pack| (&pack.object, Some(pack)));
    for (object, pack) in packs.chain(std::iter::once((&manifest.catalog, None))) {
        verification.checked_objects += 1;
        match stored.get(&object.key) {
            None => find(&object.key, "it is missing".into()),
            Some(size) if *size != object.size => {
                find(&object.key, format!("it has {size} bytes instead of {}", object.size));
            }
            Some(_) => {
                let (backup, object) = (Some(manifest.id.clone()), object.clone());
                to_read.push(ToRead { backup, object, pack: pack.cloned(), lost: String::new() });
            }
        }
    }
    let folder = layout::backup(&manifest.id);
    let in_folder = stored.range(folder.clone()..).map(|(key, _)| key).take_while(|key| key.starts_with(&folder));
    for key in in_folder {
        if *key != layout::manifest(&manifest.id) && manifest.objects().all(|object| object.key != *key) {
            find(key, "its backup's manifest does not name it".into());
        }
    }
    to_read
}

async fn check_bytes(
    repository: &Repository,
    to_read: Vec<ToRead>,
    progress: &Progress,
    verification: &mut Verification,
) -> Result<()> {
    progress.expect(to_read.iter().map(|item| item.object.size).sum());
    let mut checks = stream::iter(to_read)
        .map(|item| async move {
            let problem = check_object(repository, &item).await?;
            Ok::<_, Error>((item, problem))
        })
        .buffer_unordered(PARALLEL_READS);
    while let Some((item, problem)) = checks.try_next().await? {
        verification.checked_bytes += item.object.size;
        progress.add(0, item.object.size, item.object.size);
        if let Some(mut problem) = problem {
            if !item.lost.is_empty() {
                problem = format!("{problem}; {}", item.lost);
            }
            verification.findings.push(Finding { object: item.object.key, backup: item.backup, problem });
        }
    }
    Ok(())
}

/// Returns what is wrong with an object's bytes, if anything is.
async fn check_object(repository: &Repository, item: &ToRead) -> Result<Option<String>> {
    let (size, sha256) = match repository.hash(&item.object.key).await {
        Ok(hashed) => hashed,
        Err(error) if error.kind() == Kind::NotFound => return Ok(Some("it is missing".into())),
        Err(error) => return Err(error),
    };
    if (size, sha256) == (item.object.size, item.object.sha256) {
        return Ok(None);
    }
    let damaged = match &item.pack {
        Some(pack) => damaged_segments(repository, pack).await?,
        None => Vec::new(),
    };
    let mut problem = "its SHA-256 is not the recorded one".to_owned();
    if !damaged.is_empty() {
        let named: Vec<String> = damaged.iter().take(MAX_NAMED_SEGMENTS).map(u64::to_string).collect();
        let more = if damaged.len() > named.len() { ", …" } else { "" };
        let (count, all) = (damaged.len(), item.pack.as_ref().map_or(0, |pack| pack.segments.len()));
        problem = format!("{problem}; {count} of {all} segments are damaged: {}{more}", named.join(", "));
    }
    Ok(Some(problem))
}

async fn damaged_segments(repository: &Repository, pack: &PackRecord) -> Result<Vec<u64>> {
    let mut damaged = Vec::new();
    for segment in &pack.segments {
        let range = segment.offset..segment.offset + segment.size;
        let bytes = repository.storage().read(&pack.object.key, Some(range)).await?;
        if crate::codec::sha256(&bytes) != segment.sha256 {
            damaged.push(segment.n);
        }
    }
    Ok(damaged)
}
