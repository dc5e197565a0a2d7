//! What a restore is asked to do, and what it is ready to do.

use super::super::Session;
use super::{Arguments, survey};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::format::ClusterTime;
use crate::format::layout;
use crate::policy::history::Soundness;
use crate::repository::{EvidenceLog, Repository, SegmentReader};
use crate::restore::{First, Remarks, RestorePlan, RestoreRequest, Way, Ways};

/// What `--at` takes for the newest moment.
pub(in crate::cli) const LATEST: &str = "latest";

/// What is to be restored.
pub(super) struct Asked {
    pub(super) what: What,
    pub(super) request: RestoreRequest,
}

/// A backup or a moment; the backup to begin with where it matters.
pub(super) enum What {
    Backup(String),
    Moment { to: ClusterTime, from: Option<String> },
    Newest { from: Option<String> },
}

impl Asked {
    /// Reads the command line.
    pub(super) fn parse(arguments: &Arguments, config: &Config) -> Result<Self> {
        let from = arguments.from.clone();
        let what = match (&arguments.at, &arguments.before, &arguments.backup) {
            (Some(at), ..) if at == LATEST => What::Newest { from },
            (Some(at), ..) => What::Moment { to: ClusterTime::at(at)?, from },
            (_, Some(before), _) => What::Moment { to: ClusterTime::before(before)?, from },
            (.., Some(backup)) => What::Backup(backup.clone()),
            (None, None, None) => return Err(Error::new(Kind::Usage, "neither a backup nor a time is given")),
        };
        let request = RestoreRequest {
            patterns: arguments.patterns.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            except: arguments.except.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            maps: arguments.maps.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            accounts: arguments.users,
            replace: arguments.existing.replace,
            keep_old: arguments.existing.keep_old,
            only: arguments.existing.only()?,
            first: first(arguments, config)?,
        };
        Ok(Self { what, request })
    }
}

/// Returns what the command line and the configuration want first.
pub(super) fn first(arguments: &Arguments, config: &Config) -> Result<First> {
    let named = arguments.first.iter().map(|text| text.parse()).collect::<Result<_>>()?;
    Ok(First { named, workloads: config.needed_first() })
}

/// A plan and what it is carried out with.
pub(super) struct Ready {
    pub(super) plan: RestorePlan,
    pub(super) segments: SegmentReader,
    /// The moment, where one was asked for.
    pub(super) moment: Option<ClusterTime>,
    pub(super) remarks: Remarks,
}

impl Ready {
    pub(super) async fn find(
        session: &Session,
        config: &Config,
        repository: &Repository,
        evidence: Option<&EvidenceLog>,
        asked: &Asked,
    ) -> Result<Self> {
        let identities = config.identities()?;
        let ways = Ways {
            repository,
            identities: identities.clone(),
            soundness: evidence.map(|log| Soundness::of(log.records())).unwrap_or_default(),
            now: session.clock.now(),
        };
        let way = match &asked.what {
            What::Backup(backup) => ways.to_backup(backup).await?,
            What::Moment { to, from } => ways.to_moment(*to, from.as_deref()).await?,
            What::Newest { from } => ways.to_newest(from.as_deref()).await?,
        };
        let moment = if matches!(asked.what, What::Backup(_)) { None } else { way.to };
        let remarks = way.remarks.clone();
        let (plan, segments) = Self::settle(session, repository, way, identities, &asked.request)
            .await
            .map_err(|error| begin_elsewhere(error, &remarks))?;
        if let Some(map) = plan.unused_map() {
            return Err(Error::not_found(format!("--map {map} is about nothing that would be restored"))
                .with_hint("nothing was changed; correct the name before the =, or leave the option out"));
        }
        if let Some(pattern) = plan.unused_first() {
            return Err(Error::not_found(format!("--first {pattern} is about nothing that would be restored"))
                .with_hint("nothing was changed; correct the name, or leave the option out"));
        }
        Ok(Self { plan, segments, moment, remarks })
    }

    async fn settle(
        session: &Session,
        repository: &Repository,
        way: Way,
        identities: Option<crate::codec::Identities>,
        request: &RestoreRequest,
    ) -> Result<(RestorePlan, SegmentReader)> {
        let segments = repository.segments(&way.manifest, identities.clone()).await?;
        let catalog = repository.catalog(&way.manifest, identities.as_ref()).await?;
        let recovery = survey(session, &way, &segments, &catalog).await?;
        Ok((RestorePlan::make(way.manifest, catalog, recovery, request)?, segments))
    }
}

/// Names the way around a damaged backup, or what of it may still be had.
pub(super) fn begin_elsewhere(error: Error, remarks: &Remarks) -> Error {
    if error.kind() != Kind::Damaged {
        return error;
    }
    if error.to_string().contains(layout::OPLOG) {
        return error.with_hint(
            "what needs this part of the captured oplog cannot be restored; 'regrow verify' finds out which moments that are, and \
             --at latest then takes the newest other one",
        );
    }
    let hint = match (&remarks.other, &remarks.sound) {
        (Some(other), _) => format!("another backup leads to the same moment: add --from {other}"),
        (None, Some(sound)) => format!(
            "nothing is known against {sound}: restore that, or with --ns what is not damaged; 'regrow verify' finds out all that is, \
             and lets it be known"
        ),
        (None, None) => {
            "no other backup can take its place: restore with --ns what is not damaged; 'regrow verify' finds out all that is"
                .into()
        }
    };
    error.with_hint(hint)
}
