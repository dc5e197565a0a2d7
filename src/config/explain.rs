//! What is wrong with a TOML file, for people: the file, the line, and the nearest thing that would be right.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::Error;

/// How alike a known word must be to be suggested (0 to 1).
const SIMILAR: f64 = 0.7;

/// Explains an error of the parser; `name` is the file's path.
pub(super) fn explain(text: &str, name: &str, error: &toml::de::Error) -> Error {
    let message = without_value(error.message().trim());
    let place = error.span().map_or_else(|| name.to_owned(), |span| place(text, name, &span));
    let explained = Error::configuration(format!("{place}: {message}"));
    match suggestion(&message) {
        Some(known) => explained.with_hint(format!("did you mean '{known}'?")),
        None => explained.with_hint("the README shows every section and key"),
    }
}

/// Returns serde's words without the text that was found where something else should be: it may be a secret.
fn without_value(message: &str) -> Cow<'_, str> {
    for kind in ["invalid type: string", "invalid value: string"] {
        let value = message.strip_prefix(kind).filter(|rest| rest.starts_with(" \""));
        if let Some((_, expected)) = value.and_then(|rest| rest.rsplit_once("\", expected ")) {
            return format!("{kind}, expected {expected}").into();
        }
    }
    message.into()
}

/// Returns the file and the line in which a stretch of its text begins.
pub(super) fn place(text: &str, name: &str, span: &Range<usize>) -> String {
    let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
    format!("{name}, line {line}")
}

/// Finds the known word that an unknown one resembles, in serde's own words about it.
fn suggestion(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field").or_else(|| message.strip_prefix("unknown variant"))?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let likeness = |known: &str| strsim::jaro_winkler(unknown, known);
    quoted
        .map(|known| (likeness(known), known))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.to_owned())
}
