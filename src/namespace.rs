//! What the name of a namespace says about it: backing up, capturing and restoring must agree on that.

/// What begins the name of a time series' bucket collection.
pub const BUCKETS_PREFIX: &str = "system.buckets.";

/// Returns the name of the collection that holds the buckets of a time series.
#[must_use]
pub fn buckets_of(series: &str) -> String {
    format!("{BUCKETS_PREFIX}{series}")
}

/// The database in which restores under way keep their journals.
pub const JOURNALS: &str = "regrow_restore";

/// Returns the name that patterns are held against: buckets go where their time series goes.
#[must_use]
pub fn visible_name(collection: &str) -> &str {
    collection.strip_prefix(BUCKETS_PREFIX).unwrap_or(collection)
}

/// What stands between the name of a collection and the moment at which a restore replaced it, where it was kept.
pub const KEPT_INFIX: &str = "_replaced_";

/// Returns when the restore began that replaced what a collection holds and kept it under this name, as its id begins; none for
/// other collections.
#[must_use]
pub fn kept_by_restore(collection: &str) -> Option<&str> {
    let (_, ending) = visible_name(collection).rsplit_once(KEPT_INFIX)?;
    let (date, again) = ending.split_once('_').unwrap_or((ending, "2"));
    let is_date = date.len() == 16
        && date.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    (is_date && again.bytes().all(|byte| byte.is_ascii_digit())).then_some(date)
}

/// The longest name of a database that servers take, in bytes.
const LONGEST_DATABASE: usize = 63;

/// Returns why no server can have such a namespace, if that is so. What a backup names becomes files in an export, and
/// collections in a restore: this keeps it in its place.
#[must_use]
pub fn fault(db: &str, collection: &str) -> Option<&'static str> {
    if db.is_empty() || collection.is_empty() {
        return Some("a name is empty");
    }
    if db.len() > LONGEST_DATABASE {
        return Some("the database's name is longer than 63 bytes");
    }
    if db.contains(['/', '\\', '.', ' ', '"', '$', '\0']) {
        return Some("the database's name has a character that none has");
    }
    collection.contains('\0').then_some("the collection's name has a zero byte")
}

/// Whether a database is never backed up: `local` is a node's own, `config` the cluster's, and journals are of restores into
/// this very deployment.
#[must_use]
pub fn is_never_backed_up(db: &str) -> bool {
    ["local", "config", JOURNALS].contains(&db)
}

/// Whether a collection of this name is backed up as data. Of the server's own only stored functions and the buckets of
/// time series are; `admin.system.*` are users, roles and keys, `system.views` are definitions, `system.profile` a node's.
#[must_use]
pub fn holds_data(collection: &str) -> bool {
    !collection.starts_with("system.") || collection == "system.js" || collection.starts_with(BUCKETS_PREFIX)
}

/// Returns why no backup holds such a namespace, if that is so: no server has it, or it belongs to the server.
#[must_use]
pub fn misfit(db: &str, collection: &str) -> Option<&'static str> {
    let is_of_server = is_never_backed_up(db) || !holds_data(collection);
    fault(db, collection).or_else(|| is_of_server.then_some("it belongs to the server"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restore_kept_is_known_by_its_name() {
        for (name, kept) in [
            ("orders_replaced_20261125T105306Z", Some("20261125T105306Z")),
            ("system.buckets.readings_replaced_20261125T105306Z_2", Some("20261125T105306Z")),
            ("orders_replaced_20261125", None),
            ("orders_replaced_20261125T105306Z_now", None),
            ("orders", None),
        ] {
            assert_eq!(kept_by_restore(name), kept, "{name}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for (db, collection) in [("shop", "orders.2026/../x"), ("t-7_é", "$odd"), ("admin", "system.js")] {
            assert_eq!(fault(db, collection), None, "{db}.{collection}");
        }
        let long = "x".repeat(64);
        for db in ["", ".", "..", "a/b", "/etc", "a\\b", "a.b", "a b", "a\"b", "$external", "a\0", &long] {
            assert!(fault(db, "orders").is_some(), "{db:?}");
        }
        assert!(fault("shop", "").is_some() && fault("shop", "a\0b").is_some());
    }
    #[test]
    fn names_of_the_server_are_in_no_backup() {
        for (db, collection) in [
            ("admin", "system.users"),
            ("shop", "system.views"),
            ("local", "oplog.rs"),
            ("config", "transactions"),
            (JOURNALS, "journal"),
            ("a/b", "orders"),
        ] {
            assert!(misfit(db, collection).is_some(), "{db}.{collection}");
        }
        for (db, collection) in [("shop", "../x"), ("shop", "system.js"), ("shop", "system.buckets.readings")] {
            assert_eq!(misfit(db, collection), None, "{db}.{collection}");
        }
    }
}
