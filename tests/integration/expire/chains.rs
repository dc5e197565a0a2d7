//! Retention of increments: nothing goes before what builds on it.

use std::sync::Arc;
use std::time::Duration;

use regrow::backup::IncrementSettings;
use regrow::codec::SigningKey;
use regrow::codec::keys::NewIdentity;
use regrow::codec::signing::MANIFEST_PURPOSE;
use regrow::error::Kind;
use regrow::expire::{self, Expired, ExpiryContext};
use regrow::format::mark::MarkKind;
use regrow::policy::retention::{Reason, Verdict};
use regrow::random::Random;
use regrow::repository::Repository;
use regrow::storage::{Fault, Faulty};

use super::{AFTER_GRACE, Bench, earlier, interrupted_anywhere, lease};
use crate::harness::{self, Options};
use crate::small_backups::{self, fill, local};

const EVERYTHING: Option<IncrementSettings> = Some(IncrementSettings { share: 100 });

impl Bench {
    /// A repository with a full backup, increments behind it, and perhaps another full one.
    pub(super) async fn with_chain(increments: usize, and_full: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key, clock) = (SigningKey::generate(&Random::system()), earlier());
        Repository::init(local(folder.path()), &key, &clock, &Random::system()).await.unwrap();
        let servers = harness::own(&Options::default());
        let identity = NewIdentity::generate(clock.now());
        let mut backups = Vec::new();
        let settings = std::iter::once(None).chain(std::iter::repeat_n(EVERYTHING, increments));
        for settings in settings.chain(and_full.then_some(None)) {
            fill(&servers).await;
            let storage = local(folder.path());
            let taken = {
                clock.advance(Duration::from_secs(1));
                let clock = clock.clone();
                small_backups::take_all_at(clock, &servers, storage, &key, &identity.recipient, settings).await.unwrap()
            };
            assert_eq!(taken.incremental.is_some(), settings.is_some());
            backups.push(taken);
        }
        clock.advance(Duration::from_mins(5));
        Self { folder, key, clock, backups }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_leaves_no_increment_without_what_it_builds_on() {
    interrupted_anywhere(&Bench::with_chain(2, true).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_increment_that_is_kept_builds_on_is_kept() {
    let bench = Bench::with_chain(2, false).await;
    let plan = bench.plan().await.unwrap();
    let reasons: Vec<&Verdict> = plan.backups.iter().map(|(_, verdict)| verdict).collect();
    assert!(matches!(reasons[0], Verdict::Keep(reasons) if reasons.contains(&Reason::Newest)), "{reasons:?}");
    for needed in &reasons[1..] {
        assert_eq!(**needed, Verdict::Keep([Reason::Needed].into()), "{reasons:?}");
    }
    assert!(bench.expire().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_comes_back_with_what_it_builds_on() {
    let bench = Bench::with_chain(2, true).await;
    assert_eq!(bench.expire().await.unwrap().expired.len(), 3);
    let repository = bench.repository().await;
    assert!(repository.bring_back(&bench.ids()[1], &bench.key).await.unwrap());
    let expired = repository.marks(MarkKind::Expired).await.unwrap();
    assert_eq!(expired.into_keys().collect::<Vec<_>>(), [bench.ids()[2].clone()], "only what builds on it");
    repository.place_mark(MarkKind::Hold, &bench.ids()[1], "audit", bench.clock.now(), &bench.key).await.unwrap();
    bench.clock.advance(AFTER_GRACE);
    bench.expire().await.unwrap();
    assert_eq!(bench.whole("held").await, [&bench.ids()[..2], &bench.ids()[3..]].concat());
    let plan = bench.plan().await.unwrap();
    assert_eq!(plan.kept_children(&bench.ids()[0]).collect::<Vec<_>>(), [&bench.ids()[1]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_increment_that_has_not_expired_is_held_by_credentials_that_may_not_delete() {
    let bench = Bench::with_chain(2, false).await;
    let denying = Arc::new(Faulty::new(bench.store(), Fault::DenyDeletes, 1));
    let repository = Repository::open(denying).await.unwrap();
    assert!(!repository.bring_back(&bench.ids()[2], &bench.key).await.unwrap());
    repository
        .place_mark(MarkKind::Expired, &bench.ids()[0], "retention", bench.clock.now(), &bench.key)
        .await
        .unwrap();
    let error = repository.bring_back(&bench.ids()[2], &bench.key).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Configuration, "what it builds on has expired and cannot be brought back: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_placed_while_expiry_is_at_work_saves_the_chain() {
    let bench = Bench::with_chain(2, true).await;
    bench.expire().await.unwrap();
    bench.clock.advance(AFTER_GRACE);
    let plan = bench.plan().await.unwrap();
    let removed = plan.backups.iter().filter(|(_, verdict)| *verdict == Verdict::Remove);
    assert_eq!(removed.count(), 3);
    let repository = bench.repository().await;
    repository.place_mark(MarkKind::Hold, &bench.ids()[2], "audit", bench.clock.now(), &bench.key).await.unwrap();
    let lease = lease(&repository, &bench.key, &bench.clock).await.unwrap();
    let context = ExpiryContext {
        repository: &repository,
        signing_key: &bench.key,
        lease: &lease,
        clock: &bench.clock,
        random: &Random::system(),
    };
    let mut done = Expired::default();
    expire::execute(&plan, &context, &mut done).await.unwrap();
    assert_eq!(done.removed, []);
    assert_eq!(bench.whole("held meanwhile").await, bench.ids());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_damaged_increment_may_build_on_stays() {
    let bench = Bench::with_chain(2, true).await;
    bench.expire().await.unwrap();
    bench.clock.advance(AFTER_GRACE);
    let manifest = bench.folder.path().join(format!("backups/{}/manifest.json", bench.ids()[1]));
    let text = std::fs::read_to_string(&manifest).unwrap();
    for (damaged, base) in [
        (text.replace("\"source\":\"test\"", "\"source\":\"taste\""), "Keep({Needed})"),
        (text[..text.len() / 2].to_owned(), "Expired"),
    ] {
        std::fs::write(&manifest, damaged).unwrap();
        let plan = bench.plan().await.unwrap();
        let (id, verdict) = plan.backups.last().unwrap();
        assert_eq!(*id, bench.ids()[0]);
        assert!(format!("{verdict:?}").starts_with(base), "{verdict:?}");
        assert_eq!(plan.damaged.len(), 2, "and what builds on the damaged one");
    }
    let payload = text.split_once(':').unwrap().1.rsplit_once(",\"signature\":").unwrap().0;
    let newer = payload.replace("\"regrow-manifest\",\"version\":2", "\"regrow-manifest\",\"version\":3");
    std::fs::write(&manifest, bench.key.sign(MANIFEST_PURPOSE, &newer)).unwrap();
    let error = bench.plan().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}: a newer Regrow knows what it needs");
    std::fs::write(&manifest, text).unwrap();
    assert_eq!(bench.expire().await.unwrap().removed.len(), 3);
}
