//! `<collection>.metadata.json`: options and indexes, in extended JSON.

use bson::{Bson, Document, RawDocument, RawDocumentBuf};

use super::damaged;
use crate::error::{Error, Result};
use crate::format::extended_json::{Style, text, write};

/// What a dump says of a collection besides its documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The options as the server lists them.
    pub options: RawDocumentBuf,
    /// The indexes as the server lists them.
    pub indexes: Vec<RawDocumentBuf>,
    /// The collection's UUID, where it has one.
    pub uuid: Option<[u8; 16]>,
    /// The name; old dumps have none.
    pub collection: Option<String>,
    /// `collection`, `view` or `timeseries`; old dumps have none.
    pub kind: Option<String>,
}

impl Metadata {
    /// Returns the text: canonical extended JSON with its fields in the order of the stock tool.
    ///
    /// # Errors
    /// When whoever reads it would read something else: of names that are not UTF-8, or a view that looks for what looks
    /// like an encoding of something else.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let json = self.text()?;
        let name = self.collection.as_deref().unwrap_or_default();
        match Self::parse(name, &json) {
            Ok(read) if read == *self => Ok(json),
            _ => Err(Error::failed(format!("options or indexes of {name} cannot be told in JSON"))
                .with_hint("choose other namespaces with --ns; a restore brings this one back as it was")),
        }
    }

    fn text(&self) -> Result<Vec<u8>> {
        let mut json = vec![b'{'];
        if !self.options.is_empty() {
            json.extend_from_slice(b"\"options\":");
            write(&mut json, &self.options, Style::Canonical)?;
            json.push(b',');
        }
        json.extend_from_slice(b"\"indexes\":[");
        for (number, index) in self.indexes.iter().enumerate() {
            if number > 0 {
                json.push(b',');
            }
            write(&mut json, index, Style::Canonical)?;
        }
        json.push(b']');
        let uuid = self.uuid.map(hex::encode);
        let fields = [("uuid", &uuid), ("collectionName", &self.collection), ("type", &self.kind)];
        for (name, value) in fields {
            if let Some(value) = value {
                json.push(b',');
                text(&mut json, name);
                json.push(b':');
                text(&mut json, value);
            }
        }
        json.push(b'}');
        Ok(json)
    }

    /// Reads the text; an empty one says nothing, as in very old dumps.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged), naming the file, when it is no such text.
    pub fn parse(place: &str, json: &[u8]) -> Result<Self> {
        let wrong = |reason: String| damaged(place, reason);
        let mut found = if json.is_empty() { Document::new() } else { document(json).map_err(wrong)? };
        let options = match found.remove("options") {
            Some(Bson::Document(options)) => raw(options).map_err(wrong)?,
            None | Some(Bson::Null) => RawDocumentBuf::new(),
            Some(_) => return Err(wrong("has options that are no document".into())),
        };
        let indexes = match found.remove("indexes") {
            Some(Bson::Array(indexes)) => indexes.into_iter().map(index).collect::<Result<_, _>>().map_err(wrong)?,
            None | Some(Bson::Null) => Vec::new(),
            Some(_) => return Err(wrong("has indexes that are no array".into())),
        };
        let mut string = |name: &str| match found.remove(name) {
            Some(Bson::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        let uuid = match string("uuid") {
            Some(text) => {
                let mut uuid = [0; 16];
                hex::decode_to_slice(&text, &mut uuid).map_err(|_| wrong(format!("has the UUID '{text}'")))?;
                Some(uuid)
            }
            None => None,
        };
        Ok(Self { options, indexes, uuid, collection: string("collectionName"), kind: string("type") })
    }

    /// Whether the order of the documents matters.
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.options.get_bool("capped").unwrap_or(false)
    }
}

fn document(json: &[u8]) -> Result<Document, String> {
    let json: serde_json::Value = serde_json::from_slice(json).map_err(|error| format!("is no JSON: {error}"))?;
    match Bson::try_from(json) {
        Ok(Bson::Document(document)) => Ok(document),
        Ok(_) => Err("is no JSON object".into()),
        Err(error) => Err(format!("is no extended JSON: {error}")),
    }
}

fn index(index: Bson) -> Result<RawDocumentBuf, String> {
    let Bson::Document(mut index) = index else { return Err("has an index that is no document".into()) };
    // Old servers listed the namespace, which no server takes.
    index.remove("ns");
    let index = raw(index)?;
    let is_whole = |index: &RawDocument| index.get_document("key").is_ok() && index.get_str("name").is_ok();
    if is_whole(&index) { Ok(index) } else { Err("has an index without a key or a name".into()) }
}

fn raw(document: Document) -> Result<RawDocumentBuf, String> {
    RawDocumentBuf::try_from(document).map_err(|error| format!("holds no BSON: {error}"))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::error::Kind;

    #[test]
    fn the_text_is_that_of_the_stock_tool() {
        let metadata = Metadata {
            options: rawdoc! { "capped": true, "size": 4096 },
            indexes: vec![rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }],
            uuid: Some([0xab; 16]),
            collection: Some("log \"1\"".into()),
            kind: Some("collection".into()),
        };
        let json = metadata.to_json().unwrap();
        assert_eq!(
            String::from_utf8(json.clone()).unwrap(),
            concat!(
                r#"{"options":{"capped":true,"size":{"$numberInt":"4096"}},"#,
                r#""indexes":[{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"}],"#,
                r#""uuid":"abababababababababababababababab","collectionName":"log \"1\"","type":"collection"}"#
            )
        );
        assert_eq!(Metadata::parse("x", &json).unwrap(), metadata);
    }

    #[test]
    fn what_would_be_read_as_something_else_is_not_written() {
        let looks_like_an_id =
            rawdoc! { "viewOn": "a", "pipeline": [{ "$match": { "a": { "$oid": "07".repeat(12) } } }] };
        let (indexes, collection) = (Vec::new(), Some("odd".into()));
        let metadata = Metadata { options: looks_like_an_id, indexes, uuid: None, collection, kind: None };
        assert!(metadata.to_json().unwrap_err().to_string().contains("odd"));
    }

    #[test]
    fn old_dumps_say_less_and_broken_ones_are_named() {
        let old = br#"{"indexes":[{"v":1,"key":{"_id":1},"name":"_id_","ns":"shop.orders"}]}"#;
        let metadata = Metadata::parse("x", old).unwrap();
        assert_eq!(metadata.indexes, [rawdoc! { "v": 1, "key": { "_id": 1 }, "name": "_id_" }]);
        assert!(metadata.uuid.is_none() && metadata.options.is_empty());
        for broken in ["{", "[]", r#"{"indexes":[1]}"#, r#"{"indexes":[{"key":{}}]}"#, r#"{"uuid":"zz"}"#] {
            let error = Metadata::parse("shop/a.metadata.json", broken.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), Kind::Damaged);
            assert!(error.to_string().contains("shop/a.metadata.json"), "{error}");
        }
    }
}
