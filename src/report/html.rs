//! The report as one page: for management first, then the evidence.

use jiff::Timestamp;
use maud::html;

use super::{evidence_pages, front, page, sections, words};
use crate::compliance::model::Compliance;

/// Returns the whole page.
pub(super) fn report(compliance: &Compliance, made_at: Timestamp) -> String {
    let title = format!("Backup and recovery of {}, {}", compliance.source, words::period(compliance.period));
    let content = html! {
        header {
            h1 { "Backup and recovery compliance" }
            p.kicker {
                strong { (compliance.source) } ", " (words::period(compliance.period)) " (UTC)"
                @if compliance.until < compliance.period.end { ", judged up to " (words::minute(compliance.until)) }
            }
        }
        main {
            (front::front(compliance))
            (sections::exposure(compliance))
            (sections::schedules(compliance))
            (sections::recovery(compliance))
            (sections::backups(compliance))
            (sections::verification(compliance))
            (sections::policy(compliance))
            (evidence_pages::exceptions(compliance))
            (evidence_pages::records(compliance))
            (evidence_pages::controls())
            (evidence_pages::sign_off())
        }
        footer { p { "Generated " (words::minute(made_at)) " by Regrow " (env!("CARGO_PKG_VERSION")) " from the records of repository " (compliance.repository) ". Times are UTC." } }
    };
    page::page(&title, false, &content)
}
