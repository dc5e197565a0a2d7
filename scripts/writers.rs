//! Keeps a server busy for the benchmark of the oplog, and applies an oplog the slow way, to compare with.
//!
//! Writers insert documents into ten collections, `$set` and `$push` parts of them, and delete some; each waits
//! for one answer before it writes again.

#![allow(clippy::print_stdout, clippy::print_stderr)] // A program for people, not part of the library.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf, Timestamp, cstr, doc, rawdoc};
use clap::Parser;
use futures_util::TryStreamExt;
use mongodb::options::{Acknowledgment, ClientOptions, WriteConcern};
use mongodb::{Client, Database};
use serde_json::json;

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
    let (operations, elapsed) = match &arguments.apply_to {
        Some(target) => apply_singly(&database, &connect(target).await?, arguments.limit).await?,
        None => write(&database, arguments.writers, arguments.documents).await?,
    };
    println!("{}", json!({ "operations": operations, "seconds": elapsed.as_secs_f64() }));
    Ok(())
}

/// Connects without waiting for majorities, which is as fast as a writer can be.
async fn connect(uri: &str) -> Outcome<Client> {
    let mut options = ClientOptions::parse(uri).await?;
    options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Nodes(1)).build());
    Ok(Client::with_options(options)?)
}

async fn write(database: &Database, writers: u64, documents: u64) -> Outcome<(u64, Duration)> {
    let begin = Instant::now();
    let running: Vec<_> = (0..writers)
        .map(|writer| tokio::spawn(write_alone(database.clone(), (0..documents).map(move |n| n * writers + writer))))
        .collect();
    let mut operations = 0;
    for writer in running {
        operations += writer.await??;
    }
    Ok((operations, begin.elapsed()))
}

/// Writes the documents with these numbers; returns how many operations it took.
async fn write_alone(database: Database, numbers: impl Iterator<Item = u64>) -> Outcome<u64> {
    let mut operations = 0;
    for number in numbers {
        let id = i64::try_from(number)?;
        let collection = database.collection::<Document>(&format!("c{}", number % COLLECTIONS));
        let lines = ["twenty characters of"; 5];
        collection.insert_one(doc! { "_id": id, "a": id, "lines": &lines[..], "c": { "d": id } }).await?;
        operations += 1;
        if number.is_multiple_of(2) {
            collection.update_one(doc! { "_id": id }, doc! { "$set": { "a": id + 1, "lines.1": "other" } }).await?;
            operations += 1;
        }
        if number.is_multiple_of(3) {
            collection.update_one(doc! { "_id": id }, doc! { "$push": { "lines": "one more" } }).await?;
            operations += 1;
        }
        if number.is_multiple_of(5) {
            collection.delete_one(doc! { "_id": id }).await?;
            operations += 1;
        }
    }
    Ok(operations)
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
