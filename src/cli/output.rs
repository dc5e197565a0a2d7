//! What several commands print: JSON of backups, and tables.

use std::io::{self, ErrorKind};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Session;
use crate::error::Error;
use crate::format::ClusterTime;
use crate::format::manifest::{Encryption, Manifest};
use crate::format::oplog::Gap;
use crate::repository::Leftover;
use crate::units::{ByteSize, Moment};
pub(super) use crate::units::{are, counted};

/// Returns the fields of a backup that scripts rely on.
pub(super) fn backup_json(manifest: &Manifest) -> Value {
    json!({
        "id": manifest.id,
        "kind": manifest.kind,
        "started_at": manifest.started_at,
        "finished_at": manifest.finished_at,
        "cluster_time": manifest.cluster_time,
        "consistency": manifest.consistency,
        "state": "complete",
        "source": manifest.source,
        "replica_set": manifest.replica_set,
        "namespaces": manifest.namespaces,
        "documents": manifest.documents,
        "bytes_raw": manifest.bytes_raw,
        "bytes_stored": manifest.bytes_stored,
        "outside_snapshot": manifest.outside_snapshot,
        "encryption": manifest.encryption,
        "recipients": manifest.recipients,
        "partial": manifest.partial,
        "parent": manifest.parent(),
        "incremental": manifest.incremental,
        "imported": manifest.imported,
        "regrow_version": manifest.regrow_version,
    })
}

/// Says what runs under way and interrupted ones have stored, so that nobody wonders about the space.
pub(super) fn name_leftovers(session: &Session, leftovers: &[Leftover]) {
    for Leftover { id, objects, bytes, is_noted } in leftovers {
        let (objects, bytes) = (counted(*objects, "object"), ByteSize(*bytes));
        let may = if *is_noted { "; 'regrow backup --resume' may go on with it" } else { "" };
        session.say(format_args!(
            "note: {id} is no backup: it is being taken now, or was cut off; {objects} ({bytes}) are there{may}"
        ));
    }
}

/// Returns the same for scripts.
pub(super) fn leftovers_json(leftovers: &[Leftover]) -> Value {
    leftovers
        .iter()
        .map(|Leftover { id, objects, bytes, is_noted }| {
            json!({ "id": id, "objects": objects, "bytes": bytes, "may_be_resumed": is_noted })
        })
        .collect()
}

/// Returns a stretch of oplog that is lost, for scripts.
pub(super) fn gap_json(gap: &Gap) -> Value {
    json!({ "begin": gap.begin, "end": gap.end, "cause": gap.cause, "found_at": gap.found_at })
}

/// Returns a time for tables, to the second.
pub(super) fn time(timestamp: Timestamp) -> String {
    Moment(timestamp).to_string()
}

/// Returns a cluster time: first as people tell time, then as servers do.
pub(super) fn moment(at: ClusterTime) -> String {
    format!("{} (cluster time {},{})", time(at.wall()), at.t, at.i)
}

/// Returns how a listing shows whether a backup is encrypted: the exception is loud.
pub(super) fn encryption(encryption: Encryption) -> &'static str {
    match encryption {
        Encryption::Age => "age",
        Encryption::None => "NONE",
    }
}

/// Returns a number of oplog entries in words.
pub(super) fn entries(number: u64) -> String {
    if number == 1 { counted(number, "entry") } else { format!("{number} entries") }
}

/// Prints rows in aligned columns; the first row is the heading. Numbers stand to the right.
pub(super) fn table<const N: usize>(rows: &[[String; N]], right: [bool; N]) {
    for line in aligned(rows, right) {
        println!("{line}");
    }
}

/// Returns rows in aligned columns, each as a line.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]], right: [bool; N]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if right[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Says that stdout takes nothing.
pub(super) fn unwritable(error: io::Error) -> Error {
    Error::failed("cannot write to stdout").caused_by(error)
}

/// Whether whoever reads stdout has seen enough: that is no failure.
pub(super) fn is_broken_pipe(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe)
}
