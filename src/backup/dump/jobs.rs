//! What waits to be read, cut so that no reader is left without work.

use std::collections::VecDeque;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::changes::TouchedPart;
use super::super::checkpoint::{Checkpoints, begin_behind, digest_of};
use super::super::plan::{BackupPlan, PlannedNamespace};
use super::super::run::Begin;
use crate::codec::ContentDigest;
use crate::error::Result;
use crate::format::checkpoint::Parts;
use crate::mongo::by_id::Lookup;
use crate::mongo::parts::{Part, split};
use crate::mongo::read::{Reading, SnapshotLoss};
use crate::progress::{PartProgress, Progress};

/// The most parts of one collection.
const MAX_PARTS: u64 = 1024;

/// A part of a collection that waits to be read.
pub(super) struct Job {
    pub collection: usize,
    pub part: usize,
    pub what: What,
    /// Where it begins, where another run has stored something of it.
    pub begin: Begin,
    pub progress: PartProgress,
}

/// What of a collection is read.
pub(super) enum What {
    /// A stretch of it.
    Stretch(Reading),
    /// The documents with some of its touched `_id`s.
    Touched(TouchedPart),
}

/// Returns all parts: those of capped collections first, soon after the backup's moment, which they do not show; then
/// those of the largest collections, so that no large one is read last and alone.
pub(super) async fn jobs(
    plan: &BackupPlan,
    (readers, part_bytes): (usize, u64),
    loss: Option<&SnapshotLoss>,
    progress: &Progress,
    checkpoints: &mut Checkpoints,
) -> Result<VecDeque<Job>> {
    let order: Vec<usize> =
        (0..plan.namespaces.len()).filter(|&at| plan.namespaces[at].namespace.has_documents()).collect();
    let (touched, mut order): (Vec<_>, Vec<_>) = order.into_iter().partition(|&at| plan.changes(at).is_some());
    order.sort_by_key(|&at| std::cmp::Reverse(plan.namespaces[at].bytes));
    let (capped, order): (Vec<_>, Vec<_>) =
        order.into_iter().partition(|&at| plan.namespaces[at].namespace.is_ordered());
    let parts = parts_of(order.iter().map(|&at| plan.namespaces[at].bytes).collect(), readers, part_bytes);
    let split = stream::iter(capped.into_iter().map(|at| (at, 1)).chain(order.into_iter().zip(parts)));
    let noted = &*checkpoints;
    let split = split
        .map(|(collection, parts)| split_into_jobs(plan, collection, parts, loss, (progress, noted)))
        .buffered(readers);
    let split: Vec<(Parts, Vec<Job>)> = split.try_collect().await?;
    let (parts, jobs): (Vec<_>, Vec<_>) = split.into_iter().unzip();
    checkpoints.begin(parts.into_iter().filter(|parts| parts.parts.len() > 1).collect(), loss);
    let touched = touched.into_iter().flat_map(|at| touched_jobs(plan, at, readers, progress));
    Ok(jobs.into_iter().flatten().chain(touched).collect())
}

/// Returns the parts in which the touched documents of a collection are read; none where none was.
fn touched_jobs(plan: &BackupPlan, collection: usize, readers: usize, progress: &Progress) -> Vec<Job> {
    let (Some(at), Some(ids)) = (plan.at, plan.changes(collection)) else { return Vec::new() };
    let planned = &plan.namespaces[collection];
    let (namespace, document_bytes) = (&planned.namespace, planned.document_bytes());
    let (node, db, name) = (plan.node.clone(), namespace.db.clone(), namespace.name.clone());
    let lookup = Lookup { node, db, collection: name, uuid: namespace.uuid.unwrap_or_default(), at };
    let parts = TouchedPart::split(&lookup, ids, document_bytes, readers).into_iter().enumerate();
    let progress = progress.part(namespace.full_name(), ids.count() * document_bytes);
    let job = |(part, touched)| {
        let (what, progress) = (What::Touched(touched), progress.clone());
        Job { collection, part, what, begin: Begin::default(), progress }
    };
    parts.map(job).collect()
}

/// Returns in how many parts to read collections of these sizes, the largest first.
///
/// Whichever reader is free takes the next one. One that would keep its reader busy when the others have ended,
/// by more than a part, is cut.
fn parts_of(sizes: Vec<u64>, readers: usize, part_bytes: u64) -> Vec<u64> {
    let share = sizes.iter().sum::<u64>() / readers as u64;
    let mut loads = vec![0; readers];
    let parts = sizes.into_iter().map(|bytes| {
        if let Some(first) = loads.first_mut().filter(|first| **first + bytes <= share + part_bytes) {
            *first += bytes;
            loads.sort_unstable();
            return 1;
        }
        for load in &mut loads {
            *load += bytes / readers as u64;
        }
        (bytes / part_bytes.max(1)).clamp(1, MAX_PARTS)
    });
    parts.collect()
}

async fn split_into_jobs(
    plan: &BackupPlan,
    collection: usize,
    parts: u64,
    loss: Option<&SnapshotLoss>,
    (progress, checkpoints): (&Progress, &Checkpoints),
) -> Result<(Parts, Vec<Job>)> {
    let planned = &plan.namespaces[collection];
    let document_bytes = planned.document_bytes();
    let stretches = match checkpoints.parts(collection) {
        Some(resumed) => resumed,
        None => stretches(plan, planned, parts, loss).await?,
    };
    let as_noted = Parts {
        collection: i32::try_from(collection).unwrap_or(i32::MAX),
        parts: stretches.iter().map(Part::to_document).collect(),
    };
    let progress = progress.part(planned.namespace.full_name(), planned.bytes);
    let jobs = stretches.into_iter().enumerate().filter_map(|(part, stretch)| {
        let stored = checkpoints.of_part(collection, part);
        if let Some(stored) = stored {
            let ContentDigest { documents, bytes, .. } = digest_of(stored);
            progress.add(documents, bytes, 0);
        }
        if stored.is_some_and(|stored| stored.end.is_end) {
            return None;
        }
        let begin = stored.map(begin_behind).unwrap_or_default();
        let stretch = stretch.behind(begin.position.after.clone());
        let (as_of, or_later, uuid) = (plan.as_of(&planned.namespace), loss.cloned(), planned.namespace.uuid);
        let reading = Reading { as_of, or_later, uuid, part: stretch, document_bytes };
        Some(Job { collection, part, what: What::Stretch(reading), begin, progress: progress.clone() })
    });
    let jobs = jobs.collect();
    Ok((as_noted, jobs))
}

async fn stretches(
    plan: &BackupPlan,
    planned: &PlannedNamespace,
    parts: u64,
    loss: Option<&SnapshotLoss>,
) -> Result<Vec<Part>> {
    let namespace = &planned.namespace;
    match plan.at {
        Some(at) if parts > 1 && !namespace.is_ordered() => {
            match split(&plan.node, &namespace.db, &namespace.name, at, planned.documents, parts).await {
                // That moment may be gone already. Whatever else it is, reading will meet it again.
                Err(error) if loss.is_some() => {
                    tracing::info!(namespace = namespace.full_name(), %error, "reading in one part");
                    Ok(vec![Part::default()])
                }
                split => split,
            }
        }
        _ => Ok(vec![Part::default()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART_BYTES: u64 = 1000;

    #[test]
    fn only_what_would_leave_a_reader_without_work_is_cut() {
        let parts = |sizes: &[u64]| parts_of(sizes.iter().map(|size| size * PART_BYTES).collect(), 2, PART_BYTES);
        assert!(parts(&[]).is_empty());
        assert_eq!(parts(&[0]), [1]);
        assert_eq!(parts(&[1]), [1], "too small");
        assert_eq!(parts(&[8]), [8], "it is all there is");
        assert_eq!(parts(&[4, 3, 1]), [1, 1, 1], "they come out even");
        assert_eq!(parts(&[5, 5, 5]), [1, 1, 5], "the last one would be read alone");
        assert_eq!(parts(&[20, 3, 2]), [20, 1, 1], "the first one is most of it");
        assert_eq!(parts(&[10_000]), [MAX_PARTS]);
        assert_eq!(
            parts_of(vec![20 * PART_BYTES, 3 * PART_BYTES], 1, PART_BYTES),
            [1, 1],
            "one reader has work until the end"
        );
    }
}
