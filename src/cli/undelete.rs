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
    let repository = session.repository(&config).await?;
    let id = repository.resolve(&arguments.backup).await?;
    let had_expired = repository.bring_back(&id).await?;
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
