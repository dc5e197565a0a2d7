//! Where a capture begins, or goes on.

use jiff::SignedDuration;

use super::{CaptureContext, CaptureEvent};
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::oplog::{History, Timeline};
use crate::format::{ClusterTime, TimelineId, VERSION};
use crate::mongo::oplog::{self, SourceHistory};
use crate::mongo::{Node, oplog::has_entry};

/// What lies between the times of two timelines at least: their ids tell whole seconds.
const BETWEEN_TIMELINES: SignedDuration = SignedDuration::from_secs(1);

/// Where reading begins, and what must be recorded first.
pub(super) struct Start {
    /// The timeline to go on with.
    pub(super) timeline: Timeline,
    /// Whether the timeline has yet to be begun in the repository.
    pub(super) is_new: bool,
    /// Whether a new one begins where a backup leads on.
    pub(super) behind_backup: bool,
    /// The last entry that needs not be read.
    pub(super) after: ClusterTime,
}

impl Start {
    /// Returns up to where everything is stored.
    pub(super) fn end(&self) -> ClusterTime {
        self.after
    }
}

/// Finds out where the repository's last slice ended and whether this source goes on from there.
pub(super) async fn find(context: &CaptureContext) -> Result<Start> {
    let node = context.deployment.node_to_tail(&context.settings.preference).await?;
    let found = oplog::history(&context.deployment, &node).await?;
    let captured = context.repository.captured().await?;
    let Some(last) = captured.into_iter().next_back() else {
        return begin(context, &node, found, "it is the first one".into(), None).await;
    };
    let (end, timeline) = (last.end(), last.timeline.clone());
    if let Some(cause) = difference(&timeline.history, &found) {
        return begin(context, &node, found, cause, Some((timeline, end))).await;
    }
    // They are there, unless a capture was killed that had only just begun the timeline.
    let begin = last.slices.first().map_or(timeline.begin, |slice| slice.begin);
    context.repository.begin_oplog_bounds(&timeline.id, begin, end, &context.signing_key).await?;
    (context.report)(&CaptureEvent::Resumed(end));
    Ok(Start { timeline, is_new: false, behind_backup: true, after: end })
}

/// Returns why the source's history is not the timeline's, if so. A version that is being changed is not yet another.
pub(super) fn difference(known: &History, found: &SourceHistory) -> Option<String> {
    if known.replica_set_id != found.replica_set_id {
        return Some(format!(
            "the source is another replica set: {} with id {}, before {} with id {}",
            found.replica_set, found.replica_set_id, known.replica_set, known.replica_set_id
        ));
    }
    let version = found.feature_compatibility_version.as_ref()?;
    let before = &known.feature_compatibility_version;
    (version != before).then(|| format!("the feature compatibility version changed from {before} to {version}"))
}

/// Begins a new timeline: where the one before ended, if it was the same replica set's and the oplog reaches so far.
pub(super) async fn begin(
    context: &CaptureContext,
    node: &Node,
    found: SourceHistory,
    cause: String,
    before: Option<(Timeline, ClusterTime)>,
) -> Result<Start> {
    let version = found.feature_compatibility_version.ok_or_else(|| {
        Error::failed("the feature compatibility version is being changed").with_hint("try again when that has ended")
    })?;
    let (replica_set, replica_set_id) = (found.replica_set, found.replica_set_id);
    let history = History { replica_set, replica_set_id, feature_compatibility_version: version };
    // The newest timeline is gone on with: by its time it is that also where a clock was set back meanwhile.
    let earliest = before.as_ref().and_then(|(last, _)| last.started_at.checked_add(BETWEEN_TIMELINES).ok());
    let same_set = before.filter(|(timeline, _)| timeline.history.replica_set_id == history.replica_set_id);
    let Beginning { at: begin, behind_backup } = match same_set {
        Some((_, end)) if has_entry(node, end.into()).await? => Beginning { at: end, behind_backup: false },
        _ => useful_beginning(context, node, &history.replica_set_id, None).await?,
    };
    let now = context.clock.now();
    let started_at = earliest.map_or(now, |earliest| now.max(earliest));
    let timeline = Timeline {
        format: Timeline::FORMAT.into(),
        version: VERSION,
        repository: context.repository.id().clone(),
        id: TimelineId::generate(started_at, &context.random),
        source: context.source.clone(),
        history,
        begin,
        started_at,
        cause,
    };
    Ok(Start { timeline, is_new: true, behind_backup, after: begin })
}

/// A moment to begin at.
pub(super) struct Beginning {
    pub(super) at: ClusterTime,
    /// Whether a backup leads on from there.
    pub(super) behind_backup: bool,
}

/// Returns the earliest moment behind `after` from which entries lead on from a backup and are still there; without
/// one, the present: what lies before a backup restores nothing.
pub(super) async fn useful_beginning(
    context: &CaptureContext,
    node: &Node,
    replica_set_id: &str,
    after: Option<ClusterTime>,
) -> Result<Beginning> {
    let listing = context.repository.list().await?;
    // Without a backup that the store does not show just now, more would be lost than is.
    listing.check_answered()?;
    let mut points: Vec<ClusterTime> = listing
        .manifests()
        .filter(|manifest| is_of(manifest, replica_set_id))
        .filter_map(|manifest| manifest.replay_from)
        .collect();
    points.retain(|point| after.is_none_or(|after| *point > after));
    points.sort();
    for point in points {
        if has_entry(node, point.into()).await? {
            return Ok(Beginning { at: point, behind_backup: true });
        }
    }
    let now = oplog::replay_begin(&context.deployment, node).await?;
    let now = now.ok_or_else(|| Error::failed("the source belongs to no replica set any more"))?;
    Ok(Beginning { at: now.into(), behind_backup: false })
}

fn is_of(manifest: &Manifest, replica_set_id: &str) -> bool {
    manifest.replica_set_id.as_deref() == Some(replica_set_id)
}
