//! Documents of nearly the largest size that a server takes, as applications that keep files in their database have them.

use bson::{RawDocumentBuf, rawdoc};
use mongodb::Database;
use mongodb::error::Result;

use crate::dice::{Dice, object_id};

/// Of the 16 MiB that a document may have.
const BYTES: usize = 15_500_000;

/// Makes `count` pictures, whose bytes do not compress.
pub async fn fill(database: &Database, seed: u64, count: u64) -> Result<()> {
    let pictures = database.collection::<RawDocumentBuf>("pictures");
    for number in 0..count {
        let data = Dice::new(seed, "pictures", number).bytes(BYTES);
        let id = object_id("pictures", number, count);
        pictures.insert_one(rawdoc! { "_id": id, "name": format!("{number}.jpg"), "data": data }).await?;
    }
    Ok(())
}
