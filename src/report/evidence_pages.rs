//! The end of the report: everything that was not as it should be, the records that all of it was computed from, and who
//! answers for it.

use maud::{Markup, html};

use super::controls::{CONTROLS, Control};
use super::front;
use super::page::{code, table, text};
use super::words;
use crate::compliance::model::{Compliance, EvidenceReference};

pub(super) fn exceptions(compliance: &Compliance) -> Markup {
    html! {
        section aria-labelledby="exceptions" {
            h2 id="exceptions" { "All exceptions" }
            @if compliance.exceptions.is_empty() { p { "There were none." } }
            @else { ul.exceptions { @for exception in &compliance.exceptions { (front::entry(exception)) } } }
        }
    }
}

pub(super) fn records(compliance: &Compliance) -> Markup {
    let columns = [("Recorded", false), ("Kind", false), ("Id", false), ("SHA-256 of the object", false)];
    let row = |record: &EvidenceReference| {
        vec![text(words::minute(record.recorded_at)), text(&record.kind), code(&record.id), code(&record.sha256)]
    };
    let rows: Vec<_> = compliance.evidence.iter().map(row).collect();
    html! {
        section aria-labelledby="evidence" {
            h2 id="evidence" { "Records" }
            p { "Each record is signed and names those before it by their hashes, so that none can be altered or removed unnoticed. " code { "regrow evidence export -o FOLDER" } " gives all of them with a script that checks signatures and the chain with openssl and python3 alone; " code { "regrow report" } " computes this report anew from the repository, on any machine." }
            @if rows.is_empty() { p { "There are none for this period." } } @else { (table("The records of the period.", &columns, &rows)) }
        }
    }
}

pub(super) fn controls() -> Markup {
    let columns = [
        ("Control", false),
        ("What it asks for", false),
        ("Evidence in this report", false),
        ("Not shown here", false),
    ];
    let row = |control: &Control| {
        vec![text(control.name), text(control.asks), text(control.evidence), text(control.not_shown)]
    };
    html! {
        section aria-labelledby="controls" {
            h2 id="controls" { "Controls" }
            p { "Which requirements this report is evidence for, in our words. It does not decide whether they are met." }
            (table("Requirements and where they are answered.", &columns, &CONTROLS.iter().map(row).collect::<Vec<_>>()))
        }
    }
}

pub(super) fn sign_off() -> Markup {
    html! {
        section aria-labelledby="sign-off" {
            h2 id="sign-off" { "Sign-off" }
            div.sign { @for role in ["Prepared", "Reviewed", "Approved"] { div { (role) " by: name, date, signature" } } }
        }
    }
}
