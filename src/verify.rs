//! Re-reading what is stored and holding it against what was recorded.
//!
//! Level `structure` asks only for listings and for what is signed; level `checksum` reads every byte; neither needs a key.
//! Level `content` also opens what is sealed, and counts and hashes every document. Everything that is wrong becomes a
//! [`Finding`] with the object's name and what it costs; a check that could not be made is an error, never a pass. A
//! repository in which others work meanwhile, and one in which others were killed, does not alarm. Memory is bounded by
//! [`PARALLEL_READS`] chunks, or segments at level `content`.

mod backups;
mod bytes;
mod content;
mod control;
mod costs;
mod evidence;
mod oplog;

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;

pub use costs::Costs;

use crate::codec::{Identities, sha256};
use crate::error::{Error, Kind, Result};
use crate::format::BackupId;
use crate::format::evidence::{self as recorded, Event, MAX_NAMED, Run, Subset, VerificationResult};
use crate::format::increment::ancestors;
use crate::format::manifest::{ObjectRecord, PackRecord};
use crate::format::oplog::Range;
use crate::format::{TimelineId, layout};
use crate::progress::Progress;
use crate::repository::Repository;

/// How many objects are read at once.
const PARALLEL_READS: usize = 2;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every object exists with the recorded size; everything that is to be signed is.
    Structure,
    /// And every byte hashes to what was recorded.
    Checksum,
    /// And every document is the one that was read.
    Content,
}

impl Level {
    /// Returns the word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Checksum => "checksum",
            Self::Content => "content",
        }
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "structure" => Ok(Self::Structure),
            "checksum" => Ok(Self::Checksum),
            "content" => Ok(Self::Content),
            _ => Err(Error::new(Kind::Usage, format!("'{text}' is no level of verification"))
                .with_hint("use structure, checksum or content")),
        }
    }
}

/// What is verified, and how.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The backups; none means all of them, and everything else that is stored.
    pub backups: Vec<BackupId>,
    /// How much is checked.
    pub level: Level,
    /// Of which part the bytes are read; none means all. The structure is always checked as a whole.
    pub subset: Option<Subset>,
    /// What opens backups, at level `content`.
    pub identities: Option<Identities>,
}

impl VerifyRequest {
    /// Returns the request to check everything without any key.
    #[must_use]
    pub fn everything(level: Level) -> Self {
        Self { backups: Vec::new(), level, subset: None, identities: None }
    }
}

/// Something that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object's key.
    pub object: String,
    /// The backup that needs it, if one does.
    pub backup: Option<BackupId>,
    /// What is wrong; names no namespace.
    pub problem: String,
    /// The collection whose documents are not those that were read, where that is known.
    pub namespace: Option<String>,
    /// What cannot be restored because of it.
    pub costs: Costs,
    /// The slice that cannot be read because of it.
    slice: Option<(TimelineId, Range)>,
}

impl Finding {
    fn new(object: &str, problem: impl Into<String>) -> Self {
        let (object, problem) = (object.to_owned(), problem.into());
        Self { object, backup: None, problem, namespace: None, costs: Costs::default(), slice: None }
    }

    fn of_backup(object: &str, backup: &BackupId, problem: impl Into<String>) -> Self {
        Self { backup: Some(backup.clone()), ..Self::new(object, problem) }
    }

    fn of_slice(object: &str, timeline: &TimelineId, range: Range, problem: impl Into<String>) -> Self {
        Self { slice: Some((timeline.clone(), range)), ..Self::new(object, problem) }
    }
}

/// The outcome of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// The backups that were checked.
    pub backups: Vec<BackupId>,
    /// Whether that is everything that is stored.
    pub everything: bool,
    /// Of which part the bytes were read; none: of everything.
    pub subset: Option<Subset>,
    /// How many objects.
    pub checked_objects: u64,
    /// How many bytes were read; 0 at level `structure`.
    pub checked_bytes: u64,
    /// What is wrong; empty when everything is as recorded.
    pub findings: Vec<Finding>,
    /// What each increment builds on.
    parents: BTreeMap<BackupId, BackupId>,
}

impl Verification {
    /// Returns what is recorded of it as evidence.
    #[must_use]
    pub fn event(&self, run: Run, level: Level) -> Event {
        let is_damaged = |id: &BackupId| {
            let found = |id: &BackupId| self.findings.iter().any(|finding| finding.backup.as_ref() == Some(id));
            found(id) || ancestors(&self.parents, id).any(found)
        };
        let (damaged, sound) = self.backups.iter().cloned().partition(is_damaged);
        let of_oplog = self.findings.iter().filter(|finding| finding.slice.is_some());
        // What damage costs is named first: the rest may not fit.
        let mut named: Vec<&Finding> = self.findings.iter().collect();
        named.sort_by_key(|finding| finding.slice.is_none());
        let named = named.into_iter().take(MAX_NAMED);
        let result = VerificationResult {
            level: level.as_str().into(),
            everything: self.everything,
            subset: self.subset,
            sound,
            damaged,
            checked_objects: self.checked_objects,
            checked_bytes: self.checked_bytes,
            findings: self.findings.len() as u64,
            oplog_findings: of_oplog.count() as u64,
            named: named
                .map(|finding| recorded::Finding { object: finding.object.clone(), problem: finding.problem.clone() })
                .collect(),
        };
        Event::Verification { run, result }
    }

    /// Turns damage into a finding; whatever else is wrong prevents the check. Returns what was found sound.
    fn note<T>(&mut self, object: &str, checked: Result<T>) -> Result<Option<T>> {
        self.checked_objects += 1;
        match checked {
            Ok(sound) => Ok(Some(sound)),
            Err(error) if error.kind() == Kind::Damaged => {
                self.findings.push(Finding::new(object, error.to_string()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// An object that is there with the right size and whose bytes remain to be checked.
struct ToRead {
    backup: Option<BackupId>,
    object: ObjectRecord,
    pack: Option<PackRecord>,
    slice: Option<(TimelineId, Range)>,
}

impl ToRead {
    fn finding(&self, problem: String) -> Finding {
        Finding { backup: self.backup.clone(), slice: self.slice.clone(), ..Finding::new(&self.object.key, problem) }
    }
}

/// The sizes of all stored objects, by key.
type Stored = BTreeMap<String, u64>;

/// Checks what is asked for at `now`.
///
/// # Errors
/// Whatever the storage says: a check that could not be made is no result.
/// [`Kind::Configuration`] when something is to be opened and no identity fits.
pub async fn verify(
    repository: &Repository,
    request: &VerifyRequest,
    now: Timestamp,
    progress: &Progress,
) -> Result<Verification> {
    let mut verification =
        Verification { everything: request.backups.is_empty(), subset: request.subset, ..Verification::default() };
    // Bounds before what they bound: others may add to it meanwhile.
    let bounds = control::Bounds::read(repository, &mut verification).await?;
    let stored: Stored =
        repository.storage().list("").await?.into_iter().map(|entry| (entry.key, entry.size)).collect();
    let (mut to_read, manifests) = backups::check(repository, &request.backups, &stored, &mut verification).await?;
    let mut slices = Vec::new();
    if verification.everything {
        evidence::check(repository, &bounds, &stored, now, &mut verification, &mut to_read).await?;
        slices = oplog::check(repository, &bounds, &stored, &mut verification).await?;
        to_read.extend(slices.iter().map(oplog::to_read));
        control::check(repository, &stored, &mut verification).await?;
    }
    let is_chosen = |key: &str| request.subset.is_none_or(|subset| part_of(key, subset.of) == subset.part);
    if request.level >= Level::Checksum {
        to_read.retain(|item| is_chosen(&item.object.key));
        bytes::check(repository, to_read, progress, &mut verification).await?;
    }
    if request.level == Level::Content {
        slices.retain(|slice| is_chosen(&slice.object.key));
        content::check(repository, request, &manifests, &slices, &is_chosen, &mut verification).await?;
    }
    costs::tell(repository, &stored, &manifests, &mut verification).await?;
    // A descriptor that was exchanged explains all the others.
    verification.findings.sort_by_key(|finding| (finding.object != layout::DESCRIPTOR, finding.object.clone()));
    verification.findings.dedup_by(|a, b| a.object == b.object && a.problem == b.problem);
    Ok(verification)
}

/// Returns which of `of` parts an object belongs to, from 1: its key says, so it is always the same.
fn part_of(key: &str, of: u32) -> u32 {
    let hash = sha256(key.as_bytes());
    let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    number % of.max(1) + 1
}

/// Returns how an object differs in size, if it does.
fn wrong_size(stored: &Stored, object: &ObjectRecord) -> Option<String> {
    match stored.get(&object.key) {
        None => Some("it is missing".into()),
        Some(size) if *size != object.size => Some(format!("it has {size} bytes instead of {}", object.size)),
        Some(_) => None,
    }
}

/// Whether a key is that of a backup's manifest.
fn manifest_of(key: &str) -> Option<BackupId> {
    layout::backup_of(key).filter(|id| key == layout::manifest(id))
}
