//! Documents of one part on their way into segments.

use bson::{Binary, RawDocument, RawDocumentBuf};
use tokio::sync::mpsc;

use super::store::Filled;
use crate::codec::sha256;
use crate::error::{Error, Result};
use crate::format::checkpoint::{Position, binary};
use crate::format::segment::Documents;
use crate::progress::PartProgress;

/// Where a part begins of which an interrupted run has stored something.
#[derive(Debug, Clone, Default)]
pub(super) struct Begin {
    /// How many of its segments are stored.
    pub stored: usize,
    /// Where reading goes on behind them.
    pub position: Position,
}

/// The segments of a part, in their order: one being filled, and those that are full and wait to be sent.
pub(super) struct Run {
    /// The collection's number, and the part's.
    number: (usize, usize),
    segment_bytes: usize,
    open: Documents,
    full: Vec<(Documents, Position)>,
    sent: usize,
    taken: u64,
    progress: PartProgress,
    /// Behind which token the last document was read, and as the how manieth.
    after: Option<RawDocumentBuf>,
    passed: i64,
    /// Behind which token the coming documents are read, and whether it is another than that of the last one.
    behind: Option<RawDocumentBuf>,
    has_moved: bool,
    /// How many bytes of the open segment are those of its last document.
    last: usize,
    /// How many documents are passed over that are stored already, and the hash of the last of them; none once that is done.
    stored: Option<(i64, Binary)>,
    /// Whether the node shows something else than what was stored.
    differs: bool,
}

impl Run {
    pub fn new(number: (usize, usize), segment_bytes: usize, progress: &PartProgress) -> Self {
        Self {
            number,
            segment_bytes,
            open: Documents::default(),
            full: Vec::new(),
            sent: 0,
            taken: 0,
            progress: progress.clone(),
            after: None,
            passed: 0,
            behind: None,
            has_moved: false,
            last: 0,
            stored: None,
            differs: false,
        }
    }

    /// Goes on behind segments that are stored: documents up to there are passed over.
    pub fn behind(self, begin: Begin) -> Self {
        let Position { passed, last, .. } = begin.position;
        let stored = (passed > 0).then_some((passed, last));
        Self { sent: begin.stored, stored, ..self }
    }

    /// Says behind which resume token the coming documents are read.
    pub fn reads_behind(&mut self, token: Option<&RawDocumentBuf>) {
        if self.behind.as_ref() != token {
            (self.behind, self.has_moved) = (token.cloned(), true);
        }
    }

    pub fn push(&mut self, document: &RawDocument) {
        if self.open.is_full_for(document, self.segment_bytes) {
            self.close(false);
        }
        if std::mem::take(&mut self.has_moved) {
            (self.after, self.passed) = (self.behind.clone(), 0);
        }
        self.passed += 1;
        if let Some((left, last)) = &mut self.stored {
            *left -= 1;
            if *left == 0 {
                self.differs |= sha256(document.as_bytes())[..] != last.bytes[..];
                self.stored = None;
            }
            return;
        }
        self.open.push(document);
        self.last = document.as_bytes().len();
        self.taken += self.last as u64;
    }

    /// Makes sure that reading goes on where it had ended: the same node shows the same documents in the same order, and the
    /// last one that is stored tells.
    ///
    /// # Errors
    /// When it is another. `is_exact` tells whether the part is read as of the backup's moment, `ends` whether nothing more
    /// will come.
    pub fn check(&self, is_exact: bool, ends: bool) -> Result<()> {
        if self.differs || (self.stored.is_some() && (ends || !is_exact)) {
            return Err(Error::failed("the node does not show any more what an interrupted run has read of it"));
        }
        Ok(())
    }

    /// Returns the bytes of all documents so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    fn close(&mut self, is_end: bool) {
        let next = if is_end { Documents::default() } else { Documents::with_capacity(self.segment_bytes) };
        let documents = std::mem::replace(&mut self.open, next);
        let bytes = documents.as_bytes();
        let last = binary(&sha256(&bytes[bytes.len() - self.last..]));
        self.full.push((documents, Position { is_end, after: self.after.clone(), passed: self.passed, last }));
    }

    /// Sends the segments that are full; returns whether somebody takes them.
    pub async fn send(&mut self, filled: &mpsc::Sender<Filled>) -> bool {
        let (collection, part) = self.number;
        for (documents, end) in self.full.drain(..) {
            let position = (part, self.sent);
            self.sent += 1;
            let progress = self.progress.clone();
            if filled.send(Filled { collection, position, documents, end, progress }).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Sends all that is left.
    pub async fn finish(mut self, filled: &mpsc::Sender<Filled>) -> bool {
        if !self.open.is_empty() {
            self.close(true);
        }
        self.send(filled).await
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::progress::Progress;

    fn run() -> Run {
        Run::new((0, 0), 1, &Progress::default().part("shop.orders".into(), 0))
    }

    fn read(mut run: Run, ids: impl IntoIterator<Item = i32>) -> Run {
        for id in ids {
            run.push(&rawdoc! { "_id": id });
        }
        run
    }

    /// Each document is a segment; the last one of five is open.
    #[test]
    fn it_goes_on_behind_the_last_document_that_is_stored_and_no_other() {
        let token = rawdoc! { "$recordId": 7_i64 };
        let mut first = run();
        first.reads_behind(Some(&token));
        let first = read(first, 0..5);
        let position = first.full[2].1.clone();
        assert_eq!((&position.after, position.passed, position.is_end), (&Some(token.clone()), 3, false));
        let begin = || Begin { stored: 3, position: position.clone() };

        let again = read(run().behind(begin()), 0..5);
        again.check(true, true).unwrap();
        assert_eq!((again.sent, again.taken), (3, 2 * 14), "the documents with 3 and 4");
        for other in [vec![0, 1, 3, 4], vec![0, 1, 9, 3], vec![9]] {
            let other = read(run().behind(begin()), other);
            assert!(other.check(true, true).is_err());
        }
        let not_yet = read(run().behind(begin()), 0..2);
        not_yet.check(true, false).unwrap();
        assert!(not_yet.check(false, false).is_err(), "what is read later has another order");
    }
}
