//! Waiting for a server's answer, and not for ever; and believing a write only once the majority has it.
//!
//! The driver sets no limit to an answer. It watches each server over connections of its own and breaks off what runs when a
//! whole server falls silent, and the kernel gives up a connection whose other end is gone. A single connection that falls
//! silent behind something that still acknowledges what it is sent would be waited for without end, so there are limits here.

use std::future::IntoFuture;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bson::{Document, RawDocumentBuf, cstr, doc};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use mongodb::Database;
use mongodb::error::{Error as DriverError, ErrorKind, WriteFailure};

/// Longer than a busy server takes for a batch or an insert, with the majority's word. What is asked again after it costs no
/// more than that.
const SILENCE: Duration = Duration::from_mins(1);

/// By how much longer a write is waited for than the server may work on it: what nobody waits for any more must not happen
/// behind our back.
const GRACE: Duration = Duration::from_secs(15);

/// How often a server is asked whether it is still at work.
const LOOK: Duration = Duration::from_secs(20);

/// How often in a row it must know nothing of it: a command that has just ended may have its answer on the way.
const MISSES: u32 = 2;

/// How soon a server answers a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Within [`SILENCE`], or it gives up.
    Soon,
    /// When it is done, such as with an index build, and as long as it says that it is at work.
    WhenDone,
}

/// Waits for what a server answers at once.
///
/// The driver's futures are kilobytes, so they are boxed here rather than nested into each other.
///
/// # Errors
/// As the driver's; a lost connection when no answer comes within [`SILENCE`].
pub fn soon<'a, T: 'a, A>(asking: A) -> BoxFuture<'a, Result<T, DriverError>>
where
    A: IntoFuture<Output = Result<T, DriverError>>,
    A::IntoFuture: Send + 'a,
{
    Box::pin(within(SILENCE, asking.into_future()))
}

/// Returns the next of what a server sends in batches; none at the end.
///
/// # Errors
/// As those of [`soon`].
pub(super) fn next<'a, T: Send + 'a>(
    cursor: &'a mut (impl Stream<Item = Result<T, DriverError>> + Unpin + Send),
) -> BoxFuture<'a, Result<Option<T>, DriverError>> {
    soon(async { cursor.next().await.transpose() })
}

/// Runs a command, and believes the answer only when the majority has confirmed what it wrote. The driver does not look.
///
/// # Errors
/// As the driver's; a lost connection when no answer comes.
pub(super) fn run(
    database: &Database,
    mut command: RawDocumentBuf,
    pace: Pace,
) -> BoxFuture<'_, Result<Document, DriverError>> {
    Box::pin(async move {
        confirmed(match pace {
            Pace::Soon => {
                command.append(cstr!("maxTimeMS"), i64::try_from(SILENCE.as_millis()).unwrap_or(i64::MAX));
                within(SILENCE + GRACE, database.run_raw_command(command).into_future()).await?
            }
            Pace::WhenDone => {
                let mark = mark();
                command.append(cstr!("comment"), mark.as_str());
                while_at_work(database, &mark, database.run_raw_command(command).into_future()).await?
            }
        })
    })
}

async fn within<T>(limit: Duration, asking: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
    let silent = |_| Err(lost(&format!("the server has not answered within {} s", limit.as_secs())));
    tokio::time::timeout(limit, asking).await.unwrap_or_else(silent)
}

/// Waits for the answer to a command whose comment is `mark`, until the server knows nothing of it any more.
async fn while_at_work<T>(
    database: &Database,
    mark: &str,
    asking: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    let mut asking = pin!(asking);
    let mut misses = 0;
    loop {
        if let Ok(answer) = tokio::time::timeout(LOOK, &mut asking).await {
            return answer;
        }
        // Where that cannot be told, the command may still be under way.
        misses = if is_at_work(database, mark).await.unwrap_or(true) { 0 } else { misses + 1 };
        if misses == MISSES {
            return Err(lost("the server has ended what it was asked for, and its answer was lost"));
        }
    }
}

/// Whether one of the user's own commands has the comment `mark`; asking that takes no privilege.
async fn is_at_work(database: &Database, mark: &str) -> Result<bool, DriverError> {
    let stages = [doc! { "$currentOp": {} }, doc! { "$match": { "command.comment": mark } }];
    let command = doc! { "aggregate": 1, "pipeline": stages.to_vec(), "cursor": {} };
    let reply = soon(database.client().database("admin").run_command(command)).await?;
    let found = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    Ok(found.is_ok_and(|found| !found.is_empty()))
}

/// Returns a comment that no other command of this machine has.
fn mark() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("regrow {} {}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Returns the reply, unless it says that the write may not outlive an election.
fn confirmed(reply: Document) -> Result<Document, DriverError> {
    let Ok(unconfirmed) = reply.get_document("writeConcernError") else { return Ok(reply) };
    match bson::deserialize_from_document(unconfirmed.clone()) {
        Ok(unconfirmed) => Err(ErrorKind::Write(WriteFailure::WriteConcernError(unconfirmed)).into()),
        Err(error) => Err(ErrorKind::Bson(error).into()),
    }
}

fn lost(how: &str) -> DriverError {
    io::Error::new(io::ErrorKind::TimedOut, how).into()
}
