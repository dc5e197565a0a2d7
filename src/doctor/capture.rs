//! Does what is written arrive in the repository? A marker is written, and waited for.

use std::time::Duration;

use bson::doc;
use tokio::time::Instant;

use super::check::{Check, Doing, doing};
use super::server::NO_SOURCE;
use super::{Found, Installation};
use crate::error::{Error, Kind, Result};
use crate::format::lease::Lease;
use crate::format::{ClusterTime, layout};
use crate::mongo::{Deployment, health};
use crate::repository::Repository;
use crate::units::Elapsed;

/// How often the repository is asked whether the marker has arrived. Each asks for one small object.
const POLL: Duration = Duration::from_secs(1);

/// How many intervals of capture may pass without a slice until nothing seems to capture. A set of replicas writes a note of
/// its own every ten seconds, so there is always something.
const INTERVALS: u32 = 3;

/// A moment that capture must reach.
struct Marker {
    at: ClusterTime,
    /// Why it is not one that was written for this, if so.
    only_looked: Option<Error>,
}

pub(super) async fn check(installation: &Installation, found: &Found) -> Check {
    let looking = doing("capture", "looked for whoever captures the oplog");
    let Some(source) = &found.source else { return looking.skipped(NO_SOURCE) };
    let Some(repository) = &found.repository else { return looking.skipped("the repository cannot be opened") };
    let settings = match &installation.capture {
        Err(_) => return looking.skipped("[oplog] is wrong"),
        Ok(None) => {
            return looking.warning(
                "[oplog] enabled = false: nothing between two backups can be restored",
                "set oplog.enabled = true and run 'regrow daemon' or 'regrow capture'",
            );
        }
        Ok(Some(settings)) => settings,
    };
    let patience = settings.slice_interval * INTERVALS + POLL * 30;
    match who_captures(repository, installation, patience).await {
        Err(error) => looking.failed(&error),
        Ok(None) => looking.warning(
            "nothing captures now: what is written now can be restored only from a later backup on",
            "run 'regrow daemon' (or 'regrow capture'), then 'regrow doctor' again",
        ),
        Ok(Some(capturer)) => {
            follow_marker(&capturer, source, repository, (installation, settings.slice_interval)).await
        }
    }
}

async fn follow_marker(
    capturer: &Capturer,
    source: &Deployment,
    repository: &Repository,
    (installation, slice_interval): (&Installation, Duration),
) -> Check {
    let doing = doing("capture", "wrote a marker into the source's oplog and waited for it in the repository");
    match follow(source, repository, installation).await {
        Err(error) => doing.failed(&error),
        Ok((marker, None)) if installation.wait <= slice_interval => doing.warning(
            format!(
                "after {} the marker ({}) is not in the repository, and a slice is stored only every {}",
                Elapsed(installation.wait),
                marker.at,
                Elapsed(slice_interval)
            ),
            format!("wait for longer than that: --wait {}s", (slice_interval * 2).as_secs().max(1)),
        ),
        Ok((marker, took)) => tell(doing, capturer, &marker, took, installation.wait),
    }
}

fn tell(doing: Doing, capturer: &Capturer, marker: &Marker, took: Option<Duration>, waited: Duration) -> Check {
    let who = match capturer {
        Capturer::Service(who) => who.as_str(),
        Capturer::Somebody => "something",
    };
    let Some(took) = took else {
        if matches!(capturer, Capturer::Somebody) {
            return doing.warning(
                format!(
                    "something captured a moment ago, and does no more: after {} the marker has not arrived",
                    Elapsed(waited)
                ),
                "run 'regrow daemon' (or 'regrow capture'), or look into what became of it; then 'regrow doctor' again",
            );
        }
        return doing.problem(
            format!(
                "{who} captures, and after {} the marker ({}) is not in the repository",
                Elapsed(waited),
                marker.at
            ),
            "look into the log of the service; 'regrow status' tells how far it is",
        );
    };
    let found = format!("{who} captures; it was there after {}", Elapsed(took));
    match &marker.only_looked {
        None => doing.ok(found),
        Some(error) => doing.warning(
            format!("{found}. No marker could be written, so the present moment was waited for: {error}"),
            "grant the user 'appendOplogNote' on the cluster: the role regrowBackup has it",
        ),
    }
}

/// Who captures.
enum Capturer {
    /// The service, which holds the lease.
    Service(String),
    /// Something stored a slice not long ago. A capture in the foreground holds no lease, so it may have ended since.
    Somebody,
}

/// Returns who captures, if anybody seems to.
async fn who_captures(
    repository: &Repository,
    installation: &Installation,
    patience: Duration,
) -> Result<Option<Capturer>> {
    let now = installation.clock.now();
    let serves = |lease: &Lease| lease.service && !lease.is_free(now);
    if let Some(lease) = repository.lease().await?.filter(serves) {
        return Ok(Some(Capturer::Service(lease.description)));
    }
    let Some(end) = newest_end(repository).await? else { return Ok(None) };
    let age = Duration::try_from(now.duration_since(end.wall())).unwrap_or_default();
    Ok((age <= patience).then_some(Capturer::Somebody))
}

/// Returns up to where the oplog has been captured; none where it never was.
async fn newest_end(repository: &Repository) -> Result<Option<ClusterTime>> {
    let mut newest = None;
    for entry in repository.storage().list(layout::OPLOG_BOUNDS).await? {
        let Some(timeline) = layout::bounded_timeline(&entry.key) else { continue };
        let end = repository.oplog_bounds(&timeline).await?.map(|bounds| bounds.end);
        newest = newest.max(end);
    }
    Ok(newest)
}

/// Writes the marker and waits until it is captured; returns how long that took, none where it took too long.
async fn follow(
    source: &Deployment,
    repository: &Repository,
    installation: &Installation,
) -> Result<(Marker, Option<Duration>)> {
    let marker = mark(source, installation).await?;
    (installation.waiting)(&format!(
        "Waiting until the marker is in the repository, for {} at most.",
        Elapsed(installation.wait)
    ));
    let begun = Instant::now();
    loop {
        if newest_end(repository).await?.is_some_and(|end| end >= marker.at) {
            let is_there = in_a_slice(repository, marker.at).await?;
            return Ok((marker, is_there.then(|| begun.elapsed())));
        }
        if begun.elapsed() >= installation.wait {
            return Ok((marker, None));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn mark(source: &Deployment, installation: &Installation) -> Result<Marker> {
    let data = doc! { "regrow": "doctor", "marker": format!("{:016x}", installation.random.next_u64()) };
    match health::note(source, data).await {
        Ok(at) => Ok(Marker { at: at.into(), only_looked: None }),
        Err(error) if error.kind() == Kind::Configuration => {
            let now = source.committed_time().await?;
            let now = now.ok_or_else(|| Error::failed("the source belongs to no replica set any more"))?;
            Ok(Marker { at: now.into(), only_looked: Some(error) })
        }
        Err(error) => Err(error),
    }
}

/// Whether a slice holds the moment: the bounds go over gaps as well.
async fn in_a_slice(repository: &Repository, at: ClusterTime) -> Result<bool> {
    let captured = repository.captured().await?;
    Ok(captured.iter().flat_map(|timeline| &timeline.slices).any(|slice| slice.begin < at && at <= slice.end))
}
