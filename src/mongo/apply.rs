//! Replaying: the oplog's own operations on documents, in batches, through `applyOps`.
//!
//! The server applies them as a secondary would: `$v: 2` diffs as they stand, validators bypassed. Only whole documents
//! for which `load::has_empty_timestamp` must not come this way: the server would change them.

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

/// What becomes of an update of a document that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// It is an error: what was loaded and what is replayed do not belong together.
    Fail,
    /// The document is made of what the update says.
    Insert,
}

/// Operations on documents that are applied in one command, in their order.
#[derive(Debug, Default)]
pub struct Batch {
    operations: Vec<Queued>,
    bytes: usize,
}

#[derive(Debug)]
struct Queued {
    operation: RawDocumentBuf,
    /// Whether it is an update that fails where its document is missing.
    fails_on_missing: bool,
}

impl Batch {
    /// Adds an operation: its kind (`i`, `u` or `d`), the namespace it goes to, and its content. The collection's UUID
    /// is left out, because it is another one here.
    pub fn push(
        &mut self,
        kind: &str,
        namespace: &str,
        o: &RawDocument,
        o2: Option<&RawDocument>,
        on_missing: OnMissing,
    ) {
        let mut operation = rawdoc! { "op": kind, "ns": namespace };
        operation.append(cstr!("o"), o);
        if let Some(o2) = o2 {
            operation.append(cstr!("o2"), o2);
        }
        let fails_on_missing = kind == "u" && on_missing == OnMissing::Fail;
        if kind == "u" && !fails_on_missing {
            operation.append(UPSERT, true);
        }
        self.bytes += operation.as_bytes().len();
        self.operations.push(Queued { operation, fails_on_missing });
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether it should be applied before `more` bytes are added.
    #[must_use]
    pub fn is_full_for(&self, more: usize) -> bool {
        !self.is_empty() && (self.operations.len() >= MAX_OPERATIONS || self.bytes + more > MAX_BYTES)
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
        self.operations.iter().for_each(|queued| operations.push(queued.operation.clone()));
        let mut command = rawdoc! { "applyOps": operations, "bypassDocumentValidation": true };
        // Newer servers refuse the option.
        if would_upsert {
            command.append(cstr!("alwaysUpsert"), false);
        }
        majority(&mut command);
        command
    }

    fn allow_missing(&mut self) {
        for queued in self.operations.iter_mut().filter(|queued| queued.fails_on_missing) {
            queued.operation.append(UPSERT, true);
            queued.fails_on_missing = false;
        }
    }
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
