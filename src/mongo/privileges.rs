//! What the connected user may do, by the server's own account of it.

use bson::{Bson, Document, doc};

use super::answer;
use super::client::{Deployment, LOOK};
use super::error::{Attempt, UNAUTHORIZED, code, explain};
use super::roles::{Resource, Role};
use crate::error::Result;

/// A user of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub user: String,
    /// The database that knows it; `$external` where it is known by a certificate.
    pub db: String,
}

/// What whoever is connected may do.
#[derive(Debug, Clone)]
pub struct Privileges {
    /// Who that is; nobody where the URI names nobody.
    pub account: Option<Account>,
    /// Whether the server asks at all what somebody may do.
    pub access_control: bool,
    granted: Vec<Granted>,
}

/// Actions on a resource, as the server tells them.
#[derive(Debug, Clone)]
struct Granted {
    resource: Document,
    actions: Vec<String>,
}

/// Asks the server what the connected user may do.
///
/// # Errors
/// When nobody answers.
pub async fn read(deployment: &Deployment) -> Result<Privileges> {
    let attempt = Attempt { doing: "ask what the user may do", action: "connectionStatus", ..LOOK };
    let admin = deployment.client().database("admin");
    let reply = answer::soon(admin.run_command(doc! { "connectionStatus": 1, "showPrivileges": true })).await;
    let reply = reply.map_err(|error| explain(&error, attempt))?;
    let status = reply.get_document("authInfo").cloned().unwrap_or_default();
    let account = documents(&status, "authenticatedUsers").find_map(account);
    let access_control = match &account {
        Some(_) => true,
        None => refuses_strangers(deployment).await?,
    };
    let granted = documents(&status, "authenticatedUserPrivileges").filter_map(granted).collect();
    Ok(Privileges { account, access_control, granted })
}

/// Whether the server denies something to somebody that it does not know.
async fn refuses_strangers(deployment: &Deployment) -> Result<bool> {
    let attempt = Attempt { doing: "list the databases", action: "listDatabases", ..LOOK };
    let command = doc! { "listDatabases": 1, "nameOnly": true, "authorizedDatabases": false };
    match answer::soon(deployment.client().database("admin").run_command(command)).await {
        Ok(_) => Ok(false),
        Err(error) if code(&error) == Some(UNAUTHORIZED) => Ok(true),
        Err(error) => Err(explain(&error, attempt)),
    }
}

fn documents<'a>(status: &'a Document, key: &str) -> impl Iterator<Item = &'a Document> {
    status.get_array(key).into_iter().flatten().filter_map(Bson::as_document)
}

fn account(found: &Document) -> Option<Account> {
    Some(Account { user: found.get_str("user").ok()?.into(), db: found.get_str("db").ok()?.into() })
}

fn granted(found: &Document) -> Option<Granted> {
    let actions = found.get_array("actions").ok()?.iter().filter_map(Bson::as_str).map(str::to_owned).collect();
    Some(Granted { resource: found.get_document("resource").ok()?.clone(), actions })
}

impl Privileges {
    /// Whether the user may do anything to anything, which several commands in one `applyOps` take: no built-in role for people
    /// allows it.
    #[must_use]
    pub fn allow_everything(&self) -> bool {
        let everything = |granted: &Granted| {
            granted.resource.get_bool("anyResource").unwrap_or(false)
                && granted.actions.iter().any(|name| name == "anyAction")
        };
        !self.access_control || self.granted.iter().any(everything)
    }

    /// Returns what of a role's privileges is not granted.
    #[must_use]
    pub fn missing(&self, role: &Role) -> Vec<(Resource, &'static str)> {
        if !self.access_control {
            return Vec::new();
        }
        role.needs().filter(|(resource, action)| !self.allows(*resource, action)).collect()
    }

    fn allows(&self, resource: Resource, action: &str) -> bool {
        let named = |granted: &Granted| granted.actions.iter().any(|name| name == action || name == "anyAction");
        self.granted.iter().any(|granted| named(granted) && covers(&granted.resource, resource))
    }
}

/// Whether what is granted on `granted` is granted on all of `wanted`.
fn covers(granted: &Document, wanted: Resource) -> bool {
    if granted.get_bool("anyResource").unwrap_or(false) {
        return true;
    }
    let part = |key: &str| granted.get_str(key).ok();
    match wanted {
        Resource::Cluster => granted.get_bool("cluster").unwrap_or(false),
        Resource::Buckets => part("system_buckets") == Some("") && part("db").unwrap_or("").is_empty(),
        Resource::Collection { db, name } => {
            let (Some(on_db), Some(on_name)) = (part("db"), part("collection")) else { return false };
            // Any collection means none of the server's own: neither those of its databases nor those called `system.…`.
            let whole_db = on_name.is_empty() && on_db == db && !name.starts_with("system.");
            whole_db || on_name == name && (on_db == db || on_db.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::roles::{BACKUP, RESTORE};

    fn user(privileges: &[(Document, &[&str])]) -> Privileges {
        let granted = privileges.iter().map(|(resource, actions)| Granted {
            resource: resource.clone(),
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        });
        Privileges { account: None, access_control: true, granted: granted.collect() }
    }

    #[test]
    fn resources_cover_what_the_server_says_they_do() {
        const OPLOG: Resource = Resource::Collection { db: "local", name: "oplog.rs" };
        const ANY: Resource = Resource::Collection { db: "", name: "" };
        const USERS: Resource = Resource::Collection { db: "admin", name: "system.users" };
        for (granted, wanted, expected) in [
            (doc! { "anyResource": true }, USERS, true),
            (doc! { "cluster": true }, Resource::Cluster, true),
            (doc! { "cluster": true }, ANY, false),
            (doc! { "db": "", "collection": "" }, ANY, true),
            (doc! { "db": "", "collection": "" }, OPLOG, false),
            (doc! { "db": "", "collection": "" }, USERS, false),
            (doc! { "db": "local", "collection": "" }, OPLOG, true),
            (doc! { "db": "admin", "collection": "" }, USERS, false),
            (doc! { "db": "", "collection": "system.users" }, USERS, true),
            (doc! { "db": "shop", "collection": "" }, ANY, false),
            (doc! { "system_buckets": "" }, Resource::Buckets, true),
            (doc! { "db": "shop", "system_buckets": "" }, Resource::Buckets, false),
        ] {
            assert_eq!(covers(&granted, wanted), expected, "{granted} for {wanted:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let everything = user(&[(doc! { "anyResource": true }, &["anyAction"])]);
        assert!(everything.missing(&RESTORE).is_empty());
        assert_eq!(user(&[]).missing(&BACKUP).len(), BACKUP.needs().count());
        let nobody_asks = Privileges { access_control: false, ..user(&[]) };
        assert!(nobody_asks.missing(&BACKUP).is_empty());
    }
}
