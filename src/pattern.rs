//! Namespace patterns (`--ns`) and maps (`--map`), as people write them.

use std::str::FromStr;

use crate::error::{Error, Kind};

/// A choice of namespaces: `db`, `db.coll`, with `*` for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespacePattern {
    db: String,
    collection: Option<String>,
}

impl NamespacePattern {
    /// Whether the namespace is chosen.
    #[must_use]
    pub fn matches(&self, db: &str, collection: &str) -> bool {
        glob(&self.db, db) && self.collection.as_ref().is_none_or(|pattern| glob(pattern, collection))
    }

    /// Whether anything in a database may be chosen.
    #[must_use]
    pub fn reaches_into(&self, db: &str) -> bool {
        glob(&self.db, db)
    }

    /// Whether any of `patterns` chooses the namespace; none at all chooses everything.
    #[must_use]
    pub fn any(patterns: &[Self], db: &str, collection: &str) -> bool {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(db, collection))
    }
}

impl FromStr for NamespacePattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (db, collection) = match text.split_once('.') {
            Some((db, collection)) => (db, Some(collection)),
            None => (text, None),
        };
        if db.is_empty() || collection == Some("") {
            return Err(Error::new(Kind::Usage, format!("'{text}' is no namespace pattern"))
                .with_hint("write db, db.collection or db.*, where * stands for any characters"));
        }
        Ok(Self { db: db.into(), collection: collection.map(str::to_owned) })
    }
}

impl std::fmt::Display for NamespacePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.collection {
            Some(collection) => write!(f, "{}.{collection}", self.db),
            None => f.write_str(&self.db),
        }
    }
}

/// A renaming: `from=to`, of whole databases or of single collections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceMap {
    from: (String, Option<String>),
    to: (String, Option<String>),
}

impl NamespaceMap {
    /// Returns the new name, if this map is about the namespace.
    #[must_use]
    pub fn apply(&self, db: &str, collection: &str) -> Option<(String, String)> {
        let applies = self.from.0 == db && self.from.1.as_ref().is_none_or(|from| from == collection);
        applies.then(|| (self.to.0.clone(), self.to.1.clone().unwrap_or_else(|| collection.to_owned())))
    }

    /// Returns the name after the first of `maps` that is about the namespace; single collections come first.
    #[must_use]
    pub fn apply_first(maps: &[Self], db: &str, collection: &str) -> (String, String) {
        let exact = maps.iter().filter(|map| map.from.1.is_some());
        let mut ordered = exact.chain(maps.iter().filter(|map| map.from.1.is_none()));
        ordered.find_map(|map| map.apply(db, collection)).unwrap_or_else(|| (db.into(), collection.into()))
    }
}

impl FromStr for NamespaceMap {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let side = |side: &str| match side.split_once('.') {
            Some((db, collection)) => (db.to_owned(), Some(collection.to_owned())),
            None => (side.to_owned(), None),
        };
        let sides = text.split_once('=').map(|(from, to)| (side(from), side(to)));
        let is_whole =
            |(db, collection): &(String, Option<String>)| !db.is_empty() && collection.as_deref() != Some("");
        sides
            .filter(|(from, to)| is_whole(from) && is_whole(to) && from.1.is_some() == to.1.is_some())
            .map(|(from, to)| Self { from, to })
            .ok_or_else(|| {
                Error::new(Kind::Usage, format!("'{text}' is no map"))
                    .with_hint("write db=other or db.collection=other.collection")
            })
    }
}

/// Whether `text` fits `pattern`, where `*` stands for any run of characters.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_what_they_say() {
        let matches = |pattern: &str, db: &str, collection: &str| {
            pattern.parse::<NamespacePattern>().unwrap().matches(db, collection)
        };
        assert!(matches("shop", "shop", "orders.old"));
        assert!(matches("shop.orders.old", "shop", "orders.old"));
        assert!(matches("shop.*", "shop", "orders"));
        assert!(matches("tenant_*.or*rs", "tenant_7", "orders"));
        assert!(!matches("shop.orders", "shop", "orders.old"));
        assert!(!matches("shop", "shops", "orders"));
        assert!(!matches("shop.ab*ba", "shop", "aba"));
        assert!(["", ".x", "db."].iter().all(|wrong| wrong.parse::<NamespacePattern>().is_err()));
    }

    #[test]
    fn maps_rename_databases_and_single_collections() {
        let maps = ["shop=copy", "shop.orders=copy.old_orders"].map(|map| map.parse::<NamespaceMap>().unwrap());
        assert_eq!(NamespaceMap::apply_first(&maps, "shop", "orders"), ("copy".into(), "old_orders".into()));
        assert_eq!(NamespaceMap::apply_first(&maps, "shop", "users"), ("copy".into(), "users".into()));
        assert_eq!(NamespaceMap::apply_first(&maps, "other", "users"), ("other".into(), "users".into()));
        assert!(["", "a", "a=", "a.b=c", "=b"].iter().all(|wrong| wrong.parse::<NamespaceMap>().is_err()));
    }
}
