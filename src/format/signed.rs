//! Signed JSON documents: the exact bytes of the payload are signed, so nothing has to be canonical.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::malformed;
use crate::error::Result;

/// A signature and the id of the key that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The signing key's id.
    pub key: String,
    /// The 64 bytes of an Ed25519 signature, in base64.
    pub value: String,
}

/// A document as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignedDocument<'a> {
    /// The payload's bytes as they stand in the file.
    #[serde(borrow)]
    payload: &'a RawValue,
    /// The signature over them.
    signature: Signature,
}

impl<'a> SignedDocument<'a> {
    /// Splits a stored document; the signature is not checked yet.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is not, to the byte, what [`join`](Self::join) makes: the
    /// signature covers the payload, and this the rest.
    pub fn parse(what: &str, json: &'a [u8]) -> Result<Self> {
        let document: Self = serde_json::from_slice(json).map_err(|error| malformed(what, error))?;
        if Self::join(document.payload.get(), &document.signature) != json {
            return Err(malformed(what, "something stands beside its payload and its signature"));
        }
        Ok(document)
    }

    /// Returns the payload's exact bytes.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload.get().as_bytes()
    }

    /// Returns the signature.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Joins payload and signature to the bytes that are stored.
    #[must_use]
    pub fn join(payload: &str, signature: &Signature) -> Vec<u8> {
        let signature = serde_json::json!({ "key": signature.key, "value": signature.value });
        format!("{{\"payload\":{payload},\"signature\":{signature}}}\n").into_bytes()
    }
}

/// Returns the message that is signed: the purpose keeps a signature from serving elsewhere.
#[must_use]
pub fn message(purpose: &str, payload: &[u8]) -> Vec<u8> {
    [purpose.as_bytes(), b"\n", payload].concat()
}
