//! Documents of one part on their way into segments.

use bson::RawDocument;
use tokio::sync::mpsc;

use super::store::Filled;
use crate::format::segment::Documents;
use crate::progress::PartProgress;

/// The segments of a part, in their order: one being filled, and those that are full and wait to be sent.
pub(super) struct Run {
    /// The collection's number, and the part's.
    number: (usize, usize),
    segment_bytes: usize,
    open: Documents,
    full: Vec<Documents>,
    sent: usize,
    progress: PartProgress,
}

impl Run {
    pub fn new(number: (usize, usize), segment_bytes: usize, progress: &PartProgress) -> Self {
        let (open, full, progress) = (Documents::default(), Vec::new(), progress.clone());
        Self { number, segment_bytes, open, full, sent: 0, progress }
    }

    pub fn push(&mut self, document: &RawDocument) {
        if self.open.is_full_for(document, self.segment_bytes) {
            self.full.push(std::mem::replace(&mut self.open, Documents::with_capacity(self.segment_bytes)));
        }
        self.open.push(document);
    }

    /// Sends the segments that are full; returns whether somebody takes them.
    pub async fn send(&mut self, filled: &mpsc::Sender<Filled>) -> bool {
        let (collection, part) = self.number;
        for documents in self.full.drain(..) {
            let position = (part, self.sent);
            self.sent += 1;
            let progress = self.progress.clone();
            if filled.send(Filled { collection, position, documents, progress }).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Sends all that is left.
    pub async fn finish(mut self, filled: &mpsc::Sender<Filled>) -> bool {
        if !self.open.is_empty() {
            self.full.push(std::mem::take(&mut self.open));
        }
        self.send(filled).await
    }
}
