//! `regrow undelete`: a backup that has expired comes back.

use serde_json::json;

use super::Session;
use crate::error::Result;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup's id, or a unique beginning of it
    backup: String,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let signing_key = config.signing_key()?;
    let repository = session.repository(&config).await?;
    repository.accept_signer(&signing_key)?;
    let id = repository.resolve(&arguments.backup).await?;
    let had_expired = repository.bring_back(&id, &signing_key).await?;
    if had_expired {
        session.say(format_args!("{id} is back; the next expiry lets it go again unless 'regrow hold {id}' keeps it"));
    } else {
        session.say(format_args!("{id} had not expired"));
    }
    if session.json {
        println!("{}", json!({ "id": id, "had_expired": had_expired }));
    }
    Ok(())
}
