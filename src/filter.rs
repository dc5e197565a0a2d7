//! Filters (`--where`), as people write them: extended JSON, held against documents as they lie in BSON.

use std::str::FromStr;

use bson::{Bson, RawBsonRef, RawDocument, RawDocumentBuf};
use serde_json::{Map, Value};

use crate::error::{Error, Kind};

/// Conditions that all must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// A field has a value: `{"customer.name": "Ada"}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    path: Vec<String>,
    /// A document whose only field is the value: that is how a value lies in bytes.
    holder: RawDocumentBuf,
}

/// The field of [`Condition::holder`].
const VALUE: &str = "value";

impl Filter {
    /// Returns the conditions; none hold for everything.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fields: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| wrong(text, "is no JSON object").caused_by(error))?;
        let conditions = fields.into_iter().map(|(path, value)| Condition::parse(text, &path, value));
        Ok(Self { conditions: conditions.collect::<Result<_, _>>()? })
    }
}

impl Condition {
    fn parse(text: &str, path: &str, value: Value) -> Result<Self, Error> {
        let operator = |name: &str| wrong(text, &format!("holds {name}: only equality can be asked for"));
        if path.starts_with('$') {
            return Err(operator(path));
        }
        let value = Bson::try_from(value).map_err(|error| wrong(text, "is no extended JSON").caused_by(error))?;
        if let Bson::Document(document) = &value
            && let Some(name) = document.keys().find(|name| name.starts_with('$'))
        {
            return Err(operator(name));
        }
        let holder = RawDocumentBuf::try_from(bson::doc! { VALUE: value });
        let holder = holder.map_err(|error| wrong(text, "is no document").caused_by(error))?;
        Ok(Self { path: path.split('.').map(str::to_owned).collect(), holder })
    }

    /// Returns the names that lead to the field.
    #[must_use]
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// Whether a document has the value there; as on the server, one of an array's elements is enough.
    #[must_use]
    pub fn holds_in(&self, document: &RawDocument) -> bool {
        self.holds_below(RawBsonRef::Document(document), &self.path)
    }

    /// Whether a value has it at `path`, which is what is left of this condition's.
    #[must_use]
    pub fn holds_below(&self, value: RawBsonRef<'_>, path: &[String]) -> bool {
        let Some((name, rest)) = path.split_first() else { return self.is(value) };
        match value {
            RawBsonRef::Document(document) => {
                document.get(name).ok().flatten().is_some_and(|value| self.holds_below(value, rest))
            }
            RawBsonRef::Array(array) => {
                let numbered = name.parse().ok().and_then(|number| array.get(number).ok().flatten());
                let mut documents = array.into_iter().flatten().filter(|item| matches!(item, RawBsonRef::Document(_)));
                numbered.is_some_and(|value| self.holds_below(value, rest))
                    || documents.any(|document| self.holds_below(document, path))
            }
            _ => false,
        }
    }

    fn is(&self, value: RawBsonRef<'_>) -> bool {
        let Ok(Some(wanted)) = self.holder.get(VALUE) else { return false };
        match value {
            _ if same(value, wanted) => true,
            RawBsonRef::Array(array) => array.into_iter().flatten().any(|item| same(item, wanted)),
            _ => false,
        }
    }
}

fn wrong(text: &str, reason: &str) -> Error {
    Error::new(Kind::Usage, format!("the filter {text} {reason}")).with_hint(
        r#"write extended JSON, such as '{"_id": {"$oid": "6562…"}}' or '{"tenant": "t42", "lines.sku": 7}'"#,
    )
}

/// Whether the server holds two values for equal: numbers are, whatever their type.
fn same(a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> bool {
    match (a, b) {
        (RawBsonRef::Document(a), RawBsonRef::Document(b)) => {
            let same_field =
                |(a, b)| matches!((a, b), (Ok((name_a, a)), Ok((name_b, b))) if name_a == name_b && same(a, b));
            a.iter().count() == b.iter().count() && a.iter().zip(b.iter()).all(same_field)
        }
        (RawBsonRef::Array(a), RawBsonRef::Array(b)) => {
            let same_item = |(a, b)| matches!((a, b), (Ok(a), Ok(b)) if same(a, b));
            a.into_iter().count() == b.into_iter().count() && a.into_iter().zip(b).all(same_item)
        }
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a == b,
            (None, None) => a == b,
            _ => false,
        },
    }
}

/// Returns a number as `(negative, digits, exponent)` without zeros at either end; those that are none as text.
fn number(value: RawBsonRef<'_>) -> Option<(bool, String, i64)> {
    /// More digits behind the point than any binary fraction has.
    const ALL_DIGITS: usize = 1080;
    let text = match value {
        RawBsonRef::Int32(number) => number.to_string(),
        RawBsonRef::Int64(number) => number.to_string(),
        RawBsonRef::Double(number) => format!("{number:.ALL_DIGITS$}"),
        RawBsonRef::Decimal128(number) => number.to_string(),
        _ => return None,
    };
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, text.as_str()),
    };
    let magnitude = magnitude.to_ascii_lowercase();
    if magnitude.starts_with('n') {
        return Some((false, "nan".into(), 0));
    }
    if magnitude.starts_with('i') {
        return Some((negative, "inf".into(), 0));
    }
    let (mantissa, exponent) = magnitude.split_once('e').unwrap_or((&magnitude, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let dropped = digits.len() - significant.len();
    let exponent = exponent.parse::<i64>().ok()? - i64::try_from(fraction.len()).ok()? + i64::try_from(dropped).ok()?;
    let significant = significant.trim_start_matches('0');
    // Zero has neither a sign nor a place.
    let is_zero = significant.is_empty();
    Some((negative && !is_zero, significant.into(), if is_zero { 0 } else { exponent }))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn holds(filter: &str, document: &RawDocument) -> bool {
        filter.parse::<Filter>().unwrap().conditions().iter().all(|condition| condition.holds_in(document))
    }

    #[test]
    fn fields_are_found_wherever_they_lie() {
        let document = rawdoc! { "_id": 7, "a": { "b": [{ "c": 1 }, { "c": [2, 3] }] }, "tags": ["x", "y"], "n": null };
        for filter in
            [r#"{"_id":7,"a.b.c":1}"#, r#"{"a.b.1.c":2}"#, r#"{"tags":"y"}"#, r#"{"tags":["x","y"]}"#, r#"{"n":null}"#]
        {
            assert!(holds(filter, &document), "{filter}");
        }
        for filter in [r#"{"_id":7,"a.b.c":9}"#, r#"{"a.b.0.c":2}"#, r#"{"tags":["y"]}"#, r#"{"a.x":null}"#] {
            assert!(!holds(filter, &document), "{filter}");
        }
        assert!(holds("{}", &document));
    }

    #[test]
    fn numbers_are_equal_whatever_their_type() {
        let decimal = |text: &str| text.parse::<bson::Decimal128>().unwrap();
        for number in [
            rawdoc! { "a": 50 },
            rawdoc! { "a": 50_i64 },
            rawdoc! { "a": 50.0 },
            rawdoc! { "a": decimal("50.00") },
            rawdoc! { "a": decimal("5E1") },
        ] {
            assert!(holds(r#"{"a":50}"#, &number) && holds(r#"{"a":{"$numberLong":"50"}}"#, &number), "{number:?}");
            assert!(!holds(r#"{"a":5}"#, &number) && !holds(r#"{"a":"50"}"#, &number), "{number:?}");
        }
        assert!(holds(r#"{"a":{"$numberLong":"9007199254740993"}}"#, &rawdoc! { "a": 9_007_199_254_740_993_i64 }));
        assert!(!holds(r#"{"a":{"$numberLong":"9007199254740993"}}"#, &rawdoc! { "a": 9_007_199_254_740_992.0 }));
        assert!(holds(r#"{"a":0.5}"#, &rawdoc! { "a": decimal("0.5") }));
        assert!(!holds(r#"{"a":0.1}"#, &rawdoc! { "a": decimal("0.1") }), "no binary fraction is a tenth");
        assert!(holds(r#"{"a":0}"#, &rawdoc! { "a": -0.0 }));
    }

    #[test]
    fn types_are_written_as_extended_json() {
        let id = bson::oid::ObjectId::parse_str("656200000000000000000001").unwrap();
        let document = rawdoc! { "_id": id, "at": bson::DateTime::from_millis(0), "key": { "a": 1, "b": "c" } };
        assert!(holds(r#"{"_id":{"$oid":"656200000000000000000001"}}"#, &document));
        assert!(holds(r#"{"at":{"$date":"1970-01-01T00:00:00Z"}}"#, &document));
        assert!(holds(r#"{"key":{"a":1.0,"b":"c"}}"#, &document));
        assert!(!holds(r#"{"key":{"b":"c","a":1}}"#, &document), "fields have an order");
    }

    #[test]
    fn what_is_no_equality_is_refused_by_name() {
        for (filter, named) in [
            (r#"{"a":{"$gt":1}}"#, "$gt"),
            (r#"{"$or":[]}"#, "$or"),
            (r#"{"_id":{"$oid":"x"}}"#, "extended JSON"),
            ("[1]", "JSON object"),
            ("nonsense", "JSON object"),
        ] {
            let error = filter.parse::<Filter>().unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{filter}");
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
