//! Ed25519 signatures over what a repository promises: age tells nobody who wrote a file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer, Verifier, VerifyingKey};

use super::keys::{self, Identities, Recipients};
use super::sha256;
use crate::error::{Error, Kind, Result};
use crate::format::SigningKeyEntry;
use crate::format::signed::{Signature, SignedDocument, message};
use crate::random::Random;
use crate::secret::Secret;
use zeroize::Zeroizing;

/// The purpose that a manifest's signature is made for.
pub const MANIFEST_PURPOSE: &str = "regrow-manifest-v1";

/// The purpose that the signature of a timeline's record is made for.
pub const TIMELINE_PURPOSE: &str = "regrow-timeline-v1";

/// The purpose that the signature of a slice's record is made for.
pub const SLICE_PURPOSE: &str = "regrow-slice-v1";

/// The purpose that the signature of a gap's record is made for.
pub const GAP_PURPOSE: &str = "regrow-gap-v1";

/// The purpose that the lease's signature is made for.
pub const LEASE_PURPOSE: &str = "regrow-lease-v1";

/// The purpose that a mark's signature is made for.
pub const MARK_PURPOSE: &str = "regrow-mark-v1";

/// The purpose that the signature of evidence is made for.
pub const EVIDENCE_PURPOSE: &str = "regrow-evidence-v1";

/// The purpose that the signature of bounds is made for.
pub const BOUNDS_PURPOSE: &str = "regrow-bounds-v1";

/// The purpose that the signature of what is known of alerts is made for.
pub const ALERTS_PURPOSE: &str = "regrow-alerts-v1";

/// The purpose that the signature of an accepted key's record is made for.
pub const KEY_PURPOSE: &str = "regrow-key-v1";

/// The purpose that a checkpoint's signature is made for.
pub const CHECKPOINT_PURPOSE: &str = "regrow-checkpoint-v1";

/// What sets the secret that opens checkpoints apart from everything else that is made of a signing key.
const CHECKPOINT_KEY: &[u8] = b"regrow-checkpoint-key-v1\n";

/// What the key file begins with, so that nobody takes it for something else.
const FILE_PREFIX: &str = "REGROW-SIGNING-KEY-1 ";

/// The private key that signs for a repository.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Makes a key from `random`, which outside tests is the operating system's.
    #[must_use]
    pub fn generate(random: &Random) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        for chunk in seed.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random.next_u64().to_le_bytes());
        }
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Reads the content of a key file.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when it is none.
    pub fn parse(file: &Secret) -> Result<Self> {
        let seed = file.reveal().lines().find_map(|line| line.trim().strip_prefix(FILE_PREFIX));
        let seed = seed.and_then(|text| BASE64.decode(text).ok()).map(Zeroizing::new);
        let seed = seed.and_then(|seed| <[u8; 32]>::try_from(&seed[..]).ok()).map(Zeroizing::new);
        seed.map(|seed| Self(ed25519_dalek::SigningKey::from_bytes(&seed))).ok_or_else(|| {
            Error::configuration("the signing key file holds no signing key")
                .with_hint("bring back from a copy the file that 'regrow init' wrote when the repository was made")
        })
    }

    /// Returns the content of a key file.
    #[must_use]
    pub fn to_file(&self) -> Secret {
        let entry = self.entry();
        let comment = format!("# Regrow signing key {}: whoever holds it can sign backups. Keep it secret.", entry.id);
        Secret::new(format!("{comment}\n{FILE_PREFIX}{}\n", BASE64.encode(self.0.to_bytes())))
    }

    /// Returns the key pair that checkpoints are encrypted with. Only who takes backups has it: they must be able to read
    /// what they noted, and cannot open what is encrypted to the recipients.
    #[must_use]
    pub fn checkpoint_keys(&self) -> (Recipients, Identities) {
        let secret = Zeroizing::new([CHECKPOINT_KEY, &*Zeroizing::new(self.0.to_bytes())].concat());
        keys::pair_of(&Zeroizing::new(sha256(&secret)))
    }

    /// Returns the public half as a descriptor lists it.
    #[must_use]
    pub fn entry(&self) -> SigningKeyEntry {
        entry_of(&self.0.verifying_key())
    }

    /// Signs `payload` and returns the document to store.
    #[must_use]
    pub fn sign(&self, purpose: &str, payload: &str) -> Vec<u8> {
        let signature = self.0.sign(&message(purpose, payload.as_bytes()));
        let signature = Signature { key: self.entry().id, value: BASE64.encode(signature.to_bytes()) };
        SignedDocument::join(payload, &signature)
    }
}

/// Returns what a descriptor lists of a public key, written as the 32 bytes of it in base64.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) when it is none.
pub fn public_key(text: &str) -> Result<SigningKeyEntry> {
    let bytes: Option<[u8; 32]> = BASE64.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok()).map(|key| entry_of(&key)).ok_or_else(|| {
        Error::new(Kind::Usage, format!("'{text}' is no public signing key"))
            .with_hint("'regrow keys' shows those of a repository; 'regrow keygen --signing' prints that of a new one")
    })
}

fn entry_of(key: &VerifyingKey) -> SigningKeyEntry {
    let public = key.to_bytes();
    SigningKeyEntry { id: key_id(&public), algorithm: "ed25519".into(), public_key: BASE64.encode(public) }
}

/// The public keys whose signatures are believed.
#[derive(Debug, Clone)]
pub struct TrustedKeys(Vec<(String, VerifyingKey)>);

impl TrustedKeys {
    /// Reads the keys of a descriptor.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when one is no key or its id is not its own.
    pub fn parse(entries: &[SigningKeyEntry]) -> Result<Self> {
        entries.iter().map(parse_key).collect::<Result<_>>().map(Self)
    }

    /// Checks the signature of a stored document and returns its payload.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when the document was altered or signed by a stranger.
    pub fn verify<'a>(&self, what: &str, purpose: &str, document: &'a [u8]) -> Result<&'a [u8]> {
        let document = SignedDocument::parse(what, document)?;
        let signature = document.signature();
        let (_, key) = self.0.iter().find(|(id, _)| *id == signature.key).ok_or_else(|| {
            Error::damaged(format!(
                "{what} is signed by the key {}, which this repository does not know",
                signature.key
            ))
            .with_hint(
                "do not restore from it before you know who wrote it; if it was a backup host of yours, accept its key \
                 with 'regrow keys --accept'",
            )
        })?;
        let bytes = BASE64.decode(&signature.value).ok().and_then(|bytes| bytes.try_into().ok());
        let valid = bytes.is_some_and(|bytes: [u8; 64]| {
            let signature = ed25519_dalek::Signature::from_bytes(&bytes);
            key.verify(&message(purpose, document.payload()), &signature).is_ok()
        });
        if !valid {
            return Err(Error::damaged(format!("the signature of {what} does not fit: it was altered or forged"))
                .with_hint("do not restore from it; find out who changed it"));
        }
        Ok(document.payload())
    }

    /// Whether `key` is one of them.
    #[must_use]
    pub fn contains(&self, key: &SigningKeyEntry) -> bool {
        self.entries().contains(key)
    }

    /// Returns them as a descriptor lists them.
    #[must_use]
    pub fn entries(&self) -> Vec<SigningKeyEntry> {
        self.0.iter().map(|(_, key)| entry_of(key)).collect()
    }

    /// Believes another one as well.
    ///
    /// # Errors
    /// As those of [`parse`](Self::parse).
    pub fn add(&mut self, entry: &SigningKeyEntry) -> Result<()> {
        if !self.contains(entry) {
            self.0.push(parse_key(entry)?);
        }
        Ok(())
    }
}

fn parse_key(entry: &SigningKeyEntry) -> Result<(String, VerifyingKey)> {
    let wrong = || Error::damaged(format!("the repository's signing key {:?} is malformed", entry.id));
    let public: [u8; 32] =
        BASE64.decode(&entry.public_key).ok().and_then(|key| key.try_into().ok()).ok_or_else(wrong)?;
    let key = VerifyingKey::from_bytes(&public).map_err(|_| wrong())?;
    if entry.algorithm != "ed25519" || entry.id != key_id(&public) {
        return Err(wrong());
    }
    Ok((entry.id.clone(), key))
}

fn key_id(public: &[u8; 32]) -> String {
    hex::encode(&sha256(public)[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_payload_comes_back_as_it_was() {
        let key = SigningKey::parse(&SigningKey::generate(&Random::seeded(1)).to_file()).unwrap();
        let trusted = TrustedKeys::parse(&[key.entry()]).unwrap();
        let payload = r#"{"a":1.50,"b":"\u00e9"}"#;
        let document = key.sign(MANIFEST_PURPOSE, payload);
        assert_eq!(trusted.verify("it", MANIFEST_PURPOSE, &document).unwrap(), payload.as_bytes());
    }

    #[test]
    fn strangers_other_purposes_and_alterations_are_refused() {
        let [key, stranger] = [1, 2].map(|seed| SigningKey::generate(&Random::seeded(seed)));
        let trusted = TrustedKeys::parse(&[key.entry()]).unwrap();
        let document = key.sign(MANIFEST_PURPOSE, r#"{"a":1}"#);
        let altered = String::from_utf8(document.clone()).unwrap().replace(r#"{"a":1}"#, r#"{"a":2}"#);
        let refused = [
            trusted.verify("it", "another-purpose", &document),
            trusted.verify("it", MANIFEST_PURPOSE, altered.as_bytes()),
            trusted.verify("it", MANIFEST_PURPOSE, b"{}"),
        ];
        assert!(refused.iter().all(|result| result.as_ref().is_err_and(|error| error.kind() == Kind::Damaged)));
        let forged = stranger.sign(MANIFEST_PURPOSE, r#"{"a":1}"#);
        assert!(trusted.verify("it", MANIFEST_PURPOSE, &forged).unwrap_err().to_string().contains("does not know"));
    }
}
