//! `regrow export`: documents out of a backup, without a server.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::output::{counted, is_broken_pipe, moment};
use super::{Session, progress, stop_requested};
use crate::error::{Error, Kind, Result};
use crate::export::{
    self, DocumentFormat, DocumentsRequest, DumpRequest, Dumped, Exported, FileTarget, FolderTarget, Output, Place,
    Source,
};
use crate::filter::Filter;
use crate::format::extended_json::Style;
use crate::format::manifest::Consistency;
use crate::pattern::NamespacePattern;
use crate::progress::Progress;
use crate::units::ByteSize;

pub(super) const HELP: &str = "\
Needs an identity, but no server. Documents go to stdout, or with -o to a file that gets its name only when it is whole. \
With --format mongodump everything is written, or what --ns chooses, as mongorestore reads it.

A filter means what it means to find: equality, $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $not, $and, $or, $nor.

Examples:
  regrow export latest --ns shop.orders --where '{\"_id\": {\"$oid\": \"6562f0c1a7b4d2e98c3f1a77\"}}'
  regrow export latest --ns shop.orders --where '{\"total\": {\"$gte\": 100}}' --relaxed | jq .customer
  regrow export 20261123 --ns shop.orders -o orders.bson
  regrow export latest --format mongodump --gzip -o dump        then: mongorestore --gzip dump
  regrow export latest --archive - --users | mongorestore --archive";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup's id, a unique beginning of it, or latest
    backup: String,
    /// The collection, db.collection; with --format mongodump any patterns (may be repeated), everything without
    #[arg(long = "ns", value_name = "DB.COLL")]
    namespaces: Vec<String>,
    /// json (one document a line), bson or mongodump [default: bson for a file .bson, mongodump with --archive, else json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only documents that fit this filter, as extended JSON
    #[arg(long = "where", value_name = "JSON")]
    filter: Option<String>,
    /// Write JSON as people read it, not so that every type can be told again
    #[arg(long)]
    relaxed: bool,
    /// Write to this file, or this folder with --format mongodump; it must not exist
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write a mongodump archive to this file, or to stdout: -
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    archive: Option<PathBuf>,
    /// Compress what is written
    #[arg(long)]
    gzip: bool,
    /// Write users and roles, too, with --format mongodump
    #[arg(long)]
    users: bool,
}

/// What is to be done.
enum Task {
    Documents(DocumentsRequest),
    Dump(DumpRequest),
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    // Everything that can be wrong here is found out before anything is read.
    let task = task(arguments)?;
    let config = session.config()?;
    let repository = session.repository(&config).await?;
    let source = Source::open(&repository, &arguments.backup, config.identities()?).await?;
    let progress = Progress::default();
    let exporting = async {
        match &task {
            Task::Documents(request) => documents(arguments, &source, request, &progress).await,
            Task::Dump(request) => dump(arguments, &source, request, &progress).await,
        }
    };
    let exporting = async {
        tokio::select! {
            outcome = exporting => outcome,
            () = stop_requested() => Err(Error::new(Kind::Interrupted, "the export was interrupted; no file was written")),
        }
    };
    match progress::show(session, "export", &progress, exporting).await {
        Ok(answer) => say(session, &source, &answer),
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// What was written, and where to.
struct Answer {
    /// None where it went to stdout.
    file: Option<PathBuf>,
    format: &'static str,
    /// The collection; none for a dump.
    namespace: Option<String>,
    written: Dumped,
    inexact: u64,
}

async fn documents(
    arguments: &Arguments,
    source: &Source,
    request: &DocumentsRequest,
    progress: &Progress,
) -> Result<Answer> {
    let exported = to_stream(arguments.output.as_deref(), arguments.gzip, async |output| {
        export::documents(source, request, output, progress).await
    });
    let exported = exported.await?;
    let Exported { documents, bytes, inexact } = exported;
    Ok(Answer {
        file: arguments.output.clone(),
        format: if request.format == DocumentFormat::Bson { "bson" } else { "json" },
        namespace: Some(format!("{}.{}", request.db, request.collection)),
        written: Dumped { namespaces: 1, documents, bytes },
        inexact,
    })
}

async fn dump(arguments: &Arguments, source: &Source, request: &DumpRequest, progress: &Progress) -> Result<Answer> {
    let archive = arguments.archive.clone().filter(|file| file != Path::new("-"));
    let (file, written) = if let Some(folder) = &arguments.output {
        let target = FolderTarget::create(folder)?;
        let written = export::dump(source, request, Place::Folder(&target), progress).await?;
        target.keep()?;
        (Some(folder.clone()), written)
    } else {
        let written = to_stream(archive.as_deref(), arguments.gzip, async |output| {
            export::dump(source, request, Place::Archive(output), progress).await
        });
        (archive.clone(), written.await?)
    };
    Ok(Answer { file, format: "mongodump", namespace: None, written, inexact: 0 })
}

/// Lets `work` write to a file, or to stdout; the file gets its name when all of it is there.
async fn to_stream<T>(file: Option<&Path>, gzip: bool, work: impl AsyncFnOnce(&mut Output) -> Result<T>) -> Result<T> {
    let (target, mut output) = match file {
        Some(file) => FileTarget::create(file, gzip).map(|(target, output)| (Some(target), output))?,
        None => (None, Output::stdout(gzip)),
    };
    let done = work(&mut output).await?;
    output.finish().await?;
    target.map_or(Ok(()), FileTarget::keep)?;
    Ok(done)
}

fn task(arguments: &Arguments) -> Result<Task> {
    let is_bson = |file: &Path| [".bson", ".bson.gz"].iter().any(|end| file.to_string_lossy().ends_with(end));
    let format = match (arguments.format.as_deref(), &arguments.output) {
        (Some(format), _) => format,
        (None, _) if arguments.archive.is_some() => "mongodump",
        (None, Some(file)) if is_bson(file) => "bson",
        (None, _) => "json",
    };
    let to_terminal = arguments.output.is_none() && std::io::stdout().is_terminal();
    match format {
        "mongodump" => dump_request(arguments).map(Task::Dump),
        "bson" | "json" if arguments.archive.is_some() => {
            Err(usage("an archive has the format mongodump", "leave --format out, or use -o"))
        }
        "bson" if to_terminal => Err(usage("bson is not for terminals", "name a file with -o, or use --format json")),
        "bson" => documents_request(arguments, DocumentFormat::Bson).map(Task::Documents),
        "json" => {
            let style = if arguments.relaxed { Style::Relaxed } else { Style::Canonical };
            documents_request(arguments, DocumentFormat::Json(style)).map(Task::Documents)
        }
        other => Err(usage(&format!("'{other}' is no format"), "there are json, bson and mongodump")),
    }
}

fn documents_request(arguments: &Arguments, format: DocumentFormat) -> Result<DocumentsRequest> {
    let one = "name one collection: --ns db.collection; for more of them use --format mongodump";
    let [namespace] = &arguments.namespaces[..] else { return Err(usage("one collection is exported at a time", one)) };
    let parts = namespace.split_once('.').filter(|(db, collection)| !db.is_empty() && !collection.is_empty());
    let (db, collection) = parts.ok_or_else(|| usage(&format!("'{namespace}' is no collection"), one))?;
    if arguments.users {
        return Err(usage("users and roles are part of a dump alone", "add --format mongodump"));
    }
    let filter = arguments.filter.as_deref().map_or(Ok(Filter::default()), str::parse)?;
    Ok(DocumentsRequest { db: db.into(), collection: collection.into(), format, filter })
}

fn dump_request(arguments: &Arguments) -> Result<DumpRequest> {
    if arguments.filter.is_some() || arguments.relaxed {
        return Err(usage("a dump holds whole collections, as BSON", "leave out --where and --relaxed"));
    }
    if arguments.output.is_none() && arguments.archive.is_none() {
        return Err(usage("a dump needs a place", "name a folder with -o, or a file with --archive"));
    }
    if arguments.archive.as_deref() == Some(Path::new("-")) && std::io::stdout().is_terminal() {
        return Err(usage("an archive is not for terminals", "name a file with --archive, or a program that reads it"));
    }
    let patterns = arguments.namespaces.iter().map(|text| text.parse()).collect::<Result<Vec<NamespacePattern>>>()?;
    Ok(DumpRequest { patterns, accounts: arguments.users, gzip: arguments.gzip })
}

fn usage(problem: &str, hint: &str) -> Error {
    Error::new(Kind::Usage, problem).with_hint(hint)
}

fn say(session: &Session, source: &Source, answer: &Answer) {
    let manifest = &source.manifest;
    if manifest.consistency == Consistency::None {
        session.say(format_args!(
            "warning: {} has no single moment: its collections were read one after the other",
            manifest.id
        ));
    }
    if answer.inexact > 0 {
        let documents = counted(answer.inexact, "document");
        session.say(format_args!(
            "warning: {documents} hold text that is not UTF-8 and is shown as \u{fffd}; --format bson is exact"
        ));
    }
    let Dumped { namespaces, documents, bytes } = answer.written;
    let amount = format!("{} ({})", counted(documents, "document"), ByteSize(bytes));
    let of = answer.namespace.clone().unwrap_or_else(|| counted(namespaces, "namespace"));
    let at = manifest.cluster_time.map_or(String::new(), |at| format!(", as of {}", moment(at)));
    match &answer.file {
        None => session.say(format_args!("Exported {amount} of {of} from {}{at}.", manifest.id)),
        Some(_) if session.json => println!("{}", summary(source, answer)),
        Some(file) => println!("Exported {amount} of {of} from {}{at} to {}.", manifest.id, file.display()),
    }
}

fn summary(source: &Source, answer: &Answer) -> Value {
    let mut summary = json!({
        "backup": source.manifest.id,
        "cluster_time": source.manifest.cluster_time,
        "consistency": source.manifest.consistency,
        "format": answer.format,
        "file": answer.file,
        "namespaces": answer.written.namespaces,
        "documents": answer.written.documents,
        "bytes": answer.written.bytes,
    });
    if let Some(namespace) = &answer.namespace {
        summary["namespace"] = json!(namespace);
        summary["inexact_documents"] = json!(answer.inexact);
    }
    summary
}
