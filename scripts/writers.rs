//! Keeps a server busy for the benchmarks of the oplog and of impact, and applies an oplog the slow way, to compare with.
//!
//! Writers insert documents into ten collections, `$set` and `$push` parts of them, and delete some; each waits
//! for one answer before it writes again, or for its time.

#![allow(clippy::print_stdout, clippy::print_stderr)] // A program for people, not part of the library.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf, Timestamp, cstr, doc, rawdoc};
use clap::Parser;
use futures_util::TryStreamExt;
use mongodb::options::{Acknowledgment, ClientOptions, WriteConcern};
use mongodb::{Client, Database};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Interval;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How many collections the writers use.
const COLLECTIONS: u64 = 10;

/// Keeps a `MongoDB` server busy, or applies its oplog one operation after the other
#[derive(Debug, Parser)]
struct Arguments {
    /// The server to write to; whose oplog is read with --apply-to
    #[arg(long, env = "MONGODB_URI")]
    uri: String,
    /// The database of the writers
    #[arg(long)]
    database: String,
    /// Writers at once
    #[arg(long, default_value_t = 2)]
    writers: u64,
    /// Documents that each of them inserts; about as many other operations follow
    #[arg(long, default_value_t = 100_000)]
    documents: u64,
    /// Operations in a second that each of them begins at most, as people do who do not wait in line
    #[arg(long)]
    pace: Option<u32>,
    /// End when the standard input does, if not before. Each line of it names the phase that begins: what is measured is told
    /// for each phase, all times that it came round together
    #[arg(long)]
    phases: bool,
    /// Instead of writing: sends the oplog's operations on the database to this server, one per applyOps command
    #[arg(long, value_name = "URI")]
    apply_to: Option<String>,
    /// How many of them
    #[arg(long, default_value_t = 20_000, requires = "apply_to")]
    limit: usize,
    /// Drops the database and does nothing else
    #[arg(long)]
    drop: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Outcome<()> {
    let database = connect(&arguments.uri).await?.database(&arguments.database);
    if arguments.drop {
        return Ok(database.drop().await?);
    }
    if let Some(target) = &arguments.apply_to {
        let (operations, elapsed) = apply_singly(&database, &connect(target).await?, arguments.limit).await?;
        println!("{}", json!({ "operations": operations, "seconds": elapsed.as_secs_f64() }));
        return Ok(());
    }
    let (took, elapsed) = write(&database, &arguments).await?;
    let mut phases: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for (phase, time) in &took {
        phases.entry(phase.to_string()).or_default().push(*time);
    }
    let phases: BTreeMap<String, Value> = phases.into_iter().map(|(phase, took)| (phase, summary(took))).collect();
    let mut said = summary(took.into_iter().map(|(_, time)| time).collect());
    (said["seconds"], said["phases"]) = (json!(elapsed.as_secs_f64()), json!(phases));
    println!("{said}");
    Ok(())
}

/// Tells how many operations there were and how long they took.
fn summary(mut took: Vec<Duration>) -> Value {
    took.sort_unstable();
    let milliseconds = |percent: usize| {
        let at = (took.len() * percent / 100).min(took.len().saturating_sub(1));
        took.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    json!({ "operations": took.len(), "p50_ms": milliseconds(50), "p99_ms": milliseconds(99) })
}

/// Connects without waiting for majorities, which is as fast as a writer can be.
async fn connect(uri: &str) -> Outcome<Client> {
    let mut options = ClientOptions::parse(uri).await?;
    options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Nodes(1)).build());
    Ok(Client::with_options(options)?)
}

/// How long an operation took, and in which phase it began.
type Took = (Arc<str>, Duration);

/// Lets all writers write; returns how long each operation took, and all of it.
async fn write(database: &Database, arguments: &Arguments) -> Outcome<(Vec<Took>, Duration)> {
    let (begin, (begins, phase)) = (Instant::now(), watch::channel(Some(Arc::from(""))));
    if arguments.phases {
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                begins.send_replace(Some(Arc::from(line)));
            }
            begins.send_replace(None);
        });
    }
    let (writers, documents) = (arguments.writers, arguments.documents);
    let running: Vec<_> = (0..writers)
        .map(|writer| {
            let pace = arguments.pace.map(|pace| tokio::time::interval(Duration::from_secs(1) / pace.max(1)));
            let (database, phase) = (database.clone(), phase.clone());
            let writer_alone = Writer { database, pace, took: Vec::new(), phase };
            tokio::spawn(writer_alone.write((0..documents).map(move |n| n * writers + writer)))
        })
        .collect();
    let mut took = Vec::new();
    for writer in running {
        took.extend(writer.await??);
    }
    Ok((took, begin.elapsed()))
}

/// One of those who write.
struct Writer {
    database: Database,
    pace: Option<Interval>,
    took: Vec<Took>,
    /// The phase; none when it is time to end.
    phase: watch::Receiver<Option<Arc<str>>>,
}

impl Writer {
    /// Writes the documents with these numbers; returns how long each operation took.
    async fn write(mut self, numbers: impl Iterator<Item = u64>) -> Outcome<Vec<Took>> {
        for number in numbers {
            if self.phase.borrow().is_none() {
                break;
            }
            let id = i64::try_from(number)?;
            let collection = self.database.collection::<Document>(&format!("c{}", number % COLLECTIONS));
            let lines = ["twenty characters of"; 5];
            let document = doc! { "_id": id, "a": id, "lines": &lines[..], "c": { "d": id } };
            self.timed(async { collection.insert_one(document).await.map(drop) }).await?;
            let own = || doc! { "_id": id };
            if number.is_multiple_of(2) {
                let set = doc! { "$set": { "a": id + 1, "lines.1": "other" } };
                self.timed(async { collection.update_one(own(), set).await.map(drop) }).await?;
            }
            if number.is_multiple_of(3) {
                let push = doc! { "$push": { "lines": "one more" } };
                self.timed(async { collection.update_one(own(), push).await.map(drop) }).await?;
            }
            if number.is_multiple_of(5) {
                self.timed(async { collection.delete_one(own()).await.map(drop) }).await?;
            }
        }
        Ok(self.took)
    }

    /// Does one operation, when it is its time. Who is late is late from then on: what was waited for counts.
    async fn timed(&mut self, operation: impl Future<Output = mongodb::error::Result<()>>) -> Outcome<()> {
        let begin = match &mut self.pace {
            Some(pace) => pace.tick().await.into_std(),
            None => Instant::now(),
        };
        let phase = self.phase.borrow().clone().unwrap_or_else(|| Arc::from(""));
        operation.await?;
        self.took.push((phase, begin.elapsed()));
        Ok(())
    }
}

/// Applies the first operations of the newest stretch of the oplog that are about the database, one per command.
async fn apply_singly(source: &Database, target: &Client, limit: usize) -> Outcome<(u64, Duration)> {
    let (oplog, admin) = (source.client().database("local"), target.database("admin"));
    let oplog = oplog.collection::<RawDocumentBuf>("oplog.rs");
    let created = doc! { "op": "c", "ns": format!("{}.$cmd", source.name()), "o.create": { "$exists": true } };
    let newest = oplog.find_one(created).sort(doc! { "$natural": -1 }).skip(COLLECTIONS - 1).await?;
    let begin: Timestamp =
        newest.ok_or("the oplog does not hold the creation of the collections")?.get_timestamp("ts")?;
    let wanted = doc! { "ts": { "$gte": begin }, "ns": { "$regex": format!("^{}\\.", source.name()) } };
    let limit = i64::try_from(limit)?;
    let entries: Vec<RawDocumentBuf> = oplog.find(wanted).limit(limit).await?.try_collect().await?;
    let commands: Vec<RawDocumentBuf> = entries.iter().map(|entry| single(entry)).collect::<Outcome<_>>()?;
    let begun = Instant::now();
    for command in &commands {
        admin.run_raw_command(command.clone()).await?;
    }
    Ok((commands.len() as u64, begun.elapsed()))
}

fn single(entry: &RawDocumentBuf) -> Outcome<RawDocumentBuf> {
    let mut operation = RawDocumentBuf::new();
    for element in entry {
        let (name, value) = element?;
        if ["op", "ns", "o", "o2"].contains(&name.as_str()) {
            operation.append(name, value);
        }
    }
    let mut command = rawdoc! { "applyOps": [operation] };
    command.append(cstr!("writeConcern"), rawdoc! { "w": 1 });
    Ok(command)
}
