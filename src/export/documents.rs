//! The documents of one collection, all of them or those that fit a filter.

use std::io::Write;
use std::sync::Arc;

use bson::{Bson, RawDocument};
use futures_util::TryStreamExt;

use super::output::unwritable;
use super::{Output, Source};
use crate::error::{Context, Error, Result};
use crate::filter::Filter;
use crate::format::catalog::{CollectionKind, CollectionRecord};
use crate::format::extended_json::{self, Style};
use crate::format::segment::Walk;
use crate::progress::Progress;
use crate::repository::Remaining;

/// How documents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentFormat {
    /// As they are, one after the other.
    Bson,
    /// As extended JSON, one a line.
    Json(Style),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct DocumentsRequest {
    /// The database.
    pub db: String,
    /// The collection.
    pub collection: String,
    /// How documents are written.
    pub format: DocumentFormat,
    /// Which of them are.
    pub filter: Filter,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// How many documents.
    pub documents: u64,
    /// Their bytes as BSON.
    pub bytes: u64,
    /// How many of them JSON cannot show exactly: they hold text that is not UTF-8.
    pub inexact: u64,
}

/// Writes the documents of a collection, in the order of the backup. Needs memory for the segments that are read ahead.
///
/// # Errors
/// [`Kind::NotFound`](crate::error::Kind::NotFound) when the backup does not hold it, [`Kind::Refused`](crate::error::Kind::Refused) when it has no
/// documents that a person would know; [`Kind::Damaged`](crate::error::Kind::Damaged), naming the segment, when one is missing or not what was
/// written; what `output` says.
pub async fn documents(
    source: &Source,
    request: &DocumentsRequest,
    output: &mut Output,
    progress: &Progress,
) -> Result<Exported> {
    let record = find(source, request)?;
    progress.expect(record.size().1);
    let (filter, format) = (Arc::new(request.filter.clone()), request.format);
    let mut exported = Exported::default();
    let mut runs = std::pin::pin!(source.runs(record).await?);
    while let Some(Remaining { documents, .. }) = runs.try_next().await? {
        let (filter, bytes) = (Arc::clone(&filter), documents.len() as u64);
        let wrote = output.run(move |output| write(output, &documents, &filter, format)).await?;
        exported.documents += wrote.documents;
        exported.bytes += wrote.bytes;
        exported.inexact += wrote.inexact;
        progress.add(wrote.documents, bytes, 0);
    }
    Ok(exported)
}

fn write(output: &mut dyn Write, run: &[u8], filter: &Filter, format: DocumentFormat) -> Result<Exported> {
    let mut wrote = Exported::default();
    let mut line = Vec::new();
    for document in Walk::new(run) {
        let document = document?;
        if !filter.matches(document) {
            continue;
        }
        let bytes = match format {
            DocumentFormat::Bson => document.as_bytes(),
            DocumentFormat::Json(style) => {
                line.clear();
                let exact =
                    extended_json::write(&mut line, document, style).context(format!("_id {}", id(document)))?;
                wrote.inexact += u64::from(!exact);
                line.push(b'\n');
                &line
            }
        };
        output.write_all(bytes).map_err(|error| unwritable("the output", error))?;
        wrote.documents += 1;
        wrote.bytes += document.as_bytes().len() as u64;
    }
    Ok(wrote)
}

/// Returns what a person knows a document by.
fn id(document: &RawDocument) -> String {
    let id = document.get("_id").ok().flatten().and_then(|id| Bson::try_from(id).ok());
    id.map_or_else(|| "unknown".into(), |id| id.into_relaxed_extjson().to_string())
}

fn find<'a>(source: &'a Source, request: &DocumentsRequest) -> Result<&'a CollectionRecord> {
    let (db, collection, backup) = (&request.db, &request.collection, &source.manifest.id);
    let record = source.catalog.collections.iter().find(|record| record.db == *db && record.name == *collection);
    let record = record.ok_or_else(|| {
        Error::not_found(format!("backup {backup} holds no collection {db}.{collection}"))
            .with_hint(format!("'regrow show {backup}' lists what it holds"))
    })?;
    match record.kind {
        CollectionKind::Collection | CollectionKind::Buckets => Ok(record),
        CollectionKind::View => Err(Error::refused(format!("{db}.{collection} is a view and holds no documents"))
            .with_hint("export the collection that it shows; --format mongodump writes its definition")),
        CollectionKind::Timeseries => Err(Error::refused(format!(
            "{db}.{collection} is a time series: the backup holds the server's buckets of it, and only a server makes measurements of them"
        ))
        .with_hint(format!(
            "restore it and read it there: regrow restore {backup} --ns {db}.{collection}; --format mongodump writes the buckets for mongorestore"
        ))),
    }
}
