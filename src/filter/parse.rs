//! Reads filters, and refuses what they cannot mean exactly as the server does.

use std::str::FromStr;

use bson::{Bson, Document, RawDocumentBuf};
use serde_json::Map;

use super::{Comparison, Filter, Node, Operand, Test};
use crate::error::{Error, Kind};

/// The field of an [`Operand`].
const VALUE: &str = "value";

/// The fields of a reference to another document: the only ones with such names that documents hold.
const REFERENCE: [&str; 3] = ["$ref", "$id", "$db"];

const OPERATORS: &str = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $not, $and, $or and $nor";

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(Self { conditions: Reader { text }.document(fields(text)?)? })
    }
}

/// Reads the fields of a filter.
pub(super) fn fields(text: &str) -> Result<Document, Error> {
    let fields: Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| wrong(text, "is no JSON object").caused_by(error))?;
    let read = |(name, value)| Ok((name, Bson::try_from(value)?));
    let read = fields.into_iter().map(read).collect::<Result<_, bson::error::Error>>();
    read.map_err(|error| wrong(text, "is no extended JSON").caused_by(error))
}

pub(super) fn path_of(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

/// Keeps a value to compare with.
pub(super) fn operand(text: &str, value: Bson) -> Result<Operand, Error> {
    if value == Bson::Undefined {
        return Err(wrong(text, "asks for undefined, which no server compares with"));
    }
    let holder = RawDocumentBuf::try_from(bson::doc! { VALUE: value });
    holder.map(Operand).map_err(|error| wrong(text, "is no document").caused_by(error))
}

/// Says that only equality can be asked for here.
pub(super) fn not_equal(text: &str, name: &str) -> Error {
    wrong(text, &format!("holds {name}: only equality can be asked for"))
}

fn wrong(text: &str, reason: &str) -> Error {
    Error::new(Kind::Usage, format!("the filter {text} {reason}")).with_hint(
        r#"write extended JSON, such as '{"_id": {"$oid": "6562…"}}' or '{"tenant": "t42", "lines.sku": 7}'"#,
    )
}

/// Reads one filter, whose text its complaints show.
struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    /// Reads conditions that all must hold.
    fn document(&self, document: Document) -> Result<Vec<Node>, Error> {
        document.into_iter().map(|(name, value)| self.condition(&name, value)).collect()
    }

    fn condition(&self, name: &str, value: Bson) -> Result<Node, Error> {
        match name {
            "$and" => Ok(Node::All(self.several(name, value)?)),
            "$or" => Ok(Node::Any(self.several(name, value)?)),
            "$nor" => Ok(not(Node::Any(self.several(name, value)?))),
            _ if name.starts_with('$') => Err(self.unknown(name)),
            _ => self.field(name, value),
        }
    }

    /// Reads the filters that `$and` and its like take.
    fn several(&self, name: &str, value: Bson) -> Result<Vec<Node>, Error> {
        let Bson::Array(filters) = value else { return Err(self.needs(name, "an array of filters")) };
        if filters.is_empty() {
            return Err(self.needs(name, "at least one filter"));
        }
        let read = |filter| match filter {
            Bson::Document(document) => self.document(document).map(Node::All),
            _ => Err(self.needs(name, "an array of filters")),
        };
        filters.into_iter().map(read).collect()
    }

    fn field(&self, path: &str, value: Bson) -> Result<Node, Error> {
        if path.contains('.') && path.split('.').any(str::is_empty) {
            return Err(wrong(self.text, &format!("holds the path '{path}', which has a dot without a name")));
        }
        match value {
            Bson::Document(operators) if is_operators(&operators) => self.operators(path, operators),
            Bson::RegularExpression(_) => Err(self.unknown("a regular expression")),
            value => self.compare(path, Comparison::Equal, value),
        }
    }

    /// Reads what all must hold for one field: `{"$gte": 1, "$lt": 5}`.
    fn operators(&self, path: &str, operators: Document) -> Result<Node, Error> {
        let read = operators.into_iter().map(|(name, value)| self.operator(path, &name, value));
        Ok(Node::All(read.collect::<Result<_, _>>()?))
    }

    fn operator(&self, path: &str, name: &str, value: Bson) -> Result<Node, Error> {
        if matches!(value, Bson::RegularExpression(_)) && name != "$eq" {
            return Err(self.unknown("a regular expression"));
        }
        match name {
            "$eq" => self.compare(path, Comparison::Equal, value),
            "$ne" => self.compare(path, Comparison::Equal, value).map(not),
            "$gt" => self.compare(path, Comparison::Greater, value),
            "$gte" => self.compare(path, Comparison::GreaterOrEqual, value),
            "$lt" => self.compare(path, Comparison::Less, value),
            "$lte" => self.compare(path, Comparison::LessOrEqual, value),
            "$in" => self.one_of(path, name, value),
            "$nin" => self.one_of(path, name, value).map(not),
            "$exists" => {
                let exists = field(path, Test::Exists);
                Ok(if is_true(&value) { exists } else { not(exists) })
            }
            "$not" => match value {
                Bson::Document(operators) if is_operators(&operators) => self.operators(path, operators).map(not),
                _ => Err(self.needs(name, "operators, such as {\"$not\": {\"$gt\": 5}}")),
            },
            _ => Err(self.unknown(name)),
        }
    }

    fn compare(&self, path: &str, comparison: Comparison, value: Bson) -> Result<Node, Error> {
        self.is_plain(&value)?;
        Ok(field(path, Test::Compare(comparison, operand(self.text, value)?)))
    }

    fn one_of(&self, path: &str, name: &str, value: Bson) -> Result<Node, Error> {
        let Bson::Array(values) = value else { return Err(self.needs(name, "an array of values")) };
        let read = |value| match value {
            Bson::RegularExpression(_) => Err(self.unknown("a regular expression")),
            value => self.is_plain(&value).and_then(|()| operand(self.text, value)),
        };
        Ok(field(path, Test::In(values.into_iter().map(read).collect::<Result<_, _>>()?)))
    }

    /// Refuses operators inside of a value. The server would look for a field of that name, and find nothing.
    fn is_plain(&self, value: &Bson) -> Result<(), Error> {
        match value {
            Bson::Document(document) => document.iter().try_for_each(|(name, value)| {
                if name.starts_with('$') && !REFERENCE.contains(&name.as_str()) {
                    let reason = format!("holds {name} inside of a value, where it would only be a name");
                    return Err(wrong(self.text, &reason)
                        .with_hint(r#"ask for a field of a field by its path: '{"customer.age": {"$gt": 30}}'"#));
                }
                self.is_plain(value)
            }),
            Bson::Array(items) => items.iter().try_for_each(|item| self.is_plain(item)),
            _ => Ok(()),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        wrong(self.text, &format!("holds {name}, which can only be asked of a server"))
            .with_hint(format!("there are equality, {OPERATORS}; for everything else, restore and ask the server"))
    }

    fn needs(&self, name: &str, what: &str) -> Error {
        wrong(self.text, &format!("is wrong: {name} needs {what}"))
    }
}

/// Whether a document is made of operators, and not a value to compare with: its first name says so.
fn is_operators(document: &Document) -> bool {
    document.keys().next().is_some_and(|name| name.starts_with('$') && !REFERENCE.contains(&name.as_str()))
}

/// What the server takes for true.
fn is_true(value: &Bson) -> bool {
    match value {
        Bson::Boolean(value) => *value,
        Bson::Int32(value) => *value != 0,
        Bson::Int64(value) => *value != 0,
        Bson::Double(value) => *value != 0.0,
        Bson::Decimal128(value) => value.to_string().parse::<f64>().is_ok_and(|value| value != 0.0),
        Bson::Null | Bson::Undefined => false,
        _ => true,
    }
}

fn field(path: &str, test: Test) -> Node {
    Node::Field { path: path_of(path), test }
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}
