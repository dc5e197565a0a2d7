//! Users and roles: entries of `admin.system.users` and `admin.system.roles`, as bytes.

use std::collections::HashSet;

use bson::{RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use mongodb::Database;

use super::answer::{self, Pace};
use super::client::{LOOK, Node, snapshot_at};
use super::error::{Attempt, RESTORE_ROLES, explain};
use super::load;
use super::namespaces::all;
use crate::error::Result;

/// Where accounts wait while the server merges them.
const STAGED_USERS: &str = "regrow_staged_users";
const STAGED_ROLES: &str = "regrow_staged_roles";

/// The users and roles of a deployment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Accounts {
    /// Entries of `admin.system.users`, credentials included.
    pub users: Vec<RawDocumentBuf>,
    /// Entries of `admin.system.roles`.
    pub roles: Vec<RawDocumentBuf>,
}

/// Reads all users and roles as of `at`; none reads whatever is there now.
///
/// # Errors
/// When the node does not answer or a privilege is missing.
pub async fn read(node: &Node, at: Option<Timestamp>) -> Result<Accounts> {
    let admin = node.database("admin");
    Ok(Accounts {
        users: entries(&admin, "system.users", at).await?,
        roles: entries(&admin, "system.roles", at).await?,
    })
}

async fn entries(admin: &Database, collection: &str, at: Option<Timestamp>) -> Result<Vec<RawDocumentBuf>> {
    let doing = format!("read admin.{collection}");
    let mut command = rawdoc! { "find": collection };
    if let Some(at) = at {
        command.append(bson::cstr!("readConcern"), snapshot_at(at));
    }
    all(admin, command, Attempt { doing: &doing, action: "find", ..LOOK }).await
}

/// Adds the accounts that do not exist yet; those that exist stay as they are. Returns how many were added.
///
/// The server merges them from staging collections itself (`_mergeAuthzCollections`), the only way to keep
/// a password nobody knows; the staging collections are dropped whatever happens.
///
/// # Errors
/// When the server refuses an account or a privilege is missing.
pub async fn add(admin: &Database, accounts: &Accounts) -> Result<usize> {
    let users = missing(&accounts.users, &entries(admin, "system.users", None).await?);
    let roles = missing(&accounts.roles, &entries(admin, "system.roles", None).await?);
    let added = users.len() + roles.len();
    if added == 0 {
        return Ok(0);
    }
    drop_staged(admin).await?;
    let merged = stage_and_merge(admin, &users, &roles).await;
    drop_staged(admin).await?;
    merged.map(|()| added)
}

async fn stage_and_merge(admin: &Database, users: &[&RawDocument], roles: &[&RawDocument]) -> Result<()> {
    let mut command = rawdoc! { "_mergeAuthzCollections": 1, "db": "", "drop": false };
    if !users.is_empty() {
        load::insert(admin, STAGED_USERS, users).await?;
        command.append(bson::cstr!("tempUsersCollection"), format!("admin.{STAGED_USERS}"));
    }
    if !roles.is_empty() {
        load::insert(admin, STAGED_ROLES, roles).await?;
        command.append(bson::cstr!("tempRolesCollection"), format!("admin.{STAGED_ROLES}"));
    }
    command.append(bson::cstr!("writeConcern"), rawdoc! { "w": "majority" });
    let attempt = Attempt { doing: "restore users and roles", action: "createUser", roles: RESTORE_ROLES };
    answer::run(admin, command, Pace::Soon).await.map(drop).map_err(|error| explain(&error, attempt))
}

async fn drop_staged(admin: &Database) -> Result<()> {
    load::drop_collection(admin, STAGED_USERS).await?;
    load::drop_collection(admin, STAGED_ROLES).await
}

/// Returns the entries whose `_id` is not among the existing ones.
fn missing<'a>(wanted: &'a [RawDocumentBuf], existing: &[RawDocumentBuf]) -> Vec<&'a RawDocument> {
    let ids: HashSet<&str> = existing.iter().filter_map(|entry| entry.get_str("_id").ok()).collect();
    wanted
        .iter()
        .map(AsRef::as_ref)
        .filter(|entry: &&RawDocument| entry.get_str("_id").is_ok_and(|id| !ids.contains(id)))
        .collect()
}
