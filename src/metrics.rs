//! How things stand, as Prometheus reads it. Base units; a figure that is not known is left out.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::notify::Severity;
use crate::status::{JobStatus, KindStatus, Status, WorkloadStatus};

/// What the text is: `OpenMetrics`, which Prometheus asks for.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is shown.
#[derive(Debug, Default)]
pub struct Readings<'a> {
    /// How things stood when the repository was read last.
    pub status: Option<&'a Status>,
    /// Whether this process leads.
    pub leads: bool,
    /// Whether capture follows the oplog.
    pub capture_runs: bool,
    /// How far the server's oplog reaches back.
    pub oplog_window_seconds: Option<u64>,
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
    if let Some(status) = readings.status {
        sheet.status(status);
        status.workloads.iter().for_each(|workload| sheet.workload(workload));
        status.jobs.iter().for_each(|job| sheet.job(job));
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
        self.set("regrow_capture_running", "Whether this process follows the oplog", &[], flag(readings.capture_runs));
        self.set_some(
            "regrow_oplog_window_seconds",
            "How far the oplog of the server reaches back",
            &[],
            readings.oplog_window_seconds,
        );
        for (severity, count) in &readings.open_alerts {
            let severity = if *severity == Severity::Critical { "critical" } else { "warning" };
            self.set_some("regrow_open_alerts", "Alerts that are open", &[("severity", severity)], Some(*count));
        }
    }

    fn status(&mut self, status: &Status) {
        self.set("regrow_status_timestamp_seconds", "When the repository was read last", &[], instant(status.taken_at));
        self.set_some(
            "regrow_capture_lag_seconds",
            "How far the newest captured entry lies back",
            &[],
            status.capture_lag_seconds,
        );
        self.set_some(
            "regrow_repository_stored_bytes",
            "The bytes that backups and oplog have",
            &[],
            Some(status.stored_bytes),
        );
        if let Some(at) = status.verified_at {
            self.set("regrow_verified_timestamp_seconds", "When every stored byte was verified last", &[], instant(at));
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

    fn job(&mut self, job: &JobStatus) {
        let labels = [("job", job.job.as_str())];
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
        if let Some(due) = job.next_due {
            self.set("regrow_job_next_run_timestamp_seconds", "When a job is due next", &labels, instant(due));
        }
        let failing = flag(job.trouble.is_some());
        self.set("regrow_job_failing", "Whether the newest run failed or was missed", &labels, failing);
    }

    fn backups(&mut self, kind: &str, backups: &KindStatus) {
        for (name, help, value) in [
            ("regrow_backups", "Backups", backups.count),
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
