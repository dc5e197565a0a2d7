//! Check queries: what a team itself knows about its data.

use std::time::Duration;

use bson::{Bson, Document, RawBsonRef, RawDocument, doc};
use jiff::{SignedDuration, Timestamp};

use super::finding::Finding;
use crate::error::{Error, Result};
use crate::format::evidence::CheckOutcome;
use crate::mongo::{Deployment, scratch};
use crate::restore::{RestoreItem, RestorePlan};
use crate::units::counted;
use crate::units::{Elapsed, Moment};

/// A question about the restored documents, and the answer that is expected.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckQuery {
    /// What people call it. Evidence and reports name it.
    pub name: String,
    /// The database, as at the source.
    pub db: String,
    /// The collection.
    pub collection: String,
    /// Which documents: the stages of an aggregation, none of which writes.
    pub pipeline: Vec<Document>,
    /// What is expected of them.
    pub expectation: Expectation,
}

/// What is expected of the documents that a query finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// How many there are, at least and at most.
    Count {
        /// At least.
        min: u64,
        /// At most; none: any number.
        max: Option<u64>,
    },
    /// The newest is not older than that when the moment came that was restored.
    Newest {
        /// The field that holds a date.
        field: String,
        /// How old it may be.
        within: Duration,
    },
}

/// Asks a question of what was restored; `recovered_to` is the moment that it shows. One that the server does not answer
/// because it is away has no result.
pub(super) async fn ask(
    query: &CheckQuery,
    plan: &RestorePlan,
    deployment: &Deployment,
    recovered_to: Option<Timestamp>,
) -> Result<Finding> {
    let mut finding = Finding::about(&query.name, "as expected");
    let is_meant = |item: &&RestoreItem| item.record.db == query.db && item.record.name == query.collection;
    let Some(item) = plan.items.iter().find(is_meant) else {
        finding.fail(format!("{}.{} is not part of the backup", query.db, query.collection));
        return Ok(finding);
    };
    finding.count();
    match answer(query, item, deployment, recovered_to).await {
        Ok(None) => {}
        Ok(Some(Answer::Wrong(what))) => finding.fail(what),
        Ok(Some(Answer::Unknown(why))) => (finding.outcome, finding.details) = (CheckOutcome::Unknown, vec![why]),
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => finding.fail(error.to_string()),
    }
    Ok(finding)
}

enum Answer {
    Wrong(String),
    Unknown(String),
}

/// Returns what is not as expected; nothing when it is.
async fn answer(
    query: &CheckQuery,
    item: &RestoreItem,
    deployment: &Deployment,
    recovered_to: Option<Timestamp>,
) -> Result<Option<Answer>> {
    let database = deployment.client().database(&item.db);
    let mut pipeline = query.pipeline.clone();
    match &query.expectation {
        Expectation::Count { min, max } => {
            pipeline.push(doc! { "$count": "found" });
            let found = scratch::first(&database, &item.name, &pipeline).await?;
            // No document at all, and the server counts nothing.
            let found = found.as_deref().map_or(Some(0), number).unwrap_or(0);
            let is_expected = found >= *min && max.is_none_or(|max| found <= max);
            Ok((!is_expected)
                .then(|| Answer::Wrong(format!("{}, expected {}", counted(found, "document"), range(*min, *max)))))
        }
        Expectation::Newest { field, within } => {
            let Some(recovered_to) = recovered_to else {
                return Ok(Some(Answer::Unknown("the backup shows no single moment".into())));
            };
            pipeline.push(doc! { "$group": { "_id": Bson::Null, "newest": { "$max": format!("${field}") } } });
            let found = scratch::first(&database, &item.name, &pipeline).await?;
            Ok(newest(found.as_deref())?.map_or_else(
                || Some(Answer::Wrong(format!("no document has a date in {field}"))),
                |newest| too_old(newest, recovered_to, *within).map(Answer::Wrong),
            ))
        }
    }
}

fn number(found: &RawDocument) -> Option<u64> {
    match found.get("found").ok()?? {
        RawBsonRef::Int32(count) => u64::try_from(count).ok(),
        RawBsonRef::Int64(count) => u64::try_from(count).ok(),
        _ => None,
    }
}

fn newest(found: Option<&RawDocument>) -> Result<Option<Timestamp>> {
    let date = found.and_then(|found| match found.get("newest") {
        Ok(Some(RawBsonRef::DateTime(date))) => Some(date.timestamp_millis()),
        _ => None,
    });
    let out_of_range = |error| Error::failed("the newest date is beyond the calendar").caused_by(error);
    date.map(|date| Timestamp::from_millisecond(date).map_err(out_of_range)).transpose()
}

fn too_old(newest: Timestamp, recovered_to: Timestamp, within: Duration) -> Option<String> {
    let age = recovered_to.duration_since(newest);
    let is_too_old = SignedDuration::try_from(within).is_ok_and(|within| age > within);
    is_too_old.then(|| {
        let (age, within) = (Elapsed(age.unsigned_abs()), Elapsed(within));
        format!("the newest is of {}, {age} before the moment that was restored; {within} are expected", Moment(newest))
    })
}

fn range(min: u64, max: Option<u64>) -> String {
    match (min, max) {
        (min, Some(max)) if min == max => format!("exactly {min}"),
        (0, Some(max)) => format!("at most {max}"),
        (min, None) => format!("at least {min}"),
        (min, Some(max)) => format!("{min} to {max}"),
    }
}
