//! The lease: of many one holds it, and whoever has lost it finds out before it writes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use regrow::clock::Clock;
use regrow::codec::SigningKey;
use regrow::error::{Kind, Result};
use regrow::format::layout;
use regrow::random::Random;
use regrow::repository::{Applicant, HeldLease, Repository};
use regrow::storage::{Backoff, Fault, Faulty, Local, Retrying, S3, S3Options, Storage};

use crate::harness;

const DURATION: Duration = Duration::from_secs(30);

/// Longer than a lease lasts, and clocks may differ.
const EXPIRED: Duration = Duration::from_secs(36);

/// A repository, and everything that a holder needs.
struct Place {
    storage: Arc<dyn Storage>,
    key: SigningKey,
    clock: Clock,
    folder: tempfile::TempDir,
}

impl Place {
    async fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Arc::new(Local::open(folder.path(), Clock::system(), Random::system()));
        Self::of(storage, folder).await
    }

    async fn s3() -> Self {
        let prefix = format!("lease/{:016x}", Random::system().next_u64());
        let options = S3Options { prefix, ..harness::s3().options() };
        let storage = Arc::new(S3::connect(options, Clock::system(), Random::system()).await.unwrap());
        Self::of(storage, tempfile::tempdir().unwrap()).await
    }

    async fn of(storage: Arc<dyn Storage>, folder: tempfile::TempDir) -> Self {
        let (key, clock) = (SigningKey::generate(&Random::system()), Clock::manual(Clock::system().now()));
        Repository::init(storage.clone(), &key, &clock, &Random::system()).await.unwrap();
        Self { storage, key, clock, folder }
    }

    async fn acquire(&self, who: &str) -> Result<HeldLease> {
        self.acquire_through(self.storage.clone(), who).await
    }

    async fn acquire_through(&self, storage: Arc<dyn Storage>, who: &str) -> Result<HeldLease> {
        let applicant = Applicant { description: who.into(), duration: DURATION, service: false };
        let repository = Repository::open(storage).await?;
        repository.acquire(&applicant, &self.key, &self.clock, &Random::system()).await
    }

    async fn generation(&self) -> u64 {
        let repository = Repository::open(self.storage.clone()).await.unwrap();
        repository.lease().await.unwrap().unwrap().generation
    }
}

fn is_held<T>(outcome: &Result<T>) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == Kind::LeaseHeld)
}

#[tokio::test]
async fn one_holds_it_and_the_others_are_told_who() {
    for place in [Place::local().await, Place::s3().await] {
        let first = place.acquire("the daemon on alpha").await.unwrap();
        let error = place.acquire("another").await.err().unwrap();
        assert_eq!((error.kind(), error.kind().exit_code()), (Kind::LeaseHeld, 75));
        assert!(error.to_string().contains("the daemon on alpha holds the lease since"), "{error}");
        first.release().await.unwrap();
        let second = place.acquire("another").await.unwrap();
        assert_eq!((second.generation().await, place.generation().await), (2, 2));
    }
}

#[tokio::test]
async fn whoever_was_paused_past_its_time_writes_nothing_any_more() {
    for place in [Place::local().await, Place::s3().await] {
        let paused = place.acquire("the paused").await.unwrap();
        place.clock.advance(DURATION);
        assert!(is_held(&place.acquire("the next").await), "clocks may differ a little");
        place.clock.advance(EXPIRED.saturating_sub(DURATION));
        let next = place.acquire("the next").await.unwrap();
        assert_eq!(next.generation().await, 2);
        let outcome = paused.renew().await;
        assert!(is_held(&outcome), "{outcome:?}");
        assert!(outcome.unwrap_err().to_string().contains("the next holds the lease"));
        next.renew().await.unwrap();
        assert!(is_held(&paused.release().await), "what it gives back is not its own");
        next.renew().await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_that_ran_out_is_renewed_as_long_as_nobody_took_it() {
    let place = Place::local().await;
    let held = place.acquire("alone").await.unwrap();
    place.clock.advance(EXPIRED * 100);
    held.renew().await.unwrap();
    assert!(is_held(&place.acquire("another").await));
    assert_eq!(held.generation().await, 1);
    assert!(held.remaining().await > DURATION / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_want_it_at_once_one_gets_it() {
    let place = Place::local().await;
    for round in 1..=5 {
        let outcomes = join_all((0..8).map(|_| place.acquire("one of many"))).await;
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.iter().filter(|outcome| is_held(outcome)).count()), (1, 7));
        assert_eq!(place.generation().await, round);
        place.clock.advance(EXPIRED);
    }
}

/// Taking, renewing and giving back, with a fault at each operation: it is never held by two, and never for good.
#[tokio::test]
async fn faults_leave_a_lease_that_one_holds_or_that_runs_out() {
    for fault in [Fault::Crash, Fault::FailOnce, Fault::LostReply] {
        for at in 1..=12 {
            let place = Place::local().await;
            let faulty = Faulty::new(Local::open(place.folder.path(), Clock::system(), Random::system()), fault, at);
            let patient = Retrying::with_backoff(faulty, Backoff::without_pauses(), Random::system());
            let run = async {
                let held = place.acquire_through(Arc::new(patient), "the unlucky").await?;
                held.renew().await?;
                assert!(is_held(&place.acquire("another").await), "{fault:?} at operation {at}");
                held.release().await
            };
            let outcome = run.await;
            assert!(outcome.is_ok() || fault == Fault::Crash, "{fault:?} at operation {at}: {outcome:?}");
            place.clock.advance(EXPIRED);
            place.acquire("the next").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_lease_that_somebody_else_wrote_is_refused() {
    let place = Place::local().await;
    place.acquire("alone").await.unwrap();
    let before = place.storage.read(layout::LEASE, None).await.unwrap();
    let forged = String::from_utf8(before.to_vec()).unwrap().replace("alone", "alias");
    place.storage.replace(layout::LEASE, before, forged.into()).await.unwrap();
    let error = place.acquire("another").await.err().unwrap();
    assert_eq!(error.kind(), Kind::Damaged);
    assert!(error.hint().unwrap().contains("control/lease.json"), "{error:?}");
}
