//! Entries: alone, several in one, or part of a transaction that counts when it commits.

use std::fmt;
use std::str::FromStr;

use bson::raw::RawArray;
use bson::{RawBsonRef, RawDocument};

use super::CollectionUuid;
use crate::error::{Error, Kind, Result};
use crate::format::ClusterTime;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Adds a document.
    Insert,
    /// Replaces a document, or changes parts of it (a `$v: 2` diff).
    Update,
    /// Removes a document.
    Delete,
    /// Anything about collections, and what is wrapped into `applyOps`.
    Command,
}

impl OperationKind {
    /// Returns the oplog's name for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "i",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Command => "c",
        }
    }
}

/// Reads the oplog's name.
impl FromStr for OperationKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Insert, Self::Update, Self::Delete, Self::Command];
        all.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            Error::new(Kind::Usage, format!("'{text}' is no operation"))
                .with_hint("write i (insert), u (update), d (delete) or c (command), with commas between them")
        })
    }
}

/// Prints the whole word.
impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Command => "command",
        })
    }
}

/// One operation: an entry's own, or one of those inside.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    /// What it does.
    pub kind: OperationKind,
    /// `db.collection`; of a command `db.$cmd`.
    pub namespace: &'a str,
    /// The collection, whatever its name is at that moment.
    pub collection: Option<CollectionUuid>,
    /// The document, the change, or the command.
    pub o: &'a RawDocument,
    /// Which document an update changes.
    pub o2: Option<&'a RawDocument>,
}

impl<'a> Operation<'a> {
    /// Reads an operation; none where there is nothing to replay.
    ///
    /// # Errors
    /// When it is of a kind that is not known.
    pub fn parse(document: &'a RawDocument) -> Result<Option<Self>> {
        Fields::read(document)?.operation()
    }

    /// Returns the database and the collection's name.
    #[must_use]
    pub fn names(&self) -> (&'a str, &'a str) {
        self.namespace.split_once('.').unwrap_or((self.namespace, ""))
    }

    /// Returns a command's name: that of its first field.
    ///
    /// # Errors
    /// When it has none.
    pub fn command(&self) -> Result<&'a str> {
        let first = self.o.iter_elements().next().ok_or_else(|| unreadable("a command has no name"))?;
        first.map(|element| element.key().as_str()).map_err(unreadable)
    }

    /// Returns the namespaces that it is about: databases, and collections where it is not about the whole.
    ///
    /// # Errors
    /// When it is a command without a name.
    pub fn subjects(&self) -> Result<Vec<(&'a str, Option<&'a str>)>> {
        let (db, collection) = self.names();
        if self.kind != OperationKind::Command {
            return Ok(vec![(db, Some(collection))]);
        }
        let command = self.command()?;
        Ok(match (command, self.o.get_str(command)) {
            ("renameCollection", Ok(from)) => {
                let names = [Ok(from), self.o.get_str("to")];
                let split = names.into_iter().flatten().filter_map(|name| name.split_once('.'));
                split.map(|(db, collection)| (db, Some(collection))).collect()
            }
            (_, Ok(collection)) => vec![(db, Some(collection))],
            (_, Err(_)) => vec![(db, None)],
        })
    }

    /// Returns the `_id` of the document that it is about; none for commands.
    #[must_use]
    pub fn document_id(&self) -> Option<RawBsonRef<'a>> {
        let holder = match self.kind {
            OperationKind::Insert | OperationKind::Delete => self.o,
            OperationKind::Update => self.o2?,
            OperationKind::Command => return None,
        };
        holder.get("_id").ok().flatten()
    }
}

/// What belongs together until it commits: a session and a number within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransactionId {
    /// The session's id, as bytes.
    pub session: Vec<u8>,
    /// The transaction's number in its session; it only grows.
    pub number: i64,
}

/// How far the transaction has come with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// More follows.
    Partly,
    /// All of it, but whether it commits is decided later.
    Prepared,
    /// All of it, and it counts.
    Committed,
}

/// The operations inside one entry.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a>(&'a RawArray);

impl<'a> Group<'a> {
    /// Returns those of an `applyOps` command.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(command: &'a RawDocument) -> Result<Self> {
        command.get_array("applyOps").map(Self).map_err(unreadable)
    }

    /// Returns each operation and its bytes.
    ///
    /// # Errors
    /// Each item, when it is of a kind that is not known.
    pub fn operations(self) -> impl Iterator<Item = Result<(&'a RawDocument, Operation<'a>)>> {
        self.0.into_iter().filter_map(|item| {
            let document = match item {
                Ok(RawBsonRef::Document(document)) => document,
                Ok(_) => return Some(Err(unreadable("something in applyOps is no operation"))),
                Err(error) => return Some(Err(unreadable(error))),
            };
            let operation = Operation::parse(document).transpose()?;
            Some(operation.map(|operation| (document, operation)))
        })
    }
}

/// What an entry means.
#[derive(Debug)]
pub enum Meaning<'a> {
    /// Nothing to replay.
    Nothing,
    /// One operation.
    Operation(Operation<'a>),
    /// Several, which count at once.
    Group(Group<'a>),
    /// Operations of a transaction.
    Transaction {
        /// Whose.
        id: TransactionId,
        /// Which.
        operations: Group<'a>,
        /// Whether an entry before it holds others of the same transaction.
        continues: bool,
        /// Whether they count.
        written: Written,
    },
    /// A prepared transaction counts.
    Commit {
        /// Which.
        id: TransactionId,
        /// From when on its operations can be seen.
        at: ClusterTime,
    },
    /// A transaction never happened.
    Abort(TransactionId),
}

impl<'a> Meaning<'a> {
    /// Reads an entry.
    ///
    /// # Errors
    /// When it is of a kind that is not known, or lacks what its kind has.
    pub fn of(entry: &'a RawDocument) -> Result<Self> {
        let fields = Fields::read(entry)?;
        let Some(operation) = fields.operation()? else { return Ok(Self::Nothing) };
        if operation.kind != OperationKind::Command {
            return Ok(Self::Operation(operation));
        }
        match operation.command()? {
            "applyOps" => {
                let operations = Group::of(operation.o)?;
                match fields.transaction() {
                    Some(id) => {
                        let (written, continues) = (written(operation.o), fields.continues);
                        Ok(Self::Transaction { id, operations, continues, written })
                    }
                    None => Ok(Self::Group(operations)),
                }
            }
            "commitTransaction" => {
                let at = operation.o.get_timestamp("commitTimestamp").map_err(unreadable)?.into();
                Ok(Self::Commit { id: fields.transaction().ok_or_else(no_transaction)?, at })
            }
            "abortTransaction" => Ok(Self::Abort(fields.transaction().ok_or_else(no_transaction)?)),
            _ => Ok(Self::Operation(operation)),
        }
    }
}

/// Returns an entry's cluster time.
///
/// # Errors
/// When it has none.
pub fn time(entry: &RawDocument) -> Result<ClusterTime> {
    entry.get_timestamp("ts").map(Into::into).map_err(unreadable)
}

fn written(command: &RawDocument) -> Written {
    let is_set = |field: &str| command.get_bool(field).unwrap_or(false);
    if is_set("partialTxn") {
        Written::Partly
    } else if is_set("prepare") {
        Written::Prepared
    } else {
        Written::Committed
    }
}

/// The fields of an entry that matter, found in one pass.
#[derive(Default)]
struct Fields<'a> {
    op: &'a str,
    ns: &'a str,
    ui: Option<CollectionUuid>,
    o: Option<&'a RawDocument>,
    o2: Option<&'a RawDocument>,
    lsid: Option<&'a RawDocument>,
    number: Option<i64>,
    /// Another entry of the same transaction lies before it.
    continues: bool,
    /// A retryable write of several documents, which has a number but is no transaction.
    vectored: bool,
}

impl<'a> Fields<'a> {
    fn read(document: &'a RawDocument) -> Result<Self> {
        let mut fields = Self::default();
        for element in document.iter_elements() {
            let element = element.map_err(unreadable)?;
            let key = element.key().as_str();
            if !matches!(key, "op" | "ns" | "ui" | "o" | "o2" | "lsid" | "txnNumber" | "prevOpTime" | "multiOpType") {
                continue;
            }
            match (key, element.value().map_err(unreadable)?) {
                ("op", RawBsonRef::String(op)) => fields.op = op,
                ("ns", RawBsonRef::String(ns)) => fields.ns = ns,
                ("ui", RawBsonRef::Binary(uuid)) => fields.ui = uuid.bytes.try_into().ok(),
                ("o", RawBsonRef::Document(o)) => fields.o = Some(o),
                ("o2", RawBsonRef::Document(o2)) => fields.o2 = Some(o2),
                ("lsid", RawBsonRef::Document(lsid)) => fields.lsid = Some(lsid),
                ("txnNumber", RawBsonRef::Int64(number)) => fields.number = Some(number),
                ("prevOpTime", RawBsonRef::Document(before)) => {
                    fields.continues = before.get_timestamp("ts").is_ok_and(|ts| ts.time != 0);
                }
                ("multiOpType", value) => fields.vectored = value == RawBsonRef::Int32(1),
                _ => {}
            }
        }
        Ok(fields)
    }

    fn operation(&self) -> Result<Option<Operation<'a>>> {
        let kind = match self.op {
            "i" => OperationKind::Insert,
            "u" => OperationKind::Update,
            "d" => OperationKind::Delete,
            "c" => OperationKind::Command,
            // A no-op, and the notes of newer servers about where records lie.
            "n" | "ci" | "cd" | "cu" | "km" => return Ok(None),
            other => return Err(unknown(&format!("operation '{other}'"))),
        };
        let o = self.o.ok_or_else(|| unreadable("an operation has no content"))?;
        Ok(Some(Operation { kind, namespace: self.ns, collection: self.ui, o, o2: self.o2 }))
    }

    fn transaction(&self) -> Option<TransactionId> {
        let (session, number) = (self.lsid?, self.number?);
        (!self.vectored).then(|| TransactionId { session: session.as_bytes().to_vec(), number })
    }
}

/// Makes the error for what this version cannot replay.
pub(super) fn unknown(what: &str) -> Error {
    Error::failed(format!("the oplog holds the {what}, which this Regrow does not know"))
}

pub(super) fn unreadable(reason: impl std::fmt::Display) -> Error {
    Error::failed(format!("an oplog entry cannot be read: {reason}"))
}

fn no_transaction() -> Error {
    unreadable("it ends a transaction and does not say which")
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, Timestamp, cstr, rawdoc};

    use super::*;

    fn in_session(mut entry: RawDocumentBuf) -> RawDocumentBuf {
        entry.append(cstr!("lsid"), rawdoc! { "id": "s" });
        entry.append(cstr!("txnNumber"), 7_i64);
        entry
    }

    fn apply_ops() -> RawDocumentBuf {
        rawdoc! { "applyOps": [rawdoc! { "op": "i", "ns": "shop.orders", "o": { "_id": 1 } }] }
    }

    fn command(o: RawDocumentBuf) -> RawDocumentBuf {
        rawdoc! { "op": "c", "ns": "admin.$cmd", "o": o }
    }

    #[test]
    fn no_ops_and_notes_about_records_are_passed_over() {
        for op in ["n", "ci", "cd", "cu", "km"] {
            let entry = rawdoc! { "op": op, "ns": "", "o": { "msg": "periodic noop" } };
            assert!(matches!(Meaning::of(&entry).unwrap(), Meaning::Nothing), "{op}");
        }
    }

    #[test]
    fn an_unknown_operation_is_named() {
        let error = Meaning::of(&rawdoc! { "op": "zz", "ns": "a.b", "o": {} }).unwrap_err();
        assert!(error.to_string().contains("'zz'"), "{error}");
    }

    #[test]
    fn a_retryable_write_counts_at_once() {
        let entry = in_session(rawdoc! { "op": "i", "ns": "shop.orders", "o": { "_id": 1 } });
        assert!(matches!(Meaning::of(&entry).unwrap(), Meaning::Operation(_)));
    }

    #[test]
    fn a_vectored_retryable_write_is_no_transaction() {
        let mut entry = in_session(command(apply_ops()));
        assert!(matches!(Meaning::of(&entry).unwrap(), Meaning::Transaction { .. }));
        entry.append(cstr!("multiOpType"), 1_i32);
        assert!(matches!(Meaning::of(&entry).unwrap(), Meaning::Group(_)));
    }

    #[test]
    fn apply_ops_outside_of_a_transaction_counts_at_once() {
        let entry = command(apply_ops());
        let Meaning::Group(group) = Meaning::of(&entry).unwrap() else { panic!() };
        let operations: Vec<_> = group.operations().map(|operation| operation.unwrap().1.namespace).collect();
        assert_eq!(operations, ["shop.orders"]);
    }

    #[test]
    fn transactions_tell_how_far_they_are() {
        for (field, expected) in [
            (cstr!("partialTxn"), Written::Partly),
            (cstr!("prepare"), Written::Prepared),
            (cstr!("count"), Written::Committed),
        ] {
            let mut o = apply_ops();
            o.append(field, true);
            let entry = in_session(command(o));
            let Meaning::Transaction { id, written, .. } = Meaning::of(&entry).unwrap() else { panic!() };
            assert_eq!((id.number, written), (7, expected));
        }
    }

    #[test]
    fn prepared_transactions_commit_at_their_own_time_or_abort() {
        let commit = rawdoc! { "commitTransaction": 1, "commitTimestamp": Timestamp { time: 9, increment: 2 } };
        let entry = in_session(command(commit));
        let Meaning::Commit { at, .. } = Meaning::of(&entry).unwrap() else { panic!() };
        assert_eq!(at, ClusterTime { t: 9, i: 2 });
        let entry = in_session(command(rawdoc! { "abortTransaction": 1 }));
        assert!(matches!(Meaning::of(&entry).unwrap(), Meaning::Abort(_)));
        let nobodys = command(rawdoc! { "abortTransaction": 1 });
        assert!(Meaning::of(&nobodys).is_err());
    }

    #[test]
    fn an_operation_knows_its_document() {
        let update = rawdoc! { "op": "u", "ns": "a.b.c", "o": { "$v": 2 }, "o2": { "_id": 5 } };
        let operation = Operation::parse(&update).unwrap().unwrap();
        assert_eq!(operation.names(), ("a", "b.c"));
        assert_eq!(operation.document_id(), Some(RawBsonRef::Int32(5)));
    }
}
