//! What each step from the socket's bytes to the stored ones costs by itself, in seconds of one core for a gigabyte of
//! documents. Their sum, with what the server takes, over the cores is the least time that a backup can take.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use regrow::clock::Clock;
use regrow::codec::{ContentDigest, PackHasher, Precedent, Recipients, Sealer, sha256};
use regrow::format::pack;
use regrow::format::segment::{Documents, Walk};
use regrow::random::Random;
use regrow::storage::{Local, Storage};

use super::{SEGMENT, best, runs, subject};

/// Prints a table, and the sum of it.
pub fn measure(bytes: &[u8], recipients: Recipients) {
    let runs = runs(bytes, SEGMENT);
    let (plain, sealer) = (Sealer::new(None), Sealer::new(Some(recipients)));
    let sealed: Vec<Bytes> = seal(&sealer, &runs);
    let [compressing, sealing] = [&plain, &sealer].map(|sealer| best(|| drop(seal(sealer, &runs))));
    let steps = [
        ("copy into segments", of_each(&runs, copied)),
        ("walk and content digest", of_each(&runs, digest)),
        ("zstd", compressing),
        ("age", sealing.saturating_sub(compressing)),
        ("SHA-256 of segments and packs, tar", best(|| _ = black_box(packed(&sealed)))),
        ("write, sync, read again", best(|| store(&sealed))),
    ];
    let raw: usize = runs.iter().map(|run| run.as_bytes().len()).sum();
    #[allow(clippy::cast_precision_loss)] // A table of rounded numbers.
    let per_gigabyte = |time: Duration| time.as_secs_f64() * 1e9 / raw as f64;
    println!("\n| step | s/GB |\n|---|--:|");
    for (step, time) in steps {
        println!("| {step} | {:.3} |", per_gigabyte(time));
    }
    println!("| **sum** | **{:.3}** |", per_gigabyte(steps.iter().map(|(_, time)| *time).sum()));
}

fn of_each<T>(runs: &[Documents], work: impl Fn(&Documents) -> T) -> Duration {
    best(|| {
        for run in runs {
            black_box(work(run));
        }
    })
}

/// As a backup does with the segments of one collection.
fn seal(sealer: &Sealer, runs: &[Documents]) -> Vec<Bytes> {
    let precedent = Precedent::default();
    runs.iter().map(|run| sealer.seal_like(subject(), run, &precedent).expect("it seals")).collect()
}

fn copied(run: &Documents) -> Documents {
    let mut copy = Documents::with_capacity(SEGMENT);
    Walk::new(run.as_bytes()).flatten().for_each(|document| copy.push(document));
    copy
}

fn digest(run: &Documents) -> ContentDigest {
    ContentDigest::of(run.as_bytes()).expect("they are documents")
}

fn packed(sealed: &[Bytes]) -> [u8; 32] {
    let mut hasher = PackHasher::default();
    for segment in sealed {
        let size = segment.len() as u64;
        hasher.add(&pack::member_header("000001.age", size));
        black_box(hasher.add_segment(segment, pack::padding(size)));
    }
    hasher.finish()
}

/// Into a directory, as one object; what the disk takes counts, too.
fn store(sealed: &[Bytes]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    let folder = tempfile::tempdir().expect("there is room");
    let local = Local::open(folder.path(), Clock::system(), Random::system());
    runtime.block_on(async {
        let mut upload = local.upload("pack").await.expect("it begins");
        for segment in sealed {
            upload.write(segment.clone()).await.expect("it is written");
        }
        upload.finish(&sha256(b"")).await.expect("it is durable");
    });
}
