//! Documents on their way into segments. Namespaces of an archive may take turns, so several segments may be open.

use std::collections::HashMap;

use bson::RawDocument;
use tokio::sync::mpsc;

use super::listing::{Listing, Target};
use super::oplog::{DumpedOplog, OplogFollower};
use crate::backup::{BackupContext, Filled};
use crate::error::{Error, Result};
use crate::format::catalog::CollectionRecord;
use crate::format::checkpoint::Position;
use crate::format::segment::Documents;
use crate::mongo::accounts::Accounts;
use crate::progress::{OPLOG, PartProgress, Progress, Step};
use crate::units::MIB;

/// The most bytes of all open segments; then the largest goes, full or not.
const MAX_OPEN_BYTES: usize = 32 * MIB;

/// The most bytes of users and roles, which are held whole.
const MAX_ACCOUNT_BYTES: usize = 64 * MIB;

/// What was read besides documents.
pub(super) struct Read {
    pub accounts: Accounts,
    pub oplog: Option<DumpedOplog>,
    pub feature_compatibility_version: Option<String>,
}

pub(super) struct Filler {
    filled: mpsc::Sender<Filled>,
    segment_bytes: usize,
    /// What the collections are called.
    names: Vec<String>,
    progress: Progress,
    /// How far the collections have come that have not ended.
    parts: HashMap<usize, PartProgress>,
    open: HashMap<usize, Documents>,
    open_bytes: usize,
    /// How many segments each collection has.
    sent: HashMap<usize, usize>,
    /// The number that the oplog counts under.
    oplog_number: usize,
    oplog: Option<OplogFollower>,
    accounts: Accounts,
    account_bytes: usize,
    feature_compatibility_version: Option<String>,
}

impl Filler {
    /// Prepares to fill segments and send them to `filled`.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when the listing is not whole.
    pub fn new(listing: &Listing, filled: mpsc::Sender<Filled>, context: &BackupContext) -> Result<Self> {
        let oplog = if listing.has_oplog() { Some(OplogFollower::new(listing)?) } else { None };
        Ok(Self {
            filled,
            segment_bytes: context.targets.segment_bytes,
            names: listing.records.iter().map(CollectionRecord::namespace).collect(),
            progress: context.progress.clone(),
            parts: HashMap::new(),
            open: HashMap::new(),
            open_bytes: 0,
            sent: HashMap::new(),
            oplog_number: listing.records.len(),
            oplog,
            accounts: Accounts::default(),
            account_bytes: 0,
            feature_compatibility_version: None,
        })
    }

    /// Takes a document. May block, until there is room.
    ///
    /// # Errors
    /// When an entry of the oplog does not fit; when nobody stores any more.
    pub fn take(&mut self, target: Target, document: &RawDocument) -> Result<()> {
        match target {
            Target::Collection(number) => self.add(number, document),
            Target::Users | Target::Roles => self.add_account(target, document),
            Target::Oplog => {
                let Some(oplog) = &mut self.oplog else { return Ok(()) };
                match oplog.take(document, self.segment_bytes)? {
                    Some(entries) => self.send(self.oplog_number, entries),
                    None => Ok(()),
                }
            }
            Target::Version => {
                if document.get_str("_id").is_ok_and(|id| id == "featureCompatibilityVersion") {
                    self.feature_compatibility_version = document.get_str("version").ok().map(str::to_owned);
                }
                Ok(())
            }
            Target::Nowhere => Ok(()),
        }
    }

    /// Sends what is open of a namespace that has ended.
    ///
    /// # Errors
    /// When nobody stores any more.
    pub fn end(&mut self, target: Target) -> Result<()> {
        let Target::Collection(number) = target else { return Ok(()) };
        self.flush(number)?;
        self.parts.remove(&number);
        Ok(())
    }

    /// Sends everything that is open, and returns the rest.
    ///
    /// # Errors
    /// When the oplog cannot be replayed; when nobody stores any more.
    pub fn finish(mut self) -> Result<Read> {
        let mut open: Vec<usize> = self.open.keys().copied().collect();
        open.sort_unstable();
        for number in open {
            self.flush(number)?;
        }
        let oplog = match self.oplog.take() {
            Some(oplog) => {
                let (dumped, last) = oplog.finish()?;
                if let Some(entries) = last {
                    self.send(self.oplog_number, entries)?;
                }
                Some(dumped)
            }
            None => None,
        };
        let Self { accounts, feature_compatibility_version, .. } = self;
        Ok(Read { accounts, oplog, feature_compatibility_version })
    }

    fn add(&mut self, number: usize, document: &RawDocument) -> Result<()> {
        if self.open.get(&number).is_some_and(|open| open.is_full_for(document, self.segment_bytes)) {
            self.flush(number)?;
        }
        self.open.entry(number).or_default().push(document);
        self.open_bytes += document.as_bytes().len();
        while self.open_bytes > MAX_OPEN_BYTES {
            let largest = self.open.iter().max_by_key(|(_, open)| open.as_bytes().len()).map(|(number, _)| *number);
            let Some(largest) = largest else { break };
            self.flush(largest)?;
        }
        Ok(())
    }

    fn flush(&mut self, number: usize) -> Result<()> {
        let Some(documents) = self.open.remove(&number) else { return Ok(()) };
        self.open_bytes -= documents.as_bytes().len();
        self.send(number, documents)
    }

    /// Returns what counts how far a collection, or the oplog, has come; how large it is, a dump does not say.
    fn part(&mut self, number: usize) -> PartProgress {
        let part = self.parts.entry(number).or_insert_with(|| {
            let name = self.names.get(number).map_or(OPLOG, String::as_str);
            let part = self.progress.part(name.to_owned(), 0);
            part.step(Step::Reading);
            part
        });
        part.clone()
    }

    fn send(&mut self, collection: usize, documents: Documents) -> Result<()> {
        let segment = self.sent.entry(collection).or_default();
        let position = (0, *segment);
        *segment += 1;
        // Storing has failed, and says itself why.
        let progress = self.part(collection);
        let sent =
            self.filled.blocking_send(Filled { collection, position, documents, end: Position::default(), progress });
        sent.map_err(|_| Error::failed("what is read is not stored any more"))
    }

    fn add_account(&mut self, target: Target, document: &RawDocument) -> Result<()> {
        self.account_bytes += document.as_bytes().len();
        if self.account_bytes > MAX_ACCOUNT_BYTES {
            return Err(Error::failed("there are more users and roles than a backup can hold"));
        }
        let accounts = if target == Target::Users { &mut self.accounts.users } else { &mut self.accounts.roles };
        accounts.push(document.to_owned());
        Ok(())
    }
}
