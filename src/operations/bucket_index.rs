//! The indexes of a time series: the oplog has them as those of its buckets, people and `createIndexes` have them as
//! those of the series.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, cstr};

use super::entry::unreadable;
use crate::error::Result;

/// Returns the index of the series that is the index `buckets` of its buckets. `options` are those of the series.
pub(super) fn of_series(buckets: &RawDocument, options: &RawDocument) -> Result<RawDocumentBuf> {
    if let Ok(original) = buckets.get_document("originalSpec") {
        let mut index = original.to_owned();
        if let Some(hidden) = buckets.get("hidden").map_err(unreadable)? {
            index.append(cstr!("hidden"), hidden);
        }
        return Ok(index);
    }
    let series = options.get_document("timeseries").map_err(unreadable)?;
    let mut index = RawDocumentBuf::new();
    for element in buckets.iter_elements() {
        let element = element.map_err(unreadable)?;
        let value = element.value().map_err(unreadable)?;
        match (element.key().as_str(), value) {
            ("key", RawBsonRef::Document(key)) => index.append(cstr!("key"), key_of_series(key, series)?),
            _ => index.append(element.key(), value),
        }
    }
    Ok(index)
}

/// Only keys over `meta` and the time come without the original: `meta.a`, and `control.min` with `control.max` of the
/// time, of which one goes with the other.
fn key_of_series(key: &RawDocument, series: &RawDocument) -> Result<RawDocumentBuf> {
    let mut fields = bson::Document::new();
    for element in key {
        let (name, direction) = element.map_err(unreadable)?;
        let name = name.as_str();
        let measured = name.strip_prefix("control.min.").or_else(|| name.strip_prefix("control.max."));
        let field = if let Some(measured) = measured {
            measured.to_owned()
        } else if let Some(rest) = name.strip_prefix("meta").filter(|rest| rest.is_empty() || rest.starts_with('.')) {
            format!("{}{rest}", series.get_str("metaField").map_err(unreadable)?)
        } else {
            return Err(unreadable(format!("an index of buckets has the field '{name}'")));
        };
        fields.insert(field, bson::Bson::try_from(direction).map_err(unreadable)?);
    }
    RawDocumentBuf::try_from(fields).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn indexes_of_buckets_become_those_of_the_series() {
        let options = rawdoc! { "timeseries": { "timeField": "t", "metaField": "m" } };
        let of_series = |index: &RawDocumentBuf| super::of_series(index, &options).unwrap();
        let both = rawdoc! { "v": 2, "key": { "meta.a": 1, "control.max.t": -1, "control.min.t": -1 }, "name": "x" };
        assert_eq!(of_series(&both), rawdoc! { "v": 2, "key": { "m.a": 1, "t": -1 }, "name": "x" });
        let meta = rawdoc! { "v": 2, "key": { "meta": "hashed" }, "name": "m_hashed" };
        assert_eq!(of_series(&meta), rawdoc! { "v": 2, "key": { "m": "hashed" }, "name": "m_hashed" });
        let original = rawdoc! { "name": "loc", "key": { "loc": "2dsphere" }, "v": 2 };
        let place = rawdoc! { "v": 2, "key": { "data.loc": "2dsphere_bucket" }, "name": "loc", "originalSpec": original.clone() };
        assert_eq!(of_series(&place), original);
    }
}
