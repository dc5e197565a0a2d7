//! Where a dotted path leads in a document: through documents by name, through arrays by number or to every element.

use super::Value;
use super::value::elements;

/// Whether a test passes for anything that lies at `path`, seen from a value. It gets nothing where a document lacks the
/// field; of an array at the end, each element and then the array itself.
pub(super) fn any<'a>(value: Value<'a>, path: &[String], test: &mut dyn FnMut(Option<Value<'a>>) -> bool) -> bool {
    if let Some(array) = value.as_array() {
        return any_of_array(value, array, path, test);
    }
    let Some((name, rest)) = path.split_first() else { return test(Some(value)) };
    let found = value.as_document().and_then(|document| elements(document).find(|(found, _)| found == name));
    match found {
        Some((_, value)) => any(value, rest, test),
        None => test(None),
    }
}

fn any_of_array<'a>(
    value: Value<'a>,
    array: &'a bson::RawDocument,
    path: &[String],
    test: &mut dyn FnMut(Option<Value<'a>>) -> bool,
) -> bool {
    let Some((name, rest)) = path.split_first() else {
        return elements(array).any(|(_, item)| test(Some(item))) || test(Some(value));
    };
    elements(array).any(|(number, item)| {
        if item.as_document().is_some() && any(item, path, test) {
            return true;
        }
        number == name && any_of_item(item, rest, test)
    })
}

/// The same for an array's element that the path names by its number: an array that is one is not entered once more.
fn any_of_item<'a>(item: Value<'a>, path: &[String], test: &mut dyn FnMut(Option<Value<'a>>) -> bool) -> bool {
    if path.is_empty() {
        return test(Some(item));
    }
    let leads_on = item.as_document().is_some() || item.as_array().is_some();
    leads_on && any(item, path, test)
}
