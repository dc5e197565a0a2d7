//! Filters (`--where`), as people write them: extended JSON, held against documents as they lie in BSON.
//!
//! A [`Filter`] means what the same text means to the server's `find`, without a collation. What it cannot mean exactly
//! it refuses to be. [`Equalities`] are the part of it that can be asked of single changes, which hold no whole documents.

mod equalities;
mod number;
mod order;
mod parse;
mod path;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod value;

use bson::{RawDocument, RawDocumentBuf};

pub use equalities::{Condition, Equalities};
pub use number::canonical_number;
pub use value::{Value, elements, fields};

use order::Bracket;

/// What a document must be like; without anything said, every document fits.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    conditions: Vec<Node>,
}

/// A part of a filter.
#[derive(Debug, Clone)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    /// Something that lies at a path passes a test.
    Field {
        path: Vec<String>,
        test: Test,
    },
}

#[derive(Debug, Clone)]
enum Test {
    Compare(Comparison, Operand),
    In(Vec<Operand>),
    Exists,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value that a filter names: the only field of a document, for that is how a value lies in bytes.
#[derive(Debug, Clone, PartialEq)]
struct Operand(RawDocumentBuf);

impl Filter {
    /// Whether a document is what the filter asks for.
    #[must_use]
    pub fn matches(&self, document: &RawDocument) -> bool {
        self.conditions.iter().all(|node| node.holds(document))
    }
}

impl Node {
    fn holds(&self, document: &RawDocument) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(document)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(document)),
            Self::Not(node) => !node.holds(document),
            Self::Field { path, test } => path::any(Value::document(document), path, &mut |found| test.holds(found)),
        }
    }
}

impl Test {
    /// Whether what was found at the path passes; nothing is what lies at the path of a field that is missing.
    fn holds(&self, found: Option<Value<'_>>) -> bool {
        match self {
            Self::Compare(comparison, operand) => comparison.holds(found, operand.value()),
            Self::In(operands) => operands.iter().any(|operand| Comparison::Equal.holds(found, operand.value())),
            Self::Exists => found.is_some(),
        }
    }
}

impl Comparison {
    /// Values of different brackets are neither less nor greater, but for the keys that are so by definition.
    fn holds(self, found: Option<Value<'_>>, operand: Value<'_>) -> bool {
        let with_equal = matches!(self, Self::Equal | Self::LessOrEqual | Self::GreaterOrEqual);
        let (bracket, asked) = (found.map_or(Bracket::Missing, Value::bracket), operand.bracket());
        match found {
            Some(found) if bracket == asked => {
                if found.is_nan() || operand.is_nan() {
                    return with_equal && found.is_nan() && operand.is_nan();
                }
                self.allows(found.compare(operand))
            }
            _ => match (bracket, asked) {
                (Bracket::Missing, Bracket::Null) => with_equal,
                (_, Bracket::MaxKey) => matches!(self, Self::Less | Self::LessOrEqual),
                (_, Bracket::MinKey) => matches!(self, Self::Greater | Self::GreaterOrEqual),
                _ => false,
            },
        }
    }

    fn allows(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Operand {
    fn value(&self) -> Value<'_> {
        elements(&self.0).next().expect("it is made with one field").1
    }
}
