//! What lasts long, holds much, has no room left, or whose clock is wrong.
//!
//! All of it runs always, for seconds and with little; with `REGROW_FAULTS=all` (`scripts/faults.sh`) for an hour
//! (`REGROW_SOAK_MINUTES` says otherwise) and with gigabytes.
#![allow(clippy::print_stdout)] // What was measured is for whoever reads a run.

mod big;
mod clocks;
mod full_disk;
mod many;
mod memory;
mod small_disk;
mod soak;

use std::sync::LazyLock;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use mongodb::{Client, Database};

use crate::harness::Workspace;

const MIB: usize = 1024 * 1024;

/// Bytes of noise: more than a compressor looks back, so that they can be used again and again.
const NOISE: usize = 64 * MIB;

/// Inserts `bytes` that do not compress, in documents of `size`, and returns how many documents that is.
async fn insert_noise(client: &Client, db: &str, bytes: usize, size: usize) -> u64 {
    static NOISY: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut noise = vec![0; NOISE];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut noise).unwrap();
        noise
    });
    let blocks = client.database(db).collection::<Document>("blocks");
    let before = blocks.count_documents(doc! {}).await.unwrap();
    let at = |number: usize| number * size % (NOISE - size);
    let block = |number| Binary { subtype: BinarySubtype::Generic, bytes: NOISY[at(number)..][..size].to_vec() };
    let per_insert = (8 * MIB / size).max(1);
    let count = bytes / size;
    for begin in (0..count).step_by(per_insert) {
        let documents = (begin..count.min(begin + per_insert)).map(|number| doc! { "block": block(number) });
        blocks.insert_many(documents).await.unwrap();
    }
    before + count as u64
}

/// Returns the server's hash of every collection of a database, which depends on every byte of every document.
async fn hashes(database: &Database) -> Document {
    database.run_command(doc! { "dbHash": 1 }).await.unwrap().get_document("collections").unwrap().clone()
}

fn initialised(uri: &str) -> Workspace {
    let workspace = Workspace::on_disk(uri);
    workspace.run(["init"]).exits(0);
    workspace
}
