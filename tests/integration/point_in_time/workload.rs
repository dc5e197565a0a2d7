//! Writers that do everything an oplog can hold, at random.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::bson::{Binary, Document, doc, spec::BinarySubtype};
use mongodb::error::Result;
use mongodb::{Client, Collection, Database};
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

/// The databases that are written to.
pub const DATABASES: [&str; 3] = ["stress", "stress_more", "stress_gone"];

/// How many collections are always there to be written to, and over how many documents of each.
const COLLECTIONS: i64 = 5;
const DOCUMENTS: i64 = 300;

/// Writers at work.
pub struct Workload {
    stop: Arc<AtomicBool>,
    /// Held by whoever changes collections; whoever looks at all of them at one moment keeps it from doing so.
    pub collections: Arc<RwLock<()>>,
    tasks: Vec<JoinHandle<u64>>,
}

#[derive(Clone, Copy)]
enum Work {
    Documents,
    Transactions,
    Collections,
}

impl Workload {
    pub async fn start(client: &Client, seed: u64) -> Self {
        for number in 0..COLLECTIONS {
            client.database("stress").create_collection(name(number)).await.unwrap();
        }
        let (stop, collections) = (Arc::new(AtomicBool::new(false)), Arc::new(RwLock::new(())));
        let works = [Work::Documents, Work::Documents, Work::Transactions, Work::Collections];
        let tasks = works.into_iter().zip(seed..).map(|(work, seed)| {
            tokio::spawn(run(work, client.clone(), Random(seed), Arc::clone(&stop), Arc::clone(&collections)))
        });
        Self { tasks: tasks.collect(), stop, collections }
    }

    /// Stops, and returns how much was done.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut done = 0;
        for task in self.tasks {
            done += task.await.unwrap();
        }
        done
    }
}

/// Does one thing after the other; elections and conflicts interrupt some, and only what succeeded counts.
async fn run(
    work: Work,
    client: Client,
    mut random: Random,
    stop: Arc<AtomicBool>,
    collections: Arc<RwLock<()>>,
) -> u64 {
    let (mut done, mut round) = (0, 0_i64);
    while !stop.load(Ordering::Relaxed) {
        let outcome = match work {
            Work::Documents => change_documents(&client, &mut random).await,
            Work::Transactions => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                transaction(&client, &mut random).await
            }
            Work::Collections => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _alone = collections.write().await;
                change_collections(&client, &mut random, round).await
            }
        };
        done += u64::from(outcome.is_ok());
        round += 1;
    }
    done
}

fn name(number: i64) -> String {
    format!("c{number}")
}

fn some_collection(client: &Client, random: &mut Random) -> Collection<Document> {
    client.database("stress").collection(&name(random.below(COLLECTIONS)))
}

fn order(id: i64, random: &mut Random) -> Document {
    let items: Vec<Document> =
        (0..=random.below(5)).map(|sku| doc! { "sku": sku, "tags": ["new", "red"], "n": 1 }).collect();
    doc! { "_id": id, "items": items, "total": random.below(1000), "note": "x".repeat(usize::try_from(random.below(200)).unwrap()) }
}

/// One change of one document or of several, most of which the oplog has as `$v: 2` diffs.
async fn change_documents(client: &Client, random: &mut Random) -> Result<()> {
    let collection = some_collection(client, random);
    let id = random.below(DOCUMENTS);
    let one = doc! { "_id": id };
    match random.below(12) {
        0..=2 => done(collection.insert_one(order(id, random)).await?),
        3 => {
            let whole = order(id, random);
            done(collection.replace_one(one, whole).upsert(true).await?);
        }
        4 => done(collection.update_one(one, doc! { "$set": { "items.1.n": 7, "items.0.tags.1": "blue" } }).await?),
        5 => done(collection.update_one(one, doc! { "$push": { "items": { "sku": 99, "n": 3 } } }).await?),
        6 => {
            let change = doc! { "$pull": { "items": { "sku": 1 } }, "$inc": { "total": 1 } };
            done(collection.update_one(one, change).await?);
        }
        7 => done(collection.update_one(one, doc! { "$unset": { "note": 1 }, "$set": { "a.b.c": id } }).await?),
        8 => {
            let some = doc! { "total": { "$lt": random.below(400) } };
            done(collection.update_many(some, doc! { "$mul": { "total": 2 }, "$currentDate": { "at": true } }).await?);
        }
        9 => done(collection.delete_many(doc! { "total": { "$gt": 900 } }).await?),
        10 => {
            let many = (0..20).map(|number| order(1_000 + id * 20 + number, random));
            done(collection.insert_many(many.collect::<Vec<_>>()).await?);
        }
        _ => done(collection.delete_one(one).await?),
    }
    Ok(())
}

/// Whatever the driver says about it: it succeeded.
fn done<T>(_: T) {}

/// A transaction over two collections: small, longer than an oplog entry, with a new collection, or aborted.
async fn transaction(client: &Client, random: &mut Random) -> Result<()> {
    let mut session = client.start_session().await?;
    session.start_transaction().await?;
    let (one, other) = (some_collection(client, random), some_collection(client, random));
    let id = 100_000 + random.below(50);
    one.delete_one(doc! { "_id": id }).session(&mut session).await?;
    one.insert_one(order(id, random)).session(&mut session).await?;
    let more = doc! { "$push": { "items": id } };
    other.update_many(doc! { "_id": { "$lt": 20 } }, more).session(&mut session).await?;
    if random.below(12) == 0 {
        for number in 0..18 {
            let large = doc! { "_id": 200_000 + number, "block": noise(1_000_000) };
            other.delete_one(doc! { "_id": 200_000 + number }).session(&mut session).await?;
            other.insert_one(large).session(&mut session).await?;
        }
    }
    if random.below(6) == 0 {
        session.abort_transaction().await?;
    } else {
        session.commit_transaction().await?;
        // What made it long is not to make every backup long.
        other.delete_many(doc! { "_id": { "$gte": 200_000 } }).await?;
    }
    Ok(())
}

fn noise(bytes: usize) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: vec![7; bytes] }
}

/// One change of collections, indexes or views.
async fn change_collections(client: &Client, random: &mut Random, round: i64) -> Result<()> {
    let (some, other) = (name(random.below(COLLECTIONS)), format!("other{}", random.below(4)));
    if round % 24 < 11 {
        change_plain(client, random, round, &some, &other).await
    } else {
        change_special(client, round, &some).await
    }
}

/// Creates, drops, renames, and changes indexes and validators.
async fn change_plain(client: &Client, random: &mut Random, round: i64, some: &str, other: &str) -> Result<()> {
    let database = client.database("stress");
    let (full_some, full_other) = (format!("stress.{some}"), format!("stress.{other}"));
    match round % 24 {
        0 => fill(&database, other, round).await,
        1 => run_command(&database, doc! { "drop": other }).await,
        2 => index(&database, some, doc! { "total": 1 }, doc! { "name": "by total" }).await,
        3 => {
            index(&database, some, doc! { "items.sku": 1, "total": -1 }, doc! { "name": "compound", "sparse": true })
                .await
        }
        4 => run_command(&database, doc! { "dropIndexes": some, "index": "by total" }).await,
        5 => index(&database, some, doc! { "at": 1 }, doc! { "name": "ttl", "expireAfterSeconds": 3600 }).await,
        6 => {
            let change = doc! { "name": "ttl", "expireAfterSeconds": 7200 };
            run_command(&database, doc! { "collMod": some, "index": change }).await?;
            run_command(&database, doc! { "collMod": some, "index": { "name": "ttl", "hidden": round % 48 < 24 } })
                .await
        }
        7 => {
            let validator = doc! { "total": { "$gte": 500 } };
            let level = if round % 48 < 24 { "moderate" } else { "off" };
            run_command(
                &database,
                doc! { "collMod": some, "validator": validator, "validationLevel": level, "validationAction": "warn" },
            )
            .await
        }
        8 => rename(client, &full_other, &format!("stress.moved{}", random.below(3)), true).await,
        9 => {
            // What is written to is exchanged for something else, and goes on being written to.
            fill(&database, "replacement", round).await?;
            rename(client, "stress.replacement", &full_some, true).await
        }
        _ => {
            rename(client, &full_some, &full_other, true).await?;
            database.create_collection(some).await
        }
    }
}

/// What is not a plain collection, or does not stay where it is.
async fn change_special(client: &Client, round: i64, some: &str) -> Result<()> {
    let (database, more) = (client.database("stress"), client.database("stress_more"));
    match round % 24 {
        11 => {
            fill(&database, "to_cap", round).await?;
            run_command(&database, doc! { "convertToCapped": "to_cap", "size": 65_536 }).await?;
            rename(client, "stress.to_cap", "stress.capped", true).await
        }
        12 => {
            run_command(
                &database,
                doc! { "create": "view", "viewOn": some, "pipeline": [{ "$match": { "total": { "$gt": 10 } } }] },
            )
            .await
        }
        13 => {
            run_command(
                &database,
                doc! { "collMod": "view", "viewOn": some, "pipeline": [{ "$project": { "total": 1 } }] },
            )
            .await
        }
        14 => run_command(&database, doc! { "drop": "view" }).await,
        15 => {
            let series = doc! { "timeField": "at", "metaField": "sensor" };
            run_command(&database, doc! { "create": "series", "timeseries": series, "expireAfterSeconds": 360_000 })
                .await?;
            index(&database, "series", doc! { "sensor": 1, "at": -1 }, doc! { "name": "by sensor" }).await?;
            index(&database, "series", doc! { "value": 1 }, doc! { "name": "by value" }).await
        }
        16 | 17 => {
            let now = mongodb::bson::DateTime::now();
            let points = (0..30).map(|number| doc! { "at": now, "sensor": number % 3, "value": number });
            database.collection("series").insert_many(points.collect::<Vec<_>>()).await.map(drop)
        }
        18 => {
            run_command(
                &database,
                doc! { "collMod": "series", "timeseries": { "granularity": "minutes" }, "expireAfterSeconds": "off" },
            )
            .await?;
            if round % 48 < 24 { Ok(()) } else { run_command(&database, doc! { "drop": "series" }).await }
        }
        19 => {
            let out = doc! { "aggregate": some, "pipeline": [{ "$match": { "total": { "$lt": 300 } } }, { "$out": "out" }], "cursor": {} };
            run_command(&database, out).await
        }
        20 => {
            let collation = doc! { "locale": "en", "strength": 2 };
            let _ = run_command(&more, doc! { "create": "collated", "collation": collation }).await;
            let collated = more.collection::<Document>("collated");
            collated.delete_one(doc! { "_id": if round % 48 < 24 { "a" } else { "A" } }).await?;
            collated.insert_one(doc! { "_id": if round % 48 < 24 { "A" } else { "a" }, "round": round }).await?;
            index(
                &more,
                "collated",
                doc! { "round": 1 },
                doc! { "name": "simple", "collation": { "locale": "simple" } },
            )
            .await
        }
        21 => {
            fill(&database, "leaving", round).await?;
            rename(client, "stress.leaving", "stress_more.arrived", true).await
        }
        22 => {
            let gone = client.database("stress_gone");
            fill(&gone, "one", round).await?;
            fill(&gone, "two", round).await?;
            if round % 48 < 24 { gone.drop().await } else { Ok(()) }
        }
        _ => {
            let clustered = doc! { "key": { "_id": 1 }, "unique": true };
            let _ = run_command(&more, doc! { "create": "clustered", "clusteredIndex": clustered, "changeStreamPreAndPostImages": { "enabled": true } }).await;
            more.collection("clustered").insert_one(doc! { "_id": round }).await?;
            run_command(&more, doc! { "collMod": "clustered", "changeStreamPreAndPostImages": { "enabled": false } })
                .await
        }
    }
}

/// Inserts some documents into a collection, which may be new.
async fn fill(database: &Database, name: &str, round: i64) -> Result<()> {
    let documents = (0..20).map(|number| doc! { "_id": number, "round": round, "k": number % 3 });
    database.collection(name).insert_many(documents.collect::<Vec<_>>()).await.map(drop)
}

async fn run_command(database: &Database, command: Document) -> Result<()> {
    database.run_command(command).await.map(drop)
}

async fn rename(client: &Client, from: &str, to: &str, drop_target: bool) -> Result<()> {
    let command = doc! { "renameCollection": from, "to": to, "dropTarget": drop_target };
    run_command(&client.database("admin"), command).await
}

async fn index(database: &Database, collection: &str, key: Document, options: Document) -> Result<()> {
    let mut index = doc! { "key": key };
    index.extend(options);
    run_command(database, doc! { "createIndexes": collection, "indexes": [index] }).await
}

/// A small generator: the same seed gives the same choices (xorshift64*, Vigna 2016).
pub struct Random(pub u64);

impl Random {
    /// Returns a number from 0 up to and without `bound`.
    pub fn below(&mut self, bound: i64) -> i64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).cast_signed() % bound
    }
}
