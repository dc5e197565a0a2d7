//! A history of changes of which each document and each collection has its own: chosen at random, by a seed.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document, doc, oid::ObjectId};
use mongodb::error::Result;
use mongodb::{Client, ClientSession, Collection, Database};

use crate::point_in_time::workload::Random;

/// The databases that are written to.
pub const DATABASES: [&str; 2] = ["history", "history_more"];

/// How many documents a collection begins with.
const DOCUMENTS: i64 = 400;

pub struct History {
    client: Client,
    random: Random,
    /// Names of the collections that are there.
    collections: Vec<String>,
    made: u32,
    /// A transaction that stays open for a while.
    open: Option<ClientSession>,
}

/// Whatever the driver says about it: it succeeded.
fn done<T>(_: T) {}

impl History {
    pub async fn begin(client: &Client, seed: u64) -> Self {
        let (collections, random) = (Vec::new(), Random(seed));
        let mut history = Self { client: client.clone(), random, collections, made: 0, open: None };
        for _ in 0..4 {
            history.create().await.unwrap();
        }
        history.special().await.unwrap();
        history
    }

    /// Does some things, one after the other.
    pub async fn go_on(&mut self, steps: u32) {
        for _ in 0..steps {
            self.step().await.unwrap();
        }
    }

    /// Begins a transaction that [`close`](Self::close) commits.
    pub async fn open(&mut self) {
        let mut session = self.client.start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        let more: Collection<Document> = self.client.database(DATABASES[1]).collection("slowly");
        more.insert_one(doc! { "opened": true }).session(&mut session).await.unwrap();
        let (id, change) = (doc! { "_id": self.random.below(3) }, doc! { "$inc": { "n": 1 } });
        more.update_one(id, change).session(&mut session).await.unwrap();
        self.open = Some(session);
    }

    pub async fn close(&mut self) {
        if let Some(mut session) = self.open.take() {
            session.commit_transaction().await.unwrap();
        }
    }

    fn database(&self) -> Database {
        self.client.database(DATABASES[0])
    }

    fn some(&mut self) -> Collection<Document> {
        let at = usize::try_from(self.random.below(i64::try_from(self.collections.len()).unwrap())).unwrap();
        self.database().collection(&self.collections[at])
    }

    async fn step(&mut self) -> Result<()> {
        match self.random.below(40) {
            0 => self.rename().await,
            1 => self.drop_and_create().await,
            2 => self.rewrite().await,
            3 => self.transaction(true).await,
            4 => self.transaction(false).await,
            5 => self.create().await,
            6 => self.change_definition().await,
            7 => self.change_special().await,
            _ => self.change_document().await,
        }
    }

    async fn create(&mut self) -> Result<()> {
        self.made += 1;
        let name = format!("c{}", self.made);
        let documents: Vec<Document> = (0..DOCUMENTS).map(|number| self.document(Self::id(number))).collect();
        self.database().collection(&name).insert_many(documents).await?;
        self.collections.push(name);
        Ok(())
    }

    /// Every kind of `_id` that there is, each of which finds its document.
    #[allow(clippy::cast_precision_loss)]
    fn id(number: i64) -> Bson {
        match number % 12 {
            0 => Bson::Int64(number),
            1 => Bson::Double(number as f64),
            2 => Bson::Double(number as f64 + 0.5),
            3 => Bson::String(format!("s{number}")),
            4 => doc! { "a": number, "b": [1, { "c": number }] }.into(),
            5 => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: number.to_le_bytes().to_vec() }),
            6 => Bson::DateTime(DateTime::from_millis(number)),
            7 => Bson::Decimal128(number.to_string().parse::<Decimal128>().unwrap()),
            8 => Bson::ObjectId(ObjectId::from_bytes([
                u8::try_from(number % 256).unwrap(),
                u8::try_from(number / 256).unwrap(),
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
            ])),
            9 if number == 9 => Bson::Null,
            10 if number < 30 => Bson::Boolean(number == 10),
            _ => Bson::Int32(i32::try_from(number).unwrap()),
        }
    }

    fn document(&self, id: Bson) -> Document {
        doc! { "_id": id, "n": 1, "made": self.made, "text": "some words that make it a document of some size" }
    }

    async fn change_document(&mut self) -> Result<()> {
        let collection = self.some();
        let number = self.random.below(DOCUMENTS + 100);
        let one = doc! { "_id": { "$eq": Self::id(number) } };
        match self.random.below(6) {
            0 => done(collection.delete_one(one).await?),
            1 => done(collection.update_one(one, doc! { "$inc": { "n": 1 } }).await?),
            2 => {
                let changed = self.document(Self::id(number));
                done(collection.replace_one(one, changed).upsert(true).await?);
            }
            3 => {
                // The same for the server, and other bytes.
                let other = match Self::id(number) {
                    Bson::Int32(id) => Bson::Int64(id.into()),
                    Bson::Int64(id) => Bson::Decimal128(format!("{id}.0").parse().unwrap()),
                    other => other,
                };
                collection.delete_one(one).await?;
                done(collection.insert_one(self.document(other)).await?);
            }
            4 => {
                let few =
                    doc! { "made": { "$gte": 0 }, "_id": { "$type": "date", "$lt": DateTime::from_millis(number) } };
                let change = doc! { "$set": { "changed": number } };
                done(collection.update_many(few, change).await?);
            }
            _ => {
                collection.delete_one(one).await?;
                done(collection.insert_one(self.document(Self::id(number))).await?);
            }
        }
        Ok(())
    }

    async fn transaction(&mut self, commits: bool) -> Result<()> {
        let (one, other) = (self.some(), self.some());
        let mut session = self.client.start_session().await?;
        session.start_transaction().await?;
        for _ in 0..4 {
            let id = doc! { "_id": { "$eq": Self::id(self.random_number()) } };
            let number = self.random.below(DOCUMENTS);
            one.update_one(id, doc! { "$set": { "in": number } }).session(&mut session).await?;
            let id = doc! { "_id": { "$eq": Self::id(number) } };
            other.delete_one(id).session(&mut session).await?;
        }
        if commits { session.commit_transaction().await } else { session.abort_transaction().await }
    }

    fn random_number(&self) -> i64 {
        i64::from(self.made) * 7 % DOCUMENTS
    }

    async fn rename(&mut self) -> Result<()> {
        let (from, number) = (self.some().name().to_owned(), self.made);
        self.made += 1;
        let to = format!("renamed{number}");
        let command = doc! { "renameCollection": format!("history.{from}"), "to": format!("history.{to}") };
        self.client.database("admin").run_command(command).await?;
        self.collections.retain(|name| *name != from);
        self.collections.push(to);
        Ok(())
    }

    async fn drop_and_create(&mut self) -> Result<()> {
        let collection = self.some();
        collection.drop().await?;
        let documents: Vec<Document> = (0..50).map(|number| self.document(Self::id(number))).collect();
        collection.insert_many(documents).await.map(drop)
    }

    /// What is written is exchanged for what was there.
    async fn rewrite(&mut self) -> Result<()> {
        let collection = self.some();
        let pipeline = [doc! { "$match": { "n": { "$lt": 3 } } }, doc! { "$out": collection.name() }];
        collection.aggregate(pipeline).await.map(drop)
    }

    async fn change_definition(&mut self) -> Result<()> {
        let (collection, number) = (self.some(), self.made);
        self.made += 1;
        let index = doc! { "key": { "n": 1, "made": -1 }, "name": format!("i{number}") };
        let database = self.database();
        if number.is_multiple_of(2) {
            let _ = database.run_command(doc! { "createIndexes": collection.name(), "indexes": [index] }).await;
        } else {
            let change =
                doc! { "collMod": collection.name(), "validator": { "n": { "$gt": 0 } }, "validationAction": "warn" };
            database.run_command(change).await?;
        }
        Ok(())
    }

    /// Creates what is no plain collection.
    async fn special(&mut self) -> Result<()> {
        let more = self.client.database(DATABASES[1]);
        let collation = doc! { "locale": "en", "strength": 2 };
        more.run_command(doc! { "create": "collated", "collation": collation }).await?;
        let words = (0..100).map(|number| doc! { "_id": format!("word{number}"), "n": 1 });
        more.collection("collated").insert_many(words.collect::<Vec<_>>()).await?;
        more.run_command(doc! { "create": "capped", "capped": true, "size": 1_000_000 }).await?;
        more.run_command(doc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } })
            .await?;
        more.run_command(doc! { "create": "series", "timeseries": { "timeField": "at", "metaField": "sensor" } })
            .await?;
        more.run_command(doc! { "create": "view", "viewOn": "collated", "pipeline": [] }).await?;
        for name in ["capped", "clustered", "slowly"] {
            let some = (0..30).map(|number| doc! { "_id": number, "n": 1 });
            more.collection(name).insert_many(some.collect::<Vec<_>>()).await?;
        }
        more.collection("series").insert_one(doc! { "at": DateTime::now(), "sensor": 1, "value": 5 }).await.map(drop)
    }

    async fn change_special(&mut self) -> Result<()> {
        let more = self.client.database(DATABASES[1]);
        match self.random.below(4) {
            0 => more.collection("capped").insert_one(doc! { "n": self.made }).await.map(drop),
            1 => {
                let clustered: Collection<Document> = more.collection("clustered");
                clustered.update_one(doc! { "_id": self.random.below(30) }, doc! { "$inc": { "n": 1 } }).await.map(drop)
            }
            2 => more
                .collection("series")
                .insert_one(doc! { "at": DateTime::now(), "sensor": 2, "value": 6 })
                .await
                .map(drop),
            _ => {
                // For the collation it is the same document.
                let collated: Collection<Document> = more.collection("collated");
                let number = self.random.below(100);
                collated.delete_one(doc! { "_id": format!("word{number}") }).await?;
                let id = if number % 2 == 0 { format!("WORD{number}") } else { format!("word{number}") };
                collated.insert_one(doc! { "_id": id, "n": self.made }).await.map(drop)
            }
        }
    }
}
