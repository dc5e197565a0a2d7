//! What a manifest that cannot be believed may build on: as long as nobody knows better, that stays.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::format::BackupId;
use crate::policy::retention::{GRACE, Verdict};
use crate::repository::{Listing, ParentAsWritten, Repository};

/// A backup whose manifest cannot be believed, and what is written there.
pub(super) type Doubt = (BackupId, ParentAsWritten);

/// Finds the backups that may build on others, nobody knows for sure.
///
/// # Errors
/// [`Kind::Refused`] when a newer Regrow took one: what that one needs is not known; whatever the storage says, because a
/// manifest that could only not be read now is not a damaged one.
pub(super) async fn find(repository: &Repository, listing: &Listing) -> Result<Vec<Doubt>> {
    let mut doubts = Vec::new();
    for backup in &listing.backups {
        let Err(error) = &backup.manifest else { continue };
        let id = &backup.id;
        match error.kind() {
            Kind::Damaged => doubts.push((id.clone(), repository.parent_as_written(id).await?)),
            _ if error.is_of_newer() => {
                return Err(Error::refused(format!("nothing expires: {error}"))
                    .with_hint("what that backup builds on, a newer Regrow knows: let that one expire backups"));
            }
            _ => return Err(error.again().context("nothing expires")),
        }
    }
    Ok(doubts)
}

/// Keeps what is in doubt: what such a backup says that it builds on; everything older, where it says nothing.
pub(super) fn spare(
    verdicts: &mut [(BackupId, Verdict)],
    parents: &BTreeMap<BackupId, BackupId>,
    doubts: &[Doubt],
    now: Timestamp,
) {
    for (id, parent) in doubts {
        match parent {
            ParentAsWritten::None => {}
            ParentAsWritten::Backup(parent) => {
                let chain = std::iter::successors(Some(parent), |id| parents.get(id)).take(verdicts.len());
                for needed in chain.collect::<Vec<_>>() {
                    verdicts.iter_mut().filter(|(id, _)| id == needed).for_each(|(_, verdict)| verdict.need());
                }
            }
            ParentAsWritten::Unknown => {
                let until = now.checked_add(GRACE).unwrap_or(Timestamp::MAX);
                let older = verdicts.iter_mut().filter(|(other, _)| other.second() <= id.second());
                older.filter(|(_, verdict)| *verdict == Verdict::Remove).for_each(|(_, verdict)| {
                    *verdict = Verdict::Expired(until);
                });
            }
        }
    }
}
