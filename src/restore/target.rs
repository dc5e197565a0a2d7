//! What a restore finds in its target, and what speaks against it.
//!
//! Everything is asked before anything is touched: whether namespaces are in the way, whether somebody is restoring already,
//! whether the server is new enough for what the backup holds, and whether it fits.

use std::collections::HashSet;

use super::exchange::{Listing, data_name};
use super::journal::{self, Known};
use super::plan::{RestoreItem, RestorePlan};
use crate::error::{Error, Kind, Result};
use crate::mongo::{Deployment, Namespace, NamespaceKind, accounts, error::RESTORE_ROLES, health, privileges};
use crate::units::ByteSize;

/// How many namespaces in the way are named in one message.
const MAX_NAMED: usize = 5;

/// What a target says of itself, and what it holds of what would be restored.
#[derive(Debug, Clone)]
pub struct TargetState {
    /// The namespaces of the plan that exist, the plan's names.
    pub existing: Vec<String>,
    /// Those of them into which single documents cannot be put.
    pub unfit: Vec<String>,
    /// Whether namespaces can be exchanged all at once, and not only one after the other.
    pub exchanges_at_once: bool,
    /// The server's version, such as `6.0.5`.
    pub version: String,
    /// The feature compatibility version, such as `6.0`; `unknown` where it may not be read.
    pub compatibility: String,
    /// Free bytes on the disk with the data; none where the server does not tell.
    pub free_bytes: Option<u64>,
    /// The restores that it knows of, which are not over.
    pub restores: Vec<Known>,
}

impl TargetState {
    /// Looks.
    ///
    /// # Errors
    /// When the target does not answer or a privilege is missing.
    pub async fn look(target: &Deployment, plan: &RestorePlan) -> Result<Self> {
        if plan.accounts.is_some() {
            // Restoring accounts looks at those that exist; whether it may is better known before the data is loaded.
            accounts::read(&target.primary(), None).await?;
        }
        let listing = Listing::of(target, plan.items.iter().map(|item| item.db.as_str())).await?;
        let exists = |item: &&RestoreItem| {
            let data = data_name(item.record.kind, &item.name);
            listing.get(&item.db, &item.name).or_else(|| listing.get(&item.db, &data)).is_some()
        };
        let mut existing: Vec<String> = plan.items.iter().filter(exists).map(RestoreItem::target).collect();
        existing.sort();
        let found = plan.items.iter().filter_map(|item| listing.get(&item.db, &item.name));
        let unfit = found.filter(|found| !takes_single_documents(found)).map(Namespace::full_name).collect();
        let (version, compatibility) = target.versions().await?;
        let free_bytes = free_bytes(target).await?;
        let exchanges_at_once = !plan.request.replace || privileges::read(target).await?.allow_everything();
        Ok(Self {
            existing,
            unfit,
            exchanges_at_once,
            version,
            compatibility,
            free_bytes,
            restores: journal::list(target).await?,
        })
    }

    /// Makes sure that nothing speaks against the plan.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::error::Kind::Refused), with what does.
    pub fn check(&self, plan: &RestorePlan) -> Result<()> {
        self.check_restores(plan)?;
        self.check_version(plan)?;
        self.check_space(plan)?;
        if plan.request.only.is_some() {
            return self.check_fit();
        }
        if plan.request.replace || self.existing.is_empty() { Ok(()) } else { Err(self.in_the_way(plan)) }
    }

    /// Returns the restores of the same namespaces that have ended without being over.
    pub fn unfinished<'a>(&'a self, plan: &'a RestorePlan) -> impl Iterator<Item = &'a Known> {
        let unfinished = self.restores.iter().filter(|known| !known.is_live && known.is_unfinished());
        unfinished.filter(|known| concerns(known, plan))
    }

    /// Whether the data may not fit: documents take more room than they are stored in, and less than they are long.
    #[must_use]
    pub fn may_not_fit(&self, plan: &RestorePlan) -> bool {
        self.free_bytes.is_some_and(|free| free < plan.bytes())
    }

    fn check_restores(&self, plan: &RestorePlan) -> Result<()> {
        match self.restores.iter().find(|known| known.is_live && known.is_unfinished() && concerns(known, plan)) {
            None => Ok(()),
            Some(live) => Err(Error::refused(format!("the restore {} is at work on the same namespaces", live.id))
                .with_hint(
                    "wait until it is over; if it was killed on another machine, that shows within two minutes",
                )),
        }
    }

    fn check_version(&self, plan: &RestorePlan) -> Result<()> {
        let source = &plan.source;
        let hint = format!("restore into a server of version {} or newer", source.server_version);
        if is_older(&self.version, &source.server_version, 2) {
            let (found, needed) = (&self.version, &source.server_version);
            return Err(Error::refused(format!(
                "the target is MongoDB {found}, and the backup was taken from {needed}"
            ))
            .with_hint(hint));
        }
        if is_older(&self.compatibility, &source.feature_compatibility_version, 2) {
            let (found, needed) = (&self.compatibility, &source.feature_compatibility_version);
            return Err(Error::refused(format!(
                "the target's feature compatibility version is {found}, and the backup's {needed}"
            ))
            .with_hint(format!(
                "run db.adminCommand({{ setFeatureCompatibilityVersion: \"{needed}\" }}) there, or {hint}"
            )));
        }
        Ok(())
    }

    /// Refuses what is sure not to fit: a server stores documents less densely than a backup does.
    fn check_space(&self, plan: &RestorePlan) -> Result<()> {
        let least = plan.least_space();
        match self.free_bytes {
            Some(free) if free < least => Err(Error::refused(format!(
                "the data does not fit: the target has {} free, and at least {} are needed",
                ByteSize(free),
                ByteSize(least)
            ))
            .with_hint(
                "make room on the target's disk, restore fewer namespaces with --ns, or restore elsewhere with --to",
            )),
            _ => Ok(()),
        }
    }

    fn check_fit(&self) -> Result<()> {
        if self.unfit.is_empty() {
            return Ok(());
        }
        Err(Error::refused(format!("no single documents can be restored into {}", self.unfit.join(", "))).with_hint(
            "--where is for plain collections, without a collation: leave these out with --ns, or choose another name with --map",
        ))
    }

    fn in_the_way(&self, plan: &RestorePlan) -> Error {
        let count = self.existing.len();
        let mut named = self.existing.clone();
        named.truncate(MAX_NAMED);
        let more = if count > MAX_NAMED { format!(" and {} more", count - MAX_NAMED) } else { String::new() };
        let noun = if count == 1 { "namespace exists" } else { "namespaces exist" };
        let error = Error::refused(format!("{count} target {noun} already: {}{more}", named.join(", ")));
        error.with_hint(match self.unfinished(plan).next() {
            Some(known) => format!(
                "nothing was changed; the restore {} did not end: finish it with --resume {}, or take it back with --undo {}",
                known.id, known.id, known.id
            ),
            None => "nothing was changed; leave out with --except what shall stay, take their place with --replace (add --keep-old to be able to undo it), restore under other names with --map FROM=TO, or to another server with --to".into(),
        })
    }
}

/// Returns how much room is left; none where the server does not say, or not to this user: a precaution less is no reason to
/// refuse a restore.
async fn free_bytes(target: &Deployment) -> Result<Option<u64>> {
    match health::free_space(target, RESTORE_ROLES).await {
        Ok(space) => Ok(space.map(|(_, free)| free)),
        Err(error) if error.kind() == Kind::Configuration => Ok(None),
        Err(error) => Err(error),
    }
}

fn takes_single_documents(found: &Namespace) -> bool {
    let is_collated = matches!(found.options.get("collation"), Ok(Some(_)));
    found.kind == NamespaceKind::Collection && !found.is_ordered() && !is_collated
}

/// Whether a restore writes to a namespace that the plan writes to.
fn concerns(known: &Known, plan: &RestorePlan) -> bool {
    let targets: HashSet<String> = plan.items.iter().map(RestoreItem::target).collect();
    known.record.items.iter().any(|item| targets.contains(&format!("{}.{}", item.db, item.name)))
}

/// Whether a version is older than another, going by its first `parts` numbers. Of what cannot be read nothing is said.
fn is_older(found: &str, needed: &str, parts: usize) -> bool {
    let numbers =
        |text: &str| -> Option<Vec<u32>> { text.split('.').take(parts).map(|part| part.parse().ok()).collect() };
    matches!((numbers(found), numbers(needed)), (Some(found), Some(needed)) if found < needed)
}

#[cfg(test)]
mod tests {
    use super::is_older;

    #[test]
    fn versions_compare_by_their_numbers() {
        assert!(is_older("6.0.5", "7.0.1", 2) && is_older("6.0", "10.0", 2));
        assert!(!is_older("6.0.5", "6.0.14", 2), "a patch changes nothing that is stored");
        assert!(!is_older("8.0", "6.0", 2) && !is_older("unknown", "6.0", 2));
    }
}
