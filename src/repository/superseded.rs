//! What of an older backup's segments a newer one replaces: documents whose `_id` it names as touched.
//!
//! The `_id`s of a collection are kept as hashes, about 40 bytes each; how many there may be, whoever takes increments
//! bounds.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use bson::RawDocument;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::SegmentReader;
use crate::codec::ContentDigest;
use crate::error::{Error, Result};
use crate::format::catalog::{CollectionRecord, SegmentRef};
use crate::format::segment::Walk;
use crate::operations::identity::{Element, Hash, IdentityKey};

/// How many segments of `_id`s are fetched and opened at once.
const READ_AHEAD: usize = 2;

/// The touched `_id`s of one collection; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Superseded(Option<Arc<Touched>>);

#[derive(Debug)]
struct Touched {
    key: IdentityKey,
    /// Of each `_id`, how many backups back the newest lies that touched it.
    newest: HashMap<Hash, u8, BuildHasherDefault<FirstBytes>>,
}

/// What remains of a segment.
#[derive(Debug)]
pub struct Remaining {
    /// The documents that count, one after the other.
    pub documents: Vec<u8>,
    /// How many they are.
    pub count: u64,
    /// The documents that were left out.
    pub superseded: ContentDigest,
}

impl SegmentReader {
    /// Reads which documents of a collection are superseded; none where it lies in one backup alone.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged), naming the pack and the segment, when one is missing or not what was written.
    pub async fn superseded(&self, record: &CollectionRecord) -> Result<Superseded> {
        match &record.changes {
            Some(changes) => self.touched(&changes.touched).await,
            None => Ok(Superseded::default()),
        }
    }

    /// The same by the segments that name the touched `_id`s.
    ///
    /// # Errors
    /// As those of [`superseded`](Self::superseded).
    pub async fn touched(&self, segments: &[SegmentRef]) -> Result<Superseded> {
        let Some(key) = self.layers.first().map(|layer| layer.key.clone()).filter(|_| !segments.is_empty()) else {
            return Ok(Superseded::default());
        };
        let mut touched = Touched { key, newest: HashMap::default() };
        let read = stream::iter(segments.to_vec())
            .map(|segment| async move { Ok::<_, Error>((segment.layer, self.whole(&segment).await?)) });
        let mut read = std::pin::pin!(read.buffered(READ_AHEAD));
        while let Some((layer, ids)) = read.try_next().await? {
            let adding = tokio::task::spawn_blocking(move || touched.add(layer, &ids).map(|()| touched)).await;
            touched = adding.map_err(|error| Error::failed("hashing _ids stopped").caused_by(error))??;
        }
        Ok(Superseded(Some(Arc::new(touched))))
    }

    /// Returns the documents of a segment that nothing newer supersedes. Needs memory for one segment.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged), naming the pack and the segment, when it is missing or not what was written.
    pub async fn documents(&self, segment: &SegmentRef, superseded: &Superseded) -> Result<Remaining> {
        let documents = self.whole(segment).await?;
        let Some(touched) = superseded.0.clone().filter(|_| segment.layer > 0) else {
            return Ok(Remaining { documents, count: segment.documents, superseded: ContentDigest::default() });
        };
        let layer = segment.layer;
        let sifting = tokio::task::spawn_blocking(move || touched.sift(layer, documents)).await;
        sifting.map_err(|error| Error::failed("reading a segment stopped").caused_by(error))?
    }

    async fn whole(&self, segment: &SegmentRef) -> Result<Vec<u8>> {
        let (documents, count) = self.read_of(segment.layer, segment.n).await?;
        if (documents.len() as u64, count) != (segment.bytes, segment.documents) {
            return Err(Error::damaged(format!("segment {} does not hold what the catalog says", segment.n)));
        }
        Ok(documents)
    }
}

impl Touched {
    fn add(&mut self, layer: u8, ids: &[u8]) -> Result<()> {
        for document in Walk::new(ids) {
            let newest = self.newest.entry(self.key.hash(Element::id_of(document?))).or_insert(layer);
            *newest = layer.min(*newest);
        }
        Ok(())
    }

    fn supersedes(&self, layer: u8, document: &RawDocument) -> bool {
        self.newest.get(&self.key.hash(Element::id_of(document))).is_some_and(|newest| *newest < layer)
    }

    fn sift(&self, layer: u8, mut documents: Vec<u8>) -> Result<Remaining> {
        let (mut kept, mut count, mut superseded) = (0, 0, ContentDigest::default());
        let mut stretches = Vec::new();
        let mut at = 0;
        for document in Walk::new(&documents) {
            let document = document?;
            let end = at + document.as_bytes().len();
            if self.supersedes(layer, document) {
                superseded.add([document.as_bytes()]);
            } else {
                stretches.push(at..end);
                count += 1;
            }
            at = end;
        }
        for stretch in stretches {
            let length = stretch.len();
            documents.copy_within(stretch, kept);
            kept += length;
        }
        documents.truncate(kept);
        Ok(Remaining { documents, count, superseded })
    }
}

/// Takes a hash for what it is: its first bytes are as good as any.
#[derive(Debug, Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length of what is hashed is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;
    use crate::format::segment::Documents;

    fn run(ids: impl IntoIterator<Item = i32>) -> Vec<u8> {
        let documents: Documents = ids.into_iter().map(|id| rawdoc! { "_id": id, "text": "x" }).collect();
        documents.as_bytes().to_vec()
    }

    #[test]
    fn a_document_gives_way_to_every_newer_backup_that_touched_it_and_to_no_other() {
        let mut touched = Touched { key: IdentityKey::of([7; 32]), newest: HashMap::default() };
        touched.add(2, &run([1, 2])).unwrap();
        touched.add(1, &run([2, 3])).unwrap();
        touched.add(0, rawdoc! { "_id": 4_i64 }.as_bytes()).unwrap();
        let remaining = |layer| {
            let remaining = touched.sift(layer, run(0..6)).unwrap();
            assert_eq!(remaining.count + remaining.superseded.documents, 6);
            let ids = Walk::new(&remaining.documents).map(|document| document.unwrap().get_i32("_id").unwrap());
            ids.collect::<Vec<_>>()
        };
        assert_eq!(remaining(3), [0, 5]);
        assert_eq!(remaining(2), [0, 1, 5]);
        assert_eq!(remaining(1), [0, 1, 2, 3, 5]);
        let left_out = touched.sift(1, run(0..6)).unwrap().superseded;
        let four: RawDocumentBuf = rawdoc! { "_id": 4, "text": "x" };
        assert_eq!(left_out, ContentDigest::of(four.as_bytes()).unwrap());
    }
}
