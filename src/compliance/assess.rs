//! The judgement: everything that is said about a period.

use super::exposure::Course;
use super::facts::Facts;
use super::inventory::Inventory;
use super::model::{Compliance, EvidenceReference, Period, Schedule, Verdict, Workload};
use super::objectives::InForce;
use super::reach::Reach;
use super::{causes, exceptions, objectives, recovery, schedules};
use crate::format::evidence::WorkloadRecord;

/// Judges a period by what the records tell up to its end, or up to when they were read.
#[must_use]
pub fn assess(facts: &Facts, period: Period) -> Compliance {
    let until = period.end.min(facts.taken_at);
    let judged = Period { begin: period.begin.max(facts.created_at).min(until), end: until };
    let (surely, at_best) = (Reach::follow(facts, until, false), Reach::follow(facts, until, true));
    let course = Course::of(&surely, &at_best, judged);
    let recovery = recovery::recovery(facts, until);
    let workload = |workload: &InForce<WorkloadRecord>| {
        let mut rpo = course.judge(workload);
        for breach in &mut rpo.breaches {
            causes::explain(breach, facts, workload.what.rpo_seconds, until);
        }
        let rto = recovery::judge(facts, &recovery, workload.what.rto_seconds, judged);
        let (name, tier) = (workload.what.name.clone(), workload.what.tier.clone());
        Workload { name, tier, verdict: rpo.verdict.max(rto.verdict), rpo, rto }
    };
    let workloads: Vec<Workload> = objectives::workloads(facts, judged).iter().map(workload).collect();
    let schedules = objectives::schedules(facts, judged);
    let schedules: Vec<Schedule> =
        schedules.iter().map(|schedule| schedules::adherence(facts, schedule, until)).collect();
    let inventory = Inventory::of(facts, until);
    let mut compliance = Compliance {
        source: facts.source.clone(),
        repository: facts.repository.clone(),
        period,
        until,
        verdict: Verdict::Unknown,
        exposure: course.exposure(),
        recovery,
        verification: inventory.verification(judged.begin),
        drills: recovery::drills(facts, judged.begin, until),
        restores: recovery::restores(facts, judged.begin, until),
        retention: inventory.retention(judged.begin, &surely),
        encryption: inventory.encryption(),
        backups: inventory.backups(),
        exceptions: exceptions::exceptions(facts, judged, &workloads, &schedules),
        evidence: references(facts, judged),
        workloads,
        schedules,
    };
    compliance.verdict = overall(&compliance, facts);
    compliance
}

/// Returns the worst of everything. Without an objective nothing can be met; where records were altered, who knows.
fn overall(compliance: &Compliance, facts: &Facts) -> Verdict {
    let workloads = compliance.workloads.iter().map(|workload| workload.verdict);
    let schedules = compliance.schedules.iter().map(|schedule| schedule.verdict);
    let others = [compliance.verification.verdict, compliance.retention.verdict, compliance.encryption.verdict];
    let doubts = (compliance.workloads.is_empty() || !facts.problems.is_empty()).then_some(Verdict::Unknown);
    workloads.chain(schedules).chain(others).chain(doubts).max().unwrap_or(Verdict::Unknown)
}

fn references(facts: &Facts, period: Period) -> Vec<EvidenceReference> {
    let reference = |record: &super::facts::Recorded| EvidenceReference {
        id: record.id(),
        kind: record.event().kind().to_owned(),
        recorded_at: record.at(),
        key: record.key.clone(),
        sha256: hex::encode(record.sha256),
    };
    facts.between(period.begin, period.end).map(reference).collect()
}
