//! `regrow keygen`: an age identity file, or the signing key of a further backup host.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Session;
use crate::codec::SigningKey;
use crate::codec::keys::NewIdentity;
use crate::error::{Error, Result};
use crate::secret::Secret;

pub(super) const HELP: &str = "\
The recipient (age1…) is public: it goes into encryption.recipients of regrow.toml. The file opens every \
backup that is encrypted to it. Only restores need it, so it can stay away from the machine that backs up.

With --signing: a key that signs backups, for a further backup host. Its public key is printed, for 'regrow keys --accept'.

Examples:
  regrow keygen -o identity.txt
  regrow keygen --signing -o regrow-signing.key";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file to write; it must not exist yet
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Make a key that signs, instead of one that encrypts
    #[arg(long)]
    signing: bool,
}

pub(super) fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    if arguments.signing {
        return signing(session, &arguments.output);
    }
    let identity = NewIdentity::generate(session.clock.now());
    write_secret(&arguments.output, &identity.file)?;
    if session.json {
        println!("{}", serde_json::json!({ "recipient": identity.recipient, "identity_file": arguments.output }));
    } else {
        println!("{}", identity.recipient);
    }
    session.say(format_args!("Wrote the identity to {}.", arguments.output.display()));
    session.say("Keep a copy where a fire or a thief at this machine does not reach it: without it no backup opens.");
    Ok(())
}

fn signing(session: &Session, output: &Path) -> Result<()> {
    let key = SigningKey::generate(&session.random);
    write_secret(output, &key.to_file())?;
    let entry = key.entry();
    if session.json {
        println!("{}", serde_json::json!({ "id": entry.id, "public_key": entry.public_key, "key_file": output }));
    } else {
        println!("{}", entry.public_key);
    }
    session.say(format_args!("Wrote the signing key {} to {}.", entry.id, output.display()));
    session.say("Let it count: 'regrow keys --accept' with this public key, where a signing key of the repository is.");
    Ok(())
}

/// Writes a file that only its owner can read, and never over one that exists.
///
/// # Errors
/// [`Kind::Refused`](crate::error::Kind::Refused) when it exists; otherwise what the system says.
pub(super) fn write_secret(path: &Path, content: &Secret) -> Result<()> {
    let cannot = |error: std::io::Error| Error::failed(format!("cannot write {}", path.display())).caused_by(error);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::refused(format!("{} exists already", path.display()))
            .with_hint("a key that is overwritten takes its backups with it; choose another name"),
        _ => cannot(error),
    })?;
    file.write_all(content.reveal().as_bytes()).and_then(|()| file.sync_all()).map_err(cannot)
}
