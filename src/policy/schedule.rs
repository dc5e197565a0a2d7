//! What the service does by itself, and when.

use std::time::Duration;

use super::Timetable;
use crate::format::Job;

/// A job and its times.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The name of its file, without the ending.
    pub name: String,
    /// What is done.
    pub job: Job,
    /// When.
    pub timetable: Timetable,
    /// Whether a run that was missed happens as soon as it can.
    pub catch_up: bool,
    /// By how much a run may begin later, so that several services do not begin at once.
    pub jitter: Duration,
    /// How long a run may take.
    pub timeout: Option<Duration>,
    /// How often a run that failed is tried again.
    pub retries: u32,
}
