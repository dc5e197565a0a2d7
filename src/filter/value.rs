//! Values as they lie in documents: a type and bytes, which need not be valid text.

use bson::RawDocument;
use bson::spec::ElementType;

/// A value in a document.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    /// Its type.
    pub kind: ElementType,
    /// Its bytes, without type and name.
    pub bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// Returns a whole document as a value.
    #[must_use]
    pub fn document(document: &'a RawDocument) -> Self {
        Self { kind: ElementType::EmbeddedDocument, bytes: document.as_bytes() }
    }

    /// Returns the document that the value is.
    #[must_use]
    pub fn as_document(self) -> Option<&'a RawDocument> {
        self.holding(ElementType::EmbeddedDocument)
    }

    /// Returns the array that the value is: as a document, whose names are numbers.
    pub(super) fn as_array(self) -> Option<&'a RawDocument> {
        self.holding(ElementType::Array)
    }

    fn holding(self, kind: ElementType) -> Option<&'a RawDocument> {
        if self.kind == kind { RawDocument::from_bytes(self.bytes).ok() } else { None }
    }
}

/// Returns the fields of a document with their names. What is no BSON ends it.
pub fn elements(document: &RawDocument) -> impl Iterator<Item = (&str, Value<'_>)> {
    fields(document).map_while(|field| field)
}

/// Returns the fields of a document with their names; none in the place of what is no BSON.
pub fn fields(document: &RawDocument) -> impl Iterator<Item = Option<(&str, Value<'_>)>> {
    let mut rest = document.as_bytes().get(4..).unwrap_or_default();
    document.iter_elements().map(move |element| {
        let element = element.ok()?;
        let name = element.key().as_str();
        // A type, the name with its end, the value.
        let (bytes, behind) = rest.get(name.len() + 2..)?.split_at_checked(element.size())?;
        rest = behind;
        Some((name, Value { kind: element.element_type(), bytes }))
    })
}
