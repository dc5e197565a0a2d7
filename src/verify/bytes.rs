//! Every byte: read again and hashed. Needs no key.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{PARALLEL_READS, ToRead, Verification};
use crate::codec::sha256;
use crate::error::{Error, Kind, Result};
use crate::format::manifest::PackRecord;
use crate::progress::{PartProgress, Progress, Step};
use crate::repository::Repository;

/// How many damaged segments one finding names.
const MAX_NAMED_SEGMENTS: usize = 10;

/// Reads objects and holds their hashes against the recorded ones.
pub(super) async fn check(
    repository: &Repository,
    to_read: Vec<ToRead>,
    progress: &Progress,
    verification: &mut Verification,
) -> Result<()> {
    progress.expect(to_read.iter().map(|item| item.object.size).sum());
    let mut checks = stream::iter(to_read)
        .map(|item| async move {
            let part = progress.part(item.object.key.clone(), item.object.size);
            part.step(Step::Reading);
            let problem = object(repository, &item, &part).await?;
            Ok::<_, Error>((item, problem))
        })
        .buffer_unordered(PARALLEL_READS);
    while let Some((item, problem)) = checks.try_next().await? {
        verification.checked_bytes += item.object.size;
        verification.findings.extend(problem.map(|problem| item.finding(problem)));
    }
    Ok(())
}

/// Returns what is wrong with an object's bytes, if anything is.
async fn object(repository: &Repository, item: &ToRead, progress: &PartProgress) -> Result<Option<String>> {
    let (size, hash) = match repository.hash(&item.object.key, |bytes| progress.add(0, bytes, bytes)).await {
        Ok(hashed) => hashed,
        Err(error) if error.kind() == Kind::NotFound => return gone(repository, item).await,
        Err(error) => return Err(error),
    };
    if (size, hash) == (item.object.size, item.object.sha256) {
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
        problem = format!("{problem}; damaged segments, {count} of {all}: {}{more}", named.join(", "));
    }
    Ok(Some(problem))
}

/// An object that was listed is gone. That is no damage where it has expired meanwhile.
async fn gone(repository: &Repository, item: &ToRead) -> Result<Option<String>> {
    let has_expired = match (&item.backup, &item.slice) {
        (Some(id), _) => match repository.manifest(id).await {
            Err(error) if error.kind() == Kind::NotFound => true,
            Err(error) if error.kind() != Kind::Damaged => return Err(error),
            _ => false,
        },
        (None, Some((timeline, range))) => {
            repository.oplog_bounds(timeline).await?.is_some_and(|bounds| range.end <= bounds.begin)
        }
        (None, None) => false,
    };
    Ok((!has_expired).then(|| "it is missing".into()))
}

async fn damaged_segments(repository: &Repository, pack: &PackRecord) -> Result<Vec<u64>> {
    let mut damaged = Vec::new();
    for segment in &pack.segments {
        let range = segment.offset..segment.offset + segment.size;
        let bytes = repository.storage().read(&pack.object.key, Some(range)).await?;
        if sha256(&bytes) != segment.sha256 {
            damaged.push(segment.n);
        }
    }
    Ok(damaged)
}
