//! Restoring only some of the documents, into collections that others go on using.

use std::fmt;
use std::str::FromStr;

use bson::RawDocument;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::filter::Filter;

/// What becomes of a document whose `_id` the live collection has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is refused, and nothing is restored.
    #[default]
    Insert,
    /// The backup's takes its place.
    Upsert,
    /// It stays as it is.
    Missing,
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "insert" => Ok(Self::Insert),
            "upsert" => Ok(Self::Upsert),
            "missing" => Ok(Self::Missing),
            _ => Err(Error::new(Kind::Usage, format!("'{text}' is no mode; write insert, upsert or missing"))),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Insert => "insert",
            Self::Upsert => "upsert",
            Self::Missing => "missing",
        })
    }
}

/// Which documents, and how they go into the live collection.
#[derive(Debug, Clone)]
pub struct Only {
    text: String,
    filter: Filter,
    mode: Mode,
}

impl Only {
    /// Reads a filter as people write it.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it makes no sense, or asks for something that is not known.
    pub fn parse(text: &str, mode: Mode) -> Result<Self> {
        Ok(Self { text: text.to_owned(), filter: text.parse()?, mode })
    }

    /// Whether a document is among them.
    #[must_use]
    pub fn matches(&self, document: &RawDocument) -> bool {
        self.filter.matches(document)
    }

    /// Returns the filter as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns what becomes of those that are there already.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }
}
