//! What the users may do, and the commands that let them do what they must.

use super::check::{Check, Doing, doing};
use super::server::NO_SOURCE;
use super::{Found, Installation};
use crate::error::Result;
use crate::mongo::Deployment;
use crate::mongo::privileges::{self, Account, Privileges};
use crate::mongo::roles::{BACKUP, RESTORE, Resource, Role};

/// How many missing privileges are named before they are only counted.
const MAX_NAMED: usize = 6;

pub(super) async fn of_source(found: &Found) -> Check {
    let doing = doing("backup privileges", "asked the server what the user of source.uri may do");
    let Some(source) = &found.source else { return doing.skipped(NO_SOURCE) };
    match privileges::read(source).await {
        Err(error) => doing.failed(&error),
        Ok(privileges) => judge(doing, &privileges, &BACKUP, Expected::Now),
    }
}

pub(super) async fn for_restores(installation: &Installation, found: &Found) -> Check {
    let name = "restore privileges";
    let Some(uri) = &installation.restore_to else {
        let doing = doing(name, "asked the server what the user of source.uri may do, where restores go by default");
        let Some(source) = &found.source else { return doing.skipped(NO_SOURCE) };
        return match privileges::read(source).await {
            Err(error) => doing.failed(&error),
            Ok(privileges) => judge(doing, &privileges, &RESTORE, Expected::ByAnother),
        };
    };
    let doing = doing(name, "asked the server that --to names what its user may do");
    match of(uri).await {
        Err(error) => doing.failed(&error),
        Ok(privileges) => judge(doing, &privileges, &RESTORE, Expected::Now),
    }
}

async fn of(uri: &crate::secret::Secret) -> Result<Privileges> {
    privileges::read(&Deployment::connect(uri).await?).await
}

/// Whether a user must have all of a role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// What it is for does not work otherwise.
    Now,
    /// Somebody else may have it, and that is good practice.
    ByAnother,
}

pub(super) fn judge(doing: Doing, privileges: &Privileges, role: &Role, expected: Expected) -> Check {
    let Some(account) = &privileges.account else { return nobody(doing, privileges) };
    let missing = privileges.missing(role);
    let who = &account.user;
    if missing.is_empty() {
        return doing.ok(format!("{who} may do all that {} need", role.purpose));
    }
    match expected {
        Expected::Now => {
            let found = format!("{who} lacks what {} need: {}", role.purpose, names(&missing));
            doing.misconfigured(found, commands(role, account))
        }
        Expected::ByAnother => doing.warning(
            format!("{who} cannot restore, as is good practice; somebody else must be able to"),
            format!(
                "have a user for incidents with the role {} (docs/PRIVILEGES.md); 'regrow doctor --to URI' checks it, and \
                 prints the commands that it lacks",
                role.name
            ),
        ),
    }
}

fn nobody(doing: Doing, privileges: &Privileges) -> Check {
    if privileges.access_control {
        return doing.misconfigured(
            "source.uri names no user, and the server wants to know one",
            "write mongodb://USER:PASSWORD@HOST:PORT/?replicaSet=NAME&authSource=admin",
        );
    }
    doing.warning(
        "the server has no access control: everybody who reaches it may do everything",
        "switch it on: security.authorization: enabled (with security.keyFile in a replica set)",
    )
}

fn names(missing: &[(Resource, &str)]) -> String {
    let named = missing.iter().take(MAX_NAMED).map(|(resource, action)| format!("{action} on {}", resource.describe()));
    let more = missing.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", named.collect::<Vec<_>>().join(", "))
}

/// Returns what an administrator types into mongosh. Roles that exist already only need to be granted.
fn commands(role: &Role, account: &Account) -> String {
    let inherited = role.inherits.map(|role| role.create_command() + "\n").unwrap_or_default();
    let (create, grant) = (role.create_command(), role.grant_command(&account.user, &account.db));
    format!("in mongosh, as an administrator (docs/PRIVILEGES.md):\n{inherited}{create}\n{grant}")
}
