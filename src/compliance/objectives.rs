//! Which objectives and schedules were in force when, as the configurations tell that were recorded.

use jiff::Timestamp;

use super::facts::Facts;
use super::model::Period;
use crate::format::evidence::{Event, RetentionRecord, ScheduleRecord, WorkloadRecord};

/// Something and the stretches of time in which it was in force, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InForce<T> {
    /// What: as it was last.
    pub(super) what: T,
    /// Each stretch with what was in force in it.
    pub(super) stretches: Vec<(Period, T)>,
}

/// A configuration and the stretch of time for which it was the newest.
struct Configured<'a> {
    period: Period,
    schedules: &'a [ScheduleRecord],
    workloads: &'a [WorkloadRecord],
}

/// Returns the configurations of a period, in order.
fn configurations(facts: &Facts, period: Period) -> Vec<Configured<'_>> {
    let mut found: Vec<Configured<'_>> = Vec::new();
    for record in facts.up_to(period.end) {
        let Event::Configuration { schedules, workloads, .. } = record.event() else { continue };
        let begin = record.at().max(period.begin);
        if let Some(last) = found.last_mut() {
            last.period.end = begin;
        }
        let period = Period { begin, end: period.end };
        found.push(Configured { period, schedules, workloads });
    }
    found.retain(|configured| configured.period.begin < configured.period.end);
    found
}

/// Returns each workload's objectives that were in force in a period, in the order in which they are configured.
pub(super) fn workloads(facts: &Facts, period: Period) -> Vec<InForce<WorkloadRecord>> {
    let configurations = configurations(facts, period);
    let stretches = configurations
        .iter()
        .flat_map(|configured| configured.workloads.iter().map(|workload| (configured.period, workload.clone())));
    gather(stretches, |a, b| a.name == b.name)
}

/// Returns each schedule that was in force in a period.
pub(super) fn schedules(facts: &Facts, period: Period) -> Vec<InForce<ScheduleRecord>> {
    let configurations = configurations(facts, period);
    let stretches = configurations
        .iter()
        .flat_map(|configured| configured.schedules.iter().map(|schedule| (configured.period, schedule.clone())));
    gather(stretches, ScheduleRecord::is_alike)
}

/// Returns how much was to be kept at a moment; none where nobody had recorded a configuration.
pub(super) fn retention(facts: &Facts, at: Timestamp) -> Option<RetentionRecord> {
    facts.up_to(at).rev().find_map(|record| match record.event() {
        Event::Configuration { retention, .. } => Some(retention.clone().unwrap_or_default()),
        _ => None,
    })
}

/// Puts together what is the same thing; stretches that meet and hold the same are one.
fn gather<T: Clone + PartialEq>(
    stretches: impl Iterator<Item = (Period, T)>,
    is_same: impl Fn(&T, &T) -> bool,
) -> Vec<InForce<T>> {
    let mut found: Vec<InForce<T>> = Vec::new();
    for (period, what) in stretches {
        let Some(known) = found.iter_mut().find(|known| is_same(&known.what, &what)) else {
            found.push(InForce { what: what.clone(), stretches: vec![(period, what)] });
            continue;
        };
        known.what = what.clone();
        match known.stretches.last_mut() {
            Some((last, same)) if last.end == period.begin && *same == what => last.end = period.end,
            _ => known.stretches.push((period, what)),
        }
    }
    found
}
