//! The one contract that every store passes: each promise of `Storage` and `Upload` is a function in
//! [`promises`], run against each store below, bare and behind `Retrying`.
//!
//! The S3 store is a real server. What one kind of store alone promises is in [`local`] and [`s3`]; what
//! holds when something breaks, in [`faults`].

// Clippy allows it in test functions alone, and these are the helpers and promises that they call.
#![allow(clippy::unwrap_used)]

mod faults;
mod local;
mod lossy_proxy;
mod promises;
mod s3;

use std::sync::Arc;

use bytes::Bytes;
use regrow::clock::Clock;
use regrow::random::Random;
use regrow::storage::{Backoff, Local, Retrying, S3, S3Options, Storage};
use tempfile::TempDir;

/// A store to be tested, alone in its place.
struct Subject {
    store: Arc<dyn Storage>,
    /// The same kind of store in a bucket or directory that does not exist.
    nowhere: Arc<dyn Storage>,
    /// Whether of several creates at the same instant exactly one wins, whatever the instant.
    atomic: bool,
    /// Keeps a local store's directory until the test ends.
    _directory: Option<TempDir>,
}

impl Subject {
    fn local() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(open_local(directory.path()));
        let nowhere = Arc::new(open_local(&directory.path().join("nowhere")));
        Self { store, nowhere, atomic: true, _directory: Some(directory) }
    }

    async fn s3() -> Self {
        let store = Arc::new(connect(S3Options { prefix: unique_prefix(), ..s3_server() }).await);
        let options = S3Options { bucket: "regrow-no-such-bucket".to_owned(), ..s3_server() };
        // The server that the tests run by default looks whether a key is free and then writes, so two
        // creates at one instant may both succeed.
        Self { store, nowhere: Arc::new(connect(options).await), atomic: false, _directory: None }
    }

    fn retrying(self) -> Self {
        Self { store: Arc::new(patient(self.store)), nowhere: Arc::new(patient(self.nowhere)), ..self }
    }
}

/// Returns the S3 server that the tests use: a bucket that exists, its endpoint and credentials.
fn s3_server() -> S3Options {
    S3Options { backoff: Backoff::without_pauses(), ..crate::harness::s3().options() }
}

async fn connect(options: S3Options) -> S3 {
    S3::connect(options, Clock::system(), Random::system()).await.unwrap()
}

/// Returns a part of the bucket that no other test uses.
fn unique_prefix() -> String {
    format!("contract/{:016x}", Random::system().next_u64())
}

fn open_local(path: &std::path::Path) -> Local {
    Local::open(path, Clock::system(), Random::system())
}

fn patient<S: Storage + Clone + 'static>(store: S) -> Retrying<S> {
    Retrying::with_backoff(store, Backoff::without_pauses(), Random::system())
}

/// Returns `size` bytes that do not repeat and differ for each `seed`.
fn noise(seed: u64, size: usize) -> Bytes {
    let random = Random::seeded(seed);
    let mut content = Vec::with_capacity(size + 8);
    while content.len() < size {
        content.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    content.truncate(size);
    content.into()
}

/// Makes one test of each promise for each store.
macro_rules! contract {
    ($($promise:ident,)*) => {
        contract!(@store local, Subject::local(), $($promise,)*);
        contract!(@store s3, Subject::s3().await, $($promise,)*);
        contract!(@store retrying_local, Subject::local().retrying(), $($promise,)*);
        contract!(@store retrying_s3, Subject::s3().await.retrying(), $($promise,)*);
    };
    (@store $store:ident, $subject:expr, $($promise:ident,)*) => {
        mod $store {
            use crate::storage_contract::{Subject, promises};
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    promises::$promise(&$subject).await;
                }
            )*
        }
    };
}

mod contract {
    contract! {
        what_is_created_is_read_back,
        an_object_may_be_empty,
        a_taken_key_is_refused,
        of_many_creators_one_wins,
        only_what_is_unchanged_is_replaced,
        of_many_replacers_one_wins,
        keys_may_have_odd_characters,
        keys_that_lead_elsewhere_are_refused,
        ranges_end_with_the_object,
        a_large_upload_arrives_whole,
        uploads_of_every_size_around_a_part_arrive_whole,
        an_upload_to_a_taken_key_is_refused,
        an_unfinished_upload_is_invisible,
        aborted_and_dropped_uploads_stay_invisible,
        a_listing_has_every_page_in_order,
        a_prefix_is_a_string,
        a_delete_may_be_repeated,
        a_missing_object_is_not_found,
        a_missing_place_is_named,
        a_sweep_spares_what_is_young,
        probes_tell_the_truth_and_leave_one_marker_at_most,
    }
}
