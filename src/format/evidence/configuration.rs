//! What the service is to do and to reach.

use serde::{Deserialize, Serialize};

use super::super::job::Job;

/// A schedule in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// The job.
    pub job: Job,
    /// When: a cron expression.
    pub cron: String,
    /// The time zone by whose clock it is read.
    pub timezone: String,
    /// Whether a run that was missed is made up for.
    pub catch_up: bool,
}

/// An objective in force. No namespaces: evidence is not encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRecord {
    /// The workload's name.
    pub name: String,
    /// The tier's name.
    pub tier: String,
    /// The recovery point objective.
    pub rpo_seconds: u64,
    /// The recovery time objective.
    pub rto_seconds: u64,
}

/// How much is kept. What is not limited is kept for good.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRecord {
    /// Of how many days a daily backup; none where that is not limited.
    pub daily: Option<u32>,
    /// Of how many weeks a weekly one.
    pub weekly: Option<u32>,
    /// Of how many months a monthly one.
    pub monthly: Option<u32>,
    /// For how long every second can be restored, where the oplog was captured.
    pub oplog_seconds: Option<u64>,
}
