//! A folder for an auditor: the records as they are stored, and what checks them without Regrow.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Stored;
use crate::error::{Error, Result};
use crate::format::layout;
use crate::repository::Repository;

/// What stands before the 32 bytes of an Ed25519 key in the form that openssl reads.
const DER_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const README: &str = include_str!("README.txt");
const CHECK: &str = include_str!("check.sh");

/// Writes the records, the repository's descriptor, its public keys, an index and the script that checks all of it.
pub(super) async fn export(repository: &Repository, records: &[Stored], folder: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::failed(format!("cannot write to {}", folder.display()))
            .caused_by(error)
            .with_hint("check that the folder may be made and written to")
    };
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(
            Error::refused(format!("{} is not empty", folder.display())).with_hint("name a folder that is to be made")
        );
    }
    fs::create_dir_all(folder.join("keys")).map_err(failed)?;
    let mut index = String::from("id,kind,recorded_at,key,sha256,previous\r\n");
    for Stored { key, sha256, evidence } in records {
        let document = repository.storage().read(key, None).await?;
        let path = folder.join(key);
        fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(failed)?;
        fs::write(path, document).map_err(failed)?;
        let previous: Vec<&str> = evidence.previous.iter().map(|record| record.key.as_str()).collect();
        let (id, kind, at, hash) = (&evidence.id, evidence.event.kind(), evidence.recorded_at, hex::encode(sha256));
        // Writing to a string does not fail.
        let _ = write!(index, "{id},{kind},{at},{key},{hash},{}\r\n", previous.join(" "));
    }
    fs::write(folder.join("index.csv"), index).map_err(failed)?;
    let descriptor = repository.storage().read(layout::DESCRIPTOR, None).await?;
    fs::write(folder.join(layout::DESCRIPTOR), descriptor).map_err(failed)?;
    for entry in repository.signing_keys() {
        let key = BASE64.decode(&entry.public_key).map_err(|error| {
            Error::damaged(format!("{} holds a key that is none", layout::DESCRIPTOR)).caused_by(error)
        })?;
        let der = BASE64.encode([&DER_PREFIX[..], &key].concat());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n");
        fs::write(folder.join("keys").join(format!("{}.pem", entry.id)), pem).map_err(failed)?;
    }
    fs::write(folder.join("README.txt"), README).map_err(failed)?;
    fs::write(folder.join("check.sh"), CHECK).map_err(failed)
}
