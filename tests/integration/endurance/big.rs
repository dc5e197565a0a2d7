//! Large documents and much data: memory is bounded by what is in flight, and not by what there is.

use super::memory::{MOST, mebibytes, peak};
use super::{MIB, hashes, initialised, insert_noise};
use crate::harness::{self, Options, Servers};

/// And with documents as large as the server allows.
const MOST_OF_LARGE: usize = 640 * MIB;

/// The most that fits into a document beside its names.
const LARGEST: usize = 16 * MIB - 1024;

/// Backs a database up and restores it, and returns the most memory that each took. Drops both.
async fn peaks(servers: &Servers, db: &str) -> [usize; 2] {
    let (client, workspace) = (servers.client().await, initialised(servers.uri()));
    let (backup, of_backup) = peak(workspace.regrow(["backup", "--ns", db]));
    backup.exits(0);
    let (copy, map) = (format!("{db}_again"), format!("{db}.*={db}_again.*"));
    let (restore, of_restore) = peak(workspace.regrow(["restore", "latest", "--map", &map, "--confirm", "rs0"]));
    restore.exits(0);
    assert_eq!(hashes(&client.database(&copy)).await, hashes(&client.database(db)).await);
    for db in [db, &copy] {
        client.database(db).drop().await.unwrap();
    }
    [of_backup, of_restore]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_with_the_data() {
    // The smaller of them is more than is ever in flight.
    let [less, more] = if harness::takes_long() { [1024 * MIB, 10 * 1024 * MIB] } else { [192 * MIB, 512 * MIB] };
    let servers = harness::own(&Options::default());
    let mut measured = Vec::new();
    for bytes in [less, more] {
        insert_noise(&servers.client().await, "shop", bytes, MIB / 4).await;
        let peaks = peaks(&servers, "shop").await;
        let [backup, restore] = peaks.map(mebibytes);
        println!("{}: a backup took {backup}, its restore {restore}", mebibytes(bytes));
        measured.push(peaks);
    }
    for ((of_less, of_more), what) in measured[0].into_iter().zip(measured[1]).zip(["backup", "restore"]) {
        assert!(of_more <= MOST, "a {what} took {}", mebibytes(of_more));
        // What is in flight at the peak is a matter of chance; the data is more than twice as much.
        assert!(2 * of_more <= 3 * of_less, "a {what} of more took {of_more} bytes, one of less {of_less}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_sixteen_mebibytes_take_a_bounded_amount() {
    let servers = harness::own(&Options::default());
    let count = if harness::takes_long() { 128 } else { 24 };
    let inserted = insert_noise(&servers.client().await, "shop", count * LARGEST, LARGEST).await;
    let [backup, restore] = peaks(&servers, "shop").await;
    println!("{inserted} of 16 MiB: a backup took {}, its restore {}", mebibytes(backup), mebibytes(restore));
    assert!(backup <= MOST_OF_LARGE && restore <= MOST_OF_LARGE, "{backup} and {restore} bytes");
}
