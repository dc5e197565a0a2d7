//! Drills: a backup is restored for real, into scratch databases, checked, timed, and removed again.
//!
//! [`run`] finds the way, restores, and checks twice: documents, before the server may delete any that have expired;
//! namespaces, options and indexes, when everything is in place. A drill that finds something wrong has come to a result,
//! and is no error; one that could not be carried out is. Whatever happens, what it made is removed; what a drill leaves
//! that was killed, the next one removes. The source is only ever read.

mod finding;
mod query;
mod scratch;
mod source;
mod structure;
mod target;
mod throwaway;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt, stream};

pub use finding::Finding;
pub use query::{CheckQuery, Expectation};
pub use target::TargetSettings;

use crate::clock::Clock;
use crate::codec::Identities;
use crate::error::{Error, Kind, Result};
use crate::format::ClusterTime;
use crate::format::catalog::Catalog;
use crate::format::evidence::{CheckOutcome, DrillResult};
use crate::format::manifest::Manifest;
use crate::format::oplog::Range;
use crate::mongo::scratch as server;
use crate::mongo::{Deployment, MemberChoice};
use crate::policy::history::Soundness;
use crate::progress::Progress;
use crate::random::Random;
use crate::repository::{Repository, SegmentReader};
use crate::restore::{
    self, Past, Restore, RestoreContext, RestoreItem, RestorePlan, RestoreRequest, RestoreSummary, TargetState, Way,
    Ways,
};
use crate::secret::Secret;
use source::{SourceDigests, Unknown};
use target::Target;

/// How many collections a server of the drill's own validates at once: each keeps one of its cores busy. One that others use does one.
const VALIDATED_AT_ONCE: usize = 4;

/// What is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The backup of this name.
    Backup(String),
    /// The state at a moment.
    Moment(ClusterTime),
    /// The state at the newest moment that can be restored.
    Newest,
    /// The state at any moment that can be restored.
    Any,
}

/// What a drill needs.
pub struct DrillContext<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// What opens the backup.
    pub identities: Option<Identities>,
    /// Where it is restored to.
    pub target: &'a TargetSettings,
    /// Where the backups come from; none where only the repository is left.
    pub source: Option<Secret>,
    /// Which member of it is read.
    pub member: MemberChoice,
    /// The team's own questions.
    pub queries: &'a [CheckQuery],
    /// The time.
    pub clock: &'a Clock,
    /// What chooses a moment, and names.
    pub random: &'a Random,
    /// What shows how far it has come.
    pub progress: Progress,
}

/// What a drill showed.
#[derive(Debug, Clone, PartialEq)]
pub struct DrillReport {
    /// What evidence holds of it.
    pub result: DrillResult,
    /// Where it was restored to, for people.
    pub target: String,
    /// What was checked, with the names of what is not as it should be.
    pub findings: Vec<Finding>,
}

/// Carries a drill out. `stop` ends it early, and what it made is removed.
///
/// # Errors
/// Whatever prevents it: a target that does not answer or is the source ([`Kind::Refused`]), a missing privilege,
/// [`Kind::Interrupted`]. Damage that shows once the backup is chosen is a result, not an error.
pub async fn run(wanted: Wanted, context: &DrillContext<'_>, stop: impl Future<Output = ()>) -> Result<DrillReport> {
    let mut stop = std::pin::pin!(stop);
    let begun = Instant::now();
    let interrupted = || Error::new(Kind::Interrupted, "the drill was interrupted");
    let found = tokio::select! {
        found = Found::find(&wanted, context) => found?,
        () = &mut stop => return Err(interrupted()),
    };
    let found = Find { found, took: begun.elapsed() };
    let source = match &context.source {
        // In a disaster it does not answer, and the drill shows all the more.
        Some(uri) => Deployment::connect(uri).await.ok().map(|source| source.reading_from(context.member.clone())),
        None => None,
    };
    let target = tokio::select! {
        target = Target::open(context.target, source.as_ref(), &found.found.way.manifest, context.random) => target?,
        () = &mut stop => return Err(interrupted()),
    };
    let outcome = tokio::select! {
        outcome = found.restore(context, &target, source.as_ref()) => outcome,
        () = &mut stop => Err(interrupted()),
    };
    match (outcome, target.close().await) {
        (Ok(report), Ok(())) => Ok(report),
        (Ok(_), Err(error)) => Err(error.context("the drill was carried out, and could not be cleaned up")),
        (Err(error), Ok(())) => Err(error.context("nothing of the drill remains")),
        (Err(error), Err(cleaning)) => Err(error.context(format!("{cleaning}"))),
    }
}

/// The backup and everything that is known of what is to be restored.
struct Found {
    way: Way,
    /// What was found out so far; damage ends the drill here.
    ready: Result<Ready>,
}

/// What it takes to restore it.
struct Ready {
    segments: SegmentReader,
    catalog: Catalog,
    recovery: Option<restore::Recovery>,
}

/// The same, and how long it took.
struct Find {
    found: Found,
    took: Duration,
}

impl Found {
    async fn find(wanted: &Wanted, context: &DrillContext<'_>) -> Result<Self> {
        let repository = context.repository;
        let now = context.clock.now();
        // Evidence that cannot be read is no reason not to try.
        let evidence = repository.newest_evidence(now).await;
        let soundness = evidence.map(|log| Soundness::of(log.records())).unwrap_or_default();
        let ways = Ways { repository, identities: context.identities.clone(), soundness, now };
        let way = match wanted {
            Wanted::Backup(name) => ways.to_backup(name).await?,
            Wanted::Moment(to) => ways.to_moment(*to, None).await?,
            Wanted::Newest => ways.to_newest(None).await?,
            Wanted::Any => match any_moment(&ways.window().await?, context.random) {
                Some(to) => ways.to_moment(to, None).await?,
                // Of a standalone server: there are no moments.
                None => ways.to_newest(None).await?,
            },
        };
        Self::look_ahead(way, context).await
    }

    async fn look_ahead(way: Way, context: &DrillContext<'_>) -> Result<Self> {
        let ready = async {
            let segments = context.repository.segments(&way.manifest, context.identities.clone()).await?;
            let catalog = context.repository.catalog(&way.manifest, context.identities.as_ref()).await?;
            let recovery = way.survey(&segments, &catalog, &context.progress).await?;
            Ok::<_, Error>(Ready { segments, catalog, recovery })
        };
        let ready = match ready.await {
            Err(error) if error.kind() != Kind::Damaged => return Err(error),
            ready => ready,
        };
        Ok(Self { way, ready })
    }
}

/// Returns any moment that can be restored, each second as likely as any other; none where there are
/// only backups of standalone servers.
fn any_moment(window: &[Range], random: &Random) -> Option<ClusterTime> {
    let seconds = |range: &Range| u64::from(range.end.t - range.begin.t) + 1;
    let all: u64 = window.iter().map(seconds).sum();
    let mut chosen = random.next_u64().checked_rem(all).unwrap_or_default();
    for range in window {
        if let Some(rest) = chosen.checked_sub(seconds(range)) {
            chosen = rest;
            continue;
        }
        let t = range.begin.t + u32::try_from(chosen).unwrap_or_default();
        let whole = ClusterTime { t, i: u32::MAX };
        return Some(whole.clamp(range.begin, range.end));
    }
    None
}

impl Find {
    async fn restore(
        self,
        context: &DrillContext<'_>,
        target: &Target,
        source: Option<&Deployment>,
    ) -> Result<DrillReport> {
        let Self { found: Found { way, ready }, took } = self;
        let manifest = way.manifest.clone();
        let Ready { segments, catalog, recovery } = match ready {
            Ok(ready) => ready,
            Err(error) => return Ok(broken(&manifest, &way, target, took, &error)),
        };
        let request = RestoreRequest {
            maps: target.scratch.maps(&databases(&catalog, recovery.as_ref()))?,
            ..RestoreRequest::default()
        };
        let plan = RestorePlan::make(manifest.clone(), catalog, recovery, &request)?;
        TargetState::look(&target.deployment, &plan).await?.check(&plan)?;
        // At once: the source soon forgets.
        let of_source = source::digests(&plan, source).await;
        let restoring = RestoreContext {
            deployment: target.deployment.clone(),
            segments,
            progress: context.progress.clone(),
            journal: None,
            past: Past::default(),
        };
        let (begun, restore) = (Instant::now(), Restore::new(&plan, &restoring));
        match restore.load().await {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::Damaged => {
                return Ok(broken(&manifest, &way, target, took + begun.elapsed(), &error));
            }
            Err(error) => return Err(error),
        }
        let check = Instant::now();
        let mut findings = documents(&plan, target, of_source, &context.progress).await?;
        findings.push(validate(&plan, target).await?);
        for query in context.queries {
            let recovered_to = plan.recovered_to().map(ClusterTime::wall);
            findings.push(query::ask(query, &plan, &target.deployment, recovered_to).await?);
        }
        let checked = check.elapsed();
        let summary = restore.finish().await?;
        let check = Instant::now();
        findings.splice(0..0, structure::check(&target.deployment, &plan).await?);
        let times = Times {
            find: took,
            total: took + begun.elapsed(),
            check: checked + check.elapsed(),
            restore: restore.phases(),
        };
        Ok(report(&plan, &way, target, &times, (&summary, findings)))
    }
}

/// Returns the names of the collections of each database.
fn databases(catalog: &Catalog, recovery: Option<&restore::Recovery>) -> BTreeMap<String, BTreeSet<String>> {
    let records = match recovery {
        Some(recovery) => recovery.outlook.collections.clone().into_records(),
        None => catalog.collections.clone(),
    };
    let mut databases: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in records {
        databases.entry(record.db).or_default().insert(record.name);
    }
    databases
}

/// How long everything took.
struct Times {
    find: Duration,
    total: Duration,
    check: Duration,
    restore: Vec<(&'static str, Duration)>,
}

impl Times {
    /// Returns the phases: what the restore proves belongs to the checks.
    fn phases(&self) -> Vec<(&'static str, Duration)> {
        let of_restore =
            |name: &str| self.restore.iter().filter(|phase| phase.0 == name).map(|phase| phase.1).sum::<Duration>();
        let mut phases = vec![("find", self.find)];
        phases.extend(self.restore.iter().filter(|phase| phase.0 != "check").copied());
        phases.push(("check", self.check + of_restore("check")));
        phases
    }
}

fn report(
    plan: &RestorePlan,
    way: &Way,
    target: &Target,
    times: &Times,
    (summary, findings): (&RestoreSummary, Vec<Finding>),
) -> DrillReport {
    let result = DrillResult {
        backup: plan.manifest.id.clone(),
        recovered_to: plan.recovered_to(),
        replayed: way.captured.is_some(),
        throwaway: target.is_throwaway(),
        passed: findings.iter().all(|finding| finding.outcome != CheckOutcome::Failed),
        namespaces: plan.items.len() as u64,
        documents: summary.documents,
        bytes: summary.bytes,
        entries: plan.recovery.as_ref().map_or(0, |recovery| recovery.outlook.entries),
        milliseconds: milliseconds(times.total),
        phases: restore::as_recorded(&times.phases()),
        checks: findings.iter().map(Finding::as_recorded).collect(),
    };
    DrillReport { result, target: target.description(), findings }
}

/// Returns the result of a drill whose backup cannot be restored.
fn broken(manifest: &Manifest, way: &Way, target: &Target, took: Duration, error: &Error) -> DrillReport {
    let mut finding = Finding::about("documents", "");
    finding.count();
    finding.fail(error.to_string());
    let result = DrillResult {
        backup: manifest.id.clone(),
        recovered_to: way.to,
        replayed: way.captured.is_some(),
        throwaway: target.is_throwaway(),
        passed: false,
        namespaces: 0,
        documents: 0,
        bytes: 0,
        entries: 0,
        milliseconds: milliseconds(took),
        phases: Vec::new(),
        checks: vec![finding.as_recorded()],
    };
    DrillReport { result, target: target.description(), findings: vec![finding] }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Tells that the documents are those that were backed up, which loading has proved, and holds them against the source.
async fn documents(
    plan: &RestorePlan,
    target: &Target,
    of_source: std::result::Result<SourceDigests, Unknown>,
    progress: &Progress,
) -> Result<Vec<Finding>> {
    let mut loaded = Finding::about("documents", "each is the one that was backed up, byte for byte");
    plan.items.iter().filter(|item| !item.is_view()).for_each(|_| loaded.count());
    let compared = match of_source {
        Err(unknown) => Finding::unknown("source", unknown.reason()),
        Ok(digests) => compare(plan, target, &digests, progress).await?,
    };
    Ok(vec![loaded, compared])
}

async fn compare(
    plan: &RestorePlan,
    target: &Target,
    of_source: &SourceDigests,
    progress: &Progress,
) -> Result<Finding> {
    let mut finding = Finding::about("source", "it had the same documents at that moment");
    for item in plan.items.iter().filter(|item| source::counts(item)) {
        finding.count();
        let restored = if plan.recovery.is_some() || item.changes.is_some() {
            progress.expect_more(item.bytes);
            let part = progress.part(item.record.namespace(), item.bytes);
            let digest = restore::read_back(&target.deployment, item, &part).await?;
            (digest.documents, digest.to_bytes())
        } else {
            // Loading has proved it already.
            (item.documents, item.digest)
        };
        let expected = of_source.get(&item.record.namespace());
        let expected = expected.map(|digest| (digest.documents, digest.to_bytes()));
        if expected != Some(restored) {
            let had = expected.map_or(0, |(documents, _)| documents);
            finding.fail(format!(
                "the documents of {} are not those that the source had at that moment ({} restored, {had} there)",
                item.record.namespace(),
                restored.0
            ));
        }
    }
    Ok(finding)
}

async fn validate(plan: &RestorePlan, target: &Target) -> Result<Finding> {
    let mut finding = Finding::about("validate", "the server finds documents and indexes sound");
    let items: Vec<&RestoreItem> = plan.items.iter().filter(|item| !item.is_view()).collect();
    let at_once = if target.is_throwaway() { VALIDATED_AT_ONCE } else { 1 };
    let what_is_wrong = |number: usize| errors(items[number], target).boxed();
    let mut validated = stream::iter(0..items.len()).map(what_is_wrong).buffered(at_once).zip(stream::iter(&items));
    while let Some((errors, item)) = validated.next().await {
        let errors = errors?;
        finding.count();
        if !errors.is_empty() {
            finding.fail(format!("{}: {}", item.record.namespace(), errors.join("; ")));
        }
    }
    Ok(finding)
}

/// Returns what the target finds wrong with a collection.
async fn errors(item: &RestoreItem, target: &Target) -> Result<Vec<String>> {
    let database = target.deployment.client().database(&item.db);
    server::validate(&database, &item.data_name()).await
}
