//! The report: what compliance says of a period, for people, auditors and programs.
//!
//! Everything is made of a [`Compliance`](crate::compliance::model::Compliance) and nothing else, so the same facts give the
//! same bytes, but for the moment at which it was made, which stands in one place. What the facts call unknown is shown as
//! unknown. Nothing here reads, writes or asks for the time.

mod calendar;
mod charts;
mod controls;
mod csv;
mod dashboard;
mod evidence_pages;
mod front;
mod html;
mod markdown;
mod page;
mod sections;
mod words;

use std::str::FromStr;

use jiff::Timestamp;
use serde_json::json;

pub use dashboard::{Dashboard, dashboard, standby};
pub use page::content_security_policy;

use crate::compliance::model::Compliance;
use crate::error::{Error, Kind};

/// In what form a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One page for a browser and for printing.
    Html,
    /// The same, printed.
    Pdf,
    /// The facts, for programs.
    Json,
    /// Text with tables.
    Markdown,
    /// One fact a line.
    Csv,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Html, Self::Pdf, Self::Json, Self::Markdown, Self::Csv];

    /// Returns the ending of files' names.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Pdf => "pdf",
            Self::Json => "json",
            Self::Markdown => "md",
            Self::Csv => "csv",
        }
    }

    /// Returns the format of a file, if its name ends like one.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        Self::ALL.into_iter().find(|format| format.extension() == extension)
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "html" => Ok(Self::Html),
            "pdf" => Ok(Self::Pdf),
            "json" => Ok(Self::Json),
            "markdown" => Ok(Self::Markdown),
            "csv" => Ok(Self::Csv),
            _ => Err(Error::new(Kind::Usage, format!("'{text}' is no format of reports"))
                .with_hint("use html, pdf, json, markdown or csv")),
        }
    }
}

/// Returns a report as text; a PDF is printed from the HTML.
#[must_use]
pub fn render(format: Format, compliance: &Compliance, made_at: Timestamp) -> String {
    match format {
        Format::Html | Format::Pdf => html::report(compliance, made_at),
        Format::Json => {
            let report =
                json!({ "format": "regrow-report", "version": 1, "generated_at": made_at, "report": compliance });
            format!("{report:#}\n")
        }
        Format::Markdown => markdown::report(compliance, made_at),
        Format::Csv => csv::report(compliance, made_at),
    }
}
