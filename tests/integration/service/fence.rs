//! The fence: a backup whose service loses the lease, at whichever write, is not committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use regrow::clock::Clock;
use regrow::codec::SigningKey;
use regrow::codec::keys::NewIdentity;
use regrow::error::Kind;
use regrow::random::Random;
use regrow::repository::{Applicant, HeldLease, Repository};
use regrow::storage::{Fenced, Gate, StorageResult};

use crate::harness;
use crate::small_backups::{self, fill, local};

/// Lets the holder sleep before its write number `at`, long enough for somebody else to take the lease.
struct Sleeper {
    lease: Arc<HeldLease>,
    repository: Repository,
    key: SigningKey,
    clock: Clock,
    at: u64,
    writes: AtomicU64,
}

fn applicant(who: &str) -> Applicant {
    Applicant { description: who.into(), duration: Duration::from_secs(30), service: true }
}

#[async_trait]
impl Gate for Sleeper {
    async fn pass(&self) -> StorageResult<()> {
        if self.writes.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            self.clock.advance(Duration::from_secs(36));
            self.repository.acquire(&applicant("the next"), &self.key, &self.clock, &Random::system()).await.unwrap();
        }
        self.lease.pass().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_slept_past_its_lease_commits_nothing_whichever_write_was_next() {
    let db = fill(harness::replica_set()).await;
    let plan = small_backups::plan(harness::replica_set(), &db).await;
    let key = SigningKey::generate(&Random::system());
    let identity = NewIdentity::generate(Clock::system().now());
    let (mut at, mut made) = (0, 0);
    loop {
        at += 1;
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Clock::system().now());
        let (repository, _) = Repository::init(local(folder.path()), &key, &clock, &Random::system()).await.unwrap();
        let lease = repository.acquire(&applicant("the sleeper"), &key, &clock, &Random::system()).await.unwrap();
        let sleeper = Sleeper {
            lease: Arc::new(lease),
            repository: repository.clone(),
            key: key.clone(),
            clock,
            at,
            writes: AtomicU64::new(0),
        };
        let sleeper = Arc::new(sleeper);
        let fenced = Arc::new(Fenced::new(local(folder.path()), Arc::clone(&sleeper) as Arc<dyn Gate>));
        let outcome = small_backups::take(&plan, fenced, &key, &[identity.recipient.as_str()]).await;
        let backups = repository.list().await.unwrap().backups;
        if sleeper.writes.load(Ordering::SeqCst) < at {
            // It never slept: every write has had its turn.
            assert_eq!((outcome.is_ok(), backups.len()), (true, 1));
            break;
        }
        // The last one removes the lease of the backup, which is made by then.
        if outcome.is_ok() {
            assert_eq!(backups.len(), 1, "write {at}");
            made += 1;
            continue;
        }
        // The first is the sweep for leftovers, which a backup goes on without; the fence holds for all that follow.
        assert_eq!(outcome.unwrap_err().kind(), Kind::LeaseHeld, "write {at}");
        assert!(backups.is_empty(), "write {at}");
        assert!(sleeper.lease.lost().unwrap().contains("the next"), "write {at}");
    }
    assert!(at > 8, "only {at} writes");
    assert_eq!(made, 1);
}
