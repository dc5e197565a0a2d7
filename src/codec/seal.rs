//! Sealing and opening: `age(zstd(skippable frame with the header ‖ documents))`.

use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;

use super::compress::compress_behind;
use super::keys::{Identities, Recipients};
use super::level::Level;
use super::search::Precedent;
use super::sha256;
use crate::error::{Error, Result};
use crate::format::manifest::Encryption;
use crate::format::segment::{Documents, MAX_BYTES};
use crate::format::{Header, Subject, catalog};

/// What age adds at most to a stream: its header with stanzas, and a tag for each 64 KiB chunk.
const AGE_OVERHEAD: usize = 4096;

/// Seals runs of documents. Clones share nothing mutable; one call uses about three segments of memory.
#[derive(Clone)]
pub struct Sealer {
    recipients: Option<Recipients>,
    level: Level,
}

impl Sealer {
    /// Makes a sealer; `recipients` is none only where encryption is switched off.
    #[must_use]
    pub fn new(recipients: Option<Recipients>) -> Self {
        Self { recipients, level: Level::DEFAULT }
    }

    /// Chooses how much work is put into compressing.
    #[must_use]
    pub fn with_level(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// Returns what the sealed bytes are protected by.
    #[must_use]
    pub fn encryption(&self) -> Encryption {
        if self.recipients.is_some() { Encryption::Age } else { Encryption::None }
    }

    /// Returns the recipients' public keys.
    #[must_use]
    pub fn recipients(&self) -> Vec<String> {
        self.recipients.as_ref().map(Recipients::to_strings).unwrap_or_default()
    }

    /// Compresses and encrypts a run of documents, with a header that says what it is.
    ///
    /// # Errors
    /// Only when the machine has no memory or no randomness left.
    pub fn seal(&self, subject: Subject, documents: &Documents) -> Result<Bytes> {
        self.seal_like(subject, documents, &Precedent::default())
    }

    /// As [`seal`](Self::seal), for one of many runs of documents of one kind.
    ///
    /// # Errors
    /// As those of [`seal`](Self::seal).
    pub fn seal_like(&self, subject: Subject, documents: &Documents, precedent: &Precedent) -> Result<Bytes> {
        let raw = documents.as_bytes();
        let header = Header { subject, documents: documents.count(), bytes: raw.len() as u64 };
        let subject = header.subject.clone();
        let compressed = compress_behind(&header.to_frame(), raw, self.level, precedent)
            .map_err(|error| Error::failed("cannot compress").caused_by(error))?;
        let sealed = match &self.recipients {
            Some(recipients) => encrypt(recipients, &compressed)?,
            None => compressed,
        };
        // What nobody would open is not made.
        if raw.len() as u64 > limit(&subject, &sealed) {
            return Err(Error::failed(format!("{subject} would have {} bytes, more than a reader takes", raw.len())));
        }
        Ok(sealed.into())
    }
}

fn encrypt(recipients: &Recipients, plain: &[u8]) -> Result<Vec<u8>> {
    let cannot = |error: std::io::Error| Error::failed("cannot encrypt").caused_by(error);
    let output = Vec::with_capacity(plain.len() + plain.len() / 4096 + AGE_OVERHEAD);
    let mut writer = recipients.encryptor()?.wrap_output(output).map_err(cannot)?;
    writer.write_all(plain).map_err(cannot)?;
    writer.finish().map_err(cannot)
}

/// Opens what a [`Sealer`] sealed.
#[derive(Clone, Debug)]
pub struct Opener {
    encryption: Encryption,
    identities: Option<Identities>,
    recipients: Arc<[String]>,
}

impl Opener {
    /// Makes an opener for what is protected by `encryption`, to these recipients.
    ///
    /// # Errors
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when it takes an identity and there is none.
    pub fn new(encryption: Encryption, identities: Option<Identities>, recipients: &[String]) -> Result<Self> {
        if encryption == Encryption::Age && identities.is_none() {
            return Err(
                Error::configuration("it is encrypted and no identity is configured").with_hint(needed(recipients))
            );
        }
        Ok(Self { encryption, identities, recipients: recipients.into() })
    }

    /// Opens what must be `subject` and have the recorded hash. Returns the documents' bytes and how many they are.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when the bytes are not that, as it was sealed,
    /// [`Kind::Configuration`](crate::error::Kind::Configuration) when no identity fits.
    pub fn open(&self, subject: &Subject, sealed: &[u8], recorded: &[u8; 32]) -> Result<(Vec<u8>, u64)> {
        if sha256(sealed) != *recorded {
            return Err(Error::damaged("its SHA-256 is not the recorded one"));
        }
        let decrypted;
        let stream = match (self.encryption, &self.identities) {
            (Encryption::Age, Some(identities)) => {
                decrypted = decrypt(identities, &self.recipients, sealed)?;
                &decrypted[..]
            }
            _ => sealed,
        };
        let (header, at) = Header::parse(stream)?;
        if header.subject != *subject {
            return Err(Error::damaged(format!("it is {}, not {subject}", header.subject)));
        }
        if header.bytes > limit(subject, sealed) {
            return Err(Error::damaged(format!("its header claims {} bytes", header.bytes)));
        }
        Ok((decompress(&stream[at..], header.bytes)?, header.documents))
    }
}

/// Returns how many bytes something sealed may claim to hold.
fn limit(subject: &Subject, sealed: &[u8]) -> u64 {
    match subject {
        Subject::Segment { .. } | Subject::Checkpoint { .. } | Subject::Slice { .. } => MAX_BYTES as u64,
        // A catalog grows with the number of collections and segments; zstd expands zeros 10,000-fold,
        // real catalogs less than 100-fold.
        Subject::Catalog { .. } => (sealed.len() as u64).saturating_mul(1000).min(catalog::MAX_BYTES),
    }
}

/// Says which identity is needed, and where it belongs.
fn needed(recipients: &[String]) -> String {
    let which = match recipients {
        [] => "the age identity that it was encrypted to".to_owned(),
        [only] => format!("the age identity of {only}"),
        several => format!("the age identity of one of {}", several.join(", ")),
    };
    format!("set encryption.identity_file to the file with {which}")
}

fn decrypt(identities: &Identities, recipients: &[String], sealed: &[u8]) -> Result<Vec<u8>> {
    let decryptor =
        age::Decryptor::new(sealed).map_err(|error| Error::damaged("it is no age file").caused_by(error))?;
    let mut reader = decryptor.decrypt(identities.as_dyn()).map_err(|error| match error {
        age::DecryptError::NoMatchingKeys => Error::configuration(format!(
            "none of the configured identities opens it; those are of {}",
            identities.recipients().join(", ")
        ))
        .with_hint(needed(recipients)),
        error => Error::damaged("age refuses it").caused_by(error),
    })?;
    let mut plain = Vec::with_capacity(sealed.len());
    reader.read_to_end(&mut plain).map_err(|error| Error::damaged("age refuses it").caused_by(error))?;
    Ok(plain)
}

/// Decompresses exactly `bytes` bytes; more or fewer is damage, and more is never even allocated. A header that claims
/// more than its frame does is found before anything is.
fn decompress(frame: &[u8], bytes: u64) -> Result<Vec<u8>> {
    let damaged = |error: std::io::Error| Error::damaged("zstd refuses it").caused_by(error);
    if !matches!(zstd::zstd_safe::get_frame_content_size(frame), Ok(Some(claimed)) if claimed == bytes) {
        return Err(Error::damaged(format!("its frame does not claim the {bytes} bytes that its header names")));
    }
    let length = usize::try_from(bytes).map_err(|_| Error::damaged("it is too large for this machine"))?;
    let documents = zstd::bulk::decompress(frame, length).map_err(damaged)?;
    if documents.len() as u64 != bytes {
        return Err(Error::damaged(format!("it has not the {bytes} bytes that its header names")));
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::keys::NewIdentity;
    use crate::error::Kind;
    use bson::rawdoc;
    use proptest::prelude::*;

    fn segment(number: u64) -> Subject {
        Subject::Segment { backup: "20261123T020000Z-daily-7f3a".parse().unwrap(), number }
    }

    fn pair() -> (Sealer, Opener) {
        let new = NewIdentity::generate(jiff::Timestamp::UNIX_EPOCH);
        let recipients = Recipients::parse(&[new.recipient]).unwrap();
        let identities = Identities::parse(&new.file).unwrap();
        (Sealer::new(Some(recipients)), Opener::new(Encryption::Age, Some(identities), &[]).unwrap())
    }

    fn documents(count: i32) -> Documents {
        (0..count).map(|n| rawdoc! { "_id": n, "text": "regrow ".repeat(20) }).collect()
    }

    #[test]
    fn what_is_sealed_opens_to_the_same_bytes() {
        let (sealer, opener) = pair();
        for count in [0, 1, 5000] {
            let documents = documents(count);
            let sealed = sealer.seal(segment(4), &documents).unwrap();
            let (opened, found) = opener.open(&segment(4), &sealed, &sha256(&sealed)).unwrap();
            assert_eq!(opened, documents.as_bytes());
            assert_eq!(found, documents.count());
        }
    }

    #[test]
    fn a_segment_in_anothers_place_is_refused() {
        let (sealer, opener) = pair();
        let sealed = sealer.seal(segment(4), &documents(3)).unwrap();
        let error = opener.open(&segment(5), &sealed, &sha256(&sealed)).unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged);
        assert!(error.to_string().contains("segment 4 of"), "{error}");
    }

    #[test]
    fn a_strangers_identity_is_a_matter_of_configuration() {
        let (sealer, _) = pair();
        let (_, stranger) = pair();
        let sealed = sealer.seal(segment(4), &documents(3)).unwrap();
        let error = stranger.open(&segment(4), &sealed, &sha256(&sealed)).unwrap_err();
        assert_eq!(error.kind(), Kind::Configuration);
        assert!(error.to_string().contains("age1"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_flipped_bit_is_found(at in any::<proptest::sample::Index>(), bit in 0_u8..8) {
            let (sealer, opener) = pair();
            let sealed = sealer.seal(segment(1), &documents(10)).unwrap();
            let mut bytes = sealed.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(opener.open(&segment(1), &bytes, &sha256(&sealed)).is_err());
            // Even somebody who can rewrite the recorded hash does not get past age.
            prop_assert!(opener.open(&segment(1), &bytes, &sha256(&bytes)).is_err());
        }
    }
}
