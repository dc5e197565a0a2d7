//! `regrow oplog`: when exactly did it happen.

use std::io::{self, BufWriter, StdoutLock, Write};

use bson::{Bson, Document, RawDocument};
use serde_json::{Value, json};

use super::output::{counted, entries, gap_json, is_broken_pipe, moment, time, unwritable};
use super::{Session, progress, stop_requested};
use crate::error::{Error, Kind, Result};
use crate::filter::Equalities;
use crate::format::ClusterTime;
use crate::format::oplog::Range;
use crate::operations::{Operation, OperationKind};
use crate::pattern::NamespacePattern;
use crate::progress::Progress;
use crate::search::{Criteria, Searchable, Searched};

/// How much of an operation's content a line shows; --json shows all of it.
const SHOWN: usize = 160;

pub(super) const HELP: &str = "\
Needs an identity, but no server. Each line begins with the exact seconds,increment for restore --before. What a
transaction did is found at the moment at which it committed; what it aborted is not found.

A filter compares fields with values. The oplog holds changes: an insert is found by any field, an update by its _id
and by the fields that it sets, a delete by its _id alone.

Examples:
  regrow oplog --from 2026-11-23T10:00:00Z --ns shop.orders --op d
  regrow oplog --ns shop.orders --where '{\"_id\": {\"$oid\": \"6562f0c1a7b4d2e98c3f1a77\"}}'
  regrow oplog --op c                              drops, renames, indexes";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Search from this moment on: RFC 3339 or seconds,increment [default: the first one captured]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Search up to and with this moment [default: the last one captured]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only these namespaces: db, db.collection, db.* (may be repeated)
    #[arg(long = "ns", value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Only these operations: i (insert), u (update), d (delete), c (command)
    #[arg(long = "op", value_name = "i,u,d,c", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Only documents with these values, as extended JSON
    #[arg(long = "where", value_name = "JSON")]
    filter: Option<String>,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let criteria = criteria(arguments)?;
    let identities = config.identities()?;
    let repository = session.repository(&config).await?;
    let searchable = Searchable::find(&repository, identities.as_ref(), criteria.range).await?;
    if searchable.stretches.is_empty() {
        return Err(Error::not_found("none of the oplog of that time was captured")
            .with_hint("'regrow list' shows what there is; 'regrow capture' captures from now on"));
    }
    let progress = Progress::default();
    let mut printer = Printer { json: session.json, output: BufWriter::new(io::stdout().lock()), printed: 0 };
    let searched = progress::show(session, "searching", &progress, async {
        tokio::select! {
            searched = searchable.search(&criteria, &progress, |at, operation| printer.print(at, operation)) => searched,
            () = stop_requested() => Err(Error::new(Kind::Interrupted, "the search was interrupted")),
        }
    })
    .await;
    match searched.and_then(|searched| printer.end(&searchable, &searched).map(|()| searched)) {
        Ok(searched) => remarks(session, &searchable, &searched),
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn criteria(arguments: &Arguments) -> Result<Criteria> {
    let begin = arguments.from.as_deref().map_or(Ok(ClusterTime { t: 0, i: 0 }), ClusterTime::before)?;
    let end = arguments.to.as_deref().map_or(Ok(ClusterTime { t: u32::MAX, i: u32::MAX }), ClusterTime::at)?;
    if begin >= end {
        return Err(Error::new(Kind::Usage, "--from lies behind --to").with_hint("exchange them"));
    }
    Ok(Criteria {
        range: Range { begin, end },
        patterns: arguments.patterns.iter().map(|text| text.parse()).collect::<Result<Vec<NamespacePattern>>>()?,
        kinds: arguments.kinds.iter().map(|text| text.parse()).collect::<Result<Vec<OperationKind>>>()?,
        filter: arguments.filter.as_deref().map_or(Ok(Equalities::default()), str::parse)?,
    })
}

/// Prints what is found as soon as it is: as lines, or as one JSON document.
struct Printer {
    json: bool,
    output: BufWriter<StdoutLock<'static>>,
    printed: u64,
}

impl Printer {
    fn print(&mut self, at: ClusterTime, operation: &Operation<'_>) -> Result<()> {
        let line = if self.json {
            let separator = if self.printed == 0 { "{\"entries\":[\n" } else { ",\n" };
            format!("{separator}{}", operation_json(at, operation))
        } else {
            let (wall, kind) = (time(at.wall()), operation.kind);
            format!("{at:<14}  {wall}  {kind:<7}  {}  {}\n", subject(operation)?, shortened(operation))
        };
        self.printed += 1;
        self.output.write_all(line.as_bytes()).map_err(unwritable)
    }

    fn end(&mut self, searchable: &Searchable, searched: &Searched) -> Result<()> {
        if self.json {
            let rest = json!({
                "found": searched.found,
                "searched_entries": searched.entries,
                "searched": searchable.stretches,
                "gaps": searchable.gaps.iter().map(gap_json).collect::<Vec<_>>(),
                "cut_off_transactions": searched.cut_off,
            });
            let begin = if self.printed == 0 { "{\"entries\":[" } else { "\n" };
            // The rest of the object follows the entries.
            writeln!(self.output, "{begin}],{}", &rest.to_string()[1..]).map_err(unwritable)?;
        }
        self.output.flush().map_err(unwritable)
    }
}

fn operation_json(at: ClusterTime, operation: &Operation<'_>) -> Value {
    json!({
        "cluster_time": at,
        "position": at.to_string(),
        "op": operation.kind.as_str(),
        "ns": operation.namespace,
        "o": extended_json(operation.o),
        "o2": operation.o2.map(extended_json),
    })
}

/// Returns a document as people write it; text that is not UTF-8 is shown as well as can be.
fn extended_json(document: &RawDocument) -> Value {
    match Document::try_from(document) {
        Ok(document) => Bson::Document(document).into_relaxed_extjson(),
        Err(error) => json!(format!("unreadable: {error}")),
    }
}

/// Returns the namespace that an operation is about.
fn subject(operation: &Operation<'_>) -> Result<String> {
    let subjects = operation.subjects()?;
    let first = subjects.first().map(|(db, collection)| match collection {
        Some(collection) => format!("{db}.{collection}"),
        None => (*db).to_owned(),
    });
    Ok(first.unwrap_or_else(|| operation.namespace.to_owned()))
}

/// Returns what an operation says, cut where a line would get too long.
fn shortened(operation: &Operation<'_>) -> String {
    let mut text = match operation.o2 {
        // What else has one repeats in it what `o` says.
        Some(o2) if operation.kind == OperationKind::Update => {
            format!("{} {}", extended_json(o2), extended_json(operation.o))
        }
        _ => extended_json(operation.o).to_string(),
    };
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    match dropped(operation) {
        Some(documents) => format!("{text}  of {}", counted(documents, "document")),
        None => text,
    }
}

/// Returns how many documents went with a collection, where a command dropped one.
fn dropped(operation: &Operation<'_>) -> Option<u64> {
    let o2 = operation.o2.filter(|_| operation.kind == OperationKind::Command)?;
    let documents = Bson::try_from(o2.get("numRecords").ok().flatten()?).ok()?;
    let documents = documents.as_i64().or(documents.as_i32().map(i64::from))?;
    u64::try_from(documents).ok()
}

/// Says what was searched, and what was not.
fn remarks(session: &Session, searchable: &Searchable, searched: &Searched) {
    for gap in &searchable.gaps {
        let (begin, end) = (time(gap.begin.wall()), time(gap.end.wall()));
        session
            .say(format_args!("warning: the oplog from {begin} to {end} is lost and was not searched: {}", gap.cause));
    }
    for at in &searched.cut_off {
        session.say(format_args!(
            "warning: the transaction that committed at {} began further back; search from an earlier moment",
            moment(*at)
        ));
    }
    let found = counted(searched.found, "operation");
    let first = searchable.stretches.iter().map(|stretch| stretch.begin).min();
    let last = searchable.stretches.iter().map(|stretch| stretch.end).max();
    if let (Some(first), Some(last)) = (first, last) {
        let (first, last) = (time(first.wall()), time(last.wall()));
        let later = match searched.found {
            0 => " 'regrow capture --once' captures what was written since.",
            _ => "",
        };
        let read = entries(searched.entries);
        session.say(format_args!("Found {found} in {read}; captured are {first} to {last}.{later}"));
    }
}
