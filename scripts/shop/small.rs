//! Many small collections, as a database for each of a platform's tenants adds up to.

use bson::{doc, rawdoc};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::Database;
use mongodb::error::Result;

use crate::dice::{Dice, moment, object_id};
use crate::{load, words};

/// Collections being made at once.
const TASKS: usize = 8;

/// Makes `count` collections of 10 to 50 documents, each with one secondary index.
pub async fn fill(database: &Database, seed: u64, count: u64) -> Result<()> {
    stream::iter(0..count).map(|number| fill_one(database, seed, number)).buffer_unordered(TASKS).try_collect().await
}

async fn fill_one(database: &Database, seed: u64, number: u64) -> Result<()> {
    let name = format!("notes_{number:05}");
    let index = doc! { "name": "newest", "key": { "at": -1 } };
    database.run_command(doc! { "createIndexes": &name, "indexes": [index] }).await?;
    let documents = 10 + Dice::new(seed, "notes", number).below(41);
    let notes = (0..documents).map(|position| {
        let dice = Dice::new(seed, &name, position);
        rawdoc! {
            "_id": object_id(&name, position, documents),
            "title": dice.sentence(words::PROSE, 5),
            "author": dice.pick(words::FIRST_NAMES),
            "text": dice.sentence(words::PROSE, dice.between(10, 60)),
            "at": moment(position, documents),
        }
    });
    load::insert(database, &name, notes).await
}
