//! Whose signatures count: the keys of the descriptor or of the configuration, and those that they have accepted.

use super::{Repository, missing_is_damage};
use crate::codec::signing::KEY_PURPOSE;
use crate::codec::{SigningKey, TrustedKeys};
use crate::error::{Error, Kind, Result};
use crate::format::accepted_key::AcceptedKey;
use crate::format::{Descriptor, SigningKeyEntry, VERSION, layout};
use jiff::Timestamp;

impl Repository {
    /// Returns the public keys whose signatures count.
    #[must_use]
    pub fn signing_keys(&self) -> Vec<SigningKeyEntry> {
        self.keys.entries()
    }

    /// Checks that what `key` signs will be accepted here.
    ///
    /// # Errors
    /// [`Kind::Configuration`] when it is none of those that count: another repository's key, or a descriptor that
    /// somebody has exchanged.
    pub fn accept_signer(&self, key: &SigningKey) -> Result<()> {
        let entry = key.entry();
        if self.keys.contains(&entry) {
            return Ok(());
        }
        Err(Error::configuration(format!(
            "the signing key {} does not belong to this repository, which knows {}",
            entry.id,
            ids(&self.keys.entries())
        ))
        .with_hint(
            "use the key file that 'regrow init' wrote for this repository, or accept this key with 'regrow keys --accept' \
             where that one is; if it is that one, the repository's descriptor was replaced",
        ))
    }

    /// Lets what `accepted` signs count from now on. Returns whether it did not before.
    ///
    /// # Errors
    /// [`Kind::Configuration`] when `signing_key` does not count itself; whatever the storage says.
    pub async fn accept_key(
        &mut self,
        accepted: &SigningKeyEntry,
        signing_key: &SigningKey,
        now: Timestamp,
    ) -> Result<bool> {
        self.accept_signer(signing_key)?;
        if self.keys.contains(accepted) {
            return Ok(false);
        }
        let record = AcceptedKey {
            format: AcceptedKey::FORMAT.into(),
            version: VERSION,
            repository: self.id().clone(),
            key: accepted.clone(),
            accepted_at: now,
        };
        self.create_signed(&layout::accepted_key(&accepted.id), KEY_PURPOSE, &record, signing_key).await?;
        self.keys.add(accepted)?;
        Ok(true)
    }

    /// Reads the record of an accepted key and checks its signature.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when it was altered, or signed by a key that does not count; whatever the storage says.
    pub async fn accepted_key(&self, place: &str) -> Result<AcceptedKey> {
        let document = self.storage.read(place, None).await.map_err(|error| missing_is_damage(error, place))?;
        AcceptedKey::parse(self.keys.verify(place, KEY_PURPOSE, &document)?, self.id(), place)
    }

    /// Adds the keys that have been accepted by those that count. A record that is not to be believed adds nothing: what
    /// its key has signed is then refused, and a verification names it.
    pub(super) async fn read_accepted_keys(&mut self) -> Result<()> {
        let listed = self.storage.list(layout::KEYS).await?;
        let mut waiting: Vec<String> =
            listed.into_iter().map(|entry| entry.key).filter(|key| layout::is_accepted_key(key)).collect();
        // One that was accepted may have accepted another.
        loop {
            let mut undecided = Vec::new();
            let before = waiting.len();
            for place in waiting {
                match self.accepted_key(&place).await {
                    Ok(accepted) => self.keys.add(&accepted.key)?,
                    Err(error) if error.kind() == Kind::Damaged => undecided.push(place),
                    Err(error) => return Err(error),
                }
            }
            if undecided.is_empty() || undecided.len() == before {
                return Ok(());
            }
            waiting = undecided;
        }
    }
}

/// Returns the keys to begin with: those that the configuration names, or else those of the descriptor.
///
/// # Errors
/// [`Kind::Damaged`] when the descriptor lists none of those that the configuration names.
pub(super) fn roots(descriptor: &Descriptor, pinned: Option<&TrustedKeys>) -> Result<TrustedKeys> {
    let Some(pinned) = pinned else { return TrustedKeys::parse(&descriptor.signing_keys) };
    if descriptor.signing_keys.iter().any(|key| pinned.contains(key)) {
        return Ok(pinned.clone());
    }
    Err(Error::damaged(format!(
        "{} was exchanged: it lists the signing key {}, and repository.trusted_keys names {}",
        layout::DESCRIPTOR,
        ids(&descriptor.signing_keys),
        ids(&pinned.entries())
    ))
    .with_hint(
        "restore nothing from it and find out who wrote it; the runbook (\"the bucket may be compromised\") says how to \
         bring the right one back. If this is another repository, correct repository.trusted_keys",
    ))
}

fn ids(keys: &[SigningKeyEntry]) -> String {
    keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ")
}
