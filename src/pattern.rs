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

/// A renaming: `from=to`, of whole databases or of collections; a `*` stands for the same characters on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceMap {
    from: (String, Option<String>),
    to: (String, Option<String>),
}

impl NamespaceMap {
    /// Makes one for a single collection, whatever characters its name holds.
    #[must_use]
    pub fn of_collection(from: (&str, &str), to: (&str, &str)) -> Self {
        let side = |(db, collection): (&str, &str)| (db.to_owned(), Some(collection.to_owned()));
        Self { from: side(from), to: side(to) }
    }

    /// Returns the new name, if this map is about the namespace.
    #[must_use]
    pub fn apply(&self, db: &str, collection: &str) -> Option<(String, String)> {
        let new_db = rename(&self.from.0, &self.to.0, db)?;
        match (&self.from.1, &self.to.1) {
            (Some(from), Some(to)) => Some((new_db, rename(from, to, collection)?)),
            _ => Some((new_db, collection.to_owned())),
        }
    }

    /// How broadly it speaks: without stars before with some, collections before databases, long patterns before short ones.
    fn breadth(&self) -> (bool, bool, std::cmp::Reverse<usize>) {
        let collection = self.from.1.as_deref().unwrap_or("*");
        let has_stars = self.from.0.contains('*') || collection.contains('*');
        (self.from.1.is_none(), has_stars, std::cmp::Reverse(self.from.0.len() + collection.len()))
    }

    /// Returns the name after the first of `maps` that is about the namespace; single collections come first, whole databases
    /// last.
    #[must_use]
    pub fn apply_first(maps: &[Self], db: &str, collection: &str) -> (String, String) {
        let mut ordered: Vec<&Self> = maps.iter().collect();
        ordered.sort_by_key(|map| map.breadth());
        ordered.into_iter().find_map(|map| map.apply(db, collection)).unwrap_or_else(|| (db.into(), collection.into()))
    }

    /// Returns every name that `maps` turn into this one; its own where none is about it.
    #[must_use]
    pub fn sources(maps: &[Self], db: &str, collection: &str) -> Vec<(String, String)> {
        let name = (db.to_owned(), collection.to_owned());
        let mapped = maps.iter().filter_map(|map| map.source_of(db, collection));
        let candidates = mapped.chain(std::iter::once(name.clone()));
        candidates.filter(|(db, collection)| Self::apply_first(maps, db, collection) == name).collect()
    }

    fn source_of(&self, db: &str, collection: &str) -> Option<(String, String)> {
        Self { from: self.to.clone(), to: self.from.clone() }.apply(db, collection)
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
            .filter(|(from, to)| stars_fit(Some(&from.0), Some(&to.0)) && stars_fit(from.1.as_deref(), to.1.as_deref()))
            .map(|(from, to)| Self { from, to })
            .ok_or_else(|| {
                Error::new(Kind::Usage, format!("'{text}' is no map"))
                    .with_hint("write db=other, db.collection=other.collection or db.*=other.*")
            })
    }
}

impl std::fmt::Display for NamespaceMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = |(db, collection): &(String, Option<String>)| match collection {
            Some(collection) => format!("{db}.{collection}"),
            None => db.clone(),
        };
        write!(f, "{}={}", side(&self.from), side(&self.to))
    }
}

/// Whether what a name may be is enough to make the new one of.
fn stars_fit(from: Option<&str>, to: Option<&str>) -> bool {
    let stars = |side: Option<&str>| side.map_or(0, |pattern| pattern.matches('*').count());
    let (from, to) = (stars(from), stars(to));
    from <= 1 && to <= from
}

/// Returns the new name, if `from` is about the name.
fn rename(from: &str, to: &str, name: &str) -> Option<String> {
    match from.split_once('*') {
        None => (from == name).then(|| to.to_owned()),
        Some((head, tail)) => {
            let stands_for = name.strip_prefix(head)?.strip_suffix(tail)?;
            Some(to.replacen('*', stands_for, 1))
        }
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
        let maps = ["t_*=u_*", "shop.*=shop_restored.*", "shop.or*=old.*_of_or", "shop.orders=a.b"];
        let maps = maps.map(|map| map.parse::<NamespaceMap>().unwrap());
        for (namespace, renamed) in [
            (("t_7", "a.b"), ("u_7", "a.b")),
            (("shop", "users"), ("shop_restored", "users")),
            (("shop", "orphans"), ("old", "phans_of_or")),
            (("shop", "orders"), ("a", "b")),
            (("shops", "x"), ("shops", "x")),
        ] {
            let applied = NamespaceMap::apply_first(&maps, namespace.0, namespace.1);
            assert_eq!((applied.0.as_str(), applied.1.as_str()), renamed);
        }
        assert_eq!(maps[2].to_string(), "shop.or*=old.*_of_or");
        assert!(
            ["", "a", "a=", "a.b=c", "=b", "a.b=a.*", "a.*b*=a.*"]
                .iter()
                .all(|wrong| wrong.parse::<NamespaceMap>().is_err())
        );
    }

    #[test]
    fn maps_lead_back_to_every_name_that_they_change() {
        let maps = ["shop=copy", "shop.orders=copy.old_orders"].map(|map| map.parse::<NamespaceMap>().unwrap());
        let sources = |db: &str, collection: &str| NamespaceMap::sources(&maps, db, collection);
        let name = |db: &str, collection: &str| (db.to_owned(), collection.to_owned());
        assert_eq!(sources("copy", "users"), [name("shop", "users"), name("copy", "users")]);
        assert_eq!(sources("copy", "orders"), [name("copy", "orders")], "shop.orders goes elsewhere");
        assert!(sources("copy", "old_orders").contains(&name("shop", "orders")));
        assert!(sources("shop", "users").is_empty());
        assert_eq!(sources("other", "users"), [name("other", "users")]);
    }
}
