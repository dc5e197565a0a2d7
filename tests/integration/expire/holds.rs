//! Holding and bringing back while expiry is at work: whoever is told that a backup stays has it.

use std::sync::{Arc, Mutex};

use regrow::error::{Kind, Result};
use regrow::format::mark::MarkKind;
use regrow::format::{BackupId, layout};
use regrow::repository::Repository;
use regrow::storage::{Fault, Faulty, Storage};

use super::{AFTER_GRACE, Bench};

/// What somebody wants of an expired backup.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Hold,
    Undelete,
}

impl Bench {
    /// A full backup, an increment behind it and another full one; the grace period of the first two is over.
    async fn with_chain_to_remove() -> Self {
        let bench = Self::with_chain(1, true).await;
        bench.expire().await.unwrap();
        bench.clock.advance(AFTER_GRACE);
        bench
    }

    /// Does what `regrow hold` and `regrow undelete` do.
    async fn wish(&self, wish: Wish, storage: Arc<dyn Storage>) -> Result<()> {
        let (repository, id) = (Repository::open(storage).await?, self.increment());
        repository.manifest(&id).await?;
        if matches!(wish, Wish::Hold) {
            repository.place_mark(MarkKind::Hold, &id, "audit", self.clock.now(), &self.key).await?;
        }
        repository.bring_back(&id, &self.key).await.map(drop)
    }

    fn increment(&self) -> BackupId {
        self.backups[1].id.clone()
    }

    /// Returns a store that has `work` done, and its outcome kept, directly before its operation number `at`.
    fn interrupted<T: Send + 'static>(
        self: &Arc<Self>,
        at: u64,
        work: impl AsyncFn(&Self) -> T + Copy + Send + Sync + 'static,
    ) -> (Arc<dyn Storage>, Arc<Mutex<Option<T>>>) {
        let (bench, outcome) = (Arc::clone(self), Arc::default());
        let kept: Arc<Mutex<Option<T>>> = Arc::clone(&outcome);
        let store = Faulty::counting(self.store()).telling(move |met| {
            if met.number == at {
                let bench = Arc::clone(&bench);
                // As another process would: this one stands still meanwhile.
                let working = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(work(&bench))
                });
                *kept.lock().unwrap() = Some(working.join().unwrap());
            }
        });
        (Arc::new(store), outcome)
    }

    /// Checks that what was told is true; returns whether it stays.
    async fn keeps_word(&self, told: Result<()>, case: &str) -> bool {
        let left = self.whole(case).await;
        match &told {
            Ok(()) => assert_eq!(left, self.ids(), "{case}"),
            Err(error) => assert_eq!(error.kind(), Kind::NotFound, "{case}: {error}"),
        }
        told.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_that_a_backup_stays_has_it_whenever_that_is_asked_of_expiry() {
    let marked = Bench::with_chain_to_remove().await;
    let undisturbed = marked.copy();
    let counting = Faulty::counting(undisturbed.store());
    undisturbed.expire_through(Arc::new(counting.clone())).await.unwrap();
    for wish in [Wish::Hold, Wish::Undelete] {
        let (mut stay, mut go) = (0, 0);
        for at in 1..=counting.count() {
            let (bench, case) = (Arc::new(marked.copy()), format!("{wish:?} before operation {at} of expiry"));
            let ask = async move |bench: &Bench| bench.wish(wish, Arc::new(bench.store())).await;
            let (storage, told) = bench.interrupted(at, ask);
            bench.expire_through(storage).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            let told = told.lock().unwrap().take();
            // What stays shortens the run.
            let Some(told) = told else { continue };
            if bench.keeps_word(told, &case).await { stay += 1 } else { go += 1 }
        }
        assert!(stay > 5 && go > 5, "{wish:?}: it stays {stay} times and goes {go} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_that_a_backup_stays_has_it_whenever_expiry_comes_between() {
    let marked = Bench::with_chain_to_remove().await;
    for wish in [Wish::Hold, Wish::Undelete] {
        let undisturbed = marked.copy();
        let counting = Faulty::counting(undisturbed.store());
        undisturbed.wish(wish, Arc::new(counting.clone())).await.unwrap();
        let (mut stay, mut go) = (0, 0);
        for at in 1..=counting.count() {
            let (bench, case) = (Arc::new(marked.copy()), format!("expiry before operation {at} of {wish:?}"));
            let (storage, expired) = bench.interrupted(at, async |bench: &Bench| bench.expire().await);
            let told = bench.wish(wish, storage).await;
            assert!(matches!(expired.lock().unwrap().take(), Some(Ok(_))), "{case}");
            if bench.keeps_word(told, &case).await { stay += 1 } else { go += 1 }
        }
        assert!(stay > 0 && go > 0, "{wish:?}: it stays {stay} times and goes {go} times");
    }
}

/// Returns the number of the operation of an expiry that would delete the increment's manifest.
async fn deletion(marked: &Bench) -> u64 {
    let (bench, found) = (marked.copy(), Arc::new(Mutex::new(None)));
    let (kept, operation) = (Arc::clone(&found), format!("delete {}", layout::manifest(&bench.increment())));
    let store = Faulty::counting(bench.store()).telling(move |met| {
        if met.to_string().ends_with(&operation) {
            *kept.lock().unwrap() = Some(met.number);
        }
    });
    bench.expire_through(Arc::new(store)).await.unwrap();
    found.lock().unwrap().take().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_was_interrupted_before_it_removed_anything_yields_to_a_hold() {
    let marked = Bench::with_chain_to_remove().await;
    let at = deletion(&marked).await;
    let bench = marked.copy();
    bench.expire_through(Arc::new(Faulty::new(bench.store(), Fault::Crash, at))).await.unwrap_err();
    // Nobody knows that it does not go on.
    for wish in [Wish::Undelete, Wish::Hold] {
        let error = bench.wish(wish, Arc::new(bench.store())).await.unwrap_err();
        assert!(error.to_string().contains("is being removed"), "{error}");
    }
    bench.clock.advance(AFTER_GRACE);
    assert_eq!(bench.expire().await.unwrap().removed, []);
    bench.wish(Wish::Hold, Arc::new(bench.store())).await.unwrap();
    bench.expire().await.unwrap();
    assert_eq!(bench.whole("held").await, bench.ids());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_credentials_may_not_delete_can_still_be_brought_back() {
    let bench = Bench::with_chain_to_remove().await;
    let done = bench.expire_through(Arc::new(Faulty::new(bench.store(), Fault::DenyDeletes, 1))).await.unwrap();
    assert!(done.denied.is_some() && done.removed.is_empty(), "{done:?}");
    bench.wish(Wish::Undelete, Arc::new(bench.store())).await.unwrap();
    assert_eq!(bench.whole("brought back").await, bench.ids());
}

/// A return that was interrupted behind its decision counts, and what it left hinders no later expiry.
#[tokio::test(flavor = "multi_thread")]
async fn a_return_that_was_interrupted_leaves_a_backup_that_can_expire_again() {
    let bench = Bench::with_chain_to_remove().await;
    let denying = Arc::new(Faulty::new(bench.store(), Fault::DenyDeletes, 1));
    assert_eq!(bench.wish(Wish::Undelete, denying).await.unwrap_err().kind(), Kind::Configuration);
    let repository = bench.repository().await;
    assert_eq!(repository.mark(MarkKind::Expired, &bench.increment()).await.unwrap(), None);
    assert_eq!(bench.expire().await.unwrap().expired, [bench.increment()]);
    assert_eq!(bench.whole("it expires anew").await, bench.ids());
    bench.clock.advance(AFTER_GRACE);
    assert_eq!(bench.expire().await.unwrap().removed.len(), 2);
}
