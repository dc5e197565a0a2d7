//! What `regrow diff` prints: documents as soon as they are found, then a table; or one JSON document.

use std::io::{self, BufWriter, StdoutLock, Write};

use bson::{Bson, RawDocument};
use serde_json::{Value, json};

use crate::cli::output::{aligned, unwritable};
use crate::diff::{Change, CollectionDiff, Counts, DiffPlan, IndexDifference, Listener, Presence};
use crate::error::Result;
use crate::format::ClusterTime;
use crate::format::catalog::CollectionKind;
use crate::mongo::Deployment;

const HEADING: [&str; 6] = ["NAMESPACE", "SAME", "ADDED", "REMOVED", "CHANGED", "RESULT"];

/// What all namespaces come to.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) namespaces: u64,
    /// How many of them differ.
    pub(super) different: u64,
    pub(super) counts: Counts,
    /// Those that were read later than the others, and as of when.
    pub(super) later: Vec<(String, ClusterTime)>,
}

/// Prints what is found.
pub(super) struct Printer {
    json: bool,
    documents: bool,
    output: BufWriter<StdoutLock<'static>>,
    /// How many documents of the namespace were listed.
    listed: u64,
    rows: Vec<[String; 6]>,
    as_of: Option<ClusterTime>,
    totals: Totals,
}

impl Printer {
    pub(super) fn new(json: bool, documents: bool) -> Self {
        let output = BufWriter::new(io::stdout().lock());
        let rows = vec![HEADING.map(str::to_owned)];
        Self { json, documents, output, listed: 0, rows, as_of: None, totals: Totals::default() }
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whether anything that was found so far differs.
    pub(super) fn has_found_any(&self) -> bool {
        self.listed > 0 || self.totals.different > 0
    }

    pub(super) fn begin(&mut self, plan: &DiffPlan, deployment: &Deployment) -> Result<()> {
        self.as_of = plan.as_of;
        if !self.json {
            return Ok(());
        }
        let about = json!({
            "backup": plan.manifest.id,
            "target": deployment.addresses(),
            "as_of": plan.as_of,
            "backup_as_of": plan.manifest.cluster_time,
            "consistency": plan.manifest.consistency,
            "kept_by_restores": plan.kept,
        });
        let about = about.to_string();
        self.write(&format!("{},\"collections\":[", about.trim_end_matches('}')))
    }

    pub(super) fn end(&mut self) -> Result<()> {
        if self.json {
            let same = self.totals.different == 0;
            self.write(&format!("\n],\"same\":{same}}}\n"))?;
        } else {
            let rows = std::mem::take(&mut self.rows);
            for line in aligned(&rows, [false, true, true, true, true, false]) {
                self.write(&format!("{line}\n"))?;
            }
        }
        self.output.flush().map_err(unwritable)
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.output.write_all(text.as_bytes()).map_err(unwritable)
    }

    /// Begins a namespace in JSON: its name stands before its documents, which come first.
    fn begin_namespace(&mut self, namespace: &str) -> Result<()> {
        let separator = if self.totals.namespaces == 0 { "\n" } else { ",\n" };
        let documents = if self.documents { ",\"documents\":[" } else { "" };
        self.write(&format!("{separator}{{\"namespace\":{}{documents}", json!(namespace)))
    }

    fn json_of(&mut self, found: &CollectionDiff) -> Result<()> {
        if self.listed == 0 {
            self.begin_namespace(&found.namespace)?;
        }
        let rest = json!({
            "from": found.from,
            "kind": found.kind,
            "presence": found.presence,
            "as_of": found.as_of,
            "same": found.counts.same,
            "added": found.counts.added,
            "removed": found.counts.removed,
            "changed": found.counts.changed,
            "options": found.options,
            "indexes": found.indexes,
        });
        let end = if self.documents { "]," } else { "," };
        self.write(&format!("{end}{}", &rest.to_string()[1..]))
    }

    fn text_of(&mut self, found: &CollectionDiff) -> Result<()> {
        let differing = found.counts.added + found.counts.removed + found.counts.changed;
        if self.listed > 0 {
            let more = differing - self.listed;
            let more = if more > 0 { format!("… {more} more\n") } else { String::new() };
            self.write(&format!("{more}\n"))?;
        }
        self.rows.push(row(found));
        Ok(())
    }
}

impl Listener for Printer {
    fn document(&mut self, namespace: &str, change: Change, id: &RawDocument) -> Result<()> {
        let id = extended_json(id);
        if self.json {
            if self.listed == 0 {
                self.begin_namespace(namespace)?;
            }
            let separator = if self.listed == 0 { "\n" } else { ",\n" };
            self.write(&format!("{separator}{}", json!({ "change": change, "_id": id })))?;
        } else {
            if self.listed == 0 {
                self.write(&format!("{namespace}:\n"))?;
            }
            self.write(&format!("{} {id}\n", sign(change)))?;
        }
        self.listed += 1;
        Ok(())
    }

    fn collection(&mut self, found: &CollectionDiff) -> Result<()> {
        if self.json {
            self.json_of(found)?;
        } else {
            self.text_of(found)?;
        }
        self.listed = 0;
        self.totals.add(found, self.as_of);
        Ok(())
    }
}

impl Totals {
    fn add(&mut self, found: &CollectionDiff, as_of: Option<ClusterTime>) {
        self.namespaces += 1;
        self.different += u64::from(!found.is_same());
        self.counts.same += found.counts.same;
        self.counts.added += found.counts.added;
        self.counts.removed += found.counts.removed;
        self.counts.changed += found.counts.changed;
        if let Some(at) = found.as_of.filter(|_| found.as_of != as_of) {
            self.later.push((found.namespace.clone(), at));
        }
    }
}

fn row(found: &CollectionDiff) -> [String; 6] {
    let name = if found.namespace == found.from {
        found.namespace.clone()
    } else {
        format!("{} (was {})", found.namespace, found.from)
    };
    let counts = &found.counts;
    let numbers = [counts.same, counts.added, counts.removed, counts.changed];
    let [same, added, removed, changed] = match found.kind {
        CollectionKind::View => [(); 4].map(|()| "-".to_owned()),
        _ => numbers.map(|number| number.to_string()),
    };
    [name, same, added, removed, changed, result(found)]
}

/// Returns what is to be said of a namespace beside its numbers.
fn result(found: &CollectionDiff) -> String {
    let mut said = vec![match found.presence {
        _ if found.is_same() => "the same".to_owned(),
        Presence::Both => "differs".to_owned(),
        Presence::Backup => "only in the backup".to_owned(),
        Presence::Live => "only live".to_owned(),
    }];
    match found.kind {
        CollectionKind::View => said.push("a view".into()),
        CollectionKind::Timeseries => said.push("buckets of a time series".into()),
        CollectionKind::Collection | CollectionKind::Buckets => {}
    }
    if !found.options.is_empty() {
        said.push(format!("options {}", found.options.join(", ")));
    }
    if !found.indexes.is_empty() {
        let indexes: Vec<String> = found.indexes.iter().map(index).collect();
        said.push(format!("indexes {}", indexes.join(", ")));
    }
    said.join("; ")
}

fn index(found: &IndexDifference) -> String {
    let fields = if found.fields.is_empty() { String::new() } else { format!(" ({})", found.fields.join(", ")) };
    format!("{}{}{fields}", sign(found.change), found.name)
}

fn sign(change: Change) -> char {
    match change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Changed => '~',
    }
}

/// Returns the only value of a document as canonical extended JSON; text that is not UTF-8 is shown as well as can be.
fn extended_json(id: &RawDocument) -> Value {
    let Some(Ok(element)) = id.iter_elements().next() else { return Value::Null };
    match element.value_utf8_lossy().and_then(Bson::try_from) {
        Ok(value) => value.into_canonical_extjson(),
        Err(_) => json!(format!("unreadable: {}", hex::encode(id.as_bytes()))),
    }
}
