//! Fills a server with a sample shop: the data of the quick start and of the benchmark.
//!
//! A multi-tenant shop, of any size, the same for the same seed: collections of several shapes with
//! documents that compress about 4.5:1 with zstd -3, and every kind of collection and index that a backup must keep.
//!
//! ```text
//! cargo run --release --example shop -- --uri mongodb://127.0.0.1:27017 --size 50MiB
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr)] // A program for people, not part of the library.

#[path = "shop/change.rs"]
mod change;
#[path = "shop/dice.rs"]
mod dice;
#[path = "shop/documents.rs"]
mod documents;
#[path = "shop/inspect.rs"]
mod inspect;
#[path = "shop/large.rs"]
mod large;
#[path = "shop/load.rs"]
mod load;
#[path = "shop/plan.rs"]
mod plan;
#[path = "shop/schema.rs"]
mod schema;
#[path = "shop/small.rs"]
mod small;
#[path = "shop/words.rs"]
mod words;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use bson::doc;
use clap::Parser;
use mongodb::{Client, Database};
use regrow::units::Elapsed;

use crate::plan::Plan;

/// Fills a `MongoDB` server with a sample multi-tenant shop
#[derive(Debug, Parser)]
#[allow(clippy::struct_excessive_bools)] // A flag is one.
struct Arguments {
    /// The server to fill
    #[arg(long, env = "MONGODB_URI", default_value = "mongodb://127.0.0.1:27017")]
    uri: String,
    /// The shop's database
    #[arg(long, default_value = "smartduka")]
    database: String,
    /// BSON bytes to make in all, such as 50MiB or 2GiB; 0 makes no shop
    #[arg(long, default_value = "50MiB", value_parser = plan::parse_size)]
    size: u64,
    /// The same seed makes the same shop
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many tenants share the shop
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=9_999))]
    tenants: u64,
    /// Also make this many small collections in the database <DATABASE>_small
    #[arg(long, default_value_t = 0)]
    small_collections: u64,
    /// Also make this many documents of 15.5 MB in the shop
    #[arg(long, default_value_t = 0)]
    large_documents: u64,
    /// Leave out the secondary indexes
    #[arg(long)]
    no_indexes: bool,
    /// Inserts under way at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    tasks: u16,
    /// First drop both databases, if they are there
    #[arg(long)]
    drop: bool,
    /// Change this share of the documents that are there, such as 1%
    #[arg(long, value_parser = change::parse_share)]
    change: Option<f64>,
    /// Change only documents among this share of them, the newest
    #[arg(long, default_value = "100%", value_parser = change::parse_share)]
    within: f64,
    /// Make nothing; print how many bytes the server has sent since it began
    #[arg(long)]
    sent: bool,
    /// Make nothing; print what both databases hold, as one line of JSON
    #[arg(long)]
    inspect: bool,
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

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let client = Client::with_uri_str(&arguments.uri).await?;
    let shop = client.database(&arguments.database);
    let small = client.database(&format!("{}_small", arguments.database));
    if arguments.inspect {
        println!("{}", inspect::as_json(&[&shop, &small]).await?);
        return Ok(());
    }
    if arguments.sent {
        println!("{}", inspect::sent(&shop).await?);
        return Ok(());
    }
    if arguments.drop {
        shop.drop().await?;
        small.drop().await?;
    }
    let tasks = usize::from(arguments.tasks);
    if arguments.size > 0 {
        let plan = Plan::new(arguments.seed, arguments.tenants, arguments.size);
        let begin = fresh(&shop).await?;
        schema::create_collections(&shop).await?;
        load::fill(&shop, &plan, tasks).await?;
        large::fill(&shop, arguments.seed, arguments.large_documents).await?;
        let loaded = begin.elapsed();
        if !arguments.no_indexes {
            schema::create_indexes(&shop).await?;
        }
        println!("{} in {}", inspect::summary(&shop).await?, Elapsed(begin.elapsed()));
        eprintln!("loading took {}, then indexes {}", Elapsed(loaded), Elapsed(begin.elapsed().saturating_sub(loaded)));
    }
    if arguments.small_collections > 0 {
        let begin = fresh(&small).await?;
        small::fill(&small, arguments.seed, arguments.small_collections).await?;
        println!("{} in {}", inspect::summary(&small).await?, Elapsed(begin.elapsed()));
    }
    if let Some(share) = arguments.change {
        println!("{} documents changed", change::change(&shop, share, arguments.within).await?);
    }
    // A checkpoint, so that a measurement that comes next does not pay for this one's writes.
    client.database("admin").run_command(doc! { "fsync": 1 }).await?;
    Ok(())
}

/// Checks that the database holds nothing yet, and starts the clock.
async fn fresh(database: &Database) -> Result<Instant, Box<dyn Error>> {
    if database.list_collection_names().await?.is_empty() {
        return Ok(Instant::now());
    }
    Err(format!("database '{}' is not empty\nhint: --drop replaces it", database.name()).into())
}
