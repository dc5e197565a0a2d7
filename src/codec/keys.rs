//! age recipients and identities.

use std::str::FromStr;

use age::secrecy::ExposeSecret;
use age::x25519;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// What an identity begins with as text.
const IDENTITY: bech32::Hrp = bech32::Hrp::parse_unchecked("age-secret-key-");

/// The public keys that backups are encrypted to: at least one.
#[derive(Clone)]
pub struct Recipients(Vec<x25519::Recipient>);

impl Recipients {
    /// Parses `age1…` keys.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when there is none or one is no recipient.
    pub fn parse<S: AsRef<str>>(keys: &[S]) -> Result<Self> {
        if keys.is_empty() {
            return Err(Error::configuration("encryption.recipients is empty: there is nobody to encrypt to").with_hint(
                "run 'regrow keygen -o identity.txt' and put the age1… line that it prints into encryption.recipients",
            ));
        }
        keys.iter().map(|key| parse_recipient(key.as_ref())).collect::<Result<_>>().map(Self)
    }

    /// Returns the keys as text.
    #[must_use]
    pub fn to_strings(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    pub(super) fn encryptor(&self) -> Result<age::Encryptor> {
        age::Encryptor::with_recipients(self.0.iter().map(|recipient| recipient as &dyn age::Recipient))
            .map_err(|error| Error::failed("cannot encrypt").caused_by(error))
    }
}

fn parse_recipient(key: &str) -> Result<x25519::Recipient> {
    if key.starts_with("AGE-SECRET-KEY-") {
        return Err(Error::configuration("encryption.recipients holds a secret key")
            .with_hint("put the public age1… line there, and treat that secret key as published"));
    }
    x25519::Recipient::from_str(key).map_err(|reason| {
        Error::configuration(format!("encryption.recipients: '{key}' is no age recipient: {reason}"))
            .with_hint("a recipient begins with age1 and is printed by 'regrow keygen' or 'age-keygen -y'")
    })
}

/// The private keys that open backups.
#[derive(Clone)]
pub struct Identities(Vec<x25519::Identity>);

impl Identities {
    /// Parses an identity file as `age-keygen` writes it: one key a line, `#` begins a comment.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when a line is no identity or there is none.
    pub fn parse(file: &Secret) -> Result<Self> {
        let lines = file.reveal().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let identities: Vec<_> = lines
            .map(|line| {
                x25519::Identity::from_str(line).map_err(|reason| {
                    Error::configuration(format!("the identity file holds a line that is no age identity: {reason}"))
                        .with_hint("an identity is a line AGE-SECRET-KEY-1…, as 'regrow keygen' writes it")
                })
            })
            .collect::<Result<_>>()?;
        if identities.is_empty() {
            return Err(Error::configuration("the identity file holds no identity")
                .with_hint("an identity is a line AGE-SECRET-KEY-1…, as 'regrow keygen' writes it"));
        }
        Ok(Self(identities))
    }

    /// Returns the public keys that belong to these.
    #[must_use]
    pub fn recipients(&self) -> Vec<String> {
        self.0.iter().map(|identity| identity.to_public().to_string()).collect()
    }

    pub(super) fn as_dyn(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|identity| identity as &dyn age::Identity)
    }
}

/// Returns the pair of keys that a secret makes.
pub(super) fn pair_of(secret: &[u8; 32]) -> (Recipients, Identities) {
    // age takes a key as text alone.
    let text = bech32::encode_upper::<bech32::Bech32>(IDENTITY, secret).expect("32 bytes are few enough");
    let identity = x25519::Identity::from_str(&Zeroizing::new(text)).expect("any 32 bytes are a key");
    (Recipients(vec![identity.to_public()]), Identities(vec![identity]))
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identities({})", self.recipients().join(", "))
    }
}

/// A new identity: the file's content for the owner's eyes, and the recipient for everyone's.
pub struct NewIdentity {
    /// What belongs into the identity file.
    pub file: Secret,
    /// The public key.
    pub recipient: String,
}

impl NewIdentity {
    /// Makes an identity from the operating system's randomness, in the format of `age-keygen`.
    #[must_use]
    pub fn generate(created: jiff::Timestamp) -> Self {
        let identity = x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        let key = identity.to_string();
        let file = format!("# created: {created}\n# public key: {recipient}\n{}\n", key.expose_secret());
        Self { file: Secret::new(file), recipient }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_generated_identity_parses_to_its_recipient() {
        let new = NewIdentity::generate(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(Identities::parse(&new.file).unwrap().recipients(), std::slice::from_ref(&new.recipient));
        assert_eq!(Recipients::parse(std::slice::from_ref(&new.recipient)).unwrap().to_strings(), [new.recipient]);
    }

    #[test]
    fn wrong_keys_are_refused_with_the_remedy() {
        let new = NewIdentity::generate(jiff::Timestamp::UNIX_EPOCH);
        let secret = new.file.reveal().lines().last().unwrap().to_owned();
        for (keys, says) in
            [(vec![], "keygen"), (vec!["age1nonsense".to_owned()], "keygen"), (vec![secret.clone()], "published")]
        {
            let error = Recipients::parse(&keys).err().unwrap();
            assert_eq!(error.kind(), Kind::Configuration);
            assert!(error.hint().unwrap().contains(says), "{error}");
            assert!(!error.to_string().contains(&secret), "a secret was printed");
        }
        for file in ["", "# only a comment\n", "AGE-SECRET-KEY-1NONSENSE\n"] {
            assert!(Identities::parse(&Secret::new(file.into())).is_err(), "{file:?} was accepted");
        }
    }
}
