//! `regrow keys`: whose signatures count.

use serde_json::{Value, json};

use super::Session;
use super::output::table;
use crate::codec::signing::public_key;
use crate::error::Result;
use crate::format::SigningKeyEntry;

pub(super) const HELP: &str = "\
A repository begins with the key that 'regrow init' made. A second backup host makes its own with 'regrow keygen \
--signing', and the first one accepts it.

What a bucket says of its own keys, whoever can write to it can exchange. With repository.trusted_keys in the \
configuration only those keys count, and what they accept.

Examples:
  regrow keys
  regrow keygen --signing -o regrow-signing.key     # on the second host: prints its public key
  regrow keys --accept PUBLIC_KEY                   # on the first one";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Let what this key signs count from now on, by the word of the signing key here
    #[arg(long, value_name = "PUBLIC_KEY")]
    accept: Option<String>,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let accepted = arguments.accept.as_deref().map(public_key).transpose()?;
    let signing_key = accepted.is_some().then(|| config.signing_key()).transpose()?;
    let mut repository = session.repository(&config).await?;
    if let (Some(accepted), Some(signing_key)) = (accepted, signing_key) {
        let is_new = repository.accept_key(&accepted, &signing_key, session.clock.now()).await?;
        let said = if is_new { "counts from now on" } else { "counted already" };
        session.say(format_args!("What {} signs {said}.", accepted.id));
    }
    let keys = repository.signing_keys();
    if session.json {
        println!("{}", json!({ "keys": keys.iter().map(as_json).collect::<Vec<_>>() }));
        return Ok(());
    }
    let rows = keys.iter().map(|key| [key.id.clone(), key.public_key.clone()]);
    let header = ["SIGNING KEY", "PUBLIC KEY"].map(str::to_owned);
    table(&std::iter::once(header).chain(rows).collect::<Vec<_>>(), [false, false]);
    Ok(())
}

fn as_json(key: &SigningKeyEntry) -> Value {
    json!({ "id": key.id, "algorithm": key.algorithm, "public_key": key.public_key })
}
