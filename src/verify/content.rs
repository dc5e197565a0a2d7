//! What is sealed: opened, and every document counted and hashed. Whatever is damaged, the rest is looked at all the same.

use futures_util::{StreamExt, stream};

use super::{Finding, PARALLEL_READS, Verification, VerifyRequest};
use crate::codec::ContentDigest;
use crate::error::{Error, Kind, Result};
use crate::format::catalog::{Catalog, CollectionRecord, SegmentRef};
use crate::format::manifest::Manifest;
use crate::format::oplog::{Range, SliceRecord};
use crate::format::segment::Walk;
use crate::operations::entry_time;
use crate::repository::{Repository, SegmentReader};

/// Opens backups and slices and holds their documents against what was recorded when they were read.
pub(super) async fn check(
    repository: &Repository,
    request: &VerifyRequest,
    manifests: &[Manifest],
    slices: &[SliceRecord],
    is_chosen: &(impl Fn(&str) -> bool + Sync),
    verification: &mut Verification,
) -> Result<()> {
    for manifest in manifests {
        let segments = repository.own_segments(manifest, request.identities.as_ref())?;
        let catalog = match repository.own_catalog(manifest, request.identities.as_ref()).await {
            Err(error) if error.kind() == Kind::Damaged => {
                let key = &manifest.catalog.key;
                verification.findings.push(Finding::of_backup(key, &manifest.id, error.to_string()));
                continue;
            }
            catalog => catalog?,
        };
        backup(manifest, &catalog, &segments, is_chosen, verification).await?;
    }
    for record in slices {
        let entries = repository.slice_entries(record, request.identities.clone()).await;
        let checked = entries.and_then(|entries| check_entries(record, &entries));
        if let Some(problem) = damage(checked)? {
            let range = Range { begin: record.begin, end: record.end };
            verification.findings.push(Finding::of_slice(&record.object.key, &record.timeline, range, problem));
        }
    }
    Ok(())
}

/// Checks every collection of a backup of which all segments lie in packs that were chosen.
async fn backup(
    manifest: &Manifest,
    catalog: &Catalog,
    segments: &SegmentReader,
    is_chosen: &(impl Fn(&str) -> bool + Sync),
    verification: &mut Verification,
) -> Result<()> {
    let pack_of = |number: u64| {
        let holds =
            |pack: &&crate::format::manifest::PackRecord| pack.segments.iter().any(|segment| segment.n == number);
        manifest.packs.iter().find(holds).map(|pack| pack.object.key.as_str())
    };
    for record in &catalog.collections {
        let mut digest = ContentDigest::default();
        let (mut is_whole, mut is_damaged) = (true, false);
        let chosen: Vec<SegmentRef> =
            record.segments.iter().filter(|segment| pack_of(segment.n).is_some_and(is_chosen)).copied().collect();
        is_whole &= chosen.len() == record.segments.len();
        let opened = stream::iter(chosen).map(|segment| async move { (segment, open(segments, segment).await) });
        let mut opened = std::pin::pin!(opened.buffer_unordered(PARALLEL_READS));
        while let Some((segment, found)) = opened.next().await {
            match found {
                Ok(found) => digest.merge(&found),
                Err(error) if error.kind() == Kind::Damaged => {
                    is_damaged = true;
                    let key = pack_of(segment.n).unwrap_or(&manifest.catalog.key);
                    let finding = Finding::of_backup(key, &manifest.id, error.to_string());
                    verification.findings.push(Finding { namespace: Some(record.namespace()), ..finding });
                }
                Err(error) => return Err(error),
            }
        }
        let is_as_read = (digest.documents, digest.to_bytes()) == (record.documents, record.digest);
        if is_whole && !is_damaged && !is_as_read {
            verification.findings.push(not_as_read(manifest, record, pack_of(first(record))));
        }
    }
    touched(manifest, catalog, segments, verification).await?;
    own_oplog(manifest, catalog, segments, verification).await
}

/// Checks the `_id`s that an increment names as touched.
async fn touched(
    manifest: &Manifest,
    catalog: &Catalog,
    segments: &SegmentReader,
    verification: &mut Verification,
) -> Result<()> {
    for record in &catalog.collections {
        for segment in record.changes.iter().flat_map(|changes| &changes.touched) {
            let checked = open(segments, *segment).await.map(drop);
            if let Some(problem) = damage(checked)? {
                let finding = Finding::of_backup(&manifest.catalog.key, &manifest.id, problem);
                verification.findings.push(Finding { namespace: Some(record.namespace()), ..finding });
            }
        }
    }
    Ok(())
}

fn first(record: &CollectionRecord) -> u64 {
    record.segments.first().map_or(0, |segment| segment.n)
}

/// Returns the finding about a collection whose segments are each as they were sealed, and together not what was read.
fn not_as_read(manifest: &Manifest, record: &CollectionRecord, pack: Option<&str>) -> Finding {
    let problem = "the documents of one collection are not those that were read";
    let finding = Finding::of_backup(pack.unwrap_or(&manifest.catalog.key), &manifest.id, problem);
    Finding { namespace: Some(record.namespace()), ..finding }
}

async fn open(segments: &SegmentReader, segment: SegmentRef) -> Result<ContentDigest> {
    let (bytes, _) = segments.read(segment.n).await?;
    let digested = tokio::task::spawn_blocking(move || {
        let mut digest = ContentDigest::default();
        for document in Walk::new(&bytes) {
            digest.add([document?.as_bytes()]);
        }
        Ok::<_, Error>((digest, bytes.len() as u64))
    });
    let (digest, bytes) =
        digested.await.map_err(|error| Error::failed("hashing documents failed").caused_by(error))??;
    if (digest.documents, bytes) != (segment.documents, segment.bytes) {
        return Err(Error::damaged(format!("segment {} does not hold what the catalog says", segment.n)));
    }
    Ok(digest)
}

/// Checks the oplog that belongs to a backup.
async fn own_oplog(
    manifest: &Manifest,
    catalog: &Catalog,
    segments: &SegmentReader,
    verification: &mut Verification,
) -> Result<()> {
    for segment in catalog.oplog.iter().flat_map(|oplog| &oplog.segments) {
        let range = Range { begin: segment.begin, end: segment.end };
        let opened = segments.read(segment.n).await;
        let checked = opened.and_then(|(entries, _)| check_run(range, segment.entries, &entries));
        if let Some(problem) = damage(checked)? {
            verification.findings.push(Finding::of_backup(&manifest.catalog.key, &manifest.id, problem));
        }
    }
    Ok(())
}

fn check_entries(record: &SliceRecord, entries: &[u8]) -> Result<()> {
    check_run(Range { begin: record.begin, end: record.end }, record.entries, entries)
}

/// Checks that entries follow each other, behind the begin of a range and up to its end.
fn check_run(range: Range, count: u64, entries: &[u8]) -> Result<()> {
    let wrong = |what: &str| Error::damaged(format!("its entries are not those that it names: {what}"));
    let (mut last, mut found) = (range.begin, 0);
    for entry in Walk::new(entries) {
        let time = entry_time(entry?)?;
        if time <= last {
            return Err(wrong("they are out of order"));
        }
        (last, found) = (time, found + 1);
    }
    if last != range.end || found != count {
        return Err(wrong("some are missing, or too many are there"));
    }
    Ok(())
}

/// Returns what is damaged, if anything is; whatever else is wrong prevents the check.
fn damage(checked: Result<()>) -> Result<Option<String>> {
    match checked {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == Kind::Damaged => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}
