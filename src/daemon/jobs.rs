//! Running one job once. Each runs in a task of its own: one that panics or hangs takes nothing along.

use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::leader::Leader;
use crate::backup::{self, BackupContext, BackupPlan, BackupRequest, Destination, MayResume, Resumption, Taken};
use crate::browser;
use crate::compliance::model::Period;
use crate::compliance::{Facts, assess};
use crate::config::VerifySettings;
use crate::drill::{self, DrillContext, Wanted};
use crate::error::{Error, Kind, Result};
use crate::expire::{self, Expired, ExpiryContext};
use crate::format::evidence::{CheckOutcome, Event, Run};
use crate::format::{BackupKind, Job, layout};
use crate::mongo::Deployment;
use crate::progress::Progress;
use crate::report;
use crate::units::Elapsed;
use crate::verify::{self, VerifyRequest};

/// How long a run may take where its schedule sets no limit: one that hangs must not hold up the next for ever.
const LONGEST: Duration = Duration::from_hours(24);

/// How long a job that was told to stop may take to clean up.
const CLEAN_UP: Duration = Duration::from_secs(20);

/// What came of a run.
pub(super) struct Done {
    /// What happened, or what went wrong.
    pub(super) outcome: Result<Event>,
    /// What happened before it went wrong.
    pub(super) besides: Option<Event>,
}

impl From<Result<Event>> for Done {
    fn from(outcome: Result<Event>) -> Self {
        Self { outcome, besides: None }
    }
}

/// Where a job is run.
pub(super) struct Bench {
    leader: Leader,
}

impl Bench {
    pub(super) fn of(leader: &Leader) -> Self {
        Self { leader: leader.clone() }
    }

    /// Runs a job to its end, its time-out or `stop`; returns how it ran, and what came of it.
    pub(super) async fn run(
        self,
        job: Job,
        due: Option<Timestamp>,
        attempts: u32,
        stop: CancellationToken,
    ) -> (Run, Done) {
        let (started_at, clock) = (self.leader.clock.now(), self.leader.clock.clone());
        let run = move || Run { job, due, started_at, finished_at: clock.now(), attempts };
        let timeout = self.timeout(job).unwrap_or(LONGEST);
        let given_up = stop.child_token();
        let (begin_stop, work_run) = (given_up.clone(), run.clone());
        let mut work = tokio::spawn(async move { Box::pin(self.work(job, &given_up, work_run)).await });
        let ended = tokio::select! {
            ended = &mut work => Some(ended),
            () = tokio::time::sleep(timeout) => None,
        };
        let done = if let Some(ended) = ended {
            ended.unwrap_or_else(|panic| faulty(job, panic).into())
        } else {
            begin_stop.cancel();
            let cleaned = tokio::time::timeout(CLEAN_UP, &mut work).await;
            if cleaned.is_err() {
                work.abort();
            }
            let besides = cleaned.ok().and_then(Result::ok).and_then(|done| done.besides);
            Done { outcome: Err(took_too_long(job, timeout)), besides }
        };
        (run(), done)
    }

    fn timeout(&self, job: Job) -> Option<Duration> {
        self.leader.settings.schedules.iter().find(|schedule| schedule.job == job)?.timeout
    }

    async fn work(self, job: Job, stop: &CancellationToken, run: impl Fn() -> Run) -> Done {
        match job {
            Job::Backup(kind) => self.back_up(kind, stop, run).await.into(),
            Job::Verify => self.verify(stop, run).await.into(),
            Job::Expire => self.expire(stop, run).await,
            Job::Drill => self.drill(stop, run).await.into(),
            Job::Report => self.report(stop, run).await.into(),
        }
    }

    async fn back_up(self, kind: BackupKind, stop: &CancellationToken, run: impl Fn() -> Run) -> Result<Event> {
        let Leader { settings, repository, clock, random, who, targets, board, .. } = self.leader;
        let request = BackupRequest { source: settings.source.clone(), kind, patterns: Vec::new() };
        let (costs, member) = (settings.config.backup_settings(None)?, settings.config.source_member()?);
        let destination = Destination { repository: &repository, recipients: settings.recipients.as_ref() };
        let planned = async {
            // From a moment before that no oplog would lead on, and another backup would have to be taken at once.
            board.until_capture_has_begun().await;
            let deployment = Deployment::connect(&settings.source_uri).await?.reading_from(member);
            let increments = settings.config.increments(kind)?;
            let (request, with) = (request.clone(), (&clock, &random));
            let planned = backup::plan(&deployment, request, increments, destination, with).await?;
            Ok((deployment, planned))
        };
        let (deployment, (plan, why_full)) = unless_stopped(stop, planned).await?;
        let (recipients, signing_key) = (settings.recipients.clone(), settings.signing_key.clone());
        let progress = Progress::default();
        let (repository, clock) = (repository.clone(), clock.clone());
        let context = BackupContext {
            repository,
            recipients,
            signing_key,
            clock: clock.clone(),
            random: random.clone(),
            who,
            progress,
            targets,
            settings: costs,
        };
        let anew = || async { BackupPlan::make(&deployment, request, &clock, &random).await };
        let may_resume = if run().due.is_some() { MayResume::Always } else { MayResume::WhereThereIsNone };
        let resuming = async { Ok(Box::pin(backup::resume(plan, may_resume, &deployment, &context)).await) };
        let (plan, resumption, not_resumed) = unless_stopped(stop, resuming).await?;
        if let Some(Resumption { bytes, at, .. }) = &resumption {
            tracing::info!(backup = %plan.id, bytes, at = %at.wall(), "resuming an interrupted backup");
        }
        let taking = backup::execute_or_full((plan, resumption), anew, &context, stop.cancelled());
        let Taken { manifest, why_full: failed, why_anew, .. } = Box::pin(taking).await?;
        if let Some(why) = why_full.or(failed) {
            tracing::info!(%why, "a full backup instead of an increment");
        }
        if let Some(why) = not_resumed.or(why_anew) {
            tracing::info!(%why, "a backup that begins anew");
        }
        tracing::info!(backup = %manifest.id, documents = manifest.documents, bytes_stored = manifest.bytes_stored, "backup committed");
        Ok(Event::Backup { run: run(), backup: manifest.id, imported: false })
    }

    async fn verify(self, stop: &CancellationToken, run: impl Fn() -> Run) -> Result<Event> {
        let Leader { settings, repository, clock, .. } = &self.leader;
        let VerifySettings { level, bandwidth } = settings.verify;
        let (backups, subset, identities) = (Vec::new(), None, settings.identities.clone());
        let request = VerifyRequest { backups, level, subset, identities };
        let (repository, progress) = (repository.throttled(bandwidth), Progress::default());
        let verifying = verify::verify(&repository, &request, clock.now(), &progress);
        let verification = unless_stopped(stop, verifying).await?;
        let (objects, findings) = (verification.checked_objects, verification.findings.len());
        if findings == 0 {
            tracing::info!(objects, bytes = verification.checked_bytes, "everything stored is as it was written");
        } else {
            let first = &verification.findings[0];
            tracing::error!(objects, findings, object = first.object, problem = first.problem, "damage found");
        }
        Ok(verification.event(run(), level))
    }

    async fn drill(self, stop: &CancellationToken, run: impl Fn() -> Run) -> Result<Event> {
        let Leader { settings, repository, clock, random, .. } = self.leader;
        let Some(drill) = &settings.drill else {
            return Err(Error::configuration("the configuration has no [drill]"));
        };
        let context = DrillContext {
            repository: &repository,
            identities: settings.identities.clone(),
            target: &drill.target,
            source: Some(settings.source_uri.clone()),
            member: settings.config.source_member()?,
            queries: &drill.queries,
            clock: &clock,
            random: &random,
            progress: Progress::default(),
        };
        let report = Box::pin(drill::run(Wanted::Any, &context, stop.clone().cancelled_owned())).await?;
        let (backup, seconds) = (&report.result.backup, report.result.milliseconds / 1000);
        for finding in report.findings.iter().filter(|finding| finding.outcome == CheckOutcome::Failed) {
            tracing::error!(%backup, check = finding.name, found = finding.detail(), "a check of the drill failed");
        }
        tracing::info!(%backup, passed = report.result.passed, seconds, "a drill was carried out");
        Ok(Event::Drill { run: run(), result: report.result })
    }

    /// Writes the report about the month before, in every format, into the repository.
    async fn report(self, stop: &CancellationToken, run: impl Fn() -> Run) -> Result<Event> {
        let Leader { settings, repository, clock, .. } = self.leader;
        let (now, begun) = (clock.now(), run());
        let period = Period::month_before(begun.due.unwrap_or(begun.started_at));
        let progress = Progress::default();
        let facts = unless_stopped(stop, Facts::gather(&repository, period, now, &progress)).await?;
        let compliance = assess(&facts, period);
        let (folder, browser) = (layout::report(period.begin, now), settings.config.browser());
        let mut files = Vec::new();
        for format in report::Format::ALL {
            let text = report::render(format, &compliance, now);
            let bytes = if format == report::Format::Pdf {
                let browser = browser.clone();
                let printing = tokio::task::spawn_blocking(move || browser::print(&text, browser.as_deref())).await;
                match printing.map_err(|error| Error::failed("printing failed").caused_by(error))? {
                    Ok(bytes) => bytes,
                    // The HTML says the same.
                    Err(error) => {
                        tracing::warn!(%error, hint = error.hint(), "the report was not printed as PDF");
                        continue;
                    }
                }
            } else {
                text.into_bytes()
            };
            files.push(repository.store_report(&format!("{folder}report.{}", format.extension()), bytes.into()).await?);
        }
        tracing::info!(folder, verdict = ?compliance.verdict, "a report was written");
        Ok(Event::Report { run: run(), begin: period.begin, end: period.end, files })
    }

    async fn expire(self, stop: &CancellationToken, run: impl Fn() -> Run) -> Done {
        let Some(retention) = self.leader.settings.retention else {
            return Err(Error::configuration("the configuration has no [retention]")).into();
        };
        let mut done = Expired::default();
        let expired = async {
            let plan = expire::plan(&self.leader.repository, &retention, self.leader.clock.now()).await?;
            let (repository, signing_key) = (&self.leader.repository, &self.leader.settings.signing_key);
            let context = ExpiryContext {
                repository,
                signing_key,
                lease: &self.leader.lease,
                clock: &self.leader.clock,
                random: &self.leader.random,
            };
            if let Some(newest) = plan.held_back_to {
                tracing::info!(%newest, "ages are counted up to the newest moment that is stored; by this machine's clock more would go");
            }
            expire::execute(&plan, &context, &mut done).await
        };
        // Each step is whole, so it may be broken off between any two.
        let outcome = unless_stopped(stop, expired).await;
        let besides = (outcome.is_err() && !done.is_empty()).then(|| done.event(run(), true));
        let outcome = outcome.map(|()| {
            let (expired, removed, oplog_objects) = (done.expired.len(), done.removed.len(), done.oplog_objects);
            tracing::info!(expired, removed, oplog_objects, "retention applied");
            done.event(run(), false)
        });
        Done { outcome, besides }
    }
}

fn faulty(job: Job, panic: JoinError) -> Result<Event> {
    Err(Error::failed(format!("{job} ended by a fault in Regrow"))
        .caused_by(panic)
        .with_hint("report it, with the log around this time; what was stored before is not affected"))
}

fn took_too_long(job: Job, timeout: Duration) -> Error {
    Error::failed(format!("{job} took longer than its time-out of {}", Elapsed(timeout)))
        .with_hint("raise the schedule's timeout, or find out what is slow")
}

async fn unless_stopped<T>(stop: &CancellationToken, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        outcome = work => outcome,
        () = stop.cancelled() => Err(Error::new(Kind::Interrupted, "it was told to stop")),
    }
}
