//! Replaying: the oplog's own operations on documents, in batches, through `applyOps`.
//!
//! The server applies them as a secondary would: `$v: 2` diffs as they stand, validators bypassed. Only whole documents
//! for which `load::has_empty_timestamp` must not come this way: the server would change them.

mod runs;

use std::collections::HashMap;

use bson::raw::{CStr, RawArrayBuf};
use bson::{Bson, Document, RawDocument, RawDocumentBuf, cstr, rawdoc};

use super::answer::{self, Pace};
use super::client::Deployment;
use super::error::{Attempt, EXCHANGE_ROLES, RENAME_BY_OPERATION, REPLAY_ROLES, explain, is_connection_loss};
use super::load::{MAX_RETRIES, RETRY_DELAY, majority};
use crate::error::{Error, Result};
use crate::units::MIB;

/// How many operations one command has at most: enough that the round trip does not count, few enough that others
/// who use the server are not held up for long.
const MAX_OPERATIONS: usize = 1000;

/// How many bytes of operations one command has at most, unless one alone has more.
const MAX_BYTES: usize = 2 * MIB;

/// How many places one batch has, with those that are empty because what stood there is needless.
const MAX_PLACES: usize = 8 * MAX_OPERATIONS;

/// What becomes of an update of a document that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// It is an error: what was loaded and what is replayed do not belong together.
    Fail,
    /// The document is made of what the update says.
    Insert,
}

/// Operations on documents that are applied in one command; those on one document in their order.
#[derive(Debug, Default)]
pub struct Batch {
    /// None where a later one has made one needless.
    operations: Vec<Option<Queued>>,
    /// How many are not needless, and their bytes.
    count: usize,
    bytes: usize,
    /// Where the operations on one document are that are not needless, by its key.
    runs: HashMap<u64, Vec<usize>>,
}

#[derive(Debug)]
struct Queued {
    operation: RawDocumentBuf,
    /// Whether it is an update that fails where its document is missing.
    fails_on_missing: bool,
}

impl Batch {
    /// Adds an operation: its kind (`i`, `u` or `d`), the namespace it goes to, and its content. The collection's UUID
    /// is left out, because it is another one here. Operations on one document must have the same `key`: those before it that this one makes
    /// needless are left out. An operation without a key leaves out nothing, and nothing before it is left out any more.
    pub fn push(
        &mut self,
        kind: &str,
        namespace: &str,
        (o, o2): (&RawDocument, Option<&RawDocument>),
        on_missing: OnMissing,
        key: Option<u64>,
    ) {
        let mut operation = rawdoc! { "op": kind, "ns": namespace };
        operation.append(cstr!("o"), o);
        if let Some(o2) = o2 {
            operation.append(cstr!("o2"), o2);
        }
        let place = if let Some(key) = key {
            self.make_room(key, &operation)
        } else {
            // Of its document there may be others, which a later one would leave out from before it.
            self.runs.clear();
            self.operations.len()
        };
        let fails_on_missing = kind == "u" && on_missing == OnMissing::Fail;
        if kind == "u" && !fails_on_missing {
            operation.append(UPSERT, true);
        }
        self.bytes += operation.as_bytes().len();
        self.count += 1;
        let queued = Some(Queued { operation, fails_on_missing });
        match self.operations.get_mut(place) {
            Some(free) => *free = queued,
            None => self.operations.push(queued),
        }
    }

    /// Drops what is needless before another operation on the same document, and returns where that one goes: into the first place that
    /// has become empty. It may stand there, before operations on other documents, because no document depends on another here.
    fn make_room(&mut self, key: u64, next: &RawDocument) -> usize {
        let operations = &mut self.operations;
        let run = self.runs.entry(key).or_default();
        // Other documents may have the key, too, and the server holds some for one that are written in different ways.
        if queued(operations, run).next_back().is_some_and(|last| !runs::are_of_one_document(last, next)) {
            run.clear();
        }
        let kept = run.len() - runs::needless(queued(operations, run), next);
        let needless = run.split_off(kept);
        for queued in needless.iter().filter_map(|&place| operations[place].take()) {
            self.bytes -= queued.operation.as_bytes().len();
            self.count -= 1;
        }
        let place = needless.first().copied().unwrap_or(operations.len());
        run.push(place);
        place
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it should be applied before `more` bytes are added.
    #[must_use]
    pub fn is_full_for(&self, more: usize) -> bool {
        let is_full = self.count >= MAX_OPERATIONS || self.operations.len() >= MAX_PLACES;
        !self.is_empty() && (is_full || self.bytes + more > MAX_BYTES)
    }

    /// Applies the operations. The future owns everything, so that it can outlive its caller.
    ///
    /// After a lost connection they are sent again. What had been applied by then is applied once more, which comes to
    /// the same, because operations say what shall be and not what to add; only that an updated document may be gone
    /// again must be allowed.
    ///
    /// # Errors
    /// When the server refuses one, such as an update of a document that does not exist, or stays away.
    pub fn apply(mut self, target: &Deployment) -> impl Future<Output = Result<()>> + Send + use<> {
        let (admin, would_upsert) = (target.client().database("admin"), target.upserts_unless_told());
        async move {
            let mut delay = RETRY_DELAY;
            for retry in 0..=MAX_RETRIES {
                match answer::run(&admin, self.command(would_upsert), Pace::Soon).await {
                    Ok(reply) => return all_applied(&reply),
                    Err(error) if is_connection_loss(&error) && retry < MAX_RETRIES => {
                        tracing::warn!(%error, "connection lost while replaying; sending again");
                        self.allow_missing();
                        tokio::time::sleep(delay).await;
                        delay *= 2;
                    }
                    Err(error) => return Err(explain(&error, REPLAYING)),
                }
            }
            unreachable!("the last attempt returns")
        }
    }

    fn command(&self, would_upsert: bool) -> RawDocumentBuf {
        let mut operations = RawArrayBuf::new();
        self.operations.iter().flatten().for_each(|queued| operations.push(queued.operation.clone()));
        let mut command = rawdoc! { "applyOps": operations, "bypassDocumentValidation": true };
        // Newer servers refuse the option.
        if would_upsert {
            command.append(cstr!("alwaysUpsert"), false);
        }
        majority(&mut command);
        command
    }

    fn allow_missing(&mut self) {
        for queued in self.operations.iter_mut().flatten().filter(|queued| queued.fails_on_missing) {
            queued.operation.append(UPSERT, true);
            queued.fails_on_missing = false;
        }
    }
}

/// Returns the operations at some places.
fn queued<'a>(
    operations: &'a [Option<Queued>],
    places: &'a [usize],
) -> impl DoubleEndedIterator<Item = &'a RawDocumentBuf> {
    places.iter().filter_map(|&place| operations.get(place)?.as_ref()).map(|queued| &queued.operation)
}

/// The field of an operation that makes an update of a missing document an insert.
const UPSERT: &CStr = cstr!("b");

const REPLAYING: Attempt<'static> = Attempt { doing: "replay the oplog", action: "applyOps", roles: REPLAY_ROLES };

/// Makes sure that each operation was applied: the server may say so one by one.
fn all_applied(reply: &Document) -> Result<()> {
    let refused = |result: &&Bson| **result != Bson::Boolean(true);
    let Ok(results) = reply.get_array("results") else {
        return Err(Error::failed("the server does not say what it applied"));
    };
    match results.iter().position(|result| refused(&result)) {
        None => Ok(()),
        Some(number) => Err(Error::failed(format!("the server refused to apply operation {number} of a batch"))),
    }
}

/// Carries out commands on collections, given as operations. One that finds nothing to do is no error.
///
/// With `at_once`, nobody sees what is between them, and whoever sends them may die meanwhile: the server carries out all of
/// them, and holds its global lock. It takes that order only from users who may do anything to anything.
///
/// # Errors
/// When the server refuses one or a privilege is missing; [`Error::is_transient`] when its answer was lost: then some of them
/// may have been carried out, and others not.
pub async fn commands(target: &Deployment, operations: &[RawDocumentBuf], at_once: bool) -> Result<()> {
    if at_once {
        return send_commands(target, operations).await;
    }
    for operation in operations {
        send_commands(target, std::slice::from_ref(operation)).await?;
    }
    Ok(())
}

async fn send_commands(target: &Deployment, operations: &[RawDocumentBuf]) -> Result<()> {
    let mut command = rawdoc! { "applyOps": operations.iter().cloned().collect::<RawArrayBuf>() };
    majority(&mut command);
    let attempt = Attempt { doing: "exchange the collections", action: RENAME_BY_OPERATION, roles: EXCHANGE_ROLES };
    // It is never broken off: half of an exchange is worse than a wait.
    let reply = answer::run(&target.client().database("admin"), command, Pace::WhenDone).await;
    all_applied(&reply.map_err(|error| explain(&error, attempt))?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bson::doc;
    use proptest::prelude::*;

    use super::*;

    /// Documents by their `_id`.
    type State = BTreeMap<i32, Document>;

    /// Does what the server does, as far as these tests go.
    fn apply_to(state: &mut State, operation: &RawDocument) {
        let operation = Document::try_from(operation).unwrap();
        let o = operation.get_document("o").unwrap().clone();
        let id = operation.get_document("o2").unwrap_or(&o).get_i32("_id").unwrap();
        match (operation.get_str("op").unwrap(), o.get_document("diff")) {
            ("i", _) => drop(state.insert(id, o)),
            ("d", _) => drop(state.remove(&id)),
            (_, Ok(diff)) => {
                let set = diff.get_document("u").unwrap().clone();
                state.entry(id).and_modify(|document| document.extend(set));
            }
            (_, Err(_)) => drop(state.entry(id).and_modify(|document| *document = o)),
        }
    }

    /// One of every kind of operation: kind, content, and which document it is on.
    fn operation((kind, id, field, value): (u8, i32, usize, i32)) -> (&'static str, Document, Option<Document>) {
        let (one, other) = [("a", "b"), ("b", "a"), ("a", "c")][field];
        let diff = |set: Document| doc! { "$v": 2, "diff": { "u": set } };
        match kind {
            0 => ("i", doc! { "_id": id, one: value }, None),
            1 => ("d", doc! { "_id": id }, None),
            2 => ("u", doc! { "_id": id, other: value }, Some(doc! { "_id": id })),
            3 => ("u", diff(doc! { one: value, other: value }), Some(doc! { "_id": id })),
            _ => ("u", diff(doc! { one: value }), Some(doc! { "_id": id })),
        }
    }

    fn push(batch: &mut Batch, (kind, o, o2): &(&str, Document, Option<Document>), key: Option<u64>) {
        let raw = |document: &Document| RawDocumentBuf::try_from(document).unwrap();
        let (o, o2) = (raw(o), o2.as_ref().map(raw));
        batch.push(kind, "a.b", (&o, o2.as_deref()), OnMissing::Fail, key);
    }

    proptest! {
        #[test]
        fn what_is_left_out_makes_no_difference(
            operations in prop::collection::vec((0..6_u8, 0..3_i32, 0..3_usize, 0..100_i32, 0..12_u8), 0..60),
        ) {
            let (mut batch, mut all, mut left) = (Batch::default(), State::new(), State::new());
            for (kind, id, field, value, keyed) in operations {
                let operation = operation((kind, id, field, value));
                // Two documents share a key, and now and then it is not known.
                push(&mut batch, &operation, (keyed > 0).then_some(u64::from(id == 0)));
                let (kind, o, o2) = operation;
                let mut raw = doc! { "op": kind, "o": o };
                raw.extend(o2.map(|o2| ("o2".to_owned(), o2.into())));
                apply_to(&mut all, &RawDocumentBuf::try_from(raw).unwrap());
            }
            let remaining: Vec<&RawDocumentBuf> = batch.operations.iter().flatten().map(|queued| &queued.operation).collect();
            prop_assert_eq!(batch.count, remaining.len());
            prop_assert_eq!(batch.bytes, remaining.iter().map(|operation| operation.as_bytes().len()).sum::<usize>());
            for operation in remaining {
                apply_to(&mut left, operation);
            }
            // Equal documents have their fields in one order.
            let exact = |state: &State| state.iter().map(|(id, document)| (*id, document.to_string())).collect::<Vec<_>>();
            prop_assert_eq!(exact(&left), exact(&all));
        }
    }

    #[test]
    fn a_document_that_changes_all_the_time_takes_one_place() {
        let mut batch = Batch::default();
        for value in 0..10_000 {
            push(&mut batch, &operation((4, 1, 0, value)), Some(1));
        }
        assert_eq!((batch.count, batch.operations.len()), (1, 1));
        push(&mut batch, &operation((1, 1, 0, 0)), None);
        push(&mut batch, &operation((1, 1, 0, 0)), Some(1));
        assert_eq!(batch.count, 3, "one of which it is not known what it is on ends the run");
    }
}
