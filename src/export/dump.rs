//! A dump as `mongodump` would have written it: a folder, or an archive.

use futures_util::TryStreamExt;

use bson::{RawDocumentBuf, rawdoc};

use super::{FolderTarget, Output, Source};
use crate::error::{Error, Result};
use crate::format::catalog::{CollectionKind, CollectionRecord};
use crate::format::mongodump::archive::{Frame, Prelude, PreludeNamespace};
use crate::format::mongodump::metadata::Metadata;
use crate::format::mongodump::{DATA, GZIP, METADATA, PRELUDE, names};
use crate::namespace::buckets_of;
use crate::pattern::NamespacePattern;
use crate::progress::{Progress, Step};

/// The layout of users and roles since servers know SCRAM; the stock tools will not restore them without being told.
const ACCOUNTS_VERSION: i32 = 5;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct DumpRequest {
    /// The namespaces; none means all of them.
    pub patterns: Vec<NamespacePattern>,
    /// Whether users and roles are written too.
    pub accounts: bool,
    /// Whether files are compressed.
    pub gzip: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dumped {
    /// How many namespaces, views included.
    pub namespaces: u64,
    /// How many documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where a dump goes.
pub enum Place<'a> {
    /// Into the files of a folder.
    Folder(&'a FolderTarget),
    /// Into one stream.
    Archive(&'a mut Output),
}

/// One namespace of the dump.
struct Item<'a> {
    db: &'a str,
    name: &'a str,
    metadata: Metadata,
    data: Data<'a>,
}

enum Data<'a> {
    /// A view has none.
    None,
    Collection(&'a CollectionRecord),
    Accounts(Vec<RawDocumentBuf>),
}

/// Writes the chosen namespaces. Needs memory for the segments that are read ahead.
///
/// # Errors
/// [`Kind::NotFound`](crate::error::Kind::NotFound) when the patterns choose nothing; [`Kind::Damaged`](crate::error::Kind::Damaged), naming the
/// segment, when one is missing or not what was written; when something cannot be written.
pub async fn dump(source: &Source, request: &DumpRequest, place: Place<'_>, progress: &Progress) -> Result<Dumped> {
    let items = items(source, request)?;
    progress.expect(items.iter().map(|item| item.data.bytes()).sum());
    let mut writer = Writer { source, progress, dumped: Dumped::default() };
    match place {
        Place::Folder(folder) => writer.folder(&items, folder, request.gzip).await?,
        Place::Archive(output) => writer.archive(&items, output).await?,
    }
    writer.dumped.namespaces = items.iter().filter(|item| !matches!(item.data, Data::Accounts(_))).count() as u64;
    Ok(writer.dumped)
}

struct Writer<'a> {
    source: &'a Source,
    progress: &'a Progress,
    dumped: Dumped,
}

impl Writer<'_> {
    async fn folder(&mut self, items: &[Item<'_>], folder: &FolderTarget, gzip: bool) -> Result<()> {
        let ending = if gzip { GZIP } else { "" };
        for item in items {
            let name =
                |collection: &str, kind: &str| format!("{}/{}{kind}{ending}", item.db, names::escaped(collection));
            if let Some(data) = item.data_name() {
                let mut output = folder.file(&name(data, DATA), gzip)?;
                self.data(item, &mut output, None).await?;
                output.finish().await?;
            }
            let mut output = folder.file(&name(item.name, METADATA), gzip)?;
            output.write(item.metadata.to_json()?).await?;
            output.finish().await?;
        }
        let versions = serde_json::json!({ "ServerVersion": self.server_version(), "ToolVersion": tool_version() });
        let mut output = folder.file(&format!("{PRELUDE}{ending}"), gzip)?;
        output.write(versions.to_string().into_bytes()).await?;
        output.finish().await
    }

    async fn archive(&mut self, items: &[Item<'_>], output: &mut Output) -> Result<()> {
        let namespaces = items.iter().map(Item::of_prelude).collect::<Result<_>>()?;
        let prelude = Prelude { server_version: self.server_version(), tool_version: tool_version(), namespaces };
        output.write(prelude.to_bytes()).await?;
        for item in items {
            // Readers wait for each namespace of the prelude, those of views included.
            let (mut frame, header) = Frame::begin(item.db, item.data_name().unwrap_or(item.name));
            output.write(header).await?;
            self.data(item, output, Some(&mut frame)).await?;
            output.write(frame.end()).await?;
        }
        Ok(())
    }

    async fn data(&mut self, item: &Item<'_>, output: &mut Output, mut frame: Option<&mut Frame>) -> Result<()> {
        match &item.data {
            Data::None => {}
            Data::Accounts(documents) => {
                let run: Vec<u8> = documents.iter().flat_map(|document| document.as_bytes()).copied().collect();
                count(&mut frame, &run);
                output.write(run).await?;
            }
            Data::Collection(record) => {
                let progress = self.progress.part(record.namespace(), record.bytes);
                progress.step(Step::Reading);
                let mut runs = std::pin::pin!(self.source.runs(record).await?);
                while let Some(run) = runs.try_next().await? {
                    let bytes = run.documents.len() as u64;
                    count(&mut frame, &run.documents);
                    progress.add(run.count, bytes, 0);
                    self.dumped.documents += run.count;
                    self.dumped.bytes += bytes;
                    output.write(run.documents).await?;
                }
            }
        }
        Ok(())
    }

    fn server_version(&self) -> String {
        self.source.catalog.source.server_version.clone()
    }
}

impl Item<'_> {
    /// Returns the name under which the documents lie: for a time series, that of its buckets.
    fn data_name(&self) -> Option<&str> {
        match &self.data {
            Data::None => None,
            Data::Collection(record) => Some(&record.name),
            Data::Accounts(_) => Some(self.name),
        }
    }

    fn of_prelude(&self) -> Result<PreludeNamespace> {
        let metadata = String::from_utf8(self.metadata.to_json()?);
        Ok(PreludeNamespace {
            db: self.db.into(),
            collection: self.name.into(),
            metadata: metadata.map_err(|error| Error::failed("metadata is no text").caused_by(error))?,
            kind: self.metadata.kind.clone().unwrap_or_default(),
        })
    }
}

impl Data<'_> {
    fn bytes(&self) -> u64 {
        match self {
            Self::Collection(record) => record.size().1,
            Self::None | Self::Accounts(_) => 0,
        }
    }
}

/// Counts documents that go into an archive.
fn count(frame: &mut Option<&mut Frame>, run: &[u8]) {
    if let Some(frame) = frame {
        frame.add(run);
    }
}

fn tool_version() -> String {
    format!("regrow {}", env!("CARGO_PKG_VERSION"))
}

fn items<'a>(source: &'a Source, request: &DumpRequest) -> Result<Vec<Item<'a>>> {
    let records = &source.catalog.collections;
    let visible = || records.iter().filter(|record| record.kind != CollectionKind::Buckets);
    let matches = |pattern: &NamespacePattern| visible().any(|record| pattern.matches(&record.db, &record.name));
    if let Some(pattern) = request.patterns.iter().find(|pattern| !matches(pattern)) {
        let backup = &source.manifest.id;
        return Err(Error::not_found(format!("backup {backup} holds no namespace that matches {pattern}"))
            .with_hint(format!("'regrow show {backup}' lists what it holds")));
    }
    let chosen = visible().filter(|record| NamespacePattern::any(&request.patterns, &record.db, &record.name));
    let mut items = chosen.map(|record| item(record, records)).collect::<Result<Vec<_>>>()?;
    if request.accounts {
        items.extend(accounts(source));
    }
    Ok(items)
}

fn item<'a>(record: &'a CollectionRecord, records: &'a [CollectionRecord]) -> Result<Item<'a>> {
    let (kind, data) = match record.kind {
        CollectionKind::View => ("view", Data::None),
        CollectionKind::Collection | CollectionKind::Buckets => ("collection", Data::Collection(record)),
        CollectionKind::Timeseries => {
            let buckets = buckets_of(&record.name);
            let buckets = records.iter().find(|other| other.db == record.db && other.name == buckets);
            let buckets = buckets
                .ok_or_else(|| Error::damaged(format!("the catalog lacks the buckets of {}", record.namespace())))?;
            ("timeseries", Data::Collection(buckets))
        }
    };
    let metadata = Metadata {
        options: record.options.clone(),
        indexes: record.indexes.clone(),
        uuid: record.uuid,
        collection: Some(record.name.clone()),
        kind: Some(kind.into()),
    };
    Ok(Item { db: &record.db, name: &record.name, metadata, data })
}

/// Returns users and roles, and what says how to read them.
fn accounts(source: &Source) -> Vec<Item<'_>> {
    let version = rawdoc! { "_id": "authSchema", "currentVersion": ACCOUNTS_VERSION };
    let kept = [
        ("system.users", source.catalog.users.clone(), Some("user")),
        ("system.roles", source.catalog.roles.clone(), Some("role")),
        ("system.version", vec![version], None),
    ];
    let items = kept.into_iter().map(|(name, documents, field)| {
        let mut indexes = vec![rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }];
        if let Some(field) = field {
            let mut key = RawDocumentBuf::new();
            let field_name = if field == "user" { bson::cstr!("user") } else { bson::cstr!("role") };
            key.append(field_name, 1);
            key.append(bson::cstr!("db"), 1);
            indexes.push(rawdoc! { "v": 2, "key": key, "name": format!("{field}_1_db_1"), "unique": true });
        }
        let (options, collection) = (RawDocumentBuf::new(), Some(name.to_owned()));
        let metadata = Metadata { options, indexes, uuid: None, collection, kind: Some("collection".into()) };
        Item { db: "admin", name, metadata, data: Data::Accounts(documents) }
    });
    items.collect()
}
