//! A backup shows one moment, whatever is written meanwhile, and leaves the primary alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, RawDocumentBuf, doc, rawdoc};
use mongodb::{Client, ClientSession};

use super::odd::{insert, run};
use super::{back_up, initialised, restore};
use crate::harness::{self, Workspace};

const WRITERS: i32 = 2;
const ACCOUNTS: i32 = 600;
const BALANCE: i64 = 1000;

/// Makes each side 30 MiB, so that reading takes several batches and the writers get in between.
const WEIGHT: usize = 50_000;

/// Longer than a loaded machine needs for one transfer.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn money_that_moves_during_the_backup_is_neither_lost_nor_made() {
    let servers = harness::three_nodes();
    let client = servers.client().await;
    let (bank, copy) = (harness::unique_database_name(), harness::unique_database_name());
    open_accounts(&client, &bank).await;
    let profiled = profile_reads(&bank).await;
    let workspace = initialised(Workspace::on_disk(servers.uri()));

    let done = Arc::new(AtomicI64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            tokio::spawn(move_money(client.clone(), bank.clone(), writer, Arc::clone(&done), Arc::clone(&stop)))
        })
        .collect();
    wait_until(|| done.load(Ordering::SeqCst) >= 10).await;
    let begun = done.load(Ordering::SeqCst);
    let backup = tokio::task::block_in_place(|| back_up(&workspace, &["--ns", &bank]));
    let ended = done.load(Ordering::SeqCst);
    // Still at it: the writers have not failed, and have gone beyond what the backup can show.
    wait_until(|| done.load(Ordering::SeqCst) > ended + 10).await;
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(backup["consistency"], "snapshot");
    assert!(ended > begun, "money moved while the backup ran");

    let map = format!("{bank}={copy}");
    tokio::task::block_in_place(|| restore(&workspace, &["--map", &map, "--confirm", "rs0"]).exits(0));
    let [left, right] = [balances(&client, &copy, "left").await, balances(&client, &copy, "right").await];
    let (transfers, moved) = ledger(&client, &copy).await;
    let opening = i64::from(ACCOUNTS) * BALANCE;
    assert_eq!((left, right), (opening - moved, opening + moved), "both sides and the ledger are of one moment");
    assert!((begun..=ended + i64::from(WRITERS)).contains(&transfers), "{transfers} is not from {begun} to {ended}");
    assert!(ledger(&client, &bank).await.0 > transfers);
    let nodes = profiled.readers(&bank).await;
    assert_eq!(nodes.len(), 1, "one node was read");
    assert_ne!(nodes[0], servers.primary().await, "and it was a secondary");
}

async fn open_accounts(client: &Client, bank: &str) {
    let database = client.database(bank);
    let account = |id: i32| rawdoc! { "_id": id, "balance": BALANCE, "weight": "x".repeat(WEIGHT) };
    for side in ["left", "right"] {
        for batch in (0..ACCOUNTS).collect::<Vec<_>>().chunks(200) {
            let accounts: Vec<RawDocumentBuf> = batch.iter().map(|id| account(*id)).collect();
            insert(&database, side, &accounts).await;
        }
    }
    // On every node, so that any of them may be read from and profiled.
    run(&database, rawdoc! { "create": "ledger", "writeConcern": { "w": 3 } }).await;
}

/// Moves money from left to right until told to stop, each time in one transaction with an entry in the ledger.
async fn move_money(client: Client, bank: String, writer: i32, done: Arc<AtomicI64>, stop: Arc<AtomicBool>) {
    let mut session = client.start_session().await.unwrap();
    for number in 0_i32.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        while let Err(error) = transfer(&client, &bank, writer, number, &mut session).await {
            assert!(error.contains_label("TransientTransactionError"), "{error}");
        }
        done.fetch_add(1, Ordering::SeqCst);
    }
}

async fn transfer(
    client: &Client,
    bank: &str,
    writer: i32,
    number: i32,
    session: &mut ClientSession,
) -> mongodb::error::Result<()> {
    let database = client.database(bank);
    let amount = i64::from(number % 10 + 1);
    // Each writer has accounts of its own, all over both collections, so that they never wait for each other.
    let account = number * 37 % (ACCOUNTS / WRITERS) * WRITERS + writer;
    session.start_transaction().await?;
    for (side, change) in [("left", -amount), ("right", amount)] {
        let accounts = database.collection::<Document>(side);
        accounts
            .update_one(doc! { "_id": account }, doc! { "$inc": { "balance": change } })
            .session(&mut *session)
            .await?;
    }
    let entry = doc! { "_id": { "writer": writer, "number": number }, "amount": amount };
    database.collection::<Document>("ledger").insert_one(entry).session(&mut *session).await?;
    session.commit_transaction().await
}

async fn balances(client: &Client, bank: &str, side: &str) -> i64 {
    let sum = [doc! { "$group": { "_id": null, "sum": { "$sum": "$balance" }, "accounts": { "$sum": 1 } } }];
    let found = one(client, bank, side, sum).await;
    assert_eq!(found.get_i32("accounts").unwrap(), ACCOUNTS);
    found.get_i64("sum").unwrap()
}

/// Returns how many transfers there were, and how much they moved.
async fn ledger(client: &Client, bank: &str) -> (i64, i64) {
    let group = doc! { "_id": null, "count": { "$sum": 1_i64 }, "sum": { "$sum": "$amount" } };
    let found = one(client, bank, "ledger", [doc! { "$group": group }]).await;
    (found.get_i64("count").unwrap(), found.get_i64("sum").unwrap())
}

async fn one<const N: usize>(client: &Client, db: &str, collection: &str, pipeline: [Document; N]) -> Document {
    let mut cursor = client.database(db).collection::<Document>(collection).aggregate(pipeline).await.unwrap();
    assert!(cursor.advance().await.unwrap());
    cursor.deserialize_current().unwrap()
}

/// Each node's own record of what Regrow read from it.
struct Profiled(Vec<Client>);

async fn profile_reads(db: &str) -> Profiled {
    let mut nodes = Vec::new();
    for node in 0..harness::three_nodes().hosts().len() {
        let client = harness::three_nodes().node_client(node).await;
        run(&client.database(db), rawdoc! { "profile": 1, "filter": { "appName": "regrow" } }).await;
        nodes.push(client);
    }
    Profiled(nodes)
}

impl Profiled {
    /// Returns the nodes that have answered a `find` in either of the collections.
    async fn readers(&self, db: &str) -> Vec<usize> {
        let mut readers = Vec::new();
        for (node, client) in self.0.iter().enumerate() {
            let profile = client.database(db).collection::<Document>("system.profile");
            let read = doc! { "op": "query", "command.find": { "$in": ["left", "right"] } };
            if profile.count_documents(read).await.unwrap() > 0 {
                readers.push(node);
            }
        }
        readers
    }
}

async fn wait_until(mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "the writers are stuck");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
