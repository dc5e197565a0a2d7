//! What a server or the driver says, turned into one cause and one remedy.

use mongodb::error::{Error as DriverError, ErrorKind, WriteFailure};

use crate::error::{Error, Kind};
use crate::handshake::Refusal;

/// The server's code for "not authorized".
pub(super) const UNAUTHORIZED: i32 = 13;
/// The server's code for a failed authentication.
const AUTHENTICATION_FAILED: i32 = 18;
/// The server no longer holds the snapshot.
const SNAPSHOT_TOO_OLD: i32 = 239;
/// The collection's catalog changed after the snapshot's time.
const SNAPSHOT_UNAVAILABLE: i32 = 246;
/// The collection was dropped or renamed under an open cursor.
const QUERY_PLAN_KILLED: i32 = 175;
/// Another collection bears the name by now, or none does.
const COLLECTION_UUID_MISMATCH: i32 = 361;
/// The document to resume behind was deleted.
const KEY_NOT_FOUND: i32 = 211;
/// A cursor fell off a capped collection's beginning.
pub(super) const CAPPED_POSITION_LOST: i32 = 136;
/// Another document has the same `_id` or unique key.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// The built-in roles that backing up needs.
pub const BACKUP_ROLES: &str = "role backup";
/// The built-in roles that capturing the oplog needs; the second is for telling one replica set from another.
pub const CAPTURE_ROLES: &str = "roles backup and clusterMonitor";
/// The built-in roles that restoring needs; the second is for reading back what was written.
pub const RESTORE_ROLES: &str = "roles restore and readAnyDatabase";

/// The built-in roles that replaying the oplog needs; the second is for changing and removing documents.
pub const REPLAY_ROLES: &str = "roles restore and readWriteAnyDatabase";

/// The built-in roles that exchanging collections needs; the second is for renaming those that exist.
pub const EXCHANGE_ROLES: &str = "roles restore and readWriteAnyDatabase";

/// What takes several privileges: to rename collections by operations of the oplog.
pub(super) const RENAME_BY_OPERATION: &str = "renameCollection";

/// What was tried: the words for the message, and what it takes.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// A verb phrase: `read shop.orders`.
    pub doing: &'a str,
    /// The server's name of the action: `find`.
    pub action: &'a str,
    /// The built-in roles that grant it.
    pub roles: &'a str,
}

/// Returns the server's error code, if the server answered with one.
#[must_use]
pub fn code(error: &DriverError) -> Option<i32> {
    match *error.kind {
        ErrorKind::Command(ref command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(ref unconfirmed)) => Some(unconfirmed.code),
        _ => None,
    }
}

/// Whether a document was refused because another has its `_id`.
#[must_use]
pub fn is_duplicate(error: &DriverError) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(refused)) if refused.code == DUPLICATE_KEY)
}

/// Whether the connection was lost rather than the command refused.
#[must_use]
pub fn is_connection_loss(error: &DriverError) -> bool {
    // Codes of a server that shuts down, steps down or has just come back: the retryable errors of the driver
    // specification, that nothing is known yet of what the majority has, that it took longer than is waited for, and that the
    // operation was interrupted, which elections do as well as people.
    const NODE_GOES_AWAY: [i32; 15] = [6, 7, 50, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11601, 11602, 13435, 13436];
    match *error.kind {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } => true,
        _ => code(error).is_some_and(|code| NODE_GOES_AWAY.contains(&code)),
    }
}

/// Whether the server has forgotten a cursor: it was restarted, the session expired, or the cursor was killed.
#[must_use]
pub fn is_cursor_loss(error: &DriverError) -> bool {
    const CURSOR_NOT_FOUND: i32 = 43;
    const CURSOR_KILLED: i32 = 237;
    matches!(code(error), Some(CURSOR_NOT_FOUND | CURSOR_KILLED))
}

/// Whether a collection was created, changed or dropped while it was read.
#[must_use]
pub fn is_changed_meanwhile(error: &DriverError) -> bool {
    matches!(code(error), Some(SNAPSHOT_UNAVAILABLE | QUERY_PLAN_KILLED | COLLECTION_UUID_MISMATCH))
}

/// Whether a write was carried out, and the majority has not confirmed it.
fn is_unconfirmed(error: &DriverError) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteConcernError(_)))
}

/// What stands in the way of reading a collection on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The connection or the cursor was lost.
    Interruption,
    /// The server cannot show that moment: any more, or since the collection was changed.
    NoSnapshot,
    /// The collection does not bear the name any more.
    Renamed,
    /// The document to go on behind is no longer there.
    PositionLost,
    /// Something else.
    Other,
}

impl Obstacle {
    pub(super) fn of(error: &DriverError) -> Self {
        if is_connection_loss(error) || is_cursor_loss(error) {
            return Self::Interruption;
        }
        match code(error) {
            Some(SNAPSHOT_TOO_OLD | SNAPSHOT_UNAVAILABLE) => Self::NoSnapshot,
            Some(QUERY_PLAN_KILLED | COLLECTION_UUID_MISMATCH) => Self::Renamed,
            Some(KEY_NOT_FOUND | CAPPED_POSITION_LOST) => Self::PositionLost,
            _ => Self::Other,
        }
    }
}

/// What to do where a member answers that it is the wrong one by now, or cannot go on.
const GOES_AWAY: &str = "a member of the replica set has stepped down, starts, stops, or was told to end operations: run it again; \
                         rs.status() shows whether there is a primary";

/// Turns a driver's error into one for people.
#[must_use]
pub fn explain(error: &DriverError, attempt: Attempt<'_>) -> Error {
    let explained = explain_to_people(error, attempt);
    let may_pass = is_connection_loss(error) || is_cursor_loss(error) || is_unconfirmed(error);
    if may_pass { explained.transient() } else { explained }
}

fn explain_to_people(error: &DriverError, attempt: Attempt<'_>) -> Error {
    let Attempt { doing, action, roles } = attempt;
    let cannot = |kind, reason: &str| Error::new(kind, format!("cannot {doing}: {reason}"));
    match code(error) {
        Some(UNAUTHORIZED) => cannot(Kind::Configuration, &lacks(action)).with_hint(format!(
            "grant the user of the URI the built-in {roles} on the database admin; 'regrow doctor' tells what is missing"
        )),
        Some(AUTHENTICATION_FAILED) => refused_credentials(doing),
        Some(SNAPSHOT_TOO_OLD) => cannot(Kind::Failed, "the server no longer holds the snapshot that the backup reads")
            .with_hint("raise the server parameter minSnapshotHistoryWindowInSeconds above the time that it takes"),
        Some(SNAPSHOT_UNAVAILABLE | QUERY_PLAN_KILLED | COLLECTION_UUID_MISMATCH) => {
            cannot(Kind::Failed, "the collection was created, changed, renamed or dropped meanwhile")
                .with_hint("run it again when no collections are being changed")
        }
        _ => match &*error.kind {
            ErrorKind::Authentication { .. } => refused_credentials(doing),
            ErrorKind::ServerSelection { message, .. } => unreachable(doing, message),
            ErrorKind::Command(command) => {
                let refused = cannot(Kind::Failed, &format!("the server says: {}", command.message));
                if is_connection_loss(error) { refused.with_hint(GOES_AWAY) } else { refused }
            }
            ErrorKind::Write(WriteFailure::WriteConcernError(unconfirmed)) => {
                cannot(Kind::Failed, &format!("the majority has not confirmed it: {}", unconfirmed.message))
                    .with_hint("check that most members of the replica set run and keep up, then run it again")
            }
            ErrorKind::Io(cause) => lost(doing, &cause.to_string()),
            ErrorKind::ConnectionPoolCleared { message, .. } => lost(doing, message),
            ErrorKind::InvalidTlsConfig { message, .. } => cannot(Kind::Configuration, message)
                .with_hint("check tlsCAFile and tlsCertificateKeyFile in the URI: PEM files that Regrow may read"),
            ErrorKind::InvalidArgument { message, .. } => {
                cannot(Kind::Configuration, message)
                    .with_hint("write mongodb://USER:PASSWORD@HOST:PORT/?replicaSet=NAME, or mongodb+srv://…")
            }
            other => cannot(Kind::Failed, &other.to_string()),
        },
    }
}

/// Names the privilege that is missing. The server does not say which one of several that a command takes.
fn lacks(action: &str) -> String {
    if action == RENAME_BY_OPERATION {
        // For time series on their buckets as well, which no other resource covers.
        // The server also compares what a user may do under both names, and refuses whoever would gain by the new one.
        let privileges = "'applyOps', 'find', 'insert', 'update', 'remove', 'bypassDocumentValidation', 'createIndex', \
                          'dropCollection' and 'dbStats'";
        return format!("the user lacks one of the privileges {privileges}");
    }
    let others = match action {
        "insert" => " or 'bypassDocumentValidation'",
        // Updates that make documents take it as well.
        "update" => ", 'insert' or 'bypassDocumentValidation'",
        // Either of the first two is enough, and a capped collection takes the third besides.
        "createCollection" => " or 'insert', or 'convertToCapped' for a capped collection",
        "createUser" => ", 'createRole', 'grantRole' or 'revokeRole'",
        "applyOps" => ", or one of 'insert', 'update' and 'remove'",
        _ => "",
    };
    format!("the user lacks the privilege '{action}'{others}")
}

fn refused_credentials(doing: &str) -> Error {
    Error::configuration(format!("cannot {doing}: the server refuses the user or the password"))
        .with_hint("check user, password and authSource in the URI")
}

fn lost(doing: &str, cause: &str) -> Error {
    Error::failed(format!("cannot {doing}: the connection was lost: {cause}"))
        .with_hint("check the network from here to the servers and their logs, then run it again")
}

/// Says why no server answers.
fn unreachable(doing: &str, message: &str) -> Error {
    let reason = summary(message);
    let Some(refusal) = Refusal::find(message) else {
        let unanswered = Error::failed(format!("cannot {doing}: {reason}"));
        let closed = ["unexpected end of file", "early eof", "reset by peer"].iter().any(|said| message.contains(said));
        return unanswered.with_hint(if closed {
            "check that the servers of the URI run; those that require TLS close connections without it: add tls=true"
        } else {
            "check that the servers of the URI run and can be reached from here"
        });
    };
    Error::configuration(format!("cannot {doing}: {reason}: {}", refusal.cause())).with_hint(match refusal {
        Refusal::UnknownIssuer => {
            "name the file of the authority that has issued it in the URI: tlsCAFile=/path/ca.pem"
        }
        Refusal::Expired | Refusal::NotYetValid => "renew the server's certificate, or set this machine's clock right",
        Refusal::OtherName => "write the servers in the URI by names that their certificates hold",
        Refusal::Ours => {
            "name the file of a certificate that it accepts, with its key, in the URI: tlsCertificateKeyFile"
        }
        Refusal::NoTls => "take tls=true out of the URI, or let the server speak TLS",
    })
}

/// Shortens the driver's account of the whole topology to its addresses and the first cause.
fn summary(message: &str) -> String {
    let addresses: Vec<&str> =
        message.split("Address: ").skip(1).filter_map(|rest| rest.split([',', ' ', '}']).next()).collect();
    let cause = message.split("Error: ").nth(1).and_then(|rest| rest.split([',', '}']).next());
    let cause = cause.map(|cause| cause.trim_start_matches("Kind: ").trim());
    let cause = cause.filter(|_| Refusal::find(message).is_none());
    match (addresses.is_empty(), cause) {
        (true, _) => message.to_owned(),
        (false, None) => format!("no server answers at {}", addresses.join(", ")),
        (false, Some(cause)) => format!("no server answers at {} ({cause})", addresses.join(", ")),
    }
}
