//! What a user must be allowed to do, and not more: the roles of `docs/PRIVILEGES.md`, from which `regrow doctor` tells
//! what is missing.
//!
//! Which of them are needed was found out by taking away one after the other; the tests do so again.

use std::fmt::Write;

/// What an action is allowed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// The deployment as a whole.
    Cluster,
    /// A collection of a database. Empty names mean any, but for the server's own collections (`system.…`) and databases.
    Collection {
        /// The database.
        db: &'static str,
        /// The collection.
        name: &'static str,
    },
    /// The buckets of every time series.
    Buckets,
}

/// Any collection that is not the server's own.
const ANY: Resource = Resource::Collection { db: "", name: "" };
/// Stored functions, which are backed up as other documents are.
const FUNCTIONS: Resource = Resource::Collection { db: "", name: "system.js" };

/// Some actions on one resource.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    /// On what.
    pub resource: Resource,
    /// Which.
    pub actions: &'static [&'static str],
}

/// A role with all that one purpose needs.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// Its name, in the database `admin`.
    pub name: &'static str,
    /// What it lets a user do, for people.
    pub purpose: &'static str,
    /// What it consists of.
    pub grants: &'static [Grant],
    /// The role that it builds upon.
    pub inherits: Option<&'static Role>,
}

/// For `regrow backup`, `regrow capture` and the service.
pub const BACKUP: Role = Role {
    name: "regrowBackup",
    purpose: "backups and capture",
    inherits: None,
    grants: &[
        Grant {
            resource: Resource::Cluster,
            actions: &["listDatabases", "getParameter", "replSetGetStatus", "appendOplogNote", "serverStatus"],
        },
        Grant { resource: ANY, actions: &["find", "listCollections", "listIndexes"] },
        Grant { resource: FUNCTIONS, actions: &["find", "listIndexes"] },
        Grant { resource: Resource::Buckets, actions: &["find"] },
        Grant { resource: Resource::Collection { db: "local", name: "oplog.rs" }, actions: &["find", "collStats"] },
        Grant { resource: Resource::Collection { db: "local", name: "system.replset" }, actions: &["find"] },
        Grant { resource: Resource::Collection { db: "config", name: "transactions" }, actions: &["find"] },
        Grant { resource: Resource::Collection { db: "admin", name: "system.version" }, actions: &["find"] },
        Grant { resource: Resource::Collection { db: "admin", name: "system.users" }, actions: &["find"] },
        Grant { resource: Resource::Collection { db: "admin", name: "system.roles" }, actions: &["find"] },
    ],
};

/// What restores do with the server's own collections: fill them, and exchange them.
const ON_OWN: &[&str] =
    &["find", "insert", "update", "remove", "bypassDocumentValidation", "createIndex", "dropCollection"];

/// For `regrow restore`, to a moment and with users as well.
pub const RESTORE: Role = Role {
    name: "regrowRestore",
    purpose: "restores",
    inherits: None,
    grants: &[
        Grant { resource: Resource::Cluster, actions: &["applyOps"] },
        Grant {
            resource: ANY,
            actions: &[
                "find",
                "insert",
                "update",
                "remove",
                "bypassDocumentValidation",
                "createCollection",
                "convertToCapped",
                "createIndex",
                "collMod",
                "dropCollection",
                "listCollections",
                "dbStats",
                "createUser",
                "createRole",
                "grantRole",
                "revokeRole",
            ],
        },
        Grant { resource: FUNCTIONS, actions: ON_OWN },
        Grant { resource: Resource::Buckets, actions: ON_OWN },
        Grant { resource: Resource::Collection { db: "admin", name: "system.users" }, actions: &["find"] },
        Grant { resource: Resource::Collection { db: "admin", name: "system.roles" }, actions: &["find"] },
    ],
};

/// For drills in scratch databases of a server. A server that a drill starts for itself has no users.
pub const DRILL: Role = Role {
    name: "regrowDrill",
    purpose: "drills in scratch databases",
    inherits: Some(&RESTORE),
    grants: &[
        Grant { resource: ANY, actions: &["dropDatabase", "validate", "listIndexes"] },
        Grant { resource: FUNCTIONS, actions: &["validate", "listIndexes"] },
        Grant { resource: Resource::Buckets, actions: &["validate"] },
        Grant { resource: Resource::Collection { db: "local", name: "system.replset" }, actions: &["find"] },
    ],
};

/// All of them, in the order in which they can be made.
pub const ALL: [&Role; 3] = [&BACKUP, &RESTORE, &DRILL];

impl Role {
    /// Returns every resource with an action that is needed on it, those of the inherited role first.
    pub fn needs(&self) -> impl Iterator<Item = (Resource, &'static str)> {
        let inherited = self.inherits.map_or(&[][..], |role| role.grants);
        let grants = inherited.iter().chain(self.grants);
        grants.flat_map(|grant| grant.actions.iter().map(|action| (grant.resource, *action)))
    }

    /// Returns the mongosh command that makes the role.
    #[must_use]
    pub fn create_command(&self) -> String {
        let mut text = format!("db.getSiblingDB(\"admin\").createRole({{\n  \"role\": \"{}\",\n", self.name);
        let privileges: Vec<String> = self.grants.iter().map(privilege).collect();
        let _ = writeln!(text, "  \"privileges\": [\n    {}\n  ],", privileges.join(",\n    "));
        let inherited = self.inherits.map(|role| format!("{{ \"role\": \"{}\", \"db\": \"admin\" }}", role.name));
        let _ = write!(text, "  \"roles\": [{}]\n}})", inherited.unwrap_or_default());
        text
    }

    /// Returns the mongosh command that gives the role to a user of a database.
    #[must_use]
    pub fn grant_command(&self, user: &str, db: &str) -> String {
        let (user, db) = (quoted(user), quoted(db));
        format!(
            "db.getSiblingDB({db}).grantRolesToUser({user}, [{{ \"role\": \"{}\", \"db\": \"admin\" }}])",
            self.name
        )
    }
}

/// Returns one privilege as JSON, in lines that a page takes.
fn privilege(grant: &Grant) -> String {
    const PER_LINE: usize = 6;
    let actions: Vec<String> = grant.actions.iter().map(|action| format!("\"{action}\"")).collect();
    let resource = grant.resource.to_json();
    if actions.len() <= PER_LINE {
        return format!("{{ \"resource\": {resource}, \"actions\": [{}] }}", actions.join(", "));
    }
    let lines: Vec<String> = actions.chunks(PER_LINE).map(|line| line.join(", ")).collect();
    format!("{{ \"resource\": {resource}, \"actions\": [\n        {}\n    ] }}", lines.join(",\n        "))
}

impl Resource {
    fn to_json(self) -> String {
        match self {
            Self::Cluster => "{ \"cluster\": true }".into(),
            Self::Collection { db, name } => format!("{{ \"db\": \"{db}\", \"collection\": \"{name}\" }}"),
            Self::Buckets => "{ \"db\": \"\", \"system_buckets\": \"\" }".into(),
        }
    }

    /// Returns what people call it.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Cluster => "the cluster".into(),
            Self::Collection { db: "", name: "" } => "any collection".into(),
            Self::Collection { db: "", name } => format!("{name} of any database"),
            Self::Collection { db, name } => format!("{db}.{name}"),
            Self::Buckets => "buckets of time series".into(),
        }
    }
}

/// Returns text as mongosh reads it: JSON is JavaScript.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_hold_what_a_shell_takes_as_json() {
        for role in ALL {
            let command = role.create_command();
            let json =
                command.strip_prefix("db.getSiblingDB(\"admin\").createRole(").unwrap().strip_suffix(')').unwrap();
            let parsed: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(parsed["role"], role.name);
            assert_eq!(parsed["privileges"].as_array().unwrap().len(), role.grants.len());
        }
        assert_eq!(
            BACKUP.grant_command("o'\"dd\\\n", "$external"),
            "db.getSiblingDB(\"$external\").grantRolesToUser(\"o'\\\"dd\\\\\\u000a\", [{ \"role\": \"regrowBackup\", \"db\": \"admin\" }])"
        );
    }
}
