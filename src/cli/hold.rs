//! `regrow hold`: a backup stays, whatever retention says.

use serde_json::json;

use super::Session;
use crate::error::Result;
use crate::format::mark::MarkKind;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup's id, a unique beginning of it, or latest
    backup: String,
    /// Why it must not go, for those who find it
    #[arg(long)]
    reason: Option<String>,
    /// Take the hold back
    #[arg(long, conflicts_with = "reason")]
    release: bool,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let signing_key = config.signing_key()?;
    let repository = session.repository(&config).await?;
    repository.accept_signer(&signing_key)?;
    let id = repository.resolve(&arguments.backup).await?;
    let was_held = repository.mark(MarkKind::Hold, &id).await?.is_some();
    if arguments.release {
        repository.lift_mark(MarkKind::Hold, &id).await?;
        let said = if was_held { "no longer under hold: retention decides about it" } else { "not under hold" };
        session.say(format_args!("{id} is {said}"));
    } else {
        let now = session.clock.now();
        let reason = arguments.reason.as_deref().unwrap_or_default();
        repository.place_mark(MarkKind::Hold, &id, reason, now, &signing_key).await?;
        let had_expired = repository.bring_back(&id, &signing_key).await?;
        let back = if had_expired { "back from expiry and " } else { "" };
        session.say(format_args!("{id} is {back}under hold: it stays until 'regrow hold {id} --release'"));
    }
    if session.json {
        println!("{}", json!({ "id": id, "held": !arguments.release, "was_held": was_held }));
    }
    Ok(())
}
