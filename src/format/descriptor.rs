//! The repository descriptor: what a reader needs to know before anything else.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{VERSION, malformed, newer_version};
use crate::error::{Error, Result};
use crate::random::Random;

/// The name that the descriptor's `format` field bears.
const FORMAT: &str = "regrow-repository";

/// A repository's identity: 32 hex digits, made at `init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RepositoryId(pub String);

impl RepositoryId {
    /// Makes a new id.
    #[must_use]
    pub fn generate(random: &Random) -> Self {
        Self(format!("{:016x}{:016x}", random.next_u64(), random.next_u64()))
    }
}

impl std::fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// A public key whose signatures the repository accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeyEntry {
    /// The first 16 hex digits of the SHA-256 of the public key.
    pub id: String,
    /// Always `ed25519`.
    pub algorithm: String,
    /// The 32 bytes of the key, in base64.
    pub public_key: String,
}

/// The content of `regrow-repository.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Always `regrow-repository`.
    pub format: String,
    /// The format's version.
    pub version: u32,
    /// The repository's identity; every manifest names it.
    pub id: RepositoryId,
    /// When `init` ran.
    pub created_at: Timestamp,
    /// What a reader must understand; version 1 knows none.
    pub features: Vec<String>,
    /// Whose signatures are accepted.
    pub signing_keys: Vec<SigningKeyEntry>,
}

/// The two fields that are looked at before the rest is parsed.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

impl Descriptor {
    /// Makes the descriptor of a new repository.
    #[must_use]
    pub fn new(id: RepositoryId, created_at: Timestamp, signing_key: SigningKeyEntry) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            id,
            created_at,
            features: Vec::new(),
            signing_keys: vec![signing_key],
        }
    }

    /// Returns the file's content, readable and ending in a newline.
    ///
    /// # Panics
    /// Never: the type has no value that JSON cannot hold.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("strings and numbers are JSON");
        json.push(b'\n');
        json
    }

    /// Reads a descriptor; the version is checked before anything that a newer one may have changed.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it is no descriptor,
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when a newer Regrow wrote it.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let what = super::layout::DESCRIPTOR;
        let head: Head = serde_json::from_slice(json).map_err(|error| malformed(what, error))?;
        if head.format != FORMAT {
            return Err(malformed(what, format!("its format is '{}'", head.format)));
        }
        if head.version == 0 {
            return Err(malformed(what, "its version is 0"));
        }
        if head.version > VERSION {
            return Err(newer_version("the repository", head.version));
        }
        let descriptor: Self = serde_json::from_slice(json).map_err(|error| malformed(what, error))?;
        if let Some(feature) = descriptor.features.first() {
            return Err(Error::of_newer(format!(
                "the repository needs the feature '{feature}', which this Regrow does not know"
            )));
        }
        Ok(descriptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn descriptor() -> Descriptor {
        let key = SigningKeyEntry { id: "00".into(), algorithm: "ed25519".into(), public_key: String::new() };
        Descriptor::new(RepositoryId::generate(&Random::seeded(1)), Timestamp::UNIX_EPOCH, key)
    }

    #[test]
    fn a_descriptor_survives_the_way_to_json_and_back() {
        assert_eq!(Descriptor::parse(&descriptor().to_json()).unwrap(), descriptor());
    }

    #[test]
    fn a_newer_version_or_an_unknown_feature_is_refused_as_such() {
        let newer = br#"{"format":"regrow-repository","version":2,"everything":"else differs"}"#;
        assert_eq!(Descriptor::parse(newer).unwrap_err().kind(), Kind::Configuration);
        let mut with_feature = descriptor();
        with_feature.features.push("time-travel".into());
        let error = Descriptor::parse(&with_feature.to_json()).unwrap_err();
        assert!(error.to_string().contains("time-travel"), "{error}");
        assert_eq!(Descriptor::parse(b"not json").unwrap_err().kind(), Kind::Damaged);
    }
}
