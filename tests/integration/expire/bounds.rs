//! What expires of the oplog while the store says of something that it is not there, and it is.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use regrow::clock::Clock;
use regrow::policy::Retention;
use regrow::repository::Repository;
use regrow::storage::{Fault, Faulty};
use regrow::verify::Level;

use super::{AFTER_GRACE, ONE_DAILY, copy, run, three_rounds};
use crate::harness::{self, Options};
use crate::small_backups::{self, local, verified};

#[tokio::test(flavor = "multi_thread")]
async fn no_slice_goes_whose_bounds_were_not_found_and_moved() {
    let servers = harness::own(&Options::default());
    let workspace = three_rounds(&servers).await;
    harness::time::pass(&servers.client().await, SignedDuration::try_from(AFTER_GRACE * 2).unwrap()).await;
    workspace.run(["capture", "--once"]).exits(0);
    let key = small_backups::signing_key(&workspace);
    let retention = Retention { oplog: Some(Duration::from_hours(1)), ..ONE_DAILY };
    let (mut refused, mut removed) = (0, 0);
    for at in 1.. {
        let folder = tempfile::tempdir().unwrap();
        copy(&workspace.repository(), folder.path());
        let clock = Clock::manual(Clock::system().now());
        clock.advance(AFTER_GRACE * 2);
        let faulty = Faulty::new(local(folder.path()), Fault::Missing, at);
        let counter = faulty.clone();
        let outcome = async {
            let repository = Repository::open(Arc::new(faulty)).await?;
            run(&repository, &retention, &key, &clock).await
        };
        match outcome.await {
            Ok((_, done)) => removed += u32::from(done.oplog_objects > 0),
            Err(_) => refused += 1,
        }
        let repository = Repository::open(local(folder.path())).await.unwrap();
        assert_eq!(verified(&repository, Level::Structure).await.findings, [], "not found at operation {at}");
        if counter.count() < at {
            break;
        }
    }
    assert!(refused > 3 && removed > 3, "{refused} refused, {removed} removed");
}
