//! Changing definitions: the options of a collection and its indexes, as `collMod` says.

use bson::raw::CStr;
use bson::{RawBsonRef, RawDocument, RawDocumentBuf, cstr};

use super::entry::{unknown, unreadable};
use crate::error::Result;

/// Whether an index has this name.
pub(super) fn is_named(index: &RawDocument, name: &str) -> bool {
    index.get_str("name").is_ok_and(|found| found == name)
}

/// Whether an index has this key.
pub(super) fn has_key(index: &RawDocument, key: &RawDocument) -> bool {
    index.get_document("key").is_ok_and(|found| found == key)
}

/// Changes one index as `collMod` says.
pub(super) fn change_index(indexes: &mut [RawDocumentBuf], change: &RawDocument) -> Result<()> {
    let named = |index: &&mut RawDocumentBuf| match (change.get_str("name"), change.get_document("keyPattern")) {
        (Ok(name), _) => is_named(index, name),
        (_, Ok(key)) => has_key(index, key),
        _ => false,
    };
    let Some(index) = indexes.iter_mut().find(named) else { return Ok(()) };
    for element in change {
        let (field, value) = element.map_err(unreadable)?;
        match (field.as_str(), value) {
            ("name" | "keyPattern", _) => {}
            // These are shown only where they are set.
            ("hidden" | "prepareUnique", RawBsonRef::Boolean(false)) => *index = without(index, &[field.as_str()])?,
            ("unique", value) => *index = with(&without(index, &["prepareUnique"])?, field, value)?,
            ("hidden" | "prepareUnique" | "expireAfterSeconds", value) => *index = with(index, field, value)?,
            (other, _) => return Err(unknown(&format!("option '{other}' of collMod for an index"))),
        }
    }
    Ok(())
}

/// Changes the options of a time series as `collMod` says.
pub(super) fn change_series(options: &mut RawDocumentBuf, change: &RawDocument) -> Result<()> {
    let mut series = options.get_document("timeseries").map_err(unreadable)?.to_owned();
    for element in change {
        let (field, value) = element.map_err(unreadable)?;
        if field.as_str() == "granularity" {
            // It decides the span.
            series = without(&series, &["bucketMaxSpanSeconds", "bucketRoundingSeconds"])?;
        }
        series = with(&series, field, value)?;
    }
    *options = with(options, cstr!("timeseries"), RawBsonRef::Document(&series))?;
    Ok(())
}

/// Returns a document without some of its fields.
pub(super) fn without(document: &RawDocument, fields: &[&str]) -> Result<RawDocumentBuf> {
    let mut kept = RawDocumentBuf::new();
    for element in document.iter_elements() {
        let element = element.map_err(unreadable)?;
        if !fields.contains(&element.key().as_str()) {
            kept.append(element.key(), element.value().map_err(unreadable)?);
        }
    }
    Ok(kept)
}

/// Returns a document with a field set, at its place or else at the end.
pub(super) fn with(document: &RawDocument, field: &CStr, value: RawBsonRef<'_>) -> Result<RawDocumentBuf> {
    let mut changed = RawDocumentBuf::new();
    let mut found = false;
    for element in document.iter_elements() {
        let element = element.map_err(unreadable)?;
        let is_it = element.key() == field;
        found |= is_it;
        let value = if is_it { value } else { element.value().map_err(unreadable)? };
        changed.append(element.key(), value);
    }
    if !found {
        changed.append(field, value);
    }
    Ok(changed)
}
