//! How things stand, as Prometheus reads it. Base units; a figure that is not known is left out.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::format::Job;
use crate::notify::Severity;
use crate::status::{JobStatus, KindStatus, Status, WorkloadStatus};

/// What the text is: `OpenMetrics`, which Prometheus asks for.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric that can be rendered, by the name that queries use.
pub const NAMES: [&str; 25] = [
    "regrow_build_info",
    "regrow_leader",
    "regrow_status_timestamp_seconds",
    "regrow_exposure_seconds",
    "regrow_rpo_seconds",
    "regrow_predicted_rto_seconds",
    "regrow_rto_seconds",
    "regrow_workload_ok",
    "regrow_capture_running",
    "regrow_capture_lag_seconds",
    "regrow_oplog_window_seconds",
    "regrow_job_last_success_timestamp_seconds",
    "regrow_job_last_duration_seconds",
    "regrow_job_next_run_timestamp_seconds",
    "regrow_job_failing",
    "regrow_backups",
    "regrow_backup_raw_bytes",
    "regrow_backup_stored_bytes",
    "regrow_backup_duration_seconds",
    "regrow_repository_stored_bytes",
    "regrow_verified_timestamp_seconds",
    "regrow_drill_last_success_timestamp_seconds",
    "regrow_drill_phase_seconds",
    "regrow_open_alerts",
    "regrow_notification_failures_total",
];

/// What is shown.
#[derive(Debug, Default)]
pub struct Readings<'a> {
    /// How things stood when the repository was read last.
    pub status: Option<&'a Status>,
    /// Whether this process leads.
    pub leads: bool,
    /// Whether capture follows the oplog; none where it is not to.
    pub capture_runs: Option<bool>,
    /// How far the server's oplog reaches back.
    pub oplog_window_seconds: Option<u64>,
    /// The jobs that run, and since when.
    pub running: BTreeMap<Job, Timestamp>,
    /// How many alerts are open.
    pub open_alerts: Vec<(Severity, u64)>,
    /// How often a channel did not take a notice.
    pub notification_failures: Vec<(String, u64)>,
}

type Number = Gauge<f64, AtomicU64>;
type Labels = Vec<(&'static str, String)>;

/// Returns the text.
#[must_use]
pub fn render(readings: &Readings<'_>) -> String {
    let mut sheet = Sheet::default();
    sheet.process(readings);
    sheet.capture(readings);
    if let Some(status) = readings.status {
        sheet.status(status);
        status.workloads.iter().for_each(|workload| sheet.workload(workload));
        status.jobs.iter().for_each(|job| sheet.job(job, readings.running.get(&job.job).copied()));
        for (kind, backups) in &status.backups {
            sheet.backups(kind.as_str(), backups);
        }
    }
    sheet.finish()
}

/// Metrics that are being written down, by name.
#[derive(Default)]
struct Sheet {
    gauges: Vec<(&'static str, &'static str, Family<Labels, Number>)>,
    registry: Registry,
}

impl Sheet {
    fn process(&mut self, readings: &Readings<'_>) {
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION").to_owned())]);
        self.registry.register("regrow_build", "The version of Regrow", version);
        let failures: Family<Labels, Counter> = Family::default();
        for (channel, count) in &readings.notification_failures {
            failures.get_or_create(&vec![("channel", channel.clone())]).inc_by(*count);
        }
        self.registry.register("regrow_notification_failures", "Notices that a channel did not take", failures);
        self.set("regrow_leader", "Whether this process leads", &[], flag(readings.leads));
        for (severity, count) in &readings.open_alerts {
            let severity = if *severity == Severity::Critical { "critical" } else { "warning" };
            self.set_some("regrow_open_alerts", "Alerts that are open", &[("severity", severity)], Some(*count));
        }
    }

    /// What was captured before capture was switched off lags behind for good, which is no news.
    fn capture(&mut self, readings: &Readings<'_>) {
        let Some(runs) = readings.capture_runs else { return };
        self.set("regrow_capture_running", "Whether this process follows the oplog", &[], flag(runs));
        let lag = readings.status.and_then(|status| status.capture_lag_seconds);
        for (name, help, value) in [
            ("regrow_capture_lag_seconds", "How far the newest captured entry lies back", lag),
            ("regrow_oplog_window_seconds", "How far the server's oplog reaches back", readings.oplog_window_seconds),
        ] {
            self.set_some(name, help, &[], value);
        }
    }

    fn status(&mut self, status: &Status) {
        let taken_at = instant(status.taken_at);
        self.set("regrow_status_timestamp_seconds", "When this process last found out how things stand", &[], taken_at);
        self.set_some(
            "regrow_repository_stored_bytes",
            "The bytes that backups and oplog have",
            &[],
            Some(status.stored_bytes),
        );
        if let Some(at) = status.verified_at {
            self.set("regrow_verified_timestamp_seconds", "When every stored byte was verified last", &[], instant(at));
        }
        if let Some(drill) = status.drills.iter().find(|drill| drill.passed) {
            let at = instant(drill.finished_at);
            self.set("regrow_drill_last_success_timestamp_seconds", "When a drill passed last", &[], at);
            for phase in &drill.phases {
                let seconds = Duration::from_millis(phase.milliseconds).as_secs_f64();
                let labels = [("phase", phase.name.as_str())];
                self.set("regrow_drill_phase_seconds", "How long the phases of that drill took", &labels, seconds);
            }
        }
    }

    fn workload(&mut self, workload: &WorkloadStatus) {
        let labels = [("workload", workload.name.as_str()), ("tier", workload.tier.as_str())];
        for (name, help, value) in [
            ("regrow_exposure_seconds", "What a disaster now would lose", workload.exposure_seconds),
            ("regrow_rpo_seconds", "The recovery point objective", Some(workload.rpo_seconds)),
            ("regrow_predicted_rto_seconds", "How long a restore now would take", workload.predicted_rto_seconds),
            ("regrow_rto_seconds", "The recovery time objective", Some(workload.rto_seconds)),
        ] {
            self.set_some(name, help, &labels, value);
        }
        self.set("regrow_workload_ok", "Whether both objectives are met now", &labels, flag(workload.ok));
    }

    fn job(&mut self, job: &JobStatus, runs_since: Option<Timestamp>) {
        // Not `job`: so Prometheus calls what it scrapes.
        let labels = [("task", job.job.as_str())];
        if let Some(run) = &job.last_success {
            let (ended, took) = (instant(run.finished_at), run.duration().as_secs_f64());
            self.set(
                "regrow_job_last_success_timestamp_seconds",
                "When a job last achieved what it is for",
                &labels,
                ended,
            );
            self.set("regrow_job_last_duration_seconds", "How long that took", &labels, took);
        }
        // Only its end settles the time that a run is for; until then it is neither to come nor overdue.
        let is_under_way = |due: &Timestamp| runs_since.is_some_and(|since| *due <= since);
        if let Some(due) = job.next_due.filter(|due| !is_under_way(due)) {
            self.set("regrow_job_next_run_timestamp_seconds", "When a job is due next", &labels, instant(due));
        }
        let failing = flag(job.trouble.is_some());
        self.set("regrow_job_failing", "Whether the newest run failed or was missed", &labels, failing);
    }

    fn backups(&mut self, kind: &str, backups: &KindStatus) {
        for (name, help, value) in [
            ("regrow_backups", "How many backups there are", backups.count),
            ("regrow_backup_raw_bytes", "The newest backup as BSON", backups.bytes_raw),
            ("regrow_backup_stored_bytes", "The newest backup as stored", backups.bytes_stored),
            ("regrow_backup_duration_seconds", "How long the newest backup took", backups.duration_seconds),
        ] {
            self.set_some(name, help, &[("kind", kind)], Some(value));
        }
    }

    #[allow(clippy::cast_precision_loss)] // Nobody counts more than 2^53 of anything here.
    fn set_some(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: Option<u64>,
    ) {
        if let Some(value) = value {
            self.set(name, help, labels, value as f64);
        }
    }

    fn set(&mut self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let at = self.gauges.iter().position(|(known, ..)| *known == name).unwrap_or_else(|| {
            self.gauges.push((name, help, Family::default()));
            self.gauges.len() - 1
        });
        let labels: Labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
        self.gauges[at].2.get_or_create(&labels).set(value);
    }

    fn finish(mut self) -> String {
        for (name, help, family) in self.gauges {
            self.registry.register(name, help, family);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing into a string does not fail");
        text
    }
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

fn instant(time: Timestamp) -> f64 {
    #[allow(clippy::cast_precision_loss)] // Seconds since 1970 fit.
    let seconds = time.as_second() as f64;
    seconds
}

const _: fn() = || {
    fn is_label_set<T: EncodeLabelSet>() {}
    is_label_set::<Labels>();
};

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn capture_is_not_shown_where_it_is_not_wanted() {
        let rendered =
            |capture_runs| render(&Readings { capture_runs, oplog_window_seconds: Some(60), ..Readings::default() });
        let not_wanted = rendered(None);
        assert!(!not_wanted.contains("regrow_capture") && !not_wanted.contains("regrow_oplog"));
        assert!(rendered(Some(false)).contains("\nregrow_capture_running 0.0\n"));
    }

    #[test]
    fn a_run_that_is_under_way_is_not_to_come() {
        let job = JobStatus {
            job: Job::Verify,
            cron: "0 6 * * 0".into(),
            timezone: "UTC".into(),
            last_success: None,
            next_due: Some(at("2026-11-29T06:00:00Z")),
            trouble: None,
            problem: None,
        };
        let shows = |runs_since: Option<&str>| {
            let mut sheet = Sheet::default();
            sheet.job(&job, runs_since.map(at));
            sheet.finish().contains("regrow_job_next_run_timestamp_seconds{task=\"verify\"}")
        };
        assert!(shows(None));
        assert!(!shows(Some("2026-11-29T06:00:00Z")));
        assert!(shows(Some("2026-11-29T05:00:00Z")), "a run from before does not count for this time");
    }
}
