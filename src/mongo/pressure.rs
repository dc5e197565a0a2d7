//! How hard a deployment has it: who reads much of it makes room for those whom it serves.

use std::fmt;
use std::time::Duration;

use bson::{Document, doc};

use super::client::{LOOK, Node};
use super::error::{Attempt, explain};
use crate::error::Result;
use crate::units::{Elapsed, counted};

/// What a member that is asked how it fares leaves out of its answer: all that is large or slow to gather.
const LEFT_OUT: [&str; 8] =
    ["metrics", "tcmalloc", "locks", "network", "opLatencies", "wiredTiger", "transactions", "repl"];

/// How hard a deployment has it at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// How many operations wait for a ticket or a lock on the member that is read from.
    pub queued: u64,
    /// By how much the majority, or that member if it is further back, is behind the primary.
    pub lag: Duration,
}

impl Pressure {
    /// Whether it is more than `most`, of either.
    #[must_use]
    pub fn exceeds(&self, most: &Self) -> bool {
        self.queued > most.queued || self.lag > most.lag
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} queued, replication {} behind", counted(self.queued, "operation"), Elapsed(self.lag))
    }
}

/// Returns how many operations wait for a ticket or a lock.
///
/// # Errors
/// When the member does not answer or a privilege is missing.
pub async fn queued(node: &Node) -> Result<u64> {
    let attempt = Attempt { doing: "ask how busy the server is", action: "serverStatus", ..LOOK };
    let mut command = doc! { "serverStatus": 1 };
    command.extend(LEFT_OUT.iter().map(|section| ((*section).to_owned(), 0.into())));
    let status = node.database("admin").run_command(command).await.map_err(|error| explain(&error, attempt))?;
    Ok(waiting(&status).unwrap_or(0))
}

fn waiting(status: &Document) -> Option<u64> {
    let queue = status.get_document("globalLock").ok()?.get_document("currentQueue").ok()?;
    let total = queue.get_i32("total").map(i64::from).or_else(|_| queue.get_i64("total")).ok()?;
    u64::try_from(total).ok()
}

/// Returns by how much the majority, or `node` if that is further back, is behind the primary; none on a standalone server.
///
/// # Errors
/// When one of them does not answer.
pub async fn lag(primary: &Node, node: &Node) -> Result<Option<Duration>> {
    let (primary, reader) = (primary.hello().await?, node.hello().await?);
    let Some(newest) = primary.applied else { return Ok(None) };
    let behind = [primary.majority, reader.applied].into_iter().flatten();
    let lag = behind.map(|reached| newest.time.saturating_sub(reached.time)).max();
    Ok(lag.map(|seconds| Duration::from_secs(seconds.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_of_either_kind_is_too_much() {
        let most = Pressure { queued: 8, lag: Duration::from_secs(10) };
        assert!(!most.exceeds(&most));
        assert!(Pressure { queued: 9, ..most }.exceeds(&most));
        assert!(Pressure { lag: Duration::from_secs(11), ..Pressure::default() }.exceeds(&most));
        assert_eq!(most.to_string(), "8 operations queued, replication 10 s behind");
    }

    #[test]
    fn a_queue_is_read_whatever_number_it_is() {
        let status = |total: bson::Bson| doc! { "globalLock": { "currentQueue": { "total": total } } };
        assert_eq!(waiting(&status(7_i32.into())), Some(7));
        assert_eq!(waiting(&status(7_i64.into())), Some(7));
        assert_eq!(waiting(&doc! {}), None);
    }
}
