//! Reading single documents by their `_id`s, as they were at one cluster time.

use std::collections::HashSet;
use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, Timestamp, cstr, rawdoc};

use super::answer;
use super::client::{LOOK, Node, snapshot_at};
use super::error::{Attempt, explain};
use crate::error::{Error, Result};

/// The name of the index that leads to documents by their `_id`.
pub const ID_INDEX: &str = "_id_";

/// How often a read is repeated after a lost connection.
const MAX_RETRIES: u32 = 5;

/// The wait before a lost connection is tried again; doubled each time.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The collection that is read, and as of when.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The node that is asked.
    pub node: Node,
    /// The database.
    pub db: String,
    /// The collection.
    pub collection: String,
    /// Its UUID: another that bears the name by now is not read.
    pub uuid: [u8; 16],
    /// The cluster time.
    pub at: Timestamp,
}

impl Lookup {
    /// Calls `take` with each document that has one of the `_id`s of `ids`, once for each. `identity` tells documents
    /// apart: what has none of the same is not asked for, whatever the collection's collation holds for equal.
    ///
    /// # Errors
    /// When the snapshot is gone, the collection was dropped, a privilege is missing, or the node stays away.
    pub async fn read<H: Eq + std::hash::Hash>(
        &self,
        ids: &[&RawDocument],
        identity: impl Fn(&RawDocument) -> H,
        mut take: impl FnMut(&RawDocument),
    ) -> Result<()> {
        let mut wanted: HashSet<H> = ids.iter().map(|id| identity(id)).collect();
        let (mut delay, mut attempts) = (RETRY_DELAY, 0);
        loop {
            let found = |document: &RawDocument| {
                if wanted.remove(&identity(document)) {
                    take(document);
                }
            };
            match self.try_read(ids, found).await {
                Err(error) if error.is_transient() && attempts < MAX_RETRIES => {
                    attempts += 1;
                    tracing::warn!(%error, "interrupted; reading the documents again");
                    tokio::time::sleep(delay).await;
                    delay *= 2;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_read(&self, ids: &[&RawDocument], mut found: impl FnMut(&RawDocument)) -> Result<()> {
        let doing = format!("read {}.{}", self.db, self.collection);
        let attempt = Attempt { doing: &doing, action: "find", ..LOOK };
        let malformed = |error: bson::error::Error| Error::failed(format!("cannot {doing}")).caused_by(error);
        let database = self.node.database(&self.db);
        let mut command = database.run_raw_cursor_command(self.command(ids).map_err(malformed)?);
        if let Some(criteria) = database.selection_criteria().cloned() {
            command = command.selection_criteria(criteria);
        }
        let mut cursor = answer::soon(command.batch()).await.map_err(|error| explain(&error, attempt))?;
        while let Some(batch) = answer::next(&mut cursor).await.map_err(|error| explain(&error, attempt))? {
            for document in batch.doc_slices().map_err(|error| explain(&error, attempt))? {
                document.map_err(malformed)?.as_document().into_iter().for_each(&mut found);
            }
        }
        Ok(())
    }

    fn command(&self, ids: &[&RawDocument]) -> Result<RawDocumentBuf, bson::error::Error> {
        let mut values = RawArrayBuf::new();
        for document in ids {
            values.push(document.get("_id")?.map_or(RawBson::Null, RawBson::from));
        }
        let mut one_of = RawDocumentBuf::new();
        one_of.append(cstr!("$in"), values);
        Ok(rawdoc! {
            "find": self.collection.as_str(),
            "filter": { "_id": one_of },
            "hint": ID_INDEX,
            "collectionUUID": Binary { subtype: BinarySubtype::Uuid, bytes: self.uuid.to_vec() },
            "readConcern": snapshot_at(self.at),
        })
    }
}
