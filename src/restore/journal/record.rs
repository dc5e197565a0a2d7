//! What a restore set out to do, as its journal has it.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::format::catalog::CollectionKind;
use crate::format::{BackupId, ClusterTime};
use crate::restore::only::{Mode, Only};
use crate::restore::plan::{First, RestorePlan, RestoreRequest};

/// What a restore set out to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The backup.
    pub backup: BackupId,
    /// The moment, where one was asked for.
    pub moment: Option<ClusterTime>,
    /// The chosen namespaces, as patterns.
    pub patterns: Vec<String>,
    /// Those of them that are left out, as patterns.
    #[serde(default)]
    pub except: Vec<String>,
    /// The new names, as maps.
    pub maps: Vec<String>,
    /// Whether users and roles are restored.
    pub accounts: bool,
    /// Whether it takes the place of what exists.
    pub replace: bool,
    /// Whether what is replaced stays, under another name.
    pub keep_old: bool,
    /// Which documents alone are restored, as extended JSON.
    #[serde(default)]
    pub filter: Option<String>,
    /// What becomes of those that are there already.
    #[serde(default)]
    pub mode: Mode,
    /// What is made, in the plan's order.
    pub items: Vec<ItemRecord>,
}

impl Record {
    /// Returns what a plan sets out to do: what was asked for, at the moment if one was.
    #[must_use]
    pub fn of(plan: &RestorePlan, moment: Option<ClusterTime>) -> Self {
        // What comes first is asked for anew by whoever goes on.
        let RestoreRequest { patterns, except, maps, accounts, replace, keep_old, only, first: _ } = &plan.request;
        Self {
            backup: plan.manifest.id.clone(),
            moment,
            patterns: patterns.iter().map(ToString::to_string).collect(),
            except: except.iter().map(ToString::to_string).collect(),
            maps: maps.iter().map(ToString::to_string).collect(),
            accounts: *accounts,
            replace: *replace,
            keep_old: *keep_old,
            filter: only.as_ref().map(|only| only.text().to_owned()),
            mode: only.as_ref().map(Only::mode).unwrap_or_default(),
            items: plan.item_records(),
        }
    }

    /// Returns what was asked for.
    ///
    /// # Errors
    /// When a pattern, a map or the filter makes no sense to this version.
    pub fn request(&self) -> Result<RestoreRequest> {
        Ok(RestoreRequest {
            patterns: self.patterns.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            except: self.except.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            maps: self.maps.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            accounts: self.accounts,
            replace: self.replace,
            keep_old: self.keep_old,
            only: self.only()?,
            first: First::default(),
        })
    }

    /// Returns which documents alone are restored.
    ///
    /// # Errors
    /// When the filter makes no sense to this version.
    pub fn only(&self) -> Result<Option<Only>> {
        self.filter.as_ref().map(|filter| Only::parse(filter, self.mode)).transpose()
    }
}

/// One namespace that a restore makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// The database.
    pub db: String,
    /// The name in the end.
    pub name: String,
    /// The name that it is loaded under, where that is another one.
    pub staged: Option<String>,
    /// What it is.
    pub kind: CollectionKind,
}

impl ItemRecord {
    /// Returns the name that it is loaded under.
    #[must_use]
    pub fn loading_name(&self) -> &str {
        self.staged.as_deref().unwrap_or(&self.name)
    }
}
