//! Keeping what has been said of alerts.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::Repository;
use super::writer::signed;
use crate::codec::SigningKey;
use crate::codec::signing::ALERTS_PURPOSE;
use crate::error::Result;
use crate::format::alerts::AlertBook;
use crate::format::{VERSION, layout};

impl Repository {
    /// Returns what has been said of alerts; none where nothing ever was.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when it was altered; whatever the storage says.
    pub async fn said_alerts(&self) -> Result<Option<Value>> {
        let Some(document) = self.find(layout::ALERTS).await? else { return Ok(None) };
        let payload = self.keys.verify("the record of alerts", ALERTS_PURPOSE, &document)?;
        Ok(Some(AlertBook::parse(payload, self.id())?.ledger))
    }

    /// Keeps what has been said of alerts, in place of whatever is kept.
    ///
    /// # Errors
    /// Whatever the storage says. What is kept is then what was before, or this.
    pub async fn keep_said_alerts(&self, ledger: Value, now: Timestamp, key: &SigningKey) -> Result<()> {
        let (format, repository) = (AlertBook::FORMAT.into(), self.id().clone());
        let book = AlertBook { format, version: VERSION, repository, written_at: now, ledger };
        let document: Bytes = signed(layout::ALERTS, ALERTS_PURPOSE, &book, key)?;
        let kept = match self.find(layout::ALERTS).await? {
            Some(before) => self.storage.replace(layout::ALERTS, before, document).await,
            None => self.storage.create(layout::ALERTS, document).await.map(drop),
        };
        Ok(kept?)
    }
}
