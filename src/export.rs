//! Reading documents out of a backup, with no server: those of one collection, or a whole dump for the stock tools.
//!
//! Every segment is checked against its recorded hash before anything of it is written, and what is written to a file gets
//! its name only when it is whole: a run that fails or is killed leaves at most a temporary file (`.regrow-export-…`) beside it.
//! A backup whose documents show different moments until its own oplog is replayed is refused: nothing here replays.

mod documents;
mod dump;
mod output;

use futures_util::{Stream, StreamExt, stream};

pub use documents::{DocumentFormat, DocumentsRequest, Exported, documents};
pub use dump::{DumpRequest, Dumped, Place, dump};
pub use output::{FileTarget, FolderTarget, Output};

use crate::codec::Identities;
use crate::error::{Context, Error, Result};
use crate::format::catalog::{Catalog, CollectionRecord};
use crate::format::manifest::{Consistency, Manifest};
use crate::repository::{Remaining, Repository, SegmentReader};

/// How many segments are fetched and opened ahead of whoever writes them.
const READ_AHEAD: usize = 2;

/// A backup that is read from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its manifest.
    pub manifest: Manifest,
    /// What it holds.
    pub catalog: Catalog,
    segments: SegmentReader,
}

impl Source {
    /// Opens a backup by its id, a unique beginning of it, or `latest`.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when there is none; [`Kind::Refused`](crate::error::Kind::Refused) when its documents count
    /// only after a replay; [`Kind::Damaged`](crate::error::Kind::Damaged) when manifest or catalog were altered;
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when no identity opens it.
    pub async fn open(repository: &Repository, backup: &str, identities: Option<Identities>) -> Result<Self> {
        let manifest = repository.manifest(&repository.resolve(backup).await?).await?;
        if manifest.consistency == Consistency::Oplog {
            return Err(Error::refused(format!(
                "the documents of {} show different moments until its own oplog is replayed, which an export does not do",
                manifest.id
            ))
            .with_hint(format!(
                "choose a backup with consistency 'snapshot', or restore this one and read from there: regrow restore {} --to URI",
                manifest.id
            )));
        }
        let catalog = repository.catalog(&manifest, identities.as_ref()).await?;
        let segments = repository.segments(&manifest, identities).await?;
        Ok(Self { manifest, catalog, segments })
    }

    /// Returns the documents of a collection, what remains of each of its segments, in order.
    ///
    /// # Errors
    /// Each item: [`Kind::Damaged`](crate::error::Kind::Damaged), naming the segment, when it is missing or not what was written.
    async fn runs(&self, record: &CollectionRecord) -> Result<impl Stream<Item = Result<Remaining>> + Send + use<>> {
        let superseded = self.segments.superseded(record).await?;
        let (segments, namespace) = (self.segments.clone(), record.namespace());
        let read = stream::iter(record.segments.clone()).map(move |segment| {
            let (segments, superseded, namespace) = (segments.clone(), superseded.clone(), namespace.clone());
            async move { segments.documents(&segment, &superseded).await.context(format!("of {namespace}")) }
        });
        Ok(read.buffered(READ_AHEAD))
    }
}
