//! Documents as extended JSON (version 2), field by field as they lie in bytes: no order changes, and a name that occurs
//! twice is written twice.

use bson::raw::RawElement;
use bson::{Bson, RawArray, RawBson, RawBsonRef, RawDocument};

use crate::error::{Error, Result};

/// How types are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// So that every type can be told again: `{"$numberInt":"5"}`.
    Canonical,
    /// As people read it: `5`.
    Relaxed,
}

/// How deeply documents may be nested: servers take no more. What is deeper came from elsewhere, and would take all the stack.
const DEEPEST: u32 = 200;

/// Appends a document. Returns whether it is exact: text that is not UTF-8 cannot be, and gets replacement characters.
///
/// # Errors
/// When a field's name is not UTF-8, the bytes are no BSON, or are nested more deeply than any server takes.
pub fn write(output: &mut Vec<u8>, document: &RawDocument, style: Style) -> Result<bool> {
    write_document(output, document, style, DEEPEST)
}

fn write_document(output: &mut Vec<u8>, document: &RawDocument, style: Style, left: u32) -> Result<bool> {
    let mut exact = true;
    output.push(b'{');
    for (number, element) in document.iter_elements().enumerate() {
        let element = element.map_err(unreadable)?;
        if number > 0 {
            output.push(b',');
        }
        text(output, element.key().as_str());
        output.push(b':');
        exact &= write_value(output, &element, style, left)?;
    }
    output.push(b'}');
    Ok(exact)
}

fn write_array(output: &mut Vec<u8>, array: &RawArray, style: Style, left: u32) -> Result<bool> {
    let mut exact = true;
    output.push(b'[');
    for (number, element) in array.iter_elements().enumerate() {
        if number > 0 {
            output.push(b',');
        }
        exact &= write_value(output, &element.map_err(unreadable)?, style, left)?;
    }
    output.push(b']');
    Ok(exact)
}

fn write_value(output: &mut Vec<u8>, element: &RawElement<'_>, style: Style, left: u32) -> Result<bool> {
    let deeper = || left.checked_sub(1).ok_or_else(too_deep);
    match element.value() {
        Ok(RawBsonRef::Document(document)) => write_document(output, document, style, deeper()?),
        Ok(RawBsonRef::Array(array)) => write_array(output, array, style, deeper()?),
        // The library reads a scope by calling itself.
        Ok(RawBsonRef::JavaScriptCodeWithScope(code)) if !is_within(code.scope, deeper()?) => Err(too_deep()),
        Ok(RawBsonRef::Double(value)) => {
            double(output, value, style);
            Ok(true)
        }
        Ok(value) => scalar(output, value.into(), style).map(|()| true),
        Err(_) => scalar(output, element.value_utf8_lossy().map_err(unreadable)?, style).map(|()| false),
    }
}

/// With as many digits as it takes to read the same number again.
fn double(output: &mut Vec<u8>, value: f64, style: Style) {
    let text = match value {
        _ if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        _ => format!("{value:?}"),
    };
    let is_number = style == Style::Relaxed && value.is_finite();
    let json = if is_number { text } else { format!(r#"{{"$numberDouble":"{text}"}}"#) };
    output.extend_from_slice(json.as_bytes());
}

fn scalar(output: &mut Vec<u8>, value: RawBson, style: Style) -> Result<()> {
    let value = Bson::try_from(value).map_err(unreadable)?;
    let value = match style {
        Style::Canonical => value.into_canonical_extjson(),
        Style::Relaxed => value.into_relaxed_extjson(),
    };
    output.extend_from_slice(value.to_string().as_bytes());
    Ok(())
}

/// Appends a string with its quotes.
pub(super) fn text(output: &mut Vec<u8>, text: &str) {
    output.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// Whether a document is nested no more deeply than this.
fn is_within(document: &RawDocument, left: u32) -> bool {
    document.iter_elements().map_while(std::result::Result::ok).all(|element| {
        let inner = match element.value() {
            Ok(RawBsonRef::Document(inner)) => inner,
            Ok(RawBsonRef::Array(inner)) => return is_within_array(inner, left),
            Ok(RawBsonRef::JavaScriptCodeWithScope(code)) => code.scope,
            _ => return true,
        };
        left.checked_sub(1).is_some_and(|left| is_within(inner, left))
    })
}

fn is_within_array(array: &RawArray, left: u32) -> bool {
    // An array's bytes are those of a document.
    let inner = RawDocument::from_bytes(array.as_bytes());
    left.checked_sub(1).zip(inner.ok()).is_some_and(|(left, inner)| is_within(inner, left))
}

fn too_deep() -> Error {
    Error::failed(format!("a document is nested more deeply than {DEEPEST} levels, which no server takes"))
        .with_hint("--format bson writes every document exactly as it was; a filter (--where) may leave this one out")
}

fn unreadable(error: bson::error::Error) -> Error {
    Error::failed("a document cannot be written as JSON")
        .caused_by(error)
        .with_hint("--format bson writes every document exactly as it was; a filter (--where) may leave this one out")
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc, rawdoc};

    use super::*;

    fn written(document: &RawDocument, style: Style) -> (String, bool) {
        let mut output = Vec::new();
        let exact = write(&mut output, document, style).unwrap();
        (String::from_utf8(output).unwrap(), exact)
    }

    #[test]
    fn both_styles_are_what_the_library_writes_of_whole_documents() {
        let document = doc! {
            "_id": bson::oid::ObjectId::from_bytes([7; 12]), "int": 5, "long": 5_i64, "double": 5.0, "nan": f64::NAN,
            "at": bson::DateTime::from_millis(1), "old": bson::DateTime::from_millis(-99_999_999_999_999),
            "text": "\"\u{1}\u{1f4b0}\\", "nested": { "a": [1, { "b": null }, []] }, "min": bson::Bson::MinKey,
            "stamp": bson::Timestamp { time: 4_000_000_000, increment: 2 }, "\"": true,
        };
        let raw = RawDocumentBuf::try_from(document.clone()).unwrap();
        let (canonical, exact) = written(&raw, Style::Canonical);
        assert_eq!(canonical, Bson::from(document.clone()).into_canonical_extjson().to_string());
        assert_eq!(written(&raw, Style::Relaxed).0, Bson::from(document).into_relaxed_extjson().to_string());
        assert!(exact);
    }

    #[test]
    fn doubles_are_read_as_they_were() {
        for (value, text) in [(5.0, "5.0"), (-0.0, "-0.0"), (5e-324, "5e-324"), (f64::MAX, "1.7976931348623157e308")] {
            assert_eq!(written(&rawdoc! { "a": value }, Style::Relaxed).0, format!("{{\"a\":{text}}}"));
            let canonical = format!("{{\"a\":{{\"$numberDouble\":\"{text}\"}}}}");
            assert_eq!(written(&rawdoc! { "a": value }, Style::Canonical).0, canonical);
        }
        assert_eq!(written(&rawdoc! { "a": -f64::NAN }, Style::Relaxed).0, r#"{"a":{"$numberDouble":"NaN"}}"#);
    }

    #[test]
    fn names_may_occur_twice_and_text_may_be_broken() {
        let mut document = rawdoc! { "a": 1, "b": ["xy"] };
        document.append(bson::cstr!("a"), 2);
        assert_eq!(written(&document, Style::Relaxed), (r#"{"a":1,"b":["xy"],"a":2}"#.into(), true));
        let mut bytes = document.as_bytes().to_vec();
        let at = bytes.iter().position(|byte| *byte == b'x').unwrap();
        bytes[at] = 0xff;
        let broken = RawDocumentBuf::from_bytes(bytes).unwrap();
        assert_eq!(written(&broken, Style::Relaxed), ("{\"a\":1,\"b\":[\"\u{fffd}y\"],\"a\":2}".into(), false));
    }
}
