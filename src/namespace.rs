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
