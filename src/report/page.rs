//! What the report and the dashboard share: the page around them, its look, and small components.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::words;
use crate::codec::sha256;
use crate::compliance::model::Verdict;

/// The look. On paper and in grey everything is told by words, signs and patterns; colour only helps.
const STYLE: &str = include_str!("page.css");

/// What the dashboard does by itself: it asks for itself again and shows the answer.
const REFRESH: &str = include_str!("refresh.js");

/// Returns the policy that lets a browser use nothing but what the page itself brings.
#[must_use]
pub fn content_security_policy() -> String {
    use base64::Engine;
    let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(sha256(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(REFRESH)
    )
}

/// Returns a whole page. `refreshes` says whether it asks for itself again.
pub(super) fn page(title: &str, refreshes: bool, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (content)
                @if refreshes { script { (PreEscaped(REFRESH)) } }
            }
        }
    };
    page.into_string()
}

/// Returns a verdict as sign and word.
pub(super) fn badge(verdict: Verdict) -> Markup {
    let (sign, word) = words::verdict(verdict);
    html! { span class={ "badge " (word) } { span aria-hidden="true" { (sign) } " " (word) } }
}

/// A column of a table: its heading, and whether it holds numbers.
pub(super) type Column = (&'static str, bool);

/// Returns a table. On a narrow screen each row becomes a block in which every cell bears its heading.
pub(super) fn table(caption: &str, columns: &[Column], rows: &[Vec<Markup>]) -> Markup {
    html! {
        table {
            caption { (caption) }
            thead { tr { @for (heading, is_number) in columns { th scope="col" class=[is_number.then_some("number")] { (heading) } } } }
            tbody {
                @for row in rows {
                    tr {
                        @for (number, ((heading, is_number), cell)) in columns.iter().zip(row).enumerate() {
                            @if number == 0 { th scope="row" data-label=(heading) { (cell) } }
                            @else { td data-label=(heading) class=[is_number.then_some("number")] { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

/// Returns text as markup.
pub(super) fn text(text: impl std::fmt::Display) -> Markup {
    html! { (text.to_string()) }
}

/// Returns what is to be copied exactly.
pub(super) fn code(text: impl std::fmt::Display) -> Markup {
    html! { code { (text.to_string()) } }
}
