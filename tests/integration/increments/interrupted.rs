//! What a crash at any single storage operation leaves of an increment, and what one that lost its parent becomes.

use std::path::Path;
use std::sync::Arc;

use regrow::backup::{self, BackupContext, BackupPlan, BackupRequest, BackupSettings, Destination, IncrementSettings};
use regrow::clock::Clock;
use regrow::codec::keys::NewIdentity;
use regrow::codec::{Identities, Recipients, SigningKey};
use regrow::error::Result;
use regrow::format::BackupKind;
use regrow::format::manifest::Manifest;
use regrow::mongo::Deployment;
use regrow::progress::Progress;
use regrow::random::Random;
use regrow::repository::Repository;
use regrow::secret::Secret;
use regrow::storage::{Fault, Faulty, Local, Storage};
use regrow::verify::{Level, VerifyRequest, verify};
use tempfile::TempDir;

use super::options;
use crate::expire::copy;
use crate::harness::{self, Servers};
use crate::small_backups::{TARGETS, fill, local, take_all};

const ANY: Option<IncrementSettings> = Some(IncrementSettings { share: 100 });

/// A repository with a full backup, of a server that has changed since.
struct Bench {
    servers: Servers,
    folder: TempDir,
    key: SigningKey,
    identity: NewIdentity,
}

impl Bench {
    async fn new() -> Self {
        let servers = harness::own(&options());
        let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::generate(&Random::system()));
        let identity = NewIdentity::generate(Clock::system().now());
        Repository::init(local(folder.path()), &key, &Clock::system(), &Random::system()).await.unwrap();
        let bench = Self { servers, folder, key, identity };
        fill(&bench.servers).await;
        bench.take(local(bench.folder.path()), None).await.unwrap();
        fill(&bench.servers).await;
        bench
    }

    async fn take(&self, storage: Arc<dyn Storage>, increments: Option<IncrementSettings>) -> Result<Manifest> {
        take_all(&self.servers, storage, &self.key, &self.identity.recipient, increments).await
    }

    /// Checks that all that is there is whole, and returns it, the newest first.
    async fn check(&self, folder: &Path, case: &str) -> Vec<Manifest> {
        let repository = Repository::open(local(folder)).await.unwrap();
        let identities = Some(Identities::parse(&self.identity.file).unwrap());
        let request = VerifyRequest { identities: identities.clone(), ..VerifyRequest::everything(Level::Content) };
        let found = verify(&repository, &request, Clock::system().now(), &Progress::default()).await.unwrap();
        assert_eq!(found.findings, [], "{case}");
        let backups = repository.list().await.unwrap().backups.into_iter().map(|backup| backup.manifest.unwrap());
        let backups: Vec<Manifest> = backups.collect();
        for manifest in &backups {
            repository.catalog(manifest, identities.as_ref()).await.unwrap();
        }
        backups
    }
}

fn store(folder: &Path) -> Local {
    Local::open(folder, Clock::system(), Random::system())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_increment_is_whole_or_not_there_whatever_happens_to_the_store() {
    let bench = Bench::new().await;
    let undisturbed = tempfile::tempdir().unwrap();
    copy(bench.folder.path(), undisturbed.path());
    let counting = Faulty::counting(store(undisturbed.path()));
    assert!(bench.take(Arc::new(counting.clone()), ANY).await.unwrap().incremental.is_some());
    for fault in [Fault::Crash, Fault::FailOnce, Fault::LostReply] {
        for at in 1..=counting.count() {
            let case = format!("{fault:?} at operation {at}");
            let folder = tempfile::tempdir().unwrap();
            copy(bench.folder.path(), folder.path());
            let outcome = bench.take(Arc::new(Faulty::new(store(folder.path()), fault, at)), ANY).await;
            let backups = bench.check(folder.path(), &case).await;
            assert!(backups.len() == 2 || outcome.is_err(), "{case}: {outcome:?}");
            let next = bench.take(local(folder.path()), ANY).await;
            let next = next.unwrap_or_else(|error| panic!("{case}: the next backup: {error}"));
            assert_eq!(next.parent(), Some(&backups[0].id), "{case}");
            bench.check(folder.path(), &case).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_increment_whose_parent_goes_meanwhile_becomes_a_full_backup() {
    let bench = Bench::new().await;
    let repository = Repository::open(local(bench.folder.path())).await.unwrap();
    let deployment = Deployment::connect(&Secret::new(bench.servers.uri().to_owned())).await.unwrap();
    let recipients = Recipients::parse(&[&bench.identity.recipient]).unwrap();
    let (clock, random) = (Clock::system(), Random::system());
    let request = BackupRequest { source: "test".to_owned(), kind: BackupKind::Daily, patterns: Vec::new() };
    let destination = Destination { repository: &repository, recipients: Some(&recipients) };
    let planned = backup::plan(&deployment, request.clone(), ANY, destination, (&clock, &random)).await;
    let (plan, _) = planned.unwrap();
    repository.remove_backup(&plan.increment.as_ref().unwrap().parent.id).await.unwrap();
    let context = BackupContext {
        repository: repository.clone(),
        recipients: Some(recipients.clone()),
        signing_key: bench.key.clone(),
        clock: clock.clone(),
        random: Random::system(),
        who: "a test".into(),
        progress: Progress::default(),
        targets: TARGETS,
        settings: BackupSettings::default(),
    };
    let anew = || async { BackupPlan::make(&deployment, request, &clock, &random).await };
    let taken = backup::execute_or_full((plan, None), anew, &context, std::future::pending()).await.unwrap();
    let (manifest, why) = (taken.manifest, taken.why_full);
    assert_eq!(manifest.parent(), None);
    assert!(why.unwrap().to_string().contains("there is no backup"));
    assert_eq!(bench.check(bench.folder.path(), "full").await, [manifest]);
    assert_eq!(repository.list().await.unwrap().leftovers, [], "of the increment nothing is left");
}
