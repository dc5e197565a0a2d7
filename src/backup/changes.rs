//! The touched documents of a collection: read by their `_id`s, and stored beside those.
//!
//! Memory: a server batch, `ASKED` documents at most of those that one question finds, and a segment being filled.

use std::sync::Arc;

use bson::RawDocument;
use tokio::sync::mpsc;

use super::dump::PartEnd;
use super::pace::Pace;
use super::run::Run;
use super::store::Filled;
use super::touched::TouchedIds;
use crate::error::Result;
use crate::format::segment::Walk;
use crate::mongo::by_id::Lookup;
use crate::progress::PartProgress;
use crate::units::MIB;

/// How many `_id`s one part has at most: enough to keep a reader busy, few enough to share them between readers.
const IDS_PER_PART: usize = 20_000;

/// The most `_id`s that one question names.
const ASKED: u64 = 1000;

/// About how many bytes of documents one question shall find.
const FOUND_BYTES: u64 = 4 * MIB as u64;

/// Some of the touched documents of a collection.
pub(super) struct TouchedPart {
    lookup: Lookup,
    ids: Arc<TouchedIds>,
    /// Where in the bytes of all of them the part's lie.
    range: std::ops::Range<usize>,
    asked: usize,
}

/// What a part's documents and `_id`s count under.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub collection: usize,
    pub touched: usize,
    pub part: usize,
}

impl TouchedPart {
    /// Returns the parts in which so many readers read the documents with the `ids`, of which each has about `document_bytes`.
    pub fn split(lookup: &Lookup, ids: &Arc<TouchedIds>, document_bytes: u64, readers: usize) -> Vec<Self> {
        let asked = FOUND_BYTES.checked_div(document_bytes).unwrap_or(ASKED).clamp(1, ASKED);
        let asked = usize::try_from(asked).unwrap_or(1);
        // One reader must not be left alone with a collection that has most of them.
        let count = usize::try_from(ids.count()).unwrap_or(usize::MAX);
        let ids_per_part = count.div_ceil(readers.max(1)).clamp(asked, IDS_PER_PART.max(asked));
        let part = |range| Self { lookup: lookup.clone(), ids: Arc::clone(ids), range, asked };
        let (mut begin, mut end) = (0, 0);
        let mut parts = Vec::new();
        for (number, id) in Walk::new(ids.as_bytes()).flatten().enumerate() {
            if number > 0 && number % ids_per_part == 0 {
                parts.push(part(begin..end));
                begin = end;
            }
            end += id.as_bytes().len();
        }
        if begin < end {
            parts.push(part(begin..end));
        }
        parts
    }

    /// Reads the documents, and sends them and the `_id`s to be stored.
    ///
    /// # Errors
    /// As those of [`Lookup::read`].
    pub async fn read(
        &self,
        numbers: Numbers,
        segment_bytes: usize,
        (pace, progress): (&Pace, &PartProgress),
        filled: &mpsc::Sender<Filled>,
    ) -> Result<PartEnd> {
        let Numbers { collection, touched, part } = numbers;
        let bytes = self.ids.as_bytes().get(self.range.clone()).unwrap_or_default();
        let ids = Walk::new(bytes).collect::<Result<Vec<&RawDocument>>>()?;
        let mut named = Run::new((touched, part), segment_bytes, progress);
        let mut found = Run::new((collection, part), segment_bytes, progress);
        for asked in ids.chunks(self.asked) {
            pace.turn(progress).await;
            for id in asked {
                named.push(id);
            }
            let before = found.taken();
            let identity = |document: &RawDocument| self.ids.identity(document);
            self.lookup.read(asked, identity, |document| found.push(document)).await?;
            pace.has_read(found.taken() - before);
            if !(named.send(filled).await && found.send(filled).await) {
                return Ok(PartEnd::NobodyListens);
            }
        }
        let sent = named.finish(filled).await && found.finish(filled).await;
        Ok(if sent { PartEnd::Reached } else { PartEnd::NobodyListens })
    }
}
