//! BSON laid out by hand: what no builder lets one write, the server keeps.

use mongodb::bson::RawDocumentBuf;

pub const DOUBLE: u8 = 0x01;
pub const STRING: u8 = 0x02;
pub const DOCUMENT: u8 = 0x03;
pub const ARRAY: u8 = 0x04;
pub const BINARY: u8 = 0x05;
pub const UNDEFINED: u8 = 0x06;
pub const OBJECT_ID: u8 = 0x07;
pub const BOOLEAN: u8 = 0x08;
pub const DATE: u8 = 0x09;
pub const NULL: u8 = 0x0a;
pub const REGEX: u8 = 0x0b;
pub const POINTER: u8 = 0x0c;
pub const CODE: u8 = 0x0d;
pub const SYMBOL: u8 = 0x0e;
pub const CODE_WITH_SCOPE: u8 = 0x0f;
pub const INT32: u8 = 0x10;
pub const TIMESTAMP: u8 = 0x11;
pub const INT64: u8 = 0x12;
pub const DECIMAL: u8 = 0x13;
pub const MAX_KEY: u8 = 0x7f;
pub const MIN_KEY: u8 = 0xff;

/// A document that grows by whole fields, in any order and with any names.
#[derive(Clone)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    pub fn new() -> Self {
        Self(vec![0; 4])
    }

    /// Begins a document with an `_id`.
    pub fn with_id(kind: u8, value: impl AsRef<[u8]>) -> Self {
        Self::new().field(kind, "_id", value)
    }

    pub fn numbered(id: i32) -> Self {
        Self::with_id(INT32, id.to_le_bytes())
    }

    pub fn field(mut self, kind: u8, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.0.push(kind);
        self.0.extend_from_slice(name.as_ref());
        self.0.push(0);
        self.0.extend_from_slice(value.as_ref());
        self
    }

    pub fn int(self, name: &str, value: i32) -> Self {
        self.field(INT32, name, value.to_le_bytes())
    }

    pub fn text(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.field(STRING, name, string(value))
    }

    pub fn document(self, name: &str, value: &Self) -> Self {
        self.field(DOCUMENT, name, value.encode())
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.push(0);
        let length = length(bytes.len());
        bytes[..4].copy_from_slice(&length);
        bytes
    }

    pub fn raw(&self) -> RawDocumentBuf {
        RawDocumentBuf::from_bytes(self.encode()).expect("the length is right")
    }
}

/// The value of a string, a symbol or code.
pub fn string(value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [&length(value.len() + 1), value, &[0]].concat()
}

pub fn binary(subtype: u8, value: &[u8]) -> Vec<u8> {
    [&length(value.len()), &[subtype][..], value].concat()
}

/// The value of the old binary subtype 2, which has its length twice.
pub fn old_binary(value: &[u8]) -> Vec<u8> {
    binary(2, &[&length(value.len()), value].concat())
}

pub fn regex(pattern: &str, options: &str) -> Vec<u8> {
    [pattern.as_bytes(), &[0], options.as_bytes(), &[0]].concat()
}

pub fn code_with_scope(code: &str, scope: &Bytes) -> Vec<u8> {
    let content = [string(code), scope.encode()].concat();
    [&length(content.len() + 4)[..], &content].concat()
}

pub fn timestamp(time: u32, increment: u32) -> Vec<u8> {
    [increment.to_le_bytes(), time.to_le_bytes()].concat()
}

/// The value of a decimal128 by its two halves.
pub fn decimal(high: u64, low: u64) -> Vec<u8> {
    [low.to_le_bytes(), high.to_le_bytes()].concat()
}

fn length(of: usize) -> [u8; 4] {
    i32::try_from(of).expect("a test's document is small").to_le_bytes()
}
