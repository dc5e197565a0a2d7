//! Writing: collections, documents as bytes, indexes.
//!
//! Every write waits for the majority, so what was acknowledged outlives an election. Nothing here
//! overwrites: creating a collection that exists fails, and documents go only into collections that the
//! caller has created.

use std::time::Duration;

use bson::spec::ElementType;
use bson::{
    Bson, Document, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, cstr, doc, rawdoc,
};
use memchr::memmem;
use mongodb::Database;
use mongodb::error::Error as DriverError;

use super::answer::{self, Pace};
use super::error::{Attempt, DUPLICATE_KEY, REPLAY_ROLES, RESTORE_ROLES, explain, is_connection_loss};
use crate::error::{Error, Result};
use crate::units::MIB;

/// Bytes of documents sent in one insert: large enough that the round trip does not count, small enough
/// that several streams keep the server busy evenly.
pub const INSERT_BYTES: usize = 2 * MIB;

/// The server's limit of documents in one insert (`maxWriteBatchSize`).
pub const INSERT_DOCUMENTS: usize = 100_000;

/// What helps where the target holds something that a restore has not written.
pub const ALONE: &str = "make sure that nothing else writes to the target, then restore again";

/// How often a write is sent again after a lost connection.
pub(super) const MAX_RETRIES: u32 = 5;

/// The wait before a lost connection is tried again; doubled each time.
pub(super) const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The option of collections and indexes that says after how many seconds the server deletes documents. Like the limits of capped
/// collections it comes last, when everything is checked.
pub const EXPIRY: &str = "expireAfterSeconds";
const CAPPED_SIZE: &str = "size";
const CAPPED_MAX: &str = "max";

/// The size that capped collections have until then, in bytes: half of the server's limit.
const UNLIMITED: i64 = 1 << 49;

/// The server's code for a name that is taken.
const NAMESPACE_EXISTS: i32 = 48;

/// The collection of stored functions.
const STORED_FUNCTIONS: &str = "system.js";

/// The option of collections and indexes that says how text compares.
const COLLATION: &str = "collation";

/// What it takes to write an empty timestamp.
pub const UPDATE_ROLES: &str =
    "role readWriteAnyDatabase (a document has an empty timestamp, which only an update preserves)";

/// Creates a collection, view or time series with the options that a listing showed.
///
/// What lets the server delete documents is left out: [`set_limits`] adds it when the documents have been checked.
///
/// # Errors
/// [`Kind::Refused`](crate::error::Kind::Refused) when it exists already; when an option is refused, or a privilege is missing; [`Error::is_transient`] when it may have been
/// created all the same.
pub async fn create(database: &Database, name: &str, options: &RawDocument, indexes: &[RawDocumentBuf]) -> Result<()> {
    let doing = format!("create {}.{name}", database.name());
    let mut command = rawdoc! { "create": name };
    for element in options.iter_elements() {
        let element = element.map_err(|error| Error::failed(format!("cannot {doing}")).caused_by(error))?;
        match element.key().as_str() {
            EXPIRY | CAPPED_MAX => {}
            CAPPED_SIZE => command.append(element.key(), UNLIMITED),
            _ => {
                let value =
                    element.value().map_err(|error| Error::failed(format!("cannot {doing}")).caused_by(error))?;
                command.append(element.key(), RawBson::from(value));
            }
        }
    }
    if let Some(id_index) = indexes.iter().find(|index| is_id_index(index))
        && !matches!(options.get("clusteredIndex"), Ok(Some(_)))
    {
        command.append(cstr!("idIndex"), id_index.clone());
    }
    majority(&mut command);
    let attempt = Attempt { doing: &doing, action: "createCollection", roles: RESTORE_ROLES };
    let is_view = matches!(options.get("viewOn"), Ok(Some(_)));
    let (mut delay, mut retries) = (RETRY_DELAY, 0);
    loop {
        let Err(error) = answer::run(database, command.clone(), Pace::Soon).await else { return Ok(()) };
        let exists = super::error::code(&error) == Some(NAMESPACE_EXISTS);
        // It did not exist a moment ago, and only an answer to us was lost.
        if exists && retries > 0 && (is_view || !has_documents(database, name).await?) {
            return Ok(());
        }
        if exists {
            return Err(Error::refused(format!("cannot {doing}: it exists by now")).with_hint(ALONE));
        }
        if retries == MAX_RETRIES || !is_connection_loss(&error) {
            return Err(explain(&error, attempt));
        }
        tracing::warn!(doing, %error, "connection lost; sending again");
        tokio::time::sleep(delay).await;
        (delay, retries) = (delay * 2, retries + 1);
    }
}

/// Empties a collection, one document after the other: the server has no `emptycapped` for clients, and takes the operation of
/// that name from nobody under access control.
///
/// # Errors
/// When the server refuses it or a privilege is missing.
pub async fn empty(database: &Database, name: &str) -> Result<()> {
    let doing = format!("empty {}.{name}", database.name());
    let mut command = rawdoc! { "delete": name, "deletes": [{ "q": {}, "limit": 0 }] };
    majority(&mut command);
    let attempt = Attempt { doing: &doing, action: "remove", roles: REPLAY_ROLES };
    run_retrying(database, command, Pace::WhenDone, attempt).await.map(drop)
}

/// Whether a collection holds any document; one that does not exist holds none.
///
/// # Errors
/// When the server does not answer or a privilege is missing.
pub async fn has_documents(database: &Database, name: &str) -> Result<bool> {
    let doing = format!("look into {}.{name}", database.name());
    let attempt = Attempt { doing: &doing, action: "find", roles: RESTORE_ROLES };
    let collection = database.collection::<RawDocumentBuf>(name);
    let found = answer::soon(collection.find_one(doc! {}).projection(doc! { "_id": 1 })).await;
    found.map(|found| found.is_some()).map_err(|error| explain(&error, attempt))
}

/// Drops a collection; one that does not exist is not an error. That of the stored functions, which the server lets nobody
/// drop, is emptied.
///
/// # Errors
/// When the server does not answer or a privilege is missing.
pub async fn drop_collection(database: &Database, name: &str) -> Result<()> {
    const NAMESPACE_NOT_FOUND: i32 = 26;
    if name == STORED_FUNCTIONS {
        return empty(database, name).await;
    }
    let doing = format!("drop {}.{name}", database.name());
    let mut command = rawdoc! { "drop": name };
    majority(&mut command);
    match answer::run(database, command, Pace::WhenDone).await {
        Err(error) if super::error::code(&error) != Some(NAMESPACE_NOT_FOUND) => {
            Err(explain(&error, Attempt { doing: &doing, action: "dropCollection", roles: RESTORE_ROLES }))
        }
        _ => Ok(()),
    }
}

/// Inserts documents, in order, as they are: validators are bypassed. Returns the numbers of those that were not
/// inserted because another document has their `_id`.
///
/// At most [`INSERT_DOCUMENTS`] documents and [`INSERT_BYTES`] bytes, or one document. After a lost
/// connection the same documents are sent again, and those that arrived the first time are passed over;
/// the caller's content digest proves the result. The future owns the documents, so that it can outlive
/// its caller.
///
/// The server would replace an empty timestamp at a document's top level by the time, but only in inserts;
/// documents with one are written by an upsert, which needs the privilege `update`.
///
/// # Errors
/// When the server refuses a document for another reason, or stays away.
pub fn insert(
    database: &Database,
    collection: &str,
    documents: &[&RawDocument],
) -> impl Future<Output = Result<Vec<usize>>> + Send + use<> {
    let doing = format!("insert into {}.{collection}", database.name());
    // The commands are laid out before the future begins, so that it owns everything it needs.
    let documents: Vec<_> = documents.iter().map(|document| (*document, has_empty_timestamp(document))).collect();
    let commands: Result<Vec<_>, _> = documents
        .chunk_by(|(_, one), (_, other)| one == other)
        .map(|run| {
            let upsert = run.first().is_some_and(|(_, is_empty)| *is_empty);
            let run: Vec<&RawDocument> = run.iter().map(|(document, _)| *document).collect();
            let command =
                if upsert { put_command(collection, &run, Existing::Keep) } else { insert_command(collection, &run) };
            command.map(|command| (upsert, run.len(), command))
        })
        .collect();
    let database = database.clone();
    async move {
        let commands = commands.map_err(|error| Error::failed(format!("cannot {doing}")).caused_by(error))?;
        let (mut first, mut existing) = (0, Vec::new());
        for (upsert, documents, command) in commands {
            let (action, roles) = if upsert { ("update", UPDATE_ROLES) } else { ("insert", RESTORE_ROLES) };
            let there = write(&database, command, Attempt { doing: &doing, action, roles }).await?;
            existing.extend(there.into_iter().map(|number| first + number));
            first += documents;
        }
        Ok(existing)
    }
}

/// Writes documents as they are, in place of those with the same `_id`s: validators are bypassed, empty timestamps kept. `roles`
/// are the built-in ones that grant it. The future owns everything, so that it can outlive its caller.
///
/// At most [`INSERT_DOCUMENTS`] documents and [`INSERT_BYTES`] bytes, or one document.
///
/// # Errors
/// When the server refuses one, such as a second document with a unique key, or stays away.
pub fn put(
    database: &Database,
    collection: &str,
    documents: &[&RawDocument],
    roles: &'static str,
) -> impl Future<Output = Result<()>> + Send + use<> {
    let doing = format!("write to {}.{collection}", database.name());
    let command = put_command(collection, documents, Existing::Replace);
    let database = database.clone();
    async move {
        let command = command.map_err(|error| Error::failed(format!("cannot {doing}")).caused_by(error))?;
        write(&database, command, Attempt { doing: &doing, action: "update", roles }).await.map(drop)
    }
}

/// Sends a command that writes documents; returns the numbers of those that were there, unless a lost connection may
/// be why.
async fn write(database: &Database, command: RawDocumentBuf, attempt: Attempt<'_>) -> Result<Vec<usize>> {
    let doing = attempt.doing;
    let (reply, retried) = run_retrying(database, command, Pace::Soon, attempt).await?;
    let mut existing = Vec::new();
    for error in reply.get_array("writeErrors").into_iter().flatten().filter_map(Bson::as_document) {
        if !error.get_i32("code").is_ok_and(|code| code == DUPLICATE_KEY) {
            let reason = error.get_str("errmsg").unwrap_or("it gives no reason");
            return Err(Error::failed(format!("cannot {doing}: the server refuses a document: {reason}")));
        }
        let number = error.get_i32("index").ok().and_then(|number| usize::try_from(number).ok());
        existing.extend(number.filter(|_| !retried));
    }
    Ok(existing)
}

/// Builds indexes in one command, so that the collection is scanned once. `options` are the collection's.
///
/// # Errors
/// When the server refuses one, such as a unique index over duplicates.
pub async fn create_indexes(
    database: &Database,
    collection: &str,
    options: &RawDocument,
    indexes: &[&RawDocumentBuf],
) -> Result<()> {
    if indexes.is_empty() {
        return Ok(());
    }
    let doing = format!("build the indexes of {}.{collection}", database.name());
    let mut specifications = RawArrayBuf::new();
    let collated = matches!(options.get(COLLATION), Ok(Some(_)));
    for index in indexes {
        specifications.push(specification(index, collated));
    }
    let mut command = rawdoc! { "createIndexes": collection, "indexes": specifications };
    majority(&mut command);
    let attempt = Attempt { doing: &doing, action: "createIndex", roles: RESTORE_ROLES };
    run_retrying(database, command, Pace::WhenDone, attempt).await.map(drop)
}

/// Sets the expiry of a clustered collection or a time series and the limits of a capped collection, if its options
/// have any.
///
/// # Errors
/// When the server refuses them.
pub async fn set_limits(database: &Database, collection: &str, options: &RawDocument) -> Result<()> {
    let doing = format!("set the limits of {}.{collection}", database.name());
    let mut command = rawdoc! { "collMod": collection };
    let limits =
        [(EXPIRY, cstr!("expireAfterSeconds")), (CAPPED_SIZE, cstr!("cappedSize")), (CAPPED_MAX, cstr!("cappedMax"))];
    let mut has_any = false;
    for (option, field) in limits {
        if let Ok(Some(limit)) = options.get(option) {
            command.append(field, RawBson::from(limit));
            has_any = true;
        }
    }
    if !has_any {
        return Ok(());
    }
    majority(&mut command);
    let attempt = Attempt { doing: &doing, action: "collMod", roles: RESTORE_ROLES };
    run_retrying(database, command, Pace::Soon, attempt).await.map(drop)
}

/// Lets an index that was built [without expiry](without_expiry) delete documents as `index` says. It may do so already.
///
/// # Errors
/// When there is no such index, or the server refuses it.
pub async fn expire(database: &Database, collection: &str, index: &RawDocument) -> Result<()> {
    let doing = format!("let documents of {}.{collection} expire", database.name());
    let mut changed = RawDocumentBuf::new();
    for key in [cstr!("name"), cstr!("expireAfterSeconds")] {
        let value = index.get(key).map_err(|error| Error::failed(format!("cannot {doing}")).caused_by(error))?;
        changed.append(key, value.map_or(RawBson::Null, RawBson::from));
    }
    let mut command = rawdoc! { "collMod": collection, "index": changed };
    majority(&mut command);
    let attempt = Attempt { doing: &doing, action: "collMod", roles: RESTORE_ROLES };
    run_retrying(database, command, Pace::Soon, attempt).await.map(drop)
}

/// Returns an index as an ordinary one, by which the server deletes nothing; none where it cannot be read.
#[must_use]
pub fn without_expiry(index: &RawDocument) -> Option<RawDocumentBuf> {
    let mut ordinary = RawDocumentBuf::new();
    for option in index {
        let (option, value) = option.ok()?;
        if option.as_str() != EXPIRY {
            ordinary.append(option, RawBson::from(value));
        }
    }
    Some(ordinary)
}

/// Whether an index lets the server delete documents.
#[must_use]
pub fn expires(index: &RawDocument) -> bool {
    matches!(index.get(EXPIRY), Ok(Some(_)))
}

/// Whether an index is the one that every collection has by itself.
#[must_use]
pub fn is_id_index(index: &RawDocument) -> bool {
    index.get_str("name").is_ok_and(|name| name == "_id_") || matches!(index.get("clustered"), Ok(Some(_)))
}

/// Returns what creates an index again. One without a collation is listed without any, but would get that of a
/// collection that has one.
fn specification(index: &RawDocumentBuf, collated: bool) -> RawDocumentBuf {
    let mut specification = index.clone();
    if collated && matches!(index.get(COLLATION), Ok(None)) {
        specification.append(cstr!("collation"), rawdoc! { "locale": "simple" });
    }
    specification
}

/// Sends a command that may be repeated; returns the reply and whether it was.
pub(super) async fn run_retrying(
    database: &Database,
    command: RawDocumentBuf,
    pace: Pace,
    attempt: Attempt<'_>,
) -> Result<(Document, bool)> {
    let mut delay = RETRY_DELAY;
    for retry in 0..MAX_RETRIES {
        match answer::run(database, command.clone(), pace).await {
            Ok(reply) => return Ok((reply, retry > 0)),
            Err(error) if is_connection_loss(&error) => {
                tracing::warn!(doing = attempt.doing, %error, "connection lost; sending again");
                tokio::time::sleep(delay).await;
                delay *= 2;
            }
            Err(error) => return Err(explain(&error, attempt)),
        }
    }
    let last = answer::run(database, command, pace).await;
    last.map(|reply| (reply, true)).map_err(|error: DriverError| explain(&error, attempt))
}

/// Lays out the command's bytes once, instead of copying every document through nested builders.
fn insert_command(collection: &str, documents: &[&RawDocument]) -> Result<RawDocumentBuf, bson::error::Error> {
    const TYPE_DOCUMENT: u8 = 0x03;
    const TYPE_ARRAY: u8 = 0x04;
    let mut tail = rawdoc! { "ordered": false, "bypassDocumentValidation": true };
    majority(&mut tail);
    let head = rawdoc! { "insert": collection };
    let documents_bytes: usize = documents.iter().map(|document| document.as_bytes().len() + 8).sum();
    let mut bytes = Vec::with_capacity(head.as_bytes().len() + tail.as_bytes().len() + documents_bytes + 32);
    bytes.extend_from_slice(&head.as_bytes()[..head.as_bytes().len() - 1]);
    bytes.push(TYPE_ARRAY);
    bytes.extend_from_slice(b"documents\0");
    let array_at = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    for (index, document) in documents.iter().enumerate() {
        bytes.push(TYPE_DOCUMENT);
        bytes.extend_from_slice(index.to_string().as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(document.as_bytes());
    }
    bytes.push(0);
    write_length(&mut bytes, array_at);
    bytes.extend_from_slice(&tail.as_bytes()[4..]);
    write_length(&mut bytes, 0);
    RawDocumentBuf::from_bytes(bytes)
}

/// Whether an insert would change the document: `_id` aside, it has `Timestamp(0, 0)` at its top level.
#[must_use]
pub fn has_empty_timestamp(document: &RawDocument) -> bool {
    const EMPTY: RawBsonRef<'static> = RawBsonRef::Timestamp(Timestamp { time: 0, increment: 0 });
    /// The end of a field's name, and the value.
    const NAME_END_AND_VALUE: [u8; 9] = [0; 9];
    // To walk over the fields of every document took a sixth of a restore's processor time.
    if memmem::find(document.as_bytes(), &NAME_END_AND_VALUE).is_none() {
        return false;
    }
    for element in document.iter_elements() {
        match element {
            Ok(element) if element.element_type() != ElementType::Timestamp || element.key() == cstr!("_id") => {}
            Ok(element) if element.value().is_ok_and(|value| value != EMPTY) => {}
            // Where not even a name can be read, such as one that is not UTF-8, an upsert is always right.
            Ok(_) | Err(_) => return true,
        }
    }
    false
}

/// What becomes of a document that has the `_id` of one to write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Keep,
    Replace,
}

/// Returns the command that writes each document as it is.
fn put_command(
    collection: &str,
    documents: &[&RawDocument],
    existing: Existing,
) -> Result<RawDocumentBuf, bson::error::Error> {
    let mut updates = RawArrayBuf::new();
    for document in documents {
        let mut id = RawDocumentBuf::new();
        if let Some(value) = document.get("_id")? {
            id.append(cstr!("$eq"), RawBson::from(value));
        }
        let literal = rawdoc! { "$literal": RawBson::Document((*document).to_owned()) };
        let mut query = rawdoc! { "_id": id };
        if existing == Existing::Keep {
            // True of none: so an insert is tried, and refused where the `_id` is taken.
            query.append(cstr!("$nor"), [rawdoc! {}].into_iter().collect::<RawArrayBuf>());
        }
        updates.push(rawdoc! { "q": query, "u": [{ "$replaceWith": literal }], "upsert": true });
    }
    // In their order, which a capped collection keeps.
    let mut command =
        rawdoc! { "update": collection, "updates": updates, "ordered": false, "bypassDocumentValidation": true };
    majority(&mut command);
    Ok(command)
}

/// Writes the length of the document that begins at `at` and ends where the bytes end.
fn write_length(bytes: &mut [u8], at: usize) {
    let length = i32::try_from(bytes.len() - at).expect("an insert is far below 2 GiB");
    bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

pub(super) fn majority(command: &mut RawDocumentBuf) {
    command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_laid_out_insert_is_the_command_that_builders_make() {
        let documents = [rawdoc! { "_id": 1, "a": "x" }, rawdoc! { "_id": 2 }];
        let laid_out =
            insert_command("orders", &documents.iter().map(AsRef::as_ref).collect::<Vec<&RawDocument>>()).unwrap();
        let mut built = rawdoc! {
            "insert": "orders",
            "documents": [documents[0].clone(), documents[1].clone()],
            "ordered": false,
            "bypassDocumentValidation": true,
        };
        majority(&mut built);
        assert_eq!(laid_out, built);
    }
}
