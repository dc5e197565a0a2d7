//! Filters that ask for equality alone.

use std::str::FromStr;

use bson::{Bson, RawDocument};

use super::parse::{fields, not_equal, operand, path_of};
use super::{Operand, Value, path};
use crate::error::Error;

/// Conditions that all must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Equalities {
    conditions: Vec<Condition>,
}

/// A field has a value: `{"customer.name": "Ada"}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    path: Vec<String>,
    operand: Operand,
}

impl Equalities {
    /// Returns the conditions; none hold for everything.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl FromStr for Equalities {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let conditions = fields(text)?.into_iter().map(|(path, value)| Condition::make(text, &path, value));
        Ok(Self { conditions: conditions.collect::<Result<_, _>>()? })
    }
}

impl Condition {
    fn make(text: &str, path: &str, value: Bson) -> Result<Self, Error> {
        if path.starts_with('$') {
            return Err(not_equal(text, path));
        }
        if let Bson::Document(document) = &value
            && let Some(name) = document.keys().find(|name| name.starts_with('$'))
        {
            return Err(not_equal(text, name));
        }
        Ok(Self { path: path_of(path), operand: operand(text, value)? })
    }

    /// Returns the names that lead to the field.
    #[must_use]
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// Whether a document has the value there; as on the server, one of an array's elements is enough.
    #[must_use]
    pub fn holds_in(&self, document: &RawDocument) -> bool {
        self.holds_below(Value::document(document), &self.path)
    }

    /// Whether a value has it at `path`, which is what is left of this condition's. A field that is missing has none.
    #[must_use]
    pub fn holds_below(&self, value: Value<'_>, path: &[String]) -> bool {
        let wanted = self.operand.value();
        path::any(value, path, &mut |found| found.is_some_and(|found| found.compare(wanted).is_eq()))
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::error::Kind;

    fn holds(filter: &str, document: &RawDocument) -> bool {
        filter.parse::<Equalities>().unwrap().conditions().iter().all(|condition| condition.holds_in(document))
    }

    #[test]
    fn what_is_missing_has_no_value() {
        let document = rawdoc! { "_id": 7, "a": { "b": [{ "c": 1 }, { "c": [2, 3] }] }, "n": null };
        for filter in [r#"{"_id":7,"a.b.c":1}"#, r#"{"a.b.1.c":2}"#, r#"{"n":null}"#, "{}"] {
            assert!(holds(filter, &document), "{filter}");
        }
        for filter in [r#"{"_id":7,"a.b.c":9}"#, r#"{"a.b.0.c":2}"#, r#"{"a.x":null}"#, r#"{"x":null}"#] {
            assert!(!holds(filter, &document), "{filter}");
        }
    }

    #[test]
    fn what_is_no_equality_is_refused_by_name() {
        for (filter, named) in [
            (r#"{"a":{"$gt":1}}"#, "$gt"),
            (r#"{"$or":[]}"#, "$or"),
            (r#"{"_id":{"$oid":"x"}}"#, "extended JSON"),
            (r#"{"a":{"$undefined":true}}"#, "undefined"),
            ("[1]", "JSON object"),
            ("nonsense", "JSON object"),
        ] {
            let error = filter.parse::<Equalities>().unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{filter}");
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
