//! What waits for the store: a queue of bounded size, the first of it in memory, the rest on the disk.
//!
//! Only sealed bytes are ever spooled. The files have no name: whatever ends the process removes them, and the next
//! capture reads those entries from the oplog again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::error::{Error, Result};
use crate::format::TimelineId;
use crate::format::oplog::{Range, Timeline};
use crate::repository::SealedSlice;
use crate::units::MIB;

/// How much of what waits stays in memory.
const IN_MEMORY: usize = 32 * MIB;

/// The unit that room is counted in: a semaphore holds less than 2^32 of them.
const UNIT: u64 = 1024;

/// Something to record in the repository, in the order of its arrival.
pub(super) enum Order {
    /// A timeline begins.
    Timeline(Timeline),
    /// Entries are lost.
    Gap { timeline: TimelineId, range: Range, cause: String },
    /// Entries, sealed.
    Slice { timeline: TimelineId, slice: SealedSlice, sealed: Bytes },
}

/// The end that is filled.
pub(super) struct Spool {
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    units: u32,
}

/// The end that is emptied.
pub(super) struct Orders {
    queue: mpsc::UnboundedReceiver<Waiting>,
    room: Arc<Semaphore>,
    units: u32,
}

struct Waiting {
    order: Order,
    /// Where a slice's bytes are, when not in it.
    file: Option<File>,
    room: OwnedSemaphorePermit,
    memory: Option<OwnedSemaphorePermit>,
}

/// An order to carry out. Its room is free again when this is dropped.
pub(super) struct Due {
    pub(super) order: Order,
    _room: OwnedSemaphorePermit,
    _memory: Option<OwnedSemaphorePermit>,
}

/// Makes a spool for `bytes` sealed bytes.
pub(super) fn new(bytes: u64) -> (Spool, Orders) {
    let units = units(bytes);
    let room = Arc::new(Semaphore::new(units as usize));
    let (sender, receiver) = mpsc::unbounded_channel();
    let memory = Arc::new(Semaphore::new(IN_MEMORY));
    (Spool { queue: sender, room: Arc::clone(&room), memory, units }, Orders { queue: receiver, room, units })
}

impl Spool {
    /// Adds an order; waits while there is no room. Returns whether anybody still wants it.
    pub(super) async fn add(&self, mut order: Order) -> Result<bool> {
        let size = match &order {
            Order::Slice { sealed, .. } => sealed.len(),
            _ => 0,
        };
        // One that is larger than the whole spool may wait alone.
        let room =
            Arc::clone(&self.room).acquire_many_owned(units(size as u64).min(self.units)).await.map_err(closed)?;
        let mut memory = Arc::clone(&self.memory).try_acquire_many_owned(u32::try_from(size).unwrap_or(u32::MAX)).ok();
        let mut file = None;
        if let (None, Order::Slice { sealed, .. }) = (&memory, &mut order) {
            match to_disk(sealed.clone()).await {
                Ok(spooled) => (*sealed, file) = (Bytes::new(), Some(spooled)),
                // Then it waits for memory, and the server's own oplog is the buffer.
                Err(error) => {
                    tracing::warn!(%error, hint = error.hint(), "what waits for the repository stays in memory");
                    memory = Some(self.memory_for(size).await?);
                }
            }
        }
        Ok(self.queue.send(Waiting { order, file, room, memory }).is_ok())
    }

    /// Waits for memory, for all of it where something is larger.
    async fn memory_for(&self, size: usize) -> Result<OwnedSemaphorePermit> {
        let size = u32::try_from(size.min(IN_MEMORY)).unwrap_or(u32::MAX);
        Arc::clone(&self.memory).acquire_many_owned(size).await.map_err(closed)
    }
}

impl Orders {
    /// Returns the next order, when there is one; none when there will be no more.
    pub(super) async fn next(&mut self) -> Result<Option<Due>> {
        let Some(Waiting { mut order, file, room, memory }) = self.queue.recv().await else { return Ok(None) };
        if let (Some(file), Order::Slice { sealed, .. }) = (file, &mut order) {
            *sealed = from_disk(file).await?;
        }
        Ok(Some(Due { order, _room: room, _memory: memory }))
    }

    /// Returns about how many bytes wait.
    pub(super) fn waiting(&self) -> u64 {
        (u64::from(self.units) - self.room.available_permits() as u64) * UNIT
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(u32::MAX / 8)
}

async fn to_disk(sealed: Bytes) -> Result<File> {
    in_background(move || {
        let file = tempfile::tempfile()?;
        file.write_all_at(&sealed, 0)?;
        Ok(file)
    })
    .await
}

async fn from_disk(file: File) -> Result<Bytes> {
    in_background(move || {
        let mut sealed = vec![0; usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?];
        file.read_exact_at(&mut sealed, 0)?;
        Ok(sealed.into())
    })
    .await
}

async fn in_background<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let cannot = || Error::failed("cannot spool to the disk").with_hint("free space where TMPDIR points");
    let outcome = tokio::task::spawn_blocking(work).await.map_err(|error| cannot().caused_by(error))?;
    outcome.map_err(|error| cannot().caused_by(error))
}

fn closed(error: tokio::sync::AcquireError) -> Error {
    Error::failed("the spool was closed").caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::format::ClusterTime;
    use crate::format::manifest::Encryption;

    fn slice(number: u32, bytes: usize) -> Order {
        let range = Range { begin: ClusterTime { t: number, i: 0 }, end: ClusterTime { t: number + 1, i: 0 } };
        let (encryption, recipients) = (Encryption::None, Vec::new());
        let slice = SealedSlice { range, entries: 1, bytes_raw: 1, encryption, recipients, nonce: 0 };
        let sealed = Bytes::from(vec![u8::try_from(number).unwrap(); bytes]);
        Order::Slice { timeline: "20261123T020000Z-7f3a".parse().unwrap(), slice, sealed }
    }

    async fn number(orders: &mut Orders) -> (u32, usize) {
        let due = orders.next().await.unwrap().unwrap();
        let Order::Slice { slice, sealed, .. } = &due.order else { panic!("only slices went in") };
        assert!(sealed.iter().all(|byte| u32::from(*byte) == slice.range.begin.t));
        (slice.range.begin.t, sealed.len())
    }

    #[tokio::test]
    async fn what_does_not_fit_into_memory_comes_back_from_the_disk_in_order() {
        let (spool, mut orders) = new(1 << 30);
        for at in 0..5 {
            assert!(spool.add(slice(at, 20 * MIB)).await.unwrap());
        }
        assert_eq!(orders.waiting(), 100 * MIB as u64);
        for at in 0..5 {
            assert_eq!(number(&mut orders).await, (at, 20 * MIB));
        }
        assert_eq!(orders.waiting(), 0);
    }

    #[tokio::test]
    async fn a_full_spool_holds_up_whoever_fills_it() {
        let (spool, mut orders) = new(MIB as u64);
        assert!(spool.add(slice(1, MIB)).await.unwrap());
        let more = tokio::time::timeout(Duration::from_millis(50), spool.add(slice(2, 1))).await;
        assert!(more.is_err(), "it had no room");
        assert_eq!(number(&mut orders).await, (1, MIB));
        assert!(spool.add(slice(3, 4 * MIB)).await.unwrap(), "one that is too large waits alone");
        assert_eq!(number(&mut orders).await, (3, 4 * MIB));
    }
}
